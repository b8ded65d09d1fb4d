"""Webhook endpoints over HTTP: made, shown, changed, tried out, and what is wrong with bad ones."""

from __future__ import annotations

import base64
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from app.clock import now
from app.webhooks import service as webhooks
from app.webhooks.model import MOST_TESTS, PATTERNS, TEST_WINDOW
from tests.support.doubles import with_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database

    from app.services import Services

BASE = "/webhook-endpoints"
# A documentation name is public or unknown, but never private.
URL = "https://hooks.example.com/orders"
# No name to look up, which may take seconds.
NUMERIC_URL = "https://1.1.1.1/orders"
NO_ID = "0" * 24


@pytest.fixture
def endpoint(client: FlaskClient) -> dict[str, Any]:
    """An endpoint as its creation showed it."""
    return client.post(BASE, json={"url": URL}).get_json()


def test_a_new_endpoint_hears_of_everything_and_shows_its_secret_once(client: FlaskClient) -> None:
    answer = client.post(BASE, json={"url": URL})
    shown = answer.get_json()
    assert (answer.status_code, shown["events"], shown["enabled"]) == (201, ["*"], True)
    assert len(base64.b64decode(shown["secret"].removeprefix("whsec_"))) == 32
    assert answer.headers["Location"] == f"{BASE}/{shown['id']}"
    del shown["secret"]
    assert client.get(f"{BASE}/{shown['id']}").get_json() == shown
    assert client.get(BASE).get_json() == {"endpoints": [shown]}


def test_an_endpoint_is_changed_disabled_and_enabled(client: FlaskClient, endpoint: dict[str, Any]) -> None:
    path = f"{BASE}/{endpoint['id']}"
    changed = client.patch(
        path, json={"url": f"{URL}/2", "events": ["order.*", "payment.refunded"]}
    ).get_json()
    assert (changed["url"], changed["events"]) == (f"{URL}/2", ["order.*", "payment.refunded"])
    disabled = client.patch(path, json={"enabled": False}).get_json()
    assert (disabled["enabled"], disabled["disabledReason"]) == (False, "requested")
    enabled = client.patch(path, json={"enabled": True}).get_json()
    assert (enabled["enabled"], "disabledReason" in enabled) == (True, False)
    assert client.patch(path, json={}).get_json()["events"] == enabled["events"]


def test_a_removed_endpoint_is_gone_with_its_deliveries(
    client: FlaskClient, endpoint: dict[str, Any]
) -> None:
    path = f"{BASE}/{endpoint['id']}"
    delivery = client.post(f"{path}/test").get_json()
    assert client.delete(path).status_code == 204
    for gone in ("", "/deliveries", f"/deliveries/{delivery['id']}"):
        assert client.get(path + gone).status_code == 404
    assert client.delete(path).status_code == 404


@pytest.mark.parametrize("given", [NO_ID, "x", "%00", "é", "a" * 500])
def test_an_id_that_no_endpoint_has_is_not_found(client: FlaskClient, given: str) -> None:
    path = f"{BASE}/{given}"
    for method, below in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/test"),
        ("POST", "/rotate-secret"),
        ("GET", "/deliveries"),
        ("GET", "/deliveries/x"),
        ("POST", "/deliveries/x/replay"),
    ):
        answer = client.open(path + below, method=method)
        assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found"), (method, below)
    assert client.patch(path, json={"enabled": True}).status_code == 404


@pytest.mark.parametrize("given", [NO_ID, "x", "%00", "$ne"])
def test_an_id_that_no_delivery_has_is_not_found(
    client: FlaskClient, endpoint: dict[str, Any], given: str
) -> None:
    path = f"{BASE}/{endpoint['id']}/deliveries/{given}"
    assert client.get(path).status_code == 404
    assert client.post(f"{path}/replay").status_code == 404


def test_a_delivery_belongs_to_its_endpoint_alone(client: FlaskClient, endpoint: dict[str, Any]) -> None:
    delivery = client.post(f"{BASE}/{endpoint['id']}/test").get_json()
    other = client.post(BASE, json={"url": URL}).get_json()
    assert client.get(f"{BASE}/{other['id']}/deliveries/{delivery['id']}").status_code == 404
    assert client.post(f"{BASE}/{other['id']}/deliveries/{delivery['id']}/replay").status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/url"),
        ({"url": None}, "/url"),
        ({"url": 7}, "/url"),
        ({"url": ""}, "/url"),
        ({"url": "example.com"}, "/url"),
        ({"url": "ftp://example.com/"}, "/url"),
        ({"url": "file:///etc/passwd"}, "/url"),
        ({"url": "http://user:password@example.com/"}, "/url"),
        ({"url": "http://example.com@127.0.0.1/"}, "/url"),
        ({"url": "http://example.com:0/"}, "/url"),
        ({"url": "http://example.com:65536/"}, "/url"),
        ({"url": "http://example.com/#part"}, "/url"),
        ({"url": "http://example.com\\@127.0.0.1/"}, "/url"),
        ({"url": "http://exa mple.com/"}, "/url"),
        ({"url": "http://[cedA]/"}, "/url"),
        ({"url": "http://example.com/\r\nX: y"}, "/url"),
        ({"url": f"http://example.com/{'x' * 2000}"}, "/url"),
        ({"url": URL, "events": []}, "/events"),
        ({"url": URL, "events": "*"}, "/events"),
        ({"url": URL, "events": ["order.lost"]}, "/events/0"),
        ({"url": URL, "events": ["*", "stock.*"]}, "/events/1"),
        ({"url": URL, "events": ["payment.authorized"]}, "/events/0"),
        ({"url": URL, "events": ["order"]}, "/events/0"),
        ({"url": URL, "events": [None]}, "/events/0"),
        ({"url": URL, "secret": "whsec_AAAA"}, "/secret"),
        ({"url": URL, "enabled": False}, "/enabled"),
    ],
)
def test_a_bad_endpoint_is_422_and_named(client: FlaskClient, body: Any, pointer: str) -> None:
    answer = client.post(BASE, json=body)
    problem = answer.get_json()
    assert (answer.status_code, [error["pointer"] for error in problem["errors"]]) == (422, [pointer])
    assert client.get(BASE).get_json() == {"endpoints": []}


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "localhost",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "168.63.129.16",
        "[::ffff:168.63.129.16]",
        "[fd00:ec2::254]",
        "100.64.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:db8::1]",
    ],
)
def test_an_address_that_is_not_public_is_refused_however_it_is_spelled(
    client: FlaskClient, endpoint: dict[str, Any], make_app: Callable[..., Flask], host: str
) -> None:
    body = {"url": f"http://{host}:8080/hook"}
    for answer in (
        client.post(BASE, json=body),
        client.patch(f"{BASE}/{endpoint['id']}", json=body),
    ):
        problem = answer.get_json()
        assert (answer.status_code, [error["pointer"] for error in problem["errors"]]) == (422, ["/url"])
    assert client.get(f"{BASE}/{endpoint['id']}").get_json()["url"] == URL
    lenient = make_app(WEBHOOK_ALLOW_PRIVATE="true").test_client()
    assert lenient.post(BASE, json=body).status_code == 201


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"enabled": "yes"}, "/enabled"),
        ({"enabled": None}, "/enabled"),
        ({"enabled": 1}, "/enabled"),
        ({"url": "x"}, "/url"),
        ({"events": ["nothing.*"]}, "/events/0"),
        ({"secrets": []}, "/secrets"),
    ],
)
def test_a_bad_change_is_422_and_changes_nothing(
    client: FlaskClient, endpoint: dict[str, Any], body: Any, pointer: str
) -> None:
    answer = client.patch(f"{BASE}/{endpoint['id']}", json={"events": ["order.*"], **body})
    assert (answer.status_code, [error["pointer"] for error in answer.get_json()["errors"]]) == (
        422,
        [pointer],
    )
    assert client.get(f"{BASE}/{endpoint['id']}").get_json()["events"] == ["*"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_that_can_match_is_taken(client: FlaskClient, pattern: str) -> None:
    assert client.post(BASE, json={"url": URL, "events": [pattern]}).status_code == 201


def test_a_new_secret_is_shown_and_differs(client: FlaskClient, endpoint: dict[str, Any]) -> None:
    rotated = client.post(f"{BASE}/{endpoint['id']}/rotate-secret")
    assert rotated.status_code == 200
    assert rotated.get_json()["secret"] != endpoint["secret"]
    assert "secret" not in client.get(f"{BASE}/{endpoint['id']}").get_json()


def test_a_test_event_is_a_delivery_like_any_other(client: FlaskClient, endpoint: dict[str, Any]) -> None:
    answer = client.post(f"{BASE}/{endpoint['id']}/test")
    delivery = answer.get_json()
    assert (answer.status_code, delivery["type"], delivery["status"]) == (202, "webhook.test", "pending")
    assert delivery["attempts"] == []
    assert delivery["nextAttemptAt"] == delivery["at"]
    path = f"{BASE}/{endpoint['id']}/deliveries"
    assert client.get(path).get_json() == {"deliveries": [delivery]}
    assert client.get(f"{path}/{delivery['id']}").get_json() == delivery
    assert client.post(f"{path}/{delivery['id']}/replay").status_code == 202


def test_pending_deliveries_of_a_disabled_endpoint_fail_and_nothing_is_sent(
    client: FlaskClient, endpoint: dict[str, Any]
) -> None:
    path = f"{BASE}/{endpoint['id']}"
    delivery = client.post(f"{path}/test").get_json()
    client.patch(path, json={"enabled": False})
    failed = client.get(f"{path}/deliveries/{delivery['id']}").get_json()
    assert (failed["status"], failed["reason"]) == ("failed", "endpoint_disabled")
    for below in ("/test", f"/deliveries/{delivery['id']}/replay"):
        answer = client.post(path + below)
        assert (answer.status_code, answer.get_json()["code"]) == (409, "endpoint_disabled")
    client.patch(path, json={"enabled": True})
    again = client.post(f"{path}/deliveries/{delivery['id']}/replay").get_json()
    assert (again["status"], "reason" in again) == ("pending", False)


def test_endpoints_and_deliveries_are_paged_newest_first(client: FlaskClient) -> None:
    ids = [client.post(BASE, json={"url": URL}).get_json()["id"] for _ in range(3)]
    assert _walk(client, BASE, "endpoints") == sorted(ids, reverse=True)
    path = f"{BASE}/{ids[0]}"
    made = [client.post(f"{path}/test").get_json()["id"] for _ in range(3)]
    assert _walk(client, f"{path}/deliveries", "deliveries") == sorted(made, reverse=True)
    assert client.get(f"{path}/deliveries?status=failed").get_json() == {"deliveries": []}
    assert len(client.get(f"{path}/deliveries?status=pending").get_json()["deliveries"]) == 3
    assert client.get(f"{path}/deliveries?status=lost").status_code == 422
    assert client.get(f"{path}/deliveries?cursor=x").status_code == 400
    assert client.get(f"{BASE}?limit=0").status_code == 422


def test_the_number_of_endpoints_is_limited(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MOST_ENDPOINTS", 1)
    assert client.post(BASE, json={"url": URL}).status_code == 201
    answer = client.post(BASE, json={"url": URL})
    assert (answer.status_code, answer.get_json()["code"]) == (409, "too_many_endpoints")


def test_of_any_number_of_endpoints_made_at_once_no_more_stay_than_may(
    client: FlaskClient, make_app: Callable[..., Flask], api_database: Database[dict[str, Any]]
) -> None:
    for _ in range(webhooks.MOST_ENDPOINTS - 20):
        assert client.post(BASE, json={"url": NUMERIC_URL}).status_code == 201
    client.delete(f"{BASE}/{client.get(BASE).get_json()['endpoints'][7]['id']}")
    apps = [make_app() for _ in range(2)]

    def add(number: int) -> int:
        return apps[number % 2].test_client().post(BASE, json={"url": NUMERIC_URL}).status_code

    with ThreadPoolExecutor(64) as threads:
        statuses = Counter(threads.map(add, range(64)))
    assert statuses == {201: 21, 409: 43}
    assert api_database["webhook_endpoints"].count_documents({}) == webhooks.MOST_ENDPOINTS


def test_an_endpoint_gets_so_many_test_events_a_minute_and_keeps_as_many(
    client: FlaskClient, app_services: Services, endpoint: dict[str, Any]
) -> None:
    path = f"{BASE}/{endpoint['id']}"
    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(lambda _: client.post(f"{path}/test"), range(24)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert Counter(answer.status_code for answer in answers) == {202: MOST_TESTS, 429: 24 - MOST_TESTS}
    assert {answer.get_json()["code"] for answer in refused} == {"too_many_test_events"}
    assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in refused)
    first = {answer.get_json()["id"] for answer in answers if answer.status_code == 202}

    later = with_parts(app_services, clock=lambda: now() + TEST_WINDOW)
    newest = [webhooks.send_test_event(later.webhooks, endpoint["id"])["id"] for _ in range(3)]
    kept = {one["id"] for one in client.get(f"{path}/deliveries").get_json()["deliveries"]}
    assert len(kept) == MOST_TESTS
    assert kept > set(newest)
    assert len(kept & first) == MOST_TESTS - 3


def test_no_answer_but_two_shows_a_secret(
    client: FlaskClient, app_services: Services, endpoint: dict[str, Any]
) -> None:
    path = f"{BASE}/{endpoint['id']}"
    stored = app_services.webhooks.endpoints.get(endpoint["id"])
    assert stored is not None
    assert stored["secrets"] == [{"secret": endpoint["secret"]}]
    for answer in (
        client.get(BASE),
        client.get(path),
        client.patch(path, json={}),
        client.post(f"{path}/test"),
    ):
        assert "whsec_" not in answer.text


def _walk(client: FlaskClient, path: str, name: str) -> list[str]:
    seen, query = [], {"limit": "1"}
    while True:
        page = client.get(path, query_string=query).get_json()
        seen += [item["id"] for item in page[name]]
        if "nextCursor" not in page:
            return seen
        query["cursor"] = page["nextCursor"]
