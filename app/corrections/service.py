"""The corrections of an order: amend its fields, write and erase notes, set its tags."""

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from app.errors import AlreadyShipped, Fault, InvalidInput, NotFound, TooManyNotes
from app.orders import OrderServices
from app.orders.commands import Carried, Decision, Request, carry_out, found
from app.orders.corrections import Note, merged
from app.orders.fields import AMENDABLE, MOST_NOTES, PERSONAL
from app.orders.goods import live_shipments
from app.orders.model import Change, NoteText, Order, digest_of, digest_of_note
from app.orders.reading import reads_order
from app.shapes import MOST_PAIRS

_SHIPPED = ("shipped", "delivered")
# Customers can correct nothing once the order is shipped. Nobody can correct these after the first shipment.
_UNTIL_SHIPPED = frozenset({"shippingAddress"})


class WrittenNote(NamedTuple):
    """A note with its text."""

    note: Note
    text: str


@reads_order
def amend(
    services: OrderServices, order_id: str, patch: dict[str, Any], request: Request, *, by_shop: bool
) -> Carried:
    """Applies a merge patch (RFC 7396) to the amendable fields.

    Raises InvalidInput if the result breaks a bound, AlreadyShipped, and as `carry_out` does.
    """

    def decide(order: Order) -> Decision | None:
        held: dict[str, Any] = {**order.get("personal", {}), **order}
        before = {name: held[name] for name in AMENDABLE if name in held}
        after = merged(before, patch)
        fields = sorted(name for name in AMENDABLE if before.get(name) != after.get(name))
        if not fields:
            return None
        _require_bounds(after)
        _require_unshipped(order, fields, by_shop=by_shop)
        data: dict[str, Any] = {"fields": fields}
        data |= {name: after[name] for name in fields if name in after and name not in PERSONAL}
        personal: Any = None
        if not set(fields).isdisjoint(PERSONAL):
            personal = {name: after[name] for name in PERSONAL if name in after}
            personal["salt"] = secrets.token_hex(16)
            data["personalDigest"] = digest_of(personal)
        return Decision([Change("order.amended", data)], personal=personal)

    return carry_out(services, order_id, "amend", request, decide)


@reads_order
def tag(services: OrderServices, order_id: str, tags: Sequence[str], request: Request) -> Carried:
    """Replaces the tags of the order. Raises as `carry_out` does."""

    def decide(order: Order) -> Decision | None:
        present, wanted = set(order.get("tags", ())), set(tags)
        if present == wanted:
            return None
        data = {"added": sorted(wanted - present), "removed": sorted(present - wanted)}
        return Decision([Change("order.tagged", data)])

    return carry_out(services, order_id, "tag", request, decide)


@reads_order
def add_note(
    services: OrderServices, order_id: str, text: str, visibility: str, request: Request
) -> tuple[Carried, WrittenNote]:
    """Adds a note. Raises TooManyNotes, and as `carry_out` does."""

    def decide(order: Order) -> Decision:
        notes = order.get("notes", ())
        if len(notes) >= MOST_NOTES:
            raise TooManyNotes(f"An order can have at most {MOST_NOTES} notes. Erased ones count.")
        note = NoteText(id=f"{order['id']}-n{len(notes) + 1}", salt=secrets.token_hex(16), text=text)
        data = {"noteId": note["id"], "visibility": visibility, "textDigest": digest_of_note(note)}
        return Decision([Change("note.added", data)], made=note["id"], note=note)

    carried = carry_out(services, order_id, "note", request, decide)
    # The request of a replay has the same text, since it has the same digest.
    return carried, WrittenNote(_note(carried.order, carried.made), text)


@reads_order
def notes_of(services: OrderServices, order_id: str, *, for_shop: bool) -> list[WrittenNote]:
    """The notes that are not erased, oldest first; for customers only their own. Raises NotFound."""
    order = found(services.store.with_notes(order_id))
    texts = {text["id"]: text["text"] for text in order.get("noteTexts", ())}
    return [
        WrittenNote(note, texts[note["id"]])
        for note in order.get("notes", ())
        if note["id"] in texts and (for_shop or note["visibility"] == "customer")
    ]


@reads_order
def erase_note(services: OrderServices, order_id: str, note_id: str, request: Request) -> None:
    """Erases the text of a note for good. Raises NotFound, and as `carry_out` does."""

    def decide(order: Order) -> Decision:
        if "erased" in _note(order, note_id):
            raise NotFound("The note does not exist.")
        services.command_keys.forget(order["id"], note_id)
        return Decision([Change("note.erased", {"noteId": note_id})], erased=note_id)

    carry_out(services, order_id, "erase_note", request, decide)


def _note(order: Order, note_id: str | None) -> Note:
    for note in order.get("notes", ()):
        if note["id"] == note_id:
            return note
    raise NotFound("The note does not exist.")


def _require_bounds(fields: dict[str, Any]) -> None:
    if len(fields.get("metadata", {})) > MOST_PAIRS:
        raise InvalidInput(Fault("/metadata", f"must have at most {MOST_PAIRS} pairs"))


def _require_unshipped(order: Order, fields: list[str], *, by_shop: bool) -> None:
    if order["status"] in _SHIPPED and not by_shop:
        raise AlreadyShipped("The order is shipped. Only the shop can still correct it.")
    if (fixed := _UNTIL_SHIPPED.intersection(fields)) and live_shipments(order):
        raise AlreadyShipped(f"The order is shipped, so {', '.join(fixed)} cannot change any more.")
