"""The routes of diagnoses."""

from typing import Any

import orjson
from flask import Response

from app.diagnosis import schemas
from app.diagnosis import service as diagnosing
from app.diagnosis.commands import possible_commands
from app.diagnosis.schemas import DiagnosesQuery, DiagnosisOut, OrderDiagnosisOut
from app.http.answers import NEXT, answer
from app.http.authentication import require_json_accepted
from app.http.paging import LIKE_AN_ORDER, after, fitting, listing
from app.http.parsing import Blueprint
from app.http.request_context import caller, may, services
from app.http.route_metadata import declares

# The fields that customers see.
_FOR_CUSTOMERS = ("state", "waitingFor", "otherwise")

blueprint = Blueprint("diagnoses", __name__, description="What orders wait for.")
blueprint.before_request(require_json_accepted)


@blueprint.get("/orders/<order_id>/diagnosis")
@blueprint.response(200, DiagnosisOut, example=schemas.WITH_COMMANDS)
@declares("orders:read", "not_found")
def get_order_diagnosis(order_id: str) -> Response:
    """Get what an order waits for

    A damaged order has a diagnosis, too. Customers get `state`, `waitingFor` and `otherwise` only.
    """
    found = diagnosing.diagnose_order(services().diagnosis, order_id)
    shown = DiagnosisOut.of(found.diagnosis)
    if not may("orders:admin"):
        return answer({name: shown[name] for name in _FOR_CUSTOMERS if name in shown})
    possible = possible_commands(services(), found.order, caller()) if found.order else []
    return answer({**shown, "may": possible})


@blueprint.get("/diagnoses")
@blueprint.arguments(DiagnosesQuery(), location="query")
@blueprint.response(200, schemas.DiagnosesOut, headers=NEXT, example=schemas.DIAGNOSES)
@declares("orders:admin", "bad_cursor")
def list_diagnoses(query: dict[str, Any]) -> Response:
    """List the orders in a state, oldest first

    Without `state`, these are the orders that are stuck. An order that changes meanwhile may be missing. The
    orders of a list have no `may`.
    """
    found = diagnosing.diagnose_all(
        services().diagnosis, query["state"], after(query.get("cursor"), LIKE_AN_ORDER), query["limit"]
    )
    texts = (
        (order_id, orjson.dumps(OrderDiagnosisOut.of({**diagnosis, "orderId": order_id})))
        for order_id, diagnosis, _ in found
    )
    page, has_more = fitting(texts, query["limit"])
    return listing(
        "diagnoses", [orjson.Fragment(text) for _, text in page], page[-1][0] if has_more else None
    )
