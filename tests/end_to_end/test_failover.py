"""The primary of a replica set goes, in every way that one can, and the service goes on with the next one."""

from __future__ import annotations

import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest
from pymongo import WriteConcern

from deploy.local.servers import direct
from tests.end_to_end import books
from tests.end_to_end.service import Load, accepted, at_once, draft, eventually
from tests.support.replica_set import ReplicaSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from tests.end_to_end.conftest import ServiceStarter
    from tests.end_to_end.service import Service
    from tests.support.replica_set import Member

WAYS = ("kill", "part", "freeze", "cut_off")
# Seconds: until a write that begins afterwards is taken, and until any request is answered.
RESUMED, ANSWERED = 15.0, 25.0


class Outcome(NamedTuple):
    """The result of a request."""

    status: int
    seconds: float


class Customer:
    """Follows the feed and counts up a stock level, one request after the other, until the block ends."""

    def __init__(self, service: Service, product: str) -> None:
        self._http = service.http
        self._product = product
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        self._query: dict[str, Any] = {"limit": 1_000}
        self.seen: list[str] = []
        self.adjusted: list[Outcome] = []
        self.read: list[Outcome] = []

    def read_to_the_end(self) -> list[str]:
        """The ids of all events seen, in their order."""
        while self._follow():
            pass
        return self.seen

    def _follow(self) -> bool:
        answer, outcome = self._ask("GET", "/events", params=self._query)
        self.read.append(outcome)
        if answer.status_code != 200:
            return False
        page = answer.json()
        self.seen += [event["id"] for event in page["events"]]
        self._query["after"] = page["nextCursor"]
        return bool(page["hasMore"])

    def _ask(self, method: str, path: str, **arguments: Any) -> tuple[httpx.Response, Outcome]:
        began = time.monotonic()
        answer = self._http.request(method, path, timeout=60, **arguments)
        return answer, Outcome(answer.status_code, time.monotonic() - began)

    def _go_on(self) -> None:
        adjustment = {"quantity": 1, "reason": "counted"}
        while not self._enough.wait(0.1):
            _, outcome = self._ask("POST", f"/stock/{self._product}/adjustments", json=adjustment)
            self.adjusted.append(outcome)
            self._follow()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()


@pytest.fixture(scope="module")
def replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    """Three members that a test may break, and repairs."""
    with ReplicaSet(tmp_path_factory.mktemp("members")) as replica_set:
        yield replica_set


@pytest.mark.timeout(240)
def test_writes_go_on_by_themselves_whatever_becomes_of_the_primary(
    replica_set: ReplicaSet, serve: ServiceStarter, record_property: Callable[[str, object], None]
) -> None:
    """Four times under load; nothing acknowledged is lost, nothing done twice, and no fault but 503."""
    service = serve(mongo_uri=replica_set.uri("failing"))
    service.set_stock("kept", 100_000)
    service.set_stock("counted", 0)
    resumed = []
    with Load(service, product="kept") as load, Customer(service, "counted") as customer:
        for way in WAYS:
            load.wait_for(20)
            replica_set.wait_whole()
            primary, began = replica_set.primary(), time.monotonic()
            getattr(replica_set, way)(primary)
            if way == "part":
                _still_believes_in_itself(primary)
            resumed.append((way, _resumption(load, began)))
            load.wait_for(20)
            replica_set.repair(primary)
        replica_set.wait_whole()
        load.wait_for(20)

    record_property("resumed", resumed)
    record_property("slowest", _only_503(load, customer))
    assert all(seconds < RESUMED for _, seconds in resumed), resumed
    ids = load.order_ids() + load.place_again(load.of(503))
    assert len(set(ids)) == len(load.answers)
    assert sorted(ids) == sorted(service.order_ids())
    service.come_to_rest(ids)
    assert service.count(ids, status="confirmed") == len(ids)
    assert service.on_hand("kept") == 100_000 - len(ids)
    counted = Counter(outcome.status for outcome in customer.adjusted)
    assert counted[201] <= service.on_hand("counted") <= counted[201] + counted[503]
    assert books.faults(service, ids) == []
    assert service.broken_chains(ids[::10]) == []
    _feed_is_whole(service, customer)
    assert service.database.get_collection("partition").find_one() is None
    assert all(process.running for process in service.stack.processes())
    assert service.faults_logged() == []
    assert "cannot be taken up" not in service.process("relay").output()


def test_a_write_without_a_majority_is_refused_soon(
    replica_set: ReplicaSet, serve: ServiceStarter, record_property: Callable[[str, object], None]
) -> None:
    """The primary is there and takes writes, but the others do not keep up; then they do, and all is well.

    Repeated meanwhile, the key meets the order that only the primary has.
    """
    replica_set.wait_whole()
    service = serve(mongo_uri=replica_set.uri("lagging"), roles={"web": 1})
    seen = service.placed(draft())
    unconfirmed = partial(service.post, draft(), Idempotency_Key="unconfirmed")
    with replica_set.lagging():
        refused = [unconfirmed()]
        refused += at_once(
            [
                unconfirmed,
                partial(service.put, seen, {"status": "cancelled"}),
                partial(service.http.put, "/stock/unconfirmed", json={"onHand": 1}),
            ]
        )
        assert service.get(seen)["status"] == "pending"

    slowest = [answer.elapsed.total_seconds() for answer in refused]
    record_property("slowest", slowest)
    assert [answer.status_code for answer in refused] == [503] * 4
    assert max(slowest) < ANSWERED
    again = [unconfirmed() for _ in range(2)]
    assert len({accepted(answer) for answer in again}) == 1
    assert len(service.order_ids()) == 2
    assert service.faults_logged() == []


def _still_believes_in_itself(primary: Member) -> None:
    """It accepts a write that only it has, and loses it once it sees the others."""
    with direct(primary.address) as client:
        rows = client.failing.get_collection("partition", write_concern=WriteConcern(1))
        rows.insert_one({"only": "here"})
        assert client.admin.command("hello")["isWritablePrimary"]


def _resumption(load: Load, since: float) -> float:
    """Seconds until the first POST that began since then was answered with 201."""

    def first() -> float | None:
        ends = [answer.began + answer.seconds for answer in load.of(201) if answer.began > since]
        return min(ends, default=None)

    return float(eventually(first, 60)) - since


def _only_503(load: Load, customer: Customer) -> float:
    """Seconds that the slowest answer took."""
    assert {answer.status for answer in load.answers} <= {201, 503}
    assert {outcome.status for outcome in customer.adjusted} <= {201, 503}
    assert {outcome.status for outcome in customer.read} <= {200, 503}
    for refused in load.of(503):
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.content["code"] == "database_unavailable"
    slowest = max(one.seconds for one in [*load.answers, *customer.adjusted, *customer.read])
    assert slowest < ANSWERED
    return slowest


def _feed_is_whole(service: Service, customer: Customer) -> None:
    """Nothing came in behind the customer, who read on all the while, and every event is there once."""
    events = service.database.orders.aggregate([{"$group": {"_id": None, "number": {"$sum": "$version"}}}])
    number = next(events)["number"]
    eventually(lambda: len(customer.read_to_the_end()) >= number)
    rows = list(service.database.feed.find().sort("_id"))
    assert [row["_id"] for row in rows] == list(range(1, number + 1))
    assert customer.seen == [f"{row['orderId']}:{row['sequence']}" for row in rows]
    sequences: dict[Any, int] = Counter()
    for row in rows:
        assert row["sequence"] == sequences[row["orderId"]] + 1
        sequences[row["orderId"]] += 1
