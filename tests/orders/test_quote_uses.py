"""A quote with a `jti` is good for one order: at any concurrency, and also after the order is gone."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.errors import DuplicateKeyError

from app.orders.sweeping import purge_deleted_orders
from tests.support.quotes import SETTINGS, quote
from tests.support.tokens import bearer, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from pymongo.database import Database
    from werkzeug.test import TestResponse

    Documents = Database[dict[str, Any]]

KEY, OTHER_KEY = {"Idempotency-Key": "key-1"}, {"Idempotency-Key": "key-2"}


@pytest.fixture
def app(api_database: object, shared_app: Callable[..., Flask]) -> Flask:
    return shared_app(**SETTINGS)


@pytest.fixture
def post(app: Flask) -> Callable[..., TestResponse]:
    """Posts an order by a quote, as Ann or as another user."""

    def send(
        signed: str, headers: dict[str, str] | None = None, user: str = "ann", **body: Any
    ) -> TestResponse:
        sent = {"userId": user, "quote": signed, **body}
        return app.test_client().post(
            "/orders", json=sent, headers={**bearer(token(user)), **(headers or {})}
        )

    return send


def used(answer: TestResponse) -> bool:
    """Whether the quote was refused, since another order has used it."""
    problem = answer.get_json()
    if answer.status_code == 201:
        return False
    assert (answer.status_code, problem["code"]) == (422, "quote_used"), answer.text
    assert [fault["pointer"] for fault in problem["errors"]] == ["/quote"]
    return True


def test_a_quote_with_an_id_is_good_for_one_order(post: Callable[..., TestResponse]) -> None:
    assert not used(post(quote(jti="q-1")))
    assert used(post(quote(jti="q-1")))
    assert used(post(quote(jti="q-1", exp=int(time.time()) + 5_000), user="bob"))
    assert not used(post(quote(jti="q-2")))


def test_a_quote_without_an_id_is_good_for_any_number(post: Callable[..., TestResponse]) -> None:
    signed = quote()
    assert [used(post(signed)) for _ in range(3)] == [False] * 3


def test_ids_of_different_issuers_are_different(
    post: Callable[..., TestResponse], make_app: Callable[..., Flask]
) -> None:
    other = make_app(**{**SETTINGS, "QUOTE_ISSUER": "https://else.example"}).test_client()
    assert not used(post(quote(jti="q-1")))
    body = {"userId": "ann", "quote": quote(jti="q-1", iss="https://else.example")}
    assert not used(other.post("/orders", json=body, headers=bearer(token("ann"))))
    assert used(other.post("/orders", json=body, headers=bearer(token("ann"))))


@pytest.mark.parametrize("users", [("ann",), ("ann", "bob", "eve")])
def test_of_many_orders_at_once_by_one_quote_one_is_stored(
    post: Callable[..., TestResponse], api_database: Documents, users: tuple[str, ...]
) -> None:
    signed = quote(jti="q-1")

    def order(place: int) -> bool:
        return used(
            post(signed, {"Idempotency-Key": f"k-{place}"} if place % 2 else {}, users[place % len(users)])
        )

    with ThreadPoolExecutor(64) as callers:
        outcomes = list(callers.map(order, range(64)))
    assert outcomes.count(False) == 1
    assert api_database.orders.count_documents({}) == 1


def test_a_used_quote_refuses_no_other_order_of_its_batch(
    post: Callable[..., TestResponse], api_database: Documents
) -> None:
    """Orders of concurrent requests are stored in one insert."""
    post(quote(jti="q-0"))
    signed = [quote(jti=f"q-{place % 8}" if place % 2 else None) for place in range(64)]
    with ThreadPoolExecutor(64) as callers:
        outcomes = list(callers.map(lambda each: used(post(each)), signed))
    assert outcomes[::2] == [False] * 32
    assert outcomes.count(False) == 32 + 4
    assert api_database.orders.count_documents({}) == 1 + 32 + 4


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"totalAmount": 1}, 422),
        ({"userId": "bob"}, 403),
        ({"paymentMethod": "unknown"}, 422),
        ({"email": "no"}, 422),
    ],
)
def test_a_refusal_leaves_the_quote(
    post: Callable[..., TestResponse], changes: dict[str, Any], status: int
) -> None:
    assert post(quote(jti="q-1"), **changes).status_code == status
    assert not used(post(quote(jti="q-1")))


def test_a_dry_run_leaves_the_quote_and_says_whether_it_is_used(
    post: Callable[..., TestResponse], app: Flask, api_database: Documents
) -> None:
    def dry(**body: Any) -> TestResponse:
        sent = {"userId": "ann", "quote": quote(jti="q-1"), **body}
        return app.test_client().post("/orders?dryRun=true", json=sent, headers=bearer(token("ann")))

    for _ in range(2):
        answer = dry()
        assert (answer.status_code, answer.get_json()["order"]["totalAmount"]) == (200, 210)
        assert "quote" not in answer.text
    assert dry(totalAmount=1).get_json()["code"] == "quote_differs"
    assert api_database.orders.count_documents({}) == 0
    assert not used(post(quote(jti="q-1")))
    assert used(dry())


@pytest.mark.parametrize("changes", [{}, {"sub": "ann", "adjustments": None, "totalAmount": 215.2}])
def test_the_same_key_gives_the_first_answer_again(
    post: Callable[..., TestResponse], changes: dict[str, Any]
) -> None:
    signed = quote(jti="q-1", **changes)
    first, again = post(signed, KEY), post(signed, KEY)
    assert (first.status_code, again.status_code, again.data) == (201, 201, first.data)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert used(post(signed, OTHER_KEY))
    assert used(post(signed))


def test_the_same_key_with_another_quote_is_refused(post: Callable[..., TestResponse]) -> None:
    post(quote(jti="q-1"), KEY)
    answer = post(quote(jti="q-2"), KEY)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "idempotency_key_reused")
    assert not used(post(quote(jti="q-2")))


def test_a_repetition_gets_its_answer_after_the_quote_has_expired(
    post: Callable[..., TestResponse], monkeypatch: pytest.MonkeyPatch, app: Flask
) -> None:
    signed = quote(jti="q-1")
    first = post(signed, KEY)
    claims_of_quote = app.extensions["claims_of_quote"]

    def later(sent: str) -> Any:
        assert sent == signed
        return claims_of_quote(quote(exp=1))

    monkeypatch.setitem(app.extensions, "claims_of_quote", later)
    assert post(signed).get_json()["code"] == "quote_expired"
    assert post(signed, OTHER_KEY).get_json()["code"] == "quote_expired"
    assert post(signed, KEY).data == first.data


def test_many_repetitions_at_once_make_one_order(
    post: Callable[..., TestResponse], api_database: Documents
) -> None:
    """Whichever of the two unique indexes a repetition meets first."""
    signed = quote(jti="q-1")
    with ThreadPoolExecutor(32) as callers:
        answers = list(callers.map(lambda _: post(signed, KEY), range(64)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.data for answer in answers}) == 1
    assert api_database.orders.count_documents({}) == 1


def test_an_order_from_before_quotes_were_needed_is_answered_again(
    make_app: Callable[..., Flask], app: Flask
) -> None:
    headers = {**bearer(token("ann")), **KEY}
    body = {"userId": "ann", "products": [{"productId": "lamp", "quantity": 1}], "totalAmount": 5}
    first = (
        make_app(**{**SETTINGS, "PRICES": "client"}).test_client().post("/orders", json=body, headers=headers)
    )
    again = app.test_client().post("/orders", json=body, headers=headers)
    assert (again.status_code, again.data) == (201, first.data)


def test_the_quote_of_a_deleted_order_stays_used(
    post: Callable[..., TestResponse], app: Flask, api_database: Documents
) -> None:
    """Also after the order's retention time, until the quote has expired for certain."""
    orders = replace(app.extensions["services"].orders, retention_days=0)
    expiry = int(time.time()) + 900
    for signed in (quote(jti="q-1", exp=expiry), quote(exp=expiry)):
        path = post(signed).headers["Location"]
        app.test_client().delete(path, headers=bearer(token("ann")))
    api_database.orders.update_many({}, {"$unset": {"dueBy": ""}})
    assert used(post(quote(jti="q-1")))

    def purge(after: timedelta) -> list[str]:
        at = datetime.fromtimestamp(expiry, UTC) + after
        purge_deleted_orders(replace(orders, clock=lambda: at))
        return [order["quote"]["id"] for order in api_database.orders.find()]

    assert purge(timedelta(hours=20)) == ["q-1"]
    assert used(post(quote(jti="q-1")))
    assert purge(timedelta(days=1, minutes=1)) == []


def test_the_database_itself_refuses_a_second_use(
    post: Callable[..., TestResponse], api_database: Documents
) -> None:
    post(quote(jti="q-1"))
    post(quote(jti="q-2"))
    with pytest.raises(DuplicateKeyError):
        api_database.orders.update_one({"quote.id": "q-2"}, {"$set": {"quote.id": "q-1"}})
