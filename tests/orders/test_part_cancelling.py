"""Cancelled pieces: the customer pays for the others to the minor unit, whenever pieces are cancelled."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.clock import id_at
from app.orders.goods import cancelled, fulfillment, open_pieces
from app.orders.model import Change, Order, advance, create, fold, quantities, refundable
from app.orders.part_cancelling import part_cancellation
from app.orders.pieces import cost, costs, left, lowered, refund_of, refunded, to_pay_back, unclaimed
from app.orders.shares import total
from app.payments.model import Outcome, Repayment
from app.payments.steps import _VOID as VOID
from app.payments.steps import captured, charge, is_free, repaid
from tests.orders.test_shares import _DRAWN, _LINES, adjusted, line

if TYPE_CHECKING:
    from collections.abc import Sequence

AT = datetime(2024, 10, 4, 10, tzinfo=UTC)
# Shipping 4.90, a discount of 10.00 that is dealt 7.50 to line 1: its three pieces cost 23.50.
LINES = [
    {"productId": "cup", "quantity": 3, "unitPrice": 1000},
    {"productId": "tea", "quantity": 2, "unitPrice": 500},
]
ADJUSTMENTS = [
    {"kind": "shipping", "amount": 490},
    {"kind": "discount", "amount": -1000},
    {"kind": "fee", "amount": 100, "line": 1},
]


def placed(lines: Sequence[Any] = LINES, adjustments: Any = ADJUSTMENTS, price: int | None = None) -> Order:
    cost_of_all = total(lines, adjustments)
    data = {
        "userId": "u",
        "products": [{"productId": f"p{n}", **one} for n, one in enumerate(lines)],
        "adjustments": adjustments,
        "totalAmount": cost_of_all if price is None else price,
        "currency": "USD",
    }
    return create(id_at(AT), AT, "u", data, None)


def moved(order: Order, *changes: Change) -> Order:
    after = advance(order, AT, "u", changes)
    folded = fold(order["id"], after["events"])
    assert {**folded, "number": after.get("number")} == after
    return after


def authorized(order: Order) -> Order:
    return moved(order, Change("payment.authorized", {"reference": "r"}), Change("stock.decremented"))


def taken(order: Order, amount: int | None = None) -> Order:
    """After a capture of the amount, or of what is due."""
    return moved(order, *captured(order, charge(order).due if amount is None else amount))


def without(order: Order, *wanted: int, **more: Any) -> Order:
    return moved(order, *part_cancellation(order, wanted, **more))


def repaid_all(order: Order) -> Order:
    """After all pending refunds have succeeded."""
    pending = [one for one in order.get("refunds", ()) if one["status"] == "pending"]
    ends = [
        (Repayment(charge(order), one["id"], one["attempt"], one["amount"]), Outcome("refunded"))
        for one in pending
    ]
    return moved(order, *repaid(order, ends)) if ends else order


def types(order: Order, before: Order) -> list[str]:
    return [event["type"] for event in order["events"][before["version"] :]]


def kept(order: Order) -> int:
    """The money that the shop has in the end."""
    return order["payment"]["capturedAmount"] - order["payment"]["refundedAmount"]


@pytest.mark.parametrize("step", [placed, lambda: authorized(placed())])
def test_before_the_capture_less_is_captured(step: Any) -> None:
    before = step()
    order = without(before, 1, 2, reason="two teas too many")
    assert types(order, before) == ["cancellation.created"]
    assert order["cancellations"] == [
        {
            "id": f"{order['id']}-c1",
            "products": [{"line": 1, "quantity": 1}, {"line": 2, "quantity": 2}],
            "amount": 783 + 750,
            "reason": "two teas too many",
            "createdAt": AT,
            "lowers": True,
            **({"restocked": False} if before["stock"]["status"] == "decremented" else {}),
        }
    ]
    assert (lowered(order), left(order), charge(order).due) == (1533, 3590 - 1533, 3590 - 1533)
    assert charge(order).amount == 3590
    assert fulfillment(order) == {"status": "none", "open": [{"line": 1, "quantity": 2}]}
    assert order["events"][-1]["data"].keys() == {"cancellationId", "products", "amount", "reason"}


def test_the_shares_of_a_series_add_up_to_the_line() -> None:
    order = placed()
    amounts = []
    for _ in range(2):
        order = without(order, 1, 0)
        amounts.append(order["cancellations"][-1]["amount"])
    order = repaid_all(without(taken(authorized(order)), 1, 0))
    amounts.append(order["refunds"][-1]["amount"])
    assert amounts == [783, 783, 784]
    assert order["payment"]["capturedAmount"] == 3590 - 783 - 783
    assert kept(order) == 3590 - 2350


def test_after_the_capture_the_pieces_are_refunded_by_lines() -> None:
    before = taken(authorized(placed()))
    order = without(before, 0, 1)
    assert types(order, before) == ["cancellation.created", "refund.requested"]
    (refund,), (cancellation,) = order["refunds"], order["cancellations"]
    assert refund["cancellationId"] == cancellation["id"]
    assert cancellation["refundId"] == refund["id"]
    assert refund["amount"] == cancellation["amount"] == 375
    assert refund["products"] == [{"line": 2, "productId": "tea", "quantity": 1, "restock": False}]
    assert "computed" in refund
    assert "lowers" not in cancellation


def test_what_meets_a_capture_on_its_way_is_refunded_when_that_lands() -> None:
    order = without(authorized(placed()), 1, 0)
    asked = charge(order).due
    order = without(without(order, 1, 0), 0, 1)
    before = order
    order = taken(order, asked)
    assert types(order, before) == [
        "payment.captured",
        "order.confirmed",
        "refund.requested",
        "refund.requested",
    ]
    first, *others = order["cancellations"]
    assert "refundId" not in first
    assert [one["refundId"] for one in others] == [one["id"] for one in order["refunds"]]
    assert [one["amount"] for one in others] == [one["amount"] for one in order["refunds"]] == [783, 375]
    assert all("products" not in one for one in order["refunds"]), "they claim no pieces again"
    order = repaid_all(order)
    assert order["payment"]["status"] == "partially_refunded"
    assert kept(order) == 3590 - 783 - 783 - 375
    assert unclaimed(order, refunded(order)) == [1, 1]


def test_the_last_pieces_cancel_the_order_and_give_back_the_shipping_too() -> None:
    before = without(taken(authorized(placed())), 3, 0)
    order = without(before, 0, 2, reason="all of it")
    assert types(order, before) == ["cancellation.created", "order.cancelled", "refund.requested"]
    assert order["cancellation"] == {"reason": "requested", "detail": "all of it"}
    assert order["cancellations"][-1]["amount"] == order["refunds"][-1]["amount"] == 3590 - 2350
    assert order["cancellations"][-1]["refundId"] == order["refunds"][-1]["id"]
    order = repaid_all(order)
    assert (kept(order), order["payment"]["status"]) == (0, "refunded")
    assert open_pieces(order) == [0, 0]


def test_the_last_pieces_of_an_unpaid_order_cancel_it() -> None:
    order = without(placed(), 3, 2)
    assert types(order, placed()) == ["cancellation.created", "order.cancelled", "stock.released"]
    assert order["cancellations"][0]["amount"] == 3590
    short = without(placed(), 3, 2, reason="out_of_stock", ends_as="out_of_stock")
    assert short["cancellation"] == {"reason": "out_of_stock"}


def test_pieces_that_are_paid_back_already_are_not_paid_back_again() -> None:
    order = taken(authorized(placed()))
    refund = refund_of(order, [2, 0])
    assert refund
    order = without(moved(order, refund), 2, 0)
    assert order["cancellations"][0]["amount"] == 784
    assert order["refunds"][1]["products"][0]["quantity"] == 1
    order = without(order, 1, 0)
    assert order["cancellations"][1]["amount"] == 0
    assert "refundId" not in order["cancellations"][1]
    assert len(order["refunds"]) == 2


def test_no_more_is_given_back_than_is_left() -> None:
    order = taken(authorized(placed()))
    order = moved(order, Change("refund.requested", {"refundId": "r", "amount": 3590 - 300}))
    order = without(order, 1, 0)
    assert order["cancellations"][0]["amount"] == 300
    assert "computed" not in order["refunds"][1], "a retry does not compute it anew"
    order = without(order, 1, 0)
    assert order["cancellations"][1]["amount"] == refundable(order) == 0


def test_lines_without_a_price_give_back_the_amount_of_the_request() -> None:
    unpriced = [{"quantity": 3}, {"quantity": 1}]
    order = without(placed(unpriced, [], 1000), 1, 0, amount=400)
    assert (charge(order).due, left(order)) == (600, 600)
    order = taken(authorized(order))
    order = without(order, 1, 0, amount=250)
    assert order["refunds"][0]["amount"] == order["cancellations"][1]["amount"] == 250
    assert (refundable(order), kept(repaid_all(order))) == (350, 350)


def test_an_order_of_which_nothing_is_due_is_free() -> None:
    free = [{"quantity": 1, "unitPrice": 0}, {"quantity": 1, "unitPrice": 500}]
    order = without(placed(free, []), 0, 1)
    assert (charge(order).due, is_free(order), order["status"]) == (0, True, "pending")
    order = taken(authorized(order))
    assert (order["status"], order["payment"]["status"]) == ("confirmed", "captured")
    assert order["payment"]["capturedAmount"] == 0
    before, order = order, without(order, 1, 0)
    assert types(order, before) == ["cancellation.created", "order.cancelled", "refund.requested"]
    assert repaid_all(order)["payment"]["status"] == "refunded"
    assert not is_free(placed([{"quantity": 1, "unitPrice": 0}], []))


@pytest.mark.parametrize(
    ("delivered", "expected"), [(False, ["order.shipped"]), (True, ["order.shipped", "order.delivered"])]
)
def test_the_open_rest_of_a_partly_shipped_order_ships_it(expected: list[str], *, delivered: bool) -> None:
    order = taken(authorized(placed()))
    status = "delivered" if delivered else "shipped"
    parcel: Any = {
        "id": "s",
        "status": status,
        "products": [{"line": 1, "quantity": 3}],
        "createdAt": AT,
        "updatedAt": AT,
    }
    order["shipments"] = [parcel]
    after = [change.type for change in part_cancellation(order, [0, 2])]
    assert after == ["cancellation.created", *expected, "refund.requested"]
    after = [change.type for change in part_cancellation(order, [0, 1])]
    assert after == ["cancellation.created", "refund.requested"]


def test_the_stock_gives_only_what_was_not_cancelled_before() -> None:
    order = without(placed(), 3, 1)
    assert quantities(order) == {"tea": 1}
    order = authorized(order)
    assert quantities(order) == {"tea": 1}
    later = without(authorized(placed()), 1, 1)
    assert quantities(later) == {"cup": 3, "tea": 2}
    assert later["cancellations"][0]["restocked"] is False
    restocked = moved(
        later, Change("cancellation.restocked", {"cancellationId": later["cancellations"][0]["id"]})
    )
    assert restocked["cancellations"][0]["restocked"] is True


def series(order: Order, random: Random) -> list[list[int]]:
    """Part cancellations of random pieces, up to all pieces."""
    free = open_pieces(order)
    found: list[list[int]] = []
    for _ in range(random.randint(1, 5)):
        wanted = [random.randint(0, some) for some in free]
        if any(wanted):
            found.append(wanted)
            free = [some - gone for some, gone in zip(free, wanted, strict=True)]
    return found


def lived(order: Order, gone: list[list[int]], asked: int, landed: int, decremented: int) -> Order:
    """The order at rest. Its capture is asked for and lands after so many of these cancellations."""
    amount = 0
    for number in range(len(gone) + 1):
        if number == decremented and order["status"] == "pending":
            order = authorized(order)
        if number == asked:
            amount = 0 if order["status"] == "cancelled" else charge(order).due
        if number == landed:
            if order["status"] == "pending":
                order = taken(order, amount)
            elif order["payment"]["status"] in ("pending", "authorized"):
                outcome = Outcome("captured" if amount else "voided", "r", captured=amount)
                order = moved(order, *VOID[outcome.status](order, outcome))
        if number < len(gone):
            order = without(order, *gone[number])
    return repaid_all(order)


@settings(max_examples=500, deadline=None)
@given(_LINES, st.lists(_DRAWN, max_size=5), st.integers(0))
def test_captured_less_refunded_is_the_same_whenever_pieces_are_cancelled(
    drawn: list[tuple[int, int]], more: Any, seed: int
) -> None:
    lines, random = [line(*one) for one in drawn], Random(seed)
    order = placed(lines, adjusted(lines, more))
    gone = series(order, random)
    ends = len(gone)
    decremented = random.randint(0, ends)
    asked = random.randint(decremented, ends)
    landed = random.randint(asked, ends)
    after = lived(order, gone, asked, landed, decremented)
    pieces = cancelled(after)
    if after["status"] == "cancelled":
        expected = 0
        assert pieces == [one["quantity"] for one in lines]
    else:
        claimed = [
            sum(costs(order).breakdown([each], shipping=False).values())
            for each in to_pay_back(order, pieces)
        ]
        expected = order["totalAmount"] - sum(claimed)
    assert kept(after) == expected
    assert kept(lived(order, gone, ends, ends, ends)) == expected
    assert kept(lived(order, gone, 0, 0, 0)) == expected
    assert kept(lived(order, gone, 0, ends, 0)) == expected
    for one in after.get("cancellations", ()):
        back = [
            refund["amount"]
            for refund in after.get("refunds", ())
            if refund.get("cancellationId") == one["id"]
        ]
        assert back in ([], [one["amount"]])
        assert ("refundId" in one) == bool(back)


@settings(max_examples=500, deadline=None)
@given(_LINES, st.lists(_DRAWN, max_size=5), st.integers(0))
def test_with_refunds_in_between_nothing_is_given_back_twice(
    drawn: list[tuple[int, int]], more: Any, seed: int
) -> None:
    """Neither a piece nor more than was taken."""
    lines, random = [line(*one) for one in drawn], Random(seed)
    order = placed(lines, adjusted(lines, more))
    if random.random() < 0.5:
        order = without(order, *next(iter(series(order, random)), [1] + [0] * (len(lines) - 1)))
    if order["status"] == "pending":
        order = taken(authorized(order))
    for _ in range(6):
        if order["status"] == "cancelled":
            break
        match random.randint(0, 3):
            case 0:
                refund = refund_of(order, [random.randint(0, one["quantity"]) for one in lines])
                order = moved(order, refund) if refund else order
            case 1 if refundable(order):
                amount = random.randint(1, refundable(order))
                data = {"refundId": f"x{order['version']}", "amount": amount}
                order = moved(order, Change("refund.requested", data))
            case 2:
                order = repaid_all(order)
            case _:
                if gone := series(order, random):
                    order = without(order, *gone[0])
        for refund_pieces in refunded(order):
            assert all(some.before + some.quantity <= drawn[some.line - 1][0] for some in refund_pieces)
    order = repaid_all(order)
    assert 0 <= kept(order) <= order["payment"]["capturedAmount"]
    by_lines = [one for one in order.get("refunds", ()) if "computed" in one]
    assert sum(one["amount"] for one in by_lines) + lowered(order) <= sum(
        costs(order).share(number) for number in range(1, len(lines) + 1)
    ) + (order["totalAmount"] if order["status"] == "cancelled" else 0)
    assert cost(order, to_pay_back(order, [one["quantity"] for one in lines])) >= 0
