"""Special to Stripe: actions of customers, its events, and its units of money."""

from __future__ import annotations

import queue
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from app.clock import now
from app.payments.stripe.answers import to_minor, to_units
from app.payments.stripe.calls import Timeouts
from tests.support import providers
from tests.support.stripe_server import ASKS_CUSTOMER, ASKS_CUSTOMER_AND_DECLINES, SIGNING_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.providers import Outside
    from tests.support.stripe_server import StripeServer


@pytest.fixture
def outside(stripe_server: StripeServer) -> Outside:
    """Stripe, for which nobody waits long."""
    return providers.stripe(stripe_server, timeouts=Timeouts(connect=1, read=1))


def test_the_customer_acts_and_the_payment_goes_on(outside: Outside, stripe_server: StripeServer) -> None:
    charge = outside.charge(method=stripe_server.card(ASKS_CUSTOMER))
    first = outside.once("authorize", charge)
    assert (first.status, first.code) == ("requires_action", "use_stripe_sdk")
    assert first.client_secret.startswith(first.reference)
    assert outside.once("authorize", charge) == first
    known = charge._replace(reference=first.reference)
    assert outside.once("authorize", known) == first
    stripe_server.act(first.reference, first.client_secret, success=True)
    assert outside.once("authorize", known).status == "authorized"
    assert outside.once("authorize", charge).status == "authorized"


@pytest.mark.parametrize(
    ("number", "success", "code"),
    [
        (ASKS_CUSTOMER, False, "payment_intent_authentication_failure"),
        (ASKS_CUSTOMER_AND_DECLINES, True, "card_declined"),
    ],
)
def test_a_failed_action_of_the_customer_declines_the_order_for_good(
    outside: Outside, stripe_server: StripeServer, number: str, code: str, *, success: bool
) -> None:
    charge = outside.charge(method=stripe_server.card(number))
    first = outside.once("authorize", charge)
    stripe_server.act(first.reference, first.client_secret, success=success)
    known = charge._replace(reference=first.reference)
    for _ in range(2):
        outcome = outside.once("authorize", known)
        assert (outcome.status, outcome.code) == ("declined", code)
    (intent,) = stripe_server.intents(charge.order_id)
    assert intent["status"] == "canceled"


def test_an_order_that_waits_for_its_customer_can_be_voided(
    outside: Outside, stripe_server: StripeServer
) -> None:
    charge = outside.charge(method=stripe_server.card(ASKS_CUSTOMER))
    first = outside.once("authorize", charge)
    assert outside.once("void", charge._replace(reference=first.reference)).status == "voided"
    assert outside.books(charge) == ("voided", 0, 0)


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [
        (1234, "USD", 1234),
        (1234, "JPY", 1234),
        (12, "ISK", 1200),
        (12, "UGX", 1200),
        (1200, "MGA", 12),
        (5000, "KWD", 5000),
    ],
)
def test_stripe_counts_some_currencies_in_units_of_its_own(amount: int, currency: str, units: int) -> None:
    assert to_units(amount, currency) == units
    assert to_minor(units, currency) == amount


def test_an_amount_that_stripe_cannot_express_is_declined(outside: Outside) -> None:
    charge = outside.charge(1250, currency="MGA")
    assert outside.once("authorize", charge).code == "amount_not_supported"
    assert outside.once("void", charge).status == "voided"


class Mailman:
    """Takes what Stripe sends, as it comes over the wire."""

    def __init__(self) -> None:
        self.came: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        came = self.came

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                came.put((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Take)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def mailman() -> Iterator[Mailman]:
    """Listens on a free port."""
    man = Mailman()
    yield man
    man.server.shutdown()
    man.server.server_close()


def test_an_event_that_stripe_sends_is_believed(
    outside: Outside, stripe_server: StripeServer, mailman: Mailman
) -> None:
    """As it comes over the wire, signed by another hand than ours."""
    stripe_server.send_events_to(f"http://127.0.0.1:{mailman.server.server_port}/")
    charge = outside.captured()
    while True:
        headers, body = mailman.came.get(timeout=10)
        event = outside.provider.event(headers, body)
        if event.order_id == charge.order_id:
            break
    assert (event.type, event.reference) == ("payment_intent.succeeded", charge.reference)


@pytest.mark.parametrize(
    ("about", "order_id", "reference"),
    [
        (
            {"object": "refund", "id": "re_1", "payment_intent": "pi_1", "metadata": {"order_id": "o"}},
            "o",
            "pi_1",
        ),
        ({"object": "charge", "id": "ch_1", "payment_intent": "pi_1", "metadata": {}}, None, "pi_1"),
        ({"object": "payout", "id": "po_1"}, None, None),
        ({"object": "payment_intent", "id": "pi_2", "metadata": None}, None, "pi_2"),
    ],
)
def test_an_event_names_the_payment_whatever_it_is_about(
    outside: Outside, about: dict[str, Any], order_id: str | None, reference: str | None
) -> None:
    body = providers.event_body("some.kind", about)
    event = outside.provider.event(outside.sign(body, now(), SIGNING_SECRET), body)
    assert (event.type, event.order_id, event.reference) == ("some.kind", order_id, reference)
