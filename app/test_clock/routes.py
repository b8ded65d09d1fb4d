"""The routes of the test clock, which exist only with TEST_CLOCK."""

from typing import TYPE_CHECKING, Any, cast

from flask import Response

from app.errors import OrderUnreadable
from app.http.answers import answer
from app.http.authentication import require_json_accepted
from app.http.parsing import Blueprint
from app.http.request_context import services
from app.http.route_metadata import declares
from app.orders import public
from app.orders.log import Event
from app.orders.model import Order
from app.orders.reading import reading
from app.test_clock import schemas
from app.test_clock import service as moving
from app.test_clock.schemas import AdvancedOut, AdvanceIn, TimeOut, advanced_out, time_out

if TYPE_CHECKING:
    from app.test_clock import TestClockServices

SCOPE = "orders:admin"

blueprint = Blueprint("test_clock", __name__, description="The time of a service under test.")
blueprint.before_request(require_json_accepted)


@blueprint.get("/test/clock")
@blueprint.response(200, TimeOut, example=schemas.TIME)
@declares(SCOPE)
def get_test_clock() -> Response:
    """Get the time of the service"""
    return answer(time_out(moving.show_time(cast("TestClockServices", services().test_clock))))


@blueprint.post("/test/clock/advance")
@blueprint.arguments(AdvanceIn(), example=schemas.NEW_TIME)
@blueprint.response(200, AdvancedOut, example=schemas.ADVANCED)
@declares(SCOPE, "clock_is_moving")
def advance_test_clock(draft: dict[str, Any]) -> Response:
    """Move the time forward, and do all that comes due

    Everything is done at its time and in the order of the times: an order expires, a payment or a webhook is
    tried again, a hold ends. The answer has the events of all orders, inner ones included, and the attempts
    to send webhooks. A call ends after 20 seconds at the latest, or a little later if a receiver is slow.
    """
    advanced = moving.advance(cast("TestClockServices", services().test_clock), draft["by"])
    shown = [each for order, event in advanced.events for each in _event(order, event)]
    return answer(advanced_out(advanced, shown))


def _event(order: Order, event: Event) -> list[dict[str, Any]]:
    try:
        with reading(order["id"]):
            return [{"orderId": order["id"], **public.event(event, order, for_shop=True)}]
    except OrderUnreadable:
        return []
