"""Plants one fault of each kind behind the service's back, and repairs it as a person would."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from app.clock import id_at, new_id
from app.orders import steps
from app.orders.goods import numbered, open_pieces
from app.orders.log import event_hash
from app.orders.model import Change, advance, create
from app.orders.service import change_status
from app.payments.model import Charge, ProviderPayment
from app.refunds.service import retry_refund
from app.stock.service import set_levels
from tests.support.damage import NO_TIME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from app.payments.model import PaymentProvider
    from tests.support.healthy import Healthy

SECOND = "a second payment"
BOOKS = ("orders", "stock_movements", "notifications", "webhook_deliveries", "feed", "sandbox_payments")


# These faults come from changes that the service works on afterwards. It must not repair the other faults
# meanwhile, so these come first.
FIRST = (
    "captured_on_cancelled",
    "cancelled_refund_failed",
    "expiry_overdue",
    "backorder_overdue",
    "backorder_forgotten",
    "hold_overdue",
    "return_refund_differs",
    "returned_beyond_shipped",
    "shipped_beyond_ordered",
    "status_unfounded",
)


class MoreOnTheBooks:
    """A payment provider that knows of some payments that its sandbox does not."""

    def __init__(self, inner: PaymentProvider) -> None:
        self._inner = inner
        self.more: dict[str, ProviderPayment] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def add(self, order_id: str, at: datetime, reference: str = SECOND) -> None:
        """A captured payment of that order, beside what the sandbox has."""
        self.more[reference] = ProviderPayment(order_id, reference, "captured", 1000, "USD", 1000, 0, at)

    def find(self, charge: Charge) -> ProviderPayment | None:
        return self.more.get(charge.reference or "") or self._inner.find(charge)

    def list_since(self, moment: datetime) -> Iterator[ProviderPayment]:
        yield from self._inner.list_since(moment)
        yield from (payment for payment in self.more.values() if payment.at >= moment)


class Planter:
    """Plants each fault in an order of its own. Each kind has a method of its name, which returns the id of
    the order or product with the fault."""

    def __init__(self, healthy: Healthy, provider: MoreOnTheBooks) -> None:
        self._healthy = healthy
        self._services = healthy.services
        self._database = healthy.database
        self._provider = provider
        self._before = {name: list(self._database[name].find()) for name in BOOKS}
        self._unused = {fate: iter(ids) for fate, ids in healthy.ids.items()}

    def plant(self, kinds: Iterable[str]) -> dict[str, str]:
        """Plants one fault of each kind. Returns the id of the order or product by kind."""
        planters: dict[str, Callable[[], str]] = {kind: getattr(self, kind) for kind in kinds}
        return {kind: planters[kind]() for kind in sorted(kinds, key=lambda kind: kind not in FIRST)}

    def mend(self, kind: str, whose: str) -> None:
        """Repairs the fault as a person would, from the records before it."""
        if kind == "cancelled_refund_failed":
            retry_refund(self._services.orders, whose, f"{whose}-1", actor="somebody")
        elif kind.startswith("level"):
            rows = self._database["stock_movements"].find({"productId": whose})
            level = sum(row["quantity"] for row in rows)
            self._database["stock"].update_one({"_id": whose}, {"$set": {"onHand": level}})
        else:
            self._restore(whose)

    def payment_missing(self) -> str:
        order_id = self._one("confirmed")
        self._database["sandbox_payments"].delete_one({"_id": order_id})
        return order_id

    def payment_doubled(self) -> str:
        order_id = self._one("confirmed")
        self._provider.add(order_id, self._services.clock())
        return order_id

    def payment_orphaned(self) -> str:
        order_id = new_id(self._services.clock() - timedelta(minutes=1))
        self._provider.add(order_id, self._services.clock(), "an orphan")
        return order_id

    def payment_amount_differs(self) -> str:
        return self._paid("confirmed", amount=1001)

    def payment_currency_differs(self) -> str:
        return self._paid("confirmed", currency="EUR")

    def payment_ahead(self) -> str:
        order_id, at = self._one("waiting"), self._services.clock()
        money = {"amount": 1000, "currency": "USD", "captured": 0, "refunded": 0}
        self._database["sandbox_payments"].insert_one(
            {"_id": order_id, "status": "authorized", "at": at, **money}
        )
        return order_id

    def authorization_lost(self) -> str:
        return self._paid("stuck", status="voided")

    def authorization_open(self) -> str:
        return self._paid("cancelled early", status="authorized")

    def captured_on_cancelled(self) -> str:
        """As a release that asked for no refund left it when it died."""
        order_id = self._one("confirmed")
        (order,) = self._services.orders.store.load([order_id])
        cancelled = Change("order.cancelled", {"cancellation": {"reason": "requested"}})
        after = advance(order, self._services.clock(), "user", [cancelled])
        assert self._services.orders.store.append(order, after, self._services.orders.due_by())
        self._healthy.come_to_rest()
        return order_id

    def cancelled_refund_failed(self) -> str:
        order_id = self._one("failing refund")
        change_status(self._services.orders, order_id, "cancelled", actor="user")
        self._healthy.come_to_rest()
        return order_id

    def captured_differs(self) -> str:
        return self._paid("shipped", captured=900)

    def refund_unknown(self) -> str:
        return self._paid("delivered", refunded=100)

    def refund_missing(self) -> str:
        return self._paid("partly refunded", refunded=0)

    def level_differs(self) -> str:
        self._database["stock"].update_one({"_id": "product-3"}, {"$inc": {"onHand": 1}})
        return "product-3"

    def level_negative(self) -> str:
        self._database["stock"].update_one(
            {"_id": "scarce"}, {"$set": {"onHand": -1}}, bypass_document_validation=True
        )
        return "scarce"

    def movement_missing(self) -> str:
        order_id = self._one("confirmed")
        row = self._database["stock_movements"].find_one_and_delete({"orderId": order_id})
        self._balance(row)
        return order_id

    def movement_differs(self) -> str:
        order_id = self._one("confirmed")
        row = self._movement(order_id)
        self._database["stock_movements"].update_one({"_id": row["_id"]}, {"$inc": {"quantity": -1}})
        self._balance({**row, "quantity": 1})
        return order_id

    def movement_unexpected(self) -> str:
        return self._moved(self._one("declined"))

    def movement_doubled(self) -> str:
        order_id = self._one("confirmed")
        again = {**self._movement(order_id), "_id": self._row_id(), "refundId": "none"}
        self._database["stock_movements"].insert_one(again)
        self._balance({**again, "quantity": -again["quantity"]})
        return order_id

    def return_movement_differs(self) -> str:
        """The other line has the same product, so the order holds as much as before."""
        order_id = self._one("returned")
        movements = self._database["stock_movements"]
        assert movements.update_one(
            {"orderId": order_id, "kind": "return"}, {"$set": {"line": 3}}
        ).modified_count
        return order_id

    def movement_orphaned(self) -> str:
        return self._moved(new_id(self._services.clock() - timedelta(minutes=1)))

    def order_unreadable(self) -> str:
        return self._changed("confirmed", updatedAt=NO_TIME)

    def log_broken(self) -> str:
        return self._changed("confirmed", **{"events.1.actor": "somebody"})

    def document_differs(self) -> str:
        return self._changed("confirmed", userId="somebody")

    def personal_differs(self) -> str:
        found = self._database["orders"].find_one({"personal": {"$exists": True}, "status": "shipped"})
        self._database["orders"].update_one({"_id": found["_id"]}, {"$set": {"personal.email": "x@y.z"}})
        return str(found["_id"])

    def email_key_differs(self) -> str:
        return self._changed("confirmed", emailKey=b"of nobody")

    def note_differs(self) -> str:
        """The text of a note that the log does not have."""
        text = {"id": "n1", "salt": "salt", "text": "Called."}
        return self._changed("confirmed", noteTexts=[text])

    def total_differs(self) -> str:
        order_id = self._one("confirmed")
        return self._priced(order_id, {"unitPrice": 7})

    def refund_beyond_shares(self) -> str:
        order_id = self._one("partly refunded")
        self._priced(order_id, {"unitPrice": 100}, lines=1, computed=True)
        return order_id

    def shipped_beyond_ordered(self) -> str:
        return self._shipped(lambda _: [{"line": 1, "quantity": 50}])

    def status_unfounded(self) -> str:
        return self._shipped(lambda order: numbered(open_pieces(order)))

    def returned_beyond_shipped(self) -> str:
        return self._received(50)

    def return_refund_differs(self) -> str:
        return self._received(1, refundId="no refund", amount=1)

    def cancellation_differs(self) -> str:
        return self._cancelled_in_part(amount=401, captured=599)

    def cancellation_unpaid(self) -> str:
        return self._cancelled_in_part(amount=400, captured=1000)

    def cancelled_pieces_differ(self) -> str:
        order_id = self._one("confirmed")
        back = {"kind": "restock", "quantity": 1, "cancellationId": "none", "line": 1}
        again = {**self._movement(order_id), "_id": self._row_id(), **back}
        self._database["stock_movements"].insert_one(again)
        self._balance({**again, "quantity": -1})
        return order_id

    def overdue(self) -> str:
        return self._changed("waiting", dueBy=self._services.clock() - timedelta(hours=1))

    def forgotten(self) -> str:
        order_id = self._one("waiting")
        self._database["orders"].update_one({"_id": ObjectId(order_id)}, {"$unset": {"dueBy": ""}})
        return order_id

    def expiry_overdue(self) -> str:
        order_id = self._placed_before(1, "untracked", paymentMethod="sandbox_unavailable")
        self._healthy.ids["waiting"].append(order_id)
        self._healthy.come_to_rest()
        return order_id

    def backorder_overdue(self) -> str:
        return self._backordered(2, "scarce", self._services.clock() - timedelta(minutes=30))

    def backorder_forgotten(self) -> str:
        """Stock came, and the mark that it is to be dealt is lost."""
        set_levels(self._services.stock, {"awaited": 0})
        order_id = self._backordered(3, "awaited", self._services.clock() + timedelta(days=1))
        set_levels(self._services.stock, {"awaited": 1})
        unmarked = self._database["stock"].update_one({"_id": "awaited"}, {"$unset": {"came": ""}})
        assert unmarked.modified_count == 1
        return order_id

    def _backordered(self, number: int, product: str, until: datetime) -> str:
        fields = {"onShortage": "backorder", "backorderUntil": until, "stockFirst": True}
        order_id = self._placed_before(number, product, **fields)
        # It comes to rest with the orders of the faults that are planted next.
        self._healthy.perform(steps.DECREMENT_FIRST, [order_id])
        return order_id

    def _placed_before(self, number: int, product: str, **fields: Any) -> str:
        """Places an order as of an hour ago."""
        at = self._services.clock() - timedelta(hours=1)
        lines = [{"productId": product, "quantity": 1}]
        data: Any = {"userId": "user", "products": lines, "totalAmount": 1000, "currency": "USD"}
        order = create(id_at(at, number), at, "user", {**data, **fields}, None)
        self._services.orders.store.add(order, self._services.orders.due_by(), None)
        return order["id"]

    def hold_overdue(self) -> str:
        order_id = self._one("confirmed")
        past = self._services.clock() - timedelta(hours=1)
        hold = {"code": "late", "blocks": ["ship"], "until": past, "then": "release"}
        (order,) = self._services.orders.store.load([order_id])
        held = advance(order, self._services.clock(), "shop", [Change("hold.placed", hold)])
        assert self._services.orders.store.append(order, held, self._services.orders.due_by())
        self._healthy.come_to_rest()
        return order_id

    def announced_ahead(self) -> str:
        return self._changed("delivered", announced=99)

    def announcement_missing(self) -> str:
        order_id = self._one("confirmed")
        self._database["notifications"].delete_many({"orderId": order_id, "sequence": 1})
        return order_id

    def notification_unfounded(self) -> str:
        order_id, at = self._one("confirmed"), self._services.clock()
        fields = {"orderId": order_id, "sequence": 9, "type": "order.shipped", "channel": "log", "at": at}
        self._database["notifications"].insert_one(
            {"_id": f"{order_id}:9:log", **fields, "attempts": 1, "status": "sent"}
        )
        return order_id

    def delivery_missing(self) -> str:
        order_id = self._one("confirmed")
        gone = self._database["webhook_deliveries"].delete_many({"orderId": order_id, "sequence": 1})
        assert gone.deleted_count == 1
        return order_id

    def delivery_unfounded(self) -> str:
        order_id = self._one("confirmed")
        copied = self._database["webhook_deliveries"].find_one({"orderId": order_id})
        other = {"_id": "0" * 32, "sequence": 9, "type": "order.shipped"}
        self._database["webhook_deliveries"].insert_one({**copied, **other})
        return order_id

    def feed_unfounded(self) -> str:
        order_id = self._one("confirmed")
        row = {"_id": 10**6, "orderId": ObjectId(order_id), "sequence": 9, "type": "order.shipped"}
        self._database["feed"].insert_one(row)
        return order_id

    def feed_behind(self) -> str:
        order_id = self._one("confirmed")
        self._database["feed"].delete_many({"orderId": ObjectId(order_id), "sequence": {"$gte": 4}})
        return order_id

    def feed_hole(self) -> str:
        order_id = self._one("confirmed")
        self._database["feed"].delete_one({"orderId": ObjectId(order_id), "sequence": 2})
        return order_id

    def _restore(self, order_id: str) -> None:
        keys = [order_id, ObjectId(order_id)]
        self._database["stock_movements"].delete_many({"reason": f"balances {order_id}"})
        for name, documents in self._before.items():
            for field in ("_id", "orderId"):
                self._database[name].delete_many({field: {"$in": keys}})
                if kept := [document for document in documents if document.get(field) in keys]:
                    self._database[name].insert_many(kept)

    def _one(self, fate: str) -> str:
        return next(self._unused[fate])

    def _changed(self, fate: str, **fields: Any) -> str:
        order_id = self._one(fate)
        self._database["orders"].update_one({"_id": ObjectId(order_id)}, {"$set": fields})
        return order_id

    def _priced(self, order_id: str, price: Any, *, lines: int | None = None, **of_refund: Any) -> str:
        """Gives lines of the order and its first refund these fields, as if it had always had them."""
        order = self._database["orders"].find_one({"_id": ObjectId(order_id)})
        assert order
        created = order["events"][0]["data"]
        for part in [*order["products"][:lines], *created["products"][:lines]]:
            part.update(price)
        if of_refund:
            asked = next(event for event in order["events"] if event["type"] == "refund.requested")
            for part in (order["refunds"][0], asked["data"]):
                part.update(of_refund)
        return self._rehashed(order)

    def _rehashed(self, order: Any) -> str:
        """Stores the changed order with a log that is intact."""
        previous = order_id = str(order["_id"])
        for event in order["events"]:
            event["hash"] = previous = event_hash(previous, event)
        self._database["orders"].replace_one({"_id": order["_id"]}, order)
        return order_id

    def _cancelled_in_part(self, amount: int, captured: int) -> str:
        """An order that was captured after such a part cancellation, as if it had always been so."""
        order_id = self._paid("cut early", captured=captured)
        order = self._database["orders"].find_one({"_id": ObjectId(order_id)})
        assert order
        data = {event["type"]: event["data"] for event in order["events"]}
        for part in (order["cancellations"][0], data["cancellation.created"]):
            part["amount"] = amount
        for part in (order["payment"], data["payment.captured"]):
            part["capturedAmount"] = captured
        return self._rehashed(order)

    def _paid(self, fate: str, **fields: Any) -> str:
        order_id = self._one(fate)
        changed = self._database["sandbox_payments"].update_one({"_id": order_id}, {"$set": fields})
        assert changed.modified_count == 1
        return order_id

    def _received(self, quantity: int, **more: Any) -> str:
        """A parcel of a return that no command recorded."""
        order_id = self._one("returned")
        (order,) = self._services.orders.store.load([order_id])
        pieces = [{"line": 1, "quantity": quantity, "condition": "damaged"}]
        data = {"returnId": f"{order_id}-r1", "receipt": 2, "products": pieces, **more}
        after = advance(order, self._services.clock(), "user", [Change("return.received", data)])
        assert self._services.orders.store.append(order, after, self._services.orders.due_by())
        self._healthy.come_to_rest(timedelta())
        return order_id

    def _shipped(self, pieces: Callable[[Any], Any]) -> str:
        """A parcel that no command recorded."""
        order_id = self._one("confirmed")
        (order,) = self._services.orders.store.load([order_id])
        data = {"shipmentId": f"{order_id}-s1", "products": pieces(order)}
        after = advance(order, self._services.clock(), "user", [Change("shipment.created", data)])
        assert self._services.orders.store.append(order, after, self._services.orders.due_by())
        self._healthy.come_to_rest(timedelta())
        return order_id

    def _movement(self, order_id: str) -> Any:
        return self._database["stock_movements"].find_one({"orderId": order_id})

    def _moved(self, order_id: str) -> str:
        row = {"productId": "product-1", "orderId": order_id, "quantity": -1, "at": self._services.clock()}
        self._database["stock_movements"].insert_one({"_id": self._row_id(), "kind": "decrement", **row})
        self._balance({**row, "quantity": 1})
        return order_id

    def _row_id(self) -> ObjectId:
        return ObjectId(new_id(self._services.clock()))

    def _balance(self, row: Mapping[str, Any] | None) -> None:
        """A movement of no order, so that the sum goes on being the level."""
        assert row
        kept = {field: row[field] for field in ("productId", "quantity", "at")}
        reason = {"kind": "adjustment", "reason": f"balances {row['orderId']}"}
        self._database["stock_movements"].insert_one({"_id": self._row_id(), **reason, **kept})
