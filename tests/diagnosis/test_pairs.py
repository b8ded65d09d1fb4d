"""Each of the ten stalls, alone and together with each other one, is named for the one that decides.

A small model of the service takes an order as far as the stalls allow. What the diagnosis should say of it is
written down here.
"""

from __future__ import annotations

from itertools import combinations, permutations
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from app.diagnosis import DiagnosisServices
from app.diagnosis.service import diagnose_order
from app.orders.model import Change
from tests.diagnosis.test_model import (
    AUTHORIZED,
    CONFIRMED,
    DEADLINE,
    DECREMENTED,
    EXPIRY,
    SECOND,
    error,
    hold,
    order,
)

if TYPE_CHECKING:
    from app.orders.model import Order

Verdict = tuple[str, str, str | None]

PROVIDER: Verdict = ("waiting", "provider", "authorize")
CUSTOMER: Verdict = ("waiting", "customer", "authorize")
NOBODY_WORKS: Verdict = ("stuck", "worker", "authorize")
HELD: Verdict = ("blocked", "shop", "capture")
ENDED: Verdict = ("done", "nobody", None)
GOES_ON: Verdict = ("waiting", "shop", "ship")
DAMAGED: Verdict = ("stuck", "worker", None)

# What an order says that meets the stall alone. Of two stalls at once, the first one in this table decides.
ALONE: dict[str, Verdict] = {
    "damaged document": DAMAGED,
    "worker stopped": NOBODY_WORKS,
    "worker deaf": NOBODY_WORKS,
    "broker gone": NOBODY_WORKS,
    "provider down": PROVIDER,
    "bank waiting": CUSTOMER,
    "stock short": ENDED,
    "hold": HELD,
    # The sweep of beat does the relay's work, only later.
    "relay stopped": GOES_ON,
    "webhook dead": GOES_ON,
}
WITHOUT_WORKERS = ("worker stopped", "worker deaf", "broker gone")
# An order that has met its first stall says the same when it meets a second one, but for these.
THEN: dict[tuple[str, str], Verdict] = {
    **{("provider down", later): NOBODY_WORKS for later in WITHOUT_WORKERS},
    **{(first, "damaged document"): DAMAGED for first in ALONE},
}
ASKED = {"reference": "r", "action": {"type": "redirect", "clientSecret": "s"}}
ACTION = Change("payment.action_required", ASKED)
HOLD, SHORT = hold("a", "capture"), Change("stock.insufficient", {"shortages": []})
OUT_OF_STOCK = Change("order.cancelled", {"cancellation": {"reason": "out_of_stock"}})


class World:
    """An order in a service with stalls."""

    def __init__(self) -> None:
        self.stalls: set[str] = set()
        self.changes: list[Change] = []
        self.work: dict[str, Any] = {}

    def meet(self, *stalls: str) -> None:
        """Some stalls begin; then everything that still works does all it can."""
        self.stalls |= set(stalls)
        if "hold" in stalls and OUT_OF_STOCK not in self.changes and CONFIRMED[3] not in self.changes:
            self.changes.append(HOLD)
        if not self.stalls & set(WITHOUT_WORKERS):
            self._work()

    def _work(self) -> None:
        if AUTHORIZED not in self.changes:
            if "bank waiting" in self.stalls and "provider down" not in self.stalls:
                self.changes += [] if ACTION in self.changes else [ACTION]
            if "provider down" in self.stalls:
                self.work = error("provider_unavailable")
            if self.stalls & {"provider down", "bank waiting"}:
                return
            self.changes.append(AUTHORIZED)
        if SHORT in self.changes:
            return
        if DECREMENTED not in self.changes and "stock short" in self.stalls:
            self.changes += [SHORT, OUT_OF_STOCK, Change("payment.voided")]
            return
        self.changes += [] if DECREMENTED in self.changes else [DECREMENTED]
        if HOLD not in self.changes and CONFIRMED[3] not in self.changes:
            self.changes += CONFIRMED[2:]

    def diagnosis(self) -> dict[str, Any]:
        """What the order says long enough afterwards to be overdue, but not for a retry that is planned."""
        found: Any = order(*self.changes, **self.work)
        now = found["updatedAt"] + 2 * DEADLINE
        if self.work and not self.stalls & set(WITHOUT_WORKERS):
            found["dueBy"] = now + SECOND
        if "damaged document" in self.stalls:
            found["totalAmount"] = "x"
        notices = [{"channel": "webhook", "state": "pending", "nextAttempt": now}]
        return {**diagnose_order(_services(found, now, notices), found["id"]).diagnosis}


def _services(found: Order, now: Any, notices: list[dict[str, Any]]) -> DiagnosisServices:
    store = SimpleNamespace(with_log=lambda _: found)
    orders: Any = SimpleNamespace(store=store, clock=lambda: now, step_deadline=DEADLINE, order_expiry=EXPIRY)
    sent: Any = SimpleNamespace(states=lambda *_: [])
    waiting: Any = SimpleNamespace(states=lambda ids, _: [(ids[0], one) for one in notices])
    return DiagnosisServices(
        orders=orders, candidates=SimpleNamespace(), notifications=sent, deliveries=waiting
    )  # type: ignore[arg-type]


def check(world: World, expected: Verdict) -> None:
    shown = world.diagnosis()
    assert (shown["state"], shown["waitingFor"], shown.get("step")) == expected
    if expected == DAMAGED:
        assert shown["lastError"]["code"] == "order_damaged"
        return
    is_held = HOLD in world.changes and OUT_OF_STOCK not in world.changes
    assert [one["code"] for one in shown["holds"]] == (["a"] if is_held else [])
    assert [one["state"] for one in shown["notifications"]] == ["pending"]


@pytest.mark.parametrize("stall", ALONE)
def test_a_stall_alone_is_named(stall: str) -> None:
    world = World()
    world.meet(stall)
    check(world, ALONE[stall])


@pytest.mark.parametrize("pair", list(combinations(ALONE, 2)), ids=" and ".join)
def test_of_two_stalls_at_once_the_one_that_decides_is_named(pair: tuple[str, str]) -> None:
    """An order is placed while both last, with its hold, and is damaged afterwards."""
    world = World()
    world.meet(*pair)
    check(world, ALONE[pair[0]])


@pytest.mark.parametrize("pair", list(permutations(ALONE, 2)), ids=" then ".join)
def test_of_two_stalls_one_after_the_other_the_one_that_decides_is_named(pair: tuple[str, str]) -> None:
    first, later = pair
    world = World()
    world.meet(first)
    world.meet(later)
    check(world, THEN.get(pair, ALONE[first]))
