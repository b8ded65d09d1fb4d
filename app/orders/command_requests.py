"""The request for a command as its route gets it, and the headers of the answer."""

from typing import Any

from app.http import headers
from app.http.answers import entity_tag
from app.http.json_body import digest
from app.http.request_context import caller, services
from app.orders.commands import Request
from app.orders.model import Order


def as_request(content: list[Any], *, needs_if_match: bool = True) -> Request:
    """The caller's request. If it has a key, `content` says what it asks for.

    The setting REQUIRE_IF_MATCH holds if `needs_if_match`. No POST does, since it replaces nothing. Raises
    Problem.
    """
    key = headers.idempotency_key(required=False)
    required = needs_if_match and services().settings.require_if_match
    return Request(caller(), key, digest(content) if key else "", headers.if_match(required=required))


def headers_of(order: Order, *, replayed: bool) -> dict[str, str]:
    """The headers of the answer."""
    tag = {"ETag": entity_tag(order["version"])}
    return {**tag, "Idempotent-Replayed": "true"} if replayed else tag
