"""The caller of the request, and the services that handle it."""

from typing import TYPE_CHECKING, cast

from flask import g

from app.errors import Fault, InvalidInput, NotAllowed
from app.http.access import Caller
from app.mail_addresses import same_address

if TYPE_CHECKING:
    from app.orders.model import Origin
    from app.services import Services


def services() -> "Services":
    """The services that handle the request, limited to what the caller may see."""
    return cast("Services", g.services)


def caller() -> str:
    """The one who calls, as the order's log names him."""
    return _who().subject


def origin() -> "Origin":
    """What is to be known of the request wherever the order goes that it makes."""
    told: Origin = {"requestId": g.request_id}
    if g.trace.traceparent:
        told["traceparent"] = g.trace.traceparent
    return told


def require_own_email(email: str | None) -> None:
    """Raises InvalidInput where a customer names an address that the token does not vouch for.

    `orders:admin` may name any: a shop's backend orders for others.
    """
    who = _who()
    if email is None or not services().settings.email_from_token or who.owner("orders:write") is None:
        return
    if who.email is None:
        raise InvalidInput(Fault("/email", "must be absent because your token has no verified email"))
    if not same_address(email, who.email):
        raise InvalidInput(Fault("/email", "must be the email in your token"))


def require(scope: str) -> None:
    """Raises NotAllowed where the caller lacks a scope, be it the route's own or a further one."""
    if not may(scope):
        raise NotAllowed(scope)


def may(scope: str) -> bool:
    """Whether the caller has the scope."""
    return scope in _who().scopes


def _who() -> Caller:
    return cast("Caller", g.caller)
