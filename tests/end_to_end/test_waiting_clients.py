"""A client that would rather wait gets the finished order in the answer to its POST."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.service import draft

if TYPE_CHECKING:
    from tests.end_to_end.service import Service


def test_a_client_that_prefers_to_wait_gets_the_confirmed_order_and_the_same_bytes_again(
    service: Service,
) -> None:
    """A replay shows the order as the first answer did, whatever happened to it since."""
    headers = {"Prefer": "wait=20", "Idempotency_Key": "a-waiting-client"}

    first = service.post(draft(), **headers)

    assert first.status_code == 201
    order = first.json()["order"]
    assert order["status"] == "confirmed"
    assert order["payment"]["status"] == "captured"
    assert first.headers["ETag"] == f'"v{order["version"]}"'
    assert "Idempotent-Replayed" not in first.headers
    assert service.put(order["id"], {"status": "shipped"}).status_code == 200
    for _ in range(3):
        again = service.post(draft(), **headers)
        assert again.status_code == 201
        assert again.content == first.content
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.headers["ETag"] == first.headers["ETag"]


@pytest.mark.parametrize(
    ("method", "reason"),
    [("sandbox_declined", "payment_declined"), ("sandbox_insufficient_funds", "payment_declined")],
)
def test_a_client_that_prefers_to_wait_learns_of_a_declined_payment(
    service: Service, method: str, reason: str
) -> None:
    """The order was accepted, so the answer is a 201 all the same."""
    answer = service.post(draft(paymentMethod=method), Prefer="wait=20")

    assert answer.status_code == 201
    assert answer.json()["order"]["status"] == "cancelled"
    assert answer.json()["order"]["cancellation"]["reason"] == reason
    assert answer.json()["order"]["payment"]["failure"]["code"]


def test_a_client_does_not_wait_longer_than_it_prefers(service: Service) -> None:
    """With a provider that does not answer, the order is still pending when the time is over."""
    answer = service.post(draft(paymentMethod="sandbox_unavailable"), Prefer="wait=1")

    assert answer.status_code == 201
    assert answer.json()["order"]["status"] == "pending"
    assert 1 <= answer.elapsed.total_seconds() < 5
