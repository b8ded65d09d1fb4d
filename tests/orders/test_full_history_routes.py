"""Every change of an order is refused when its log is full, and only then; its money can still go back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.orders.bounds import LIMITS
from app.orders.model import Change, Order, advance
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from app.services import Services

NEVER = {"paymentMethod": "sandbox_refund_fails"}
BOUND = LIMITS["cancel"].events
# The commands that are refused earlier than the others.
EARLY = {
    "PATCH /orders/<order_id>": LIMITS["amend"].events,
    "POST /orders/<order_id>/holds": LIMITS["hold"].events,
    "PUT /orders/<order_id>/tags": LIMITS["tag"].events,
    "POST /orders/<order_id>/notes": LIMITS["note"].events,
}
HELD = {"code": "held", "blocks": ["capture"], "then": "release"}
NOTE = {"visibility": "internal", "textDigest": "d" * 64}

PIECE = [{"line": 1, "quantity": 1}]
SHIPPED = Change("shipment.created", {"shipmentId": "s1", "products": PIECE})
ANNOUNCED = Change("return.requested", {"returnId": "r1", "products": PIECE, "refund": "none"})
APPROVED = Change("return.approved", {"returnId": "r1"})
# What has to have happened to the order before, by the end of the path.
BEFORE = {
    "/<shipment_id>": [SHIPPED],
    "/deliver": [SHIPPED],
    "<shipment_id>/cancel": [SHIPPED],
    "/returns": [SHIPPED],
    "/approve": [SHIPPED, ANNOUNCED],
    "/reject": [SHIPPED, ANNOUNCED],
    "<return_id>/cancel": [SHIPPED, ANNOUNCED],
    "/receive": [SHIPPED, ANNOUNCED, APPROVED],
    "/close": [SHIPPED, ANNOUNCED, APPROVED],
}

# A body for each way to change an order, by its route and what it needs the order to be.
CHANGES: dict[tuple[str, str], list[Any]] = {
    ("PUT", "/orders/<order_id>"): [{"status": "shipped"}, {"status": "cancelled"}],
    ("PATCH", "/orders/<order_id>"): [{"reference": "R"}],
    ("PUT", "/orders/<order_id>/tags"): [["vip"]],
    ("POST", "/orders/<order_id>/notes"): [{"text": "Called."}],
    ("DELETE", "/orders/<order_id>/notes/<note_id>"): [None],
    ("DELETE", "/orders/<order_id>"): [None],
    ("POST", "/orders/<order_id>/holds"): [{"code": "another"}],
    ("POST", "/orders/<order_id>/holds/<hold_code>/release"): [{}],
    ("DELETE", "/orders/<order_id>/holds/<hold_code>"): [None],
    ("POST", "/orders/<order_id>/shipments"): [{}],
    ("PATCH", "/orders/<order_id>/shipments/<shipment_id>"): [{"tracking": {"number": "1"}}],
    ("POST", "/orders/<order_id>/shipments/<shipment_id>/deliver"): [None],
    ("POST", "/orders/<order_id>/shipments/<shipment_id>/cancel"): [None],
    ("POST", "/orders/<order_id>/cancellations"): [{"products": PIECE, "amount": 1}],
    ("POST", "/orders/<order_id>/returns"): [{"products": PIECE}],
    ("POST", "/orders/<order_id>/returns/<return_id>/approve"): [None],
    ("POST", "/orders/<order_id>/returns/<return_id>/reject"): [{"reason": "r"}],
    ("POST", "/orders/<order_id>/returns/<return_id>/cancel"): [None],
    ("POST", "/orders/<order_id>/returns/<return_id>/receive"): [
        {"products": [{"line": 1, "quantity": 1, "condition": "damaged"}]}
    ],
    ("POST", "/orders/<order_id>/returns/<return_id>/close"): [None],
    ("POST", "/orders/<order_id>/refunds"): [{"amount": 1}],
    ("POST", "/orders/<order_id>/refunds/<refund_id>/retry"): [None],
}
CALLS = [(method, path, body) for (method, path), bodies in CHANGES.items() for body in bodies]


def failures(order: Order) -> Iterator[Change]:
    """Refunds that fail, each retried a few times, without end."""
    number = 0
    while True:
        number += 1
        refund = {"refundId": f"{order['id']}-{number}"}
        yield Change("refund.requested", {**refund, "amount": 1})
        for _ in range(9):
            yield Change("refund.failed", refund)
            yield Change("refund.retried", refund)
        yield Change("refund.failed", refund)


@pytest.fixture
def lengthen(
    post_order: Callable[..., Any], settle: Callable[[str], None], app_services: Services
) -> Callable[..., str]:
    """Makes a confirmed and held order with a log of so many events, the last a failed refund; its id."""

    def make(length: int, path: str = "") -> str:
        order_id = post_order(**NEVER)["id"]
        settle(order_id)
        (order,) = app_services.orders.store.load([order_id])
        made = failures(order)
        first = length - order["version"]
        before = next((some for end, some in BEFORE.items() if path.endswith(end)), [])
        changes = [
            Change("note.added", {"noteId": f"{order_id}-n1", **NOTE}),
            Change("hold.placed", HELD),
            *before,
            *(next(made) for _ in range(first - 2 - len(before))),
        ]
        while changes[-1].type != "refund.failed":
            changes.insert(0, Change("payment.partially_refunded", {"refundedAmount": 0}))
            changes.pop()
        at = app_services.clock()
        assert app_services.orders.store.append(
            order, advance(order, at, "services", changes), at + timedelta(hours=1)
        )
        return order_id

    return make


def call(client: FlaskClient, method: str, path: str, body: Any, order_id: str) -> TestResponse:
    refund = client.get(f"/orders/{order_id}/refunds").get_json()["refunds"][-1]["id"]
    url = path.replace("<order_id>", order_id).replace("<refund_id>", refund)
    url = url.replace("<hold_code>", "held").replace("<note_id>", f"{order_id}-n1")
    url = url.replace("<shipment_id>", "s1").replace("<return_id>", "r1")
    media_type = "application/merge-patch+json" if method == "PATCH" else None
    return client.open(url, method=method, json=body, content_type=media_type)


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_a_full_history_takes_no_change(
    method: str, path: str, body: Any, client: FlaskClient, lengthen: Callable[..., str]
) -> None:
    bound = EARLY.get(f"{method} {path}", BOUND)
    order_id = lengthen(bound, path)
    answer = call(client, method, path, body, order_id)
    assert (answer.status_code, answer.get_json()["code"]) == (409, "history_full")
    assert f"{bound} events" in answer.get_json()["detail"]
    assert client.get(f"/orders/{order_id}").get_json()["version"] == bound


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_a_history_that_is_not_full_takes_each(
    method: str, path: str, body: Any, client: FlaskClient, lengthen: Callable[..., str]
) -> None:
    length = BOUND - 20 if f"{method} {path}" not in EARLY else EARLY[f"{method} {path}"] - 1
    answer = call(client, method, path, body, lengthen(length, path))
    assert answer.status_code in (200, 201, 202, 204), answer.text


def test_every_way_to_change_an_order_is_tried(app: Flask) -> None:
    ways = {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/orders/<order_id>")
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}
    }
    assert ways == CHANGES.keys()


def test_asking_for_the_present_status_changes_nothing_and_is_taken(
    client: FlaskClient, lengthen: Callable[..., str]
) -> None:
    order_id = lengthen(979)
    assert client.put(f"/orders/{order_id}", json={"status": "shipped"}).status_code == 200
    answer = client.put(f"/orders/{order_id}", json={"status": "shipped"})
    assert (answer.status_code, answer.get_json()["order"]["version"]) == (200, 981)


def test_a_deleted_order_accepts_only_the_retry_of_its_refund(
    client: FlaskClient, post_order: Callable[..., Any], settle: Callable[[str], None], app_services: Services
) -> None:
    """A caller that may refund may do that. Everything else is 404, as for an order that does not exist."""
    order_id = post_order(paymentMethod="sandbox_refund_fails_once")["id"]
    settle(order_id)
    assert client.delete(f"/orders/{order_id}").status_code == 204
    settle(order_id)
    refund = f"/orders/{order_id}/refunds/{order_id}-1"
    answer = client.post(f"{refund}/retry")
    assert (answer.status_code, answer.get_json()["attempt"]) == (202, 2)
    assert answer.get_json()["amount"] == SAMPLE["totalAmount"]
    again = client.post(f"{refund}/retry")
    assert (again.status_code, again.get_json()["code"]) == (409, "refund_not_failed")
    settle(order_id)
    (order,) = app_services.orders.store.load([order_id])
    assert (order["payment"]["status"], order["payment"]["refundedAmount"]) == ("refunded", 20000)
    for method, path in (
        ("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/refunds"),
        ("POST", "/refunds"), ("GET", f"/refunds/{order_id}-1"), ("POST", f"/refunds/{order_id}-2/retry"),
    ):  # fmt: skip
        body = {"status": "cancelled"} if method == "PUT" else None
        there = client.open(f"/orders/{order_id}{path}", method=method, json=body)
        assert (there.status_code, there.get_json()["code"]) == (404, "not_found"), (method, path)


@pytest.mark.slow
def test_a_refund_is_retried_twenty_times(
    client: FlaskClient, post_order: Callable[..., Any], settle: Callable[[str], None]
) -> None:
    order_id = post_order(**NEVER)["id"]
    settle(order_id)
    refund = client.post(f"/orders/{order_id}/refunds", json={"amount": 1}).get_json()["id"]
    settle(order_id)
    for _ in range(20):
        assert client.post(f"/orders/{order_id}/refunds/{refund}/retry").status_code == 202
        settle(order_id)
    answer = client.post(f"/orders/{order_id}/refunds/{refund}/retry")
    assert (answer.status_code, answer.get_json()["code"]) == (409, "too_many_retries")
    assert "payment provider" in answer.get_json()["detail"]
