"""Cancelled pieces behind the scenes: less money once and goods back once, whatever comes in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.cancellations.service import Draft, create_cancellation
from app.errors import NothingOpen
from app.notifications.mail.channel import mailed
from app.orders import steps
from app.orders.commands import Request
from app.orders.processing import perform
from app.orders.service import change_status, place_order
from app.shipments.service import create_shipment, deliver_shipment
from tests.support.doubles import Crash, at_once, followed, swept

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.orders.model import Order
    from app.orders.steps import Step
    from app.services import Services
    from tests.support.books import Books
    from tests.support.service_fixtures import Finish, SetStock

ON_HAND = {"apple": 10, "bread": 10}
# Two apples and a bread cost 9.00, and the shipping 1.00.
DRAFT: dict[str, Any] = {
    "userId": "user",
    "products": [
        {"productId": "apple", "quantity": 2, "unitPrice": 300},
        {"productId": "bread", "quantity": 1, "unitPrice": 300},
    ],
    "adjustments": [{"kind": "shipping", "amount": 100}],
    "totalAmount": 1000,
    "currency": "USD",
}
ROAD = (steps.AUTHORIZE, steps.DECREMENT, steps.CAPTURE)
# The collaborator after whose call something else happens.
ON_THE_ROAD = [
    (steps.AUTHORIZE, "orders", "load"),
    (steps.AUTHORIZE, "payments", "authorize"),
    (steps.AUTHORIZE, "orders", "append_all"),
    (steps.DECREMENT, "orders", "load"),
    (steps.DECREMENT, "stock", "supply"),
    (steps.DECREMENT, "stock", "move"),
    (steps.CAPTURE, "orders", "load"),
    (steps.CAPTURE, "payments", "capture"),
    (steps.CAPTURE, "orders", "append_all"),
]
AFTERWARDS = [
    (steps.RESTOCK_CANCELLED, "orders", "load"),
    (steps.RESTOCK_CANCELLED, "stock", "move"),
    (steps.RESTOCK_CANCELLED, "orders", "append_all"),
    (steps.REFUND, "orders", "load"),
    (steps.REFUND, "payments", "refund"),
    (steps.REFUND, "orders", "append_all"),
]


def name(value: Step | str) -> str:
    """How a case reads in the report."""
    return value if isinstance(value, str) else value.name


@pytest.fixture
def placed(services: Services, stocked: SetStock) -> str:
    """The id of a new order of tracked products."""
    stocked(**ON_HAND)
    draft: Any = DRAFT
    return place_order(services.orders, draft, actor="user", key=None, digest="").order["id"]


def cancel(services: Services, order_id: str, *pieces: tuple[int, int]) -> Order:
    """Cancels these pieces, given as line and quantity."""
    draft: Draft = {"products": [{"line": line, "quantity": some} for line, some in pieces]}
    return create_cancellation(services.orders, order_id, draft, Request("user")).order


def up_to(services: Services, step: Step, order_id: str) -> None:
    """Performs the steps of the road before this one."""
    for earlier in ROAD[: ROAD.index(step)] if step in ROAD else ROAD:
        perform(services.orders, earlier, [order_id])


def crash() -> None:
    """Dies."""
    raise Crash


def kept(order: Order) -> int:
    """The money that the shop has."""
    return order["payment"]["capturedAmount"] - order["payment"]["refundedAmount"]


@pytest.mark.parametrize(("step", "collaborator", "method"), ON_THE_ROAD, ids=name)
def test_pieces_cancelled_at_any_point_of_a_step_cost_nothing_in_the_end(
    step: Step,
    collaborator: str,
    method: str,
    services: Services,
    placed: str,
    finish: Finish,
    books: Books,
) -> None:
    up_to(services, step, placed)
    # A transaction that has written the stock lets nobody else change the order before it ends.
    then: Callable[[], object] = lambda: cancel(services, placed, (1, 1))  # noqa: E731
    perform(followed(services, collaborator, method, then).orders, step, [placed])
    finish(services, placed)
    (order,) = books.check()
    assert (order["status"], kept(order)) == ("confirmed", 700)
    assert books.levels() == {"apple": 9, "bread": 9}


@pytest.mark.parametrize(("step", "collaborator", "method"), ON_THE_ROAD, ids=name)
def test_a_crash_after_a_cancellation_is_repaired_by_doing_the_step_again(
    step: Step,
    collaborator: str,
    method: str,
    services: Services,
    placed: str,
    finish: Finish,
    books: Books,
) -> None:
    """And if another cancellation comes before that."""
    up_to(services, step, placed)
    cancel(services, placed, (1, 1))
    with pytest.raises(Crash):
        perform(followed(services, collaborator, method, crash).orders, step, [placed])
    cancel(services, placed, (1, 1))
    for _ in range(2):
        perform(services.orders, step, [placed])
    finish(services, placed)
    (order,) = books.check()
    assert (order["status"], kept(order)) == ("confirmed", 400)
    assert books.levels() == {"apple": 10, "bread": 9}


@pytest.mark.parametrize(("step", "collaborator", "method"), AFTERWARDS, ids=name)
def test_a_crash_in_what_a_cancellation_sets_in_motion_is_repaired(
    step: Step,
    collaborator: str,
    method: str,
    services: Services,
    placed: str,
    finish: Finish,
    books: Books,
) -> None:
    up_to(services, step, placed)
    cancel(services, placed, (1, 1), (2, 1))
    with pytest.raises(Crash):
        perform(followed(services, collaborator, method, crash).orders, step, [placed])
    for _ in range(2):
        perform(services.orders, step, [placed])
    finish(services, placed)
    (order,) = books.check()
    assert kept(order) == 400
    assert books.levels() == {"apple": 9, "bread": 10}
    back = [row for row in books.movements() if "cancellationId" in row]
    assert sorted((row["kind"], row["line"], row["quantity"]) for row in back) == [
        ("restock", 1, 1),
        ("restock", 2, 1),
    ]


@pytest.mark.parametrize("step", [steps.RESTOCK_CANCELLED, steps.RESTOCK, steps.REFUND], ids=name)
def test_the_last_pieces_come_back_by_their_lines_whichever_step_is_first(
    step: Step, services: Services, placed: str, finish: Finish, books: Books
) -> None:
    up_to(services, step, placed)
    cancel(services, placed, (1, 1))
    cancel(services, placed, (1, 1), (2, 1))
    perform(services.orders, step, [placed])
    finish(services, placed)
    (order,) = books.check()
    assert (order["status"], order["payment"]["status"], kept(order)) == ("cancelled", "refunded", 0)
    assert books.levels() == ON_HAND
    lines = [row.get("line") for row in books.movements() if row["kind"] == "restock"]
    assert sorted(lines) == [1, 1, 2], "nothing was left for the whole order to put back"


def test_an_order_that_is_cancelled_afterwards_puts_back_the_rest(
    services: Services, placed: str, finish: Finish, books: Books
) -> None:
    finish(services, placed)
    cancel(services, placed, (1, 1))
    change_status(services.orders, placed, "cancelled", actor="user")
    finish(services, placed)
    (order,) = books.check()
    assert (kept(order), books.levels()) == (0, ON_HAND)


def test_a_lost_message_is_found_by_the_sweep(
    services: Services, placed: str, finish: Finish, clock: Any
) -> None:
    finish(services, placed)
    cancel(services, placed, (1, 1))
    clock.advance(services.settings.step_deadline * 2)
    sent = swept(services)
    assert sent[steps.RESTOCK_CANCELLED.name] == sent[steps.REFUND.name] == [placed]


def test_the_open_rest_of_a_partly_shipped_order_ships_or_delivers_it(
    services: Services, placed: str, finish: Finish, books: Books
) -> None:
    finish(services, placed)
    parcel = {"products": [{"line": 1, "quantity": 2}]}
    made = create_shipment(services.orders, placed, parcel, Request("shop"))
    deliver_shipment(services.orders, placed, made.shipment["id"], Request("shop"))
    before = books.order(placed)["version"]
    order = cancel(services, placed, (2, 1))
    assert [event["type"] for event in order["events"] if event["sequence"] > before] == [
        "cancellation.created",
        "order.shipped",
        "order.delivered",
        "refund.requested",
    ]
    finish(services, placed)
    (order,) = books.check()
    assert (order["status"], kept(order), books.levels()) == ("delivered", 700, {"apple": 8, "bread": 10})


def test_of_a_shipment_and_a_cancellation_of_the_last_piece_one_wins(
    services: Services, placed: str, finish: Finish, books: Books
) -> None:
    finish(services, placed)
    parcel = {"products": [{"line": 2, "quantity": 1}]}
    results = at_once(
        *[lambda: cancel(services, placed, (2, 1))] * 4,
        *[lambda: create_shipment(services.orders, placed, parcel, Request("shop"))] * 4,
    )
    refused = [one for one in results if isinstance(one, Exception)]
    assert len(refused) == 7
    assert all(isinstance(one, NothingOpen) for one in refused)
    finish(services, placed)
    books.check()


@pytest.mark.parametrize(
    ("pieces", "mails"),
    [
        ([(1, 1)], ["cancellation.created"]),
        ([(1, 2), (2, 1)], ["order.cancelled"]),
    ],
)
def test_each_write_of_a_cancellation_is_mailed_once(
    pieces: list[tuple[int, int]], mails: list[str], services: Services, placed: str
) -> None:
    order = cancel(services, placed, *pieces)
    new = [event for event in order["events"] if event["sequence"] > 1]
    by_mail = mailed(new)
    assert [event["type"] for event in new if event["sequence"] in by_mail] == mails


def test_the_rest_of_a_partly_shipped_order_is_mailed_as_cancelled_and_not_as_shipped(
    services: Services, placed: str, finish: Finish
) -> None:
    finish(services, placed)
    create_shipment(services.orders, placed, {"products": [{"line": 1, "quantity": 2}]}, Request("shop"))
    order = cancel(services, placed, (2, 1))
    new = [event for event in order["events"] if event["type"] in ("cancellation.created", "order.shipped")]
    assert [event["type"] for event in new if event["sequence"] in mailed(new)] == ["cancellation.created"]
