"""A filled database that explains how the server ran what the storage asked of it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import CodecOptions, DatetimeConversion, ObjectId
from pymongo import MongoClient, monitoring

from app import schema
from app.clock import id_at
from app.orders.beside_store import Idempotency
from app.orders.model import Change, advance, create
from app.orders.personal_index import PersonalIndex
from app.stock.model import Movement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.mongo import database as storage
    from app.orders.model import Order
    from deploy.local.servers import MongoServer

INDEX = PersonalIndex("a secret of the tests")
EXPLAINED = ("find", "findAndModify", "update", "delete", "aggregate", "distinct", "count")
SENT_WITH_IT = (
    "lsid",
    "txnNumber",
    "autocommit",
    "startTransaction",
    "readConcern",
    "writeConcern",
    "stmtId",
)
ORDERS = 3_000
START = datetime(2024, 10, 4, 10, tzinfo=UTC)
END = START + timedelta(seconds=ORDERS)
MIDDLE = START + timedelta(seconds=ORDERS / 2)
ROADS = (
    ("order.confirmed", "order.shipped", "order.delivered"),
    ("order.confirmed", "order.shipped", "order.delivered"),
    ("order.confirmed", "order.shipped"),
    ("order.confirmed",),
    ("payment.authorized", "stock.decremented", "payment.captured", "order.confirmed"),
    ("payment.declined", "order.cancelled"),
    (),
)


class Recorder(monitoring.CommandListener):
    """Keeps every command that has a plan."""

    def __init__(self) -> None:
        self.commands: list[dict[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in EXPLAINED:
            kept = {k: v for k, v in event.command.items() if k[0] != "$" and k not in SENT_WITH_IT}
            self.commands.append(kept)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


class Plan:
    """How the server ran one command."""

    def __init__(self, database: storage.Database[Any], command: dict[str, Any]) -> None:
        # The ends of an index's times are no times that Python has.
        lenient = CodecOptions[dict[str, Any]](datetime_conversion=DatetimeConversion.DATETIME_AUTO)
        explained = database.command("explain", command, verbosity="executionStats", codec_options=lenient)
        self.command = command
        self.stages = set(_stages(explained["queryPlanner"]["winningPlan"]))
        stats = explained["executionStats"]
        self.returned: int = stats["nReturned"]
        self.keys: int = stats["totalKeysExamined"]
        self.documents: int = stats["totalDocsExamined"]

    @property
    def scales(self) -> bool:
        """Whether the command neither reads a whole collection nor sorts in memory."""
        return not self.stages & {"COLLSCAN", "SORT"}

    def __repr__(self) -> str:
        return f"{self.command}: {sorted(self.stages)}, {self.keys} keys, {self.documents} documents"


class Explained:
    """A filled database whose every query is recorded and can be explained."""

    def __init__(self, uri: str) -> None:
        self.recorder = Recorder()
        client: MongoClient[Any] = MongoClient(uri, event_listeners=[self.recorder], tz_aware=True)
        self.database = client.get_default_database()

    def plans(self, call: Callable[[], object]) -> list[Plan]:
        """The plans of everything that the call sent; at least one."""
        self.recorder.commands.clear()
        call()
        sent = [single for command in self.recorder.commands for single in _singles(command)]
        assert sent, "the call sent no query"
        return [Plan(self.database, command) for command in sent]


@pytest.fixture(scope="module")
def explained(mongo_server: MongoServer) -> Iterator[Explained]:
    """A few thousand orders in all states with their records; some owe a step and some are deleted."""
    filled = Explained(mongo_server.uri(f"plans_{ObjectId()}"))
    fill(filled.database)
    yield filled
    filled.database.client.drop_database(filled.database.name)
    filled.database.client.close()


def fill(database: storage.Database[Any]) -> None:
    """A few thousand orders in all states, of which some owe something and some are deleted."""
    schema.apply(database)
    dice = random.Random(7)
    database["orders"].insert_many([_document(number, dice) for number in range(ORDERS)])
    _fill_stock(database)
    database["notifications"].insert_many(_notification(number) for number in range(ORDERS))
    events = [(order, event) for order in database["orders"].find() for event in order["events"]]
    database["feed"].insert_many(
        {
            "_id": position,
            "orderId": order["_id"],
            "sequence": event["sequence"],
            "type": event["type"],
            "userId": order["userId"],
        }
        for position, (order, event) in enumerate(events, 1)
    )


def _stages(plan: Any) -> Iterator[str]:
    if isinstance(plan, dict):
        if isinstance(plan.get("stage"), str):
            yield plan["stage"]
        for part in plan.values():
            yield from _stages(part)
    elif isinstance(plan, list):
        for part in plan:
            yield from _stages(part)


def _singles(command: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A write command of several statements as commands of one each, since only those are explained."""
    for kind in ("updates", "deletes"):
        if kind in command:
            yield from ({**command, kind: [statement]} for statement in command[kind])
            return
    yield command


def _document(number: int, dice: random.Random) -> dict[str, Any]:
    at = START + timedelta(seconds=number)
    data = {
        "userId": f"user-{dice.randrange(100)}",
        "products": [{"productId": f"product-{dice.randrange(100)}", "quantity": 1} for _ in range(2)],
        "totalAmount": 1000,
        "currency": "USD",
    }
    if number % 10 == 0:
        data["reference"] = f"reference-{number}"
    road = dice.choice(ROADS)
    order = create(id_at(at), at, "test", data, None)
    order = advance(order, at, "test", [Change(event) for event in road])
    if number % 40 == 0 or ORDERS * 0.2 < number < ORDERS * 0.3:
        order = advance(order, at, "test", [Change("order.deleted", {"deletedAt": at})])
    return _kept(order, number, at)


def _kept(order: Order, number: int, at: datetime) -> dict[str, Any]:
    document: dict[str, Any] = {"_id": ObjectId(order["id"]), **order, "attempts": 0}
    del document["id"]
    if "deletedAt" not in order:
        document["visible"] = True
    if order["status"] in ("pending", "cancelled") and "deletedAt" not in order:
        document["dueBy"] = at + timedelta(seconds=number % 15)
    if number % 150 == 0:
        document["tags"] = ["gift", "vip"]
    if number % 12 == 0:
        document["tracking"] = {"number": f"parcel-{number % 120}"}
    # One user has no personal data, so that erasing them only looks for them.
    if number % 5 == 0 and order["userId"] != "user-7":
        document["personal"] = {"salt": "salt", "email": f"customer-{number % 50}@example.org"}
        document["emailKey"] = INDEX.key_of(document["personal"])
    if number % 3 == 0:
        document["idempotency"] = Idempotency("caller", f"key-{number}", "0" * 64, 1)._asdict()
    return document


def _fill_stock(database: storage.Database[Any]) -> None:
    database["stock"].insert_many(
        {"_id": f"product-{number}", "onHand": 1, "version": 1, "updatedAt": START} for number in range(500)
    )
    rows = (
        Movement(
            id=id_at(START + timedelta(seconds=number)),
            productId=f"product-{number % 20}",
            quantity=-1,
            kind="decrement",
            at=START,
            orderId=id_at(START + timedelta(seconds=number)),
        )
        for number in range(ORDERS)
    )
    database["stock_movements"].insert_many({"_id": ObjectId(row.pop("id")), **row} for row in rows)  # type: ignore[misc]
    database["sandbox_payments"].insert_many(
        {
            "_id": id_at(START + timedelta(seconds=number)),
            "at": START + timedelta(seconds=number),
            "status": "captured",
            "amount": 1000,
            "currency": "USD",
            "captured": 1000,
            "refunded": 0,
            "calls": 1,
        }
        for number in range(ORDERS)
    )


def _notification(number: int) -> dict[str, Any]:
    order_id = id_at(START + timedelta(seconds=number))
    document: dict[str, Any] = {
        "_id": f"{order_id}:1:log",
        "orderId": order_id,
        "sequence": 1,
        "channel": "log",
        "type": "order.created",
        "at": START,
        "attempts": 0,
        "status": "sent",
    }
    return document if number % 10 else {**document, "status": "pending", "dueBy": START}
