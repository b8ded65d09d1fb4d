"""Orders as the service itself would store them, without the way through HTTP."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from app.clock import now
from app.config import Settings
from app.orders.model import Change, Order, Personal, advance, create
from app.orders.numbers import new_numbered_id, number_of
from app.orders.personal_index import PersonalIndex
from app.orders.store import Orders

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from pymongo.database import Database

Document = dict[str, Any]

PRODUCTS = 100
ORDERS_OF_A_USER = 40
SPACING = timedelta(milliseconds=20)
CHUNK = 1000
CONFIRMED = (
    Change("payment.authorized", {"reference": "sandbox_000000000000000000000000"}),
    Change("stock.decremented"),
    Change("payment.captured", {"capturedAmount": 20000}),
    Change("order.confirmed"),
)


class _Recorder:
    """Stands where the collection would, and keeps what it is given to insert."""

    def __init__(self) -> None:
        self.documents: list[Document] = []

    def insert_many(self, documents: Sequence[Document], **_: object) -> None:
        self.documents.extend(documents)


def a_user(count: int) -> str:
    """One of the users among whom that many seeded orders are shared, 40 to each."""
    return _user(count // 2, count)


def a_product(number: int) -> str:
    """A product that a seeded order has a line of."""
    return f"product-{number % PRODUCTS:02d}"


def a_reference(number: int) -> str:
    """The reference of a seeded order, which no other one has."""
    return f"reference-{number:08d}"


def an_email(number: int) -> str:
    """The address of a seeded order, which no other one has."""
    return f"customer-{number}@example.org"


def a_parcel(number: int) -> str:
    """The tracking number of a seeded order, which no other one has. Every tenth order has one."""
    return f"parcel-{number // 10:08d}"


def free_id(at: datetime, taken: set[str]) -> str:
    """The id of a new order whose number is not taken yet. Takes it."""
    while (number := number_of(order_id := new_numbered_id(at))) in taken:
        pass
    taken.add(number)
    return order_id


def again(document: Document) -> Document:
    """The document as one of another order."""
    key = ObjectId()
    return {**document, "_id": key, "number": str(key)[-11:]}


def sample() -> Document:
    """One order as a POST of the load generator stores it."""
    return next(documents_of(orders(1)))


def seed(database: Database[Document], count: int) -> None:
    """Store that many confirmed orders, of which every tenth is shipped."""
    documents = documents_of(_confirmed(count))
    while chunk := list(islice(documents, CHUNK)):
        database.orders.insert_many(chunk, ordered=False)


def _confirmed(count: int) -> Iterator[Order]:
    for number, order in enumerate(orders(count, keyed=True)):
        confirmed = advance(order, order["createdAt"], "system", CONFIRMED)
        shipment = Change("order.shipped", {"tracking": {"number": a_parcel(number)}})
        yield advance(confirmed, order["createdAt"], "shop", [shipment] if number % 10 == 9 else [])


def orders(count: int, *, keyed: bool = False) -> Iterator[Order]:
    """That many new orders, as old as if they had come in one by one. `keyed` gives each a reference
    and an email."""
    begin, taken = now() - count * SPACING, set[str]()
    for number in range(count):
        at = begin + number * SPACING
        stated = _stated(number, count) | ({"reference": a_reference(number)} if keyed else {})
        personal = Personal(salt="salt", email=an_email(number)) if keyed else None
        yield create(free_id(at, taken), at, "anonymous", stated, personal)


def documents_of(made: Iterable[Order]) -> Iterator[Document]:
    """Each order as a POST would store it."""
    recorder = _Recorder()
    secret = Settings.from_env({"AUTH": "off"}).personal_index_key or ""
    store = Orders({"orders": recorder}, PersonalIndex(secret))  # type: ignore[arg-type]
    for order in made:
        store.add(order, order["createdAt"] + timedelta(days=365), None)
        yield recorder.documents.pop()


def _stated(number: int, count: int) -> dict[str, Any]:
    return {
        "userId": _user(number, count),
        "products": [
            {"productId": a_product(number), "quantity": 2},
            {"productId": a_product(number + PRODUCTS // 2), "quantity": 1},
        ],
        "totalAmount": 20000,
        "currency": "USD",
    }


def _user(number: int, count: int) -> str:
    return f"user-bench-{number % max(1, count // ORDERS_OF_A_USER):08d}"
