"""No list, no sweep and no look-up may cost more when there is more: the plans of the storage's own queries.

The queries are not written down a second time: the storage is called, what it sent is recorded, and the
server explains that.
"""

from __future__ import annotations

import itertools
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.clock import id_at
from app.erasure.store import PersonalData
from app.feed.store import Feed
from app.mongo import database as storage
from app.notifications.mail_counts_store import MailCounts
from app.notifications.store import Notifications
from app.orders.beside_store import QuoteUse
from app.orders.due_store import DueWork
from app.orders.events import EVENTS
from app.orders.query_store import OrderQuery
from app.orders.store import Orders
from app.orders.sweeping import all_owed_steps
from app.payments.sandbox.store import SandboxBooks
from app.stock.store import Stock
from tests.support.plans import END, MIDDLE, START, Explained

if TYPE_CHECKING:
    from collections.abc import Callable


FILTERS: dict[str, dict[str, Any]] = {
    "user": {"user_id": "user-7"},
    "status": {"statuses": ("confirmed",)},
    "rare status": {"statuses": ("cancelled",)},
    "statuses": {"statuses": ("pending", "shipped")},
    "payment": {"payment_status": "declined"},
    "product": {"product_id": "product-3"},
    "reference": {"reference": "reference-30"},
    "from": {"created_from": MIDDLE},
    "to": {"created_to": MIDDLE},
}
PAIRS = [
    pair
    for pair in itertools.combinations(FILTERS, 2)
    if len(FILTERS[pair[0]].keys() & FILTERS[pair[1]]) == 0
]


@pytest.mark.parametrize("descending", [True, False], ids=["newest first", "oldest first"])
@pytest.mark.parametrize("name", FILTERS)
def test_a_page_by_one_filter_reads_little_more_than_it_shows(
    explained: Explained, name: str, descending: bool
) -> None:
    """First pages and pages behind a cursor alike."""
    filters = FILTERS[name]
    for after in (None, id_at(MIDDLE)):
        query = OrderQuery(limit=25, descending=descending, after=after, **filters)
        (plan,) = explained.plans(lambda query=query: list(Orders(explained.database).page(query)))
        assert plan.scales, plan
        assert plan.documents <= plan.returned + 1, plan
        assert plan.keys <= plan.returned + 3, plan


@pytest.mark.parametrize("after", [None, id_at(MIDDLE)], ids=["first page", "page in the middle"])
@pytest.mark.parametrize("descending", [True, False], ids=["newest first", "oldest first"])
def test_the_plain_list_passes_over_the_deleted_ones(
    explained: Explained, descending: bool, after: str | None
) -> None:
    """Any number of deleted orders in a row costs a page nothing."""
    query = OrderQuery(limit=25, descending=descending, after=after)
    (plan,) = explained.plans(lambda: list(Orders(explained.database).page(query)))
    assert plan.scales, plan
    assert plan.returned == plan.documents == 26, plan
    assert plan.keys <= 27, plan


@pytest.mark.parametrize("descending", [True, False], ids=["newest first", "oldest first"])
@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_a_page_by_two_filters_scans_and_sorts_nothing(
    explained: Explained, pair: tuple[str, str], descending: bool
) -> None:
    """Each pair of filters, from the start and behind a cursor."""
    filters = {**FILTERS[pair[0]], **FILTERS[pair[1]]}
    for after in (None, id_at(MIDDLE)):
        query = OrderQuery(limit=25, descending=descending, after=after, **filters)
        (plan,) = explained.plans(lambda query=query: list(Orders(explained.database).page(query)))
        assert plan.scales, plan


def _orders(call: Callable[[Orders], object]) -> Callable[[storage.Database[Any]], object]:
    return lambda database: call(Orders(database))


def _stock(call: Callable[[Stock, Any], object]) -> Callable[[storage.Database[Any]], object]:
    return lambda database: storage.transact(database, lambda transaction: call(Stock(database), transaction))


def _due_work(call: Callable[[DueWork], object]) -> Callable[[storage.Database[Any]], object]:
    return lambda database: call(DueWork(database))


def _all_owed(due_work: DueWork) -> None:
    services: Any = SimpleNamespace(due_work=due_work)
    _, after = all_owed_steps(services, None)
    assert after, "there is more than one page"
    all_owed_steps(services, after)


ONE = id_at(START)
SOME = [id_at(START + timedelta(seconds=number)) for number in range(20)]
READS: dict[str, Callable[[storage.Database[Any]], object]] = {
    "an order": _orders(lambda orders: orders.get(ONE)),
    "an order with its log": _orders(lambda orders: orders.with_log(ONE)),
    "an order by its key": _orders(lambda orders: orders.under_key("caller", "key-1")),
    "an order by its quote": _orders(lambda orders: orders.is_used(QuoteUse("issuer", "quote-1", END))),
    "a batch of orders": _orders(lambda orders: orders.load(SOME)),
    "overdue steps": _due_work(lambda due_work: due_work.overdue(END, 50)),
    "everything owed": lambda database: _all_owed(DueWork(database)),
    "orders to expire": _orders(lambda orders: orders.pending_since_before(MIDDLE, 50)),
    "holds to end": _orders(lambda orders: orders.held_until(END, 50)),
    "orders to purge": _orders(lambda orders: orders.deleted_before(MIDDLE, 50)),
    "a level": lambda database: Stock(database).level("product-1"),
    "levels": _stock(lambda stock, transaction: stock.levels("product-1", 50, transaction)),
    "a level and its marks": _stock(lambda stock, transaction: stock.supply(["product-1"], transaction)),
    "stock that came": lambda database: Stock(database).arrivals(50),
    "backorders of a product": _orders(lambda orders: orders.waiting_for(["product-1"], None, 50)),
    "backorders of products, a later page": _orders(
        lambda orders: orders.waiting_for(["product-1", "product-2"], id_at(MIDDLE), 50)
    ),
    "backorders to end": _orders(lambda orders: orders.backordered_until(END, 50)),
    "movements": lambda database: Stock(database).movements("product-1", None, 50),
    "movements, a later page": lambda database: Stock(database).movements("product-1", id_at(MIDDLE), 50),
    "what is on hand": _stock(lambda stock, transaction: stock.on_hand(["product-1"], transaction)),
    "what orders hold": _stock(lambda stock, transaction: stock.held_by(SOME, transaction)),
    "overdue notifications": lambda database: Notifications(database).overdue(END, 50),
    "a payment": lambda database: SandboxBooks(database).find(ONE),
    "payments since": lambda database: list(SandboxBooks(database).since(MIDDLE)),
}
WRITES: dict[str, Callable[[storage.Database[Any]], object]] = {
    "fixing an answer": _orders(lambda orders: orders.fix_answer(ONE, 1)),
    "postponing": _due_work(lambda due_work: due_work.postpone({ONE: END})),
    "allowing more time": _due_work(lambda due_work: due_work.allow_until(dict.fromkeys(SOME, END), END)),
    "purging orders": _orders(lambda orders: orders.purge(SOME)),
    "claiming notifications": lambda database: Notifications(database).claim([f"{ONE}:1:log"], START, END),
    "forgetting the counts of mails": lambda database: MailCounts(database).forget(MIDDLE),
    "purging notifications": lambda database: Notifications(database).purge(SOME),
    "purging the feed": lambda database: Feed(database).purge(SOME[:4]),
}


@pytest.mark.parametrize("name", READS)
def test_a_look_up_or_sweep_reads_little_more_than_it_finds(explained: Explained, name: str) -> None:
    """Every other query of the API and of the sweeps."""
    for plan in explained.plans(lambda: READS[name](explained.database)):
        assert plan.scales, plan
        assert plan.documents <= plan.returned + 1, plan
        assert plan.keys <= 2 * plan.returned + 25, plan


def test_the_holds_of_a_batch_are_looked_up_by_the_ids_of_its_orders(explained: Explained) -> None:
    (plan,) = explained.plans(lambda: Orders(explained.database).held_from_capture(SOME))
    assert plan.scales, plan
    assert plan.documents <= len(SOME), plan


def test_what_is_held_of_a_product_is_found_among_the_orders_that_hold_stock(explained: Explained) -> None:
    """However many other orders of the product there are, and however many orders have other products."""
    orders, holding = explained.database["orders"], {"status": "pending", "stock.status": "decremented"}
    ids = [found["_id"] for found in orders.find({"status": "confirmed"}, {"_id": 1}).limit(40)]
    kept = {found["_id"]: found for found in orders.find({"_id": {"$in": ids}})}
    try:
        for place, order_id in enumerate(ids):
            first = {"stockFirst": True, "products.0.productId": f"product-{place % 4}"}
            change = {**holding, "payment.status": "authorized", **(first if place % 2 else {})}
            orders.update_one({"_id": order_id}, {"$set": change}, bypass_document_validation=True)
        held = _stock(lambda stock, transaction: stock.held(["product-1"], transaction))
        before, paid, _ = explained.plans(lambda: held(explained.database))
        assert before.scales, before
        assert before.documents <= before.returned, before
        assert 10 <= before.returned <= before.keys <= 21, before
        assert paid.scales, paid
        assert paid.documents <= 40, paid
    finally:
        for order_id, order in kept.items():
            orders.replace_one({"_id": order_id}, order, bypass_document_validation=True)


def test_backorders_do_not_slow_down_the_search_for_orders_to_expire(explained: Explained) -> None:
    orders = explained.database["orders"]
    pending = {"visible": True, "status": "pending", "_id": {"$lt": ObjectId(id_at(MIDDLE))}}
    ids = [found["_id"] for found in orders.find(pending, {"_id": 1}).sort("_id").limit(60)]
    try:
        orders.update_many({"_id": {"$in": ids}}, {"$set": {"releasedAt": END, "backorderUntil": END}})
        first, *_ = explained.plans(lambda: Orders(explained.database).pending_since_before(MIDDLE, 20))
        assert (first.keys, first.documents, first.returned) == (20, 20, 20), first
        (ending,) = explained.plans(lambda: Orders(explained.database).backordered_until(END, 20))
        assert ending.scales, ending
        assert ending.documents == ending.returned == 20, ending
    finally:
        orders.update_many({"_id": {"$in": ids}}, {"$unset": {"releasedAt": "", "backorderUntil": ""}})


def test_held_orders_do_not_slow_down_the_search_for_orders_to_expire(explained: Explained) -> None:
    """Neither those of a day nor those that were released."""
    orders = explained.database["orders"]
    pending = {"visible": True, "status": "pending", "_id": {"$lt": ObjectId(id_at(MIDDLE))}}
    ids = [found["_id"] for found in orders.find(pending, {"_id": 1}).sort("_id").limit(60)]
    hold = {"code": "a", "blocks": ["ship"], "then": "release", "createdAt": START}
    try:
        orders.update_many({"_id": {"$in": ids[:40]}}, {"$set": {"holds": [hold, {**hold, "code": "b"}]}})
        orders.update_many({"_id": {"$in": ids[40:]}}, {"$set": {"releasedAt": START}})
        never_held, *_ = explained.plans(lambda: Orders(explained.database).pending_since_before(MIDDLE, 20))
        assert (never_held.keys, never_held.documents, never_held.returned) == (20, 20, 20), never_held
        _, released = explained.plans(lambda: Orders(explained.database).pending_since_before(MIDDLE, 1_000))
        assert released.scales, released
        assert released.documents == released.returned == 20, released
        assert released.keys <= 25, released
    finally:
        orders.update_many({"_id": {"$in": ids}}, {"$unset": {"holds": "", "releasedAt": ""}})


@pytest.mark.parametrize("name", WRITES)
def test_a_write_finds_its_documents_by_an_index(explained: Explained, name: str) -> None:
    """Updates and deletions have plans, too."""
    for plan in explained.plans(lambda: WRITES[name](explained.database)):
        assert plan.scales, plan
        assert plan.documents <= len(SOME), plan


FEED_PAGES: dict[str, tuple[str | None, int, set[str] | None]] = {
    "the start": (None, 0, None),
    "a part": (None, 3_000, None),
    "a rare type": (None, 0, {"order.deleted"}),
    "several types": (None, 3_000, {"order.deleted", "stock.decremented", "payment.declined"}),
    "a user's start": ("user-7", 0, None),
    "a user's part": ("user-7", 3_000, None),
    "a user's rare type": ("user-7", 0, {"order.deleted"}),
    "a user's types": ("user-7", 3_000, {"order.deleted", "order.created"}),
    "of a user who has none": ("nobody", 0, None),
    "all types of a user who has none": ("nobody", 0, set(EVENTS)),
}


@pytest.mark.parametrize("limit", [1, 100])
@pytest.mark.parametrize("name", FEED_PAGES)
def test_a_page_of_the_feed_reads_what_it_shows_and_a_step_of_the_index_for_each_type(
    explained: Explained, name: str, limit: int
) -> None:
    """However many rows of others or of other types lie between."""
    owner, after, types = FEED_PAGES[name]
    feed = Feed(explained.database).of(owner) if owner else Feed(explained.database)
    for plan in explained.plans(lambda: feed.page(after, limit, types)):
        assert plan.scales, plan
        assert plan.documents <= limit + 1, plan
        assert plan.documents <= plan.returned + len(types or ()), plan
        assert plan.keys <= plan.returned + 2 * len(types or ()) + 1, plan


def test_catching_up_with_the_feed_reads_the_rows_of_its_orders_alone(explained: Explained) -> None:
    """Of the rows it reads the index and no document."""
    orders, rows = explained.plans(lambda: Feed(explained.database).unfed(id_at(MIDDLE), 50))
    assert orders.scales, orders
    assert orders.documents == orders.returned == 50, orders
    assert rows.scales, rows
    assert rows.documents == 0, rows
    assert rows.keys <= 10 * 50, rows


def test_a_customers_orders_are_found_for_erasure_by_the_indexes_there_are(explained: Explained) -> None:
    """The live ones by the customer, the deleted ones among the deleted."""
    orders = explained.database["orders"]
    live, deleted = explained.plans(
        lambda: PersonalData(explained.database).erase_from_orders("user-7", END, 500)
    )
    assert live.scales, live
    assert live.documents <= orders.count_documents({"userId": "user-7"}), live
    assert deleted.scales, deleted
    assert deleted.documents <= orders.count_documents({"deletedAt": {"$exists": True}}), deleted
