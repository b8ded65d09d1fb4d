"""The query for a list of orders, and its translation into MongoDB conditions."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from bson import ObjectId

from app.clock import id_at
from app.mongo.database import Document
from app.orders.personal_index import PersonalIndex
from app.orders.values import ORDER_ID

# Every list index is partial on this.
LIVE: Document = {"visible": True}

# The sum of the refunds that have failed.
_FAILED: Document = {
    "$sum": {
        "$map": {
            "input": {"$cond": [{"$isArray": "$refunds"}, "$refunds", []]},
            "in": {"$cond": [{"$eq": ["$$this.status", "failed"]}, "$$this.amount", 0]},
        }
    }
}
# A cancelled order owes no money once all captured money is refunded. Any other order owes none once it has
# refunded as much as its failed refunds, by retries or by other refunds.
OWES_NO_MONEY: Document = {
    "$expr": {
        "$gte": [
            "$payment.refundedAmount",
            {
                "$cond": [
                    {"$eq": ["$status", "cancelled"]},
                    "$payment.capturedAmount",
                    {"$min": ["$payment.capturedAmount", _FAILED]},
                ]
            },
        ]
    }
}


# A sort by the last change passes over damaged orders that have no such time.
_EARLIEST, _LATEST = datetime.fromtimestamp(0, UTC), datetime(9999, 12, 31, tzinfo=UTC)


class OrderQuery(NamedTuple):
    """The query for a page of orders. An order has to match all filters.

    `by_update` sorts by the last change instead of the creation. `after` is the last id of the previous
    page, and `after_update` the time of that order's last change. `anything` is any one key of an order.
    An order needs all `tags`. `held` asks for orders with a hold or without. `overdue` asks for orders
    with a step past its deadline at `overdue_at`, or without.
    """

    limit: int = 25
    descending: bool = True
    by_update: bool = False
    after: str | None = None
    after_update: datetime | None = None
    user_id: str | None = None
    statuses: tuple[str, ...] = ()
    payment_status: str | None = None
    product_id: str | None = None
    reference: str | None = None
    number: str | None = None
    email: str | None = None
    tracking_number: str | None = None
    anything: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    updated_from: datetime | None = None
    updated_to: datetime | None = None
    tags: tuple[str, ...] = ()
    held: bool | None = None
    overdue: bool | None = None
    overdue_at: datetime | None = None

    @property
    def sort(self) -> list[tuple[str, int]]:
        """The fields of the sort. A number has one order, so its page needs no sort."""
        if self.number is not None:
            return []
        direction = -1 if self.descending else 1
        return [(field, direction) for field in (("updatedAt", "_id") if self.by_update else ("_id",))]


def conditions(query: OrderQuery, index: PersonalIndex, numbered: str | None = None) -> Document:
    """The query as MongoDB conditions.

    A query for any key has one branch for each kind of key, and one for a tracking number has two. Each
    branch has all conditions and reads an index of its own. `numbered` is the id of the order with the number
    that the query asks for.
    """
    common = {**LIVE, **_exact(query), **_changed(query)}
    if query.email is not None:
        common["emailKey"] = _one_of(index.keys_of(query.email))
    if query.tags:
        common["tags"] = {"$all": list(query.tags)}
    if query.held is not None:
        common["holds.code"] = {"$exists": query.held}
    if query.overdue is not None:
        late = {"$lt": query.overdue_at}
        common["dueBy"] = late if query.overdue else {"$not": late}
    bounds = _created(query)
    branches = [{**common, "_id": bounds} if bounds else common]
    if query.tracking_number is not None:
        branches = _branched(branches, _tracked_by(query.tracking_number))
    if query.anything is not None:
        branches = _branched(branches, list(_any_of(query.anything, index, numbered)))
    return branches[0] if len(branches) == 1 else {"$or": branches}


def _branched(branches: Sequence[Document], keys: Sequence[Document]) -> list[Document]:
    """Each of the branches with each of the keys."""
    return [
        # A branch may have a condition on the same field.
        {**branch, **key} if branch.keys().isdisjoint(key) else {"$and": [branch, key]}
        for branch in branches
        for key in keys
    ]


def _exact(query: OrderQuery) -> Document:
    exact: dict[str, Any] = {
        "userId": query.user_id,
        "payment.status": query.payment_status,
        "products.productId": query.product_id,
        "reference": query.reference,
        "number": query.number,
        "status": _one_of(query.statuses) if query.statuses else None,
    }
    return {field: value for field, value in exact.items() if value is not None}


def _created(query: OrderQuery) -> Document:
    """The bounds of the id, because ids sort by the time of creation."""
    bounds: Document = {}
    if query.created_from:
        bounds["$gte"] = ObjectId(id_at(query.created_from))
    if query.created_to:
        bounds["$lt"] = ObjectId(id_at(query.created_to))
    if query.after and not query.by_update:
        passed = ObjectId(query.after)
        if query.descending:
            bounds["$lt"] = min(passed, bounds.get("$lt", passed))
        else:
            # The last id of the previous page is never before created_from, so it replaces that bound.
            bounds.pop("$gte", None)
            bounds["$gt"] = passed
    return bounds


def _changed(query: OrderQuery) -> Document:
    """The conditions on the time of the last change."""
    bounds: Document = {}
    if query.updated_from or query.by_update:
        bounds["$gte"] = query.updated_from or _EARLIEST
    if query.updated_to or query.by_update:
        bounds["$lt"] = query.updated_to or _LATEST
    if not (query.by_update and query.after and query.after_update):
        return {"updatedAt": bounds} if bounds else {}
    passed, beyond = query.after_update, "$lt" if query.descending else "$gt"
    if query.descending:
        bounds["$lte"] = passed
    else:
        bounds["$gte"] = max(passed, bounds["$gte"])
    rest = [{"updatedAt": {beyond: passed}}, {"_id": {beyond: ObjectId(query.after)}}]
    return {"updatedAt": bounds, "$or": rest}


def _any_of(text: str, index: PersonalIndex, numbered: str | None) -> Iterator[Document]:
    """The conditions for each kind of key that the text can be."""
    ids = [text.lower()] if re.fullmatch(ORDER_ID[0], text.lower()) else []
    if ids or numbered:
        yield {"_id": {"$in": [ObjectId(order_id) for order_id in (*ids, numbered) if order_id]}}
    yield {"reference": text}
    yield from _tracked_by(text)
    if index and "@" in text:
        yield {"emailKey": _one_of(index.keys_of(text))}


def _tracked_by(number: str) -> tuple[Document, Document]:
    """The conditions for the tracking number of an order's newest live shipment, and of any live one."""
    live = {"$elemMatch": {"tracking.number": number, "status": {"$ne": "cancelled"}}}
    # The first of the two reads the index.
    return {"tracking.number": number}, {"shipments.tracking.number": number, "shipments": live}


def _one_of(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else {"$in": list(values)}
