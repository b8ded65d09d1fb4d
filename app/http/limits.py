"""Nobody makes more requests than the settings allow, be it one caller or one address.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from flask import Flask, Response, current_app, g, request

from app.http.access import ANYONE
from app.http.problems import problem
from app.http.route_metadata import OPEN, Declared

if TYPE_CHECKING:
    from app.http.rates import Quota

CALLER, ADDRESS = "caller", "address"
# Whoever has an IPv6 address at all has this much of it, and can call from any.
_NETWORK_BITS = 64

Count = Callable[[Mapping[str, str]], "Sequence[Quota]"]


def init_app(app: Flask, count: Count) -> None:
    """Hooks into every request but those for health, metrics and the description."""

    def admit() -> Response | None:
        if (request.endpoint or "").startswith("service."):
            return None
        g.quotas = count(_whom())
        return _refusal()

    def tell(response: Response) -> Response:
        if response.status_code in (401, 403) and "quotas" not in g:
            # Who was refused for his token never came to be admitted.
            g.quotas = count(_whom())
            response = _refusal() or response
        if quotas := g.get("quotas"):
            response.headers["RateLimit-Policy"] = ", ".join(
                f'"{quota.name}";q={quota.limit};w={quota.window}' for quota in quotas
            )
            response.headers["RateLimit"] = ", ".join(
                f'"{quota.name}";r={max(0, quota.left)};t={quota.reset}' for quota in quotas
            )
        return response

    app.before_request(admit)
    app.after_request(tell)


def _whom() -> dict[str, str]:
    """Whom the request is counted to, for each limit."""
    address = network_of(request.remote_addr or "")
    view = current_app.view_functions.get(request.endpoint or "")
    declared: Declared | None = getattr(view, "declared", None)
    if declared and declared.scope is OPEN:
        return {ADDRESS: address}
    return {CALLER: counted_as(), ADDRESS: address}


def counted_as() -> str:
    """The caller as one that is limited: by the subject of the token, or by the address without one."""
    caller = g.get("caller", ANYONE)
    return f"of/{network_of(request.remote_addr or '')}" if caller is ANYONE else f"sub/{caller.subject}"


def _refusal() -> Response | None:
    over = [quota for quota in g.quotas if quota.left < 0]
    if not over:
        return None
    longest = max(over, key=lambda quota: quota.reset)
    detail = f"Each {longest.name} may make {longest.limit} requests in {longest.window} seconds."
    return problem("too_many_requests", detail, headers={"Retry-After": str(longest.reset)})


@lru_cache(4096)
def network_of(address: str) -> str:
    """What a client has for itself: an IPv4 address, or the network that an IPv6 address is of."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address[:64]
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(IPv6Network((ip, _NETWORK_BITS), strict=False))
