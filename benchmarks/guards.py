"""What guarding the service costs: tokens, limits, logs and metrics, against the same without any of them."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from app.http.tokens import mint
from benchmarks.contest import posting
from benchmarks.stage import SERVICE
from benchmarks.turns import take_turns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.figures import Figure
    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

WHAT = "guarded POST, {} connections"
BARE = f"{SERVICE}, unguarded"
SECRET, ISSUER, AUDIENCE = "a secret of the benchmarks, long enough", "benchmarks", "orders"
# Never reached, but counted: by caller and by address.
RATE = "60000000/minute"
SETTINGS = {
    SERVICE: {
        "AUTH": "jwt",
        "JWT_SECRET": SECRET,
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "PRICES": "client",
        "PAYMENT_PROVIDER": "sandbox",
        "RATE_LIMIT": RATE,
        "RATE_LIMIT_ADDRESS": RATE,
        "LOG_LEVEL": "info",
    },
    BARE: {"LOG_LEVEL": "critical"},
}
# More users than a second has requests, so that three of four requests bring a new token.
USERS_PER_SECOND = 5_000


def guards(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """POST /orders by both, at every number of connections."""
    tokens = {SERVICE: partial(_tokens, stage), BARE: None}
    turns = {
        name: posting(stage, plan, partial(stage.service, "web", settings=settings), WHAT, tokens[name])
        for name, settings in SETTINGS.items()
    }
    return take_turns(turns, plan)


def _tokens(stage: Stage, run: str, seconds: float) -> Path:
    """A file with the tokens of the users whose orders orders.lua posts in that run, each with its own."""
    now = int(time.time())
    claims = {"scope": "orders:write", "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 3_600}
    file = stage.folder / "tokens"
    users = (f"user-{run}-{number:08d}" for number in range(1, round(seconds * USERS_PER_SECOND) + 1))
    file.write_text("".join(f"{mint(SECRET, {**claims, 'sub': user})}\n" for user in users))
    return file
