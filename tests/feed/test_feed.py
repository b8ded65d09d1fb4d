"""The writing of the event feed: one permanent order without holes, with any writer and after any crash."""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from app.feed import service as feeding
from app.feed import store as storage
from app.feed.store import Entry
from app.orders.events import EVENTS
from app.orders.processing import perform
from app.orders.service import change_status, delete_order
from app.orders.steps import ANNOUNCE
from app.orders.sweeping import purge_deleted_orders
from tasks import feed_writer as feed_writer_module
from tests.support.doubles import Crash, Held, at_once, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.service_fixtures import Finish, Place


@pytest.fixture
def feed_writer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the feed writer, which collects changes for a shorter time here."""
    monkeypatch.setattr(feed_writer_module, "_GATHERING", 0.01)
    return feed_writer_module


class Change(NamedTuple):
    """A change as the change stream has it."""

    order_id: str
    event_types: list[str]
    place: Any
    first_sequence: int
    at: datetime | None = None


def a_stream(orders: int, seed: int) -> list[Entry]:
    """Events of many orders, mixed; those of each in their order."""
    dice = random.Random(seed)
    sequences: Counter[str] = Counter()
    entries = []
    for _ in range(orders * 6):
        order_id = f"{dice.randrange(orders):024x}"
        sequences[order_id] += 1
        entries.append(Entry(order_id, sequences[order_id], dice.choice(sorted(EVENTS))))
    return entries


def batches(entries: list[Entry], dice: random.Random) -> Iterable[list[Entry]]:
    start = 0
    while start < len(entries):
        size = dice.choice((1, 2, 3, 7, 20, 60))
        yield entries[start : start + size]
        start += size


class Reader:
    """Follows the feed, and looks at every row when it comes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.entries: list[Entry] = []
        self.position = 0

    def read_on(self, limit: int = 7) -> None:
        """Reads a part; fails where a position or a sequence is missing or comes twice."""
        page = self._services.feed.store.page(self.position, limit, None)
        for position, entry in page.entries:
            assert position == self.position + 1
            assert entry.sequence == 1 + sum(one.order_id == entry.order_id for one in self.entries)
            self.position = position
            self.entries.append(entry)

    def read_all(self) -> list[Entry]:
        """Reads to the end."""
        before = -1
        while before != self.position:
            before = self.position
            self.read_on()
        return self.entries


def owed(services: Services) -> set[tuple[str, int, str]]:
    """All events of all orders."""
    return {
        (str(order["_id"]), event["sequence"], event["type"])
        for order in services.feed.store._rows.database["orders"].find()
        for event in order["events"]
    }


def test_writers_at_once_leave_no_hole_and_no_reader_ever_sees_one(services: Services) -> None:
    """Each writes the same changes at its own pace; the reader follows while they do."""
    stream, ended = a_stream(orders=40, seed=1), threading.Event()
    reader = Reader(services)

    def write(seed: int) -> None:
        dice = random.Random(seed)
        for batch in batches(stream, dice):
            services.feed.store.append(batch)

    def follow() -> None:
        while not ended.is_set():
            reader.read_on()

    following = threading.Thread(target=follow)
    following.start()
    outcomes = at_once(*(lambda seed=seed: write(seed) for seed in range(4)))
    ended.set()
    following.join()
    assert outcomes == [None] * 4
    assert sorted(reader.read_all()) == sorted(stream)


def test_a_writer_that_is_far_behind_adds_no_row_twice(services: Services) -> None:
    """Writing rows again costs two round trips per batch, not one per row."""
    stream = a_stream(orders=20, seed=2)
    services.feed.store.append(stream)
    reader = Reader(services)
    assert reader.read_all() == stream
    for batch in (stream[:50], stream, stream[-30:]):
        services.feed.store.append(batch)
    later = [Entry(f"{99:024x}", 1, "order.created"), *stream[-5:]]
    services.feed.store.append([*stream[5:], *later])
    assert reader.read_all() == [*stream, later[0]]


def test_nothing_is_fed_for_nothing(services: Services, database: OrderDatabase) -> None:
    services.feed.store.append([])
    assert feeding.catch_up(services.feed, lambda: False)
    assert database["feed"].count_documents({}) == 0


@pytest.mark.slow
def test_a_feed_writer_killed_between_any_two_lines_leaves_no_hole_and_loses_nothing(
    services: Services, place: Place, finish: Finish, feed_writer: Any, database: OrderDatabase
) -> None:
    """It is killed at its first line, at its second, and so on, and each time another takes over."""
    ids = [place()["id"] for _ in range(2)]
    finish(services, ids[0])
    earlier = owed(services)
    finish(services, ids[1])
    changes = [
        Change(order_id, [kind], None, sequence)
        for order_id, sequence, kind in sorted(owed(services) - earlier, key=lambda event: event[1])
    ]
    kills = 0
    while True:
        database["feed"].delete_many({})
        database["relay"].delete_many({})
        killed = _killed_at_line(kills, lambda: _feed(feed_writer, services, changes))
        reader = Reader(services)
        seen = list(reader.read_all())
        if services.changes.resume_token():
            assert {tuple(entry) for entry in seen} == owed(services)
        _feed(feed_writer, services, changes)
        assert reader.read_all()[: len(seen)] == seen
        assert {tuple(entry) for entry in reader.entries} == owed(services)
        if not killed:
            break
        kills += 1
    assert kills > 60


def test_changes_given_in_any_sequence_are_fed(services: Services, place: Place, feed_writer: Any) -> None:
    first, second = (Change(place()["id"], ["order.created"], None, 1) for _ in range(2))
    one = feed_writer.FeedWriter(services, catches_up=False)
    one.write((first,))
    one.write([second])
    one._given.put(None)
    one._work()
    assert one._fault is None
    assert [entry.order_id for entry in Reader(services).read_all()] == [first.order_id, second.order_id]


def _feed(feed_writer: Any, services: Services, changes: list[Change]) -> None:
    """Does the work of a relay's feed writer in this thread: it catches up, writes, and stores the token."""
    one = feed_writer.FeedWriter(services, catches_up=True)
    one.write(changes)
    one.remember({"place": 1})
    one._given.put(None)
    one._work()
    assert one._fault is None


def _killed_at_line(number: int, work: Callable[[], None]) -> bool:
    """Whether the work came so far that it could be killed at that line."""
    files, left = (storage.__file__, feeding.__file__, feed_writer_module.__file__), [number]

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] < 0:
                raise Crash
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except Crash:
        return True
    finally:
        sys.settrace(before)
    return False


def test_every_event_is_fed_soon_after_it_happened(
    services: Services, place: Place, finish: Finish, relaying: Any, feed_writer: Any
) -> None:
    relaying(services)
    eventually(services.changes.resume_token)
    ids = [place()["id"] for _ in range(5)]
    finish(services, *ids)
    change_status(services.orders, ids[0], "cancelled", actor="u")
    finish(services, ids[0])
    reader = Reader(services)
    eventually(lambda: {tuple(entry) for entry in reader.read_all()} == owed(services))


def test_the_first_relay_of_all_feeds_all_earlier_events(
    services: Services, place: Place, finish: Finish, relaying: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if an older one left a resume token, up to which it had fed nothing."""
    monkeypatch.setattr(feeding, "_BATCH", 2)
    ids = [place()["id"] for _ in range(5)]
    finish(services, *ids)
    services.changes._tokens.insert_one({"_id": "orders", "place": services.changes.present_resume_token()})
    stop = relaying(services)
    eventually(services.changes.resume_token)
    reader = Reader(services)
    assert {tuple(entry) for entry in reader.read_all()} == owed(services)
    stop()
    relaying(services)
    place()
    eventually(lambda: len(reader.read_all()) == len(owed(services)))


def test_events_after_a_lost_resume_token_are_fed_once_the_loss_is_noticed(
    services: Services, place: Place, finish: Finish, relaying: Any, logged: list[Any]
) -> None:
    stop = relaying(services)
    eventually(services.changes.resume_token)
    ids = [place()["id"] for _ in range(3)]
    eventually(lambda: len(Reader(services).read_all()) == 3)
    stop()
    reader = Reader(services)
    reader.read_all()
    finish(services, *ids)
    delete_order(services.orders, ids[0], actor="u")
    place()
    services.changes.remember({"_data": "garbage"})
    relaying(services)
    eventually(lambda: {tuple(entry) for entry in reader.read_all()} == owed(services))


def test_two_relays_feed_every_event_once(
    services: Services, place: Place, finish: Finish, relaying: Any
) -> None:
    for _ in range(2):
        relaying(services)
    eventually(services.changes.resume_token)
    reader = Reader(services)
    for _ in range(4):
        ids = [place()["id"] for _ in range(5)]
        reader.read_on()
        finish(services, *ids)
    eventually(lambda: {tuple(entry) for entry in reader.read_all()} == owed(services))


def test_a_resume_token_is_not_stored_before_all_up_to_it_is_fed(
    services: Services, place: Place, relaying: Any, relay_module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = relaying(services)
    eventually(services.changes.resume_token)
    stop()
    settled = services.changes.resume_token()
    fault = RuntimeError("the feed cannot be written")

    def refuse(entries: object) -> None:
        raise fault

    with monkeypatch.context() as broken:
        broken.setattr(services.feed.store, "append", refuse)
        place()
        with pytest.raises(RuntimeError):
            relay_module.relay(services, Held(), threading.Event())
    assert services.changes.resume_token() == settled
    relaying(services)
    eventually(lambda: len(Reader(services).read_all()) == 1)


def test_purged_events_leave_the_feed_and_their_positions_are_never_reused(
    services: Services, place: Place, finish: Finish, clock: Any, database: OrderDatabase
) -> None:
    first, second = (place()["id"] for _ in range(2))
    finish(services, first, second)
    feeding.catch_up(services.feed, lambda: False)
    delete_order(services.orders, second, actor="u")
    finish(services, second)
    feeding.catch_up(services.feed, lambda: False)
    end = Reader(services)
    end.read_all()
    perform(services.orders, ANNOUNCE, [second])
    clock.advance(timedelta(days=services.settings.retention_days + 1))
    assert purge_deleted_orders(services.orders) == 1
    third = place()["id"]
    feeding.catch_up(services.feed, lambda: False)
    rows = list(database["feed"].find().sort("_id"))
    assert rows[-1]["_id"] == end.position + 1
    assert str(rows[-1]["orderId"]) == third
    left = Counter(str(row["orderId"]) for row in rows)
    assert left[second] == 1, "the row that was the last one"
    assert end.read_all()[-1] == Entry(third, 1, "order.created")
    read = [event.order_id for event in feeding.read(services.feed, 0, 1000, None).events]
    assert second not in read
    assert read[-1] == third


def test_events_of_one_order_come_in_its_own_order_whatever_came_between(services: Services) -> None:
    stream = a_stream(orders=5, seed=3)
    for batch in batches(stream, random.Random(4)):
        services.feed.store.append(batch)
    seen = defaultdict(list)
    for entry in Reader(services).read_all():
        seen[entry.order_id].append(entry.sequence)
    assert all(sequences == list(range(1, len(sequences) + 1)) for sequences in seen.values())
