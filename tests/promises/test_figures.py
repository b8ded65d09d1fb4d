"""The figures of planted orders, webhooks and differences, against the same worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.clock import new_id
from app.errors import InvalidInput
from app.orders.documents_store import document_of
from app.orders.events import EVENTS
from app.orders.model import Change, advance, create
from app.promises import service
from app.promises.model import ONCE
from app.promises.schemas import shown
from app.reconciliation.report import Difference
from app.reconciliation.run import begin
from app.webhooks.model import Delivery, delivery_id

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.doubles import StoppedClock

DRAFT = {
    "userId": "u",
    "products": [{"productId": "p", "quantity": 2, "unitPrice": 625}],
    "totalAmount": 1250,
    "currency": "USD",
}
AUTHORIZED = "payment.authorized", {"reference": "r"}
ASKED = "payment.action_required", {"reference": "r", "action": {"type": "3ds", "clientSecret": "s"}}
TAKEN = "stock.decremented", {}
CAPTURED = "payment.captured", {"capturedAmount": 1250}
CONFIRMED = "order.confirmed", {}
EXPIRED = "order.cancelled", {"cancellation": {"reason": "expired"}}
REFUSED = "refund.failed", {"refundId": "r-1", "failure": {"code": "no", "message": "No."}}


class Planted:
    """Plants orders with logs, webhooks and differences."""

    def __init__(self, services: Services, database: OrderDatabase, now: datetime) -> None:
        self._services, self._database, self._now = services, database, now

    def order(
        self, *entries: tuple[float, tuple[str, Any], str] | tuple[float, tuple[str, Any]], age: float = 3600
    ) -> str:
        """An order made `age` seconds ago, with these events so many seconds later, by the service or else
        by the actor given."""
        made = self._now - timedelta(seconds=age)
        order = create(new_id(made), made, "client", DRAFT, None)
        for seconds, (kind, data), *actor in entries:
            actor_name = actor[0] if actor else "system"
            order = advance(order, made + timedelta(seconds=seconds), actor_name, [Change(kind, data)])
        document = document_of(order)
        self._database["orders"].insert_one(document, bypass_document_validation=True)
        return order["id"]

    def confirmed(self, seconds: float = 1) -> str:
        """An order that was confirmed after so many seconds."""
        return self.order((0.5, AUTHORIZED), (0.5, TAKEN), (seconds, CAPTURED), (seconds, CONFIRMED))

    def change(self, order_id: str, update: Any) -> None:
        """Changes the document of an order behind the service's back."""
        self._database["orders"].update_one(
            {"_id": ObjectId(order_id)}, update, bypass_document_validation=True
        )

    def webhook(self, order_id: str, status: Any, failures: int) -> None:
        """A webhook about the order."""
        name = delivery_id(order_id, 1, new_id(self._now), self._now)
        delivery: Any = Delivery(
            id=name, endpointId="e", type="order.created", at=self._now, status=status, attempts=[],
            failures=failures, orderId=order_id, sequence=1,
        )  # fmt: skip
        delivery["_id"] = delivery.pop("id")
        self._database["webhook_deliveries"].insert_one(delivery, bypass_document_validation=True)

    def report(self, *found: tuple[str, dict[str, str], int, bool]) -> None:
        """A finished reconciliation that found these kinds, with ids, version and whether it was repaired."""
        reports = self._services.reconciliation.reports
        report = begin(self._services.reconciliation)["id"]
        reports.add_candidates(
            report,
            [Difference(kind, ids, "this", "that", version) for kind, ids, version, _ in found],
            self._now,
        )
        repaired = {(kind, *ids.values()) for kind, ids, _, is_repaired in found if is_repaired}
        for one in reports.candidates(report, 100):
            reports.confirm(one["id"], Difference(one["kind"], one["ids"], "this", "that"))
            if (one["kind"], *one["ids"].values()) in repaired:
                reports.note_repair(one["id"])
        claimed = reports.claim(report, self._now + timedelta(minutes=5), self._now + timedelta(hours=1))
        assert claimed
        reports.end(claimed, self._now)


@pytest.fixture
def planted(services: Services, database: OrderDatabase, clock: StoppedClock) -> Planted:
    """As in `planted.order(…)`."""
    return Planted(services, database, clock())


def figures(services: Services, period: timedelta = timedelta(days=30)) -> dict[str, Any]:
    """The figures as the API shows them."""
    return shown(service.promises_in_time(services.promises, period))


def test_a_period_without_orders_has_no_times_and_no_gap(services: Services) -> None:
    found = figures(services)
    assert (found["accepted"], found["lost"], found["doubled"], found["unreadable"]) == (0, 0, 0, 0)
    assert found["confirmed"] == {"orders": 0}
    assert "longestGap" not in found
    assert sum(found["expired"].values()) == sum(found["webhooks"]["taken"].values()) == 0


def test_only_orders_made_in_the_period_count(services: Services, planted: Planted) -> None:
    for age in (0, 1, 3599, 3601, 86_400):
        planted.order(age=age)
    assert figures(services, timedelta(hours=1))["accepted"] == 3
    assert figures(services, timedelta(days=2))["accepted"] == 5


def test_purged_orders_are_accepted_ones_and_adopted_ones_are_not(
    services: Services, planted: Planted, database: OrderDatabase, clock: StoppedClock
) -> None:
    planted.confirmed()
    adopted = planted.confirmed()
    planted.change(adopted, {"$set": {"events.0.actor": "migration"}})
    services.orders.purged.note([new_id(clock() - timedelta(hours=2))], clock())
    services.orders.purged.note([new_id(clock() - timedelta(days=90))], clock())
    found = figures(services)
    assert (found["accepted"], found["confirmed"]["orders"]) == (2, 1)


def test_the_times_to_confirmed_are_the_nearest_ranks(services: Services, planted: Planted) -> None:
    for hundredths in range(1, 101):
        planted.confirmed(0.5 + hundredths / 100)
    planted.order((1, AUTHORIZED))
    assert figures(services)["confirmed"] == {
        "orders": 100,
        "p50Milliseconds": 1000,
        "p99Milliseconds": 1490,
    }
    planted.confirmed(1234.567)
    planted.confirmed(1234.567)
    # Of 102 delays, the second longest is the 101st. It is shown with three digits.
    assert figures(services)["confirmed"]["p99Milliseconds"] == 1_230_000


def test_expired_orders_are_counted_by_cause(services: Services, planted: Planted) -> None:
    hold = "hold.placed", {"code": "c", "reason": "r", "blocks": ["capture"], "until": None, "then": "cancel"}
    planted.order((900, EXPIRED))
    planted.order((2, ASKED), (900, EXPIRED))
    planted.order((2, ASKED), (900, EXPIRED))
    planted.order((2, ASKED), (3, AUTHORIZED), (900, EXPIRED))
    planted.order((3, AUTHORIZED), (3, TAKEN), (900, EXPIRED))
    planted.order((3, AUTHORIZED), (4, hold, "shop"), (60, ("hold.expired", {"code": "c"})), (60, EXPIRED))
    requested = "order.cancelled", {"cancellation": {"reason": "requested"}}
    planted.order((900, requested, "client"))
    planted.confirmed()
    assert figures(services)["expired"] == {
        "hold": 1,
        "customer": 2,
        "authorize": 1,
        "decrement": 1,
        "capture": 1,
    }


def test_refunds_are_counted_by_their_delay(services: Services, planted: Planted) -> None:
    def refund(number: int) -> tuple[str, Any]:
        return "refund.requested", {"refundId": f"r-{number}", "amount": 10}

    def back(number: int) -> tuple[str, Any]:
        return "refund.succeeded", {"refundId": f"r-{number}"}

    paid = (1, AUTHORIZED), (1, TAKEN), (1, CAPTURED), (1, CONFIRMED)
    planted.order(
        *paid,
        (10, refund(1), "shop"),
        (20, refund(2), "shop"),
        (70, back(1)),
        (81, back(2)),
        (100, refund(3), "shop"),
        (100 + 86_400, back(3)),
        (90_000, refund(4), "shop"),
        (190_000, back(4)),
        age=200_000,
    )
    retried = "refund.retried", {"refundId": "r-1"}
    planted.order(*paid, (10, refund(1), "shop"), (20, REFUSED), (600, retried, "shop"), (700, back(1)))
    planted.order(*paid, (10, refund(1), "shop"), (20, REFUSED))
    planted.order(*paid, (10, refund(1), "shop"), (20, REFUSED), (600, retried, "shop"))
    planted.order(*paid, (10, refund(1), "shop"))
    assert figures(services)["refunds"] == {
        "byDelay": {"1m": 1, "10m": 1, "1h": 1, "1d": 1, "later": 1},
        "failed": 1,
        "pending": 2,
    }


def test_webhooks_are_counted_by_the_attempt_that_was_taken(services: Services, planted: Planted) -> None:
    order, older = planted.confirmed(), planted.order(age=40 * 86_400)
    for failures, number in {0: 5, 2: 3, 9: 1}.items():
        for _ in range(number):
            planted.webhook(order, "delivered", failures)
    planted.webhook(order, "failed", 10)
    planted.webhook(order, "pending", 4)
    planted.webhook(order, "pending", 0)
    planted.webhook(older, "delivered", 0)
    webhooks = figures(services)["webhooks"]
    assert {attempt: number for attempt, number in webhooks["taken"].items() if number} == {
        "1": 5,
        "3": 3,
        "10": 1,
    }
    assert (webhooks["failed"], webhooks["pending"]) == (1, 2)


def test_an_event_that_stands_twice_in_a_log_doubles_its_order(services: Services, planted: Planted) -> None:
    planted.confirmed()
    for name in ("payment.captured", "stock.decremented", "order.confirmed", "order.created"):
        again = {"sequence": 9, "type": name, "at": datetime.now(UTC), "actor": "system", "data": {}}
        planted.change(planted.confirmed(), {"$push": {"events": again}})
    paid = (1, AUTHORIZED), (1, TAKEN), (1, CAPTURED), (1, CONFIRMED)
    refunds = [("refund.requested", {"refundId": f"r-{number}", "amount": 10}) for number in (1, 2)]
    back = [("refund.succeeded", {"refundId": f"r-{number}"}) for number in (1, 2)]
    twice = planted.order(*paid, *((2, refund, "shop") for refund in refunds), *((3, one) for one in back))
    assert figures(services)["doubled"] == 4
    again = {"type": "refund.succeeded", "at": datetime.now(UTC), "data": {"refundId": "r-2"}}
    planted.change(twice, {"$push": {"events": again}})
    assert figures(services)["doubled"] == 5


def test_the_events_that_can_happen_once_exist() -> None:
    assert set(ONCE) < EVENTS.keys()


def test_lost_and_doubled_orders_are_those_that_reconciliations_found(
    services: Services, planted: Planted, clock: StoppedClock
) -> None:
    gone, doubled = new_id(clock()), new_id(clock())
    planted.report(
        ("feed_unfounded", {"orderId": gone, "position": "1"}, 0, False),
        ("feed_unfounded", {"orderId": gone, "position": "2"}, 0, False),
        ("movement_doubled", {"orderId": doubled, "productId": "p"}, 5, False),
        ("movement_doubled", {"orderId": doubled, "productId": "q"}, 5, False),
        ("movement_orphaned", {"orderId": gone}, 0, False),
        ("payment_doubled", {"orderId": doubled, "reference": "x"}, 5, False),
        # These are no orders of ours.
        ("level_differs", {"productId": "p"}, 0, False),
        ("payment_orphaned", {"orderId": "another shop's", "reference": "y"}, 0, False),
    )
    found = figures(services)
    assert (found["lost"], found["doubled"]) == (1, 2)
    assert found["differences"]["movement_doubled"] == {"found": 2, "repaired": 0}


def test_a_difference_of_several_reports_counts_once(services: Services, planted: Planted) -> None:
    forgotten, other = "forgotten", {"orderId": "0" * 23 + "2"}
    planted.report((forgotten, {"orderId": "0" * 23 + "1"}, 3, False), (forgotten, other, 3, False))
    planted.report((forgotten, {"orderId": "0" * 23 + "1"}, 3, True))
    found = figures(services)
    assert found["differences"] == {"forgotten": {"found": 2, "repaired": 1}}
    assert found["reconciliations"] == {"finished": 2, "failed": 0}


def test_candidates_and_reports_before_the_period_do_not_count(
    services: Services, planted: Planted, clock: StoppedClock
) -> None:
    planted.report(("forgotten", {"orderId": "0" * 24}, 3, False))
    clock.advance(timedelta(hours=2))
    report = begin(services.reconciliation)["id"]
    services.reconciliation.reports.add_candidates(
        report, [Difference("overdue", {"orderId": "0" * 24}, "this", "that", 1)], clock()
    )
    services.reconciliation.reports.fail(report, clock(), "It was interrupted.")
    found = figures(services, timedelta(hours=1))
    assert found["differences"] == {}
    assert found["reconciliations"] == {"finished": 0, "failed": 1}


def test_the_longest_gap_is_a_wait_for_the_service(
    services: Services, planted: Planted, clock: StoppedClock
) -> None:
    planted.confirmed(7.5)
    slow = planted.order((5, AUTHORIZED), (25.25, TAKEN))
    # The customer, the shop and a hold take their time, which is no gap of the service.
    planted.order((1, ASKED), (800, AUTHORIZED))
    paid = (1, AUTHORIZED), (1, TAKEN), (1, CAPTURED), (1, CONFIRMED)
    planted.order(*paid, (900, ("order.shipped", {}), "shop"), (2000, ("order.delivered", {}), "shop"))
    hold = "hold.placed", {"code": "c", "reason": "r", "blocks": ["capture"], "then": "release"}
    end = "hold.expired", {"code": "c"}
    planted.order((1, AUTHORIZED), (1, TAKEN), (2, hold, "shop"), (900, end), (901, CAPTURED))
    planted.order((1, ("stock.backordered", {"shortages": []})), (900, TAKEN), (901, AUTHORIZED))
    # The provider reports a refund that somebody made there.
    refund = "refund.requested", {"refundId": "r-1", "amount": 10}
    planted.order(*paid, (3000, refund, "provider"))
    made = clock() - timedelta(hours=1)
    assert figures(services)["longestGap"] == {
        "milliseconds": 20_250,
        "orderId": slow,
        "after": "payment.authorized",
        "at": (made + timedelta(seconds=5)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def test_an_order_that_still_owes_a_step_has_a_gap_until_now(
    services: Services, planted: Planted, clock: StoppedClock
) -> None:
    planted.order((100, AUTHORIZED), age=300)
    stuck = planted.order((10, AUTHORIZED), age=170)
    planted.change(stuck, {"$set": {"dueBy": clock()}})
    gap = figures(services)["longestGap"]
    assert (gap["orderId"], gap["milliseconds"], gap["after"]) == (stuck, 160_001, "payment.authorized")


@pytest.mark.parametrize(
    "damage",
    [
        {"events": "none"},
        {"events": []},
        {"events": [7]},
        {"events.0.type": 7},
        {"events.0.type": "order.confirmed"},
        {"events.1": None},
        {"events.1.at": "yesterday"},
        {"events.1.at": datetime(1, 1, 1, tzinfo=UTC)},
        {"events.2": [{"type": "order.created"}]},
    ],
    ids=str,
)
def test_a_damaged_order_is_counted_and_stops_nothing(
    services: Services, planted: Planted, damage: dict[str, Any]
) -> None:
    planted.confirmed(2)
    planted.change(planted.confirmed(3), {"$set": damage})
    planted.confirmed(2)
    found = figures(services)
    assert (found["accepted"], found["unreadable"]) == (3, 1)
    assert found["confirmed"] == {"orders": 2, "p50Milliseconds": 2000, "p99Milliseconds": 2000}


@pytest.mark.parametrize(
    "damage",
    [
        {"events.4.data": 7},
        {"events.4.actor": None},
        {"dueBy": "soon"},
        {"events.3.data": {"refundId": {"a": 1}}},
    ],
    ids=str,
)
def test_damage_beside_the_types_and_times_changes_no_figure(
    services: Services, planted: Planted, damage: dict[str, Any]
) -> None:
    planted.change(planted.confirmed(2), {"$set": damage})
    found = figures(services)
    assert (found["accepted"], found["unreadable"], found["confirmed"]["orders"]) == (1, 0, 1)


def test_damaged_webhooks_are_counted_apart(services: Services, planted: Planted) -> None:
    order = planted.confirmed()
    planted.webhook(order, "lost", 0)
    planted.webhook(order, "delivered", 77)
    planted.webhook(order, "delivered", 0)
    found = figures(services)
    assert (found["unreadable"], found["webhooks"]["taken"]["1"]) == (2, 1)


def test_the_figures_do_not_depend_on_the_size_of_the_batches(
    services: Services, planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        planted.webhook(planted.confirmed(1 + number), "delivered", number)
    at_once = figures(services)
    for batch in (1, 2, 3, 7):
        monkeypatch.setattr(service, "BATCH", batch)
        assert figures(services) == at_once
    assert at_once["accepted"] == sum(at_once["webhooks"]["taken"].values()) == 7


def test_a_request_for_too_many_orders_is_refused_and_a_command_is_not(
    services: Services, planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_ORDERS", 2)
    for _ in range(2):
        planted.confirmed()
    assert figures(services)["accepted"] == 2
    planted.order(age=7200)
    with pytest.raises(InvalidInput, match="/since: this time has more than 2 orders"):
        figures(services)
    assert figures(services, timedelta(hours=1, minutes=1))["accepted"] == 2
    seen: list[tuple[int, int]] = []
    everything = service.promises(
        services.promises, timedelta(days=1), lambda done, of: seen.append((done, of))
    )
    assert (everything.figures.accepted, seen[-1]) == (3, (3, 3))


def test_a_request_that_takes_too_long_is_refused(
    services: Services, planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted.confirmed()
    monkeypatch.setattr(service, "MOST_SECONDS", -1.0)
    with pytest.raises(InvalidInput, match="to read"):
        figures(services)


def test_every_query_reads_an_index(services: Services, planted: Planted, database: OrderDatabase) -> None:
    """The server notes how it ran each query."""
    order = planted.confirmed()
    planted.webhook(order, "delivered", 0)
    planted.report(("forgotten", {"orderId": order}, 3, False))
    database.command("profile", 2)
    try:
        figures(services)
    finally:
        database.command("profile", 0)
    noted = list(database["system.profile"].find({"op": "command", "planSummary": {"$exists": True}}))
    database["system.profile"].drop()
    plans = [(entry["ns"].partition(".")[2], entry["planSummary"].partition(" ")[0]) for entry in noted]
    kept = {"orders", "webhook_deliveries", "reconciliation_differences", "reconciliations", "purged_orders"}
    assert {collection for collection, _ in plans} == kept
    assert {plan for _, plan in plans} == {"IXSCAN", "COUNT_SCAN"}
