"""Erases a customer's personal data for good, while totals, ledgers and logs can still be verified."""

from typing import NamedTuple

from app.erasure import ErasureServices

_BATCH = 500


class Erased(NamedTuple):
    """The number of orders whose personal data were erased, and of rejected orders of the original
    service."""

    orders: int
    rejected: int


def erase_customer(services: ErasureServices, user_id: str) -> Erased:
    """Erases the personal data from all stored orders of the customer.

    Events, past versions, the feed and webhooks are derived from the order, so they lose the data, too. It is
    safe to repeat and to interrupt. An order that is placed meanwhile can keep its data.
    """
    at = services.clock()
    return Erased(
        services.store.erase_from_orders(user_id, at, _BATCH),
        services.store.erase_from_rejects(user_id, at),
    )
