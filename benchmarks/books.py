"""The whole books of many confirmed orders, all in agreement, as the service would have kept them."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from app.clock import new_id, now
from app.orders.events import is_public
from app.orders.model import Change, Order, advance, create, quantities
from benchmarks.documents import free_id

if TYPE_CHECKING:
    from datetime import datetime

    from pymongo.database import Database

Document = dict[str, Any]

PRODUCTS = 100
ON_HAND = 1_000_000
SPACING = timedelta(milliseconds=20)
# So old are the last of them: nothing of them can still be under way.
AGE = timedelta(hours=1)
CHUNK = 1_000
AMOUNT = 20_000


def seed_books(database: Database[Document], count: int) -> None:
    """Store that many orders with their movements, payments, notifications and rows of the feed."""
    begin = now() - AGE - count * SPACING
    taken: Counter[str] = Counter()
    numbers: set[str] = set()
    chunk: dict[str, list[Document]] = defaultdict(list)
    for number in range(count):
        order = _order(number, begin + number * SPACING, numbers)
        taken.update(quantities(order))
        _put(chunk, order, number)
        if len(chunk["orders"]) == CHUNK or number == count - 1:
            for name, documents in chunk.items():
                database[name].insert_many(documents, ordered=False)
            chunk.clear()
    for product in (_product(number) for number in range(PRODUCTS)):
        level = {"onHand": ON_HAND - taken[product], "version": 1, "updatedAt": begin}
        database.stock.insert_one({"_id": product, **level})
        row = {"_id": ObjectId(new_id(begin - AGE)), "at": begin - AGE, "kind": "adjustment"}
        database.stock_movements.insert_one({**row, "productId": product, "quantity": ON_HAND})
    database.relay.insert_one({"_id": "events", "place": {"seeded": True}})


def _order(number: int, at: datetime, numbers: set[str]) -> Order:
    order_id = free_id(at, numbers)
    lines = [
        {"productId": _product(number), "quantity": 2},
        {"productId": _product(number + PRODUCTS // 2), "quantity": 1},
    ]
    stated = {"userId": f"user-{number % 1_000}", "products": lines, "totalAmount": AMOUNT, "currency": "USD"}
    changes = [
        Change("payment.authorized", {"reference": f"sandbox_{order_id}"}),
        Change("stock.decremented"),
        Change("payment.captured", {"capturedAmount": AMOUNT}),
        Change("order.confirmed"),
    ]
    return advance(create(order_id, at, "anonymous", stated, None), at, "system", changes)


def _put(chunk: dict[str, list[Document]], order: Order, number: int) -> None:
    order_id, at = order["id"], order["createdAt"]
    key, events = ObjectId(order_id), order["events"]
    document: Document = {"_id": key, **order, "visible": True, "attempts": 0, "announced": order["version"]}
    del document["id"]
    chunk["orders"].append(document)
    chunk["sandbox_payments"].append(
        {
            "_id": order_id,
            "status": "captured",
            "amount": AMOUNT,
            "currency": "USD",
            "captured": AMOUNT,
            "refunded": 0,
            "at": at,
        }
    )
    for product, quantity in quantities(order).items():
        row = {"_id": ObjectId(new_id(at)), "kind": "decrement", "at": at, "orderId": order_id}
        chunk["stock_movements"].append({**row, "productId": product, "quantity": -quantity})
    for event in events:
        fields = {"sequence": event["sequence"], "type": event["type"]}
        position = number * len(events) + event["sequence"]
        chunk["feed"].append({"_id": position, "orderId": key, **fields})
        if is_public(event["type"], event["at"]):
            recorded = {"channel": "log", "at": at, "attempts": 0, "status": "sent", "endedAt": at}
            notification = f"{order_id}:{event['sequence']}:log"
            chunk["notifications"].append({"_id": notification, "orderId": order_id, **fields, **recorded})


def _product(number: int) -> str:
    return f"product-{number % PRODUCTS:02d}"
