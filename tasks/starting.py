"""What each background process does before its work: it waits for the database, and refuses a wrong one."""

import sys
from threading import Event

from app import broker
from app.errors import DatabaseUnavailable
from app.mongo.database import NotAReplicaSet, connect, require_replica_set
from app.mongo.locks import warn_of_lasting_locks
from app.waiting import Waiting
from tasks.composition import settings

# Seconds between two attempts; each takes some seconds itself.
_PAUSE = 1.0


def watch_broker() -> None:
    """Has this process say when it waits for the broker."""
    broker.watch(settings().redis_url)


def await_database(stopping: Event | None = None) -> None:
    """Returns when the database answers, or the event is set.

    A standalone server ends the process with one line. One that keeps locks for long is warned of.
    """
    stopping = stopping or Event()
    # A connection of its own, closed before a worker forks.
    database = connect(settings().mongo_uri)
    waiting = Waiting("database", settings().mongo_uri)
    with database.client:
        while not stopping.is_set():
            try:
                require_replica_set(database)
            except NotAReplicaSet as fact:
                sys.exit(str(fact))
            except DatabaseUnavailable:
                waiting.missing("DatabaseUnavailable")
                stopping.wait(_PAUSE)
            else:
                waiting.there()
                warn_of_lasting_locks(database)
                return
