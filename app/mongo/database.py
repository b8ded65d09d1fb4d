"""The connection to MongoDB, its guarantees, and transactions."""

from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

import pymongo
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from app.errors import DatabaseUnavailable, OrderServiceError, StockBusy
from app.mongo.heartbeats import Heartbeats, heartbeats_of, is_standalone
from app.mongo.outages import is_outage, reports_outages

Document = dict[str, Any]
Transaction = ClientSession
OrderDatabase = Database[Document]

T = TypeVar("T")

# Seconds: how soon a server that says nothing is missed, together with the time to connect, how long a
# transaction may take with all of its repetitions, and how long it is repeated because of write conflicts.
_HEARTBEAT = 2.0
_TRANSACTION = 15.0
_PATIENCE = 5.0
WRITE_CONFLICT = 112

DEFAULT_DATABASE = "orders"


class NotAReplicaSet(OrderServiceError):
    """The database is a standalone server, which has neither transactions nor change streams."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"The MongoDB at {address} is a standalone server, and the service needs a replica set: start "
            "mongod with --replSet rs0, run rs.initiate() once, and add ?replicaSet=rs0 to MONGO_URI."
        )


def connect(uri: str, *, patience: float | None = 10.0) -> OrderDatabase:
    """The database that the URI names (`orders` if it names none). Connects on first use.

    A write is acknowledged when a majority has it in the journal; a read sees only what a majority has.
    So nothing acknowledged is lost in a failover, and no worker acts on an order that may be rolled back. A
    server that is connected and says nothing for `patience` seconds counts as gone, and a majority that has
    not got the write after half of them as one that may never get it; None waits for ever, as the building of
    an index may need. A server that does not answer heartbeats either is given up sooner.
    """
    client: MongoClient[Document] = MongoClient(
        uri,
        w="majority",
        journal=True,
        readConcernLevel="majority",
        tz_aware=True,
        serverSelectionTimeoutMS=3_000,
        connectTimeoutMS=3_000,
        heartbeatFrequencyMS=int(_HEARTBEAT * 1000),
        socketTimeoutMS=int(patience * 1000) if patience else None,
        wTimeoutMS=int(patience * 500) if patience else 0,
        connect=False,
        appname="order-service",
        event_listeners=[Heartbeats()],
    )
    return client.get_default_database(DEFAULT_DATABASE)


def transact(
    database: Database[Document], work: Callable[[Transaction], T], patience: float = _PATIENCE
) -> T:
    """Runs the work in one transaction, and starts again after a write conflict or a change of primary.

    After `patience` seconds a further write conflict raises StockBusy: a process that died may hold a lock
    for as long as MongoDB lets a transaction live. With 0 the work runs once.
    """
    began = monotonic()

    def attempt(transaction: Transaction) -> T:
        try:
            return work(transaction)
        except OperationFailure as error:
            if error.code == WRITE_CONFLICT and monotonic() - began >= patience:
                raise StockBusy("Another transaction is changing the stock. Try again.") from error
            raise

    try:
        with pymongo.timeout(_TRANSACTION), database.client.start_session() as session:
            return session.with_transaction(
                attempt, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority", j=True)
            )
    except PyMongoError as error:
        if error.has_error_label("TransientTransactionError") or is_outage(error):
            raise DatabaseUnavailable("The database cannot be reached.") from error
        raise


def require_replica_set(database: Database[Document]) -> None:
    """Checks that the database is a replica set or a cluster, which have transactions and change streams.

    Raises NotAReplicaSet, DatabaseUnavailable.
    """
    try:
        hello = _hello(database)
    except DatabaseUnavailable:
        if address := heartbeats_of(database).standalone:
            raise NotAReplicaSet(address) from None
        raise
    if is_standalone(hello):
        raise NotAReplicaSet("{}:{}".format(*(database.client.address or ("", ""))))


@reports_outages
def _hello(database: Database[Document]) -> Document:
    return database.client.admin.command("hello")


def fault_of(database: Database[Document]) -> str | None:
    """Why the database cannot be used now. None if the primary of a replica set answers."""
    try:
        require_replica_set(database)
    except NotAReplicaSet as fact:
        return str(fact)
    except (DatabaseUnavailable, PyMongoError):
        return "unreachable"
    return None
