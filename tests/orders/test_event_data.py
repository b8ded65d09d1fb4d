"""The table of events names the data that events really carry."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from app.corrections.service import add_note, amend, erase_note, tag
from app.holds.service import expire_holds, place_hold, release_hold
from app.orders import steps
from app.orders.commands import Request
from app.orders.events import EVENTS
from app.orders.processing import perform
from app.orders.service import place_order
from app.reconciliation.records import ADOPTED_BY
from app.refunds.service import request_refund, retry_refund
from app.returns.service import announce_return, approve_return, end_return, receive_return
from app.shipments.service import cancel_shipment, create_shipment
from app.stock.service import set_level
from tests.support.healthy import Healthy

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.doubles import StoppedClock

HOUR = timedelta(hours=1)
# The sandbox never asks a customer to act.
UNREACHED = {"payment.action_required"}


def test_events_carry_the_data_that_the_table_names(
    services: Services, database: OrderDatabase, clock: StoppedClock
) -> None:
    """In the logs of orders in every state."""
    healthy = Healthy(services, database, clock)
    healthy.fill(hundreds=1)
    order_id = healthy.ids["failing refund"][0]
    refund = request_refund(services.orders, order_id, {}, actor="user", key=None, digest="").refund
    healthy.perform(steps.REFUND, [order_id])
    retry_refund(services.orders, order_id, refund["id"], actor="user")
    patch = {"reference": "R", "email": "eve@example.org"}
    amend(services.orders, order_id, patch, Request("user"), by_shop=True)
    tag(services.orders, order_id, ["vip"], Request("user"))
    _, note = add_note(services.orders, order_id, "Called.", "internal", Request("user"))
    erase_note(services.orders, order_id, note.note["id"], Request("user"))
    _go_through_returns(services, healthy.ids["delivered"][0])
    order_id = healthy.ids["confirmed"][0]
    first = create_shipment(services.orders, order_id, {"tracking": {"number": "1"}}, Request("shop"))
    cancel_shipment(services.orders, order_id, first.shipment["id"], Request("shop"))
    for code in ("a", "b"):
        hold = {"code": code, "reason": "r", "blocks": ["ship"], "until": clock() + HOUR, "then": "release"}
        place_hold(services.orders, order_id, hold, Request("shop"))
    release_hold(services.orders, order_id, "a", "r", Request("shop"))
    _wait_for_stock(services)
    clock.advance(HOUR)
    expire_holds(services.orders)
    carried: dict[str, set[str]] = defaultdict(set)
    for order in database["orders"].find({}, {"events": 1}):
        for event in order["events"]:
            if event["actor"] != ADOPTED_BY:
                carried[event["type"]] |= event["data"].keys()
    assert carried.keys() == EVENTS.keys() - UNREACHED
    for kind, names in carried.items():
        if kind != "order.created":
            assert names <= set(re.findall(r"`(\w+)`", EVENTS[kind].carries)), kind


def _wait_for_stock(services: Services) -> None:
    """Places an order that waits for a product without stock."""
    set_level(services.stock, "rare", 0)
    draft: Any = {
        "userId": "user",
        "products": [{"productId": "rare", "quantity": 1}],
        "totalAmount": 1,
        "currency": "USD",
        "onShortage": "backorder",
        "backorderUntil": services.clock() + HOUR,
    }
    order = place_order(services.orders, draft, actor="user", key=None, digest="").order
    perform(services.orders, steps.DECREMENT_FIRST, [order["id"]])


def _go_through_returns(services: Services, order_id: str) -> None:
    """Carries out each command on returns, for an order with a line of a single piece."""
    shop, pieces = Request("shop"), [{"line": 1, "quantity": 1, "reason": "r"}]
    draft = {"products": pieces, "note": "n", "refund": "on_approval"}

    def announce() -> str:
        made = announce_return(services.orders, order_id, draft, shop, window=None)
        return made.found["id"]

    end_return(services.orders, order_id, announce(), "rejected", shop, "r")
    end_return(services.orders, order_id, announce(), "cancelled", shop)
    first = announce()
    approve_return(services.orders, order_id, first, None, shop)
    parcel = {"products": [{"line": 1, "quantity": 1, "condition": "resellable"}]}
    receive_return(services.orders, order_id, first, parcel, shop)
    perform(services.orders, steps.RESTOCK_RETURNED, [order_id])
