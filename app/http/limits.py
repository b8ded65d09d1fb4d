"""Applies the rate limits of callers and client addresses.

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
# A client with IPv6 usually has a whole /64 network and can use any address in it.
_NETWORK_BITS = 64

Count = Callable[[Mapping[str, str]], "Sequence[Quota]"]


def init_app(app: Flask, count: Count) -> None:
    """Registers the hooks for every request except health, metrics and documentation."""

    def admit() -> Response | None:
        if (request.endpoint or "").startswith("service."):
            return None
        g.quotas = count(_whom())
        return _refusal()

    def add_headers(response: Response) -> Response:
        if response.status_code in (401, 403) and "quotas" not in g:
            # Requests with a rejected token do not get to `admit`.
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
    app.after_request(add_headers)


def _whom() -> dict[str, str]:
    """The key that the request counts for, for each limit."""
    address = network_of(request.remote_addr or "")
    view = current_app.view_functions.get(request.endpoint or "")
    declared: Declared | None = getattr(view, "declared", None)
    if declared and declared.scope is OPEN:
        return {ADDRESS: address}
    return {CALLER: counted_as(), ADDRESS: address}


def counted_as() -> str:
    """The caller's key: the subject of the token, or the address without a token."""
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
    """The network of a client: its IPv4 address, or the /64 network of its IPv6 address."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address[:64]
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(IPv6Network((ip, _NETWORK_BITS), strict=False))
