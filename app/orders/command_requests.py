"""The request for a command as its route gets it, and the headers of the answer."""

from typing import Any

from app.http import headers
from app.http.answers import entity_tag
from app.http.json_body import digest
from app.http.request_context import caller, services
from app.orders.commands import Request
from app.orders.model import Order


def as_request(content: list[Any]) -> Request:
    """The caller's request. If it has a key, `content` says what it asks for.

    Raises Problem.
    """
    key = headers.idempotency_key(required=False)
    if_match = headers.if_match(required=services().settings.require_if_match)
    return Request(caller(), key, digest(content) if key else "", if_match)


def headers_of(order: Order, *, replayed: bool) -> dict[str, str]:
    """The headers of the answer."""
    tag = {"ETag": entity_tag(order["version"])}
    return {**tag, "Idempotent-Replayed": "true"} if replayed else tag
