"""Shipments as the shop and its customers see them: created, corrected, delivered, cancelled, and refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.orders.bounds import MOST_CORRECTIONS, MOST_SHIPMENTS
from app.orders.model import Change, advance
from tests.support.tokens import SETTINGS, bearer, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database
    from werkzeug.test import TestResponse

    from app.services import Services

Found = dict[str, Any]
LINES = [{"productId": "a", "quantity": 3}, {"productId": "b", "quantity": 2}]
DHL, UPS = {"carrier": "DHL", "number": "1"}, {"carrier": "UPS", "number": "2"}
MERGE_PATCH = "application/merge-patch+json"


@pytest.fixture
def order_id(post_order: Callable[..., Found], settle: Callable[[str], None]) -> str:
    """A confirmed order of 3 pieces of its first line and 2 of its second."""
    order_id: str = post_order(products=LINES)["id"]
    settle(order_id)
    return order_id


class Shop:
    """The calls of a shop about one order."""

    def __init__(self, client: FlaskClient, order_id: str) -> None:
        self._client = client
        self._path = f"/orders/{order_id}"

    def ship(self, *pieces: int, headers: Any = None, **body: Any) -> TestResponse:
        """Ships so many pieces of each line, or what the body says."""
        if pieces:
            entries = [{"line": line, "quantity": some} for line, some in enumerate(pieces, 1) if some]
            body["products"] = entries
        return self._client.post(f"{self._path}/shipments", json=body, headers=headers)

    def shipped(self, *pieces: int, **body: Any) -> str:
        """The id of a shipment that is created."""
        answer = self.ship(*pieces, **body)
        assert answer.status_code == 201, answer.text
        made: str = answer.get_json()["id"]
        return made

    def do(self, shipment_id: str, command: str, headers: Any = None) -> TestResponse:
        return self._client.post(f"{self._path}/shipments/{shipment_id}/{command}", headers=headers)

    def patch(self, shipment_id: str, body: Any, headers: Any = None) -> TestResponse:
        path = f"{self._path}/shipments/{shipment_id}"
        return self._client.patch(path, json=body, content_type=MERGE_PATCH, headers=headers)

    def put(self, status: str, **more: Any) -> TestResponse:
        return self._client.put(self._path, json={"status": status, **more})

    def order(self) -> Found:
        found: Found = self._client.get(self._path).get_json()
        return found

    def types(self, after: int = 5) -> list[str]:
        """The types of the order's events, by default of those after its confirmation."""
        found = self._client.get(f"{self._path}/events").get_json()["events"]
        return [event["type"] for event in found[after:]]

    def shipments(self) -> list[Found]:
        found: list[Found] = self._client.get(f"{self._path}/shipments").get_json()["shipments"]
        return found


@pytest.fixture
def shop(client: FlaskClient, order_id: str) -> Shop:
    """The shop of the confirmed order."""
    return Shop(client, order_id)


def faults(answer: TestResponse) -> dict[str, str]:
    """The faults of a problem by their pointers."""
    assert answer.status_code == 422, answer.text
    return {fault["pointer"]: fault["detail"] for fault in answer.get_json()["errors"]}


def refusal(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


def pieces(*quantities: int) -> list[dict[str, int]]:
    return [{"line": line, "quantity": some} for line, some in enumerate(quantities, 1) if some]


def test_a_shipment_is_answered_listed_and_got(client: FlaskClient, shop: Shop, order_id: str) -> None:
    """With its path, and with the version of its order."""
    answer = shop.ship(2, tracking=DHL)
    assert answer.status_code == 201, answer.text
    made = answer.get_json()
    assert answer.headers["Location"] == f"/orders/{order_id}/shipments/{order_id}-s1"
    assert answer.headers["ETag"] == '"v6"'
    order = shop.order()
    at = order["updatedAt"]
    assert made == {
        "id": f"{order_id}-s1",
        "orderId": order_id,
        "status": "shipped",
        "products": pieces(2),
        "tracking": DHL,
        "createdAt": at,
        "updatedAt": at,
    }
    assert shop.shipments() == [made]
    assert client.get(answer.headers["Location"]).get_json() == made
    assert order["status"] == "confirmed"
    assert order["tracking"] == DHL
    assert order["fulfillment"] == {"status": "partial", "open": pieces(1, 2)}
    assert shop.types() == ["shipment.created"]


def test_an_order_is_shipped_once_nothing_is_open_and_delivered_once_all_is(shop: Shop) -> None:
    """`fulfillment` follows, and past versions have their own."""
    first, second = shop.shipped(3, tracking=DHL), shop.shipped(tracking=UPS)
    assert shop.types() == ["shipment.created", "shipment.created", "order.shipped"]
    order = shop.order()
    assert (order["status"], order["tracking"]) == ("shipped", UPS)
    assert order["fulfillment"] == {"status": "shipped", "open": []}
    delivered = shop.do(second, "deliver")
    assert delivered.headers["ETag"] == '"v9"'
    shown = delivered.get_json()
    assert (shown["status"], shown["deliveredAt"]) == ("delivered", shown["updatedAt"])
    assert shop.order()["status"] == "shipped"
    shop.do(first, "deliver")
    assert shop.types(after=8) == ["shipment.delivered", "shipment.delivered", "order.delivered"]
    assert shop.order()["fulfillment"] == {"status": "delivered", "open": []}


def test_pieces_that_are_delivered_leave_the_order_confirmed_while_others_are_open(shop: Shop) -> None:
    shop.do(shop.shipped(3), "deliver")
    order = shop.order()
    assert order["status"] == "confirmed"
    assert order["fulfillment"] == {"status": "partial", "open": pieces(0, 2)}
    shop.shipped()
    assert (shop.order()["status"], shop.order()["fulfillment"]["status"]) == ("shipped", "shipped")


def test_a_cancelled_shipment_opens_its_pieces_and_its_order_again(shop: Shop) -> None:
    """The tracking of the order is that of its newest live shipment. An id is never used again."""
    first, second = shop.shipped(3, tracking=DHL), shop.shipped(tracking=UPS)
    answer = shop.do(second, "cancel")
    assert (answer.status_code, answer.get_json()["status"]) == (200, "cancelled")
    assert shop.types(after=8) == ["shipment.cancelled", "order.reopened"]
    order = shop.order()
    assert (order["status"], order["tracking"]) == ("confirmed", DHL)
    assert order["fulfillment"] == {"status": "partial", "open": pieces(0, 2)}
    shop.do(first, "cancel")
    order = shop.order()
    assert "tracking" not in order
    assert order["fulfillment"] == {"status": "none", "open": pieces(3, 2)}
    assert shop.shipped().endswith("-s3")
    assert [one["status"] for one in shop.shipments()] == ["cancelled", "cancelled", "shipped"]
    assert shop.order()["status"] == "shipped"


def test_the_same_command_again_is_200_and_leaves_no_event(shop: Shop) -> None:
    """Of a correction, too, even of a shipment that has ended."""
    first, second = shop.shipped(1, tracking=DHL), shop.shipped(1)
    for shipment_id, command in ((first, "deliver"), (second, "cancel")):
        once, again = shop.do(shipment_id, command), shop.do(shipment_id, command)
        assert (again.status_code, again.get_json()) == (200, once.get_json())
        assert again.headers["ETag"] == once.headers["ETag"]
    version = shop.order()["version"]
    assert shop.patch(first, {"tracking": DHL}).status_code == 200
    assert shop.patch(second, {"tracking": None}).status_code == 200
    assert shop.order()["version"] == version


def test_what_the_status_of_a_shipment_forbids_is_refused(shop: Shop) -> None:
    """A shipment that has ended keeps its end and its tracking."""
    delivered, cancelled = shop.shipped(1), shop.shipped(1)
    shop.do(delivered, "deliver")
    shop.do(cancelled, "cancel")
    for answer in (
        shop.do(delivered, "cancel"),
        shop.do(cancelled, "deliver"),
        shop.patch(delivered, {"tracking": DHL}),
        shop.patch(cancelled, {"tracking": DHL}),
    ):
        assert refusal(answer) == (409, "illegal_transition")
        assert answer.get_json()["allowed"] == []


def test_a_correction_is_a_merge_patch_of_the_tracking_alone(shop: Shop) -> None:
    """The order shows it if the shipment is the newest live one."""
    first, second = shop.shipped(1, tracking=DHL), shop.shipped(1)
    answer = shop.patch(first, {"tracking": {"number": "3", "carrier": None}})
    assert (answer.status_code, answer.get_json()["tracking"]) == (200, {"number": "3"})
    assert "tracking" not in shop.order()
    assert shop.patch(second, {"tracking": UPS}).get_json()["tracking"] == UPS
    assert shop.order()["tracking"] == UPS
    assert "tracking" not in shop.patch(second, {"tracking": {"number": None, "carrier": None}}).get_json()
    assert faults(shop.patch(first, {"tracking": {"url": "ftp://x"}})).keys() == {"/tracking/url"}
    assert faults(shop.patch(first, {"status": "delivered"})).keys() == {"/status"}
    assert faults(shop.patch(first, {"products": []})).keys() == {"/products"}
    assert shop.types() == [*2 * ["shipment.created"], *3 * ["shipment.corrected"]]


def test_another_media_type_of_a_correction_is_415_with_accept_patch(
    client: FlaskClient, shop: Shop, order_id: str
) -> None:
    answer = client.patch(f"/orders/{order_id}/shipments/{shop.shipped()}", json={"tracking": DHL})
    assert refusal(answer) == (415, "unsupported_media_type")
    assert answer.headers["Accept-Patch"] == MERGE_PATCH


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"products": []}, {"/products"}),
        ({"products": [{"line": 1}]}, {"/products/0/quantity"}),
        ({"products": [{"quantity": 1}]}, {"/products/0/line"}),
        ({"products": [{"line": 0, "quantity": 0}]}, {"/products/0/line", "/products/0/quantity"}),
        ({"products": [{"line": "1", "quantity": 1.5}]}, {"/products/0/line", "/products/0/quantity"}),
        ({"products": [{"line": True, "quantity": 1}]}, {"/products/0/line"}),
        ({"products": pieces(1, 1, 1)}, {"/products/2/line"}),
        ({"products": [*pieces(1), *pieces(1, 1)]}, {"/products/1/line"}),
        ({"products": [*pieces(1, 1, 1), *pieces(1)]}, {"/products/2/line", "/products/3/line"}),
        ({"products": [{"line": 1, "quantity": 1, "productId": "a"}]}, {"/products/0/productId"}),
        ({"status": "shipped", "id": "x"}, {"/id", "/status"}),
        ({"tracking": {"number": "", "url": "x"}}, {"/tracking/number", "/tracking/url"}),
        ({"tracking": None}, {"/tracking"}),
    ],
)
def test_a_bad_shipment_is_refused_at_each_fault(shop: Shop, body: Found, pointers: set[str]) -> None:
    """Nothing is shipped."""
    assert faults(shop.ship(**body)).keys() == pointers
    assert shop.types() == []


def test_more_than_is_open_is_refused_with_what_is(shop: Shop) -> None:
    """On an order that has ended, nothing is open."""
    shop.shipped(2)
    for body in ({"products": pieces(2)}, {"products": pieces(1, 3)}):
        answer = shop.ship(**body)
        assert refusal(answer) == (409, "nothing_open")
        assert answer.get_json()["open"] == pieces(1, 2)
    shop.shipped()
    for body in ({}, {"products": pieces(1)}):
        answer = shop.ship(**body)
        assert refusal(answer) == (409, "nothing_open")
        assert answer.get_json()["open"] == []


def test_nothing_of_a_cancelled_order_is_open(shop: Shop) -> None:
    shop.put("cancelled")
    answer = shop.ship(1)
    assert (refusal(answer), answer.get_json()["open"]) == ((409, "nothing_open"), [])
    assert shop.order()["fulfillment"] == {"status": "none", "open": []}


def test_a_pending_order_cannot_be_shipped(client: FlaskClient, post_order: Callable[..., Found]) -> None:
    """An unknown line is the client's fault all the same."""
    shop = Shop(client, post_order()["id"])
    answer = shop.ship()
    assert refusal(answer) == (409, "illegal_transition")
    assert answer.get_json()["allowed"] == ["cancelled"]
    assert faults(shop.ship(1, 1)).keys() == {"/products/1/line"}


def test_a_hold_blocks_a_shipment_and_no_delivery(client: FlaskClient, shop: Shop, order_id: str) -> None:
    """It can be placed while a part is shipped."""
    first = shop.shipped(1)
    client.post(f"/orders/{order_id}/holds", json={"code": "a", "blocks": ["ship"]})
    answer = shop.ship(1)
    assert refusal(answer) == (409, "on_hold")
    assert [hold["code"] for hold in answer.get_json()["holds"]] == ["a"]
    assert refusal(shop.put("shipped")) == (409, "on_hold")
    assert shop.do(first, "deliver").status_code == 200
    client.delete(f"/orders/{order_id}/holds/a")
    assert shop.ship(1).status_code == 201


def test_an_unknown_shipment_or_order_is_404(client: FlaskClient, shop: Shop, order_id: str) -> None:
    """Whatever is asked of it."""
    shop.shipped()
    for owner, name in ((order_id, f"{order_id}-s2"), (order_id, "x"), (str(ObjectId()), f"{order_id}-s1")):
        other = Shop(client, owner)
        answers = [other.do(name, "deliver"), other.do(name, "cancel"), other.patch(name, {"tracking": None})]
        answers.append(client.get(f"/orders/{owner}/shipments/{name}"))
        assert {refusal(answer) for answer in answers} == {(404, "not_found")}
    assert client.get(f"/orders/{ObjectId()}/shipments").status_code == 404
    assert Shop(client, str(ObjectId())).ship().status_code == 404


def test_while_a_part_is_shipped_the_rest_can_only_be_shipped(
    client: FlaskClient, shop: Shop, order_id: str
) -> None:
    """With a delivered part, too."""
    shop.do(shop.shipped(1), "deliver")
    answer = shop.put("delivered")
    assert (refusal(answer), answer.get_json()["allowed"]) == ((409, "illegal_transition"), ["shipped"])
    answer = shop.put("cancelled")
    assert (refusal(answer), answer.get_json()["allowed"]) == ((409, "partly_shipped"), ["shipped"])
    assert refusal(client.delete(f"/orders/{order_id}")) == (409, "order_in_transit")
    assert shop.put("confirmed").status_code == 200
    assert refusal(shop.put("pending")) == (409, "illegal_transition")
    answer = shop.put("shipped", tracking=UPS)
    assert answer.status_code == 200
    assert answer.get_json()["order"]["tracking"] == UPS
    assert shop.shipments()[1]["products"] == pieces(2, 2)
    assert refusal(shop.put("confirmed")) == (409, "illegal_transition")
    assert shop.put("confirmed").get_json()["allowed"] == ["delivered"]


def test_an_order_whose_shipments_are_all_cancelled_can_be_cancelled(shop: Shop) -> None:
    shop.do(shop.shipped(1), "cancel")
    assert shop.put("cancelled").status_code == 200


def test_old_clients_ship_and_deliver_an_order_as_before(shop: Shop, order_id: str) -> None:
    """As one shipment of all, and all shipments at once."""
    shop.shipped(1)
    shipped = shop.put("shipped", tracking=DHL)
    assert shipped.get_json()["order"]["status"] == "shipped"
    assert shop.put("shipped").get_json()["order"]["version"] == shipped.get_json()["order"]["version"]
    delivered = shop.put("delivered").get_json()["order"]
    assert delivered["fulfillment"] == {"status": "delivered", "open": []}
    assert {one["deliveredAt"] for one in shop.shipments()} == {delivered["updatedAt"]}
    assert shop.types(after=8) == ["shipment.delivered", "shipment.delivered", "order.delivered"]


def test_an_order_with_an_open_return_cannot_be_deleted(
    client: FlaskClient, shop: Shop, order_id: str, app_services: Services
) -> None:
    """Nor a shipment with pieces in it be cancelled."""
    first = shop.shipped()
    returned: Any = {"id": f"{order_id}-r1", "status": "approved", "products": pieces(1)}
    store = app_services.orders.store
    order: Any = store.with_log(order_id)
    at = order["updatedAt"]
    extra = {"refund": "none", "receipts": [], "createdAt": at, "updatedAt": at}
    after: Any = advance(order, at, "shop", [Change("order.amended", {"fields": []})])
    assert store.append(order, {**after, "returns": [{**returned, **extra}]}, app_services.orders.due_by())
    assert refusal(client.delete(f"/orders/{order_id}")) == (409, "return_open")
    assert refusal(shop.do(first, "cancel")) == (409, "pieces_returned")
    shop.put("delivered")
    assert refusal(client.delete(f"/orders/{order_id}")) == (409, "return_open")


def test_a_delivered_order_can_be_deleted(client: FlaskClient, shop: Shop, order_id: str) -> None:
    shop.do(shop.shipped(), "deliver")
    assert client.delete(f"/orders/{order_id}").status_code == 204
    assert client.get(f"/orders/{order_id}/shipments").status_code == 404


def test_the_address_is_fixed_from_the_first_shipment_on(
    client: FlaskClient, shop: Shop, order_id: str
) -> None:
    """Until that one is cancelled. Other fields can change."""

    def amend(**fields: Any) -> TestResponse:
        return client.patch(f"/orders/{order_id}", json=fields, content_type=MERGE_PATCH)

    first = shop.shipped(1)
    assert refusal(amend(shippingAddress={"city": "Bonn"})) == (409, "already_shipped")
    assert amend(reference="R").status_code == 200
    shop.do(first, "cancel")
    assert amend(shippingAddress={"city": "Bonn"}).status_code == 200


def test_an_order_is_found_by_the_number_of_every_live_shipment(
    client: FlaskClient, shop: Shop, order_id: str
) -> None:
    """By `q`, too, as soon as the answer is there."""
    first = shop.shipped(1, tracking=DHL)
    shop.shipped(1, tracking={"number": "2"})
    shop.patch(first, {"tracking": {"number": "3"}})

    def found(query: str) -> list[str]:
        answer = client.get(f"/orders?{query}")
        assert answer.status_code == 200, answer.text
        return [order["id"] for order in answer.get_json()["orders"]]

    for number, expected in (("1", []), ("2", [order_id]), ("3", [order_id])):
        assert found(f"trackingNumber={number}") == found(f"q={number}") == expected
    assert found("trackingNumber=3&q=2&status=confirmed") == [order_id]
    assert found("trackingNumber=3&q=1") == []
    shop.do(first, "cancel")
    assert found("trackingNumber=3") == found("q=3") == []


def test_a_repeated_command_gives_its_first_answer(client: FlaskClient, shop: Shop, order_id: str) -> None:
    """The shipment as it was then. The same key with another request is refused."""
    key = {"Idempotency-Key": "k"}
    made = shop.ship(1, tracking=DHL, headers=key)
    shipment_id = made.get_json()["id"]
    keys = [{"Idempotency-Key": name} for name in ("p", "d", "c")]
    patched = shop.patch(shipment_id, {"tracking": UPS}, keys[0])
    delivered = shop.do(shipment_id, "deliver", keys[1])
    again = [
        shop.ship(1, tracking=DHL, headers=key),
        shop.patch(shipment_id, {"tracking": UPS}, keys[0]),
        shop.do(shipment_id, "deliver", keys[1]),
    ]
    for first, second in zip((made, patched, delivered), again, strict=True):
        assert second.status_code == first.status_code
        assert second.data == first.data
        assert second.headers["ETag"] == first.headers["ETag"]
        assert second.headers["Idempotent-Replayed"] == "true"
        assert "Idempotent-Replayed" not in first.headers
    assert again[0].headers["Location"] == made.headers["Location"]
    assert len(shop.shipments()) == 1
    for other in (shop.ship(2, headers=key), shop.do(shipment_id, "cancel", keys[1])):
        assert refusal(other) == (422, "idempotency_key_reused")


def test_a_stale_version_is_refused_and_a_missing_one_only_for_a_correction(
    order_id: str, shop: Shop, shared_app: Callable[..., Flask]
) -> None:
    stale, current = {"If-Match": '"v1"'}, {"If-Match": '"v6"'}
    assert refusal(shop.ship(1, headers=stale)) == (412, "stale_version")
    first = shop.shipped(1)
    for answer in (
        shop.do(first, "deliver", stale),
        shop.do(first, "cancel", stale),
        shop.patch(first, {}, stale),
    ):
        assert refusal(answer) == (412, "stale_version")
    strict = Shop(shared_app(REQUIRE_IF_MATCH="true").test_client(), order_id)
    assert refusal(strict.patch(first, {"tracking": DHL})) == (428, "if_match_required")
    assert strict.patch(first, {"tracking": DHL}, current).status_code == 200
    assert strict.do(first, "deliver").status_code == 200


def test_at_most_a_hundred_shipments_even_if_cancelled_and_a_hundred_corrections(
    shop: Shop, order_id: str, api_database: Database[Found], app_services: Services
) -> None:
    """A PUT that would need one more is refused, too."""
    store = app_services.orders.store
    order: Any = store.with_log(order_id)
    changes = []
    for number in range(1, MOST_SHIPMENTS + 1):
        shipment_id = f"{order_id}-s{number}"
        changes.append(Change("shipment.created", {"shipmentId": shipment_id, "products": pieces(1)}))
        changes.append(Change("shipment.cancelled", {"shipmentId": shipment_id}))
    # The last one stays.
    changes.pop()
    corrected = {"shipmentId": f"{order_id}-s{MOST_SHIPMENTS}"}
    changes += [
        Change("shipment.corrected", {**corrected, "tracking": {"number": str(number)}})
        for number in range(MOST_CORRECTIONS)
    ]
    after = advance(order, order["updatedAt"], "shop", changes)
    assert store.append(order, after, app_services.orders.due_by())
    assert refusal(shop.ship(1)) == (409, "too_many_shipments")
    assert refusal(shop.put("shipped")) == (409, "too_many_shipments")
    answer = shop.patch(corrected["shipmentId"], {"tracking": DHL})
    assert refusal(answer) == (409, "history_full")
    assert answer.get_json()["detail"].startswith("The order has 100 corrections of shipments")


def test_a_dry_run_says_what_a_command_would_do(client: FlaskClient, shop: Shop, order_id: str) -> None:
    """And does nothing."""
    answer = client.post(f"/orders/{order_id}/shipments?dryRun=true", json={})
    said = answer.get_json()
    assert answer.status_code == 200
    assert [event["type"] for event in said["events"]] == ["shipment.created", "order.shipped"]
    assert said["order"]["fulfillment"] == {"status": "shipped", "open": []}
    assert said["sets"] == said["stock"] == said["mails"] == []
    assert "Location" not in answer.headers
    assert shop.types() == []


class TestCustomers:
    """Customers see the shipments of their own orders and change nothing."""

    @pytest.fixture
    def app(self, api_database: object, shared_app: Callable[..., Flask]) -> Flask:
        """The application for callers with tokens."""
        return shared_app(**SETTINGS)

    def test_customers_read_and_only_the_shop_ships(self, client: FlaskClient, settle: Any) -> None:
        """Another's order does not exist for them."""
        admin, own, other = (
            bearer(token(scope="orders:admin", sub="shop")),
            bearer(token(scope="orders:read orders:write", sub="eve")),
            bearer(token(scope="orders:read orders:write", sub="ann")),
        )
        body = {"userId": "eve", "products": LINES, "totalAmount": 5}
        order_id = client.post("/orders", json=body, headers=own).get_json()["order"]["id"]
        settle(order_id)
        path = f"/orders/{order_id}/shipments"
        made = client.post(path, json={"products": pieces(1)}, headers=admin).get_json()
        assert client.get(path, headers=own).get_json() == {"shipments": [made]}
        assert client.get(f"{path}/{made['id']}", headers=own).get_json() == made
        assert client.get(path, headers=other).status_code == 404
        assert client.get(f"{path}/{made['id']}", headers=other).status_code == 404
        for caller in (own, other):
            answers = [
                client.post(path, json={}, headers=caller),
                client.post(f"{path}/{made['id']}/deliver", headers=caller),
                client.post(f"{path}/{made['id']}/cancel", headers=caller),
                client.patch(f"{path}/{made['id']}", json={}, content_type=MERGE_PATCH, headers=caller),
            ]
            assert {refusal(answer) for answer in answers} == {(403, "forbidden")}
        amended = client.patch(
            f"/orders/{order_id}", json={"reference": "R"}, content_type=MERGE_PATCH, headers=own
        )
        assert amended.status_code == 200
