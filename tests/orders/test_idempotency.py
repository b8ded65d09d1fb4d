"""One key, one order: the first answer again, byte for byte."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from app.orders import service as ordering
from app.orders.service import delete_order
from app.orders.store import Orders
from tests.support.damage import NO_TIME, damage
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database

    from app.orders import OrderServices
    from app.orders.model import Order
    from app.services import Services

KEY = {"Idempotency-Key": "key-1"}


def test_the_first_answer_is_given_again_whatever_happened_since(
    client: FlaskClient, settle: Callable[[str], None]
) -> None:
    body = {**SAMPLE, "metadata": {"b": "1", "a": "2"}, "email": "ann@example.org"}
    first = client.post("/orders", json=body, headers=KEY)
    settle(first.get_json()["order"]["id"])
    again = client.post("/orders", json=body, headers=KEY)
    assert again.status_code == 201
    assert again.data == first.data
    assert (again.headers["Location"], again.headers["ETag"]) == (first.headers["Location"], '"v1"')
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers


@pytest.mark.parametrize(
    "spelling",
    [
        '{"totalAmount":2e2,"userId":"user-id","products":[{"quantity":2,"productId":"product-id"}]}',
        '{ "userId": "user-id","products": [{"productId":"product-id", "quantity": 2} ],"totalAmount": 200 }',
        r'{"userId":"user\u002did","products":[{"productId":"product-id","quantity":2}],"totalAmount":200.000}',
    ],
)
def test_the_same_body_spelled_otherwise_is_the_same_body(client: FlaskClient, spelling: str) -> None:
    first = client.post("/orders", json=SAMPLE, headers=KEY)
    again = client.post("/orders", data=spelling, content_type="application/json", headers=KEY)
    assert (again.status_code, again.data) == (201, first.data)


@pytest.mark.parametrize("change", [{"totalAmount": 200.01}, {"metadata": {}}, {"userId": "other"}])
def test_the_key_with_another_body_is_refused(client: FlaskClient, change: dict[str, Any]) -> None:
    client.post("/orders", json=SAMPLE, headers=KEY)
    answer = client.post("/orders", json={**SAMPLE, **change}, headers=KEY)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "idempotency_key_reused")


def test_many_at_once_make_one_order(app: Flask, api_database: Any) -> None:
    def post(_: int) -> bytes:
        return app.test_client().post("/orders", json=SAMPLE, headers=KEY).data

    with ThreadPoolExecutor(16) as callers:
        bodies = set(callers.map(post, range(50)))
    assert len(bodies) == 1
    assert api_database.orders.count_documents({}) == 1


def test_without_a_key_every_post_is_an_order_of_its_own(client: FlaskClient) -> None:
    assert client.post("/orders", json=SAMPLE).data != client.post("/orders", json=SAMPLE).data


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256, "tab\there", '"a b"'])
def test_an_invalid_key_is_refused(client: FlaskClient, key: str) -> None:
    answer = client.post("/orders", json=SAMPLE, environ_overrides={"HTTP_IDEMPOTENCY_KEY": key})
    assert (answer.status_code, answer.get_json()["code"]) == (400, "bad_header")


@pytest.mark.parametrize("key", ["!", "~" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"'])
def test_any_visible_ascii_is_a_key(client: FlaskClient, key: str) -> None:
    headers = {"Idempotency-Key": key}
    first = client.post("/orders", json=SAMPLE, headers=headers)
    assert client.post("/orders", json=SAMPLE, headers=headers).data == first.data


def test_a_key_can_be_required(make_app: Callable[..., Flask]) -> None:
    client = make_app(REQUIRE_IDEMPOTENCY_KEY="true").test_client()
    answer = client.post("/orders", json=SAMPLE)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "idempotency_key_required")
    assert client.post("/orders", json=SAMPLE, headers=KEY).status_code == 201


def test_a_bad_body_does_not_use_up_the_key(client: FlaskClient) -> None:
    assert client.post("/orders", json={}, headers=KEY).status_code == 422
    assert client.post("/orders", json=SAMPLE, headers=KEY).status_code == 201


def test_the_key_of_a_deleted_order_still_gives_its_first_answer(client: FlaskClient) -> None:
    first = client.post("/orders", json=SAMPLE, headers=KEY)
    client.delete(first.headers["Location"])
    assert client.post("/orders", json=SAMPLE, headers=KEY).data == first.data


def test_a_wait_holds_the_answer_until_the_order_left_pending(
    app: Flask, settle: Callable[[str], None], app_services: Services
) -> None:
    headers = KEY | {"Prefer": "respond-async, wait=20; foo=bar"}
    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(lambda: app.test_client().post("/orders", json=SAMPLE, headers=headers))
        while not (orders := app_services.orders.due_work.owing(None, 1)):
            pass
        settle(orders[0]["id"])
        waited = answer.result(timeout=30)
    assert waited.status_code == 201
    assert waited.headers["Preference-Applied"] == "wait=20"
    assert waited.get_json()["order"]["status"] == "confirmed"
    assert waited.headers["ETag"] == f'"v{waited.get_json()["order"]["version"]}"'
    again = app.test_client().post("/orders", json=SAMPLE, headers=headers)
    assert again.data == waited.data


def test_a_replay_that_waits_still_gives_the_first_answer(
    client: FlaskClient, settle: Callable[[str], None]
) -> None:
    first = client.post("/orders", json=SAMPLE, headers=KEY)
    settle(first.get_json()["order"]["id"])
    again = client.post("/orders", json=SAMPLE, headers=KEY | {"Prefer": "wait=5"})
    assert again.data == first.data


def test_a_replay_that_overtakes_a_waiting_answer_decides_both_answers(
    app: Flask, settle: Callable[[str], None], app_services: Services
) -> None:
    with ThreadPoolExecutor(1) as caller:
        waiting = caller.submit(
            lambda: app.test_client().post("/orders", json=SAMPLE, headers=KEY | {"Prefer": "wait=20"})
        )
        while not (orders := app_services.orders.due_work.owing(None, 1)):
            pass
        overtaking = app.test_client().post("/orders", json=SAMPLE, headers=KEY)
        settle(orders[0]["id"])
        assert waiting.result(timeout=30).data == overtaking.data


def test_an_order_deleted_while_its_answer_waits_is_answered_all_the_same(
    app: Flask, app_services: Services
) -> None:
    with ThreadPoolExecutor(1) as caller:
        waiting = caller.submit(
            lambda: app.test_client().post("/orders", json=SAMPLE, headers=KEY | {"Prefer": "wait=20"})
        )
        while not (orders := app_services.orders.due_work.owing(None, 1)):
            pass
        app.test_client().delete(f"/orders/{orders[0]['id']}")
        assert waiting.result(timeout=30).status_code == 201


def test_a_wait_ends_with_its_time(client: FlaskClient) -> None:
    answer = client.post("/orders", json=SAMPLE, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.get_json()["order"]["status"]) == (201, "pending")


@pytest.mark.parametrize("key", [None, "k"])
def test_an_order_that_is_purged_while_its_answer_waits_is_answered_as_it_was_made(
    client: FlaskClient, app_services: Services, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    def gone(app_services: OrderServices, order: Order, seconds: float) -> int:
        delete_order(app_services, order["id"], actor="u")
        app_services.store.purge([order["id"]])
        return 3

    monkeypatch.setattr(ordering, "_await_leaving_pending", gone)
    headers = {"Prefer": "wait=30"} | ({"Idempotency-Key": key} if key else {})
    answer = client.post("/orders", json=SAMPLE, headers=headers)
    assert answer.status_code == 201, answer.text
    assert (answer.get_json()["order"]["version"], answer.headers["ETag"]) == (1, '"v1"')


def test_an_order_that_is_damaged_while_its_answer_waits_is_answered_as_it_was_made(
    client: FlaskClient, api_database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal would lead to a second order."""
    add = Orders.add

    def damaged(orders: Orders, order: Order, *rest: Any) -> None:
        add(orders, order, *rest)
        damage(api_database, order["id"], {"$set": {"updatedAt": NO_TIME}})

    monkeypatch.setattr(Orders, "add", damaged)
    answer = client.post("/orders", json=SAMPLE, headers={"Prefer": "wait=5"})
    assert (answer.status_code, answer.get_json()["order"]["version"]) == (201, 1)


@pytest.mark.parametrize(
    "prefer", ["wait", "wait=", "wait=soon", "wait=-1", "wait=1.5", "handling=strict", ",", ""]
)
def test_a_preference_that_says_nothing_is_passed_over(client: FlaskClient, prefer: str) -> None:
    answer = client.post("/orders", json=SAMPLE, headers={"Prefer": prefer})
    assert answer.status_code == 201
    assert "Preference-Applied" not in answer.headers


def test_no_wait_is_longer_than_half_a_minute(client: FlaskClient) -> None:
    body = {**SAMPLE, "totalAmount": "wrong"}
    assert client.post("/orders", json=body, headers={"Prefer": "wait=999999"}).status_code == 422
