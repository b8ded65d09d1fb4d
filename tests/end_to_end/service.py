"""The running service as its clients and its operators see it: by HTTP, and by a look at what it stored."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import httpx
import redis
from bson import ObjectId
from pymongo import MongoClient

from app.orders import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from deploy.local.process import Process
    from deploy.local.stack import Stack

Json = dict[str, Any]


def eventually(condition: Callable[[], Any], timeout: float = 30.0, pause: float = 0.02) -> Any:
    """The first true value of the condition. Raises AssertionError if it takes too long."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not so after {timeout:.0f} s, but {value!r}"
        time.sleep(pause)
    return value


def draft(product: str = "untracked", quantity: int = 1, **fields: Any) -> Json:
    """The body of a POST: an order of one line."""
    lines = [{"productId": product, "quantity": quantity}]
    return {"userId": "a-customer", "products": lines, "totalAmount": 12.5, **fields}


def accepted(answer: httpx.Response) -> str:
    """The id of the order that a POST made."""
    assert answer.status_code == 201, answer.text
    return str(answer.json()["order"]["id"])


def at_once(calls: Sequence[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    """The answers of calls that all begin at the same moment."""
    barrier = threading.Barrier(len(calls))

    def call(one: Callable[[], httpx.Response]) -> httpx.Response:
        barrier.wait(30)
        return one()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


class Service:
    """A started stack, a client of it, and a connection to its database and its broker."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        limits = httpx.Limits(max_connections=128, max_keepalive_connections=128)
        self.http = httpx.Client(base_url=stack.base_url, timeout=30, limits=limits, trust_env=False)
        self._mongo: MongoClient[Json] = MongoClient(stack.env["MONGO_URI"], tz_aware=True)
        self.database = self._mongo.get_default_database()
        self.broker = redis.Redis.from_url(stack.env["REDIS_URL"])

    def close(self) -> None:
        """Close the connections; the stack ends by itself."""
        self.http.close()
        self._mongo.close()
        self.broker.close()

    def post(self, body: Json, **headers: str) -> httpx.Response:
        """POST an order; a header's name has underscores here."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post("/orders", json=body, headers=named)

    def post_all(self, bodies: Iterable[Json], clients: int = 8) -> list[httpx.Response]:
        """The answers to these orders, posted by so many clients at once."""
        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(self.post, bodies))

    def place_all(self, bodies: Iterable[Json], clients: int = 8) -> list[str]:
        """The ids of these orders, posted by so many clients at once."""
        return [accepted(answer) for answer in self.post_all(bodies, clients)]

    def placed(self, body: Json) -> str:
        """The id of an order just posted."""
        return accepted(self.post(body))

    def confirmed(self, body: Json) -> Json:
        """An order posted and, by now, confirmed."""
        order_id = self.placed(body)
        eventually(lambda: self.get(order_id)["status"] == "confirmed")
        self.come_to_rest([order_id])
        return self.get(order_id)

    def get(self, order_id: str) -> Json:
        """The order as it is now."""
        answer = self.http.get(f"/orders/{order_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def put(self, order_id: str, body: Json, **headers: str) -> httpx.Response:
        """PUT a change; a header's name has underscores here."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.put(f"/orders/{order_id}", json=body, headers=named)

    def set_stock(self, product: str, on_hand: int) -> None:
        """Set the level of a product."""
        answer = self.http.put(f"/stock/{product}", json={"onHand": on_hand})
        assert answer.status_code in (200, 201), answer.text

    def on_hand(self, product: str) -> int:
        """The level of a product."""
        return int(self.http.get(f"/stock/{product}").json()["onHand"])

    def event_types(self, order_id: str) -> list[str]:
        """The types of the order's events so far, in order."""
        return [event["type"] for event in self.http.get(f"/orders/{order_id}/events").json()["events"]]

    def order_ids(self) -> list[str]:
        """Every order that the database has."""
        return [str(found["_id"]) for found in self.database.orders.find({}, {"_id": 1})]

    def count(self, order_ids: Iterable[str], **fields: Any) -> int:
        """How many of these orders have these fields; `payment__status` is `payment.status`."""
        among = {"_id": {"$in": [ObjectId(order_id) for order_id in order_ids]}}
        wanted = {name.replace("__", "."): value for name, value in fields.items()}
        return self.database.orders.count_documents({**among, **wanted})

    def end_transactions(self) -> None:
        """Ends the transactions of dead processes, as MongoDB itself does after 60 to 90 seconds.

        It ends those of living ones, too, which start again.
        """
        self.database.client.admin.command("killAllSessions", [])

    def versions(self, order_ids: Iterable[str]) -> dict[str, int]:
        """How many events each of these orders has."""
        return {order_id: self.get(order_id)["version"] for order_id in order_ids}

    def come_to_rest(self, order_ids: Sequence[str], timeout: float = 60.0) -> None:
        """Return when none of these orders owes anything any more, though one may be marked as if it did.

        Where two steps end at the same time, the mark stays until the sweep looks at the order.
        """
        marked = {"_id": {"$in": [ObjectId(order_id) for order_id in order_ids]}, "dueBy": {"$exists": True}}

        def rests() -> bool:
            found: Any = self.database.orders.find(marked, {"events": 0})
            return not any(steps.due(order) for order in found)

        eventually(rests, timeout, pause=0.1)

    def broken_chains(self, order_ids: Iterable[str]) -> list[str]:
        """Those of the orders whose log the service itself does not find intact."""

        def is_broken(order_id: str) -> bool:
            answer = self.http.get(f"/orders/{order_id}/events/verify")
            return answer.status_code != 200 or answer.json() != {"intact": True}

        ids = list(order_ids)
        with ThreadPoolExecutor(8) as pool:
            verdicts = pool.map(is_broken, ids)
            return [order_id for order_id, broken in zip(ids, verdicts, strict=True) if broken]

    def in_hand(self, number: int = 1) -> list[str]:
        """So many orders that a worker has just begun to take payments for, which takes it two seconds."""
        order_ids = self.place_all([draft(paymentMethod="sandbox_slow")] * number)
        later = self.placed(draft())
        eventually(lambda: self.count([later], payment__status={"$ne": "pending"}))
        return [*order_ids, later]

    def faults_logged(self) -> list[str]:
        """The log lines about faults of the service itself."""
        logs = (process.log.read_text() for process in self.stack.processes())
        return [line for log in logs for line in log.splitlines() if '"level":"error"' in line]

    def process(self, role: str) -> Process:
        """The process of a role that was started last."""
        return self.stack.processes([role])[-1]

    def pool_children(self) -> list[int]:
        """The processes in which the worker started last runs its tasks."""
        pid = self.process("worker").pid
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/task/{pid}/children") as children:  # noqa: PTH123
            return [int(child) for child in children.read().split()]
        return []


class Answer(NamedTuple):
    """The result of one POST of a load; `status` is 0 if the connection was refused or broken."""

    key: str
    body: Json
    status: int
    headers: httpx.Headers
    content: Json
    began: float
    seconds: float


class Load:
    """Clients that post one order after the other, each under a key of its own, until the block ends."""

    def __init__(self, service: Service, clients: int = 4, pause: float = 0.1, **fields: Any) -> None:
        self._service = service
        self._clients = clients
        self._pause = pause
        self._fields = fields
        self._enough = threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self.answers: list[Answer] = []

    def of(self, status: int) -> list[Answer]:
        """The answers so far with this status."""
        return [answer for answer in self.answers if answer.status == status]

    def wait_for(self, number: int, status: int = 201, timeout: float = 30.0) -> None:
        """Return when so many more answers have this status."""
        before = len(self.of(status))
        eventually(lambda: len(self.of(status)) >= before + number, timeout)

    def order_ids(self) -> list[str]:
        """The orders that the service said it had accepted."""
        return [answer.content["order"]["id"] for answer in self.of(201)]

    def place_again(self, answers: Iterable[Answer]) -> list[str]:
        """The ids of the same orders, posted again under the same keys."""
        return [accepted(self._service.post(answer.body, Idempotency_Key=answer.key)) for answer in answers]

    def _client(self) -> None:
        while not self._enough.wait(self._pause):
            key, body, began = uuid.uuid4().hex, draft(**self._fields), time.monotonic()
            try:
                answer = self._service.post(body, Idempotency_Key=key)
                status, headers, content = answer.status_code, answer.headers, answer.json()
            except httpx.TransportError:
                status, headers, content = 0, httpx.Headers(), {}
            self.answers.append(Answer(key, body, status, headers, content, began, time.monotonic() - began))

    def __enter__(self) -> Self:
        self._running = [self._pool.submit(self._client) for _ in range(self._clients)]
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._pool.shutdown()
        for client in self._running:
            client.result()
