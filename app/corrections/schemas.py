"""The requests and answers of corrections."""
# ruff: noqa: N815 - the names are those of the API

from typing import Any

from marshmallow import fields

from app.http import examples
from app.http.fields import Choice, ListOf, Text
from app.http.schemas import Answer, Input, listed, moment
from app.http.schemas import text as string
from app.http.shaping import patch_fields
from app.orders.fields import LONGEST_NOTE, MOST_TAGS, ORDER, VISIBILITIES
from app.orders.values import TAG

MERGE_PATCH = "application/merge-patch+json"
PATCH: dict[str, Any] = {"email": "eve@example.org", "shippingAddress": {"line2": None, "city": "Berlin"}}


class OrderPatch(Input.from_dict(patch_fields(ORDER))):  # type: ignore[misc]
    """A merge patch (RFC 7396) of an order: the fields to change. `null` removes a field."""

    media_type = MERGE_PATCH


# The body of a request for tags is a list, which a schema cannot describe.
TAGS = ListOf(Text(40, form=TAG), 0, MOST_TAGS)
TAGS_BODY: dict[str, Any] = {
    "content": {
        "application/json": {
            "schema": {
                "type": "array",
                "maxItems": MOST_TAGS,
                "items": {"type": "string", "minLength": 1, "maxLength": 40, "pattern": TAG[0]},
                "description": "All tags of the order. They replace those that it has.",
            },
            "example": ["vip", "gift"],
        }
    }
}
NEW_NOTE = {"text": "Rings at the back door.", "visibility": "customer"}
NOTE_EXAMPLE = {
    "id": f"{examples.ORDER['id']}-n1",
    **NEW_NOTE,
    "actor": "shop",
    "createdAt": "2024-10-04T10:00:00.000Z",
}


class NoteIn(Input):
    """A new note about an order."""

    text = Text(LONGEST_NOTE, lines=True, required=True, doc="The text of the note.")
    visibility = Choice(
        VISIBILITIES,
        load_default="internal",
        doc="`internal` for the shop alone, `customer` to show the note to the customer, too.",
    )


class NoteOut(Answer):
    """A note about an order."""

    id = string("The id of the note.")
    text = string("The text of the note.")
    visibility = string("The readers of the note.", enum=list(VISIBILITIES))
    actor = string("The caller that wrote the note.")
    createdAt = moment("The time of the note.")


class NotesOut(Answer):
    """The notes about an order."""

    notes = listed(fields.Nested(NoteOut), "The notes, oldest first.")
