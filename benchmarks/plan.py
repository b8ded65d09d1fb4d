"""How much of everything to do, from the command line."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Rounds per figure, seconds per run of load, and how many orders there are to list and to work off."""

    rounds: int = 3
    seconds: float = 3
    warm_up: float = 2
    connections: tuple[int, ...] = (16, 64)
    rivals: tuple[str, ...] = ("express", "fastify")
    orders: int = 100_000
    backlog: int = 3_000
    probes: int = 200

    def say(self, line: str) -> None:
        """Tell on stderr how far it is, so that stdout holds the table alone."""
        print(line, file=sys.stderr, flush=True)


QUICK = {"rounds": 1, "seconds": 1, "warm_up": 1, "orders": 10_000, "backlog": 500, "probes": 30}
