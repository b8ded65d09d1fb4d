"""No list, no sweep and no look-up may cost more when there is more: the plans of the storage's own queries.

The queries are not written down a second time: the storage is called, what it sent is recorded, and the
server explains that.
"""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from pymongo import MongoClient, monitoring

from app.domain.clock import id_at
from app.domain.order import Change, advance, create
from app.domain.stock import Movement
from app.services.sweeping import all_owed_steps
from app.storage import database as storage
from app.storage import schema
from app.storage.notifications import Notifications
from app.storage.orders import Idempotency, OrderQuery, Orders
from app.storage.sandbox import SandboxBooks
from app.storage.stock import Stock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.domain.order import Order
    from deploy.local.servers import MongoServer

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
FILTERS: dict[str, dict[str, Any]] = {
    "user": {"user_id": "user-7"},
    "status": {"statuses": ("confirmed",)},
    "rare status": {"statuses": ("cancelled",)},
    "statuses": {"statuses": ("pending", "shipped")},
    "payment": {"payment_status": "declined"},
    "product": {"product_id": "product-3"},
    "reference": {"reference": "reference-30"},
    "from": {"created_from": MIDDLE},
    "to": {"created_to": MIDDLE},
}
PAIRS = [
    pair
    for pair in itertools.combinations(FILTERS, 2)
    if len(FILTERS[pair[0]].keys() & FILTERS[pair[1]]) == 0
]


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
        explained = database.command("explain", command, verbosity="executionStats")
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
    """A few thousand orders in all states, of which some owe something and some are deleted."""
    filled = Explained(mongo_server.uri(f"plans_{ObjectId()}"))
    schema.apply(filled.database)
    dice = random.Random(7)
    filled.database["orders"].insert_many([_document(number, dice) for number in range(ORDERS)])
    _fill_stock(filled.database)
    filled.database["notifications"].insert_many(_notification(number) for number in range(ORDERS))
    yield filled
    filled.database.client.drop_database(filled.database.name)
    filled.database.client.close()


@pytest.mark.parametrize("descending", [True, False], ids=["newest first", "oldest first"])
@pytest.mark.parametrize("name", FILTERS)
def test_a_page_by_one_filter_reads_little_more_than_it_shows(
    explained: Explained, name: str, descending: bool
) -> None:
    """First pages and pages behind a cursor alike."""
    filters = FILTERS[name]
    for after in (None, id_at(MIDDLE)):
        query = OrderQuery(limit=25, descending=descending, after=after, **filters)
        (plan,) = explained.plans(lambda query=query: Orders(explained.database).page(query))
        assert plan.scales, plan
        assert plan.documents <= plan.returned + 1, plan
        assert plan.keys <= plan.returned + 3, plan


@pytest.mark.parametrize("after", [None, id_at(MIDDLE)], ids=["first page", "page in the middle"])
@pytest.mark.parametrize("descending", [True, False], ids=["newest first", "oldest first"])
def test_the_plain_list_passes_over_the_deleted_ones(
    explained: Explained, descending: bool, after: str | None
) -> None:
    """Any number of deleted orders in a row costs a page nothing."""
    query = OrderQuery(limit=25, descending=descending, after=after)
    (plan,) = explained.plans(lambda: Orders(explained.database).page(query))
    assert plan.scales, plan
    assert plan.returned == plan.documents == 26, plan
    assert plan.keys <= 27, plan


@pytest.mark.parametrize("descending", [True, False], ids=["newest first", "oldest first"])
@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_a_page_by_two_filters_scans_and_sorts_nothing(
    explained: Explained, pair: tuple[str, str], descending: bool
) -> None:
    """Each pair of filters, from the start and behind a cursor."""
    filters = {**FILTERS[pair[0]], **FILTERS[pair[1]]}
    for after in (None, id_at(MIDDLE)):
        query = OrderQuery(limit=25, descending=descending, after=after, **filters)
        (plan,) = explained.plans(lambda query=query: Orders(explained.database).page(query))
        assert plan.scales, plan


def _orders(call: Callable[[Orders], object]) -> Callable[[storage.Database[Any]], object]:
    return lambda database: call(Orders(database))


def _stock(call: Callable[[Stock, Any], object]) -> Callable[[storage.Database[Any]], object]:
    return lambda database: storage.transact(database, lambda transaction: call(Stock(database), transaction))


def _all_owed(orders: Orders) -> None:
    shop: Any = SimpleNamespace(orders=orders)
    _, after = all_owed_steps(shop, None)
    assert after, "there is more than one page"
    all_owed_steps(shop, after)


ONE = id_at(START)
SOME = [id_at(START + timedelta(seconds=number)) for number in range(20)]
READS: dict[str, Callable[[storage.Database[Any]], object]] = {
    "an order": _orders(lambda orders: orders.get(ONE)),
    "an order with its log": _orders(lambda orders: orders.with_log(ONE)),
    "an order by its key": _orders(lambda orders: orders.under_key("caller", "key-1")),
    "a batch of orders": _orders(lambda orders: orders.load(SOME)),
    "overdue steps": _orders(lambda orders: orders.overdue(END, 50)),
    "everything owed": lambda database: _all_owed(Orders(database)),
    "orders to expire": _orders(lambda orders: orders.pending_since_before(MIDDLE, 50)),
    "orders to purge": _orders(lambda orders: orders.deleted_before(MIDDLE, 50)),
    "a level": lambda database: Stock(database).level("product-1"),
    "levels": lambda database: Stock(database).levels("product-1", 50),
    "movements": lambda database: Stock(database).movements("product-1", None, 50),
    "movements, a later page": lambda database: Stock(database).movements("product-1", id_at(MIDDLE), 50),
    "what is on hand": _stock(lambda stock, transaction: stock.on_hand(["product-1"], transaction)),
    "what orders have taken": _stock(lambda stock, transaction: stock.decrements_of(SOME, transaction)),
    "overdue notifications": lambda database: Notifications(database).overdue(END, 50),
    "a payment": lambda database: SandboxBooks(database).find(ONE),
    "payments since": lambda database: list(SandboxBooks(database).since(MIDDLE)),
}
WRITES: dict[str, Callable[[storage.Database[Any]], object]] = {
    "fixing an answer": _orders(lambda orders: orders.fix_answer(ONE, 1)),
    "postponing": _orders(lambda orders: orders.postpone({ONE: END})),
    "allowing more time": _orders(lambda orders: orders.allow_until(SOME, END)),
    "purging orders": _orders(lambda orders: orders.purge(SOME)),
    "claiming notifications": lambda database: Notifications(database).claim([f"{ONE}:1:log"], START, END),
    "purging notifications": lambda database: Notifications(database).purge(SOME),
}


@pytest.mark.parametrize("name", READS)
def test_a_look_up_or_sweep_reads_little_more_than_it_finds(explained: Explained, name: str) -> None:
    """Every other query of the API and of the sweeps."""
    for plan in explained.plans(lambda: READS[name](explained.database)):
        assert plan.scales, plan
        assert plan.documents <= plan.returned + 1, plan
        assert plan.keys <= 2 * plan.returned + 25, plan


@pytest.mark.parametrize("name", WRITES)
def test_a_write_finds_what_it_changes_by_an_index(explained: Explained, name: str) -> None:
    """Updates and deletions have plans, too."""
    for plan in explained.plans(lambda: WRITES[name](explained.database)):
        assert plan.scales, plan
        assert plan.documents <= len(SOME), plan


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
    if number % 3 == 0:
        document["idempotency"] = Idempotency("caller", f"key-{number}", "0" * 64)._asdict()
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
