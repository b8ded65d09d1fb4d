"""A Stripe of the tests' own: its process, and what a test does there behind the service's back."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx

from deploy.local.servers import HOST, Server
from deploy.local.stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

API_KEY = "sk_test_never_to_be_logged"
SIGNING_SECRET = "whsec_of_the_tests_and_of_nobody_else"

GOOD, DECLINED = "pm_card_visa", "pm_card_chargeCustomerFail"
# The numbers of cards whose owner has to act first; with the second, the bank declines it all the same.
ASKS_CUSTOMER, ASKS_CUSTOMER_AND_DECLINES = "4000002760003184", "4000008260003178"

Json = dict[str, Any]


class StripeServer(Server):
    """localstripe, completed by `tests.support.stripe_double`."""

    name = "stripe"
    needs = "it needs localstripe"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.process.cwd = ROOT
        self.url = f"http://{HOST}:{self.port}"
        self._http = httpx.Client(base_url=self.url, auth=(API_KEY, ""), trust_env=False, timeout=30)

    def __exit__(self, *ended: object) -> None:
        self._http.close()
        super().__exit__(*ended)

    def card(self, number: str) -> str:
        """A payment method of that card."""
        card = {"number": number, "exp_month": 12, "exp_year": 2040, "cvc": "123"}
        return str(self._post("/v1/payment_methods", {"type": "card", "card": card})["id"])

    def act(self, reference: str, client_secret: str, *, success: bool) -> None:
        """The customer confirms the payment at the bank, or fails to."""
        body = {"client_secret": client_secret, "success": success}
        answer = self._http.post(f"/v1/payment_intents/{reference}/_authenticate", json=body)
        assert answer.status_code in (200, 402), answer.text

    def intents(self, order_id: str) -> list[Json]:
        """All intents of an order, newest first."""
        answer = self._http.get("/v1/payment_intents", params={"limit": 10_000})
        return [found for found in answer.json()["data"] if found["metadata"].get("order_id") == order_id]

    def refunds(self, reference: str) -> list[Json]:
        """All refunds of an intent, newest first."""
        answer = self._http.get("/v1/refunds", params={"payment_intent": reference, "limit": 100})
        return list(answer.json()["data"])

    def change(self, path: str, body: Json) -> Json:
        """Actions at Stripe without the service."""
        return self._post(f"/v1/{path}", body)

    def send_events_to(self, url: str) -> None:
        """Events go to this address from now on, signed."""
        self._post("/_config/webhooks/ours", {"url": url, "secret": SIGNING_SECRET})

    def fail_next(self, path: str, **fault: Any) -> None:
        """Makes the next calls of the path fail; see `tests.support.stripe_double.count_and_fail`."""
        self._post("/_config/faults", {"path": f"/v1/{path}", **fault})

    def fail_no_more(self) -> None:
        """Forgets the faults that have not come yet."""
        self._http.delete("/_config/faults")

    def calls(self) -> Counter[str]:
        """How often each call was made, by method and path, ids left out."""
        return Counter(self._http.get("/_config/calls").json())

    def _post(self, path: str, body: Json) -> Json:
        answer = self._http.post(path, json=body)
        assert answer.is_success, answer.text
        return dict(answer.json()) if answer.content else {}

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "tests.support.stripe_double", str(self.port)]

    def _answers(self) -> bool:
        try:
            return self._http.get("/_config/calls").is_success
        except httpx.TransportError:
            return False
