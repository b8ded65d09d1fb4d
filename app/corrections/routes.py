"""The routes of corrections: amend an order, tag it, write notes about it."""

from typing import Any

from flask import Response, g, request
from marshmallow import ValidationError

from app.corrections import service as correcting
from app.corrections.schemas import (
    MERGE_PATCH,
    NEW_NOTE,
    NOTE_EXAMPLE,
    PATCH,
    TAGS,
    TAGS_BODY,
    NoteIn,
    NoteOut,
    NotesOut,
    OrderPatch,
)
from app.errors import InvalidInput, NotFound
from app.http import examples, headers, pointers
from app.http.answers import REPLAYED, answer, empty, located, location
from app.http.authentication import require_json_accepted
from app.http.json_body import read_json
from app.http.parsing import Blueprint
from app.http.request_context import caller, may, require_own_email, services
from app.http.route_metadata import declares
from app.orders import public, schemas
from app.orders.command_requests import as_request, headers_of
from app.orders.commands import Carried, Request
from app.orders.reading import reading
from app.orders.routes import ETAG

blueprint = Blueprint("corrections", __name__, description="Corrections of orders.")
blueprint.before_request(require_json_accepted)

_COMMAND = (
    "bad_header",
    "not_found",
    "history_full",
    "stale_version",
    "idempotency_key_reused",
    "order_unreadable",
)
_TAGGED: dict[str, Any] = {"tags": ["gift", "vip"], "version": 2}
_HEADERS = ("If-Match", "Idempotency-Key")


@blueprint.patch("/orders/<order_id>")
@blueprint.arguments(OrderPatch(), content_type=MERGE_PATCH, example=PATCH)
@blueprint.response(200, schemas.Order, headers={**ETAG, **REPLAYED}, example=examples.ORDER | {"version": 2})
@declares("orders:write", *_COMMAND, "already_shipped", "if_match_required", headers=_HEADERS)
def amend_order(patch: Any, order_id: str) -> Response:
    """Correct an order

    Changes the fields of the body (RFC 7396); `null` removes one. The delivery address can be changed until
    the first shipment. Once the order is shipped, customers can change nothing. If nothing changes, there is
    no event.
    """
    require_own_email(patch.get("email"))
    carried = correcting.amend(
        services().orders,
        order_id,
        patch,
        _request("amend"),
        by_shop=may("orders:admin"),
    )
    return _order(carried)


@blueprint.put("/orders/<order_id>/tags")
@blueprint.doc(requestBody=TAGS_BODY)
@blueprint.response(200, schemas.Order, headers={**ETAG, **REPLAYED}, example=examples.ORDER | _TAGGED)
@declares("orders:admin", *_COMMAND, "if_match_required", headers=_HEADERS)
def set_order_tags(order_id: str) -> Response:
    """Set the tags of an order

    Customers do not see them. If nothing changes, there is no event.
    """
    g.body = read_json(request)
    try:
        tags = TAGS.deserialize(g.body)
    except ValidationError as error:
        raise InvalidInput(*pointers.faults(error.messages)) from error
    return _order(correcting.tag(services().orders, order_id, tags, _request("tag")))


@blueprint.post("/orders/<order_id>/notes")
@blueprint.arguments(NoteIn(), example=NEW_NOTE)
@blueprint.response(201, NoteOut, headers={**ETAG, **location("note"), **REPLAYED}, example=NOTE_EXAMPLE)
@declares("orders:admin", *_COMMAND, "too_many_notes", headers=_HEADERS)
def create_note(wanted: dict[str, str], order_id: str) -> Response:
    """Write a note about an order

    The text stays beside the events, so that it can be erased.
    """
    carried, note = correcting.add_note(
        services().orders, order_id, wanted["text"], wanted["visibility"], _request("note")
    )
    shown = headers_of(carried.order, replayed=carried.replayed)
    return answer(_note(note), 201, {**shown, **located(note.note["id"])})


@blueprint.get("/orders/<order_id>/notes")
@blueprint.response(200, NotesOut, example={"notes": [NOTE_EXAMPLE]})
@declares("orders:read", "not_found", "order_unreadable")
def list_notes(order_id: str) -> Response:
    """List the notes about an order, oldest first

    Customers see only the notes with the visibility `customer`.
    """
    return answer({"notes": [_note(note) for note in _notes(order_id)]})


@blueprint.get("/orders/<order_id>/notes/<note_id>")
@blueprint.response(200, NoteOut, example=NOTE_EXAMPLE)
@declares("orders:read", "not_found", "order_unreadable")
def get_note(order_id: str, note_id: str) -> Response:
    """Get a note about an order"""
    for note in _notes(order_id):
        if note.note["id"] == note_id:
            return answer(_note(note))
    raise NotFound("The note does not exist.")


@blueprint.delete("/orders/<order_id>/notes/<note_id>")
@blueprint.response(204)
@declares(
    "orders:admin",
    "bad_header",
    "not_found",
    "history_full",
    "stale_version",
    "if_match_required",
    "order_unreadable",
    headers=("If-Match",),
)
def delete_note(order_id: str, note_id: str) -> Response:
    """Erase a note about an order, for good"""
    asked = Request(caller(), if_match=headers.if_match(required=services().settings.require_if_match))
    correcting.erase_note(services().orders, order_id, note_id, asked)
    return empty(204)


def _request(command: str) -> Request:
    """The caller's request."""
    return as_request([command, g.body])


def _notes(order_id: str) -> list[correcting.WrittenNote]:
    return correcting.notes_of(services().orders, order_id, for_shop=may("orders:admin"))


def _note(written: correcting.WrittenNote) -> dict[str, Any]:
    with reading(written.note["id"].partition("-")[0]):
        return NoteOut.of({**written.note, "text": written.text})


def _order(carried: Carried) -> Response:
    shown = public.order(carried.order, for_shop=may("orders:admin"))
    return answer(shown, headers=headers_of(carried.order, replayed=carried.replayed))
