"""How soon a receiver has a thousand webhooks, and the cost of endpoints that no event is for."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from app.clock import now
from app.webhooks.model import delivery_id
from benchmarks.documents import seed
from benchmarks.stage import SERVICE
from benchmarks.turns import Seen, take_turns, warm
from benchmarks.whole import ROLES, stocked, worked
from deploy.local.process import Failed
from deploy.local.servers import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.figures import Figure
    from benchmarks.plan import Plan
    from benchmarks.stage import Contender, Stage
    from benchmarks.turns import Turn

DELIVERIES = 1_000
DELIVERED = "1,000 webhooks to a receiver on this machine"
WHAT = "the whole job with 10 idle webhook endpoints"
WITHOUT = f"{SERVICE}, no endpoints"
LOOK_EVERY = 0.02
IDLE = 10
GIVE_UP_AFTER = 120
PATH = "/webhook-endpoints"
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def webhooks(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """Deliver what is due to one endpoint; then the whole job with no endpoints, and with idle ones."""
    with stage.service(*ROLES) as service, _receiver() as receiver:
        seed(service.database, DELIVERIES)
        turns: dict[str, Turn] = {SERVICE: lambda _: iter([_delivered(service, receiver)])}
        yield from take_turns(turns, plan)
    yield from take_turns(
        {SERVICE: partial(_idle, stage, plan, IDLE), WITHOUT: partial(_idle, stage, plan, 0)}, plan
    )


def _idle(stage: Stage, plan: Plan, endpoints: int, number: int) -> Iterator[Seen]:
    opened = partial(stage.service, *ROLES)
    with warm(stage, plan, partial(stocked, opened)) as service:
        for _ in range(endpoints):
            _added(service, "http://127.0.0.1:9/", "payment.refunded")
        yield from worked(stage, service, f"{number}", plan.sustained, WHAT)


def _added(service: Contender, url: str, events: str) -> str:
    answer = httpx.post(f"{service.url}{PATH}", json={"url": url, "events": [events]}).raise_for_status()
    return str(answer.json()["id"])


def _delivered(service: Contender, receiver: _Receiver) -> Seen:
    """Seconds from the moment that they are all due, the wait for beat's tick included."""
    endpoint_id, at = _added(service, receiver.url, "*"), now()
    due = [_due(str(order["_id"]), endpoint_id, at) for order in service.database.orders.find({}, {"_id": 1})]
    receiver.taken = 0
    begin = time.perf_counter()
    service.database.webhook_deliveries.insert_many(due)
    while receiver.taken < len(due):
        if time.perf_counter() - begin > GIVE_UP_AFTER:
            raise Failed(f"of {len(due):,} webhooks {receiver.taken:,} came in {GIVE_UP_AFTER} s")
        time.sleep(LOOK_EVERY)
    took = time.perf_counter() - begin
    httpx.delete(f"{service.url}{PATH}/{endpoint_id}").raise_for_status()
    return Seen(DELIVERED, {"s": took})


def _due(order_id: str, endpoint_id: str, at: Any) -> dict[str, Any]:
    return {
        "_id": delivery_id(order_id, 5, endpoint_id, at),
        "endpointId": endpoint_id,
        "orderId": order_id,
        "sequence": 5,
        "type": "order.confirmed",
        "at": at,
        "status": "pending",
        "attempts": [],
        "failures": 0,
        "dueBy": at,
    }


class _Receiver:
    """Answers every request with 204 and counts them, at next to no cost of its own."""

    url = ""
    taken = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request per connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        found = LENGTH.search(head)
        await reader.readexactly(int(found[1]) if found else 0)
        self.taken += 1
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@contextlib.contextmanager
def _receiver() -> Iterator[_Receiver]:
    receiver, loop = _Receiver(), asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(receiver.answer, HOST, 0))
    receiver.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}/hooks"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()
