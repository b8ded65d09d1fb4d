"""Each check finds its kind in records with that fault, and finds nothing in healthy records."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.orders.events import is_public
from app.orders.model import Change, advance, create, digest_of_note
from app.orders.personal_index import PersonalIndex
from app.payments.model import ProviderPayment
from app.reconciliation.kinds import KINDS
from app.reconciliation.records import AuditContext, Case, Level, OrderRecords, Recorded, Row
from app.webhooks.model import delivery_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.orders.model import Order

ORDER_ID = "66ffbd20a1b2c3d4e5f60718"
AT = datetime(2024, 10, 4, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
ENDPOINT: Any = {
    "id": "endpoint",
    "events": ["*"],
    "enabled": True,
    "createdAt": AT - HOUR,
    "updatedAt": AT - HOUR,
}
CONTEXT = AuditContext(
    now=AT + HOUR,
    step_deadline=timedelta(seconds=15),
    order_expiry=2 * HOUR,
    kept_since=AT - timedelta(days=30),
    is_fed=True,
    tracked_since={"apple": AT - 9 * HOUR},
    spare={"apple": 2},
    endpoints=[ENDPOINT],
    deliveries_since=AT - 9 * HOUR,
    personal_index=PersonalIndex("secret"),
)
REQUESTED = Change("refund.requested", {"refundId": "r1", "amount": 400, "reason": "damaged"})
CONFIRMED = (
    Change("payment.authorized", {"reference": "payment"}),
    Change("stock.decremented"),
    Change("payment.captured", {"capturedAmount": 1000}),
    Change("order.confirmed"),
)
REFUNDED = (
    *CONFIRMED,
    REQUESTED,
    Change("payment.partially_refunded", {"refundedAmount": 400}),
    Change("refund.succeeded", {"refundId": "r1"}),
)
PIECES = [{"line": 1, "productId": "apple", "quantity": 1, "restock": False}]
BY_LINES = Change("refund.requested", {"refundId": "r1", "amount": 501, "computed": True, "products": PIECES})
CANCELLED = Change("order.cancelled", {"cancellation": {"reason": "requested"}})
LOST = Change("payment.voided")
RELEASED = Change("stock.released")
SENT = (*CONFIRMED, Change("order.shipped"), Change("order.delivered"))


def out(quantity: int) -> Change:
    """A shipment of so many pieces."""
    pieces = [{"line": 1, "quantity": quantity}]
    return Change("shipment.created", {"shipmentId": f"{ORDER_ID}-s1", "products": pieces})


def parcel(quantity: int, condition: str, **more: Any) -> tuple[Change, ...]:
    """A return of which such a parcel came."""
    pieces = [{"line": 1, "quantity": quantity, "condition": condition}]
    return (
        Change("return.requested", {"returnId": "r", "products": pieces, "refund": "none"}),
        Change("return.approved", {"returnId": "r"}),
        Change("return.received", {"returnId": "r", "receipt": 1, "products": pieces, **more}),
    )


RETURNED = (*SENT, *parcel(2, "resellable"), Change("return.restocked", {"returnId": "r", "receipt": 1}))
BACK = Row("apple", 2, "return", None, 1, "r", 1)
HELD = Change("hold.placed", {"code": "a", "blocks": ["ship"], "until": AT + HOUR / 2, "then": "release"})


def order_after(*changes: Change, at: datetime = AT, **fields: Any) -> Order:
    """An order made then, after these changes; all its public events are announced."""
    data: Any = {
        "userId": "user",
        "products": [{"productId": "apple", "quantity": 2}],
        "totalAmount": 1000,
        "currency": "USD",
        "paymentMethod": "card",
    }
    order = create(ORDER_ID, at, "user", data, {"salt": "salt", "email": "a@example.com"})
    if changes:
        order = {**advance(order, at, "service", changes), "personal": order["personal"]}  # type: ignore[typeddict-item]
    key = CONTEXT.personal_index.key_of(order["personal"])
    return {**order, "announced": order["version"], "emailKey": key, **fields}  # type: ignore[typeddict-item,typeddict-unknown-key]


def records_of(order: Order, *payments: ProviderPayment) -> OrderRecords:
    """All records that a healthy service has of the order."""
    events = [(event["sequence"], event["type"]) for event in order["events"]]
    public = [(sequence, kind) for sequence, kind in events if is_public(kind, order["createdAt"])]
    taken = order["stock"]["status"] == "decremented"
    return OrderRecords(
        ORDER_ID,
        order,
        list(payments),
        [Row("apple", -2, "decrement", None)] if taken else [],
        [Recorded(sequence, kind, f"{ORDER_ID}:{sequence}:log") for sequence, kind in public],
        [
            Recorded(one, kind, delivery_id(ORDER_ID, one, "endpoint", order["createdAt"]))
            for one, kind in public
        ],
        [Recorded(sequence, kind, str(sequence)) for sequence, kind in events],
    )


def payment(status: str = "captured", captured: int = 1000, **fields: Any) -> ProviderPayment:
    """A payment at the provider, in the amount and with the reference of the order."""
    return ProviderPayment(ORDER_ID, "payment", status, 1000, "USD", captured, 0, AT)._replace(**fields)


def confirmed(**fields: Any) -> OrderRecords:
    """The records of a confirmed order; `fields` replace some of them."""
    return replace(records_of(order_after(*CONFIRMED), payment()), **fields)


def confirmed_order(**fields: Any) -> OrderRecords:
    """The records of a confirmed order; `fields` replace fields of its document."""
    return confirmed(order=order_after(*CONFIRMED, **fields))


def pending(*payments: ProviderPayment, changes: tuple[Change, ...] = (), **fields: Any) -> OrderRecords:
    """The records of an order whose provider does not answer, so that its next step is due later."""
    fields = {"dueBy": CONTEXT.now, **fields}
    return records_of(order_after(*changes, **fields), *payments)


def waiting(until: datetime, requested: int) -> OrderRecords:
    """The records of an order that waits until then for so many of a product of which there are two."""
    data: Any = {
        "userId": "user",
        "products": [{"productId": "apple", "quantity": requested}],
        "totalAmount": 1000,
        "currency": "USD",
        "stockFirst": True,
        "onShortage": "backorder",
        "backorderUntil": until,
    }
    shortages = [{"productId": "apple", "requested": requested, "available": 0}]
    order = create(ORDER_ID, AT, "user", data, None)
    order = advance(order, AT, "service", [Change("stock.backordered", {"shortages": shortages})])
    return records_of({**order, "announced": order["version"]})  # type: ignore[typeddict-item]


def priced(order: Order, **line: Any) -> OrderRecords:
    """The records of a confirmed order whose line was placed with these fields, too."""
    created = order["events"][0]["data"]
    changes = [Change(event["type"], event["data"]) for event in order["events"][1:]]
    data = {**created, "products": [{**created["products"][0], **line}]}
    del data["personalDigest"]
    again = advance(create(ORDER_ID, AT, "user", data, order["personal"]), AT, "service", changes)
    same: Any = {name: order[name] for name in ("personal", "emailKey")}  # type: ignore[literal-required]
    kept: Any = {**same, "announced": again["version"], "dueBy": order.get("dueBy")}
    return records_of({**again, **kept}, payment())


def lowered(amount: int, captured: int) -> OrderRecords:
    """The records of a priced order of which one of two pieces was cancelled before this capture."""
    before, after = CONFIRMED[:2], Change("payment.captured", {"capturedAmount": captured})
    order = order_after(*before, part_cancelled(amount), RESTOCKED, after, CONFIRMED[3])
    records = priced(order, unitPrice=500)
    return replace(records, payments=[payment(captured=captured)], movements=[MOVED, CUT])


def part_cancelled(amount: int) -> Change:
    """A cancellation of one piece."""
    pieces = [{"line": 1, "quantity": 1}]
    return Change("cancellation.created", {"cancellationId": "c1", "products": pieces, "amount": amount})


def free() -> OrderRecords:
    """The records of an order of which nothing was due, so that its authorization was voided."""
    order = order_after(CONFIRMED[0], part_cancelled(1000), CONFIRMED[1], NOTHING_TAKEN, CONFIRMED[3])
    records = records_of(order, payment("voided", 0))
    return replace(records, movements=[MOVED._replace(quantity=-1)])


def noted(text: str) -> OrderRecords:
    """The records of a confirmed order with a note that has this text by now."""
    written: Any = {"id": "n1", "salt": "salt", "text": "Called."}
    data = {"noteId": "n1", "visibility": "internal", "textDigest": digest_of_note(written)}
    order = order_after(*CONFIRMED, Change("note.added", data), noteTexts=[{**written, "text": text}])
    return records_of(order, payment())


def edited(records: OrderRecords) -> OrderRecords:
    """The records with an event whose actor was changed."""
    order: Any = records.order
    first, second, *rest = order["events"]
    return replace(records, order={**order, "events": [first, {**second, "actor": "other"}, *rest]})


def without(rows: list[Recorded], *sequences: int) -> list[Recorded]:
    return [row for row in rows if row.sequence not in sequences]


CUT = Row("apple", 1, "restock", None, 1, cancellation_id="c1")
RESTOCKED = Change("cancellation.restocked", {"cancellationId": "c1"})
NOTHING_TAKEN = Change("payment.captured", {"capturedAmount": 0})
OTHER_EVENT = Recorded(9, "order.shipped", "other")
MOVED = Row("apple", -2, "decrement", None)
HEALTHY = confirmed()

FAULTS: dict[str, Callable[[], OrderRecords]] = {
    "payment_missing": lambda: confirmed(payments=[]),
    "payment_doubled": lambda: confirmed(payments=[payment(), payment(reference="second")]),
    "payment_orphaned": lambda: OrderRecords(ORDER_ID, payments=[payment()]),
    "payment_amount_differs": lambda: confirmed(payments=[payment(amount=1001)]),
    "payment_currency_differs": lambda: confirmed(payments=[payment(currency="EUR")]),
    "payment_ahead": lambda: pending(payment("authorized", 0)),
    "authorization_lost": lambda: pending(payment("voided", 0), changes=CONFIRMED[:1]),
    "authorization_open": lambda: records_of(order_after(CANCELLED, LOST), payment("authorized", 0)),
    "captured_on_cancelled": lambda: records_of(order_after(CANCELLED, LOST), payment()),
    "cancelled_refund_failed": lambda: records_of(
        order_after(
            *CONFIRMED,
            CANCELLED,
            Change("stock.restocked"),
            Change("refund.requested", {"refundId": "r1", "amount": 1000}),
            Change("refund.failed", {"refundId": "r1", "failure": {"code": "refused", "message": "No."}}),
        ),
        payment(),
    ),
    "captured_differs": lambda: confirmed(payments=[payment(captured=900)]),
    "refund_unknown": lambda: confirmed(payments=[payment(refunded=100)]),
    "refund_missing": lambda: records_of(order_after(*REFUNDED), payment()),
    "movement_missing": lambda: confirmed(movements=[]),
    "movement_differs": lambda: confirmed(movements=[MOVED._replace(quantity=-3)]),
    "cancelled_pieces_differ": lambda: confirmed(movements=[MOVED, CUT._replace(cancellation_id="none")]),
    "movement_unexpected": lambda: replace(pending(), movements=[MOVED]),
    "movement_doubled": lambda: confirmed(movements=[MOVED, MOVED]),
    "return_movement_differs": lambda: returned(BACK._replace(line=2)),
    "movement_orphaned": lambda: OrderRecords(ORDER_ID, movements=[MOVED]),
    "log_broken": lambda: edited(confirmed()),
    "document_differs": lambda: confirmed_order(userId="other"),
    "personal_differs": lambda: confirmed_order(personal={"salt": "salt", "email": "b@example.com"}),
    "email_key_differs": lambda: confirmed_order(emailKey=b"other"),
    "note_differs": lambda: noted("Another text."),
    "total_differs": lambda: priced(order_after(*CONFIRMED), unitPrice=501),
    "refund_beyond_shares": lambda: priced(
        order_after(*CONFIRMED, BY_LINES, dueBy=CONTEXT.now), unitPrice=500
    ),
    "shipped_beyond_ordered": lambda: records_of(
        order_after(*CONFIRMED, out(3), Change("order.shipped")), payment()
    ),
    "status_unfounded": lambda: records_of(order_after(*CONFIRMED, out(2)), payment()),
    "returned_beyond_shipped": lambda: records_of(order_after(*SENT, *parcel(3, "damaged")), payment()),
    "return_refund_differs": lambda: records_of(
        order_after(*SENT, *parcel(1, "damaged", refundId="r1", amount=1)), payment()
    ),
    "cancellation_differs": lambda: lowered(amount=501, captured=499),
    "cancellation_unpaid": lambda: lowered(amount=500, captured=1000),
    "overdue": lambda: pending(dueBy=AT),
    "forgotten": lambda: pending(dueBy=None),
    "expiry_overdue": lambda: pending(at=AT - 5 * HOUR),
    "backorder_overdue": lambda: waiting(until=AT + HOUR / 2, requested=3),
    "backorder_forgotten": lambda: waiting(until=AT + 2 * HOUR, requested=2),
    "hold_overdue": lambda: pending(changes=(HELD,)),
    "announced_ahead": lambda: confirmed_order(announced=99),
    "announcement_missing": lambda: confirmed(notifications=without(HEALTHY.notifications, 1)),
    "notification_unfounded": lambda: confirmed(notifications=[*HEALTHY.notifications, OTHER_EVENT]),
    "delivery_missing": lambda: confirmed(deliveries=without(HEALTHY.deliveries, 1)),
    "delivery_unfounded": lambda: confirmed(deliveries=[*HEALTHY.deliveries, OTHER_EVENT]),
    "feed_unfounded": lambda: confirmed(feed=[*HEALTHY.feed, OTHER_EVENT]),
    "feed_behind": lambda: confirmed(feed=without(HEALTHY.feed, 4, 5)),
    "feed_hole": lambda: confirmed(feed=without(HEALTHY.feed, 2)),
}
LEVELS = {"level_differs": Level("apple", 4, 3), "level_negative": Level("apple", -1, 3)}
ORDERS: dict[str, Callable[[], OrderRecords]] = {
    "pending": pending,
    "confirmed": confirmed,
    "refunded in part": lambda: records_of(order_after(*REFUNDED), payment(refunded=400)),
    "being refunded": lambda: records_of(
        order_after(*CONFIRMED, REQUESTED, dueBy=CONTEXT.now), payment(refunded=400)
    ),
    "returned": lambda: returned(BACK),
    "cancelled": lambda: records_of(order_after(CANCELLED, LOST)),
    "cancelled in part": lambda: lowered(amount=500, captured=500),
    "cancelled in part, so that nothing is due": free,
    "not there": lambda: OrderRecords(ORDER_ID, payments=[payment("voided", 0)]),
}


def returned(*back: Row) -> OrderRecords:
    """The records of an order of which all pieces came back."""
    records = records_of(order_after(*RETURNED), payment())
    return replace(records, movements=[*records.movements, *back])


def found(records: OrderRecords, context: AuditContext = CONTEXT) -> set[str]:
    """The kinds that all checks of orders together find."""
    case = Case(records, context)
    return {name for name, kind in KINDS.items() if kind.check and list(kind.check(case))}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_as_its_own_kind_alone(fault: str) -> None:
    assert found(FAULTS[fault]()) == {fault}


@pytest.mark.parametrize("order", ORDERS)
def test_healthy_records_have_no_difference(order: str) -> None:
    assert found(ORDERS[order]()) == set()


@pytest.mark.parametrize("level", [Level("apple", 3, 3), Level("apple", 0, 0), *LEVELS.values()])
def test_a_level_is_compared_with_its_movements(level: Level) -> None:
    kinds = {name for name, kind in KINDS.items() if kind.check_level and list(kind.check_level(level))}
    assert kinds == {name for name, faulty in LEVELS.items() if faulty == level}


def test_movements_without_a_level_are_a_difference() -> None:
    check = KINDS["level_differs"].check_level
    assert check
    (finding,) = check(Level("apple", None, 3))
    assert finding == ({"productId": "apple"}, "3, the sum of its movements", "no level")


def test_every_kind_has_a_fault_here_and_one_check_of_its_own() -> None:
    """Any check finds `order_unreadable`, by failing to read the order."""
    orders = {name for name, kind in KINDS.items() if kind.check}
    levels = {name for name, kind in KINDS.items() if kind.check_level}
    assert (orders, levels) == (set(FAULTS), set(LEVELS))
    assert KINDS.keys() - orders - levels == {"order_unreadable"}
    checks = Counter(
        kind.check or kind.check_level for name, kind in KINDS.items() if name != "order_unreadable"
    )
    assert set(checks.values()) == {1}


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if "orphaned" not in fault])
def test_an_order_that_has_just_changed_is_compared_with_its_own_log_alone(fault: str) -> None:
    """Its due work is checked, too."""
    own = {"log_broken", "document_differs", "personal_differs", "email_key_differs", "note_differs"}
    due = {"overdue", "forgotten", "expiry_overdue", "backorder_overdue", "hold_overdue", "announced_ahead"}
    records = FAULTS[fault]()
    records = replace(records, order={**records.order, "updatedAt": CONTEXT.now})  # type: ignore[typeddict-item]
    # `updatedAt` itself is then not what the log says.
    assert found(records) - {"document_differs"} == {fault} & (own | due) - {"document_differs"}


def test_a_held_order_is_not_overdue_and_a_released_one_has_its_whole_time() -> None:
    long_ago = AT - 5 * HOUR
    endless = Change("hold.placed", {"code": "a", "blocks": ["ship"], "then": "release"})
    released = Change("hold.released", {"code": "a"})
    assert found(pending(at=long_ago, changes=(endless,))) == set()
    assert found(pending(at=long_ago, changes=(endless, released))) == {"expiry_overdue"}
    fresh = order_after(endless, at=long_ago)
    fresh = advance(fresh, CONTEXT.now, "shop", [released])
    records = records_of({**fresh, "dueBy": CONTEXT.now, "announced": fresh["version"]})  # type: ignore[typeddict-item]
    assert "expiry_overdue" not in found(records)


def test_a_failed_step_that_waits_for_its_retry_keeps_payments_unchecked() -> None:
    assert found(pending(payment("authorized", 0), attempts=1)) == set()


def test_only_deliveries_that_are_kept_and_were_asked_for_are_missing() -> None:
    records = confirmed(deliveries=[])
    assert found(records) == {"delivery_missing"}
    for changed in (
        CONTEXT._replace(deliveries_since=AT + HOUR),
        CONTEXT._replace(endpoints=[]),
        CONTEXT._replace(endpoints=[{**ENDPOINT, "events": ["order.shipped"]}]),
        CONTEXT._replace(endpoints=[{**ENDPOINT, "updatedAt": AT}]),
    ):
        assert found(records, changed) == set()


def test_a_product_tracked_later_has_no_movement_of_the_order() -> None:
    for since in ({}, {"apple": AT + HOUR}):
        assert found(confirmed(movements=[]), CONTEXT._replace(tracked_since=since)) == set()


def test_the_feed_is_compared_once_it_has_caught_up() -> None:
    assert found(confirmed(feed=[]), CONTEXT._replace(is_fed=False)) == set()


def test_records_of_an_order_that_is_being_purged_are_not_missing() -> None:
    """Nothing has to be announced or in the feed any more."""
    deleted = {"deletedAt": AT}
    records = replace(records_of(order_after(*CONFIRMED, **deleted), payment()), notifications=[], feed=[])
    kept = found(records)
    assert kept >= {"announcement_missing", "feed_behind"}
    assert not found(records, CONTEXT._replace(kept_since=AT + HOUR)) & {
        "announcement_missing",
        "feed_behind",
    }
