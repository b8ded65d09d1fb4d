"""The query for a list of orders, out of the parameters of the API, which the command line has, too."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.orders.query_store import OrderQuery


def is_by_update(given: Mapping[str, Any]) -> bool:
    """Whether the list is sorted by the last change of the orders."""
    return str(given["sort"]).endswith("updatedAt")


def order_query(given: Mapping[str, Any], now: datetime) -> OrderQuery:
    """The query with the parameters as `OrdersQuery` loads them, without `cursor`."""
    return OrderQuery(
        limit=given["limit"],
        descending=given["sort"].startswith("-"),
        by_update=is_by_update(given),
        user_id=given.get("userId"),
        statuses=tuple(sorted(set(given.get("status", ())))),
        payment_status=given.get("paymentStatus"),
        product_id=given.get("productId"),
        reference=given.get("reference"),
        created_from=given.get("createdFrom"),
        number=given.get("number"),
        email=given.get("email"),
        tracking_number=given.get("trackingNumber"),
        anything=given.get("q"),
        created_to=given.get("createdTo"),
        updated_from=given.get("updatedFrom"),
        updated_to=given.get("updatedTo"),
        tags=tuple(sorted(set(given.get("tag", ())))),
        held=_is_true(given.get("held")),
        overdue=_is_true(given.get("overdue")),
        overdue_at=now,
    )


def _is_true(text: str | None) -> bool | None:
    return None if text is None else text == "true"
