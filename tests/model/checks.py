"""What must hold of the service after every step, by its answers and the bank's statement alone."""

from __future__ import annotations

import hashlib
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.model.reading import NOT_FOLDED, announced, fold, ordered, pieces, received, shipped
from tests.support.hash_rule import DECIMALS, texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.model.reading import Event, State
    from tests.model.world import World

PERSONAL = {"email", "shippingAddress", "metadata"}
# Shown in a list of their own.
HIDDEN = ("refunds", "shipments", "cancellations", "returns")
# What the model keeps to work out the time until which an order holds its stock.
KEPT = ("heldTo", "expiresAfter")
ENDED = ("voided", "declined", "refunded")
SILENT = "sandbox_unavailable"
REFUSED_REFUNDS = ("sandbox_refund_fails", "sandbox_refund_fails_once")


class Follower:
    """Follows all orders and the stock as an auditor who sees every answer and forgets nothing."""

    def __init__(self, world: World) -> None:
        self._world = world
        # The events of each order, and its state at each version, from 1 on.
        self.events: dict[str, list[Event]] = {}
        self.states: dict[str, list[State]] = {}
        self.deleted: set[str] = set()
        self._levels: dict[str, int] = {}
        self._ledger: dict[str, list[Any]] = {}
        self._bank: dict[str, tuple[str, int, int]] = {}

    def look(self) -> set[str]:
        """Reads and checks what changed since the last look. Returns the ids of the changed orders."""
        if not self._world.take_news():
            return set()
        listed = {order["id"]: order for order in self._world.get("/orders?limit=100")["orders"]}
        gone = self.states.keys() - listed.keys()
        for order_id in gone - self.deleted:
            assert self._world.get(f"/orders/{order_id}") is None
            assert self._world.get(f"/orders/{order_id}/events") is None
        self.deleted |= gone
        changed = {
            order_id for order_id, order in listed.items() if order["version"] != self.version(order_id)
        }
        for order_id in changed:
            self._follow(order_id, listed[order_id])
        self._bank = self._world.bank()
        for order_id, order in listed.items():
            self._compare(order_id, order)
        if changed or gone:
            self._check_stock()
        return changed

    def version(self, order_id: str) -> int:
        return len(self.events.get(order_id, ()))

    def state(self, order_id: str) -> State:
        return self.states[order_id][-1]

    def _follow(self, order_id: str, order: Any) -> None:
        """Reads the new events. The old ones are as they were."""
        events = self._world.get(f"/orders/{order_id}/events")["events"]
        known, states = self.events.setdefault(order_id, []), self.states.setdefault(order_id, [])
        assert [event["hash"] for event in events[: len(known)]] == [event["hash"] for event in known]
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        assert len(events) == order["version"]
        hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts(order_id, events)]
        assert [event["hash"] for event in events] == hashes
        for event in events[len(known) :]:
            states.append(fold(states[-1] if states else None, event))
        known[:] = events
        for kind in HIDDEN:
            if kind in states[-1]:
                listed = self._world.get(f"/orders/{order_id}/{kind}")[kind]
                for shown, folded in zip(listed, states[-1][kind], strict=True):
                    wanted = _without(folded, ("computed",))
                    assert {name: shown.get(name) for name in wanted} == wanted
        self._check_goods(states[-1])

    def _check_goods(self, state: State) -> None:
        for line, number in ordered(state).items():
            out, back = shipped(state, line), received(state, line)
            assert out + pieces(state.get("cancellations", ()), line) <= number
            assert back + announced(state, line) <= out

    def _compare(self, order_id: str, order: Any) -> None:
        self._compare_state(self.state(order_id), order)
        self._check_money(order_id, order)

    def _compare_state(self, state: State, order: Any) -> None:
        assert _without(order, NOT_FOLDED) == _without(state, (*HIDDEN, *KEPT))

    def _check_money(self, order_id: str, order: Any) -> None:
        payment, total = order["payment"], order["totalAmount"]
        refunds = self.state(order_id).get("refunds", ())
        pending = sum(one["amount"] for one in refunds if one["status"] == "pending")
        given_back = sum(one["amount"] for one in refunds if one["status"] == "succeeded")
        assert 0 <= payment["refundedAmount"] == given_back
        assert given_back + pending <= payment["capturedAmount"] <= total
        _, captured, returned = self.statement(order_id)
        assert payment["capturedAmount"] <= captured <= total
        assert payment["refundedAmount"] <= returned <= captured

    def statement(self, order_id: str) -> tuple[str | None, Decimal, Decimal]:
        """The bank's statement in major units."""
        status, captured, returned = self._bank.get(order_id, (None, 0, 0))
        unit = Decimal(10) ** -DECIMALS[self.state(order_id)["currency"]]
        return status, captured * unit, returned * unit

    def _check_stock(self) -> None:
        for level in self._world.get("/stock")["levels"]:
            product = level["productId"]
            if self._levels.get(product) != level["version"]:
                self._levels[product] = level["version"]
                rows = self._world.get(f"/stock/{product}/movements?limit=100")["movements"]
                self._ledger[product] = rows
                assert level["onHand"] == sum(row["quantity"] for row in rows) >= 0
                self._check_rows(product, rows)

    def _check_rows(self, product: str, rows: list[Any]) -> None:
        """No order ever has more of a product than it ordered, or gives back what it does not have."""
        for order_id, taken in self._taken(product).items():
            if order_id in self.states:
                assert 0 <= taken <= self._ordered(order_id)[product], (order_id, product, taken)

    def _taken(self, product: str) -> Counter[str]:
        taken: Counter[str] = Counter()
        for row in self._ledger.get(product, ()):
            if "orderId" in row:
                taken[row["orderId"]] -= row["quantity"]
        return taken

    def _ordered(self, order_id: str) -> Counter[str]:
        ordered: Counter[str] = Counter()
        for line in self.state(order_id)["products"]:
            ordered[line["productId"]] += line["quantity"]
        return ordered

    def check_version(self, order_id: str, version: int) -> None:
        """Compares a past version with the fold of the events up to it."""
        self._compare_state(
            self.states[order_id][version - 1], self._world.get(f"/orders/{order_id}?version={version}")
        )

    def check_erased(self) -> None:
        """Checks that no personal data are left, and that everything else is."""
        for order in self._world.get("/orders?limit=100")["orders"]:
            assert not order.keys() & PERSONAL
            self._compare(order["id"], order)

    def check_rest(self) -> None:
        """Checks, once nothing is in motion any more, that nothing owed was forgotten."""
        self._check_stock()
        for order_id in self.states:
            if order_id not in self.deleted:
                self._check_at_rest(order_id, self.state(order_id))
            elif self.state(order_id)["status"] not in ("shipped", "delivered"):
                self._check_ended(order_id, self.state(order_id))

    def _check_at_rest(self, order_id: str, state: State) -> None:
        said = self._world.get(f"/orders/{order_id}/diagnosis")
        assert said["waitingFor"] != "worker", (said, self._world.get(f"/orders/{order_id}"))
        assert self._world.get(f"/orders/{order_id}/events/verify") == {"intact": True}
        refunds = state.get("refunds", ())
        assert all(one["status"] != "pending" for one in refunds)
        if state["status"] == "cancelled":
            self._check_ended(order_id, state)
            return
        _, captured, returned = self.statement(order_id)
        payment = state["payment"]
        assert (captured, returned) == (payment["capturedAmount"], payment["refundedAmount"])
        if state["status"] == "pending":
            blocks = [hold["blocks"] for hold in state.get("holds", ())]
            assert any("capture" in steps for steps in blocks) or (
                blocks and payment.get("method") == SILENT
            ), state
            return
        cancellations = state.get("cancellations", ())
        if payment.get("method") not in REFUSED_REFUNDS:
            again = sum(one["amount"] for one in refunds if "cancellationId" in one)
            less = sum(one["amount"] for one in cancellations)
            assert captured - again == state["totalAmount"] - less
        assert state["stock"]["status"] == "decremented"
        given = [one for one in refunds if one["status"] == "succeeded"]
        kept: Counter[str] = Counter()
        for line in state["products"]:
            number = line["line"]
            restocked = sum(
                one["quantity"]
                for refund in given
                for one in refund.get("products", ())
                if one.get("restock") and one["line"] == number
            )
            restocked += pieces(cancellations, number) + received(state, number, "resellable")
            kept[line["productId"]] += max(0, line["quantity"] - restocked)
        for product in self._ledger:
            assert self._taken(product)[order_id] == kept[product], (product, state)

    def check_books(self, differences: list[Any]) -> None:
        """Checks what a reconciliation found: nothing but refunds that the bank refused."""
        for kind, ids, expected, found in differences:
            refused = self.state(ids["orderId"])["payment"].get("method") in REFUSED_REFUNDS
            assert refused, (kind, ids, expected, found)
            assert kind == "cancelled_refund_failed", (ids, expected, found)

    def _check_ended(self, order_id: str, state: State) -> None:
        """An order that ended keeps neither money nor goods, unless the bank refuses a refund."""
        status, captured, returned = self.statement(order_id)
        assert status != "authorized"
        if state["payment"].get("method") not in REFUSED_REFUNDS:
            assert captured == returned
        if order_id not in self.deleted:
            payment = state["payment"]
            assert (captured, returned) == (payment["capturedAmount"], payment["refundedAmount"])
            if captured == returned:
                assert payment["status"] in ENDED
            assert state["stock"]["status"] in ("restocked", "released", "insufficient")
        for product in self._ledger:
            assert self._taken(product)[order_id] == 0


def _without(shown: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in shown.items() if name not in names}
