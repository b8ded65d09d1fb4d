"""`?dryRun=true` says what a command would do, refuses what it would refuse, and writes nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.snapshots import snapshot
from tests.support.tokens import SETTINGS, bearer, token
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database
    from werkzeug.test import TestResponse

DRY = {"dryRun": "true"}
WITH_MAIL = {"SMTP_URL": "smtp://127.0.0.1:1", "MAIL_FROM": "shop@shop.example"}
PAID = ["payment.authorized", "stock.decremented", "payment.captured", "order.confirmed"]
NO_MONEY = {"capture": 0, "refund": 0}


@pytest.fixture
def dry(client: FlaskClient, api_database: Database[dict[str, Any]]) -> Callable[..., TestResponse]:
    """Sends a dry run, and checks that it writes nothing and says that it is one."""

    def send(method: str, path: str, **request: Any) -> TestResponse:
        before = snapshot(api_database)
        answer = client.open(path, method=method, query_string=DRY, **request)
        assert snapshot(api_database) == before
        assert answer.headers["Dry-Run"] == "true"
        assert "Location" not in answer.headers
        assert "ETag" not in answer.headers
        return answer

    return send


@pytest.fixture
def confirmed_id(
    client: FlaskClient, post_order: Callable[..., dict[str, Any]], settle: Callable[[str], None]
) -> str:
    """The id of a confirmed order, for which 2 of 10 pieces have left the stock."""
    client.put("/stock/product-id", json={"onHand": 10})
    order_id: str = post_order()["id"]
    settle(order_id)
    return order_id


def merge_patch(patch: Any, key: str | None = None) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    return {"json": patch, "content_type": "application/merge-patch+json", "headers": headers}


def types(answer: TestResponse) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [event["type"] for event in answer.get_json()["events"]]


def test_a_dry_run_of_a_new_order_says_all_that_would_happen(
    client: FlaskClient, dry: Callable[..., TestResponse]
) -> None:
    client.put("/stock/product-id", json={"onHand": 10})
    answer = dry("POST", "/orders", json={**SAMPLE, "email": "ann@example.org"})
    said = answer.get_json()
    assert answer.status_code == 200
    assert list(said) == ["order", "events", "sets", "money", "stock", "mails"]
    assert (said["order"]["status"], said["order"]["version"]) == ("pending", 1)
    assert said["order"]["email"] == "ann@example.org"
    (event,) = said["events"]
    assert (event["sequence"], event["type"], event["actor"]) == (1, "order.created", "anonymous")
    assert event["data"]["email"] == "ann@example.org"
    assert said["sets"] == PAID
    assert said["money"] == {"capture": 200, "refund": 0}
    assert b'"money":{"capture":200.00,"refund":0.00}' in answer.data
    assert said["stock"] == [{"productId": "product-id", "before": 10, "after": 8}]


def test_untracked_products_are_left_out(client: FlaskClient, dry: Callable[..., TestResponse]) -> None:
    client.put("/stock/fig", json={"onHand": 5})
    lines = [{"productId": name, "quantity": 2} for name in ("kiwi", "fig", "fig")]
    assert dry("POST", "/orders", json={**SAMPLE, "products": lines}).get_json()["stock"] == [
        {"productId": "fig", "before": 5, "after": 1}
    ]


def test_a_dry_run_says_that_stock_is_short(client: FlaskClient, dry: Callable[..., TestResponse]) -> None:
    client.put("/stock/product-id", json={"onHand": 1})
    said = dry("POST", "/orders", json=SAMPLE).get_json()
    assert said["sets"] == ["payment.authorized", "stock.insufficient", "order.cancelled", "payment.voided"]
    assert (said["money"], said["stock"]) == (NO_MONEY, [])


def test_the_provider_is_taken_to_do_as_asked(dry: Callable[..., TestResponse]) -> None:
    for method in ("sandbox_declined", "sandbox_unavailable", "sandbox_slow"):
        assert dry("POST", "/orders", json={**SAMPLE, "paymentMethod": method}).get_json()["sets"] == PAID


def test_the_mails_are_those_that_the_service_sends(
    shared_app: Callable[..., Flask], post_order: Callable[..., dict[str, Any]], client: FlaskClient
) -> None:
    mailing = shared_app(**WITH_MAIL).test_client()
    with_email = {**SAMPLE, "email": "ann@example.org"}

    def mails(sender: FlaskClient, body: dict[str, Any]) -> Any:
        return sender.post("/orders", json=body, query_string=DRY).get_json()["mails"]

    assert mails(mailing, with_email) == [{"to": "customer", "template": "confirmed"}]
    assert mails(mailing, SAMPLE) == []
    assert mails(client, with_email) == []
    path = f"/orders/{post_order(email='ann@example.org')['id']}"
    cancelled = [{"to": "customer", "template": "cancelled"}]
    assert mailing.delete(path, query_string=DRY).get_json()["mails"] == cancelled


def test_a_dry_run_of_a_cancellation_gives_back_money_and_stock(
    confirmed_id: str,
    dry: Callable[..., TestResponse],
) -> None:
    answer = dry("PUT", f"/orders/{confirmed_id}", json={"status": "cancelled", "reason": "no more"})
    said = answer.get_json()
    assert types(answer) == ["order.cancelled", "refund.requested"]
    assert [event["sequence"] for event in said["events"]] == [6, 7]
    assert said["order"]["cancellation"] == {"reason": "requested", "detail": "no more"}
    assert said["sets"] == ["refund.succeeded", "payment.refunded", "stock.restocked"]
    assert said["money"] == {"capture": 0, "refund": 200}
    assert said["stock"] == [{"productId": "product-id", "before": 8, "after": 10}]


def test_a_dry_run_of_a_deletion_shows_the_deleted_order(
    post_order: Callable[..., dict[str, Any]], dry: Callable[..., TestResponse], client: FlaskClient
) -> None:
    path = f"/orders/{post_order()['id']}"
    answer = dry("DELETE", path)
    assert types(answer) == ["order.cancelled", "stock.released", "order.deleted"]
    assert answer.get_json()["sets"] == ["payment.voided"]
    assert client.get(path).status_code == 200


def test_a_dry_run_of_shipping_moves_nothing(
    confirmed_id: str,
    dry: Callable[..., TestResponse],
) -> None:
    answer = dry("PUT", f"/orders/{confirmed_id}", json={"status": "shipped", "tracking": {"number": "1"}})
    said = answer.get_json()
    assert types(answer) == ["shipment.created", "order.shipped"]
    assert (said["sets"], said["money"], said["stock"]) == ([], NO_MONEY, [])


def test_a_dry_run_of_a_refund_gives_back_money_and_goods(
    confirmed_id: str,
    dry: Callable[..., TestResponse],
) -> None:
    body = {"amount": 50, "products": [{"line": 1, "quantity": 1, "restock": True}]}
    answer = dry("POST", f"/orders/{confirmed_id}/refunds", json=body, headers={"Idempotency-Key": "r"})
    said = answer.get_json()
    assert types(answer) == ["refund.requested"]
    assert said["events"][0]["data"]["refundId"] == f"{confirmed_id}-1"
    assert said["sets"] == ["refund.succeeded", "payment.partially_refunded", "refund.restocked"]
    assert said["money"] == {"capture": 0, "refund": 50}
    assert said["stock"] == [{"productId": "product-id", "before": 8, "after": 9}]


def test_a_dry_run_of_a_retry_says_that_the_money_goes_back(
    client: FlaskClient,
    post_order: Callable[..., dict[str, Any]],
    settle: Callable[[str], None],
    dry: Callable[..., TestResponse],
) -> None:
    order_id = post_order(paymentMethod="sandbox_refund_fails_once")["id"]
    settle(order_id)
    client.post(f"/orders/{order_id}/refunds", json={})
    settle(order_id)
    answer = dry("POST", f"/orders/{order_id}/refunds/{order_id}-1/retry")
    assert types(answer) == ["refund.retried"]
    assert answer.get_json()["sets"] == ["refund.succeeded", "payment.refunded"]
    assert dry("POST", f"/orders/{order_id}/refunds/{order_id}-2/retry").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "request_"),
    [
        ("POST", "/orders", {"json": {"userId": ""}}),
        ("POST", "/orders", {"json": {**SAMPLE, "paymentMethod": "gold"}}),
        ("POST", "/orders", {"data": "{", "content_type": "application/json"}),
        ("POST", "/orders", {"data": "x", "content_type": "text/plain"}),
        ("POST", "/orders", {"json": SAMPLE, "headers": {"Accept": "text/html"}}),
        ("POST", "/orders", {"json": SAMPLE, "headers": {"Idempotency-Key": "ä"}}),
        ("PUT", "/orders/none", {"json": {"status": "shipped"}}),
        ("PUT", "{order}", {"json": {"status": "delivered"}}),
        ("PUT", "{order}", {"json": {"status": "cancelled"}, "headers": {"If-Match": '"v9"'}}),
        ("DELETE", "{order}", {"headers": {"If-Match": '"v9"'}}),
        ("DELETE", "/orders/none", {}),
        ("POST", "{order}/refunds", {"json": {"amount": 0}}),
        ("POST", "{order}/refunds", {"json": {}}),
    ],
)
def test_a_dry_run_is_refused_as_the_command_is(
    client: FlaskClient,
    post_order: Callable[..., dict[str, Any]],
    dry: Callable[..., TestResponse],
    method: str,
    path: str,
    request_: dict[str, Any],
) -> None:
    path = path.format(order=f"/orders/{post_order()['id']}")
    rehearsed = dry(method, path, **request_)
    real = client.open(path, method=method, **request_)
    assert real.status_code >= 400
    assert "Dry-Run" not in real.headers
    assert rehearsed.status_code == real.status_code
    assert rehearsed.mimetype == real.mimetype == "application/problem+json"
    assert {**rehearsed.get_json(), "requestId": ""} == {**real.get_json(), "requestId": ""}


def test_the_present_status_again_changes_nothing(
    client: FlaskClient, post_order: Callable[..., dict[str, Any]], dry: Callable[..., TestResponse]
) -> None:
    path = f"/orders/{post_order()['id']}"
    client.put(path, json={"status": "cancelled"})
    said = dry("PUT", path, json={"status": "cancelled"}).get_json()
    assert said["order"] == client.get(path).get_json()
    del said["order"]
    assert said == {"events": [], "sets": [], "money": NO_MONEY, "stock": [], "mails": []}


def test_a_dry_run_uses_up_no_idempotency_key(client: FlaskClient, dry: Callable[..., TestResponse]) -> None:
    key = {"Idempotency-Key": "k"}
    assert types(dry("POST", "/orders", json=SAMPLE, headers=key)) == ["order.created"]
    answer = client.post("/orders", json={**SAMPLE, "totalAmount": 1}, headers=key)
    assert (answer.status_code, answer.headers.get("Idempotent-Replayed")) == (201, None)


@pytest.mark.parametrize("prefer", [{}, {"Prefer": "wait=30"}])
def test_a_dry_run_with_a_used_key_shows_the_first_answer(
    client: FlaskClient, dry: Callable[..., TestResponse], prefer: dict[str, str]
) -> None:
    key = {"Idempotency-Key": "k"}
    first = client.post("/orders", json=SAMPLE, headers=key).get_json()["order"]
    client.put(f"/orders/{first['id']}", json={"status": "cancelled"})
    answer = dry("POST", "/orders", json=SAMPLE, headers={**key, **prefer})
    said = answer.get_json()
    assert (answer.status_code, answer.headers["Idempotent-Replayed"]) == (200, "true")
    assert (said["order"], said["events"], said["sets"]) == (first, [], [])
    reused = dry("POST", "/orders", json={**SAMPLE, "totalAmount": 1}, headers=key)
    assert (reused.status_code, reused.get_json()["code"]) == (422, "idempotency_key_reused")


def test_a_dry_run_of_a_replayed_refund_adds_nothing(
    client: FlaskClient,
    confirmed_id: str,
    dry: Callable[..., TestResponse],
) -> None:
    refund: Any = {"json": {"amount": 1}, "headers": {"Idempotency-Key": "r"}}
    client.post(f"/orders/{confirmed_id}/refunds", **refund)
    answer = dry("POST", f"/orders/{confirmed_id}/refunds", **refund)
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert (types(answer), answer.get_json()["order"]["version"]) == ([], 6)


def test_a_dry_run_of_a_correction_shows_the_corrected_order(
    client: FlaskClient, post_order: Callable[..., dict[str, Any]], dry: Callable[..., TestResponse]
) -> None:
    path = f"/orders/{post_order(email='ann@example.org', reference='A')['id']}"
    patch = merge_patch({"email": "eve@example.org", "reference": None})
    answer = dry("PATCH", path, **patch)
    assert types(answer) == ["order.amended"]
    assert answer.get_json()["order"]["email"] == "eve@example.org"
    assert "reference" not in answer.get_json()["order"]
    assert answer.get_json()["sets"] == PAID
    assert types(dry("PATCH", path, **merge_patch({"reference": "A"}, "n"))) == []
    corrected = client.patch(path, **merge_patch({"reference": "B"}, "k"))
    client.patch(path, **merge_patch({"reference": "C"}))
    replayed = dry("PATCH", path, **merge_patch({"reference": "B"}, "k"))
    assert replayed.headers["Idempotent-Replayed"] == "true"
    assert (types(replayed), replayed.get_json()["order"]) == ([], corrected.get_json())


def test_a_dry_run_of_an_erased_note_leaves_all_as_it_was(
    client: FlaskClient,
    post_order: Callable[..., dict[str, Any]],
    dry: Callable[..., TestResponse],
    api_database: Database[dict[str, Any]],
) -> None:
    """The digest of the request that made the note, too."""
    order_id = post_order()["id"]
    note: Any = {"json": {"text": "Called."}, "headers": {"Idempotency-Key": "n"}}
    assert types(dry("POST", f"/orders/{order_id}/notes", **note)) == ["note.added"]
    path = client.post(f"/orders/{order_id}/notes", **note).headers["Location"]
    before = snapshot(api_database)
    assert types(dry("DELETE", path)) == ["note.erased"]
    assert types(dry("PUT", f"/orders/{order_id}/tags", json=["vip"])) == ["order.tagged"]
    assert snapshot(api_database) == before
    replayed = dry("POST", f"/orders/{order_id}/notes", **note)
    assert (types(replayed), replayed.headers["Idempotent-Replayed"]) == ([], "true")


def test_a_dry_run_does_not_wait(dry: Callable[..., TestResponse]) -> None:
    began = time.monotonic()
    answer = dry("POST", "/orders", json=SAMPLE, headers={"Prefer": "wait=30", "Idempotency-Key": "w"})
    assert time.monotonic() - began < 20
    assert answer.status_code == 200


COMMANDS = [
    ("POST", "/orders"),
    ("PUT", "{order}"),
    ("PATCH", "{order}"),
    ("DELETE", "{order}"),
    ("PUT", "{order}/tags"),
    ("POST", "{order}/notes"),
    ("DELETE", "{order}/notes/1"),
    ("POST", "{order}/cancellations"),
    ("POST", "{order}/refunds"),
    ("POST", "{order}/refunds/1/retry"),
]


@pytest.mark.parametrize(
    ("query", "pointer", "detail"),
    [
        ("dryRun=1", "/dryRun", "must be true or false"),
        ("dryRun=", "/dryRun", "must be true or false"),
        ("dryRun=True", "/dryRun", "must be true or false"),
        ("dryRun=true&dryRun=true", "/dryRun", "must be given only once"),
        ("dryrun=true", "/dryrun", "is unknown"),
        ("dryRun=true&a=b", "/a", "is unknown"),
        ("limit", "/limit", "is unknown"),
    ],
)
@pytest.mark.parametrize(("method", "path"), COMMANDS)
def test_another_query_is_refused_and_nothing_is_done(
    client: FlaskClient,
    api_database: Database[dict[str, Any]],
    post_order: Callable[..., dict[str, Any]],
    method: str,
    path: str,
    query: str,
    pointer: str,
    detail: str,
) -> None:
    path = path.format(order=f"/orders/{post_order()['id']}")
    body = {"status": "cancelled"} if method == "PUT" else SAMPLE if path == "/orders" else None
    before = snapshot(api_database)
    answer = client.open(f"{path}?{query}", method=method, json=body)
    assert answer.status_code == 422
    assert answer.get_json()["errors"] == [{"pointer": pointer, "detail": detail}]
    assert snapshot(api_database) == before


@pytest.mark.parametrize("query", ["dryRun=true", "dryRun=false", "a=b"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/stock/fig", {"onHand": 1}),
        ("POST", "/stock/kiwi/adjustments", {"quantity": 1, "reason": "found"}),
        ("POST", "/webhook-endpoints", {"url": "https://example.com"}),
        ("DELETE", "/webhook-endpoints/1", None),
    ],
)
def test_commands_that_are_not_about_orders_take_no_query(
    client: FlaskClient,
    api_database: Database[dict[str, Any]],
    method: str,
    path: str,
    body: Any,
    query: str,
) -> None:
    client.put("/stock/kiwi", json={"onHand": 5})
    before = snapshot(api_database)
    answer = client.open(f"{path}?{query}", method=method, json=body)
    assert answer.status_code == 422
    pointer = "/" + query.partition("=")[0]
    assert answer.get_json()["errors"] == [{"pointer": pointer, "detail": "is unknown"}]
    assert "Dry-Run" not in answer.headers
    assert snapshot(api_database) == before


def test_false_is_the_command_itself(client: FlaskClient) -> None:
    answer = client.post("/orders", json=SAMPLE, query_string={"dryRun": "false"})
    assert (answer.status_code, "Dry-Run" in answer.headers) == (201, False)
    order = client.put(answer.headers["Location"], json={"status": "cancelled"}, query_string="dryRun=false")
    assert order.get_json()["order"]["status"] == "cancelled"


def test_every_command_of_an_order_can_be_run_dry(app: Flask) -> None:
    description = app.test_client().get("/openapi.json").get_json()
    for path, item in description["paths"].items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            named = [one["name"] for one in operation["parameters"]]
            is_command = path.startswith("/orders") and method != "get"
            assert ("dryRun" in named) is is_command, (method, path)
            if is_command:
                answer = operation["responses"]["200"]
                assert "#/components/schemas/DryRun" in str(answer["content"]), (method, path)
                assert "Dry-Run" in answer["headers"]


@pytest.mark.usefixtures("api_database")
def test_scopes_and_ownership_hold_for_a_dry_run(shared_app: Callable[..., Flask]) -> None:
    client = shared_app(**SETTINGS).test_client()

    def rehearse(method: str, path: str, whose: str, body: Any) -> tuple[int, str]:
        answer = client.open(path, method=method, query_string=DRY, json=body, headers=bearer(whose))
        return answer.status_code, answer.headers["Dry-Run"]

    mine = {**SAMPLE, "userId": "ann"}
    path = client.post("/orders", json=mine, headers=bearer(token())).headers["Location"]
    cancel, ship = {"status": "cancelled"}, {"status": "shipped"}
    assert rehearse("POST", "/orders", token("eve"), mine) == (403, "true")
    assert rehearse("POST", "/orders", token(scope="orders:read"), mine) == (403, "true")
    assert rehearse("POST", "/orders", "none", mine) == (401, "true")
    assert rehearse("PUT", path, token("eve"), cancel) == (404, "true")
    assert rehearse("PUT", path, token(), ship) == (403, "true")
    assert rehearse("POST", f"{path}/refunds", token(), {}) == (403, "true")
    assert rehearse("PUT", path, token(), cancel) == (200, "true")


def test_a_dry_run_counts_against_the_rate(make_app: Callable[..., Flask], redis_url: str) -> None:
    client = make_app(RATE_LIMIT="2/day", RATE_LIMIT_REDIS_URL=redis_url).test_client()
    answers = [client.post("/orders", json=SAMPLE, query_string=DRY) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert {answer.headers["Dry-Run"] for answer in answers} == {"true"}
