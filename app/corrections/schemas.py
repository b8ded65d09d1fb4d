"""The requests and answers of corrections."""

from typing import Any

from app.http.schemas import Input
from app.http.shaping import patch_fields
from app.orders.fields import ORDER

MERGE_PATCH = "application/merge-patch+json"
PATCH: dict[str, Any] = {"email": "eve@example.org", "shippingAddress": {"line2": None, "city": "Berlin"}}


class OrderPatch(Input.from_dict(patch_fields(ORDER))):  # type: ignore[misc]
    """A merge patch (RFC 7396) of an order: the fields to change. `null` removes a field."""

    media_type = MERGE_PATCH
