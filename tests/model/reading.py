"""What an order is by its events, worked out from docs/events.md alone, with nothing of the service."""

from __future__ import annotations

import copy
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

State = dict[str, Any]
Event = dict[str, Any]

PLACED = ("userId", "products", "totalAmount", "currency", "adjustments", "reference")
PLACED += ("onShortage", "backorderUntil")
STATUS = {
    "order.created": "pending",
    "order.confirmed": "confirmed",
    "order.shipped": "shipped",
    "order.delivered": "delivered",
    "order.cancelled": "cancelled",
    "order.reopened": "confirmed",
}
# An order in one of these has no pieces open.
WHOLE = ("shipped", "delivered")
REFUND_STATUS = {
    "refund.requested": "pending",
    "refund.retried": "pending",
    "refund.succeeded": "succeeded",
    "refund.failed": "failed",
}
# What the events say is what the order shows, but for these: who the customer is, and what is made of the id.
NOT_FOLDED = ("id", "number", "email", "shippingAddress", "metadata")


def fold(state: State | None, event: Event) -> State:
    """The state after the event."""
    state = _born(event) if state is None else copy.deepcopy(state)
    axis, _, what = event["type"].partition(".")
    state |= {"version": event["sequence"], "updatedAt": event["at"]}
    if event["type"] in STATUS:
        state["status"] = STATUS[event["type"]]
        if state["status"] in ("delivered", "cancelled"):
            state.pop("holds", None)
    FOLDS[axis](state, what, event["data"], event["at"])
    if (state["status"], state["stock"]["status"]) != ("pending", "decremented"):
        state["stock"].pop("heldUntil", None)
    state["fulfillment"] = fulfillment(state)
    return state


def pieces(things: Iterable[Any], line: int) -> int:
    """The pieces of the line in the products of these things."""
    return sum(one["quantity"] for thing in things for one in thing["products"] if one["line"] == line)


def live(state: State) -> list[Any]:
    """The shipments that are not cancelled."""
    return [one for one in state.get("shipments", ()) if one["status"] != "cancelled"]


def ordered(state: State) -> dict[int, int]:
    return {line["line"]: line["quantity"] for line in state["products"]}


def shipped(state: State, line: int) -> int:
    """The pieces of the line that were shipped. Without a shipment, a shipped order has them all in one."""
    if state["status"] in WHOLE and not state.get("shipments"):
        return ordered(state)[line] - pieces(state.get("cancellations", ()), line)
    return pieces(live(state), line)


def received(state: State, line: int, *conditions: str) -> int:
    """The pieces of the line that came back, in any condition or in these."""
    parcels = [receipt for one in state.get("returns", ()) for receipt in one["receipts"]]
    return sum(
        one["quantity"]
        for parcel in parcels
        for one in parcel["products"]
        if one["line"] == line and (not conditions or one["condition"] in conditions)
    )


def announced(state: State, line: int) -> int:
    """The pieces of the line that are still to come."""
    running = [one for one in state.get("returns", ()) if one["status"] in ("requested", "approved")]
    return sum(max(0, pieces([one], line) - pieces(one["receipts"], line)) for one in running)


def open_pieces(state: State) -> dict[int, int]:
    """The pieces of each line that are neither shipped nor cancelled."""
    if state["status"] == "cancelled" or (state["status"] in WHOLE and not state.get("shipments")):
        return {}
    gone = [*live(state), *state.get("cancellations", ())]
    left = {line["line"]: line["quantity"] - pieces(gone, line["line"]) for line in state["products"]}
    return {line: some for line, some in left.items() if some}


def fulfillment(state: State) -> Any:
    """How far the goods are on their way."""
    left, shipped = open_pieces(state), {one["status"] for one in live(state)}
    if not shipped:
        status = state["status"] if state["status"] in WHOLE else "none"
    else:
        status = "partial" if left else "delivered" if shipped == {"delivered"} else "shipped"
    return {"status": status, "open": [{"line": line, "quantity": some} for line, some in left.items()]}


def _born(event: Event) -> State:
    data = event["data"]
    state = {name: data[name] for name in PLACED if name in data}
    state["products"] = [{"line": number, **line} for number, line in enumerate(data["products"], 1)]
    payment = {"status": "pending", "capturedAmount": Decimal(0), "refundedAmount": Decimal(0)}
    if "paymentMethod" in data:
        payment["method"] = data["paymentMethod"]
    state |= {"payment": payment, "stock": {"status": "pending"}, "createdAt": event["at"]}
    if "holds" in data:
        state["holds"] = [{**hold, "createdAt": event["at"]} for hold in data["holds"]]
    return state


def _order(state: State, what: str, data: Any, at: str) -> None:
    if what == "amended" and "reference" in data["fields"]:
        state.pop("reference", None)
        state |= {"reference": data["reference"]} if "reference" in data else {}
    elif what == "tagged":
        tags = (set(state.pop("tags", ())) | set(data["added"])) - set(data["removed"])
        state |= {"tags": sorted(tags)} if tags else {}
    elif what in ("shipped", "cancelled"):
        state |= data


def _part(axis: str) -> Callable[[State, str, Any, str], None]:
    def part(state: State, what: str, data: Any, at: str) -> None:
        state[axis] |= {"status": "pending" if what == "action_required" else what, **data}
        if what != "action_required":
            state[axis].pop("action", None)

    return part


def _stock(state: State, what: str, data: Any, at: str) -> None:
    if what == "decremented":
        state["stock"].pop("shortages", None)
    if "heldUntil" in data:
        # What is left of its time begins anew when its last hold ends.
        state["expiresAfter"] = _moment(data["heldUntil"]) - _begins(state, at)
    state["stock"] |= {"status": what, **data}


def _begins(state: State, at: str) -> datetime:
    """The time from which the expiry counts: for a backorder, that at which it takes its stock."""
    return _moment(at if "backorderUntil" in state else state.get("heldTo", state["createdAt"]))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _hold(state: State, what: str, data: Any, at: str) -> None:
    holds = [hold for hold in state.pop("holds", []) if hold["code"] != data["code"]]
    if what == "placed":
        holds.append({**data, "createdAt": at})
    state |= {"holds": holds} if holds else {"heldTo": at}
    if not holds and "heldUntil" in state["stock"]:
        until = _moment(at) + state["expiresAfter"]
        state["stock"]["heldUntil"] = until.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shipment(state: State, what: str, data: Any, at: str) -> None:
    shipment = _thing(state, "shipments", what == "created", {**data}, "shipmentId", at)
    if what == "corrected":
        shipment.pop("tracking", None)
        shipment |= {"tracking": data["tracking"]} if "tracking" in data else {}
    else:
        shipment["status"] = "shipped" if what == "created" else what
        shipment |= {"deliveredAt": at} if what == "delivered" else {}
    state.pop("tracking", None)
    if live(state) and "tracking" in live(state)[-1]:
        state["tracking"] = live(state)[-1]["tracking"]


def _cancellation(state: State, what: str, data: Any, at: str) -> None:
    if what == "created":
        made = _thing(state, "cancellations", True, {**data}, "cancellationId", at)
        del made["updatedAt"]


def _return(state: State, what: str, data: Any, at: str) -> None:
    own = {} if what in ("received", "restocked") else {**data}
    own["returnId"] = data["returnId"]
    made = _thing(state, "returns", what == "requested", own, "returnId", at)
    receipts = made.setdefault("receipts", [])
    if what == "received":
        receipts.append({**{name: data[name] for name in data if name != "returnId"}, "at": at})
    elif what != "restocked":
        made["status"] = what


def _thing(state: State, kind: str, is_new: bool, data: Any, id_name: str, at: str) -> Any:
    """The shipment, cancellation or return of the event, with the event's data."""
    things, own_id = state.setdefault(kind, []), data.pop(id_name)
    if is_new:
        things.append({"id": own_id, "createdAt": at})
    (thing,) = (one for one in things if one["id"] == own_id)
    thing |= {**data, "updatedAt": at}
    return thing


def _refund(state: State, what: str, data: Any, at: str) -> None:
    refunds = state.setdefault("refunds", [])
    data = {**data}
    refund_id = data.pop("refundId")
    if what == "requested":
        refunds.append({"id": refund_id, "attempt": 0, "createdAt": at})
        for one in state.get("cancellations", ()):
            if one["id"] == data.get("cancellationId"):
                one["refundId"] = refund_id
    (refund,) = (one for one in refunds if one["id"] == refund_id)
    refund |= {**data, "status": REFUND_STATUS.get(f"refund.{what}", refund.get("status")), "updatedAt": at}
    if refund["status"] == "pending":
        refund["attempt"] += 1
        refund.pop("failure", None)


FOLDS: dict[str, Callable[[State, str, Any, str], None]] = {
    "order": _order,
    "payment": _part("payment"),
    "stock": _stock,
    "hold": _hold,
    "refund": _refund,
    "shipment": _shipment,
    "cancellation": _cancellation,
    "return": _return,
    "note": lambda *_: None,
}
