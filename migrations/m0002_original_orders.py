"""Adopts the orders of the service that this one replaces, under the ids that their owners know.

The original kept `{userId, products, totalAmount, status, createdAt, updatedAt}`: the amount a binary float
in major units without a currency, the status `pending`, `shipped` or `delivered`. What becomes of them:

- An order gets the log that leads to its state, by the actor `migration`: created at its `createdAt`, all
  that followed at its `updatedAt`. Nobody is notified.
- A `pending` one becomes `confirmed`: accepted and waiting to be shipped, which is what it was. Left
  `pending` it would be charged a second time, since the original's queue took payments and did not note them,
  or it would expire at once. It can be shipped or cancelled as before. Let that queue run dry first.
- Its payment and its stock stay `pending` on this service's books, under the payment method `original`: this
  service took neither money nor goods for it, so it can give none back.
- The amount is the shortest decimal that means the stored float, rounded half up to the decimals of
  `DEFAULT_CURRENCY`.
- What cannot be an order here (no lines, a negative amount, an unknown status, …) moves as it is to the
  collection `legacy_rejects`, with the reasons.

Each order is replaced in one write on the condition that it is still in its old form, so the migration can be
cut off anywhere and run again. Lists sort by id; the original's ids tell the second of creation, no more.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from itertools import islice
from typing import TYPE_CHECKING, Any

from bson import CodecOptions, Decimal128, ObjectId
from bson.codec_options import DatetimeConversion
from pymongo import DeleteOne, ReplaceOne

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from app.config import Settings
    from app.migrations import Progress

    Document = dict[str, Any]

BATCH = 500
NAMED = 20
ACTOR = "migration"
METHOD = "original"
# Status there → the statuses here that follow on `pending`, each reached by the event of its name.
JOURNEY = {
    "pending": ("confirmed",),
    "shipped": ("confirmed", "shipped"),
    "delivered": ("confirmed", "shipped", "delivered"),
}
# The decimals of the currencies (ISO 4217) that do not have two.
DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
}
LONGEST_ID, MOST_LINES, MOST_UNITS, MOST_MONEY = 128, 200, 1_000_000, 10**10
# A time that datetime cannot hold is a fault of its order, not the end of the migration.
_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, tzinfo=UTC, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
OLD_FORM: Document = {"events": {"$exists": False}}


class Unfit(ValueError):
    """A field of the old document that no order can have; says which and why."""


def upgrade(database: Database[Document], settings: Settings, progress: Progress) -> list[str]:
    """Works through the collection once, in batches; names what was rejected."""
    orders = database.get_collection("orders", codec_options=_CODEC)
    rejects = database["legacy_rejects"]
    total, done, kept = orders.count_documents(OLD_FORM), 0, 0
    old = orders.find(OLD_FORM, batch_size=BATCH).sort("_id")
    while batch := list(islice(old, BATCH)):
        adopted, rejected = [], []
        for document in batch:
            faults, order = _adopted(document, settings.default_currency)
            if order:
                adopted.append(ReplaceOne({"_id": document["_id"], **OLD_FORM}, order))
            else:
                rejected.append(
                    {"_id": document["_id"], "faults": faults, "document": document, "at": _now()}
                )
        if rejected:
            rejects.bulk_write(
                [ReplaceOne({"_id": reject["_id"]}, reject, upsert=True) for reject in rejected]
            )
        removed = [DeleteOne({"_id": reject["_id"], **OLD_FORM}) for reject in rejected]
        orders.bulk_write([*adopted, *removed], ordered=False)
        done += len(batch)
        kept += len(adopted)
        progress(done, total)
    return [*([f"adopted {kept} orders"] if done else []), *_rejections(database)]


def _rejections(database: Database[Document]) -> Iterator[str]:
    rejects = database["legacy_rejects"]
    for reject in rejects.find().sort("_id").limit(NAMED):
        yield f"rejected {reject['_id']}: {'; '.join(reject['faults'])}"
    count = rejects.count_documents({})
    if count > NAMED:
        yield f"and {count - NAMED} more, all of them in legacy_rejects"


def _adopted(old: Document, currency: str) -> tuple[list[str], Document | None]:
    """What is wrong with the old document, or the new one."""
    faults: list[str] = []

    def read(reader: Any, *arguments: Any) -> Any:
        try:
            return reader(*arguments)
        except Unfit as fault:
            faults.append(str(fault))
            return None

    key = read(_key, old["_id"])
    user = read(_name, "userId", old.get("userId"))
    products = read(_products, old.get("products"))
    amount = read(_amount, old.get("totalAmount"), currency)
    journey = read(_journey, old.get("status", "pending"))
    born = key.generation_time if key else None
    created_at = read(_time, "createdAt", old.get("createdAt") or born)
    updated_at = read(_time, "updatedAt", old.get("updatedAt") or created_at)
    if faults:
        return faults, None
    data = {
        "userId": user,
        "products": products,
        "totalAmount": amount,
        "currency": currency,
        "paymentMethod": METHOD,
    }
    log = _log(str(key), created_at, max(created_at, updated_at), data, journey)
    return [], {
        "_id": key,
        "userId": user,
        "products": products,
        "totalAmount": amount,
        "currency": currency,
        "status": journey[-1],
        "payment": {"status": "pending", "capturedAmount": 0, "refundedAmount": 0, "method": METHOD},
        "stock": {"status": "pending"},
        "version": len(log),
        "publicVersion": len(log),
        "createdAt": created_at,
        "updatedAt": log[-1]["at"],
        "events": log,
        "visible": True,
        "announced": len(log),
        "attempts": 0,
    }


def _log(
    order_id: str, created_at: datetime, updated_at: datetime, data: Document, journey: tuple[str, ...]
) -> list[Document]:
    """The events from the creation on, each hash over the one before, the first over the order's id."""
    happened: list[tuple[str, datetime, Document]] = [("order.created", created_at, data)]
    happened += [(f"order.{status}", updated_at, {}) for status in journey]
    log: list[Document] = []
    previous = order_id
    for sequence, (kind, at, said) in enumerate(happened, 1):
        previous = _digest([previous, sequence, kind, at, ACTOR, said])
        event = {"sequence": sequence, "type": kind, "at": at, "actor": ACTOR, "data": said, "hash": previous}
        log.append(event)
    return log


def _digest(value: Any) -> str:
    """SHA-256 (hex) of a value's JSON with sorted keys and no white space, times as RFC 3339."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_to_text)
    return hashlib.sha256(text.encode()).hexdigest()


def _to_text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")[:23] + "Z"


def _now() -> datetime:
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _key(value: Any) -> ObjectId:
    if not isinstance(value, ObjectId):
        raise Unfit("_id is not an ObjectId")
    return value


def _name(field: str, value: Any) -> str:
    if isinstance(value, ObjectId):
        return str(value)
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_ID:
        raise Unfit(f"{field} is not a text of 1 to {LONGEST_ID} characters")
    return value


def _products(value: Any) -> list[Document]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_LINES:
        raise Unfit(f"products is not a list of 1 to {MOST_LINES} lines")
    return [_line(f"products[{index}]", line) for index, line in enumerate(value)]


def _line(place: str, value: Any) -> Document:
    if not isinstance(value, dict):
        raise Unfit(f"{place} is not a line")
    quantity = value.get("quantity")
    if isinstance(quantity, bool) or not isinstance(quantity, int | float):
        raise Unfit(f"{place}.quantity is not a number")
    if quantity % 1 or not 1 <= quantity <= MOST_UNITS:
        raise Unfit(f"{place}.quantity is not a whole number from 1 to {MOST_UNITS}")
    return {"productId": _name(f"{place}.productId", value.get("productId")), "quantity": int(quantity)}


def _amount(value: Any, currency: str) -> int:
    try:
        exact = value.to_decimal() if isinstance(value, Decimal128) else Decimal(repr(value))
        fits = not isinstance(value, bool) and 0 <= exact <= MOST_MONEY
    except InvalidOperation:
        fits = False
    if not fits:
        raise Unfit(f"totalAmount is not a number from 0 to {MOST_MONEY}")
    decimals = next((number for number, codes in DECIMALS.items() if currency in codes), 2)
    return int(exact.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP).scaleb(decimals))


def _journey(status: Any) -> tuple[str, ...]:
    if not isinstance(status, str) or status not in JOURNEY:
        raise Unfit(f"status is none of {', '.join(JOURNEY)}")
    return JOURNEY[status]


def _time(field: str, value: Any) -> datetime | None:
    if value is not None and not isinstance(value, datetime):
        raise Unfit(f"{field} is not a date")
    return value
