"""An order is its own log: what is folded is what was advanced, and nothing in the log changes unseen."""

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clock import id_at
from app.errors import IllegalTransition
from app.orders.events import EVENTS, PUBLIC
from app.orders.goods import shipments
from app.orders.history import History
from app.orders.holds import HOLDABLE
from app.orders.log import first_bad_sequence
from app.orders.model import (
    Change,
    Event,
    Order,
    advance,
    allowed_to_clients,
    create,
    digest_of,
    fold,
    quantities,
)
from app.orders.states import STATUS, TRANSITIONS

AT = datetime(2024, 10, 4, 10, tzinfo=UTC)
ID = id_at(AT, 7)
STATED = {
    "userId": "ü-1",
    "products": [{"productId": "apple", "quantity": 2, "unitPrice": 100}],
    "totalAmount": 200,
    "currency": "EUR",
    "paymentMethod": "sandbox_ok",
    "reference": "R 1",
}
DATA: dict[str, dict[str, Any]] = {
    "order.shipped": {"tracking": {"carrier": "Post", "number": "№ 1"}},
    "order.cancelled": {"cancellation": {"reason": "requested"}},
    "order.deleted": {"deletedAt": AT},
    "note.added": {"noteId": f"{ID}-n1", "visibility": "internal", "textDigest": "d" * 64},
    "note.erased": {"noteId": f"{ID}-n1"},
    "order.tagged": {"added": ["vip"], "removed": []},
    "order.amended": {"fields": ["reference"], "reference": "R 2"},
    "payment.authorized": {"reference": "ref"},
    "payment.captured": {"capturedAmount": 200},
    "payment.refunded": {"refundedAmount": 200},
    "payment.action_required": {"reference": "ref", "action": {"type": "3ds", "clientSecret": "s"}},
    "shipment.created": {
        "shipmentId": f"{ID}-s1",
        "products": [{"line": 1, "quantity": 2}],
        "tracking": {"number": "№ 1"},
    },
    "shipment.corrected": {"shipmentId": f"{ID}-s1", "tracking": {"number": "№ 2"}},
    "shipment.delivered": {"shipmentId": f"{ID}-s1"},
    "shipment.cancelled": {"shipmentId": f"{ID}-s1"},
    "hold.placed": {"code": "a", "blocks": ["ship"], "then": "release", "reason": "№ 1"},
    "hold.released": {"code": "a"},
    "hold.expired": {"code": "a"},
    "refund.requested": {"refundId": f"{ID}-1", "amount": 50, "reason": "late"},
    "refund.retried": {"refundId": f"{ID}-1"},
    "refund.succeeded": {"refundId": f"{ID}-1"},
    "refund.failed": {"refundId": f"{ID}-1", "failure": {"code": "no", "message": "No."}},
    "refund.restocked": {"refundId": f"{ID}-1", "restocked": True},
    "stock.insufficient": {"shortages": [{"productId": "apple", "requested": 2, "available": 1}]},
}

# These begin a refund or a shipment.
FIRST = ("refund.requested", "shipment.created")


def new_order() -> Order:
    """An order at version 1."""
    return create(ID, AT, "ü-1", dict(STATED), None)


def legal(order: Order) -> list[str]:
    """The types of all events that the tables allow now; one refund and one shipment are enough."""
    present = {
        "order": order["status"],
        "payment": order["payment"]["status"],
        "stock": order["stock"]["status"],
    }
    for refund in order.get("refunds", ()):
        present["refund"] = refund["status"]
    for shipment in shipments(order):
        present["shipment"] = shipment["status"]
    if order["status"] in HOLDABLE:
        # No table forbids an event of a hold.
        present["hold"] = ""
    return [
        kind
        for kind, (axis, value, *_) in EVENTS.items()
        if (kind == "refund.requested" and "refund" not in present)
        or (kind == "shipment.created" and present["order"] == "confirmed" and "shipment" not in present)
        or (
            (kind not in FIRST and axis in present)
            and (value is None or value in TRANSITIONS[axis][present[axis]])
        )
    ]


@st.composite
def walks(draw: st.DrawFn, least: int = 0) -> Order:
    """An order after some random changes, all of them legal, in writes of one or two."""
    order = new_order()
    for number in range(draw(st.integers(least, 8))):
        first = draw(st.sampled_from(legal(order)))
        changes = [Change(first, DATA.get(first, {}))]
        following = legal(advance(order, AT, "x", changes))
        if draw(st.booleans()):
            second = draw(st.sampled_from(following))
            changes.append(Change(second, DATA.get(second, {})))
        order = advance(order, AT + timedelta(milliseconds=number), draw(st.text(max_size=3)), changes)
    return order


@given(walks())
def test_the_state_after_any_walk_is_the_fold_of_its_events(order: Order) -> None:
    assert fold(ID, order["events"]) == order


@given(walks())
def test_the_log_counts_from_one_without_gaps_and_the_version_is_its_last(order: Order) -> None:
    sequences = [event["sequence"] for event in order["events"]]
    assert sequences == list(range(1, order["version"] + 1))
    assert order["updatedAt"] == order["events"][-1]["at"]
    public = [event["sequence"] for event in order["events"] if event["type"] in PUBLIC]
    assert order["publicVersion"] == public[-1]


@given(walks(), st.data())
def test_every_past_state_can_be_folded_and_led_to_the_present_one(order: Order, data: st.DataObject) -> None:
    version = data.draw(st.integers(1, order["version"]))
    past = fold(ID, order["events"][:version])
    later = [Change(event["type"], event["data"]) for event in order["events"][version:]]
    assert past["version"] == version
    if later:
        present = advance(past, AT, "x", later)
        assert [present[axis] for axis in ("status", "payment", "stock")] == [
            order[axis] for axis in ("status", "payment", "stock")
        ]


@given(walks(), st.lists(st.integers(1, 20), max_size=10))
def test_past_states_are_the_same_in_whatever_order_they_are_asked_for(
    order: Order, sequences: list[int]
) -> None:
    history = History(order)
    asked = [(sequence, history.as_of(sequence)) for sequence in sequences]
    assert all(past == fold(ID, order["events"][:sequence]) for sequence, past in asked)


@given(walks())
def test_a_move_that_the_table_forbids_is_refused_and_changes_nothing(order: Order) -> None:
    before = deepcopy(order)
    asked = order.get("refunds", [])
    for kind in EVENTS.keys() - set(legal(order)):
        if kind.startswith("refund.") and (not asked or kind == "refund.requested"):
            continue
        if kind.startswith(("hold.", "cancellation.", "return.")) or kind == "shipment.created":
            continue
        if kind.startswith("shipment.") and not shipments(order):
            continue
        with pytest.raises(IllegalTransition) as refusal:
            advance(
                order,
                AT,
                "x",
                [Change("order.deleted", DATA["order.deleted"]), Change(kind, DATA.get(kind, {}))],
            )
        if not kind.startswith(("refund.", "shipment.")):
            assert refusal.value.allowed == allowed_to_clients(order)
    assert order == before


@given(walks(), st.integers(1, 3))
def test_advancing_from_the_tail_alone_adds_the_same_events(order: Order, tail: int) -> None:
    kind = legal(order)[0]
    whole = advance(order, AT, "x", [Change(kind, DATA.get(kind, {}))])
    short = advance({**order, "events": order["events"][-tail:]}, AT, "x", [Change(kind, DATA.get(kind, {}))])
    assert short["events"][-1] == whole["events"][-1]
    assert {**short, "events": []} == {**whole, "events": []}


@given(walks())
def test_an_unchanged_log_verifies(order: Order) -> None:
    assert first_bad_sequence(ID, order["events"]) is None


EDITS: list[tuple[str, Any]] = [
    ("actor", "somebody else"),
    ("at", AT + timedelta(days=1)),
    ("data", {"totalAmount": 1}),
    ("type", "order.forged"),
    ("hash", "0" * 64),
    ("sequence", 99),
]


@given(walks(), st.sampled_from(EDITS), st.data())
def test_an_edit_of_any_field_of_any_event_is_found_where_it_was_made(
    order: Order, edit: tuple[str, Any], data: st.DataObject
) -> None:
    events: list[Any] = deepcopy(order["events"])
    place = data.draw(st.integers(0, len(events) - 1))
    field, value = edit
    events[place][field] = value
    assert first_bad_sequence(ID, events) == place + 1


@given(walks(least=1), st.data())
def test_an_edit_hidden_behind_a_new_hash_breaks_the_chain_at_the_next_event(
    order: Order, data: st.DataObject
) -> None:
    events = deepcopy(order["events"])
    place = data.draw(st.integers(0, len(events) - 2))
    forged = advance(
        {**order, "events": events[:place]} if place else {**order, "events": [_seed()]},
        events[place]["at"],
        "forger",
        [Change("order.deleted")],
    )["events"][-1]
    assert first_bad_sequence(ID, [*events[:place], forged, *events[place + 1 :]]) == place + 2


def _seed() -> Event:
    return Event(sequence=0, type="", at=AT, actor="", data={}, hash=ID)


@given(walks(least=2), st.data())
def test_a_removed_doubled_or_moved_event_is_found_at_the_first_place_that_is_wrong(
    order: Order, data: st.DataObject
) -> None:
    events = order["events"]
    place = data.draw(st.integers(0, len(events) - 2))
    removed = events[:place] + events[place + 1 :]
    doubled = [*events[: place + 1], *events[place:]]
    swapped = [*events[:place], events[place + 1], events[place], *events[place + 2 :]]
    assert first_bad_sequence(ID, removed) == place + 1
    assert first_bad_sequence(ID, doubled) == place + 2
    assert first_bad_sequence(ID, swapped) == place + 1


@given(walks(least=1), st.data())
def test_a_log_that_was_cut_off_is_found_by_the_version_it_should_reach(
    order: Order, data: st.DataObject
) -> None:
    kept = data.draw(st.integers(0, order["version"] - 1))
    assert first_bad_sequence(ID, order["events"][:kept], order["version"]) == kept + 1
    assert first_bad_sequence(ID, order["events"], order["version"]) is None


def test_the_log_of_one_order_does_not_verify_as_anothers() -> None:
    assert first_bad_sequence(id_at(AT, 8), new_order()["events"]) == 1


def test_personal_data_stand_outside_the_log_which_holds_their_digest() -> None:
    personal: Any = {"salt": "s", "email": "a@example.org"}
    order = create(ID, AT, "u", dict(STATED), personal)
    assert order["personal"] == personal
    assert order["events"][0]["data"]["personalDigest"] == digest_of(personal)
    assert "example.org" not in repr(order["events"])
    erased = {**order, "personal": None}
    assert first_bad_sequence(ID, erased["events"]) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("status", STATUS)
def test_a_client_may_ask_for_nothing_that_the_table_forbids_nor_for_confirmation(status: str) -> None:
    assert set(allowed_to_clients({"status": status})) == set(STATUS[status]) - {"confirmed"}


def test_quantities_sum_the_lines_of_a_product() -> None:
    order = new_order()
    order["products"] = [
        {"productId": "b", "quantity": 1},
        {"productId": "a", "quantity": 2},
        {"productId": "b", "quantity": 4},
    ]
    assert quantities(order) == {"b": 5, "a": 2}
