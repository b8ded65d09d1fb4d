"""One worker takes an order as far as it can go: it writes little, and may die or be overtaken anywhere."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.orders import steps
from app.orders.events import is_public
from app.orders.processing import perform
from app.orders.service import change_status
from app.orders.sweeping import expire_orders
from app.payments.model import TRY_AGAIN
from tests.support.doubles import Crash, followed, swept, with_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.mongo.database import OrderDatabase
    from app.payments.model import Charge, Outcomes
    from app.services import Services
    from tests.support.books import Books
    from tests.support.doubles import StoppedClock
    from tests.support.service_fixtures import Place, SetStock

LINES: dict[str, Any] = {"apple": 2, "bread": 1}
ON_HAND = {"apple": 5, "bread": 5}
LEFT = {"apple": 3, "bread": 4}
ROAD = ["order.created", "payment.authorized", "stock.decremented", "payment.captured", "order.confirmed"]
# The calls of a run, in order, after each of which the worker may die: the collaborator, its method, and
# which call of it. The transaction ends between the first `append_all` and `capture`.
CALLS = (
    ("orders", "load", 1),
    ("notifications", "record", 1),
    ("payments", "authorize", 1),
    ("stock", "supply", 1),
    ("stock", "move", 1),
    ("orders", "append_all", 1),
    ("transact", "", 1),
    ("payments", "capture", 1),
    ("orders", "append_all", 2),
    ("notifications", "record", 2),
    ("due_work", "mark_announced", 1),
)
# A transaction holds the order once it has written it: nobody else comes in between.
BETWEEN = [call for call in CALLS if call not in (("stock", "move", 1), ("orders", "append_all", 1))]
BEFORE_THE_END = [call for call in BETWEEN if call not in CALLS[8:]]


def name(value: tuple[str, str, int]) -> str:
    """How a case reads in the report."""
    return ".".join(map(str, value))


def after(services: Services, call: tuple[str, str, int], then: Callable[[], object]) -> Services:
    """The services with something else happening right after that call."""
    collaborator, method, nth = call
    if collaborator != "transact":
        return followed(services, collaborator, method, then, nth)

    def transact(*arguments: Any) -> Any:
        result = services.stock.transact(*arguments)
        then()
        return result

    return with_parts(services, transact=transact)


def crash() -> None:
    """Dies."""
    raise Crash


def run(services: Services, *order_ids: str, step: steps.Step = steps.AUTHORIZE) -> None:
    """What a worker of all queues does with the message."""
    perform(services.orders, step, order_ids, steps.STEPS)


def sweep(services: Services, clock: StoppedClock) -> None:
    """Sweeps and works until nothing is overdue."""
    named = {step.name: step for step in steps.STEPS}
    for _ in range(8):
        clock.advance(services.settings.step_deadline + timedelta(seconds=1))
        owed = swept(services)
        for step, ids in owed.items():
            run(services, *ids, step=named[step])
        if not owed:
            return
    raise AssertionError(owed)


def announcements(books: Books) -> Counter[tuple[str, int, str]]:
    """How often each event is recorded."""
    return Counter((row["orderId"], row["sequence"], row["type"]) for row in books.notifications())


def at_rest(books: Books, order_id: str) -> None:
    """Checks that nothing is owed, and that each public event was announced once."""
    assert steps.due(books.order(order_id)) == []
    assert "dueBy" not in books.document(order_id)
    public = [event for event in books.order(order_id)["events"] if is_public(event["type"], event["at"])]
    assert announcements(books) == Counter((order_id, event["sequence"], event["type"]) for event in public)


@pytest.fixture
def order_id(place: Place, stocked: SetStock) -> str:
    """An order that there is enough stock for."""
    stocked(**ON_HAND)
    return place(**LINES)["id"]


def test_one_message_takes_an_order_to_the_end(services: Services, books: Books, order_id: str) -> None:
    run(services, order_id)
    (ended,) = books.check()
    assert [event["type"] for event in ended["events"]] == ROAD
    assert books.payment(order_id)["calls"] == 1  # type: ignore[index]
    assert books.levels() == LEFT
    at_rest(books, order_id)


def test_the_authorization_and_the_stock_are_one_write_and_the_relay_leaves_the_order_alone(
    services: Services, order_id: str
) -> None:
    with services.changes.follow(services.changes.present_resume_token()) as follower:
        run(services, order_id)
        changes: list[Any] = []
        while len(changes) < 2:
            changes += follower.take(1.0)
    assert [(change.event_types, change.carried) for change in changes] == [
        (ROAD[1:3], True),
        (ROAD[3:], True),
    ]
    assert [change.first_sequence for change in changes] == [2, 4]


@pytest.mark.parametrize("call", CALLS, ids=name)
@pytest.mark.parametrize("again", ["message", "sweep"])
def test_a_worker_that_dies_anywhere_leaves_an_order_that_ends_well(
    again: str,
    call: tuple[str, str, int],
    services: Services,
    clock: StoppedClock,
    books: Books,
    order_id: str,
) -> None:
    with pytest.raises(Crash):
        run(after(services, call, crash), order_id)
    if again == "message":
        run(services, order_id)
    sweep(services, clock)
    (ended,) = books.check()
    assert [event["type"] for event in ended["events"]] == ROAD
    assert books.levels() == LEFT
    at_rest(books, order_id)


@pytest.mark.parametrize("call", BETWEEN, ids=name)
def test_a_cancel_anywhere_in_a_run_gives_back_money_and_stock(
    call: tuple[str, str, int], services: Services, clock: StoppedClock, books: Books, order_id: str
) -> None:
    cancel = lambda: change_status(services.orders, order_id, "cancelled", actor="user")  # noqa: E731
    run(after(services, call, cancel), order_id)
    sweep(services, clock)
    (ended,) = books.check()
    assert (ended["status"], ended["cancellation"]["reason"]) == ("cancelled", "requested")
    assert books.levels() == ON_HAND
    at_rest(books, order_id)


@pytest.mark.parametrize("call", BEFORE_THE_END, ids=name)
def test_a_worker_that_dies_and_is_found_after_the_expiry_leaves_nothing_open(
    call: tuple[str, str, int], services: Services, clock: StoppedClock, books: Books, order_id: str
) -> None:
    with pytest.raises(Crash):
        run(after(services, call, crash), order_id)
    clock.advance(services.settings.order_expiry + timedelta(milliseconds=1))
    expire_orders(services.orders)
    sweep(services, clock)
    (ended,) = books.check()
    assert ended["cancellation"]["reason"] == "expired"
    assert books.levels() == ON_HAND
    at_rest(books, order_id)


def test_each_order_of_a_batch_goes_its_own_way_to_its_end(
    services: Services, clock: StoppedClock, place: Place, stocked: SetStock, books: Books
) -> None:
    stocked(apple=1, bread=5)
    ends = {
        place(bread=1)["id"]: "confirmed",
        place(bread=1, method="sandbox_slow")["id"]: "confirmed",
        place(bread=1, method="sandbox_declined")["id"]: "payment_declined",
        place(apple=2)["id"]: "out_of_stock",
        place(bread=1, method="sandbox_unavailable")["id"]: "pending",
        place(bread=1, method="sandbox_timeout_once")["id"]: "pending",
    }
    run(services, *ends)
    for order_id, end in ends.items():
        order = books.order(order_id)
        assert order.get("cancellation", {}).get("reason", order["status"]) == end
        assert books.document(order_id)["announced"] >= 1
    assert books.levels() == {"apple": 1, "bread": 3}
    short = list(ends)[3]
    assert books.order(short)["payment"]["status"] == "voided"
    assert [event["type"] for event in books.order(short)["events"]] == [
        "order.created", "payment.authorized", "stock.insufficient", "order.cancelled", "payment.voided",
    ]  # fmt: skip


def test_a_new_order_is_announced_before_the_provider_is_asked(
    services: Services, books: Books, order_id: str
) -> None:
    seen: list[Any] = []

    class Slow:
        """A provider that is asked, and looks at what is announced until then."""

        def __getattr__(self, method: str) -> Any:
            return getattr(services.payments.provider, method)

        def authorize(self, charges: Sequence[Charge]) -> Outcomes:
            """Nothing is known yet."""
            seen.extend(books.notifications())
            yield {charge.order_id: TRY_AGAIN for charge in charges}

    run(with_parts(services, payments=Slow()), order_id)
    assert [row["type"] for row in seen] == ["order.created"]
    document = books.document(order_id)
    assert (document["announced"], document["version"], document["attempts"]) == (1, 1, 1)


def test_a_worker_of_one_queue_leaves_the_next_step_to_the_relay(
    services: Services, clock: StoppedClock, books: Books, order_id: str
) -> None:
    roles: dict[str, list[steps.Step]] = {}
    for step in steps.STEPS:
        roles.setdefault(step.name.partition(".")[0], []).append(step)
    sent: list[Any] = []
    with services.changes.follow(services.changes.present_resume_token()) as follower:
        for step in (steps.AUTHORIZE, steps.DECREMENT, steps.CAPTURE):
            own = roles[step.name.partition(".")[0]]
            perform(services.orders, step, [order_id], own, sent.append)
        changes: list[Any] = []
        while len(changes) < 3:
            changes += follower.take(1.0)
    # The relay sends no message for the announcement of a new order.
    assert sent == [{steps.ANNOUNCE.name: [order_id]}]
    assert [change.event_types for change in changes] == [ROAD[1:2], ROAD[2:3], ROAD[3:]]
    assert not any(change.carried for change in changes)
    perform(services.orders, steps.ANNOUNCE, [order_id], roles["notifications"])
    at_rest(books, order_id)


def test_an_order_that_the_database_refuses_stops_no_other_of_the_run(
    services: Services, place: Place, stocked: SetStock, books: Books, database: OrderDatabase
) -> None:
    stocked(apple=5)
    good, bad, fine = (place(apple=1)["id"] for _ in range(3))
    database["orders"].update_one(
        {"_id": ObjectId(bad)}, {"$set": {"payment.refundedAmount": 5}}, bypass_document_validation=True
    )
    run(services, good, bad, fine)
    assert [books.order(one)["status"] for one in (good, fine)] == ["confirmed", "confirmed"]
    assert books.order(bad)["status"] == "pending"
    assert books.document(bad)["attempts"] >= 1


def test_stock_that_is_locked_keeps_the_authorization(
    services: Services, books: Books, order_id: str, database: OrderDatabase
) -> None:
    with database.client.start_session() as other, other.start_transaction():
        database["stock"].update_one({"_id": "apple"}, {"$inc": {"version": 1}}, session=other)
        run(services, order_id)
        other.abort_transaction()
    waiting = books.document(order_id)
    assert (waiting["payment"]["status"], waiting["stock"]["status"]) == ("authorized", "pending")
    assert (waiting["announced"], waiting["attempts"]) == (1, 1)
    run(services, order_id, step=steps.DECREMENT)
    at_rest(books, order_id)
    assert books.payment(order_id)["calls"] == 1  # type: ignore[index]
