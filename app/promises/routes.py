"""The route of the figures."""

from typing import Any

from flask import Response

from app.http.answers import answer
from app.http.authentication import require_json_accepted
from app.http.parsing import Blueprint
from app.http.request_context import services
from app.http.route_metadata import declares
from app.promises import schemas
from app.promises.service import promises_in_time

blueprint = Blueprint("promises", __name__, description="How well the service kept its promises.")
blueprint.before_request(require_json_accepted)


@blueprint.get("/promises")
@blueprint.arguments(schemas.PromisesQuery(), location="query")
@blueprint.response(200, schemas.PromisesOut, example=schemas.PROMISES)
@declares("reconciliations:read")
def get_promises(query: dict[str, Any]) -> Response:
    """Get how well the service kept its promises

    The figures are worked out from the logs of the orders, the webhooks and the reports of the
    reconciliations. A period with too many orders is refused. The command `promises` has no limit.
    """
    return answer(schemas.shown(promises_in_time(services().promises, query["since"])))
