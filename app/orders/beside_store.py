"""What the document of an order has beside the order and its log: keys, quotes and texts of notes."""

from datetime import datetime
from typing import NamedTuple

from app.mongo.database import Document
from app.orders.model import NoteText

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
        condition |= is_free(beside.key)
        update["$push"] |= pushed(beside.key)
    if beside.note:
        update["$push"]["noteTexts"] = beside.note
    if beside.erased:
        update["$pull"] = {"noteTexts": {"id": beside.erased}}


def is_free(key: CommandKey) -> Document:
    """The condition that the order has no such key."""
    return {"commandKeys": {"$not": {"$elemMatch": {"caller": key.caller, "key": key.key}}}}


def pushed(key: CommandKey) -> Document:
    """The key as a part of `$push`."""
    fields = {name: value for name, value in key._asdict().items() if value is not None}
    return {"commandKeys": {"$each": [fields], "$slice": -_MOST_KEYS}}
