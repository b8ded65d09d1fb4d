"""Customers get one mail for each write about their parcels, which names the goods and the tracking."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.notifications.mail.channel import MailChannel
from app.orders.commands import Request
from app.orders.model import Change
from app.orders.service import change_status
from app.shipments.service import (
    cancel_shipment,
    correct_shipment,
    create_shipment,
    deliver_shipment,
)
from tests.support.announcing import announce
from tests.support.doubles import with_parts
from tests.support.mails import CONFIRMED, TIMES, mail_of, order_after, texts_of

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.orders.model import Order
    from app.services import Services
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Finish, Place

SHOP = Request("shop")
POTS = [{"productId": "tea-pot", "quantity": 2, "unitPrice": 8000}, {"productId": "cup", "quantity": 4}]
SNAIL = {"carrier": "Snail", "number": "S-1", "url": "https://snail.example/S-1"}
FIRST = Change(
    "shipment.created",
    {"shipmentId": "s1", "products": [{"line": 2, "quantity": 3}], "tracking": SNAIL},
)
REST = Change(
    "shipment.created",
    {"shipmentId": "s2", "products": [{"line": 1, "quantity": 2}, {"line": 2, "quantity": 1}]},
)
OF_FIRST: dict[str, Any] = {"shipmentId": "s1"}


def shipped(*changes: Change) -> Order:
    return order_after([*CONFIRMED, *changes], products=POTS)


@pytest.mark.parametrize(
    ("order", "kind", "phrases", "missing"),
    [
        (shipped(FIRST), "shipment.created", [f"3 {TIMES} cup", "Snail", "S-1", "The rest follows"], []),
        (
            shipped(FIRST, REST, Change("order.shipped")),
            "order.shipped",
            ["is on its way", f"2 {TIMES} tea-pot", f"1 {TIMES} cup"],
            ["S-1", "The rest follows"],
        ),
        (
            shipped(FIRST, REST, Change("shipment.corrected", {**OF_FIRST, "tracking": {"number": "S-2"}})),
            "shipment.corrected",
            [f"3 {TIMES} cup", "S-2"],
            ["Snail"],
        ),
        (
            shipped(FIRST, Change("shipment.delivered", OF_FIRST)),
            "shipment.delivered",
            ["has been delivered", f"3 {TIMES} cup"],
            ["S-1"],
        ),
        (
            shipped(FIRST, Change("shipment.cancelled", OF_FIRST)),
            "shipment.cancelled",
            ["will not be sent", f"3 {TIMES} cup"],
            ["S-1"],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_mail_about_a_parcel_names_its_goods_and_its_tracking(
    order: Order, kind: str, phrases: list[str], missing: list[str]
) -> None:
    """In text and HTML; not the tracking of another parcel."""
    for text in texts_of(mail_of(order, kind)):
        assert [phrase for phrase in phrases if phrase not in text] == []
        assert [phrase for phrase in missing if phrase in text] == []


def test_a_parcel_of_the_whole_order_repeats_no_goods() -> None:
    """Every mail lists the order."""
    whole = [{"line": 1, "quantity": 2}, {"line": 2, "quantity": 4}]
    created = Change("shipment.created", {"shipmentId": "s1", "products": whole, "tracking": SNAIL})
    for text in texts_of(mail_of(shipped(created, Change("order.shipped")), "order.shipped")):
        assert "In this parcel" not in text
        assert "S-1" in text


def test_a_product_id_cannot_become_a_link_in_a_mail_about_a_parcel() -> None:
    lines = [{"productId": "evil.example/x", "quantity": 2}]
    created = Change("shipment.created", {"shipmentId": "s1", "products": [{"line": 1, "quantity": 1}]})
    order = order_after([*CONFIRMED, created], products=lines)
    for text in texts_of(mail_of(order, "shipment.created")):
        assert "evil.example/x" not in text


def test_each_write_is_mailed_once(
    services: Services, database: OrderDatabase, clock: StoppedClock, place: Place, finish: Finish
) -> None:
    """The log has the other public events of the write."""
    mail = MailChannel("smtp://127.0.0.1:1", "shop@shop.example")
    services = with_parts(services, channels=(mail, *services.notifications.channels))
    order_id = place(email="a@example.org", apple=3)["id"]
    finish(services, order_id)
    orders = services.orders
    mailed: list[list[str]] = []

    def made() -> None:
        rows = database["notifications"].find({"orderId": order_id, "channel": "mail"}).sort("sequence")
        mailed.append([row["type"] for row in rows][sum(map(len, mailed)) :])

    def announced() -> None:
        announce(services.notifications, [order_id])
        made()
        clock.advance(timedelta(seconds=1))

    announced()
    part = {"products": [{"line": 1, "quantity": 1}]}
    first = create_shipment(orders, order_id, part, SHOP).shipment["id"]
    announced()
    correct_shipment(orders, order_id, first, {"tracking": SNAIL}, SHOP)
    announced()
    deliver_shipment(orders, order_id, first, SHOP)
    announced()
    second = create_shipment(orders, order_id, {}, SHOP).shipment["id"]
    announced()
    cancel_shipment(orders, order_id, second, SHOP)
    announced()
    change_status(orders, order_id, "shipped", actor="shop")
    announced()
    change_status(orders, order_id, "delivered", actor="shop")
    announced()
    assert mailed == [
        ["order.confirmed"],
        ["shipment.created"],
        ["shipment.corrected"],
        ["shipment.delivered"],
        ["order.shipped"],
        ["shipment.cancelled"],
        ["order.shipped"],
        ["order.delivered"],
    ]
