"""Orders as the service itself would store them, without the way through HTTP."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from app.clock import new_id, now
from app.orders.model import Change, Order, advance, create
from app.orders.store import Orders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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


def sample() -> Document:
    """One order as a POST of the load generator stores it."""
    return next(documents_of(orders(1)))


def seed(database: Database[Document], count: int) -> None:
    """Store that many confirmed orders."""
    made = orders(count, a_reference)
    documents = documents_of(advance(order, order["createdAt"], "system", CONFIRMED) for order in made)
    while chunk := list(islice(documents, CHUNK)):
        database.orders.insert_many(chunk, ordered=False)


def orders(count: int, reference: Callable[[int], str] | None = None) -> Iterator[Order]:
    """That many new orders, as old as if they had come in one by one until now."""
    begin = now() - count * SPACING
    for number in range(count):
        at = begin + number * SPACING
        stated = _stated(number, count) | ({"reference": reference(number)} if reference else {})
        yield create(new_id(at), at, "anonymous", stated, None)


def documents_of(made: Iterable[Order]) -> Iterator[Document]:
    """Each order as a POST would store it."""
    recorder = _Recorder()
    store = Orders({"orders": recorder})  # type: ignore[arg-type]
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
