"""Consistent books: many orders in all states in which orders rest or wait."""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from app.cancellations.service import Draft, create_cancellation
from app.clock import new_id
from app.feed import service as feeding
from app.orders import steps
from app.orders.commands import Request
from app.orders.processing import perform
from app.orders.service import change_status, delete_order, place_order
from app.orders.sweeping import all_owed_steps, purge_deleted_orders
from app.refunds.service import request_refund
from app.returns.service import announce_return, approve_return, receive_return
from app.shipments.service import cancel_shipment, correct_shipment, create_shipment, deliver_shipment
from app.stock.service import set_levels
from app.webhooks.model import Endpoint
from migrations import m0002_original_orders
from tests.support.announcing import announce
from tests.support.originals import original_order
from tests.support.snapshots import restore, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.doubles import StoppedClock

# Of each hundred orders, so many have each of these fates.
FATES = {
    "confirmed": 31,
    "cut early": 3,
    "cut late": 2,
    "shipped": 5,
    "partly shipped": 3,
    "delivered": 5,
    "returned": 3,
    "cancelled": 6,
    "cancelled early": 6,
    "declined": 6,
    "out of stock": 6,
    "partly refunded": 6,
    "refunded": 3,
    "deleted": 3,
    "failing refund": 2,
    "stuck": 2,
    "waiting": 8,
}
METHODS = {
    "declined": "sandbox_declined",
    "waiting": "sandbox_unavailable",
    "failing refund": "sandbox_refund_fails_once",
}
PRODUCTS = [f"product-{number}" for number in range(20)]
ORIGINALS, PURGED = 15, 5
LONG = timedelta(hours=1)


class Filled(NamedTuple):
    """The records of a time, and the ids of the orders by their fates."""

    documents: dict[str, list[bytes]]
    at: datetime
    ids: dict[str, list[str]]


_FILLED: dict[int, Filled] = {}


class Healthy:
    """The records, and the ids of the orders by their fates."""

    def __init__(self, services: Services, database: OrderDatabase, clock: StoppedClock) -> None:
        self.services = services
        self.database = database
        self.clock = clock
        self.ids: dict[str, list[str]] = defaultdict(list)

    def fill(self, hundreds: int) -> None:
        """Brings so many hundred orders to their fates, then lets minutes pass without a change.

        That takes seconds, so the records that it made first in this process serve all other tests.
        """
        if filled := _FILLED.get(hundreds):
            restore(self.database, filled.documents)
            self.clock.advance(filled.at - self.clock())
            self.ids = deepcopy(filled.ids)
        else:
            self._fill(hundreds)
            _FILLED[hundreds] = Filled(snapshot(self.database), self.clock(), deepcopy(self.ids))

    def _fill(self, hundreds: int) -> None:
        self._purge_some()
        set_levels(self.services.stock, {**dict.fromkeys(PRODUCTS, 1_000_000), "scarce": 0})
        self.services.webhooks.endpoints.add(_endpoint(self.services), 100)
        self.clock.advance(timedelta(minutes=5))
        for fate, number in FATES.items():
            self.ids[fate] = [self._placed(fate, n) for n in range(number * hundreds)]
        self._process()
        self._change()
        # What is tracked only from now on was never taken from the stock.
        set_levels(self.services.stock, {"later": 10})
        self.ids["adopted"] = self._adopted()
        self.clock.advance(timedelta(minutes=2))
        self.come_to_rest()

    def come_to_rest(self, rest: timedelta = timedelta(minutes=2)) -> None:
        """Does all due work, announces the events, writes the feed and lets some time pass.

        The waiting orders expire after a few rests.
        """
        waiting = {*self.ids["waiting"], *self.ids["stuck"]}
        for _ in range(6):
            after = None
            while True:
                owed, after = all_owed_steps(self.services.orders, after)
                for step in steps.STEPS:
                    self.perform(step, set(owed.get(step.name, ())) - waiting)
                announce(self.services.notifications, owed.get(steps.ANNOUNCE.name, []))
                if after is None:
                    break
        assert feeding.catch_up(self.services.feed, lambda: False)
        self.services.changes.remember({"at": "the end"})
        self.clock.advance(rest)
        owing = self.database["orders"].find({"dueBy": {"$exists": True}}, {"_id": 1})
        self.services.orders.due_work.postpone({str(one["_id"]): self.clock() + LONG for one in owing})

    def perform(self, step: steps.Step, order_ids: Iterable[str]) -> None:
        """Does a step in batches."""
        ids = sorted(order_ids)
        for start in range(0, len(ids), 500):
            perform(self.services.orders, step, ids[start : start + 500])

    def all_ids(self) -> list[str]:
        """The ids of all orders."""
        return [order_id for ids in self.ids.values() for order_id in ids]

    def _placed(self, fate: str, number: int) -> str:
        product = PRODUCTS[number % len(PRODUCTS)]
        lines = [
            {"productId": product, "quantity": 2, "unitPrice": 400},
            {"productId": "scarce" if fate == "out of stock" else "untracked", "quantity": 1},
            {"productId": product, "quantity": 1},
            {"productId": "later", "quantity": 1},
        ]
        if fate == "out of stock":
            lines.pop()
        draft: Any = {
            "userId": f"user-{number % 7}",
            "products": lines,
            "totalAmount": 1000,
            "currency": "USD",
        }
        if number % 3 == 0:
            draft |= {"email": "somebody@example.org", "reference": f"{fate}-{number}"}
        if fate in METHODS:
            draft["paymentMethod"] = METHODS[fate]
        return place_order(self.services.orders, draft, actor="user", key=None, digest="").order["id"]

    def _process(self) -> None:
        self.perform(steps.AUTHORIZE, self.all_ids())
        for order_id in self.ids["cancelled early"]:
            change_status(self.services.orders, order_id, "cancelled", actor="user")
        self._cut(self.ids["cut early"][::2])
        self.perform(steps.DECREMENT, self.all_ids())
        self._cut(self.ids["cut early"][1::2])
        self.perform(steps.CAPTURE, set(self.all_ids()) - set(self.ids["stuck"]))

    def _change(self) -> None:
        for fate, journey in {
            "shipped": ["shipped"],
            "delivered": ["shipped", "delivered"],
            "returned": ["shipped", "delivered"],
            "cancelled": ["cancelled"],
        }.items():
            for order_id in self.ids[fate]:
                for status in journey:
                    change_status(self.services.orders, order_id, status, actor="user")
        for order_id in self.ids["partly shipped"]:
            self._ship_a_part(order_id)
        for order_id in self.ids["returned"]:
            self._return(order_id)
        for number, order_id in enumerate(self.ids["partly refunded"]):
            lines = [{"line": 1, "quantity": 2, "restock": number % 2 == 0}]
            self._refund(order_id, {"amount": Decimal("3.00"), "products": lines})
            if number % 3 == 0:
                self._refund(order_id, {"amount": Decimal("2.00")})
        self._cut(self.ids["cut late"])
        for order_id in self.ids["refunded"]:
            self._refund(order_id, {})
        for order_id in self.ids["deleted"]:
            delete_order(self.services.orders, order_id, actor="user")

    def _ship_a_part(self, order_id: str) -> None:
        """Ships the first line, then the rest, which is taken back."""
        orders, shop, tracking = self.services.orders, Request("shop"), {"tracking": {"number": order_id}}
        first = create_shipment(orders, order_id, {"products": [{"line": 1, "quantity": 2}]}, shop)
        correct_shipment(orders, order_id, first.shipment["id"], tracking, shop)
        rest = create_shipment(orders, order_id, {}, shop)
        cancel_shipment(orders, order_id, rest.shipment["id"], shop)
        deliver_shipment(orders, order_id, first.shipment["id"], shop)

    def _return(self, order_id: str) -> None:
        """Announces and approves a return, and receives a part of it."""
        orders, shop, piece = self.services.orders, Request("shop"), {"line": 1, "quantity": 1}
        draft = {"products": [{**piece, "quantity": 2}, {**piece, "line": 3}]}
        made = announce_return(orders, order_id, draft, shop, window=None)
        approve_return(orders, order_id, made.found["id"], None, shop)
        parcel = {"products": [{**piece, "condition": "resellable"}]}
        receive_return(orders, order_id, made.found["id"], parcel, shop)

    def _cut(self, order_ids: Iterable[str]) -> None:
        """Cancels one of the two pieces of the first line."""
        for order_id in order_ids:
            one: Draft = {"products": [{"line": 1, "quantity": 1}]}
            create_cancellation(self.services.orders, order_id, one, Request("user"))

    def _refund(self, order_id: str, draft: Any) -> None:
        request_refund(self.services.orders, order_id, draft, actor="user", key=None, digest="")

    def _adopted(self) -> list[str]:
        originals = [original_order(number) for number in range(ORIGINALS)]
        self.database["orders"].insert_many(originals, bypass_document_validation=True)
        m0002_original_orders.upgrade(self.database, self.services.settings, lambda *_: None)
        return [str(original["_id"]) for original in originals]

    def _purge_some(self) -> None:
        """The stock ledger and the provider keep records of these orders."""
        set_levels(self.services.stock, {"product-0": 100})
        gone = [self._placed("purged", 0) for _ in range(PURGED)]
        for step in (steps.AUTHORIZE, steps.DECREMENT, steps.CAPTURE):
            self.perform(step, gone)
        for order_id in gone:
            for status in ("shipped", "delivered"):
                change_status(self.services.orders, order_id, status, actor="user")
            delete_order(self.services.orders, order_id, actor="user")
        self.come_to_rest()
        now = self.clock()
        self.database["orders"].update_many({}, {"$set": {"deletedAt": now - timedelta(days=1000)}})
        assert purge_deleted_orders(self.services.orders) == PURGED


def _endpoint(services: Services) -> Endpoint:
    now = services.clock()
    return Endpoint(
        id=new_id(now),
        url="http://localhost:1/",
        events=["*"],
        enabled=True,
        secrets=[{"secret": "whsec_c2VjcmV0"}],
        createdAt=now,
        updatedAt=now,
    )
