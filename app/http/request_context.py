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
    """The caller's name in the logs of orders."""
    return _caller().subject


def origin() -> "Origin":
    """The ids of the request and its trace, which accompany the order that it creates."""
    ids: Origin = {"requestId": g.request_id}
    if g.trace.traceparent:
        ids["traceparent"] = g.trace.traceparent
    return ids


def require_own_email(email: str | None) -> None:
    """Raises InvalidInput if a customer gives an address that is not the verified one of the token.

    `orders:admin` may give any address, since a shop's backend orders for its customers.
    """
    calling = _caller()
    if email is None or not services().settings.email_from_token or calling.owner("orders:write") is None:
        return
    if calling.email is None:
        raise InvalidInput(Fault("/email", "must be absent because your token has no verified email"))
    if not same_address(email, calling.email):
        raise InvalidInput(Fault("/email", "must be the email in your token"))


def may_set_prices() -> bool:
    """Whether the caller may place an order without a quote."""
    return services().settings.prices == "client" or may("orders:price")


def require_own(user_id: str) -> None:
    """Raises NotAllowed if a customer names another user."""
    if _caller().owner("orders:write") not in (None, user_id):
        raise NotAllowed("orders:admin")


def require(scope: str) -> None:
    """Raises NotAllowed if the caller lacks the scope."""
    if not may(scope):
        raise NotAllowed(scope)


def may(scope: str) -> bool:
    """Whether the caller has the scope."""
    return scope in _caller().scopes


def _caller() -> Caller:
    return cast("Caller", g.caller)
