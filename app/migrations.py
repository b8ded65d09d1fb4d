"""Which migrations a database has been through, and the lease under which one process at a time runs them.

The migrations themselves stand in the package `migrations`; only running them imports their modules. The last
one stands in no module: it applies the schema that `app.schema` declares. Its name is the version of
that schema, so a changed declaration is pending by itself. A database keeps the names of all versions that it
has had, so processes of the release before stay ready while the next one comes.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from importlib import import_module
from typing import NamedTuple

from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

from app import schema
from app.clock import now
from app.config import Settings
from app.errors import OrderServiceError
from app.mongo.database import Document
from app.mongo.outages import reports_outages
from migrations import NAMES

# Called with how much is done and how much there is to do.
Progress = Callable[[int, int], None]
# Opens a progress display under a migration's name.
Display = Callable[[str], AbstractContextManager[Progress]]

STEPS = (*NAMES, schema.version())

_COLLECTION = "migrations"
_LEASE = "lease"
_POLL = 0.2


class Applied(NamedTuple):
    """A migration that the database has been through, and what it had to tell the operator."""

    name: str
    at: datetime
    seconds: float
    notes: list[str]


class LeaseLost(OrderServiceError):
    """This process was held up for so long that another may be migrating now; it must stop."""


@reports_outages
def applied(database: Database[Document]) -> list[Applied]:
    """The migrations run so far, oldest first."""
    records = database[_COLLECTION].find({"_id": {"$ne": _LEASE}}).sort([("at", 1), ("_id", 1)])
    return [Applied(found["_id"], found["at"], found["seconds"], found["notes"]) for found in records]


@reports_outages
def pending(database: Database[Document]) -> list[str]:
    """The names of the migrations still to run, oldest first."""
    done = {found["_id"] for found in database[_COLLECTION].find({}, {"_id": 1})}
    return [name for name in STEPS if name not in done]


@reports_outages
def upgrade(
    database: Database[Document],
    settings: Settings,
    display: Display,
    *,
    on_wait: Callable[[], None] = lambda: None,
    lease: float = 30.0,
) -> Iterator[Applied]:
    """Runs what is pending, oldest first, and yields each migration once it is recorded.

    Waits while another process migrates (`on_wait` is called once) and then finds nothing to do. A process
    that dies holds the others up for `lease` seconds at most. Raises LeaseLost, DatabaseUnavailable.
    """
    with _held(database, lease, on_wait) as insist:
        for name in pending(database):
            started = time.monotonic()
            with display(name) as show:

                def progress(done: int, total: int, show: Progress = show) -> None:
                    insist()
                    show(done, total)

                notes = _run(name, database, settings, progress)
            insist()
            seconds = round(time.monotonic() - started, 3)
            record: Document = {"at": now(), "seconds": seconds, "notes": notes}
            database[_COLLECTION].update_one({"_id": name}, {"$setOnInsert": record}, upsert=True)
            yield Applied(name, record["at"], seconds, notes)


def _run(name: str, database: Database[Document], settings: Settings, progress: Progress) -> list[str]:
    if name in NAMES:
        notes: list[str] = import_module(f"migrations.{name}").upgrade(database, settings, progress)
        return notes
    schema.apply(database)
    return []


@contextmanager
def _held(
    database: Database[Document], seconds: float, on_wait: Callable[[], None]
) -> Iterator[Callable[[], None]]:
    """Holds the lease, renewed in the background; yields what raises LeaseLost once it is gone."""
    holder, asked = uuid.uuid4().hex, time.monotonic()
    if not _take(database, holder, seconds):
        on_wait()
        while not _take(database, holder, seconds):
            time.sleep(_POLL)
            asked = time.monotonic()
    finished, good_until = threading.Event(), [asked + seconds]

    def renew() -> None:
        while not finished.wait(seconds / 4):
            asked = time.monotonic()
            try:
                ours = _take(database, holder, seconds)
            except PyMongoError:
                continue
            good_until[0] = asked + seconds if ours else 0.0

    def insist() -> None:
        if time.monotonic() > good_until[0]:
            raise LeaseLost("The migration was held up for too long; run it again.")

    heart = threading.Thread(target=renew, name="migration-lease", daemon=True)
    heart.start()
    try:
        yield insist
    finally:
        finished.set()
        heart.join()
        database[_COLLECTION].delete_one({"_id": _LEASE, "holder": holder})


def _take(database: Database[Document], holder: str, seconds: float) -> bool:
    """Takes the lease if it is free, run out or ours already, by the server's clock."""
    ours = {"$or": [{"$lte": ["$until", "$$NOW"]}, {"$eq": ["$holder", holder]}]}
    free = {"$or": [{"$eq": [{"$type": "$holder"}, "missing"]}, ours]}
    until = {"$add": ["$$NOW", round(seconds * 1000)]}
    claim = {
        "holder": {"$cond": [free, holder, "$holder"]},
        "until": {"$cond": [free, until, "$until"]},
    }
    try:
        lease = database[_COLLECTION].find_one_and_update(
            {"_id": _LEASE}, [{"$set": claim}], upsert=True, return_document=ReturnDocument.AFTER
        )
    except DuplicateKeyError:
        return False
    return bool(lease and lease["holder"] == holder)
