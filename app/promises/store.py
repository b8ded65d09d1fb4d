"""Works out figures inside the database, so that only numbers of a batch of orders come out of it.

A damaged document must not stop the figures of the others. So an expression reads the events of an order only
if all of them have a type and a time.
"""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from bson import ObjectId
from pymongo.database import Database

from app.clock import id_at
from app.mongo.database import Document
from app.mongo.outages import reports_outages
from app.orders import steps
from app.promises.model import ONCE, Differences

# Milliseconds that one batch may take. It takes far less.
_PATIENCE_MS = 20_000
# The actors of the service itself, and that of the orders of the original service.
_OWN = ["system", "provider", "reconciliation"]
_ADOPTED_BY = "migration"
# The events that start a step or an announcement.
_STARTS = sorted({kind for step in steps.STEPS for kind in step.after})
# After these, the order waits for the customer or for stock.
_WAITS = ["payment.action_required", "stock.backordered"]
# The service adds these by itself, with no work before that could be late.
_UNPROMPTED = ["hold.expired", "refund.requested"]
_EPOCH, _END = datetime.fromtimestamp(0, UTC), datetime(9999, 12, 31, tzinfo=UTC)

# How each event of a refund changes the number of refunds that have failed, and of those under way.
_FAILED = {"refund.failed": 1, "refund.retried": -1}
_PENDING = {"refund.requested": 1, "refund.retried": 1, "refund.failed": -1, "refund.succeeded": -1}

# The kinds of difference that mean that something was done twice.
_DOUBLED = ["payment_doubled", "movement_doubled"]
# `<report id>:` before the rest of a difference's id, which is the same in each report.
_PREFIX = 25


class OrderFigures(NamedTuple):
    """The figures of a batch of orders, the number of them, and the last id."""

    found: Document
    read: int
    last: str


@reports_outages
class Evidence:
    """Reads the logs of orders, the deliveries of webhooks and the differences that reconciliations found."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database

    def count(self, since: datetime, until: datetime, most: int) -> int:
        """The number of orders made in the period, and of differences found in it, up to `most` of each."""
        orders = self._count("orders", _ids(since, until), most)
        return max(orders, self._count("reconciliation_differences", _reported(since, until), most))

    def purged(self, since: datetime, until: datetime) -> int:
        """The number of orders made in the period and purged since."""
        return self._count("purged_orders", _ids(since, until), 0)

    def orders(self, after: str, until: str, limit: int, now: datetime) -> OrderFigures | None:
        """The figures of the next `limit` orders after the first id, before the second; None without any."""
        pipeline: list[Document] = [
            {"$match": {"_id": {"$gt": ObjectId(after), "$lt": ObjectId(until)}}},
            {"$sort": {"_id": 1}},
            {"$limit": limit},
            *_figures(now),
        ]
        found = list(self._database["orders"].aggregate(pipeline, maxTimeMS=_PATIENCE_MS))
        if not found:
            return None
        return OrderFigures(found[0], found[0]["read"], str(found[0]["last"]))

    def webhooks(self, after: str, until: str) -> list[tuple[object, object, int]]:
        """The status, the number of failures and the number of the webhooks about orders after the first id,
        before the second."""
        pipeline: list[Document] = [
            {"$match": {"orderId": {"$gt": after, "$lt": until}}},
            {"$group": {"_id": {"status": "$status", "failures": "$failures"}, "n": {"$sum": 1}}},
        ]
        found = self._database["webhook_deliveries"].aggregate(pipeline, maxTimeMS=_PATIENCE_MS)
        return [(row["_id"].get("status"), row["_id"].get("failures"), row["n"]) for row in found]

    def differences(self, since: datetime, until: datetime) -> Differences:
        """What the reconciliations of the period found. The same one in several reports counts once."""
        stands = {"$match": {**_reported(since, until), "stands": True}}
        kinds = self._aggregate(
            stands,
            {
                "$group": {
                    "_id": {"$substrBytes": ["$_id", _PREFIX, -1]},
                    "kind": {"$first": "$kind"},
                    "repaired": {"$max": {"$eq": ["$repaired", True]}},
                }
            },
            {"$group": {"_id": "$kind", "n": {"$sum": 1}, "repaired": {"$sum": {"$toInt": "$repaired"}}}},
        )
        # Version 0 means that the order does not exist.
        gone = {"$match": {"version": 0, "ids.orderId": {"$regex": "^[0-9a-f]{24}$"}}}
        lost = self._aggregate(stands, gone, {"$group": {"_id": "$ids.orderId"}}, {"$count": "n"})
        twice = {"$match": {"kind": {"$in": _DOUBLED}}}
        pair = {"$group": {"_id": {"kind": "$kind", "order": "$ids.orderId"}}}
        doubled = self._aggregate(stands, twice, pair, {"$count": "n"})
        begun = {"_id": _ids(since, until)["_id"]}
        return Differences(
            by_kind={str(row["_id"]): (row["n"], row["repaired"]) for row in kinds},
            lost=sum(row["n"] for row in lost),
            doubled=sum(row["n"] for row in doubled),
            finished=self._count("reconciliations", {**begun, "status": "finished"}, 0),
            failed=self._count("reconciliations", {**begun, "status": "failed"}, 0),
        )

    def _aggregate(self, *pipeline: Document) -> list[Document]:
        differences = self._database["reconciliation_differences"]
        return list(differences.aggregate(list(pipeline), maxTimeMS=_PATIENCE_MS, allowDiskUse=True))

    def _count(self, collection: str, condition: Document, most: int) -> int:
        # `count_documents` would run an aggregation, which reads every entry of the index.
        limits: Document = {"maxTimeMS": _PATIENCE_MS, "limit": most}
        return self._database.command("count", collection, query=condition, **limits)["n"]


def _ids(since: datetime, until: datetime) -> Document:
    return {"_id": {"$gte": ObjectId(id_at(since)), "$lt": ObjectId(id_at(until))}}


def _reported(since: datetime, until: datetime) -> Document:
    return {"_id": {"$gte": id_at(since), "$lt": id_at(until)}}


def _figures(now: datetime) -> list[Document]:
    """The stages that turn orders into one document with the figures of all of them."""
    return [
        {"$project": {"dueBy": 1, "events": {"$cond": [{"$isArray": "$events"}, "$events", []]}}},
        {"$set": {"readable": _all_of(_is_first_created(), _each("$events", _has_type_and_time()))}},
        {"$set": {"events": {"$cond": ["$readable", "$events", []]}}},
        {"$set": {"adopted": {"$eq": [_first("$events", "actor"), _ADOPTED_BY]}}},
        # The original service did not make these promises.
        {"$set": {"events": {"$cond": ["$adopted", [], "$events"]}}},
        {
            "$set": {
                "types": "$events.type",
                "moving": _filter("$events", {"$or": [_is_in("actor", _OWN), _is_in("type", _STARTS)]}),
                "once": _map(
                    _filter("$events", _is_in("type", ONCE)), ["$$this.type", "$$this.data.refundId"]
                ),
                "requested": _filter("$events", _is("refund.requested")),
                "expired": _filter(
                    "$events",
                    _all_of(_is("order.cancelled"), {"$eq": ["$$this.data.cancellation.reason", "expired"]}),
                ),
            }
        },
        {
            "$group": {
                "_id": None,
                "read": {"$sum": 1},
                "last": {"$max": "$_id"},
                "accepted": {"$sum": {"$cond": ["$adopted", 0, 1]}},
                "unreadable": {"$sum": {"$cond": ["$readable", 0, 1]}},
                "doubled": {
                    "$sum": {"$cond": [{"$lt": [_size({"$setUnion": ["$once"]}), _size("$once")]}, 1, 0]}
                },
                "confirming": {"$push": _confirming()},
                "expired": {"$push": _expired_by()},
                "refunding": {"$push": _refunding()},
                "refundsFailed": {"$sum": _counted(_FAILED)},
                "refundsPending": {"$sum": _counted(_PENDING)},
                "gap": {"$max": _longest_gap(now)},
            }
        },
    ]


def _is_first_created() -> Document:
    return {"$eq": [_first("$events", "type"), "order.created"]}


def _has_type_and_time() -> Document:
    """Whether an event has them, and a time with which the database can count."""
    return _all_of(
        {"$eq": [{"$type": "$$this.type"}, "string"]},
        {"$eq": [{"$type": "$$this.at"}, "date"]},
        {"$gte": ["$$this.at", _EPOCH]},
        {"$lt": ["$$this.at", _END]},
    )


def _confirming() -> Document:
    """The milliseconds until the order was confirmed, or null."""
    confirmed = _first(_filter("$events", _is("order.confirmed")), "at")
    return {"$subtract": [confirmed, _first("$events", "at")]}


def _expired_by() -> Document:
    """Why the order was not confirmed in time; null if it did not expire."""
    at_once = {"$eq": ["$$this.at", _first("$expired", "at")]}
    ended_by_hold = {"$gt": [_size(_filter("$events", _all_of(_is("hold.expired"), at_once))), 0]}
    is_paid = {"$in": ["payment.authorized", "$types"]}
    return {
        "$switch": {
            "branches": [
                {"case": {"$eq": ["$expired", []]}, "then": None},
                {"case": ended_by_hold, "then": "hold"},
                {"case": _all_of(is_paid, {"$in": ["stock.decremented", "$types"]}), "then": "capture"},
                {"case": is_paid, "then": "decrement"},
                {"case": {"$in": ["payment.action_required", "$types"]}, "then": "customer"},
            ],
            "default": "authorize",
        }
    }


def _refunding() -> Document:
    """The milliseconds that each refund of the order took."""
    same = {"$eq": ["$$asked.data.refundId", "$$this.data.refundId"]}
    asked = {"$filter": {"input": "$requested", "as": "asked", "cond": same}}
    took = {"$subtract": ["$$this.at", _first(asked, "at")]}
    return _map(_filter("$events", _is("refund.succeeded")), took)


def _longest_gap(now: datetime) -> Document:
    """The longest time without progress of the order, as one document; null without any.

    A gap ends with an event of the service itself, or now while the order owes a step. It begins with the
    last event before that started work or was the service's own. A wait for the customer at the bank, or
    for stock, is no gap.
    """

    def gap(until: Any) -> Document:
        return {
            "ms": {"$subtract": [until, "$$before.at"]},
            "orderId": {"$toString": "$_id"},
            "after": "$$before.type",
            "at": "$$before.at",
        }

    def at(position: Any) -> Document:
        return {"$arrayElemAt": ["$moving", position]}

    works = {"$not": [{"$in": ["$$before.type", _WAITS]}]}
    is_own = {"$in": ["$$event.actor", _OWN]}
    is_prompted = {"$not": [{"$in": ["$$event.type", _UNPROMPTED]}]}
    ended = {
        "$map": {
            "input": {"$range": [1, _size("$moving")]},
            "as": "n",
            "in": {
                "$let": {
                    "vars": {"before": at({"$subtract": ["$$n", 1]}), "event": at("$$n")},
                    "in": {"$cond": [_all_of(works, is_own, is_prompted), gap("$$event.at"), None]},
                }
            },
        }
    }
    owes = {"$eq": [{"$type": "$dueBy"}, "date"]}
    is_known = {"$gt": [_size("$moving"), 0]}
    still = {
        "$let": {
            "vars": {"before": at(-1)},
            "in": {"$cond": [_all_of(works, owes, is_known), gap(now), None]},
        }
    }
    return {"$max": {"$concatArrays": [ended, [still]]}}


def _counted(weights: dict[str, int]) -> Document:
    """The sum of the weights of the events, by their types."""
    branches = [{"case": _is(kind), "then": weight} for kind, weight in weights.items()]
    return {"$sum": _map("$events", {"$switch": {"branches": branches, "default": 0}})}


def _is(event_type: str) -> Document:
    return {"$eq": ["$$this.type", event_type]}


def _is_in(field: str, values: Any) -> Document:
    return {"$in": [f"$$this.{field}", list(values)]}


def _all_of(*conditions: Document) -> Document:
    return {"$and": list(conditions)}


def _each(events: Any, condition: Document) -> Document:
    return {"$allElementsTrue": [_map(events, condition)]}


def _filter(events: Any, condition: Document) -> Document:
    return {"$filter": {"input": events, "cond": condition}}


def _map(events: Any, value: Any) -> Document:
    return {"$map": {"input": events, "in": value}}


def _size(events: Any) -> Document:
    return {"$size": [events]}


def _first(events: Any, field: str) -> Document:
    """The field of the first of these events."""
    return {"$let": {"vars": {"first": {"$arrayElemAt": [events, 0]}}, "in": f"$$first.{field}"}}
