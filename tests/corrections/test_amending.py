"""A PATCH corrects the fields of an order: a merge patch, one event, and the old personal data are gone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.erasure.service import erase_customer
from app.feed.service import catch_up
from app.orders.model import digest_of
from tests.support.tokens import SETTINGS, bearer, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database
    from werkzeug.test import TestResponse

    from app.services import Services

MERGE_PATCH = "application/merge-patch+json"
ADDRESS = {"name": "Eve", "line1": "First Street 1", "city": "Bonn", "country": "DE"}
FULL: dict[str, Any] = {
    "email": "eve@example.org",
    "shippingAddress": ADDRESS,
    "metadata": {"gift": "yes", "$where": "here"},
    "reference": "A-1",
}
NAMES = ("email", "shippingAddress", "metadata", "reference")


def amend(
    client: FlaskClient, order_id: str, body: Any, content_type: str = MERGE_PATCH, **headers: str
) -> TestResponse:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.patch(f"/orders/{order_id}", json=body, headers=sent, content_type=content_type)


def events(client: FlaskClient, order_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/orders/{order_id}/events").get_json()["events"]
    return found


def fields(order: dict[str, Any]) -> dict[str, Any]:
    return {name: order[name] for name in NAMES if name in order}


@pytest.fixture
def shipped(client: FlaskClient, post_order: Callable[..., Any], settle: Callable[[str], None]) -> str:
    """The id of a shipped order with everything that can be corrected."""
    order_id: str = post_order(**FULL)["id"]
    settle(order_id)
    assert client.put(f"/orders/{order_id}", json={"status": "shipped"}).status_code == 200
    return order_id


PATCHES: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"email": "new@example.org"}, {"email": "new@example.org"}, ["email"]),
    ({"email": None}, {"email": None}, ["email"]),
    ({"reference": "B-2"}, {"reference": "B-2"}, ["reference"]),
    ({"reference": None}, {"reference": None}, ["reference"]),
    (
        {"shippingAddress": {"line2": "Back door", "name": None}},
        {
            "shippingAddress": {
                "line1": "First Street 1",
                "line2": "Back door",
                "city": "Bonn",
                "country": "DE",
            }
        },
        ["shippingAddress"],
    ),
    (
        {"metadata": {"$where": None, "$ref": "x", "new": ""}},
        {"metadata": {"gift": "yes", "$ref": "x", "new": ""}},
        ["metadata"],
    ),
    (
        {"reference": "C", "metadata": None, "email": "eve@example.org"},
        {"reference": "C", "metadata": None},
        ["metadata", "reference"],
    ),
]


@pytest.mark.parametrize(("patch", "changed", "named"), PATCHES)
def test_a_patch_merges_and_names_its_fields_in_one_event(
    client: FlaskClient,
    post_order: Callable[..., Any],
    patch: dict[str, Any],
    changed: dict[str, Any],
    named: list[str],
) -> None:
    order = post_order(**FULL)
    answer = amend(client, order["id"], patch)
    assert answer.status_code == 200, answer.text
    expected = {name: value for name, value in {**FULL, **changed}.items() if value is not None}
    assert fields(answer.get_json()) == expected
    assert (answer.headers["ETag"], answer.get_json()["version"]) == ('"v2"', 2)
    assert client.get(f"/orders/{order['id']}").get_json() == answer.get_json()
    (_, event) = events(client, order["id"])
    assert (event["type"], event["data"]["fields"]) == ("order.amended", named)
    assert ("personalDigest" in event["data"]) == (named != ["reference"])
    assert event["data"].get("reference") == changed.get("reference")
    assert client.get(f"/orders/{order['id']}/events/verify").get_json() == {"intact": True}


def test_fields_can_be_added_to_an_order_without_any(
    client: FlaskClient, post_order: Callable[..., Any], api_database: Database[dict[str, Any]]
) -> None:
    order_id = post_order()["id"]
    assert fields(amend(client, order_id, FULL).get_json()) == FULL
    stored: Any = api_database["orders"].find_one({"_id": ObjectId(order_id)})
    assert stored["personal"]["email"] == FULL["email"]
    assert isinstance(stored["personal"]["metadata"], list)


@pytest.mark.parametrize(
    "body", [{}, {"email": "eve@example.org"}, {"shippingAddress": {"city": "Bonn"}}, FULL]
)
def test_a_patch_that_changes_nothing_leaves_no_event(client: FlaskClient, shipped: str, body: Any) -> None:
    """Even after shipping, and of the address."""
    before = events(client, shipped)
    answer = amend(client, shipped, body)
    assert (answer.status_code, answer.headers["ETag"]) == (200, f'"v{len(before)}"')
    assert events(client, shipped) == before


FAULTS: list[tuple[Any, list[str]]] = [
    ([], [""]),
    ("text", [""]),
    (4, [""]),
    ({"status": "shipped"}, ["/status"]),
    ({"totalAmount": 1, "version": 3}, ["/totalAmount", "/version"]),
    ({"tags": ["vip"]}, ["/tags"]),
    ({"email": "nobody"}, ["/email"]),
    ({"email": 4, "reference": ""}, ["/email", "/reference"]),
    ({"reference": "x" * 65}, ["/reference"]),
    ({"shippingAddress": "here"}, ["/shippingAddress"]),
    ({"shippingAddress": {"country": "Germany"}}, ["/shippingAddress/country"]),
    ({"shippingAddress": {"planet": None}}, ["/shippingAddress/planet"]),
    ({"metadata": {"a": 1}}, ["/metadata/a"]),
    ({"metadata": {f"n{n}": "x" for n in range(19)}}, ["/metadata"]),
]


@pytest.mark.parametrize(("body", "pointers"), FAULTS)
def test_a_bad_patch_is_refused_at_each_fault(
    client: FlaskClient, post_order: Callable[..., Any], body: Any, pointers: list[str]
) -> None:
    order_id = post_order(**FULL)["id"]
    answer = amend(client, order_id, body)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_input")
    assert sorted(fault["pointer"] for fault in answer.get_json()["errors"]) == pointers
    assert fields(client.get(f"/orders/{order_id}").get_json()) == FULL
    assert len(events(client, order_id)) == 1


def test_pairs_may_be_exchanged_at_the_bound(client: FlaskClient, post_order: Callable[..., Any]) -> None:
    """The bound counts the pairs of the result."""
    order_id = post_order(metadata={f"n{n}": "x" for n in range(20)})["id"]
    exchanged = {f"n{n}": None for n in range(20)} | {f"m{n}": "y" for n in range(20)}
    answer = amend(client, order_id, {"metadata": exchanged})
    assert answer.get_json()["metadata"] == {f"m{n}": "y" for n in range(20)}


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/json-patch+json"])
def test_another_media_type_is_415_with_accept_patch(
    client: FlaskClient, post_order: Callable[..., Any], content_type: str
) -> None:
    answer = amend(client, post_order()["id"], {"reference": "B"}, content_type)
    assert (answer.status_code, answer.get_json()["code"]) == (415, "unsupported_media_type")
    assert answer.headers["Accept-Patch"] == MERGE_PATCH


def test_the_address_is_fixed_after_the_first_shipment(client: FlaskClient, shipped: str) -> None:
    """Everything else is not."""
    for _ in range(2):
        refused = amend(client, shipped, {"shippingAddress": {"city": "Köln"}, "reference": "B"})
        assert (refused.status_code, refused.get_json()["code"]) == (409, "already_shipped")
        assert amend(client, shipped, {"shippingAddress": None}).status_code == 409
        others = {"reference": None, "email": None, "metadata": None}
        assert amend(client, shipped, others).status_code == 200
        assert fields(client.get(f"/orders/{shipped}").get_json()) == {"shippingAddress": ADDRESS}
        client.put(f"/orders/{shipped}", json={"status": "delivered"})


def test_old_personal_data_are_nowhere_and_the_reference_is_kept_per_version(
    client: FlaskClient,
    post_order: Callable[..., Any],
    app_services: Services,
    api_database: Database[dict[str, Any]],
) -> None:
    order_id = post_order(**FULL)["id"]
    amend(client, order_id, {"email": "new@example.org", "reference": "B-2"})
    amend(client, order_id, {"shippingAddress": {"city": "Köln"}, "reference": None})
    shown = [client.get(f"/orders/{order_id}?version={n}").get_json() for n in (1, 2, 3)]
    assert [order.get("reference") for order in shown] == ["A-1", "B-2", None]
    assert {order["email"] for order in shown} == {"new@example.org"}
    assert {order["shippingAddress"]["city"] for order in shown} == {"Köln"}
    assert events(client, order_id)[0]["data"]["email"] == "new@example.org"
    assert catch_up(app_services.feed, lambda: False)
    assert "eve@" not in client.get("/events").text
    stored: Any = api_database["orders"].find_one({"_id": ObjectId(order_id)})
    assert "eve@example.org" not in str(stored)
    assert "Bonn" not in str(stored)
    assert stored["events"][-1]["data"]["personalDigest"] == digest_of(
        {**stored["personal"], "metadata": FULL["metadata"]}
    )


def test_a_replayed_post_shows_personal_data_as_they_are_now(client: FlaskClient) -> None:
    body = {"userId": "eve", "products": [{"productId": "p", "quantity": 1}], "totalAmount": 1, **FULL}
    key = {"Idempotency-Key": "key-1"}
    order_id = client.post("/orders", json=body, headers=key).get_json()["order"]["id"]
    amend(client, order_id, {"email": "new@example.org", "reference": "B-2"})
    again = client.post("/orders", json=body, headers=key)
    shown = again.get_json()["order"]
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert (shown["email"], shown["reference"], shown["version"]) == ("new@example.org", "A-1", 1)


def test_an_order_is_found_by_its_new_reference(client: FlaskClient, post_order: Callable[..., Any]) -> None:
    order_id = post_order(**FULL)["id"]
    amend(client, order_id, {"reference": "B-2"})
    found = [client.get(f"/orders?reference={name}").get_json()["orders"] for name in ("A-1", "B-2")]
    assert [[order["id"] for order in orders] for orders in found] == [[], [order_id]]


def test_a_stale_or_missing_version_is_refused(
    client: FlaskClient, post_order: Callable[..., Any], shared_app: Callable[..., Flask]
) -> None:
    order_id = post_order()["id"]
    assert amend(client, order_id, {"reference": "B"}, If_Match='"v2"').status_code == 412
    assert amend(client, order_id, {"reference": "B"}, If_Match="v1").status_code == 400
    strict = shared_app(REQUIRE_IF_MATCH="true").test_client()
    assert amend(strict, order_id, {"reference": "B"}).status_code == 428
    assert amend(strict, order_id, {"reference": "B"}, If_Match='"v1"').status_code == 200


def test_a_repeated_patch_gives_its_first_answer(client: FlaskClient, post_order: Callable[..., Any]) -> None:
    """Though the order has changed since, and is no longer at the version that it named."""
    order_id = post_order()["id"]
    headers = {"Idempotency_Key": "key", "If_Match": '"v1"'}
    first = amend(client, order_id, {"reference": "B"}, **headers)
    amend(client, order_id, {"reference": "C"})
    again = amend(client, order_id, {"reference": "B"}, **headers)
    assert (again.status_code, again.data, again.headers["ETag"]) == (200, first.data, first.headers["ETag"])
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    reused = amend(client, order_id, {"reference": "D"}, **headers)
    assert (reused.status_code, reused.get_json()["code"]) == (422, "idempotency_key_reused")
    assert client.get(f"/orders/{order_id}").get_json()["reference"] == "C"


def test_a_repeated_patch_that_changed_nothing_still_changes_nothing(
    client: FlaskClient, post_order: Callable[..., Any]
) -> None:
    order_id = post_order(reference="A")["id"]
    amend(client, order_id, {"reference": "A"}, Idempotency_Key="key")
    amend(client, order_id, {"reference": "B"})
    again = amend(client, order_id, {"reference": "A"}, Idempotency_Key="key")
    assert (again.get_json()["version"], again.headers["Idempotent-Replayed"]) == (1, "true")
    assert client.get(f"/orders/{order_id}").get_json()["reference"] == "B"


def at_once(app: Flask, calls: list[Callable[[FlaskClient], TestResponse]]) -> list[TestResponse]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(lambda call: call(app.test_client()), calls))


def test_of_twenty_patches_of_one_version_at_once_one_wins(
    app: Flask, client: FlaskClient, post_order: Callable[..., Any]
) -> None:
    order_id = post_order()["id"]

    def call(n: int) -> Callable[[FlaskClient], TestResponse]:
        return lambda caller: amend(caller, order_id, {"reference": f"R-{n}"}, If_Match='"v1"')

    answers = at_once(app, [call(n) for n in range(20)])
    assert sorted(answer.status_code for answer in answers) == [200] + 19 * [412]
    (won,) = [answer for answer in answers if answer.status_code == 200]
    assert client.get(f"/orders/{order_id}").get_json() == won.get_json()


def test_twenty_patches_at_once_all_arrive(
    app: Flask, client: FlaskClient, post_order: Callable[..., Any]
) -> None:
    """Each merges into what the others left."""
    order_id = post_order()["id"]

    def call(n: int) -> Callable[[FlaskClient], TestResponse]:
        return lambda caller: amend(caller, order_id, {"metadata": {f"n{n}": "x"}})

    assert {answer.status_code for answer in at_once(app, [call(n) for n in range(20)])} == {200}
    order = client.get(f"/orders/{order_id}").get_json()
    assert (len(order["metadata"]), order["version"]) == (20, 21)


@pytest.mark.parametrize("body", [{"reference": "B"}, {}])
def test_one_key_used_twenty_times_at_once_counts_once(
    app: Flask, client: FlaskClient, post_order: Callable[..., Any], api_database: Any, body: Any
) -> None:
    order_id = post_order()["id"]
    answers = at_once(app, 20 * [lambda caller: amend(caller, order_id, body, Idempotency_Key="key")])
    assert {(answer.status_code, answer.data) for answer in answers} == {(200, answers[0].data)}
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert len(events(client, order_id)) == 1 + len(body)
    (stored,) = api_database["orders"].find({"_id": ObjectId(order_id)})
    assert len(stored["commandKeys"]) == 1


def test_an_erasure_in_between_is_not_undone(
    client: FlaskClient,
    post_order: Callable[..., Any],
    app_services: Services,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The erasure moves no version, so the write names the data that it replaces."""
    order_id = post_order(userId="eve", **FULL)["id"]
    store = type(app_services.orders.store)
    append = store.append
    erased: list[Any] = []

    def erase_first(self: Any, *args: Any, **options: Any) -> bool:
        if not erased:
            erased.append(erase_customer(app_services.erasure, "eve"))
        return append(self, *args, **options)

    monkeypatch.setattr(store, "append", erase_first)
    answer = amend(client, order_id, {"metadata": {"b": "2"}})
    assert fields(answer.get_json()) == {"metadata": {"b": "2"}, "reference": "A-1"}
    assert fields(client.get(f"/orders/{order_id}").get_json()) == {
        "metadata": {"b": "2"},
        "reference": "A-1",
    }


def test_amended_data_and_their_digests_are_erased(
    client: FlaskClient, post_order: Callable[..., Any], app_services: Services, api_database: Any
) -> None:
    order_id = post_order(userId="eve")["id"]
    amend(client, order_id, FULL, Idempotency_Key="key")
    assert erase_customer(app_services.erasure, "eve").orders == 1
    assert erase_customer(app_services.erasure, "eve").orders == 0
    assert fields(client.get(f"/orders/{order_id}").get_json()) == {"reference": "A-1"}
    assert client.get(f"/orders/{order_id}/events/verify").get_json() == {"intact": True}
    (stored,) = api_database["orders"].find({"_id": ObjectId(order_id)})
    assert [key["digest"] for key in stored["commandKeys"]] == ["0" * 64]
    assert amend(client, order_id, FULL, Idempotency_Key="key").status_code == 422


class TestCustomers:
    """With tokens."""

    @pytest.fixture
    def app(self, api_database: object, shared_app: Callable[..., Flask]) -> Flask:
        return shared_app(**SETTINGS)

    @pytest.fixture
    def order_id(self, client: FlaskClient) -> str:
        body = {"userId": "ann", "products": [{"productId": "p", "quantity": 1}], "totalAmount": 1, **FULL}
        answer = client.post("/orders", json=body, headers=bearer(token("ann")))
        found: str = answer.get_json()["order"]["id"]
        return found

    def test_customers_correct_their_own_orders_until_shipped(
        self, client: FlaskClient, order_id: str, settle: Callable[[str], None]
    ) -> None:
        ann, shop = bearer(token("ann")), bearer(token("shop", "orders:admin"))
        assert amend(client, order_id, {"shippingAddress": {"city": "Köln"}}, **ann).status_code == 200
        assert amend(client, order_id, {"reference": "B"}, **bearer(token("bob"))).status_code == 404
        assert (
            amend(client, order_id, {"reference": "B"}, **bearer(token("ann", "orders:read"))).status_code
            == 403
        )
        settle(order_id)
        client.put(f"/orders/{order_id}", json={"status": "shipped"}, headers=shop)
        for body in ({"reference": "C"}, {"metadata": None}, {"shippingAddress": None}):
            refused = amend(client, order_id, body, **ann)
            assert (refused.status_code, refused.get_json()["code"]) == (409, "already_shipped")
        assert amend(client, order_id, {"reference": "A-1"}, **ann).status_code == 200
        assert amend(client, order_id, {"reference": "C"}, **shop).status_code == 200
        last = client.get(f"/orders/{order_id}/events", headers=ann).get_json()["events"][-1]
        assert (last["type"], last["actor"]) == ("order.amended", "shop")
