"""A consumer that only reads the feed knows every order as well as the service itself does."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from tests.end_to_end import books
from tests.end_to_end.service import draft, eventually

if TYPE_CHECKING:
    import httpx

    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service

LEASE = "lease:relay"
ADDRESS = {"name": "Ada Lovelace", "city": "London", "country": "GB"}


class Read(NamedTuple):
    """An event as the feed had it; the order as its text."""

    id: str
    type: str
    sequence: int
    order_id: str
    order: str


class Consumer:
    """Reads the feed from the start, on and on, until the block ends."""

    def __init__(self, http: httpx.Client, limit: int) -> None:
        self._http = http
        self._params: dict[str, Any] = {"limit": limit}
        self._enough = threading.Event()
        self._reading = threading.Thread(target=self._read_on)
        self.read: list[Read] = []

    def read_to_the_end(self) -> list[Read]:
        """Everything read so far, and what the feed has now."""
        while self._read():
            pass
        return self.read

    def _read(self) -> bool:
        answer = self._http.get("/events", params=self._params)
        assert answer.status_code == 200, answer.text
        part, at = answer.json(), 0
        for event in part["events"]:
            at = answer.text.index('"order":{', at) + len('"order":')
            _, end = json.JSONDecoder().raw_decode(answer.text, at)
            order, at = answer.text[at:end], end
            order_id = event["data"]["order"]["id"]
            self.read.append(Read(event["id"], event["type"], event["data"]["sequence"], order_id, order))
        self._params["after"] = part["nextCursor"]
        return bool(part["hasMore"])

    def _read_on(self) -> None:
        while not self._enough.wait(0.02):
            self.read_to_the_end()

    def __enter__(self) -> Self:
        self._reading.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._reading.join()


def test_a_consumer_rebuilds_every_order_exactly(serve: ServiceStarter) -> None:
    """It reads while orders go all their ways, and while the relay that feeds it is killed again and again.

    What is asked of the service last in a round is only just done when the relay dies.
    """
    service = serve()
    service.set_stock("tracked", 60)
    with Consumer(service.http, limit=7) as consumer:
        ids = []
        for _ in range(4):
            ids += _a_busy_round(service)
            service.stack.kill("relay")
            service.broker.delete(LEASE)
            service.stack.start("relay")
        service.come_to_rest(ids)

        def all_read() -> bool:
            stored = service.database.orders.aggregate([{"$group": {"_id": None, "n": {"$sum": "$version"}}}])
            return len(consumer.read) == next(stored)["n"]

        eventually(all_read)

    assert service.faults_logged() == []
    read = consumer.read
    _orders_are_known(service, read)
    assert len({one.id for one in read}) == len(read)
    again = Consumer(service.http, limit=1_000).read_to_the_end()
    assert [(one.id, one.order) for one in again] == [(one.id, one.order) for one in read]
    assert books.faults(service, ids) == []


def _a_busy_round(service: Service) -> list[str]:
    """Orders that are confirmed, shipped, delivered, declined, short of stock, cancelled, and deleted."""
    bodies = [
        draft("tracked", email="ada@example.org", shippingAddress=ADDRESS, metadata={"note": 'ä "x"'}),
        draft("tracked", quantity=2, reference="R"),
        draft(paymentMethod="sandbox_declined"),
        draft("tracked", quantity=10_000),
        draft(paymentMethod="sandbox_timeout_once"),
    ] * 4
    ids = service.place_all(bodies)
    for order_id in ids[::7]:
        service.put(order_id, {"status": "cancelled", "reason": "changed my mind"})
    eventually(lambda: service.count(ids, status="pending") == 0)
    confirmed = [order_id for order_id in ids if service.get(order_id)["status"] == "confirmed"]
    assert len(confirmed) > 6
    for order_id in confirmed[:4]:
        tracking = {"carrier": "DHL", "number": "1"}
        assert service.put(order_id, {"status": "shipped", "tracking": tracking}).status_code == 200
    assert service.put(confirmed[0], {"status": "delivered"}).status_code == 200
    assert service.put(confirmed[4], {"status": "cancelled"}).status_code == 200
    for order_id in (confirmed[0], confirmed[5], ids[0]):
        assert service.http.delete(f"/orders/{order_id}").status_code in (204, 404, 409)
    return ids


def _orders_are_known(service: Service, read: list[Read]) -> None:
    """The last event of each order has its exact state, and the events of each have no gap."""
    last, deleted = {}, set()
    sequences: dict[str, list[int]] = {}
    for one in read:
        last[one.order_id] = one.order
        sequences.setdefault(one.order_id, []).append(one.sequence)
        if one.type == "order.deleted":
            deleted.add(one.order_id)
    assert set(last) == set(service.order_ids())
    for order_id, order in last.items():
        answer = service.http.get(f"/orders/{order_id}")
        if order_id in deleted:
            assert answer.status_code == 404
        else:
            assert answer.text == order
        assert sequences[order_id] == list(range(1, len(sequences[order_id]) + 1))
    assert len(deleted) > 4
