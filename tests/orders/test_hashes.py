"""A client recomputes the hashes of an order's events from the answer, by the rule in docs/events.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.erasure.service import erase_customer
from app.stock.service import set_levels
from tests.support.hash_rule import hashes

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient

    from app.services import Services

ODD = 'Zoë "the\tbackslash\\"\r\nand \u2028 😀'
PERSONAL: dict[str, Any] = {
    "email": "eve@example.org",
    "shippingAddress": {"name": "Eve", "country": "DE"},
    "metadata": {"note": ODD, "amount": "7"},
}


def given(client: FlaskClient, order_id: str) -> tuple[list[str], list[str]]:
    """The hashes that are shown, and those that come out."""
    answer = client.get(f"/orders/{order_id}/events")
    shown = [event["hash"] for event in answer.get_json()["events"]]
    return shown, hashes(order_id, answer.text)


@pytest.mark.parametrize(
    ("currency", "price", "part"), [("USD", 4.55, 0.29), ("JPY", 455, 7), ("KWD", 4.555, 0.007)]
)
def test_every_hash_comes_out_as_it_is_shown(
    currency: str,
    price: float,
    part: float,
    client: FlaskClient,
    post_order: Callable[..., Any],
    settle: Callable[[str], None],
    app_services: Services,
) -> None:
    """Of an order that was shipped and refunded at the second try, before and after its data are erased."""
    set_levels(app_services.stock, {"apple": 5})
    order_id = post_order(
        products=[{"productId": "apple", "quantity": 1, "unitPrice": price}],
        totalAmount=price,
        currency=currency,
        reference="№ 7",
        paymentMethod="sandbox_refund_fails_once",
        **PERSONAL,
    )["id"]
    settle(order_id)
    shipped = {"status": "shipped", "tracking": {"carrier": "ДПД", "url": "https://example.org/?a=ü"}}
    assert client.put(f"/orders/{order_id}", json=shipped).status_code == 200
    lines = [{"productId": "apple", "quantity": 1, "restock": True}]
    draft = {"amount": part, "reason": ODD, "products": lines}
    refund = client.post(f"/orders/{order_id}/refunds", json=draft).get_json()["id"]
    settle(order_id)
    client.post(f"/orders/{order_id}/refunds/{refund}/retry")
    settle(order_id)
    shown, computed = given(client, order_id)
    assert len(shown) == 13
    assert computed == shown
    (created, *_) = client.get(f"/orders/{order_id}/events").get_json()["events"]
    assert created["data"]["email"] == PERSONAL["email"]
    erase_customer(app_services.erasure, "user-id")
    after = client.get(f"/orders/{order_id}/events").get_json()["events"][0]["data"]
    assert after == {name: value for name, value in created["data"].items() if name not in PERSONAL}
    assert given(client, order_id) == (shown, computed)


@pytest.mark.parametrize(
    ("changes", "last"),
    [
        ({"paymentMethod": "sandbox_declined"}, "stock.released"),
        ({"products": [{"productId": "apple", "quantity": 9}]}, "payment.voided"),
        ({"totalAmount": 0}, "order.confirmed"),
    ],
    ids=["declined", "out of stock", "for nothing"],
)
def test_so_does_every_hash_of_an_order_that_ended_otherwise(
    changes: dict[str, Any],
    last: str,
    client: FlaskClient,
    post_order: Callable[..., Any],
    settle: Callable[[str], None],
    app_services: Services,
) -> None:
    set_levels(app_services.stock, {"apple": 5})
    order_id = post_order(**changes)["id"]
    settle(order_id)
    assert client.get(f"/orders/{order_id}/events").get_json()["events"][-1]["type"] == last
    shown, computed = given(client, order_id)
    assert computed == shown
