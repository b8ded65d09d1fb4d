"""The route of the event feed."""

from typing import Any

import orjson
from flask import Response

from app.api import examples, representation
from app.api.access import require_json_accepted
from app.api.answers import answer
from app.api.callers import shop
from app.api.declarations import declares
from app.api.feed_cursors import cursor_at, position_of
from app.api.feed_schemas import KINDS, Feed, FeedQuery
from app.api.paging import fitting
from app.api.parsing import Blueprint
from app.domain.clock import to_text
from app.domain.errors import OrderUnreadable
from app.services import feeding

blueprint = Blueprint("events", __name__, description="The events of all orders, for whoever follows them.")
blueprint.before_request(require_json_accepted)


@blueprint.get("/events")
@blueprint.arguments(FeedQuery(), location="query")
@blueprint.response(200, Feed, example=examples.FEED)
@declares("orders:read", "bad_cursor")
def feed(query: dict[str, Any]) -> Response:
    """Read on in the events of all orders

    In one order that never changes. An answer ends at 1 MiB, so it may hold fewer events than asked for while
    there are more. An event of an order that cannot be shown keeps its place, marked `unreadable`.
    """
    wanted = [kind for asked in query.get("types", ()) for kind in asked.split(",")]
    types = frozenset[str]().union(*(KINDS[kind] for kind in wanted))
    sealing = shop().feed_cursors.sealing()
    part = feeding.read(shop(), position_of(query.get("after"), sealing), query["limit"], types)
    page, is_cut = fitting(((event.position, _text(event)) for event in part.events), query["limit"])
    position = page[-1][0] if is_cut else part.position
    return answer(
        {
            "events": [orjson.Fragment(text) for _, text in page],
            "nextCursor": cursor_at(position, sealing),
            "hasMore": is_cut or part.has_more,
        }
    )


def _text(event: feeding.Fed) -> bytes:
    return orjson.dumps(
        {
            "id": f"{event.order_id}:{event.sequence}",
            "type": event.type,
            "timestamp": to_text(event.at),
            "data": {**_order(event), "sequence": event.sequence},
        }
    )


def _order(event: feeding.Fed) -> dict[str, Any]:
    try:
        if event.order:
            return {"order": representation.order(event.order)}
    except OrderUnreadable:
        pass
    return {"orderId": event.order_id, "unreadable": True}
