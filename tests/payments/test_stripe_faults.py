"""A fault at Stripe ends by itself, ends the order or is retried, and no money moves twice."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.clock import now
from app.errors import ProviderUnavailable
from app.payments.model import TRY_AGAIN, Charge, Repayment
from app.payments.stripe.calls import Timeouts
from app.payments.stripe.provider import StripeProvider
from tests.support import providers
from tests.support.stripe_server import API_KEY, GOOD

if TYPE_CHECKING:
    from tests.support.providers import Outside
    from tests.support.stripe_server import StripeServer

CREATE, CONFIRM = "payment_intents", r"payment_intents/\w+/confirm"
CAPTURE, CANCEL = r"payment_intents/\w+/capture", r"payment_intents/\w+/cancel"
RETRIEVE = r"payment_intents/\w+"
pytestmark = pytest.mark.slow
# More often than one call of ours is tried by the SDK.
PERSISTENT = 2


@pytest.fixture
def outside(stripe_server: StripeServer) -> Outside:
    """Stripe, for which nobody waits long."""
    return providers.stripe(stripe_server, timeouts=Timeouts(connect=1, read=1))


def authorized(outside: Outside) -> Charge:
    """A charge that is authorized, with its reference."""
    charge = outside.charge()
    return charge._replace(reference=outside.ask("authorize", charge).reference)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "body": {"error": {"type": "rate_limit_error", "code": "rate_limit"}}},
        {"status": 409, "body": {"error": {"code": "lock_timeout"}}},
        {"status": 500},
        {"status": 503, "after": True},
        {"reset": True},
        {"delay": 1.5},
    ],
    ids=["429", "409", "500", "503 after the effect", "reset after the effect", "no answer in time"],
)
@pytest.mark.parametrize(
    ("step", "path"),
    [("authorize", CREATE), ("authorize", CONFIRM), ("capture", CAPTURE), ("void", CANCEL)],
    ids=["create", "confirm", "capture", "cancel"],
)
def test_a_fault_passes_and_the_money_has_moved_once(
    outside: Outside, stripe_server: StripeServer, step: str, path: str, fault: dict[str, Any]
) -> None:
    """One that lasts longer than the SDK tries is not known yet; then all is as if nothing had happened."""
    charge = outside.charge() if step == "authorize" else authorized(outside)
    stripe_server.fail_next(path, times=PERSISTENT, **fault)
    expected = {"authorize": "authorized", "capture": "captured", "void": "voided"}[step]
    assert outside.once(step, charge).status in (expected, "try_again")
    assert outside.ask(step, charge).status == expected
    assert outside.books(charge) == (expected, 1000 if step == "capture" else 0, 0)
    live = [
        found
        for found in stripe_server.intents(charge.order_id)
        if found["status"] != "requires_confirmation"
    ]
    assert len(live) == 1


@pytest.mark.parametrize("fault", [{"status": 429}, {"reset": True}, {"delay": 1.5}])
def test_a_refund_whose_answer_was_lost_is_made_once(
    outside: Outside, stripe_server: StripeServer, fault: dict[str, Any]
) -> None:
    charge = outside.captured()
    stripe_server.fail_next("refunds", times=PERSISTENT, **fault)
    assert outside.repay(charge, 400).status == "refunded"
    assert [found["amount"] for found in stripe_server.refunds(charge.reference or "")] == [400]


def test_a_refund_repeated_after_its_key_has_gone_is_made_once(
    outside: Outside, stripe_server: StripeServer
) -> None:
    """The refund is searched by its id and not by a key, so another attempt finds it too."""
    charge = outside.captured()
    assert outside.repay(charge, 400).status == "refunded"
    assert outside.repay(charge, 400, attempt=2).status == "refunded"
    assert len(stripe_server.refunds(charge.reference or "")) == 1


@pytest.mark.parametrize(
    ("status", "expected"), [("pending", "try_again"), ("failed", "failed"), ("canceled", "failed")]
)
def test_a_refund_ends_when_the_bank_has_taken_it(
    outside: Outside, stripe_server: StripeServer, status: str, expected: str
) -> None:
    charge = outside.captured()
    assert outside.repay(charge, 400).status == "refunded"
    (made,) = stripe_server.refunds(charge.reference or "")
    stripe_server.change(f"refunds/{made['id']}", {"status": status})
    repayment = Repayment(charge, f"{charge.order_id}-1", 1, 400)
    ((outcome,),) = [list(group.values()) for group in outside.provider.refund([repayment])]
    assert outcome.status == expected
    if expected == "failed":
        assert outcome.code == status
        assert outside.repay(charge, 400, attempt=2).status == "refunded"
        assert len(stripe_server.refunds(charge.reference or "")) == 2


def test_the_order_shows_the_banks_own_code(outside: Outside, stripe_server: StripeServer) -> None:
    decline = {"type": "card_error", "code": "card_declined", "decline_code": "lost_card", "message": "No."}
    stripe_server.fail_next(CONFIRM, status=402, body={"error": decline})
    outcome = outside.once("authorize", outside.charge())
    assert (outcome.status, outcome.code, outcome.message) == ("declined", "lost_card", "No.")


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize("path", [CREATE, CONFIRM], ids=["create", "confirm"])
def test_a_payment_that_stripe_refuses_is_declined_and_not_repeated(
    outside: Outside, stripe_server: StripeServer, path: str, status: int
) -> None:
    """The customer does not see Stripe's words, which may name our key; the intent is closed."""
    error = {"type": "invalid_request_error", "message": f"No such key: {API_KEY}", "code": "no_such_thing"}
    stripe_server.fail_next(path, status=status, body={"error": error})
    charge, before = outside.charge(), stripe_server.calls()
    outcome = outside.once("authorize", charge)
    assert (outcome.status, outcome.code) == ("declined", "no_such_thing")
    assert API_KEY not in outcome.message
    made = stripe_server.calls() - before
    assert made["POST /v1/payment_intents"] == 1
    assert made["POST /v1/payment_intents/pi/confirm"] == (path == CONFIRM)
    assert all(found["status"] == "canceled" for found in stripe_server.intents(charge.order_id))


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("path", [CREATE, CONFIRM], ids=["create", "confirm"])
def test_an_order_waits_while_stripe_does_not_take_our_key(
    outside: Outside, stripe_server: StripeServer, path: str, status: int
) -> None:
    charge = outside.charge()
    stripe_server.fail_next(path, status=status)
    assert outside.once("authorize", charge) == TRY_AGAIN
    assert outside.once("authorize", charge).status == "authorized"


def test_a_token_that_stripe_does_not_know_ends_the_order(outside: Outside) -> None:
    charge = outside.charge(method="pm_0123456789abcdef")
    outcome = outside.once("authorize", charge)
    assert (outcome.status, outcome.code) == ("declined", "resource_missing")
    assert outside.once("void", charge).status == "voided"
    assert outside.provider.find(charge) is None


def test_an_authorization_that_cannot_be_captured_is_let_go(
    outside: Outside, stripe_server: StripeServer
) -> None:
    charge = authorized(outside)
    stripe_server.fail_next(
        CAPTURE, status=400, body={"error": {"code": "capture_charge_authorization_expired"}}
    )
    assert outside.once("capture", charge).status == "voided"
    assert outside.books(charge) == ("voided", 0, 0)


def test_a_refused_cancellation_is_asked_again_since_money_may_be_held(
    outside: Outside, stripe_server: StripeServer
) -> None:
    charge = authorized(outside)
    stripe_server.fail_next(CANCEL, status=403)
    assert outside.once("void", charge) == TRY_AGAIN
    assert outside.once("void", charge).status == "voided"


def test_a_fault_kept_under_a_key_is_passed_over(outside: Outside, stripe_server: StripeServer) -> None:
    """For as long as a day Stripe would answer with it; a void finds the intent that came after, too."""
    charge = outside.charge()
    stripe_server.fail_next(CREATE, status=500, after=True)
    assert outside.ask("authorize", charge).status == "authorized"
    assert outside.ask("void", charge).status == "voided"
    intents = stripe_server.intents(charge.order_id)
    assert sorted(found["status"] for found in intents) == ["canceled", "requires_confirmation"]


def test_an_order_older_than_the_keys_is_looked_for(outside: Outside, stripe_server: StripeServer) -> None:
    """Made under another key here, as if its own had gone."""
    charge = outside.charge()._replace(at=now() - timedelta(hours=24))
    body = {"amount": 1000, "currency": "usd", "payment_method": GOOD, "capture_method": "manual"}
    made = stripe_server.change("payment_intents", {**body, "metadata": {"order_id": charge.order_id}})
    outcome = outside.ask("authorize", charge)
    assert (outcome.status, outcome.reference) == ("authorized", made["id"])
    assert outside.ask("void", charge._replace(reference=None)).status == "voided"
    assert len(stripe_server.intents(charge.order_id)) == 1


def test_a_slow_charge_holds_up_no_other(outside: Outside, stripe_server: StripeServer) -> None:
    """The outcomes of the others are there while it still waits."""
    patient = providers.stripe(stripe_server)
    stripe_server.fail_next(CREATE, delay=2)
    slow, others = patient.charge(), [patient.charge() for _ in range(40)]
    outcomes = patient.provider.authorize([slow, *others])
    began, known = time.monotonic(), 0
    for group in outcomes:
        known += len(group)
        if known == len(others):
            assert time.monotonic() - began < 1.8
    assert known == len(others) + 1


def test_with_stripe_down_nothing_is_known(stripe_server: StripeServer) -> None:
    nowhere = StripeProvider(API_KEY, now, api_base="http://127.0.0.1:9", timeouts=Timeouts(0.5, 0.5))
    charge = Charge("6b032fd2a23ac6489830f6e5", 1000, "USD", GOOD, now())
    for step in (nowhere.authorize, nowhere.capture, nowhere.void):
        assert list(step([charge])) == [{charge.order_id: TRY_AGAIN}]
    assert list(nowhere.refund([Repayment(charge, "r", 1, 1)])) == [{"r": TRY_AGAIN}]
    with pytest.raises(ProviderUnavailable):
        nowhere.find(charge)
    with pytest.raises(ProviderUnavailable):
        list(nowhere.list_since(now()))


def test_no_text_of_the_service_contains_the_key(
    outside: Outside, stripe_server: StripeServer, logged: list[Any]
) -> None:
    """Not even if Stripe's answer contains it."""
    echoed = {"error": {"message": f"Invalid API Key provided: {API_KEY}", "code": "no_such_thing"}}
    for path, method in ((RETRIEVE, "GET"), (CREATE, "POST"), ("refunds", "POST")):
        stripe_server.fail_next(path, method=method, status=400, body=echoed)
    with pytest.raises(ProviderUnavailable) as caught:
        outside.provider.find(outside.charge()._replace(reference="pi_1"))
    assert "InvalidRequestError" in str(caught.value)
    outcomes = [outside.once("authorize", outside.charge()), outside.repay(outside.captured(), 1)]
    assert {outcome.code for outcome in outcomes} == {"no_such_thing"}
    assert len(logged) == 2
    assert API_KEY not in f"{caught.value} {outcomes} {logged}"
