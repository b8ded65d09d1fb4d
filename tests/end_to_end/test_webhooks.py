"""An order's life as a receiver of webhooks hears of it, whatever the receiver does."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.end_to_end.service import draft, eventually
from tests.support.receiver import Receiver, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

ALLOWING = {"WEBHOOK_ALLOW_PRIVATE": "true"}
BASE = "/webhook-endpoints"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that accepts everything unless a test changes its reply."""
    with Receiver() as receiver:
        yield receiver


def added(service: Service, receiver: Receiver, *events: str) -> dict[str, Any]:
    """A new endpoint."""
    answer = service.http.post(BASE, json={"url": receiver.url(), "events": list(events or ("*",))})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def deliveries(service: Service, endpoint: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    """The endpoint's deliveries in the API, newest first."""
    found = service.http.get(f"{BASE}/{endpoint['id']}/deliveries", params=query).json()["deliveries"]
    return list(found)


def test_an_orders_webhooks_arrive_and_the_library_verifies_them(
    serve: ServiceStarter, receiver: Receiver
) -> None:
    """With a failure on the way, a rotated secret, a test event, a replay, and an endpoint that is gone."""
    service = serve(settings=ALLOWING)
    endpoint = added(service, receiver)
    receiver.replies.append(Reply(500))
    order = service.confirmed(draft(email="zoe@example.org"))
    eventually(lambda: len(receiver.hooks) >= 3)
    rotated = service.http.post(f"{BASE}/{endpoint['id']}/rotate-secret").json()
    service.put(order["id"], {"status": "shipped", "tracking": {"number": "1"}})
    service.put(order["id"], {"status": "delivered"})
    eventually(lambda: len(deliveries(service, endpoint, status="delivered")) == 6)
    service.http.delete(f"/orders/{order['id']}")
    eventually(lambda: len(deliveries(service, endpoint, status="delivered")) == 7)

    received = {hook.id: hook.verified(endpoint["secret"]) for hook in receiver.hooks}
    assert len(receiver.hooks) == len(received) + 1
    by_sequence = sorted((one["data"]["sequence"], one["type"]) for one in received.values())
    kinds = ["order.created", "order.confirmed", "shipment.created", "order.shipped"]
    kinds += ["shipment.delivered", "order.delivered", "order.deleted"]
    assert by_sequence == list(zip((1, 5, 6, 7, 8, 9, 10), kinds, strict=True))
    for one in received.values():
        shown = one["data"]["order"]
        assert (shown["id"], shown["version"]) == (order["id"], one["data"]["sequence"])
        assert shown["email"] == "zoe@example.org"
    confirmed = next(one for one in received.values() if one["type"] == "order.confirmed")
    assert confirmed["data"]["order"] == {**order, "version": 5}
    last = receiver.hooks[-1]
    assert last.verified(rotated["secret"]) == last.verified(endpoint["secret"])

    logged = deliveries(service, endpoint)
    assert {one["id"] for one in logged} == set(received)
    tries = sorted(len(one["attempts"]) for one in logged)
    assert tries == [1, 1, 1, 1, 1, 1, 2]
    test = service.http.post(f"{BASE}/{endpoint['id']}/test").json()
    replayed = service.http.post(f"{BASE}/{endpoint['id']}/deliveries/{logged[0]['id']}/replay")
    assert replayed.status_code == 202
    eventually(lambda: len(deliveries(service, endpoint, status="delivered")) == 8)
    again = [hook for hook in receiver.hooks if hook.id == logged[0]["id"]]
    assert len(again) == 2
    assert next(hook for hook in receiver.hooks if hook.id == test["id"]).verified(rotated["secret"]) == {
        "type": "webhook.test",
        "timestamp": test["at"],
        "data": {"endpointId": endpoint["id"]},
    }

    receiver.reply = Reply(410)
    service.http.post(f"{BASE}/{endpoint['id']}/test")
    eventually(lambda: not service.http.get(f"{BASE}/{endpoint['id']}").json()["enabled"])
    assert service.http.get(f"{BASE}/{endpoint['id']}").json()["disabledReason"] == "gone"
    assert service.faults_logged() == []


def test_receivers_that_never_answer_hold_up_neither_others_nor_orders_nor_the_end_of_a_worker(
    serve: ServiceStarter, receiver: Receiver
) -> None:
    """Nor is anything lost when the worker ends in the middle of it: another sends it, by the same id."""
    service = serve(settings=ALLOWING)
    with Receiver() as silent:
        silent.reply = Reply(instead=silent.stall)
        stuck = [added(service, silent, "order.created") for _ in range(5)]
        swift = added(service, receiver, "order.confirmed")
        ids = service.place_all([draft()] * 40)
        eventually(lambda: service.count(ids, status="confirmed") == len(ids))
        eventually(lambda: len(deliveries(service, swift, status="delivered")) == 25, 14)
        eventually(lambda: len(silent.hooks) >= len(stuck))
        worker = service.process("worker")
        worker.send(signal.SIGTERM)
        eventually(lambda: not worker.running, 14)
    service.stack.start("worker")
    further = service.placed(draft())

    def received() -> set[str]:
        return {hook.verified(swift["secret"])["data"]["order"]["id"] for hook in receiver.hooks}

    # What the worker had in hand when it ended, if anything, is due again after a minute.
    eventually(lambda: received() == {*ids, further}, 80)


def test_a_private_address_is_refused_by_a_service_that_does_not_allow_it(
    service: Service, receiver: Receiver
) -> None:
    """As it is by default."""
    answer = service.http.post(BASE, json={"url": receiver.url()})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/url")
