"""Who may do what: the scopes that a caller can have, and whose orders they let him act on."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

SCOPES = {
    "orders:read": "See one's own orders and their events",
    "orders:write": "Place, cancel and delete one's own orders",
    "orders:admin": "See and change all orders, ship them, give money back",
    "stock:write": "See and change stock levels",
    "webhooks:write": "See and change all webhook endpoints, and so get every customer's orders",
    "webhooks:ids": "See and change one's own webhook endpoints, which get ids alone",
    "reconciliations:read": "See the reports of the reconciliations",
}
# Scopes for what is one's own, each with the one that includes it for what is anybody's.
WIDER = {"orders:read": "orders:admin", "orders:write": "orders:admin", "webhooks:ids": "webhooks:write"}

_SUBJECT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,128}")
# What the log calls whoever is not told by a token.
_NOBODY, _SERVICE = "anonymous", "system"


class Caller(NamedTuple):
    """The caller as the logs of orders name it, what it may do, and the mail address that is its own."""

    subject: str
    scopes: frozenset[str]
    email: str | None = None

    def owner(self, scope: str) -> str | None:
        """The user whose things alone a call that needs the scope may act on; None for everybody's."""
        return self.subject if scope in WIDER and WIDER[scope] not in self.scopes else None


# Where nobody is asked for a token.
ANYONE = Caller(_NOBODY, frozenset(SCOPES))


def caller_of(claims: Mapping[str, Any]) -> Caller:
    """The caller that a token tells of by `sub`, and by `scope` (RFC 8693) or `scp`. Raises ValueError."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject) or subject in (_NOBODY, _SERVICE):
        raise ValueError("sub is no user")
    given = claims.get("scope", claims.get("scp", ""))
    names = given.split(" ") if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("scope is no list of scopes")
    scopes = SCOPES.keys() & set(names)
    included = {scope for scope, wider in WIDER.items() if wider in scopes}
    return Caller(subject, frozenset(scopes | included), _email(claims))


def _email(claims: Mapping[str, Any]) -> str | None:
    """The claim `email` (OpenID Connect), unless the issuer says that it is not verified."""
    email, verified = claims.get("email"), claims.get("email_verified", True)
    # Some issuers say it in a text.
    return email if isinstance(email, str) and verified in (True, "true") else None
