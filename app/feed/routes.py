"""The route of the event feed."""

from typing import Any

import orjson
from flask import Response

from app.clock import to_text
from app.errors import OrderUnreadable
from app.feed import service as feeding
from app.feed.cursors import cursor_at, position_of
from app.feed.schemas import KINDS, Feed, FeedQuery
from app.http import examples
from app.http.answers import answer
from app.http.authentication import require_json_accepted
from app.http.paging import fitting
from app.http.parsing import Blueprint
from app.http.request_context import may, services
from app.http.route_metadata import declares
from app.orders import public

blueprint = Blueprint("events", __name__, description="The events of all orders.")
blueprint.before_request(require_json_accepted)


@blueprint.get("/events")
@blueprint.arguments(FeedQuery(), location="query")
@blueprint.response(200, Feed, example=examples.FEED)
@declares("orders:read", "bad_cursor")
def list_events(query: dict[str, Any]) -> Response:
    """List events of all orders

    The sequence of the events never changes. An answer has at most 1 MiB, so it may have fewer events than
    `limit` although there are more. An event of a damaged order stays in the list, marked `unreadable`.
    """
    wanted = [kind for asked in query.get("types", ()) for kind in asked.split(",")]
    types = frozenset[str]().union(*(KINDS[kind] for kind in wanted))
    sealing = services().feed.cursors.sealing()
    part = feeding.read(services().feed, position_of(query.get("after"), sealing), query["limit"], types)
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
            return {"order": public.order(event.order, for_shop=may("orders:admin"))}
    except OrderUnreadable:
        pass
    return {"orderId": event.order_id, "unreadable": True}
