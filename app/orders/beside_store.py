"""What the document of an order has beside the order and its log: keys, quotes and texts of notes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bson import ObjectId

from app.mongo.outages import reports_outages

if TYPE_CHECKING:
    from datetime import datetime

    from pymongo.database import Database

    from app.mongo.database import Document
    from app.orders.model import NoteText, Order

# A digest that no body has. So the key stays used, and every further body with it counts as a different one.
NO_BODY = "0" * 64
# The newest keys of commands that an order keeps. Each change adds an event, so only keys of commands that
# change nothing can push out others.
_MOST_KEYS = 1_000


class Idempotency(NamedTuple):
    """The idempotency key of a POST with its caller, and the digest of the body.

    `answered` is the version in the first answer, or None before that answer.
    """

    caller: str
    key: str
    digest: str
    answered: int | None


class QuoteUse(NamedTuple):
    """The one use of a quote: its issuer, its id there, and the time at which it expires."""

    issuer: str
    id: str
    until: datetime


class RefundKey(NamedTuple):
    """The idempotency key of a refund request with its caller, and the digest of the body."""

    caller: str
    key: str
    digest: str
    refund_id: str


class CommandKey(NamedTuple):
    """The idempotency key of another command with its caller, and the digest of the request.

    `version` is that of the answer, and `made` the id of what the command made, if anything.
    """

    caller: str
    key: str
    digest: str
    version: int
    made: str | None = None


class Beside(NamedTuple):
    """What a change writes beside the log. `erased` is the id of a note whose text is erased."""

    refund_key: RefundKey | None = None
    key: CommandKey | None = None
    note: NoteText | None = None
    erased: str | None = None


NOTHING = Beside()


def add(beside: Beside, condition: Document, update: Document) -> None:
    """Adds it to the compare-and-set of a change."""
    if beside.refund_key:
        update["$push"]["refundKeys"] = beside.refund_key._asdict()
    if beside.key:
        condition |= _is_free(beside.key)
        update["$push"] |= _pushed(beside.key)
    if beside.note:
        update["$push"]["noteTexts"] = beside.note
    if beside.erased:
        update["$pull"] = {"noteTexts": {"id": beside.erased}}


@reports_outages
class CommandKeys:
    """The idempotency keys of commands. Callers read an order before its keys, so they see only their own."""

    def __init__(self, database: Database[Document]) -> None:
        self._orders = database["orders"]

    def find(self, order_id: str, caller: str, key: str) -> CommandKey | None:
        """The command on the order with this key, if there was one.

        Read the order first. If another call uses the key after that, the compare-and-set of the order fails.
        """
        document = self._orders.find_one(
            {"_id": ObjectId(order_id)}, {"commandKeys": {"$elemMatch": {"caller": caller, "key": key}}}
        )
        found = document and document.get("commandKeys")
        return CommandKey(**found[0]) if found else None

    def keep(self, order: Order, key: CommandKey) -> bool:
        """Stores the key of a command that changes nothing. False if the order has another version by now."""
        condition = {"_id": ObjectId(order["id"]), "version": order["version"], **_is_free(key)}
        return self._orders.update_one(condition, {"$push": _pushed(key)}).matched_count == 1

    def forget(self, order_id: str, made: str) -> None:
        """Erases the digest of the request that made this, since it could reveal the text of a note."""
        condition = {"_id": ObjectId(order_id), "commandKeys.made": made}
        self._orders.update_one(condition, {"$set": {"commandKeys.$.digest": NO_BODY}})


def _is_free(key: CommandKey) -> Document:
    """The condition that the order has no such key."""
    return {"commandKeys": {"$not": {"$elemMatch": {"caller": key.caller, "key": key.key}}}}


def _pushed(key: CommandKey) -> Document:
    """The key as a part of `$push`."""
    fields = {name: value for name, value in key._asdict().items() if value is not None}
    return {"commandKeys": {"$each": [fields], "$slice": -_MOST_KEYS}}
