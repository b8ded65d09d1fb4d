"""A customer's data can be erased from orders in any state, and the books still verify."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from bson import json_util

from tests.end_to_end import books
from tests.end_to_end.service import draft, eventually
from tests.support.receiver import Receiver, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

CUSTOMER = "a customer who leaves"
NO_MAIL_SERVER = "smtp://127.0.0.1:1"


class Planted:
    """Words that stand nowhere else, one for each place with a customer's data."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def word(self) -> str:
        """One more of them."""
        self.words.append(f"x{uuid.uuid4().hex[:16]}")
        return self.words[-1]

    def personal(self) -> dict[str, Any]:
        """Every field of an order that can have a customer's data."""
        places = ("name", "line1", "line2", "city", "region", "postalCode")
        return {
            "email": f"{self.word()}@{self.word()}.example",
            "shippingAddress": {**{place: self.word() for place in places}, "country": "DE"},
            "metadata": {self.word(): self.word(), "note": f"{self.word()}\n{self.word()}"},
        }

    def found_in(self, text: str) -> list[str]:
        """Those of the words that the text holds."""
        return [word for word in self.words if word in text]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somewhere for webhooks to go, which takes none as yet."""
    with Receiver() as taking:
        taking.reply = Reply(503)
        yield taking


def test_nothing_of_an_erased_customer_can_be_read_anywhere(
    serve: ServiceStarter, receiver: Receiver
) -> None:
    """Orders of every fate, deleted ones and unsent mails and webhooks among them."""
    planted = Planted()
    service = serve(settings={"SMTP_URL": NO_MAIL_SERVER, "WEBHOOK_ALLOW_PRIVATE": "true"})
    service.http.post("/webhook-endpoints", json={"url": receiver.url()}).raise_for_status()
    service.set_stock("tracked", 8)
    bystander = service.confirmed(draft(userId="somebody else", email="bystander@example.org"))
    ids = _live(service, planted)
    service.come_to_rest(ids)
    eventually(lambda: _feed_length(service) == sum(_versions(service).values()))
    before = _books(service)
    assert planted.found_in(_dump(service)) == planted.words
    unsent = {"orderId": {"$in": ids}, "status": "pending"}
    assert service.database.notifications.count_documents(unsent) > 4

    command = f"flask --app wsgi erase-customer --yes '{CUSTOMER}'"
    service.stack.run("erasure", command)
    assert _said(service, "erasure")[:3] == ["orders", "erased", str(len(ids))]

    assert planted.found_in(_dump(service)) == []
    assert planted.found_in(_served(service)) == []
    assert _books(service) == before
    live = [order_id for order_id in service.order_ids() if _is_live(service, order_id)]
    assert service.broken_chains(live) == []
    assert service.get(bystander["id"]) == bystander

    # Announcements that were still to come lack the erased data, or are dropped.
    refused = len(receiver.hooks)
    receiver.reply = Reply(200)
    service.database.webhook_deliveries.update_many({"status": "pending"}, [{"$set": {"dueBy": "$$NOW"}}])
    service.database.notifications.update_many({"status": "pending"}, [{"$set": {"dueBy": "$$NOW"}}])
    for collection in (service.database.webhook_deliveries, service.database.notifications):
        eventually(lambda waiting=collection: waiting.count_documents(unsent) == 0)
    assert planted.found_in(" ".join(hook.body.decode() for hook in receiver.hooks[refused:])) == []
    mails = list(service.database.notifications.find({"orderId": {"$in": ids}, "channel": "mail"}))
    assert {mail["status"] for mail in mails} == {"failed"}

    # Nothing is left to erase for this user, or for an unknown one.
    for again in (command, "flask --app wsgi erase-customer --yes nobody"):
        service.stack.run("again", again)
        assert _said(service, "again")[:3] == ["orders", "erased", "0"]
    logs = [log.read_text() for log in (service.stack.directory / "log").iterdir()]
    assert planted.found_in(" ".join(logs)) == []


def _live(service: Service, planted: Planted) -> list[str]:
    """Orders that are confirmed, delivered, cancelled, refunded, declined, short of stock, and deleted."""
    fates: list[dict[str, Any]] = [
        {"product": "tracked"},
        {"product": "tracked"},
        {"product": "tracked"},
        {"product": "tracked"},
        {"paymentMethod": "sandbox_declined"},
        {"product": "tracked", "quantity": 1_000},
    ]
    ids = []
    for number, fate in enumerate(fates):
        body = draft(userId=CUSTOMER, reference=f"R-{number}", **fate, **planted.personal())
        answer = service.post(body, Idempotency_Key=f"key-{number}")
        ids.append(answer.json()["order"]["id"])
    eventually(lambda: service.count(ids, status="pending") == 0)
    service.come_to_rest(ids)
    kept, sent, ended, gone = ids[:4]
    tracking = {"carrier": "DHL", "number": "1"}
    assert service.put(sent, {"status": "shipped", "tracking": tracking}).status_code == 200
    assert service.put(sent, {"status": "delivered"}).status_code == 200
    assert service.put(ended, {"status": "cancelled", "reason": "changed my mind"}).status_code == 200
    assert service.http.delete(f"/orders/{gone}").status_code == 204
    refund = service.http.post(f"/orders/{kept}/refunds", json={"amount": 1, "reason": "goodwill"})
    assert refund.status_code == 202
    return ids


def _dump(service: Service) -> str:
    """Every document of every collection, and everything in the broker."""
    names = service.database.list_collection_names()
    documents = [json_util.dumps(list(service.database[name].find())) for name in names]
    queues = [key for key in service.broker.scan_iter() if service.broker.type(key) == b"list"]
    messages = [str(service.broker.lrange(queue, 0, -1)) for queue in queues]
    return "\n".join([*documents, *messages])


def _served(service: Service) -> str:
    """Everything that the API shows of any order, now and at past versions."""
    said = [service.http.get("/events?limit=1000").text, service.http.get("/orders?limit=100").text]
    for order_id, version in _versions(service).items():
        paths = ("", "/events", "/refunds", *(f"?version={n}" for n in range(1, version + 1)))
        said += [service.http.get(f"/orders/{order_id}{path}").text for path in paths]
    return "\n".join(said)


def _versions(service: Service) -> dict[str, int]:
    return {str(order["_id"]): order["version"] for order in service.database.orders.find()}


def _feed_length(service: Service) -> int:
    return service.database.feed.count_documents({})


def _books(service: Service) -> list[Any]:
    """Money, stock, ledgers, logs with their hashes, and whatever does not agree about them."""
    fields = {"personal": 0, "emailKey": 0, "erasedAt": 0, "idempotency": 0, "dueBy": 0, "attempts": 0}
    orders = list(service.database.orders.find({}, fields).sort("_id"))
    names = ("stock", "stock_movements", "sandbox_payments", "feed")
    rows = [list(service.database[name].find().sort("_id")) for name in names]
    faults = books.faults(service, service.order_ids())
    return [orders, rows, [fault for fault in faults if "announced" not in fault]]


def _is_live(service: Service, order_id: str) -> bool:
    return service.http.get(f"/orders/{order_id}").status_code == 200


def _said(service: Service, name: str) -> list[str]:
    return (service.stack.directory / "log" / f"{name}.log").read_text().split()
