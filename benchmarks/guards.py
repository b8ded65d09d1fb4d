"""What guarding the service costs: tokens, limits, logs and metrics, against the same without any of them."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import TYPE_CHECKING

from app.http.tokens import mint
from benchmarks import load
from benchmarks.contest import posting, rounds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.contest import Turn
    from benchmarks.figures import Figure
    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

SECRET, ISSUER, AUDIENCE = "a secret of the benchmarks, long enough", "benchmarks", "orders"
# Never reached, but counted: by caller and by address.
RATE = "60000000/minute"
GUARDED = {
    "AUTH": "jwt",
    "JWT_SECRET": SECRET,
    "JWT_ISSUER": ISSUER,
    "JWT_AUDIENCE": AUDIENCE,
    "PAYMENT_PROVIDER": "sandbox",
    "RATE_LIMIT": RATE,
    "RATE_LIMIT_ADDRESS": RATE,
    "LOG_LEVEL": "info",
}
BARE = {"LOG_LEVEL": "critical"}


def guards(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """POST /orders by both, at every number of connections."""
    with contextlib.ExitStack() as ending:
        bare = ending.enter_context(stage.service("web", database="bare", settings=BARE))
        guarded = ending.enter_context(stage.service("web", database="guarded", settings=GUARDED))
        contenders = (
            dataclasses.replace(bare, name="service, bare"),
            dataclasses.replace(guarded, token=_token()),
        )
        for one in contenders:
            load.post_orders(one.url, "warm", max(plan.connections), plan.warm_up, one.token)
        for connections in plan.connections:
            turns: dict[str, Turn] = {one.name: posting(stage, one, connections, plan) for one in contenders}
            yield from rounds(f"guarded POST, {connections} connections", turns, plan)


def _token() -> str:
    now = int(time.time())
    claims = {"sub": "services", "scope": "orders:admin", "iss": ISSUER, "aud": AUDIENCE}
    return mint(SECRET, {**claims, "iat": now, "exp": now + 3_600})
