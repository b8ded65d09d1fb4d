"""The memory of a web worker after load, with each payment provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import load
from benchmarks.stage import SERVICE, children, resident_mib
from benchmarks.turns import Seen, take_turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.figures import Figure
    from benchmarks.plan import Plan
    from benchmarks.stage import Stage

WEB, WEB_STRIPE = "memory of a web worker", "memory of a web worker, Stripe chosen"
# The settings, and the payment method of the orders. The web process never calls Stripe for an order.
PROVIDERS: dict[str, tuple[dict[str, str], str]] = {
    WEB: ({"PAYMENT_PROVIDER": "sandbox"}, ""),
    WEB_STRIPE: (
        {"PAYMENT_PROVIDER": "stripe", "STRIPE_API_KEY": "sk_test_of_the_benchmarks"},
        "pm_card_visa",
    ),
}


def memory(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """The larger of the two web workers, after orders at every number of connections."""

    def turn(_: int) -> Iterator[Seen]:
        for what, (settings, method) in PROVIDERS.items():
            with stage.service("web", settings=settings) as one:
                for connections in plan.connections:
                    load.post_orders(one.url, f"{connections}", connections, plan.seconds, method=method)
                yield Seen(what, {"MiB": max(map(resident_mib, children(one.pids["web"])))})

    return take_turns({SERVICE: turn}, plan)
