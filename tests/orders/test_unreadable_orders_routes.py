"""An order that cannot be read is named where it would stand, and takes nothing else down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from bson import ObjectId

from app.feed import service as feeding
from tests.support.damage import DAMAGES, MALFORMED, OF_THE_LOG, UNDECODABLE, damage
from tests.support.tokens import SETTINGS, bearer, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database

    from app.services import Services

    Place = Callable[..., dict[str, Any]]
    Orders = Database[dict[str, Any]]

pytestmark = pytest.mark.slow

# All that a client can send as metadata, and MongoDB or its driver would make something else of.
RESERVED: list[dict[str, str]] = [
    {"$ref": "a", "$id": "b"},
    {"$ref": "a", "$id": "b", "$db": "c", "more": "d"},
    {"more": "d", "$id": "b", "$ref": "a"},
    {"$ref": "a"},
    {"$oid": "66ffbd20a1b2c3d4e5f60718"},
    {"$numberLong": "1", "$date": "2"},
    {"$": "", "$$": "$ref", "a.b": "c", ".": "$id", "name": "x", "value": "y"},
    {"$where": "sleep(1)", "$set": "x", "_id": "y"},
]


@pytest.mark.parametrize("metadata", RESERVED, ids=" ".join)
def test_metadata_of_any_names_come_back_as_they_were_sent(
    client: FlaskClient, app_services: Services, metadata: dict[str, str]
) -> None:
    """In the order of the names, too, wherever the order is shown."""
    keyed = {"Idempotency-Key": "k"}
    body = {"userId": "u", "products": [{"productId": "p", "quantity": 1}], "totalAmount": 1}
    sent = orjson.dumps({**body, "metadata": metadata})
    created, again = (
        client.post("/orders", data=sent, content_type="application/json", headers=keyed) for _ in range(2)
    )
    assert (created.status_code, created.data) == (201, again.data)
    order_id = created.get_json()["order"]["id"]
    feeding.catch_up(app_services.feed, lambda: False)
    shown = [
        created.get_json()["order"],
        client.get(f"/orders/{order_id}").get_json(),
        client.get(f"/orders/{order_id}?version=1").get_json(),
        client.get("/orders").get_json()["orders"][0],
        client.get("/events").get_json()["events"][0]["data"]["order"],
        client.get(f"/orders/{order_id}/events").get_json()["events"][0]["data"],
    ]
    for order in shown:
        assert list(order["metadata"].items()) == list(metadata.items())
    assert client.get(f"/orders/{order_id}/events/verify").get_json() == {"intact": True}
    assert client.put(f"/orders/{order_id}", json={"status": "cancelled"}).status_code == 200


@pytest.mark.parametrize("metadata", [*RESERVED, {"a": "b"}], ids=" ".join)
def test_an_order_that_the_release_before_stored_is_read_all_the_same(
    client: FlaskClient, post_order: Place, api_database: Orders, metadata: dict[str, str]
) -> None:
    order_id = post_order(metadata={"x": "y"})["id"]
    found = api_database["orders"].find_one({"_id": ObjectId(order_id)})
    assert found
    personal = {**found["personal"], "metadata": metadata}
    api_database["orders"].replace_one({"_id": found["_id"]}, {**found, "personal": personal})
    assert client.get(f"/orders/{order_id}").get_json()["metadata"] == metadata
    assert client.get("/orders").get_json()["orders"][0]["metadata"] == metadata


@pytest.mark.parametrize("name", DAMAGES)
def test_a_list_names_the_order_that_it_cannot_show(
    client: FlaskClient, post_order: Place, api_database: Orders, name: str
) -> None:
    """It counts towards the limit, and the pages behind it are there."""
    newest_first = [post_order(metadata={"a": "b"})["id"] for _ in range(5)][::-1]
    assert "unreadable" not in client.get("/orders").get_json()
    bad = newest_first[1]
    damage(api_database, bad, DAMAGES[name])
    page = client.get("/orders").get_json()
    assert [order["id"] for order in page["orders"]] == [one for one in newest_first if one != bad]
    assert page["unreadable"] == [bad]
    for limit in (1, 2, 3):
        pages = list(_pages(client, limit))
        seen = [[order["id"] for order in page["orders"]] + page.get("unreadable", []) for page in pages]
        assert sorted(order_id for ids in seen for order_id in ids) == sorted(newest_first)
        assert all(len(page) == limit for page in seen[:-1])


def _pages(client: FlaskClient, limit: int) -> Any:
    page = client.get(f"/orders?limit={limit}").get_json()
    yield page
    while "nextCursor" in page:
        page = client.get(f"/orders?limit={limit}&cursor={page['nextCursor']}").get_json()
        yield page


@pytest.mark.parametrize("name", DAMAGES)
def test_the_order_itself_is_a_500_that_says_nothing_of_the_inside_and_is_logged_by_its_id(
    client: FlaskClient,
    post_order: Place,
    api_database: Orders,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    order_id, other = (post_order(metadata={"a": "b"})["id"] for _ in range(2))
    damage(api_database, order_id, DAMAGES[name])
    capsys.readouterr()
    answer = client.get(f"/orders/{order_id}")
    problem = answer.get_json()
    assert (answer.status_code, problem["code"]) == (500, "order_unreadable")
    assert set(problem) == {"type", "title", "status", "detail", "instance", "code", "requestId"}
    assert "Error" not in answer.text
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "[error" in line)
    assert "order cannot be" in line
    assert f"order_id={order_id}" in line
    assert client.get(f"/orders/{other}").status_code == 200


@pytest.mark.parametrize("name", UNDECODABLE)
def test_no_command_and_no_view_of_an_order_that_cannot_be_decoded_is_anything_else(
    client: FlaskClient, post_order: Place, api_database: Orders, name: str
) -> None:
    headers = {"Idempotency-Key": "k"}
    body = {"userId": "u", "products": [{"productId": "p", "quantity": 1}], "totalAmount": 1}
    body["metadata"] = {"a": "b"}
    order_id = client.post("/orders", json=body, headers=headers).get_json()["order"]["id"]
    damage(api_database, order_id, UNDECODABLE[name])
    for answer in (
        client.get(f"/orders/{order_id}?version=1"),
        client.get(f"/orders/{order_id}/events"),
        client.get(f"/orders/{order_id}/events/verify"),
        client.post("/orders", json=body, headers=headers),
    ):
        assert (answer.status_code, answer.get_json()["code"]) == (500, "order_unreadable")


@pytest.mark.parametrize("name", DAMAGES)
def test_of_orders_asked_for_at_once_the_others_are_shown(
    post_order: Place, app_services: Services, api_database: Orders, name: str
) -> None:
    """They are read in one command."""
    bad, good = (post_order(metadata={"a": "b"})["id"] for _ in range(2))
    damage(api_database, bad, DAMAGES[name])
    found = app_services.orders.store._batches._read([bad, good])
    assert found[1]["id"] == good  # type: ignore[index]
    loaded = {order["id"]: order for order in app_services.orders.store.load([bad, good])}
    assert loaded.keys() == {bad, good}
    assert loaded[good]["status"] == "pending"


@pytest.mark.parametrize("name", UNDECODABLE)
def test_another_customer_learns_nothing_of_it(
    make_app: Callable[..., Flask], api_database: Orders, name: str
) -> None:
    client = make_app(**SETTINGS).test_client()
    ann, bob = (bearer(token(user, "orders:read orders:write")) for user in ("ann", "bob"))
    body = {"userId": "ann", "products": [{"productId": "p", "quantity": 1}], "totalAmount": 1}
    made = client.post("/orders", json={**body, "metadata": {"a": "b"}}, headers=ann)
    order_id = made.get_json()["order"]["id"]
    damage(api_database, order_id, UNDECODABLE[name])
    assert client.get(f"/orders/{order_id}", headers=ann).status_code == 500
    assert client.get(f"/orders/{order_id}", headers=bob).status_code == 404
    assert client.get("/orders", headers=ann).get_json() == {"orders": [], "unreadable": [order_id]}
    assert client.get("/orders", headers=bob).get_json() == {"orders": []}


@pytest.mark.parametrize("name", {**UNDECODABLE, **OF_THE_LOG})
def test_its_events_keep_their_place_in_the_feed(
    client: FlaskClient, post_order: Place, app_services: Services, api_database: Orders, name: str
) -> None:
    ids = [post_order(metadata={"a": "b"})["id"] for _ in range(3)]
    client.delete(f"/orders/{ids[1]}")
    feeding.catch_up(app_services.feed, lambda: False)
    before = client.get("/events").get_json()
    damage(api_database, ids[1], {**UNDECODABLE, **OF_THE_LOG}[name])
    after = client.get("/events").get_json()
    assert (after["nextCursor"], after["hasMore"]) == (before["nextCursor"], False)
    assert len(after["events"]) == len(before["events"])
    unreadable = 0
    for event, was in zip(after["events"], before["events"], strict=True):
        if event == was:
            continue
        unreadable += 1
        assert event["id"].startswith(ids[1])
        assert [event[name] for name in ("id", "type")] == [was[name] for name in ("id", "type")]
        assert event["timestamp"][:10] == was["timestamp"][:10]
        assert event["data"] == {
            "orderId": ids[1],
            "sequence": was["data"]["sequence"],
            "unreadable": True,
        }
    assert unreadable >= 3


@pytest.mark.parametrize("name", {**MALFORMED, **UNDECODABLE, **OF_THE_LOG})
def test_a_damaged_log_keeps_no_other_event_from_being_fed(
    client: FlaskClient, post_order: Place, app_services: Services, api_database: Orders, name: str
) -> None:
    ids = [post_order(metadata={"a": "b"})["id"] for _ in range(3)]
    client.delete(f"/orders/{ids[1]}")
    damage(api_database, ids[1], {**DAMAGES, **OF_THE_LOG}[name])
    feeding.catch_up(app_services.feed, lambda: False)
    fed = [event["id"] for event in client.get("/events").get_json()["events"]]
    assert [one for one in fed if not one.startswith(ids[1])] == [f"{ids[0]}:1", f"{ids[2]}:1"]
