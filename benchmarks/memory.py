"""The memory of a web worker after load, with each payment provider."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.stage import SERVICE, children, resident_mib
from benchmarks.turns import Seen, posted, take_turns, warm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.figures import Figure
    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

WEB, WEB_STRIPE = "memory of a web worker", "memory of a web worker, Stripe chosen"
PROVIDERS = {
    WEB: {"PAYMENT_PROVIDER": "sandbox"},
    # The web process never calls Stripe for an order.
    WEB_STRIPE: {"PAYMENT_PROVIDER": "stripe", "STRIPE_API_KEY": "sk_test_of_the_benchmarks"},
}


def memory(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """The larger of the two web workers, after orders at every number of connections."""

    def turn(number: int) -> Iterator[Seen]:
        for what, settings in PROVIDERS.items():
            with warm(stage, plan, partial(stage.service, "web", settings=settings)) as one:
                for connections in plan.connections:
                    posted(one, f"{connections}-{number}", connections, plan.seconds)
                yield Seen(what, {"MiB": max(map(resident_mib, children(one.pids["web"])))})

    return take_turns({SERVICE: turn}, plan)
