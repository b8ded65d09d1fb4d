"""How soon a single order is confirmed after its 201, while nothing else happens."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import httpx

from benchmarks.progress import await_finished
from benchmarks.turns import Seen, take_turns, warm
from benchmarks.whole import lines, stocked
from deploy.local.process import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.figures import Figure
    from benchmarks.plan import Plan
    from benchmarks.stage import Contender, Stage
    from benchmarks.turns import Opened, Turn

WHAT = "from 201 to confirmed, idle"
PAUSE = 0.03
GIVE_UP_AFTER = 30
CONFIRMED = [{"$match": {"updateDescription.updatedFields.status": "confirmed"}}]
BODY = {
    "userId": "user-alone",
    "products": [{"productId": "product-01", "quantity": 1}],
    "totalAmount": 200.00,
}


def latency(stage: Stage, plan: Plan) -> Iterator[Figure]:
    """The median and the slowest of many orders, one after the other."""
    return take_turns({name: _turn(stage, plan, opened) for name, opened in lines(stage, plan).items()}, plan)


def _turn(stage: Stage, plan: Plan, opened: Opened) -> Turn:
    def turn(_: int) -> Iterator[Seen]:
        with warm(stage, plan, partial(stocked, opened)) as one:
            await_finished(one)
            took = sorted(_alone(one, plan.probes))
            yield Seen(WHAT, {f"p{percent} ms": _percentile(took, percent) for percent in (50, 99)})

    return turn


def _percentile(took: list[float], percent: int) -> float:
    return took[min(len(took) - 1, round(len(took) * percent / 100))]


def _alone(one: Contender, probes: int) -> Iterator[float]:
    """Milliseconds from each 201 until the change to confirmed is seen on the database's change stream."""
    with httpx.Client(base_url=one.url) as client, one.database.orders.watch(CONFIRMED) as changes:
        for _ in range(probes):
            time.sleep(PAUSE)
            answer = client.post("/orders", json=BODY)
            begin = time.perf_counter()
            answer.raise_for_status()
            wanted = answer.json()["order"]["id"]
            while (change := changes.try_next()) is None or str(change["documentKey"]["_id"]) != wanted:
                if time.perf_counter() - begin > GIVE_UP_AFTER:
                    raise Failed(f"{one.name} did not confirm an order in {GIVE_UP_AFTER} s")
            yield (time.perf_counter() - begin) * 1000
