"""The route of the event feed."""

from typing import Any

import orjson
from flask import Response

from app.api import examples, representation
from app.api.access import require_json_accepted
from app.api.answers import answer
from app.api.callers import shop
from app.api.declarations import declares
from app.api.feed_schemas import KINDS, Feed, FeedQuery
from app.api.paging import LIKE_A_POSITION, after, cursor_behind
from app.api.parsing import Blueprint
from app.domain.clock import to_text
from app.services import feeding

# An answer ends soon after it has grown to so many bytes, however many events were asked for.
_LARGE = 4 * 1024 * 1024

blueprint = Blueprint("events", __name__, description="The events of all orders, for whoever follows them.")
blueprint.before_request(require_json_accepted)


@blueprint.get("/events")
@blueprint.arguments(FeedQuery(), location="query")
@blueprint.response(200, Feed, example=examples.FEED)
@declares("orders:read", "bad_cursor")
def feed(query: dict[str, Any]) -> Response:
    """Read on in the events of all orders

    In one order that never changes. An answer may hold fewer events than asked for though there is more.
    """
    wanted = [kind for asked in query.get("types", ()) for kind in asked.split(",")]
    types = frozenset[str]().union(*(KINDS[kind] for kind in wanted))
    part = feeding.read(shop(), int(after(query.get("after"), LIKE_A_POSITION) or 0), query["limit"], types)
    shown, size, position = [], 0, part.position
    for event in part.events:
        shown.append(orjson.dumps(_shown(event)))
        size += len(shown[-1])
        if size > _LARGE:
            position = event.position
            break
    return answer(
        {
            "events": [orjson.Fragment(text) for text in shown],
            "nextCursor": cursor_behind(str(position)),
            "hasMore": part.has_more or position < part.position,
        }
    )


def _shown(event: feeding.Fed) -> dict[str, Any]:
    return {
        "id": f"{event.order['id']}:{event.sequence}",
        "type": event.type,
        "timestamp": to_text(event.at),
        "data": {"order": representation.order(event.order), "sequence": event.sequence},
    }
