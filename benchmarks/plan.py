"""How much of everything to do, from the command line."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Rounds per figure, seconds per run of load (`sustained` for the whole job), the least requests of a
    warm-up, orders to list (`orders`) and to reconcile (`books`), and requests timed singly (`probes`)."""

    rounds: int = 3
    seconds: float = 3
    warm_up: float = 2
    warm_requests: int = 5_000
    connections: tuple[int, ...] = (16, 64)
    rivals: tuple[str, ...] = ("express", "fastify")
    orders: int = 100_000
    books: int = 100_000
    sustained: float = 10
    probes: int = 200

    def say(self, line: str) -> None:
        """Report the progress on stderr, so that stdout has the tables alone."""
        print(line, file=sys.stderr, flush=True)


QUICK = {
    "rounds": 1,
    "seconds": 1,
    "warm_up": 1,
    "warm_requests": 300,
    "sustained": 2,
    "orders": 10_000,
    "books": 10_000,
    "probes": 30,
}
