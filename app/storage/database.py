"""The connection to MongoDB, its guarantees, and the one place where its failures become a plain fact."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    PyMongoError,
    WriteConcernError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from app.domain.errors import DatabaseUnavailable

Document = dict[str, Any]
Transaction = ClientSession
OrderDatabase = Database[Document]

T = TypeVar("T")

_OUTAGES = (ConnectionFailure, WriteConcernError, ExecutionTimeout)

DEFAULT_DATABASE = "orders"


def connect(uri: str, *, patience: float | None = 10.0) -> OrderDatabase:
    """The database that the URI names (`orders` if it names none). Connects on first use.

    A write is acknowledged when a majority has it in the journal; a read sees only what a majority has.
    So nothing acknowledged is lost in a failover, and no worker acts on an order that may be rolled back. A
    server that is connected and says nothing for `patience` seconds counts as gone; None waits for ever, as
    the building of an index may need.
    """
    client: MongoClient[Document] = MongoClient(
        uri,
        w="majority",
        journal=True,
        readConcernLevel="majority",
        tz_aware=True,
        serverSelectionTimeoutMS=3_000,
        connectTimeoutMS=3_000,
        socketTimeoutMS=None if patience is None else int(patience * 1000),
        connect=False,
        appname="order-service",
    )
    return client.get_default_database(DEFAULT_DATABASE)


@contextmanager
def reachable() -> Iterator[None]:
    """Turns a database that cannot be reached, or cannot confirm a write, into DatabaseUnavailable.

    Inside a transaction a passing fault goes up as it is, to make the transaction start again.
    """
    try:
        yield
    except PyMongoError as error:
        if not error.has_error_label("TransientTransactionError") and _is_outage(error):
            raise DatabaseUnavailable("The database cannot be reached.") from error
        raise


def transact(database: Database[Document], work: Callable[[Transaction], T]) -> T:
    """Runs the work in one transaction, from the start again after a write conflict or a new primary."""
    try:
        with database.client.start_session() as session:
            return session.with_transaction(
                work, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority", j=True)
            )
    except PyMongoError as error:
        if error.has_error_label("TransientTransactionError") or _is_outage(error):
            raise DatabaseUnavailable("The database cannot be reached.") from error
        raise


def _is_outage(error: PyMongoError) -> bool:
    if isinstance(error, BulkWriteError):
        return not error.details.get("writeErrors")
    return isinstance(error, _OUTAGES) or error.has_error_label("RetryableWriteError")


def is_reachable(database: Database[Document]) -> bool:
    """Whether a primary answers now."""
    try:
        database.command("ping")
    except PyMongoError:
        return False
    return True
