"""The corrections of an order: amend its fields."""

import secrets
from typing import Any

from app.errors import AlreadyShipped, Fault, InvalidInput
from app.orders import OrderServices
from app.orders.commands import Carried, Decision, Request, carry_out
from app.orders.corrections import merged
from app.orders.fields import AMENDABLE, PERSONAL
from app.orders.model import Change, Order, digest_of
from app.orders.reading import reads_order
from app.shapes import MOST_PAIRS

_SHIPPED = ("shipped", "delivered")
# Customers can correct nothing after the first shipment, and the shop everything except these.
_UNTIL_SHIPPED = frozenset({"shippingAddress"})


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


def _require_bounds(fields: dict[str, Any]) -> None:
    if len(fields.get("metadata", {})) > MOST_PAIRS:
        raise InvalidInput(Fault("/metadata", f"must have at most {MOST_PAIRS} pairs"))


def _require_unshipped(order: Order, fields: list[str], *, by_shop: bool) -> None:
    if order["status"] not in _SHIPPED:
        return
    if not by_shop:
        raise AlreadyShipped("The order is shipped. Only the shop can still correct it.")
    if fixed := _UNTIL_SHIPPED.intersection(fields):
        raise AlreadyShipped(f"The order is shipped, so {', '.join(fixed)} cannot change any more.")
