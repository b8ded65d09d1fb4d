"""The routes of diagnoses."""

from typing import Any

import orjson
from flask import Response

from app.diagnosis import schemas
from app.diagnosis import service as diagnosing
from app.diagnosis.schemas import DiagnosesQuery, DiagnosisOut, OrderDiagnosisOut
from app.http.answers import NEXT, answer
from app.http.authentication import require_json_accepted
from app.http.paging import LIKE_AN_ORDER, after, fitting, listing
from app.http.parsing import Blueprint
from app.http.request_context import may, services
from app.http.route_metadata import declares

# The fields that customers see.
_FOR_CUSTOMERS = ("state", "waitingFor", "otherwise")

blueprint = Blueprint("diagnoses", __name__, description="What orders wait for.")
blueprint.before_request(require_json_accepted)


@blueprint.get("/orders/<order_id>/diagnosis")
@blueprint.response(200, DiagnosisOut, example=schemas.DIAGNOSIS)
@declares("orders:read", "not_found")
def get_order_diagnosis(order_id: str) -> Response:
    """Get what an order waits for

    A damaged order has a diagnosis, too. Customers get `state`, `waitingFor` and `otherwise` only.
    """
    shown = DiagnosisOut.of(diagnosing.diagnose_order(services().diagnosis, order_id))
    if not may("orders:admin"):
        shown = {name: shown[name] for name in _FOR_CUSTOMERS if name in shown}
    return answer(shown)


@blueprint.get("/diagnoses")
@blueprint.arguments(DiagnosesQuery(), location="query")
@blueprint.response(200, schemas.DiagnosesOut, headers=NEXT, example=schemas.DIAGNOSES)
@declares("orders:admin", "bad_cursor")
def list_diagnoses(query: dict[str, Any]) -> Response:
    """List the orders in a state, oldest first

    Without `state`, these are the orders that are stuck. An order that changes meanwhile may be missing.
    """
    found = diagnosing.diagnose_all(
        services().diagnosis, query["state"], after(query.get("cursor"), LIKE_AN_ORDER), query["limit"]
    )
    texts = (
        (order_id, orjson.dumps(OrderDiagnosisOut.of({**diagnosis, "orderId": order_id})))
        for order_id, diagnosis in found
    )
    page, has_more = fitting(texts, query["limit"])
    return listing(
        "diagnoses", [orjson.Fragment(text) for _, text in page], page[-1][0] if has_more else None
    )
