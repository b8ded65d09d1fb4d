"""Refunds as a client sees them: reserved at once, never above the captured amount, visible if they fail."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from app.services import Services

APPLES = [
    {"productId": "apple", "quantity": 3, "unitPrice": 40.00},
    {"productId": "pear", "quantity": 1, "unitPrice": 80.00},
]


@pytest.fixture
def confirm(post_order: Callable[..., Any], settle: Callable[[str], None]) -> Callable[..., str]:
    """Places the sample order with such changes and takes it to `confirmed`; its id."""

    def make(**changes: Any) -> str:
        order_id = post_order(**changes)["id"]
        settle(order_id)
        return order_id

    return make


@pytest.fixture
def order_id(confirm: Callable[..., str]) -> str:
    """A confirmed order over 200.00 USD."""
    return confirm()


@pytest.fixture
def ask(client: FlaskClient) -> Callable[..., TestResponse]:
    """As in `ask(order_id, amount=10)`; `key` is the idempotency key."""

    def post(order_id: str, *, key: str | None = None, **body: Any) -> TestResponse:
        headers = {"Idempotency-Key": key} if key else {}
        return client.post(f"/orders/{order_id}/refunds", json=body, headers=headers)

    return post


def refunds_of(client: FlaskClient, order_id: str) -> list[dict[str, Any]]:
    """The refunds as they are listed."""
    answer = client.get(f"/orders/{order_id}/refunds")
    assert answer.status_code == 200
    return answer.get_json()["refunds"]


def payment_of(client: FlaskClient, order_id: str) -> tuple[str, float]:
    """The status of the payment, and what is given back."""
    payment = client.get(f"/orders/{order_id}").get_json()["payment"]
    return payment["status"], payment["refundedAmount"]


def test_a_refund_is_accepted_and_then_given_back(
    client: FlaskClient, order_id: str, ask: Callable[..., TestResponse], settle: Callable[[str], None]
) -> None:
    answer = ask(order_id, amount=10.5, reason="bruised")
    assert answer.status_code == 202
    refund = answer.get_json()
    assert answer.headers["Location"] == f"/orders/{order_id}/refunds/{refund['id']}"
    assert b'"amount":10.50,' in answer.data
    assert (refund["status"], refund["reason"], refund["currency"]) == ("pending", "bruised", "USD")
    assert payment_of(client, order_id) == ("captured", 0)
    settle(order_id)
    (listed,) = refunds_of(client, order_id)
    assert listed["status"] == "succeeded"
    assert client.get(answer.headers["Location"]).get_json() == listed
    assert payment_of(client, order_id) == ("partially_refunded", 10.5)


@pytest.mark.parametrize("send", [{}, {"json": {}}, {"json": {"reason": "all of it"}}])
def test_without_an_amount_the_rest_goes_back(
    client: FlaskClient,
    order_id: str,
    ask: Callable[..., TestResponse],
    settle: Callable[[str], None],
    send: dict[str, Any],
) -> None:
    ask(order_id, amount=50)
    answer = client.post(f"/orders/{order_id}/refunds", **send)
    assert (answer.status_code, answer.get_json()["amount"]) == (202, 150)
    settle(order_id)
    assert payment_of(client, order_id) == ("refunded", 200)


def test_the_lines_of_a_refund_set_its_amount(
    client: FlaskClient,
    confirm: Callable[..., str],
    ask: Callable[..., TestResponse],
    settle: Callable[[str], None],
) -> None:
    order_id = confirm(products=APPLES)
    answer = ask(order_id, products=[{"productId": "apple", "quantity": 2}])
    assert (answer.status_code, answer.get_json()["amount"]) == (202, 80)
    assert answer.get_json()["products"] == [
        {"line": 1, "productId": "apple", "quantity": 2, "restock": False}
    ]


def test_goods_that_are_back_on_the_shelf_are_in_the_stock_again(
    client: FlaskClient,
    confirm: Callable[..., str],
    ask: Callable[..., TestResponse],
    settle: Callable[[str], None],
) -> None:
    for product in ("apple", "pear"):
        client.put(f"/stock/{product}", json={"onHand": 10})
    order_id = confirm(products=APPLES)
    lines = [{"productId": "apple", "quantity": 2, "restock": True}, {"productId": "pear", "quantity": 1}]
    ask(order_id, amount=1, products=lines)
    settle(order_id)
    assert refunds_of(client, order_id)[0]["restocked"] is True
    levels = {level["productId"]: level["onHand"] for level in client.get("/stock").get_json()["levels"]}
    assert levels == {"apple": 9, "pear": 9}
    client.put(f"/orders/{order_id}", json={"status": "cancelled"})
    settle(order_id)
    levels = {level["productId"]: level["onHand"] for level in client.get("/stock").get_json()["levels"]}
    assert levels == {"apple": 10, "pear": 10}
    assert payment_of(client, order_id) == ("refunded", 200)


def test_no_more_than_was_captured_is_given_back(
    order_id: str, ask: Callable[..., TestResponse], client: FlaskClient
) -> None:
    ask(order_id, amount=150)
    answer = ask(order_id, amount=50.01)
    assert (answer.status_code, answer.get_json()["code"]) == (409, "refund_too_large")
    assert b'"refundable":50.00' in answer.data
    ask(order_id, amount=50)
    assert ask(order_id).status_code == 409
    assert [refund["amount"] for refund in refunds_of(client, order_id)] == [150, 50]


def test_of_many_refunds_at_once_those_that_fit_win(
    app: Flask, client: FlaskClient, order_id: str, settle: Callable[[str], None]
) -> None:
    def post(_: int) -> int:
        body = {"amount": 30}
        return app.test_client().post(f"/orders/{order_id}/refunds", json=body).status_code

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(post, range(20)))
    assert sorted(statuses) == [202] * 6 + [409] * 14
    settle(order_id)
    assert payment_of(client, order_id) == ("partially_refunded", 180)
    assert client.get(f"/orders/{order_id}/events/verify").get_json() == {"intact": True}


def test_one_key_is_one_refund_and_one_answer(
    app: Flask,
    client: FlaskClient,
    order_id: str,
    ask: Callable[..., TestResponse],
    settle: Callable[[str], None],
) -> None:
    def post(_: int) -> bytes:
        path, body = f"/orders/{order_id}/refunds", {"amount": 10, "reason": "late"}
        return app.test_client().post(path, json=body, headers={"Idempotency-Key": "key-1"}).data

    with ThreadPoolExecutor(20) as pool:
        (answered,) = set(pool.map(post, range(20)))
    settle(order_id)
    again = ask(order_id, key="key-1", amount=10.00, reason="late")
    assert (again.status_code, again.data) == (202, answered)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(refunds_of(client, order_id)) == 1
    other = ask(order_id, key="key-1", amount=11, reason="late")
    assert (other.status_code, other.get_json()["code"]) == (422, "idempotency_key_reused")


def test_a_failed_refund_is_visible_reserves_nothing_and_can_be_retried(
    client: FlaskClient,
    confirm: Callable[..., str],
    ask: Callable[..., TestResponse],
    settle: Callable[[str], None],
) -> None:
    order_id = confirm(paymentMethod="sandbox_refund_fails_once")
    refund = ask(order_id, amount=200).get_json()
    settle(order_id)
    (failed,) = refunds_of(client, order_id)
    assert (failed["status"], failed["failure"]["code"]) == ("failed", "refund_declined")
    assert payment_of(client, order_id) == ("captured", 0)
    path = f"/orders/{order_id}/refunds/{refund['id']}/retry"
    answer = client.post(path)
    assert (answer.status_code, answer.get_json()["status"]) == (202, "pending")
    assert "failure" not in answer.get_json()
    assert client.post(path).get_json()["code"] == "refund_not_failed"
    settle(order_id)
    assert [(found["status"], found["attempt"]) for found in refunds_of(client, order_id)] == [
        ("succeeded", 2)
    ]
    assert payment_of(client, order_id) == ("refunded", 200)


def test_a_failed_refund_is_not_tried_again_where_the_money_went_another_way(
    client: FlaskClient,
    confirm: Callable[..., str],
    ask: Callable[..., TestResponse],
    settle: Callable[[str], None],
) -> None:
    order_id = confirm(paymentMethod="sandbox_refund_fails_once")
    refund = ask(order_id, amount=150).get_json()
    settle(order_id)
    ask(order_id, amount=100)
    answer = client.post(f"/orders/{order_id}/refunds/{refund['id']}/retry")
    assert (answer.status_code, answer.get_json()["code"]) == (409, "refund_too_large")


def test_cancelling_a_confirmed_order_gives_the_money_back_as_a_refund(
    client: FlaskClient, order_id: str, ask: Callable[..., TestResponse], settle: Callable[[str], None]
) -> None:
    ask(order_id, amount=20)
    client.put(f"/orders/{order_id}", json={"status": "cancelled"})
    settle(order_id)
    found = refunds_of(client, order_id)
    assert [(refund["amount"], refund["status"]) for refund in found] == [
        (20, "succeeded"),
        (180, "succeeded"),
    ]
    assert payment_of(client, order_id) == ("refunded", 200)


def test_an_order_that_has_paid_nothing_cannot_be_refunded(
    client: FlaskClient, post_order: Callable[..., Any], ask: Callable[..., TestResponse]
) -> None:
    order_id = post_order()["id"]
    answer = ask(order_id, amount=1)
    assert (answer.status_code, answer.get_json()["code"]) == (409, "not_refundable")
    assert refunds_of(client, order_id) == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"amount": 0}, "/amount"),
        ({"amount": -1}, "/amount"),
        ({"amount": "1"}, "/amount"),
        ({"amount": 0.001}, "/amount"),
        ({"amount": None}, "/amount"),
        ({"reason": ""}, "/reason"),
        ({"status": "succeeded"}, "/status"),
        ({"products": []}, "/products"),
        ({"products": [{"productId": "fig", "quantity": 1}]}, "/products/0/productId"),
        ({"products": [{"productId": "product-id", "quantity": 3}]}, "/products/0/quantity"),
        ({"products": [{"productId": "product-id", "quantity": 1}]}, "/amount"),
        ({"amount": 1, "products": [{"productId": "product-id", "quantity": 2}] * 2}, "/products/1/quantity"),
        ({"products": [{"productId": "product-id", "quantity": 1, "restock": 1}]}, "/products/0/restock"),
    ],
)
def test_a_bad_refund_is_refused_by_the_name_of_the_field_and_leaves_no_trace(
    client: FlaskClient,
    order_id: str,
    ask: Callable[..., TestResponse],
    body: dict[str, Any],
    pointer: str,
) -> None:
    before = client.get(f"/orders/{order_id}").data
    answer = ask(order_id, **body)
    assert answer.status_code == 422, answer.text
    assert [fault["pointer"] for fault in answer.get_json()["errors"]] == [pointer]
    assert client.get(f"/orders/{order_id}").data == before
    assert refunds_of(client, order_id) == []


@pytest.mark.parametrize("order", ["x", "66ffbd20a1b2c3d4e5f60718", "%00", "é"])
def test_refunds_of_an_unknown_order_are_404(client: FlaskClient, order: str) -> None:
    for method, path in (("POST", ""), ("GET", ""), ("GET", "/x-1"), ("POST", "/x-1/retry")):
        answer = client.open(f"/orders/{order}/refunds{path}", method=method)
        assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found"), (method, path)


def test_a_deleted_order_has_no_refunds_to_ask_for_any_more(
    client: FlaskClient, order_id: str, ask: Callable[..., TestResponse], app_services: Services
) -> None:
    client.delete(f"/orders/{order_id}")
    assert ask(order_id, amount=1).status_code == 404
    (order,) = app_services.orders.store.load_with_logs([order_id])
    assert [refund["amount"] for refund in order["refunds"]] == [20000], "only what the deletion owes"


def test_an_order_has_only_so_many_refunds(
    order_id: str, ask: Callable[..., TestResponse], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.orders.bounds.MOST_REFUNDS", 2)
    assert [ask(order_id, amount=1).status_code for _ in range(3)] == [202, 202, 409]
    assert ask(order_id, amount=1).get_json()["code"] == "too_many_refunds"
