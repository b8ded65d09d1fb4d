"""More customers than goods: nobody gets what is not there, and nobody pays for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.end_to_end import books
from tests.end_to_end.service import draft

if TYPE_CHECKING:
    from tests.end_to_end.service import Service

CLIENTS, ORDERS, ON_HAND = 64, 1_000, 100


def test_of_a_thousand_orders_for_a_hundred_pieces_exactly_a_hundred_are_confirmed(service: Service) -> None:
    """From 64 clients at once; the others are cancelled, with no authorization left open."""
    service.set_stock("the-last-hundred", ON_HAND)

    ids = service.place_all([draft("the-last-hundred")] * ORDERS, CLIENTS)

    assert len(set(ids)) == ORDERS
    service.come_to_rest(ids, timeout=90)
    assert service.count(ids, status="confirmed") == ON_HAND
    assert service.count(ids, cancellation__reason="out_of_stock", status="cancelled") == ORDERS - ON_HAND
    assert service.on_hand("the-last-hundred") == 0
    payments = service.database.sandbox_payments
    assert payments.count_documents({"_id": {"$in": ids}, "status": "captured"}) == ON_HAND
    assert payments.count_documents({"_id": {"$in": ids}, "status": "authorized"}) == 0
    assert books.faults(service, ids) == []
    assert service.broken_chains(ids[::20]) == []
