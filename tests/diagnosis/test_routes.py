"""The diagnosis of one order, and the list of all orders in a state, as clients see them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.orders import steps
from app.orders.processing import perform
from app.orders.store import Orders as OrderStore
from app.webhooks.service import add_endpoint
from tests.support.damage import DAMAGES, damage
from tests.support.tokens import SETTINGS, bearer, token
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database

    from app.services import Services

    Place = Callable[..., dict[str, Any]]
    Settle = Callable[[str], None]
    Orders = Database[dict[str, Any]]

BOSS = bearer(token("boss", "orders:admin"))
TO_CONFIRMED = ["payment.authorized", "stock.decremented", "payment.captured", "order.confirmed"]
LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)


def seen(client: FlaskClient, order_id: str, **headers: str) -> dict[str, Any]:
    answer = client.get(f"/orders/{order_id}/diagnosis", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def verdict(client: FlaskClient, order_id: str) -> tuple[str, str, str | None]:
    shown = seen(client, order_id)
    return shown["state"], shown["waitingFor"], shown.get("step")


def listed(client: FlaskClient, **query: Any) -> list[str]:
    answer = client.get("/diagnoses", query_string=query)
    assert answer.status_code == 200, answer.text
    return [one["orderId"] for one in answer.get_json()["diagnoses"]]


def make_late(database: Orders, order_id: str) -> None:
    """The order owes its step since long ago."""
    late = {"events.$[].at": LONG_AGO, "dueBy": LONG_AGO}
    database["orders"].update_one(
        {"_id": ObjectId(order_id)}, {"$set": late}, bypass_document_validation=True
    )


def test_an_order_is_diagnosed_from_its_post_to_its_delivery(
    client: FlaskClient, post_order: Place, settle: Settle
) -> None:
    posted = post_order()
    shown = seen(client, posted["id"])
    assert (shown["state"], shown["waitingFor"], shown["step"]) == ("working", "worker", "authorize")
    assert (shown["since"], shown["attempts"]) == (posted["createdAt"], 0)
    assert shown["next"] == {"what": "authorize", "at": shown["dueBy"]}
    assert shown["otherwise"]["what"] == "order.cancelled"
    settle(posted["id"])
    assert verdict(client, posted["id"]) == ("waiting", "shop", "ship")
    client.put(f"/orders/{posted['id']}", json={"status": "shipped"})
    assert verdict(client, posted["id"]) == ("waiting", "shop", "deliver")
    client.put(f"/orders/{posted['id']}", json={"status": "delivered"})
    assert verdict(client, posted["id"]) == ("done", "nobody", None)
    assert "otherwise" not in seen(client, posted["id"])


def test_a_provider_that_does_not_answer_is_named_until_it_does(
    client: FlaskClient, post_order: Place, app_services: Services, api_database: Orders
) -> None:
    order_id = post_order(paymentMethod="sandbox_timeout_once")["id"]
    perform(app_services.orders, steps.AUTHORIZE, [order_id])
    shown = seen(client, order_id)
    assert (shown["state"], shown["waitingFor"], shown["step"]) == ("waiting", "provider", "authorize")
    assert (shown["attempts"], shown["lastError"]["code"]) == (1, "provider_unavailable")
    assert set(shown["lastError"]) == {"code", "at"}
    assert shown["next"] == {"what": "authorize", "at": shown["dueBy"]}
    perform(app_services.orders, steps.AUTHORIZE, [order_id])
    shown = seen(client, order_id)
    assert (shown["state"], shown["step"], shown["attempts"]) == ("working", "decrement", 0)
    assert "lastError" not in shown
    assert "lastError" not in api_database["orders"].find_one({"_id": ObjectId(order_id)})


def test_a_failed_refund_is_stuck_until_its_retry_succeeds(
    client: FlaskClient, post_order: Place, settle: Settle
) -> None:
    order_id = post_order(paymentMethod="sandbox_refund_fails_once")["id"]
    settle(order_id)
    client.post(f"/orders/{order_id}/refunds", json={"amount": 10})
    settle(order_id)
    assert verdict(client, order_id) == ("stuck", "shop", "refund")
    assert seen(client, order_id)["lastError"]["code"] == "refund_failed"
    assert listed(client) == listed(client, state="stuck") == [order_id]
    client.post(f"/orders/{order_id}/refunds/{order_id}-1/retry")
    settle(order_id)
    assert verdict(client, order_id) == ("waiting", "shop", "ship")
    assert listed(client) == []


def test_an_order_that_nobody_works_on_is_stuck(
    client: FlaskClient, post_order: Place, api_database: Orders
) -> None:
    order_id = post_order()["id"]
    assert listed(client) == []
    make_late(api_database, order_id)
    assert verdict(client, order_id) == ("stuck", "worker", "authorize")
    assert "next" not in seen(client, order_id)
    assert listed(client) == [order_id]


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_order_is_stuck_and_stops_no_other(
    client: FlaskClient, post_order: Place, settle: Settle, api_database: Orders, kind: str
) -> None:
    good, bad, late = (post_order()["id"] for _ in range(3))
    settle(good)
    damage(api_database, bad, DAMAGES[kind])
    make_late(api_database, late)
    shown = seen(client, bad)
    assert (shown["state"], shown["waitingFor"]) == ("stuck", "worker")
    assert shown["lastError"]["code"] == "order_damaged"
    assert listed(client) == [bad, late]
    assert listed(client, state="waiting") == [good]


def test_a_page_has_the_oldest_orders_and_leads_to_the_next(
    client: FlaskClient, post_order: Place, settle: Settle, api_database: Orders
) -> None:
    ids = [post_order()["id"] for _ in range(7)]
    for order_id in ids:
        make_late(api_database, order_id)
    settle(ids[3])
    left, cursor, pages = [], None, 0
    while cursor or not pages:
        query = {"state": "stuck", "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = client.get("/diagnoses", query_string=query).get_json()
        left += [one["orderId"] for one in page["diagnoses"]]
        cursor, pages = page.get("nextCursor"), pages + 1
    assert (left, pages) == ([*ids[:3], *ids[4:]], 3)


def test_every_state_lists_its_orders(
    client: FlaskClient, post_order: Place, settle: Settle, app_services: Services
) -> None:
    new, down, confirmed, done = (
        post_order(paymentMethod=method)["id"]
        for method in ("sandbox_ok", "sandbox_unavailable", "sandbox_ok", "sandbox_declined")
    )
    perform(app_services.orders, steps.AUTHORIZE, [down])
    for order_id in (confirmed, done):
        settle(order_id)
    assert listed(client, state="working") == [new]
    assert listed(client, state="waiting") == [down, confirmed]
    assert listed(client, state="done") == [done]
    assert listed(client, state="stuck") == listed(client, state="blocked") == []


def test_held_orders_are_blocked_and_show_their_holds(
    client: FlaskClient, post_order: Place, settle: Settle
) -> None:
    hold = {"code": "fraud_review", "reason": "an odd address", "blocks": ["capture"]}
    held, free = post_order(holds=[hold])["id"], post_order()["id"]
    assert verdict(client, held) == ("working", "worker", "authorize")
    for order_id in (held, free):
        settle(order_id)
    assert verdict(client, held) == ("blocked", "shop", "capture")
    shown = seen(client, held)
    assert [{name: one[name] for name in hold} for one in shown["holds"]] == [hold]
    assert "otherwise" not in shown
    client.post(f"/orders/{free}/holds", json={"code": "stop", "blocks": ["ship"]})
    assert verdict(client, free) == ("blocked", "shop", "ship")
    assert listed(client, state="blocked") == [held, free]
    client.post(f"/orders/{held}/holds/fraud_review/release", json={})
    assert verdict(client, held) == ("working", "worker", "capture")
    assert listed(client, state="blocked") == [free]


def test_a_deleted_order_has_no_diagnosis(
    client: FlaskClient, post_order: Place, api_database: Orders
) -> None:
    order_id = post_order()["id"]
    make_late(api_database, order_id)
    assert client.delete(f"/orders/{order_id}").status_code == 204
    make_late(api_database, order_id)
    assert client.get(f"/orders/{order_id}/diagnosis").status_code == 404
    assert client.get("/orders/none/diagnosis").status_code == 404
    assert listed(client) == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"state": "odd"}, 422),
        ({"state": ""}, 422),
        ({"limit": 0}, 422),
        ({"x": 1}, 422),
        ({"cursor": "x"}, 400),
    ],
)
def test_a_bad_query_is_refused(client: FlaskClient, query: dict[str, Any], status: int) -> None:
    answer = client.get("/diagnoses", query_string=query)
    assert answer.status_code == status, answer.text
    if status == 422:
        assert [fault["pointer"] for fault in answer.get_json()["errors"]] == [f"/{next(iter(query))}"]


def test_a_webhook_that_waits_shows_its_next_attempt(
    client: FlaskClient, post_order: Place, settle: Settle, app_services: Services, api_database: Orders
) -> None:
    add_endpoint(app_services.webhooks, "https://shop.example/hook", ["order.created"], owner="boss")
    order_id = post_order()["id"]
    assert seen(client, order_id)["notifications"] == []
    settle(order_id)
    again = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    api_database["webhook_deliveries"].update_many({}, {"$set": {"dueBy": again}})
    first, *others = seen(client, order_id)["notifications"]
    shown = again.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert first == {"channel": "webhook", "state": "pending", "nextAttempt": shown}
    assert {(one["channel"], one["state"]) for one in others} == {("log", "sent")}


def test_customers_see_three_fields_and_no_list(make_app: Callable[..., Flask]) -> None:
    client = make_app(**SETTINGS).test_client()
    ann, bob = bearer(token("ann")), bearer(token("bob"))
    posted = client.post("/orders", json={**SAMPLE, "userId": "ann"}, headers=ann).get_json()["order"]
    shown = seen(client, posted["id"], **ann)
    assert set(shown) == {"state", "waitingFor", "otherwise"}
    assert (shown["state"], shown["waitingFor"]) == ("working", "worker")
    assert client.get(f"/orders/{posted['id']}/diagnosis", headers=bob).status_code == 404
    assert client.get("/diagnoses", headers=ann).status_code == 403
    assert {"step", "since", "dueBy", "attempts", "notifications"} < set(seen(client, posted["id"], **BOSS))
    assert client.get("/diagnoses?state=working", headers=BOSS).status_code == 200


CORRECTIONS = ("amend", "note", "tag")


def may(client: FlaskClient, order_id: str) -> dict[str, list[str]]:
    return {one["command"]: one["sets"] for one in seen(client, order_id)["may"]}


def test_the_commands_that_may_be_given_say_all_events_that_follow(
    client: FlaskClient, post_order: Place, settle: Settle
) -> None:
    client.put("/stock/product-id", json={"onHand": 10})
    order_id = post_order()["id"]
    assert may(client, order_id) == {
        "cancel": ["order.cancelled", "stock.released", "payment.voided"],
        "delete": ["order.cancelled", "stock.released", "order.deleted", "payment.voided"],
        "amend": ["order.amended", *TO_CONFIRMED],
        "note": ["note.added", *TO_CONFIRMED],
        "tag": ["order.tagged", *TO_CONFIRMED],
        "hold": ["hold.placed", *TO_CONFIRMED[:2]],
        "create_cancellation": ["cancellation.created", *TO_CONFIRMED],
    }
    settle(order_id)
    given_back = ["refund.succeeded", "payment.refunded"]
    shown = may(client, order_id)
    of_goods = {"ship", "create_shipment", "create_cancellation"}
    assert set(shown) == {*of_goods, "cancel", "delete", "refund", *CORRECTIONS, "hold"}
    assert shown["ship"] == shown["create_shipment"] == ["shipment.created", "order.shipped"]
    assert shown["cancel"] == ["order.cancelled", "refund.requested", *given_back, "stock.restocked"]
    assert shown["refund"] == ["refund.requested", *given_back]
    assert shown["create_cancellation"] == ["cancellation.created", "cancellation.restocked"]
    client.post(f"/orders/{order_id}/holds", json={"code": "stop"})
    shown = may(client, order_id)
    assert set(shown) == {
        "cancel",
        "create_cancellation",
        "delete",
        "refund",
        *CORRECTIONS,
        "hold",
        "release",
    }
    assert shown["release"] == ["hold.released"]


def test_a_shipment_that_is_under_way_may_be_corrected_delivered_and_cancelled(
    client: FlaskClient, post_order: Place, settle: Settle
) -> None:
    """Of a partly shipped order, the rest may be shipped or cancelled, and nothing else may become of it."""
    order_id = post_order()["id"]
    settle(order_id)
    client.post(f"/orders/{order_id}/shipments", json={"products": [{"line": 1, "quantity": 1}]})
    shown = may(client, order_id)
    of_shipments = {"create_shipment", "correct_shipment", "deliver_shipment", "cancel_shipment"}
    assert set(shown) == {"ship", *of_shipments, "create_cancellation", "refund", *CORRECTIONS, "hold"} | {
        "create_return"
    }
    assert shown["deliver_shipment"] == ["shipment.delivered"]
    assert seen(client, order_id)["step"] == "ship"
    client.put(f"/orders/{order_id}", json={"status": "shipped"})
    shown = may(client, order_id)
    assert set(shown) == {"deliver", *of_shipments - {"create_shipment"}, "refund", *CORRECTIONS} | {
        "create_return"
    }
    assert shown["deliver"] == [*2 * ["shipment.delivered"], "order.delivered"]
    assert shown["cancel_shipment"] == ["shipment.cancelled", "order.reopened"]


def test_what_may_be_done_is_what_a_dry_run_says_and_writes_nothing(
    client: FlaskClient, post_order: Place, settle: Settle, api_database: Orders
) -> None:
    order_id = post_order(reference="R-1")["id"]
    settle(order_id)
    before = {name: list(api_database[name].find()) for name in api_database.list_collection_names()}
    shown = may(client, order_id)
    body = {"status": "shipped"}
    run = client.put(f"/orders/{order_id}", json=body, query_string={"dryRun": "true"}).get_json()
    assert shown["ship"] == [*(event["type"] for event in run["events"]), *run["sets"]]
    assert before == {name: list(api_database[name].find()) for name in before}


def test_a_delivered_order_may_only_be_refunded_corrected_and_deleted(
    client: FlaskClient, post_order: Place, settle: Settle
) -> None:
    order_id = post_order()["id"]
    settle(order_id)
    for status in ("shipped", "delivered"):
        client.put(f"/orders/{order_id}", json={"status": status})
        assert ("deliver" in may(client, order_id)) is (status == "shipped")
    assert set(may(client, order_id)) == {"refund", *CORRECTIONS, "delete", "create_return"}


@pytest.mark.parametrize("refund", ["on_receipt", "on_approval", "none"])
def test_the_commands_on_returns_that_may_be_given_are_those_of_their_states(
    refund: str, client: FlaskClient, post_order: Place, settle: Settle
) -> None:
    """The lines have no price, so the refunds are tried with the least amount."""
    client.put("/stock/product-id", json={"onHand": 10})
    order_id = post_order()["id"]
    settle(order_id)
    for status in ("shipped", "delivered"):
        client.put(f"/orders/{order_id}", json={"status": status})
    assert may(client, order_id)["create_return"] == ["return.requested"]
    path, piece = f"/orders/{order_id}/returns", {"line": 1, "quantity": 2}
    return_id = client.post(path, json={"products": [piece], "refund": refund}).get_json()["id"]

    def on_returns() -> dict[str, list[str]]:
        shown = may(client, order_id)
        return {command: sets for command, sets in shown.items() if command.endswith("_return")}

    assert "delete" not in may(client, order_id)
    assert on_returns() == {
        f"{verb}_return": [f"return.{status}"]
        for verb, status in (("approve", "approved"), ("reject", "rejected"), ("cancel", "cancelled"))
    }
    client.post(f"{path}/{return_id}/approve", json={"amount": 0} if refund == "on_approval" else {})
    assert on_returns() == {
        "cancel_return": ["return.cancelled"],
        "receive_return": ["return.received", "return.closed", "return.restocked"],
        "close_return": ["return.closed"],
    }
    parcel = {"products": [{**piece, "quantity": 1, "condition": "damaged"}]}
    client.post(
        f"{path}/{return_id}/receive", json=parcel | ({"amount": 0} if refund == "on_receipt" else {})
    )
    assert set(on_returns()) == {"receive_return", "close_return"}
    client.post(f"{path}/{return_id}/close")
    assert set(on_returns()) == {"create_return"}


def test_a_damaged_order_may_have_no_command(
    client: FlaskClient, post_order: Place, api_database: Orders
) -> None:
    order_id = post_order()["id"]
    damage(api_database, order_id, DAMAGES["no payment"])
    assert may(client, order_id) == {}


def test_a_diagnosis_reads_its_order_once_however_many_commands_it_tries(
    client: FlaskClient, post_order: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, reads, find = post_order()["id"], [], OrderStore._find

    def counted(self: OrderStore, *args: Any) -> Any:
        reads.append(args)
        return find(self, *args)

    monkeypatch.setattr(OrderStore, "_find", counted)
    answer = client.get(f"/orders/{order_id}/diagnosis")
    assert {one["command"] for one in answer.get_json()["may"]} >= {"cancel", "delete", "note", "hold"}
    assert [args[0] for args in reads] == [order_id]
