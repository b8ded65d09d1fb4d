"""The bounds of returns over pure functions: which pieces are free, until when, and the money for them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.clock import id_at
from app.errors import HistoryFull, NotDelivered, NothingReturnable, OrderServiceError, TooLate
from app.orders.bounds import LIMITS, MOST_EVENTS
from app.orders.goods import LinePieces, open_pieces, ordered, received, shipped, summed
from app.orders.goods import announced as reserved
from app.orders.model import Change, Order, advance, create, fold, refundable
from app.orders.part_cancelling import part_cancellation
from app.orders.pieces import cost, refund_of, refunded, to_pay_back, unclaimed
from app.returns.decisions import announced, approved, ended, find
from app.returns.decisions import received as receipt_of
from app.returns.model import require_announceable

AT = datetime(2024, 10, 4, 10, tzinfo=UTC)
DAY, WINDOW = timedelta(days=1), timedelta(days=30)
CONDITIONS = ("resellable", "damaged")


def parcel(number: int, pieces: dict[int, int], delivered: int | None) -> dict[str, Any]:
    """A shipment of these pieces by line, delivered on such a day."""
    at = AT + (delivered or 0) * DAY
    end = {"status": "shipped"} if delivered is None else {"status": "delivered", "deliveredAt": at}
    products = [{"line": line, "quantity": some} for line, some in pieces.items()]
    return {"id": f"s{number}", "products": products, "createdAt": AT, "updatedAt": at, **end}


def order_of(quantities: list[int], parcels: list[dict[str, Any]], price: int = 10, off: int = 0) -> Order:
    """A captured order with such lines and shipments, from which a discount takes off an amount."""
    lines = [
        {"productId": f"p{line}", "quantity": some, "unitPrice": price}
        for line, some in enumerate(quantities, 1)
    ]
    total = sum(quantities) * price - off
    stated = {"userId": "u", "products": lines, "totalAmount": total, "currency": "USD"}
    if off:
        stated["adjustments"] = [{"kind": "discount", "amount": -off}]
    changes = [
        Change("payment.authorized"),
        Change("stock.decremented"),
        Change("payment.captured", {"capturedAmount": total}),
        Change("order.confirmed"),
    ]
    order = advance(create(id_at(AT), AT, "u", stated, None), AT, "u", changes)
    return {**order, "shipments": parcels}  # type: ignore[typeddict-item]


def announce(order: Order, pieces: dict[int, int], day: int, window: timedelta | None = WINDOW) -> Order:
    """Announces a return on such a day."""
    products = [{"line": line, "quantity": some} for line, some in pieces.items()]
    at = AT + day * DAY
    return advance(order, at, "u", [announced(order, {"products": products}, at, window)])


def refuses(order: Order, pieces: dict[int, int], day: int) -> type[Exception] | None:
    """The refusal of a customer's return on such a day."""
    asked = [LinePieces(line=line, quantity=some) for line, some in pieces.items()]
    try:
        require_announceable(order, asked, AT + day * DAY, WINDOW, ())
    except OrderServiceError as refusal:
        return type(refusal)
    return None


def test_a_line_is_returnable_in_part_by_the_deliveries_of_its_pieces() -> None:
    order = order_of([6], [parcel(1, {1: 2}, 0), parcel(2, {1: 1}, 20), parcel(3, {1: 1}, None)])
    assert refuses(order, {1: 3}, 30) is None
    assert refuses(order, {1: 4}, 30) is NotDelivered
    assert refuses(order, {1: 5}, 30) is NothingReturnable
    assert refuses(order, {1: 1}, 31) is None
    assert refuses(order, {1: 2}, 31) is NotDelivered
    assert refuses(order, {1: 3}, 31) is TooLate
    assert refuses(order, {1: 2}, 51) is TooLate


def test_the_time_counts_to_the_millisecond() -> None:
    order, asked = order_of([1], [parcel(1, {1: 1}, 0)]), [LinePieces(line=1, quantity=1)]
    require_announceable(order, asked, AT + WINDOW, WINDOW, ())
    with pytest.raises(TooLate):
        require_announceable(order, asked, AT + WINDOW + timedelta(milliseconds=1), WINDOW, ())


def test_a_refusal_says_what_the_caller_can_return() -> None:
    order = order_of([3, 1], [parcel(1, {1: 2, 2: 1}, 0), parcel(2, {1: 1}, 20)])
    asked = [LinePieces(line=1, quantity=3)]
    with pytest.raises(TooLate) as late:
        require_announceable(order, asked, AT + 31 * DAY, WINDOW, ())
    assert late.value.returnable == [{"line": 1, "quantity": 1}]
    with pytest.raises(NothingReturnable) as nothing:
        require_announceable(order, [LinePieces(line=2, quantity=2)], AT, None, ())
    assert nothing.value.returnable == [{"line": 1, "quantity": 3}, {"line": 2, "quantity": 1}]


def test_a_return_takes_the_oldest_pieces_that_were_in_time() -> None:
    """So a later return of a newer piece is still in time, and a second one of an older piece is not."""
    parcels = [parcel(1, {1: 1}, 0), parcel(2, {1: 1}, 20)]
    early = announce(order_of([2], parcels), {1: 1}, 25)
    assert refuses(early, {1: 1}, 40) is None
    late = announce(order_of([2], parcels), {1: 1}, 40)
    assert refuses(late, {1: 1}, 40) is TooLate


def test_the_pieces_of_a_cancelled_shipment_cannot_come_back() -> None:
    gone = {**parcel(1, {1: 2}, None), "status": "cancelled"}
    order = order_of([2], [gone])
    assert refuses(order, {1: 1}, 0) is NothingReturnable


def test_an_order_that_an_earlier_release_delivered_has_its_time_in_its_log() -> None:
    order: Any = order_of([1], [])
    del order["shipments"]
    order = advance(order, AT, "u", [Change("order.shipped")])
    order = advance(order, AT + DAY, "u", [Change("order.delivered")])
    order = advance(order, AT + 9 * DAY, "u", [Change("hold.expired", {"code": "x"})])
    asked = [LinePieces(line=1, quantity=1)]
    require_announceable(order, asked, AT + 31 * DAY, WINDOW, order["events"])
    with pytest.raises(TooLate):
        require_announceable(order, asked, AT + 32 * DAY, WINDOW, order["events"])


def test_an_order_with_a_full_log_can_end_its_returns_and_be_deleted() -> None:
    """From the highest version at which a return is announced, and at which it is approved, on."""
    order = order_of([2], [parcel(1, {1: 2}, 0)])
    order = advance(order, AT, "u", [Change("order.shipped"), Change("order.delivered")])
    deleted = Change("order.deleted", {"deletedAt": AT})

    def taken(order: Order, changes: list[Change], command: str) -> Order:
        """The order after the command, from the highest version at which it is taken."""
        for version in range(990, order["version"], -1):
            last = {**order["events"][-1], "sequence": version}
            grown: Any = {**order, "version": version, "events": [last]}
            with suppress(HistoryFull):
                return advance(grown, AT, "u", changes, command)
        raise AssertionError

    draft = {"products": [{"line": 1, "quantity": 1}], "refund": "on_approval"}
    made = taken(order, [announced(order, draft, AT, None)], "create_return")
    rejected = ended(find(made, f"{made['id']}-r1"), "rejected", "r")
    after = advance(advance(made, AT, "u", rejected, "reject_return"), AT, "u", [deleted], "delete")
    assert after["version"] == LIMITS["delete"].events
    waiting = advance(order, AT, "u", [announced(order, draft, AT, None)])
    through = taken(waiting, approved(waiting, waiting["returns"][0], None), "approve_return")
    refund = through["refunds"][0]["id"]
    through = advance(through, AT, "u", [Change("refund.succeeded", {"refundId": refund})])
    closed = ended(through["returns"][0], "closed")
    through = advance(through, AT, "u", closed, "close_return")
    assert advance(through, AT, "u", [deleted], "delete")["version"] <= MOST_EVENTS


lines = st.lists(st.integers(1, 4), min_size=1, max_size=3)
pieces = st.dictionaries(st.integers(1, 3), st.integers(1, 3), min_size=1, max_size=2)
parcels = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 2), st.sampled_from(CONDITIONS)),
    min_size=1,
    max_size=3,
    unique_by=lambda some: (some[0], some[2]),
)
operations = st.one_of(
    st.tuples(st.just("announce"), pieces, st.sampled_from(("on_receipt", "on_approval", "none"))),
    st.tuples(st.just("approve"), st.integers(0, 4)),
    st.tuples(st.just("receive"), st.integers(0, 4), parcels),
    st.tuples(st.just("receive"), st.integers(0, 4), parcels),
    st.tuples(st.just("end"), st.integers(0, 4), st.sampled_from(("rejected", "cancelled", "closed"))),
    st.tuples(st.just("refund lines"), pieces),
    st.tuples(st.just("cancel"), pieces),
    st.tuples(st.just("refund amount"), st.integers(1, 30)),
    st.tuples(st.just("settle"), st.booleans()),
)


def changes_of(order: Order, operation: tuple[Any, ...]) -> list[Change]:
    """What the operation does to the order."""
    name, *given_ = operation
    if name == "announce":
        products = [{"line": line, "quantity": some} for line, some in given_[0].items()]
        return [announced(order, {"products": products, "refund": given_[1]}, AT, None)]
    if name in ("refund lines", "cancel"):
        wanted = [given_[0].get(line, 0) for line in range(1, len(order["products"]) + 1)]
        if name == "cancel":
            free = [min(pair) for pair in zip(wanted, open_pieces(order), strict=True)]
            return part_cancellation(order, free) if any(free) else []
        refund = refund_of(order, wanted)
        return [refund] if refund else []
    if name == "refund amount":
        amount, number = min(given_[0], refundable(order)), len(order.get("refunds", ())) + 1
        data = {"refundId": f"{order['id']}-{number}", "amount": amount}
        return [Change("refund.requested", data)] if amount else []
    if name == "settle":
        pending = next((one for one in order.get("refunds", ()) if one["status"] == "pending"), None)
        kind = "refund.succeeded" if given_[0] else "refund.failed"
        return [Change(kind, {"refundId": pending["id"]})] if pending else []
    one = find(order, f"{order['id']}-r{given_[0] + 1}")
    if name == "approve":
        return approved(order, one, None)
    if name == "receive":
        products = [
            {"line": line, "quantity": some, "condition": condition} for line, some, condition in given_[1]
        ]
        return receipt_of(order, one, {"products": products})
    return ended(one, given_[1])


def expected(before: Order, operation: tuple[Any, ...], changes: list[Change]) -> int | None:
    """What the operation has to give back, None if it is no matter of returns."""
    if operation[0] not in ("approve", "receive"):
        return None
    one = find(before, f"{before['id']}-r{operation[1] + 1}")
    owed: list[Any] = []
    if operation[0] == "approve" and changes and one["refund"] == "on_approval":
        owed = one["products"]
    elif operation[0] == "receive" and one["refund"] == "on_receipt":
        owed = changes[0].data["products"]
    elif operation[0] == "receive" and one["refund"] == "on_approval":
        owed = changes[0].data.get("unannounced", [])
    unpaid = to_pay_back(before, summed(before, [{"products": owed}]))
    return min(cost(before, unpaid), refundable(before))


@settings(max_examples=300)
@given(
    lines,
    st.lists(st.integers(0, 4), min_size=3, max_size=3),
    st.integers(0, 9),
    st.lists(operations, max_size=14),
)
def test_money_and_goods_stay_within_their_bounds_whatever_is_done(
    quantities: list[int], sent: list[int], off: int, done: list[tuple[Any, ...]]
) -> None:
    """Each piece is paid back once and at most what was captured; no more comes back than was shipped."""
    goods = {line: min(some, out) for line, (some, out) in enumerate(zip(quantities, sent, strict=False), 1)}
    order = order_of(quantities, [parcel(1, {k: v for k, v in goods.items() if v}, 0)], off=off)
    begun = order
    for operation in done:
        changes: list[Change] = []
        with suppress(OrderServiceError):
            changes = changes_of(order, operation)
        if not changes:
            continue
        after = advance(order, AT, "u", changes)
        owed = expected(order, operation, changes)
        if owed is not None:
            assert refundable(order) - refundable(after) == owed
        order = after
        if operation[0] == "announce":
            there = zip(reserved(order), received(order), shipped(order), strict=True)
            assert all(waiting + back <= out for waiting, back, out in there)
        assert 0 <= refundable(order) <= order["payment"]["capturedAmount"]
        assert all(back <= out for back, out in zip(received(order), shipped(order), strict=True))
        left = unclaimed(order, refunded(order))
        claimed = [some for own in refunded(order) for some in own]
        for place, whole in enumerate(ordered(order)):
            paid = sum(some.quantity for some in claimed if some.line == place + 1)
            assert paid + left[place] == whole
            assert paid <= whole
    log = [event for event in order["events"] if event["sequence"] > begun["version"]]
    assert fold(order["id"], log, begun)["returns"] == order["returns"] if "returns" in order else True
