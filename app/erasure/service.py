"""Makes what is known of a customer unreadable for good, while totals, ledgers and logs still verify."""

from typing import NamedTuple

from app.erasure import ErasureServices

_BATCH = 500


class Erased(NamedTuple):
    """How many orders lost personal data, and how many that were not taken over from the original service."""

    orders: int
    rejected: int


def erase_customer(services: ErasureServices, user_id: str) -> Erased:
    """Erases mail address, postal address and metadata from everything that is stored of the customer's.

    Events, past versions, the feed and webhooks are made of the order when they are asked for, so they are
    without them too. Safe to repeat and to cut off. An order that comes in meanwhile may keep its own.
    """
    at = services.clock()
    return Erased(
        services.store.erase_from_orders(user_id, at, _BATCH),
        services.store.erase_from_rejects(user_id, at),
    )
