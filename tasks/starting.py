"""The start of each background process: it waits for the database, and refuses an unsuitable one."""

import sys
from threading import Event

from app import broker
from app.errors import DatabaseUnavailable
from app.mongo.database import NotAReplicaSet, connect, require_replica_set
from app.mongo.locks import warn_of_lasting_locks
from app.waiting import Waiting
from tasks.composition import settings

# Seconds between two attempts. Each attempt takes some seconds itself.
_PAUSE = 1.0


def watch_broker() -> None:
    """Logs from now on when this process waits for the broker."""
    broker.watch(settings().redis_url)


def await_database(stopping: Event | None = None) -> None:
    """Returns when the database answers, or the event is set.

    A standalone server ends the process with one line. A server that keeps locks for long causes a warning.
    """
    stopping = stopping or Event()
    # A separate connection, closed before a worker forks.
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
