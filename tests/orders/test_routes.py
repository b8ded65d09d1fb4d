"""Orders over HTTP: the five calls of the original service, and what was added to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.orders.numbers import number_of
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient

    Place = Callable[..., dict[str, Any]]


def test_the_original_sample_is_answered_field_by_field(client: FlaskClient) -> None:
    answer = client.post("/orders", json=SAMPLE)
    order = answer.get_json()["order"]
    assert answer.status_code == 201
    assert answer.get_json()["message"] == "Order created successfully"
    assert answer.content_type == "application/json"
    assert answer.headers["Location"] == f"/orders/{order['id']}"
    assert answer.headers["ETag"] == '"v1"'
    assert len(order["id"]) == 24
    assert order == {
        "id": order["id"],
        "number": number_of(order["id"]),
        "userId": "user-id",
        "products": [{"line": 1, "productId": "product-id", "quantity": 2}],
        "totalAmount": 200.0,
        "currency": "USD",
        "status": "pending",
        "payment": {"status": "pending", "capturedAmount": 0.0, "refundedAmount": 0.0},
        "stock": {"status": "pending"},
        "fulfillment": {"status": "none", "open": [{"line": 1, "quantity": 2}]},
        "version": 1,
        "createdAt": order["createdAt"],
        "updatedAt": order["createdAt"],
    }


def test_amounts_keep_all_their_decimals(client: FlaskClient) -> None:
    text = client.post("/orders", json=SAMPLE).text
    assert '"totalAmount":200.00' in text
    assert '"capturedAmount":0.00' in text


@pytest.mark.parametrize(
    ("currency", "sent", "shown"),
    [("JPY", "200", "200"), ("USD", "0.1", "0.10"), ("KWD", "1.234", "1.234"), ("USD", "2e2", "200.00")],
)
def test_each_currency_has_its_own_decimals(
    client: FlaskClient, currency: str, sent: str, shown: str
) -> None:
    line = '{"productId":"p","quantity":1}'
    body = f'{{"userId":"u","products":[{line}],"totalAmount":{sent},"currency":"{currency}"}}'
    answer = client.post("/orders", data=body, content_type="application/json")
    assert f'"totalAmount":{shown},"currency":"{currency}"' in answer.text


def test_everything_given_comes_back(post_order: Place, client: FlaskClient) -> None:
    given = {
        "products": [
            {"productId": "a", "quantity": 2, "unitPrice": 50.25},
            {"productId": "a", "quantity": 1, "unitPrice": 99.50},
        ],
        "totalAmount": 200.00,
        "currency": "EUR",
        "paymentMethod": "sandbox_ok",
        "reference": "R-1",
        "email": "ann@example.org",
        "shippingAddress": {
            "name": "Ann",
            "line1": "Way 1",
            "city": "Bonn",
            "postalCode": "53111",
            "country": "DE",
        },
        "metadata": {"gift": "yes", "note": "two\nlines"},
    }
    order = post_order(**given)
    method = given.pop("paymentMethod")
    given["products"] = [{"line": number, **line} for number, line in enumerate(given["products"], 1)]
    assert {name: order[name] for name in given} == given
    assert order["payment"]["method"] == method
    assert client.get(f"/orders/{order['id']}").get_json() == order


def test_an_order_is_shown_unwrapped_with_its_version(post_order: Place, client: FlaskClient) -> None:
    order = post_order()
    answer = client.get(f"/orders/{order['id']}")
    assert (answer.status_code, answer.get_json(), answer.headers["ETag"]) == (200, order, '"v1"')


def test_a_version_the_client_has_is_not_sent_again(post_order: Place, client: FlaskClient) -> None:
    path = f"/orders/{post_order()['id']}"
    for tags in ('"v1"', 'W/"v1"', '"v7", "v1"', "*"):
        answer = client.get(path, headers={"If-None-Match": tags})
        assert (answer.status_code, answer.data, answer.headers["ETag"]) == (304, b"", '"v1"')
    assert client.get(path, headers={"If-None-Match": '"v2"'}).status_code == 200


def test_past_versions_can_be_had_and_no_others(post_order: Place, client: FlaskClient) -> None:
    order = post_order(metadata={"a": "b"})
    path = f"/orders/{order['id']}"
    last = client.put(path, json={"status": "cancelled"}).get_json()["order"]
    first = client.get(path, query_string={"version": 1})
    assert (first.get_json(), first.headers["ETag"]) == (order, '"v1"')
    assert client.get(path, query_string={"version": last["version"]}).get_json() == last
    for version in (0, -1, last["version"] + 1, 10**17):
        assert client.get(path, query_string={"version": version}).status_code == 404
    for version in ("", "x", "1.0", "9" * 5000):
        answer = client.get(path, query_string={"version": version})
        assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, "/version")


@pytest.mark.parametrize("order_id", ["0" * 24, "x", "%00", "1" * 5000, "é", "../x", "a b", "null"])
def test_an_id_that_is_no_order_is_not_found(client: FlaskClient, order_id: str) -> None:
    for call in (
        client.get(f"/orders/{order_id}"),
        client.get(f"/orders/{order_id}/events"),
        client.get(f"/orders/{order_id}/events/verify"),
        client.put(f"/orders/{order_id}", json={"status": "shipped"}),
        client.delete(f"/orders/{order_id}"),
    ):
        assert (call.status_code, call.get_json()["code"]) == (404, "not_found")


def test_an_order_goes_its_whole_way(
    post_order: Place, client: FlaskClient, settle: Callable[[str], None]
) -> None:
    order_id = post_order()["id"]
    settle(order_id)
    assert client.get(f"/orders/{order_id}").get_json()["status"] == "confirmed"
    tracking = {"carrier": "DHL", "number": "1", "url": "https://dhl.example/1"}
    shipped = client.put(f"/orders/{order_id}", json={"status": "shipped", "tracking": tracking})
    assert shipped.get_json()["message"] == "Order updated successfully"
    assert shipped.get_json()["order"]["tracking"] == tracking
    assert shipped.headers["ETag"] == f'"v{shipped.get_json()["order"]["version"]}"'
    delivered = client.put(f"/orders/{order_id}", json={"status": "delivered"}).get_json()["order"]
    assert delivered["status"] == "delivered"
    assert delivered["payment"]["capturedAmount"] == 200.0


def test_the_present_status_again_changes_nothing(post_order: Place, client: FlaskClient) -> None:
    order = post_order()
    answer = client.put(f"/orders/{order['id']}", json={"status": "pending"})
    assert (answer.status_code, answer.get_json()["order"]) == (200, order)


@pytest.mark.parametrize("status", ["confirmed", "shipped", "delivered"])
def test_a_forbidden_change_is_refused_with_the_allowed_ones(
    post_order: Place, client: FlaskClient, status: str
) -> None:
    answer = client.put(f"/orders/{post_order()['id']}", json={"status": status})
    assert answer.status_code == 409
    assert answer.get_json()["code"] == "illegal_transition"
    assert answer.get_json()["allowed"] == ["cancelled"]


def test_a_cancelled_order_says_why(post_order: Place, client: FlaskClient) -> None:
    order_id = post_order()["id"]
    order = client.put(f"/orders/{order_id}", json={"status": "cancelled", "reason": "too late"}).get_json()[
        "order"
    ]
    assert order["cancellation"] == {"reason": "requested", "detail": "too late"}
    answer = client.put(f"/orders/{order_id}", json={"status": "shipped"})
    assert (answer.status_code, answer.get_json()["allowed"]) == (409, [])


def test_a_field_of_another_status_is_refused(post_order: Place, client: FlaskClient) -> None:
    order_id = post_order()["id"]
    for change, pointer in (
        ({"status": "cancelled", "tracking": {"number": "1"}}, "/tracking"),
        ({"status": "shipped", "reason": "no"}, "/reason"),
        ({"status": "shipped", "tracking": {"url": "javascript:alert(1)"}}, "/tracking/url"),
        ({"status": "paid"}, "/status"),
        ({"status": ["shipped"]}, "/status"),
        ({}, "/status"),
        ({"status": "shipped", "version": 3}, "/version"),
    ):
        answer = client.put(f"/orders/{order_id}", json=change)
        assert (answer.status_code, [error["pointer"] for error in answer.get_json()["errors"]]) == (
            422,
            [pointer],
        )


def test_a_stale_version_is_refused(post_order: Place, client: FlaskClient) -> None:
    path = f"/orders/{post_order()['id']}"
    for stale in ('"v2"', 'W/"v1"', '"v2", "v3"', '"other"', '"v01"', '""'):
        for call in (client.put, client.delete):
            answer = call(path, json={"status": "cancelled"}, headers={"If-Match": stale})
            assert (answer.status_code, answer.get_json()["code"]) == (412, "stale_version")
    assert client.get(path).get_json()["version"] == 1


@pytest.mark.parametrize("match", ['"v1"', "*", '"v9", "v1"', ' "v1" ', 'W/"v1","v1"'])
def test_the_present_version_may_be_changed(post_order: Place, client: FlaskClient, match: str) -> None:
    path = f"/orders/{post_order()['id']}"
    assert client.put(path, json={"status": "cancelled"}, headers={"If-Match": match}).status_code == 200


@pytest.mark.parametrize("match", ["v1", '"v1', '"v1" "v2"', "", '"v1",', "*, *"])
def test_a_condition_that_cannot_be_read_is_refused(
    post_order: Place, client: FlaskClient, match: str
) -> None:
    answer = client.delete(f"/orders/{post_order()['id']}", headers={"If-Match": match})
    assert (answer.status_code, answer.get_json()["code"]) == (400, "bad_header")


def test_a_condition_can_be_required(make_app: Callable[..., Flask]) -> None:
    client = make_app(REQUIRE_IF_MATCH="true").test_client()
    path = client.post("/orders", json=SAMPLE).headers["Location"]
    for call in (client.put(path, json={"status": "cancelled"}), client.delete(path)):
        assert (call.status_code, call.get_json()["code"]) == (428, "if_match_required")
    assert client.delete(path, headers={"If-Match": '"v1"'}).status_code == 204


def test_a_deleted_order_is_gone_everywhere(post_order: Place, client: FlaskClient) -> None:
    path = f"/orders/{post_order()['id']}"
    answer = client.delete(path)
    assert (answer.status_code, answer.data, answer.headers.get("Content-Type")) == (204, b"", None)
    assert client.get("/orders").get_json() == {"orders": []}
    for call in (
        client.get(path),
        client.get(path, query_string={"version": 1}),
        client.get(f"{path}/events"),
        client.get(f"{path}/events/verify"),
        client.put(path, json={"status": "cancelled"}),
        client.delete(path),
    ):
        assert call.status_code == 404


def test_a_shipped_order_cannot_be_deleted_until_it_is_delivered(
    post_order: Place, client: FlaskClient, settle: Callable[[str], None]
) -> None:
    order_id = post_order()["id"]
    settle(order_id)
    client.put(f"/orders/{order_id}", json={"status": "shipped"})
    answer = client.delete(f"/orders/{order_id}")
    assert (answer.status_code, answer.get_json()["code"]) == (409, "order_in_transit")
    client.put(f"/orders/{order_id}", json={"status": "delivered"})
    assert client.delete(f"/orders/{order_id}").status_code == 204


def test_the_events_have_every_change(
    post_order: Place, client: FlaskClient, settle: Callable[[str], None]
) -> None:
    order = post_order(email="ann@example.org", metadata={"a": "b"})
    settle(order["id"])
    events = client.get(f"/orders/{order['id']}/events").get_json()["events"]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events][:2] == ["order.created", "payment.authorized"]
    assert all(set(event) == {"sequence", "type", "at", "actor", "data", "hash"} for event in events)
    assert events[0]["at"] == order["createdAt"]
    assert len(events[0]["data"].pop("personalDigest")) == 64
    assert events[0]["data"] == {
        "userId": "user-id",
        "products": [{"productId": "product-id", "quantity": 2}],
        "totalAmount": 200.0,
        "currency": "USD",
        "email": "ann@example.org",
        "metadata": {"a": "b"},
    }
    captured = next(event for event in events if event["type"] == "payment.captured")
    assert captured["data"]["capturedAmount"] == 200.0
    assert len({event["hash"] for event in events}) == len(events)
    assert client.get(f"/orders/{order['id']}/events/verify").get_json() == {"intact": True}


def test_a_tampered_log_is_found_out(post_order: Place, client: FlaskClient, api_database: Any) -> None:
    order_id = post_order()["id"]
    client.put(f"/orders/{order_id}", json={"status": "cancelled"})
    document = api_database.orders.find_one({})
    api_database.orders.update_one({"_id": document["_id"]}, {"$set": {"events.1.actor": "someone else"}})
    answer = client.get(f"/orders/{order_id}/events/verify")
    assert (answer.status_code, answer.get_json()) == (200, {"intact": False, "firstBadSequence": 2})
