"""Runs the migrations of a database, and knows which of them it has. A lease lets only one process migrate at
a time.

The migrations are in the package `migrations`, whose modules are imported only to run them. The last
migration has no module: it applies the schema of `app.schema`. Its name is the version of that schema, so a
changed schema is a pending migration. A database keeps the names of all its schema versions. So processes of
the previous release stay ready during an upgrade.
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

# A function that is called with the finished and the total amount of work.
Progress = Callable[[int, int], None]
# A function that opens a progress display with a migration's name.
Display = Callable[[str], AbstractContextManager[Progress]]

STEPS = (*NAMES, schema.version())

_COLLECTION = "migrations"
_LEASE = "lease"
_POLL = 0.2


class Applied(NamedTuple):
    """A finished migration, with its notes to the operator."""

    name: str
    at: datetime
    seconds: float
    notes: list[str]


class LeaseLost(OrderServiceError):
    """This process was stopped for so long that another may be migrating now. It must not continue."""


@reports_outages
def applied(database: Database[Document]) -> list[Applied]:
    """The finished migrations, oldest first."""
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
    """Runs the pending migrations, oldest first, and yields each one once it is recorded.

    While another process migrates, it calls `on_wait` once and waits. Then usually nothing is pending. If a
    process dies, the others wait for at most `lease` seconds. Raises LeaseLost, DatabaseUnavailable.
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
    """Holds the lease and renews it in the background. Yields a function that raises LeaseLost if the lease
    is lost."""
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
            raise LeaseLost("The migration was stopped for too long. Run it again.")

    heart = threading.Thread(target=renew, name="migration-lease", daemon=True)
    heart.start()
    try:
        yield insist
    finally:
        finished.set()
        heart.join()
        database[_COLLECTION].delete_one({"_id": _LEASE, "holder": holder})


def _take(database: Database[Document], holder: str, seconds: float) -> bool:
    """Takes the lease if it is free, has ended, or belongs to this holder, by the server's clock."""
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
