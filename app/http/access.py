"""The scopes of callers, and whose orders each scope gives access to."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

SCOPES = {
    "orders:read": "Read your own orders and their events",
    "orders:write": "Create, cancel and delete your own orders",
    "orders:price": "Set the prices of the orders that you create, without a quote",
    "orders:admin": "Read and change all orders, hold, ship and refund them",
    "stock:write": "Read and change stock levels",
    "webhooks:write": "Read and change all webhook endpoints, and so receive the orders of all customers",
    "webhooks:ids": "Read and change your own webhook endpoints, which receive only ids",
    "reconciliations:read": "Read the reports of the reconciliations, and the figures of the promises",
}
# Scopes, each with the wider scope that includes it. That one covers the resources of all callers.
WIDER = {
    "orders:read": "orders:admin",
    "orders:write": "orders:admin",
    "orders:price": "orders:admin",
    "webhooks:ids": "webhooks:write",
}

_SUBJECT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,128}")
# Reserved actors in the logs of orders: a caller without a token, and the service.
_NOBODY, _SERVICE = "anonymous", "system"


class Caller(NamedTuple):
    """A caller: its name in the logs of orders, its scopes, and its verified email address."""

    subject: str
    scopes: frozenset[str]
    email: str | None = None

    def owner(self, scope: str) -> str | None:
        """The only user whose resources this scope gives access to; None for all users."""
        return self.subject if scope in WIDER and WIDER[scope] not in self.scopes else None


# Every caller with AUTH=off.
ANYONE = Caller(_NOBODY, frozenset(SCOPES))


def caller_of(claims: Mapping[str, Any]) -> Caller:
    """The caller from the claims `sub`, and `scope` (RFC 8693) or `scp`. Raises ValueError."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject) or subject in (_NOBODY, _SERVICE):
        raise ValueError("sub is not a valid user")
    given = claims.get("scope", claims.get("scp", ""))
    names = given.split(" ") if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("scope is not a list of scopes")
    scopes = SCOPES.keys() & set(names)
    included = {scope for scope, wider in WIDER.items() if wider in scopes}
    return Caller(subject, frozenset(scopes | included), _email(claims))


def _email(claims: Mapping[str, Any]) -> str | None:
    """The claim `email` (OpenID Connect); None if `email_verified` is false."""
    email, verified = claims.get("email"), claims.get("email_verified", True)
    # Some issuers send a string.
    return email if isinstance(email, str) and verified in (True, "true") else None
