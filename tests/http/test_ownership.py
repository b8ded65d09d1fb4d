"""Callers reach only their own orders by every call, list, filter, cursor, key and feed; admins reach all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from app.feed.service import catch_up
from tests.support.tokens import SETTINGS, bearer, token
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database

    from app.services import Services

ANN, BOB = bearer(token("ann")), bearer(token("bob"))
BOSS = bearer(token("boss", "orders:admin"))
OWN = {**SAMPLE, "userId": "ann"}
BODIES = {"PUT": {"status": "cancelled"}, "POST": {}, "PATCH": {"reference": "R"}}
BODIES_OF_ROUTES: dict[str, Any] = {
    "/orders/<order_id>/tags": ["vip"],
    "/orders/<order_id>/returns": {"products": [{"line": 1, "quantity": 1}]},
    "/orders/<order_id>/cancellations": {"products": [{"line": 1, "quantity": 1}], "amount": 0},
}


@pytest.fixture
def app(api_database: object, shared_app: Callable[..., Flask]) -> Flask:
    return shared_app(**SETTINGS)


@pytest.fixture
def order_of(client: FlaskClient) -> Callable[..., dict[str, Any]]:
    """Places an order as a user, who may be the admin for another."""

    def post(user: str, headers: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
        answer = client.post(
            "/orders", json={**SAMPLE, "userId": user, **changes}, headers=headers or bearer(token(user))
        )
        assert answer.status_code == 201, answer.text
        return answer.get_json()["order"]

    return post


def routes_of_orders(app: Flask) -> Iterator[tuple[str, str, str]]:
    for rule in app.url_map.iter_rules():
        view: Any = app.view_functions[rule.endpoint]
        if "order_id" in rule.arguments:
            for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
                yield method, rule.rule, view.declared.scope


def everything(api_database: Database[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: list(api_database[name].find().sort("_id")) for name in api_database.list_collection_names()
    }


def test_another_users_order_is_404_for_every_call(
    app: Flask,
    client: FlaskClient,
    order_of: Callable[..., dict[str, Any]],
    settle: Callable[[str], None],
    api_database: Database[dict[str, Any]],
) -> None:
    """The answer is the same as for an order that never existed, and the call leaves no trace."""
    order_id = order_of("ann")["id"]
    settle(order_id)
    refund = client.post(f"/orders/{order_id}/refunds", json={"amount": 10}, headers=BOSS)
    assert refund.status_code == 202, refund.text
    before, seen = everything(api_database), set()
    for method, rule, scope in routes_of_orders(app):
        asked = re.sub("<refund_id>", refund.get_json()["id"], rule)
        for query in ({}, {"version": 1}) if rule == "/orders/<order_id>" and method == "GET" else ({},):
            problems = []
            for wanted in (order_id, "0" * 24):
                path = asked.replace("<order_id>", wanted)
                for more in ({}, {"If-Match": '"v1", "v2"'}, {"If-None-Match": "*"}):
                    answer = client.open(
                        path,
                        method=method,
                        json=BODIES_OF_ROUTES.get(rule, BODIES.get(method)) if method != "GET" else None,
                        content_type="application/merge-patch+json" if method == "PATCH" else None,
                        query_string=query,
                        headers={**BOB, **more},
                    )
                    status = 403 if scope == "orders:admin" else 404
                    assert answer.status_code == status, (method, rule, answer.text)
                    problem = answer.get_json()
                    problems.append({**problem, "instance": None, "requestId": None})
            assert all(one == problems[0] for one in problems)
        seen.add(scope)
    assert seen == {"orders:read", "orders:write", "orders:admin"}
    assert everything(api_database) == before


def test_users_reach_their_own_orders_and_admins_reach_all(
    app: Flask, client: FlaskClient, order_of: Callable[..., dict[str, Any]]
) -> None:
    order_id = order_of("ann")["id"]
    for path in ("", "?version=1", "/events", "/events/verify", "/refunds", "/diagnosis"):
        for headers in (ANN, BOSS):
            assert client.get(f"/orders/{order_id}{path}", headers=headers).status_code == 200
    answer = client.put(f"/orders/{order_id}", json={"status": "cancelled"}, headers=ANN)
    assert answer.status_code == 200
    assert client.delete(f"/orders/{order_id}", headers=ANN).status_code == 204


def test_only_an_admin_can_order_for_another_user(
    client: FlaskClient, order_of: Callable[..., dict[str, Any]], api_database: Database[dict[str, Any]]
) -> None:
    answer = client.post("/orders", json={**SAMPLE, "userId": "ann"}, headers=BOB)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")
    assert 'scope="orders:admin"' in answer.headers["WWW-Authenticate"]
    assert api_database.orders.count_documents({}) == 0
    order_id = order_of("ann", BOSS)["id"]
    assert client.get(f"/orders/{order_id}", headers=ANN).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"userId": "bob"},
        {"productId": "product-id"},
        {"status": "pending"},
        {"paymentStatus": "pending"},
        {"reference": "R-1"},
        {"createdFrom": "2000-01-01T00:00:00Z"},
        {"createdTo": "2100-01-01T00:00:00Z", "sort": "createdAt"},
    ],
)
def test_a_list_holds_ones_own_whatever_is_asked_for(
    client: FlaskClient, order_of: Callable[..., dict[str, Any]], query: dict[str, str]
) -> None:
    for user in ("ann", "bob", "ann"):
        order_of(user, reference="R-1")
    shown = client.get("/orders", query_string=query, headers=BOB).get_json()
    assert [order["userId"] for order in shown["orders"]] == ["bob"]
    assert "nextCursor" not in shown
    expected = 1 if "userId" in query else 3
    assert len(client.get("/orders", query_string=query, headers=BOSS).get_json()["orders"]) == expected


def test_a_list_of_anothers_orders_is_empty(
    client: FlaskClient, order_of: Callable[..., dict[str, Any]]
) -> None:
    order_of("ann")
    for user in ("ann", "nobody"):
        answer = client.get("/orders", query_string={"userId": user}, headers=BOB)
        assert (answer.status_code, answer.get_json()) == (200, {"orders": []})


def test_another_users_cursor_shows_no_orders_of_that_user(
    client: FlaskClient, order_of: Callable[..., dict[str, Any]]
) -> None:
    for user in ("ann", "bob", "ann", "bob", "ann"):
        order_of(user)
    for query in ({}, {"userId": "ann"}, {"productId": "product-id"}):
        page = client.get("/orders", query_string={**query, "limit": 1}, headers=BOSS).get_json()
        more = {**query, "limit": 1, "cursor": page["nextCursor"]}
        shown = client.get("/orders", query_string=more, headers=BOB).get_json()["orders"]
        assert {order["userId"] for order in shown} <= {"bob"}


def test_an_idempotency_key_is_the_callers_own(
    client: FlaskClient, order_of: Callable[..., dict[str, Any]], api_database: Database[dict[str, Any]]
) -> None:
    key = {"Idempotency-Key": "the-same"}
    made = [
        order_of("ann", {**ANN, **key})["id"],
        order_of("bob", {**BOB, **key})["id"],
        order_of("ann", {**BOSS, **key})["id"],
    ]
    assert len(set(made)) == 3
    again = client.post("/orders", json={**SAMPLE, "userId": "ann"}, headers={**ANN, **key})
    assert (again.headers["Idempotent-Replayed"], again.get_json()["order"]["id"]) == ("true", made[0])
    for body in ({**SAMPLE, "userId": "ann"}, {**SAMPLE, "userId": "ann", "totalAmount": 1}):
        answer = client.post("/orders", json=body, headers={**BOB, **key})
        assert answer.status_code == 403
    assert api_database.orders.count_documents({}) == 3


def test_a_former_admin_gets_no_replay_of_an_order_for_another_user(
    client: FlaskClient, order_of: Callable[..., dict[str, Any]]
) -> None:
    key = {"Idempotency-Key": "once"}
    order_of("ann", {**bearer(token("bob", "orders:admin")), **key})
    again = client.post("/orders", json={**SAMPLE, "userId": "ann"}, headers={**BOB, **key})
    assert again.status_code == 403


def test_a_deleted_order_is_gone_for_its_owner_too(
    client: FlaskClient, order_of: Callable[..., dict[str, Any]]
) -> None:
    order_id = order_of("ann")["id"]
    assert client.delete(f"/orders/{order_id}", headers=ANN).status_code == 204
    assert client.get(f"/orders/{order_id}", headers=ANN).status_code == 404


def read(client: FlaskClient, headers: dict[str, str], **query: Any) -> list[dict[str, Any]]:
    """The feed from its start, and whether every part of it led on."""
    events: list[dict[str, Any]] = []
    while True:
        part = client.get("/events", query_string=query, headers=headers).get_json()
        events += part["events"]
        if not part["hasMore"]:
            return events
        query["after"] = part["nextCursor"]


@pytest.mark.parametrize("query", [{}, {"limit": 1}, {"types": "order.*"}, {"types": "order.*", "limit": 2}])
def test_the_feed_has_only_the_callers_own_orders(
    client: FlaskClient,
    app_services: Services,
    order_of: Callable[..., dict[str, Any]],
    query: dict[str, Any],
) -> None:
    ids = {user: [] for user in ("ann", "bob")}
    for user in ("ann", "bob", "ann", "ann", "bob", "ann"):
        ids[user].append(order_of(user)["id"])
    for order_id in (ids["ann"][0], ids["bob"][0]):
        client.put(f"/orders/{order_id}", json={"status": "cancelled"}, headers=BOSS)
    client.delete(f"/orders/{ids['bob'][1]}", headers=BOB)
    catch_up(app_services.feed, lambda: False)
    everybodys = read(client, BOSS, **query)
    for user, headers in (("ann", ANN), ("bob", BOB)):
        own = [event for event in everybodys if event["data"]["order"]["userId"] == user]
        assert read(client, headers, **query) == own
        assert {event["data"]["order"]["id"] for event in own} == set(ids[user])
    assert read(client, bearer(token("nobody")), **query) == []


def test_a_customer_with_few_orders_does_not_read_through_all_events(
    client: FlaskClient, app_services: Services, order_of: Callable[..., dict[str, Any]]
) -> None:
    for user in (*["ann"] * 8, "bob", *["ann"] * 8):
        order_of(user)
    catch_up(app_services.feed, lambda: False)
    part = client.get("/events", query_string={"limit": 2}, headers=BOB).get_json()
    assert [event["data"]["order"]["userId"] for event in part["events"]] == ["bob"]
    assert part["hasMore"] is False


@pytest.mark.parametrize(
    ("said", "email", "taken"),
    [
        ({"email": "ann@x.example"}, "ann@x.example", True),
        ({"email": "ann@x.example", "email_verified": True}, "ANN@X.example", True),
        ({"email": "jo\u0308rg@x.example", "email_verified": "true"}, "jörg@x.example", True),
        ({"email": "ann@x.example"}, None, True),
        ({}, None, True),
        ({"email": "ann@x.example"}, "victim@x.example", False),
        ({"email": "ann@x.example"}, "ann+1@x.example", False),
        ({"email": "ann@x.example", "email_verified": False}, "ann@x.example", False),
        ({"email": "ann@x.example", "email_verified": "false"}, "ann@x.example", False),
        ({"email": ["ann@x.example"]}, "ann@x.example", False),
        ({}, "ann@x.example", False),
        ({"email": "boss@x.example", "scope": "orders:admin"}, "ann@x.example", True),
    ],
)
def test_where_it_is_asked_for_a_customer_names_no_address_but_the_tokens_own(
    api_database: object,
    shared_app: Callable[..., Flask],
    said: dict[str, Any],
    email: str | None,
    taken: bool,
) -> None:
    client = shared_app(**SETTINGS, EMAIL_FROM_TOKEN="true").test_client()
    body = {**OWN, **({"email": email} if email else {})}
    answer = client.post("/orders", json=body, headers=bearer(token(**said)))
    if taken:
        assert answer.status_code == 201
        assert answer.get_json()["order"].get("email") == email
    else:
        problem = answer.get_json()
        assert (answer.status_code, [error["pointer"] for error in problem["errors"]]) == (422, ["/email"])
        assert "token" in problem["errors"][0]["detail"]
        listed = client.get("/orders", headers=bearer(token(scope="orders:admin"))).get_json()
        assert listed == {"orders": []}


def test_by_default_a_customer_may_name_any_address(client: FlaskClient) -> None:
    body = {**OWN, "email": "other@x.example"}
    assert client.post("/orders", json=body, headers=bearer(token())).status_code == 201
