"""Holds for every payment provider: repeated and simultaneous calls have one effect."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from app.clock import now
from app.payments.model import BadSignature
from tests.support import providers
from tests.support.doubles import at_once

if TYPE_CHECKING:
    from tests.support.providers import Outside

MANY = 8


@pytest.fixture(params=["sandbox", "stripe"])
def outside(request: pytest.FixtureRequest) -> Outside:
    """Each provider in turn."""
    if request.param == "sandbox":
        return providers.sandbox(request.getfixturevalue("database"))
    return providers.stripe(request.getfixturevalue("stripe_server"))


def test_a_payment_goes_its_way_and_each_call_repeated_has_the_outcome_of_the_first(outside: Outside) -> None:
    charge = outside.charge()
    first = outside.ask("authorize", charge)
    assert first.status == "authorized"
    assert first.reference
    assert outside.ask("authorize", charge) == first
    assert outside.books(charge) == ("authorized", 0, 0)
    charge = charge._replace(reference=first.reference)
    assert outside.ask("authorize", charge) == first
    assert [outside.ask("capture", charge).status for _ in range(2)] == ["captured"] * 2
    assert outside.books(charge) == ("captured", 1000, 0)
    assert [outside.repay(charge, 1000).status for _ in range(2)] == ["refunded"] * 2
    assert outside.books(charge) == ("refunded", 1000, 1000)


def test_a_lowered_capture_takes_what_is_due_and_releases_the_rest(outside: Outside) -> None:
    charge = outside.charge()._replace(lowered=700)
    charge = charge._replace(reference=outside.ask("authorize", charge).reference)
    assert outside.books(charge) == ("authorized", 0, 0)
    for later in (charge, charge._replace(lowered=0), charge._replace(lowered=900)):
        outcome = outside.ask("capture", later)
        assert (outcome.status, outcome.captured) == ("captured", 300)
    assert outside.books(charge) == ("captured", 300, 0)
    found = outside.provider.find(charge)
    assert found
    assert found.amount == 1000
    assert outside.ask("void", charge)[:2] == ("captured", charge.reference)
    assert outside.ask("void", charge).captured == 300
    assert outside.repay(charge, 301).status == "failed"
    assert outside.repay(charge, 100, number=2).status == "refunded"
    assert outside.books(charge) == ("captured", 300, 100)
    assert outside.repay(charge, 200, number=3).status == "refunded"
    assert outside.books(charge) == ("refunded", 300, 300)


def test_a_refund_of_nothing_succeeds_for_a_voided_payment(outside: Outside) -> None:
    charge = outside.charge()
    assert outside.ask("void", charge).status == "voided"
    assert outside.repay(charge, 0).status == "refunded"


def test_doubles_at_the_same_time_move_the_money_once(outside: Outside) -> None:
    charge = outside.charge()
    authorized = at_once(*[lambda: outside.ask("authorize", charge)] * MANY)
    assert {outcome.status for outcome in authorized} == {"authorized"}
    assert len({outcome.reference for outcome in authorized}) == 1
    captured = at_once(*[lambda: outside.ask("capture", charge)] * MANY)
    assert {outcome.status for outcome in captured} == {"captured"}
    repaid = at_once(*[lambda: outside.repay(charge, 400)] * MANY)
    assert {outcome.status for outcome in repaid} == {"refunded"}
    assert outside.books(charge) == ("captured", 1000, 400)


def test_a_batch_has_an_outcome_for_each_of_its_charges(outside: Outside) -> None:
    good, bad = (
        [outside.charge() for _ in range(20)],
        [outside.charge(method=outside.declined) for _ in range(3)],
    )
    outcomes = {
        name: outcome
        for group in outside.provider.authorize([*good, *bad])
        for name, outcome in group.items()
    }
    assert {charge.order_id for charge in good} == {
        name for name, outcome in outcomes.items() if outcome.status == "authorized"
    }
    assert {charge.order_id for charge in bad} == {
        name for name, outcome in outcomes.items() if outcome.status == "declined"
    }


def test_a_decline_carries_the_code_and_stays(outside: Outside) -> None:
    charge = outside.charge(method=outside.declined)
    for _ in range(2):
        outcome = outside.ask("authorize", charge)
        assert (outcome.status, outcome.code) == ("declined", outside.code)
        assert outcome.message
    assert outside.books(charge) == ("declined", 0, 0)
    assert outside.ask("void", charge).status in ("voided", "declined")


def test_a_payment_voided_before_its_authorization_can_never_be_authorized(outside: Outside) -> None:
    charge = outside.charge()
    assert [outside.ask("void", charge).status for _ in range(2)] == ["voided"] * 2
    assert outside.ask("authorize", charge).status == "voided"
    assert outside.ask("capture", charge).status == "voided"
    assert outside.books(charge) == ("voided", 0, 0)


@pytest.mark.parametrize("known", [True, False], ids=["by reference", "by order"])
def test_a_void_lets_an_authorization_go(outside: Outside, *, known: bool) -> None:
    charge = outside.charge()
    reference = outside.ask("authorize", charge).reference
    charge = charge._replace(reference=reference if known else None)
    assert [outside.ask("void", charge).status for _ in range(2)] == ["voided"] * 2
    assert outside.ask("capture", charge).status == "voided"
    assert outside.ask("authorize", charge).status == "voided"
    assert outside.books(charge) == ("voided", 0, 0)


def test_a_void_while_authorizing_leaves_nothing_open(outside: Outside) -> None:
    for _ in range(6):
        charge = outside.charge()
        authorized, voided = at_once(
            lambda charge=charge: outside.ask("authorize", charge),
            lambda charge=charge: outside.ask("void", charge),
        )
        assert voided.status == "voided"
        assert authorized.status in ("authorized", "voided")
        assert outside.ask("authorize", charge).status == "voided"
        assert outside.books(charge) == ("voided", 0, 0)


def test_a_void_while_capturing_says_which_came_first(outside: Outside) -> None:
    for _ in range(4):
        charge = outside.charge()
        charge = charge._replace(reference=outside.ask("authorize", charge).reference)
        captured, voided = at_once(
            lambda charge=charge: outside.ask("capture", charge),
            lambda charge=charge: outside.ask("void", charge),
        )
        assert captured.status == voided.status
        expected = {"captured": ("captured", 1000, 0), "voided": ("voided", 0, 0)}
        assert outside.books(charge) == expected[voided.status]


def test_a_void_finds_money_that_was_taken(outside: Outside) -> None:
    assert outside.ask("void", outside.captured()).status == "captured"


def test_parts_are_given_back_until_nothing_is_left(outside: Outside) -> None:
    charge = outside.captured()
    assert outside.repay(charge, 300, number=1).status == "refunded"
    assert outside.repay(charge, 300, number=2).status == "refunded"
    assert outside.books(charge) == ("captured", 1000, 600)
    above = outside.repay(charge, 500, number=3)
    assert above.status == "failed"
    assert above.code
    assert above.message
    assert outside.repay(charge, 400, number=4).status == "refunded"
    assert outside.books(charge) == ("refunded", 1000, 1000)


def test_refunds_at_the_same_time_never_exceed_the_captured_amount(outside: Outside) -> None:
    charge = outside.captured()
    outcomes = at_once(
        *[lambda number=number: outside.repay(charge, 300, number=number) for number in range(MANY)]
    )
    assert sorted(outcome.status for outcome in outcomes) == ["failed"] * (MANY - 3) + ["refunded"] * 3
    assert outside.books(charge) == ("captured", 1000, 900)


def test_money_that_was_never_captured_cannot_be_refunded(outside: Outside) -> None:
    charge = outside.charge()
    charge = charge._replace(reference=outside.ask("authorize", charge).reference)
    outcome = outside.repay(charge, 1000)
    assert outcome.status == "failed"
    assert outcome.code
    assert outside.books(charge) == ("authorized", 0, 0)


def test_a_charge_of_nothing_goes_through(outside: Outside) -> None:
    charge = outside.charge(0)
    assert outside.ask("authorize", charge).status == "authorized"
    assert outside.ask("capture", charge).status == "captured"
    other = outside.charge(0)
    assert outside.ask("void", other).status == "voided"


@pytest.mark.parametrize("currency", ["JPY", "KWD", "ISK"])
def test_amounts_are_the_same_on_both_books_in_every_currency(outside: Outside, currency: str) -> None:
    charge = outside.charge(12340, currency=currency)
    outside.ask("authorize", charge)
    outside.ask("capture", charge)
    outside.repay(charge, 340)
    found = outside.provider.find(charge)
    assert found
    assert (found.amount, found.currency, found.captured, found.refunded) == (12340, currency, 12340, 340)


def test_a_payment_is_found_with_its_reference_and_without(outside: Outside) -> None:
    charge = outside.captured()
    by_reference, by_order = (
        outside.provider.find(charge),
        outside.provider.find(charge._replace(reference=None)),
    )
    assert by_reference == by_order
    assert by_reference
    assert (by_reference.order_id, by_reference.reference) == (charge.order_id, charge.reference)
    assert abs(by_reference.at - charge.at) < timedelta(minutes=1)
    assert outside.provider.find(outside.charge()) is None


def test_all_payments_since_a_moment_are_listed(outside: Outside) -> None:
    """More of them than a page of Stripe's holds."""
    charges = [outside.charge() for _ in range(130)]
    for _ in outside.provider.authorize(charges):
        pass
    listed = [
        payment.order_id for payment in outside.provider.list_since(charges[0].at - timedelta(seconds=1))
    ]
    assert {charge.order_id for charge in charges} <= set(listed)
    assert len(listed) == len(set(listed))
    assert list(outside.provider.list_since(now() + timedelta(hours=1))) == []


def test_it_knows_its_own_methods_only(outside: Outside) -> None:
    assert outside.provider.accepts(outside.good)
    assert not outside.provider.accepts(outside.unknown)
    assert not outside.provider.accepts("")
    assert not outside.provider.accepts(f"{outside.good}\n")


def test_an_event_names_its_payment(outside: Outside) -> None:
    charge = outside.captured()
    body = outside.body(charge.order_id, charge.reference or "")
    headers = outside.sign(body, now(), outside.secret)
    event = outside.provider.event(headers, body)
    assert (event.id, event.order_id, event.reference) == ("evt_1", charge.order_id, charge.reference)
    shouted = {name.upper(): value for name, value in headers.items()}
    assert outside.provider.event(shouted, body) == event


@pytest.mark.parametrize("fault", ["forged", "old", "altered", "unsigned", "garbled", "not text"])
def test_an_event_that_is_not_the_providers_is_refused(outside: Outside, fault: str) -> None:
    body = outside.body("6b032fd2a23ac6489830f6e5", "pi_1")
    old = now() - timedelta(minutes=5, seconds=5)
    match fault:
        case "forged":
            headers = outside.sign(body, now(), "whsec_b3RoZXIgc2VjcmV0cyBzaWduIG90aGVyd2lzZQ==")
        case "old":
            headers = outside.sign(body, old, outside.secret)
        case "unsigned":
            headers = {}
        case "garbled":
            headers = dict.fromkeys(outside.sign(body, now(), outside.secret), "t=é,v1=,")
        case _:
            headers = outside.sign(body, now(), outside.secret)
    if fault == "altered":
        body = body.replace(b"6b032fd2", b"7b032fd2")
    if fault == "not text":
        body = b"\xff" + body
    with pytest.raises(BadSignature):
        outside.provider.event(headers, body)


@pytest.mark.parametrize("body", [b"[]", b"{}", b"not json", b'{"type": 1}'])
def test_a_signed_body_that_is_no_event_is_a_value_error(outside: Outside, body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        outside.provider.event(outside.sign(body, now(), outside.secret), body)
