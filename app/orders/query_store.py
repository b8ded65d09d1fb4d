"""The query for a list of orders, and its translation into MongoDB conditions."""

from datetime import datetime
from typing import NamedTuple

from bson import ObjectId

from app.clock import id_at
from app.mongo.database import Document

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


class OrderQuery(NamedTuple):
    """The query for a page of orders. An order has to match all filters. `after` is the last id of the
    previous page."""

    limit: int = 25
    descending: bool = True
    after: str | None = None
    user_id: str | None = None
    statuses: tuple[str, ...] = ()
    payment_status: str | None = None
    product_id: str | None = None
    reference: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


def conditions(query: OrderQuery) -> Document:
    """The query as MongoDB conditions. Times become bounds on the ids, because ids sort by time."""
    bounds: Document = {}
    if query.created_from:
        bounds["$gte"] = ObjectId(id_at(query.created_from))
    if query.created_to:
        bounds["$lt"] = ObjectId(id_at(query.created_to))
    if query.after:
        passed = ObjectId(query.after)
        if query.descending:
            bounds["$lt"] = min(passed, bounds.get("$lt", passed))
        else:
            # The last id of the previous page is never before created_from, so it replaces that bound.
            bounds.pop("$gte", None)
            bounds["$gt"] = passed
    exact = {
        "userId": query.user_id,
        "payment.status": query.payment_status,
        "products.productId": query.product_id,
        "reference": query.reference,
    }
    conditions: Document = {**LIVE, **{field: value for field, value in exact.items() if value is not None}}
    if query.statuses:
        conditions["status"] = {"$in": list(query.statuses)} if len(query.statuses) > 1 else query.statuses[0]
    if bounds:
        conditions["_id"] = bounds
    return conditions
