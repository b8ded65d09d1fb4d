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

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from itertools import islice
from typing import Any

from bson import CodecOptions, Decimal128, ObjectId
from bson.codec_options import DatetimeConversion
from pymongo import DeleteOne, ReplaceOne
from pymongo.database import Database

from app.config import Settings
from app.domain.clock import now
from app.domain.money import DECIMALS, to_minor
from app.domain.order import Change, Line, advance, create
from app.storage.database import Document
from app.storage.migrations import Progress

BATCH = 500
NAMED = 20
ACTOR = "migration"
METHOD = "original"
# Status there → the events that lead to the status here.
JOURNEY = {
    "pending": ("order.confirmed",),
    "shipped": ("order.confirmed", "order.shipped"),
    "delivered": ("order.confirmed", "order.shipped", "order.delivered"),
}
LONGEST_ID, MOST_LINES, MOST_UNITS, MOST_MONEY = 128, 200, 1_000_000, 10**10
# A time that datetime cannot hold is a fault of its order, not the end of the migration.
_CODEC: CodecOptions[Document] = CodecOptions(
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
                rejected.append({"_id": document["_id"], "faults": faults, "document": document, "at": now()})
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
    order = create(str(key), created_at, ACTOR, data, None)
    order = advance(order, max(created_at, updated_at), ACTOR, [Change(event) for event in journey])
    document: Document = {"_id": key, **order, "visible": True, "announced": order["version"], "attempts": 0}
    del document["id"]
    return [], document


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


def _products(value: Any) -> list[Line]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_LINES:
        raise Unfit(f"products is not a list of 1 to {MOST_LINES} lines")
    return [_line(f"products[{index}]", line) for index, line in enumerate(value)]


def _line(place: str, value: Any) -> Line:
    if not isinstance(value, dict):
        raise Unfit(f"{place} is not a line")
    quantity = value.get("quantity")
    if isinstance(quantity, bool) or not isinstance(quantity, int | float):
        raise Unfit(f"{place}.quantity is not a number")
    if quantity % 1 or not 1 <= quantity <= MOST_UNITS:
        raise Unfit(f"{place}.quantity is not a whole number from 1 to {MOST_UNITS}")
    return Line(productId=_name(f"{place}.productId", value.get("productId")), quantity=int(quantity))


def _amount(value: Any, currency: str) -> int:
    try:
        exact = value.to_decimal() if isinstance(value, Decimal128) else Decimal(repr(value))
        fits = not isinstance(value, bool) and 0 <= exact <= MOST_MONEY
    except InvalidOperation:
        fits = False
    if not fits:
        raise Unfit(f"totalAmount is not a number from 0 to {MOST_MONEY}")
    return to_minor(exact.quantize(Decimal(1).scaleb(-DECIMALS[currency]), ROUND_HALF_UP), currency)


def _journey(status: Any) -> tuple[str, ...]:
    if not isinstance(status, str) or status not in JOURNEY:
        raise Unfit(f"status is none of {', '.join(JOURNEY)}")
    return JOURNEY[status]


def _time(field: str, value: Any) -> datetime | None:
    if value is not None and not isinstance(value, datetime):
        raise Unfit(f"{field} is not a date")
    return value
