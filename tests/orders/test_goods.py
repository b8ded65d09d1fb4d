"""The pieces of each line of an order: open, shipped, cancelled, on their way back, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from app.orders import goods
from app.orders.model import Change, Order, advance, create, fold
from tests.support.stored import CONFIRMED

AT, LATER, LAST = (datetime(2024, 10, day, 10, tzinfo=UTC) for day in (4, 5, 6))
ORDER_ID = "66ffbd20a1b2c3d4e5f60718"
LINES = [{"productId": "a", "quantity": 3}, {"productId": "b", "quantity": 2}]
DHL = {"carrier": "DHL", "number": "1"}


def pieces(*quantities: int) -> list[dict[str, int]]:
    """The entries of the lines in this order, without the lines of which there is nothing."""
    return [{"line": line, "quantity": some} for line, some in enumerate(quantities, 1) if some]


def shipment(status: str, *quantities: int) -> dict[str, Any]:
    return {"status": status, "products": pieces(*quantities)}


def returned(status: str, announced: list[Any], *receipts: list[Any]) -> dict[str, Any]:
    return {"status": status, "products": announced, "receipts": [{"products": came} for came in receipts]}


def order(status: str = "confirmed", **things: Any) -> dict[str, Any]:
    return {"id": ORDER_ID, "status": status, "products": LINES, "updatedAt": LAST, **things}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (order("pending"), ("none", (3, 2))),
        (order(cancellations=[{"products": pieces(1, 2)}]), ("none", (2, 0))),
        (order(shipments=[shipment("shipped", 1, 2)]), ("partial", (2, 0))),
        (order(shipments=[shipment("delivered", 1, 2)]), ("partial", (2, 0))),
        (order(shipments=[shipment("cancelled", 3, 2)]), ("none", (3, 2))),
        (order("shipped", shipments=[shipment("cancelled", 3, 2)]), ("none", (3, 2))),
        (
            order(shipments=[shipment("shipped", 1, 2)], cancellations=[{"products": pieces(1)}]),
            ("partial", (1, 0)),
        ),
        (
            order("shipped", shipments=[shipment("shipped", 1), shipment("delivered", 2, 2)]),
            ("shipped", (0, 0)),
        ),
        (order("delivered", shipments=[shipment("delivered", 3, 2)]), ("delivered", (0, 0))),
        (order("cancelled"), ("none", (0, 0))),
    ],
)
def test_fulfillment_follows_from_live_shipments_and_open_pieces(
    found: dict[str, Any], expected: tuple[str, tuple[int, ...]]
) -> None:
    """Cancelled shipments do not count, and a cancelled order has nothing open."""
    status, left = expected
    assert goods.fulfillment(found) == {"status": status, "open": pieces(*left)}


def test_running_returns_reserve_what_they_announce_and_ended_ones_what_came() -> None:
    """Pieces beyond the announcement count once, and free nothing of another line."""
    found = order(
        "shipped",
        shipments=[shipment("delivered", 3, 2)],
        returns=[
            returned("approved", pieces(1, 1), pieces(2)),
            returned("closed", pieces(1), []),
            returned("cancelled", pieces(1)),
        ],
    )
    assert goods.announced(found) == [0, 1]
    assert goods.received(found) == [2, 0]
    assert goods.returnable(found) == [1, 1]
    assert goods.has_open_return(found)


def shipped_by_an_earlier_release() -> Order:
    data = {"userId": "u", "products": LINES, "totalAmount": 1250, "currency": "USD"}
    placed = create(ORDER_ID, AT, "u", data, None)
    confirmed = advance(placed, AT, "system", CONFIRMED)
    return advance(confirmed, LATER, "shop", [Change("order.shipped", {"tracking": DHL})])


def test_an_order_that_an_earlier_release_shipped_has_one_shipment_of_all() -> None:
    """With the times of its events, as far as they are known."""
    shipped = shipped_by_an_earlier_release()
    expected = {"id": f"{ORDER_ID}-s1", "status": "shipped", "products": pieces(3, 2), "tracking": DHL}
    expected |= {"createdAt": LATER, "updatedAt": LATER}
    assert "shipments" not in shipped
    assert goods.shipments(shipped, shipped["events"]) == [expected]
    assert goods.fulfillment(shipped) == {"status": "shipped", "open": []}
    delivered = advance(shipped, LAST, "shop", [Change("order.delivered")])
    ended = {"status": "delivered", "deliveredAt": LAST, "updatedAt": LAST}
    assert goods.shipments(delivered, delivered["events"]) == [expected | ended]
    assert goods.fulfillment(delivered) == {"status": "delivered", "open": []}
    assert goods.returnable(delivered) == [3, 2]
    assert goods.shipments(delivered)[0]["createdAt"] == LAST


def test_the_log_of_an_earlier_release_folds_to_its_document() -> None:
    """The one shipment is derived, and not part of the state."""
    shipped = shipped_by_an_earlier_release()
    assert fold(ORDER_ID, shipped["events"]) == shipped
