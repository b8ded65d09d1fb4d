"""Each stall of the real service is named for what it is, alone and together with others."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from tests.end_to_end.service import draft, eventually
from tests.support.receiver import Receiver, Reply
from tests.support.stripe_server import API_KEY, ASKS_CUSTOMER, GOOD, SIGNING_SECRET

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.servers import Broker
    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service
    from tests.support.stripe_server import StripeServer

STUCK = ("stuck", "worker", "authorize")
WAITS_FOR_PROVIDER = ("waiting", "provider", "authorize")
WAITS_FOR_CUSTOMER = ("waiting", "customer", "authorize")
TO_SHIP = ("waiting", "shop", "ship")
BLOCKED = ("blocked", "shop", "capture")


def seen(service: Service, order_id: str) -> dict[str, Any]:
    answer = service.http.get(f"/orders/{order_id}/diagnosis")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def verdict(service: Service, order_id: str) -> tuple[Any, ...]:
    shown = seen(service, order_id)
    return shown["state"], shown["waitingFor"], shown.get("step")


def becomes(service: Service, order_id: str, expected: tuple[Any, ...]) -> None:
    try:
        eventually(lambda: verdict(service, order_id) == expected, timeout=60, pause=0.1)
    except AssertionError as error:
        raise AssertionError(f"{expected} expected, but {seen(service, order_id)}") from error


def stuck(service: Service) -> list[str]:
    answer = service.http.get("/diagnoses", params={"state": "stuck"})
    assert answer.status_code == 200, answer.text
    return [one["orderId"] for one in answer.json()["diagnoses"]]


def test_every_stall_of_an_order_is_named_alone_and_in_pairs(
    serve: ServiceStarter, stripe_server: StripeServer
) -> None:
    """Provider, bank, hold, stock, webhook and document; then with a deaf worker, and with none."""
    settings = {
        "PAYMENT_PROVIDER": "stripe",
        "STRIPE_API_KEY": API_KEY,
        "STRIPE_API_BASE": stripe_server.url,
        "PAYMENT_WEBHOOK_SECRET": SIGNING_SECRET,
        "WEBHOOK_ALLOW_PRIVATE": "true",
    }
    service = serve(settings=settings)
    good, asking = draft(paymentMethod=GOOD), draft(paymentMethod=stripe_server.card(ASKS_CUSTOMER))
    with Receiver() as receiver:
        receiver.reply = Reply(500)
        endpoint = {"url": receiver.url(), "events": ["order.created"]}
        assert service.http.post("/webhook-endpoints", json=endpoint).status_code == 201
        service.set_stock("short", 0)

        # The webhook is dead for each of these orders.
        confirmed = service.placed(good)
        becomes(service, confirmed, TO_SHIP)
        short = service.placed({**good, "products": [{"productId": "short", "quantity": 1}]})
        becomes(service, short, ("done", "nobody", None))
        held = service.placed({**good, "holds": [{"code": "fraud_review"}]})
        becomes(service, held, BLOCKED)
        asked = service.placed(asking)
        becomes(service, asked, WAITS_FOR_CUSTOMER)
        for order_id in (confirmed, short, held, asked):
            dead = eventually(lambda order_id=order_id: tried(service, order_id))
            assert dead["state"] == "pending"

        # A damaged document, found by its step.
        damaged = service.placed(asking)
        becomes(service, damaged, WAITS_FOR_CUSTOMER)
        service.database.command("collMod", "orders", validator={})
        service.database.orders.update_one({"_id": ObjectId(damaged)}, {"$set": {"totalAmount": "x"}})
        assert verdict(service, damaged)[:2] == ("stuck", "worker")
        assert seen(service, damaged)["lastError"]["code"] == "order_damaged"
        assert stuck(service) == [damaged]

        # The provider answers nobody, also not for an order with a hold.
        stripe_server.fail_next("payment_intents", times=100_000, status=500)
        down, both = service.placed(good), service.placed({**good, "holds": [{"code": "fraud_review"}]})
        for order_id in (down, both):
            becomes(service, order_id, WAITS_FOR_PROVIDER)
            assert seen(service, order_id)["lastError"]["code"] == "provider_unavailable"
        assert [hold["code"] for hold in seen(service, both)["holds"]] == ["fraud_review"]

        # A worker that is connected and takes nothing, then no worker at all: orders that wait for a person
        # still do, and all others are stuck.
        stuck_before = {damaged, down, both}
        for signum in (signal.SIGSTOP, signal.SIGKILL):
            service.stack.kill("worker", signum)
            late = service.placed(good)
            for order_id in (late, down, both):
                becomes(service, order_id, STUCK)
            assert [hold["code"] for hold in seen(service, both)["holds"]] == ["fraud_review"]
            assert verdict(service, asked) == WAITS_FOR_CUSTOMER
            assert verdict(service, held) == BLOCKED
            assert verdict(service, confirmed) == TO_SHIP
            assert verdict(service, short) == ("done", "nobody", None)
            stuck_before.add(late)
            assert set(stuck(service)) == stuck_before

        # A damaged order is that, whatever else it waits for.
        for order_id in (both, held):
            service.database.orders.update_one({"_id": ObjectId(order_id)}, {"$set": {"totalAmount": "x"}})
            assert verdict(service, order_id)[:2] == ("stuck", "worker")
            assert seen(service, order_id)["lastError"]["code"] == "order_damaged"

        # It passes. The orders that the provider did not answer for wait for their next attempts.
        stripe_server.fail_no_more()
        service.stack.start("worker")
        becomes(service, late, TO_SHIP)


def tried(service: Service, order_id: str) -> dict[str, Any] | None:
    """The webhook of the order, once an attempt has failed and another is planned."""
    failed = service.database.webhook_deliveries.count_documents(
        {"orderId": order_id, "failures": {"$gte": 1}}
    )
    notices = seen(service, order_id)["notifications"]
    return next(
        (one for one in notices if failed and one["channel"] == "webhook" and "nextAttempt" in one), None
    )


def test_a_missing_relay_beat_or_broker_leaves_orders_stuck_and_no_longer(
    serve: ServiceStarter, private_broker: Callable[[], Broker]
) -> None:
    """The sweep of beat replaces a missing relay. Without both of them, or the broker, nobody works."""
    broker = private_broker()
    service = serve(redis_url=broker.url())
    becomes(service, service.placed(draft()), TO_SHIP)

    service.set_stock("short", 0)
    on_hold = {**draft(), "holds": [{"code": "fraud_review"}]}
    service.stack.kill("relay")
    becomes(service, service.placed(draft()), TO_SHIP)
    becomes(service, service.placed(draft("short")), ("done", "nobody", None))
    held = service.placed(on_hold)
    becomes(service, held, BLOCKED)

    service.stack.kill("beat")
    waiting = service.placed(draft())
    becomes(service, waiting, STUCK)
    assert stuck(service) == [waiting]
    for role in ("relay", "beat"):
        service.stack.start(role)
    becomes(service, waiting, TO_SHIP)

    broker.stop()
    refused, refused_held = service.placed(draft()), service.placed(on_hold)
    refused_short = service.placed(draft("short"))
    for order_id in (refused, refused_held, refused_short):
        becomes(service, order_id, STUCK)
    assert [hold["code"] for hold in seen(service, refused_held)["holds"]] == ["fraud_review"]
    assert verdict(service, held) == BLOCKED
    service.stack.kill("worker")
    assert verdict(service, refused) == STUCK
    assert set(stuck(service)) == {refused, refused_held, refused_short}
    broker.start()
    service.stack.start("worker")
    becomes(service, refused, TO_SHIP)
    becomes(service, refused_held, BLOCKED)
    becomes(service, refused_short, ("done", "nobody", None))
    assert stuck(service) == []
