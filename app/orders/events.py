"""The events of an order: the meaning of each, the state it sets, its data, and whether it is public.

This table defines the log, the validators, the announcements, the API description and docs/events.md.
"""

from datetime import datetime
from typing import NamedTuple


class EventType(NamedTuple):
    """The meaning of one type of event.

    The event sets the axis `axis` to `value`; if that is None, the axis keeps its value. The event's data are
    merged into the axis. `carries` lists the fields of the data.

    `internal` lists the data, at any depth, that customers do not see. `ends` lists fields of the axis that
    the event removes.

    `public` says whether the event is announced to clients. To make an existing type public, set it to the
    time from which on that holds. So older events of this type stay as they were.
    """

    axis: str
    value: str | None
    means: str
    carries: str = ""
    public: bool | datetime = False
    internal: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()

    def is_public(self, at: datetime) -> bool:
        """Whether an event of this type that happened at this time is public."""
        return self.public if isinstance(self.public, bool) else at >= self.public


EVENTS: dict[str, EventType] = {
    "order.created": EventType(
        "order",
        "pending",
        "The order was placed.",
        "the order as it was placed; `personalDigest` stands for its personal data",
        public=True,
        # The reasons of its holds, and how the shop works.
        internal=("reason", "stockFirst"),
    ),
    "order.confirmed": EventType(
        "order", "confirmed", "The payment is captured and the stock decremented.", public=True
    ),
    "order.shipped": EventType("order", "shipped", "The order was shipped.", "`tracking`", public=True),
    "order.reopened": EventType(
        "order",
        "confirmed",
        "A shipment of the shipped order was cancelled, so pieces are open again.",
        public=True,
    ),
    "order.delivered": EventType("order", "delivered", "The order was delivered.", public=True),
    "order.cancelled": EventType(
        "order", "cancelled", "The order was cancelled.", "`cancellation` (`reason`, `detail`)", public=True
    ),
    "order.amended": EventType(
        "order",
        None,
        "Fields of the order were corrected.",
        "`fields` (the names of the changed fields); `reference`, if it is one of them and not removed; "
        "`personalDigest`, if personal data changed",
        public=True,
    ),
    "order.tagged": EventType(
        "order",
        None,
        "The tags of the order changed.",
        "`added`, `removed`",
        internal=("added", "removed"),
    ),
    "order.deleted": EventType("order", None, "The order left the API.", "`deletedAt`", public=True),
    "note.added": EventType(
        "order",
        None,
        "A note was added. Customers do not see the data if it is internal.",
        "`noteId`, `visibility`, `textDigest`",
    ),
    "note.erased": EventType(
        "order",
        None,
        "A note was erased. Customers do not see the data if it was internal.",
        "`noteId`",
    ),
    "payment.action_required": EventType(
        "payment",
        "pending",
        "The customer has to act before the payment continues.",
        "`reference`, `action` (`type`, `clientSecret`)",
    ),
    "payment.authorized": EventType("payment", "authorized", "The money is reserved.", "`reference`"),
    "payment.declined": EventType(
        "payment",
        "declined",
        "The provider refused the payment.",
        "`failure` (`code`, `message`); `reference`, if the provider has one",
    ),
    "payment.captured": EventType("payment", "captured", "The money is taken.", "`capturedAmount`"),
    "payment.voided": EventType(
        "payment",
        "voided",
        "The reserved money is released.",
        "`failure`, if the provider lost the authorization",
    ),
    "payment.partially_refunded": EventType(
        "payment",
        "partially_refunded",
        "A part of the money was refunded.",
        "`refundedAmount`",
        public=True,
    ),
    "payment.refunded": EventType(
        "payment", "refunded", "All of the money was refunded.", "`refundedAmount`", public=True
    ),
    "stock.backordered": EventType("stock", "backordered", "The order waits for stock.", "`shortages`"),
    "stock.decremented": EventType(
        "stock",
        "decremented",
        "The goods were taken out of the stock.",
        "`heldUntil`; `shortages`, if lines were cut to what was there",
        ends=("shortages",),
    ),
    "stock.insufficient": EventType("stock", "insufficient", "The stock does not suffice.", "`shortages`"),
    "stock.released": EventType("stock", "released", "The order ended before it took any stock."),
    "stock.restocked": EventType("stock", "restocked", "The goods are back in the stock."),
    "shipment.created": EventType(
        "shipment",
        "shipped",
        "Pieces of the order were shipped.",
        "`shipmentId`, `products` (`line`, `quantity`), `tracking`",
        public=True,
    ),
    "shipment.corrected": EventType(
        "shipment",
        None,
        "The tracking of a shipment was corrected.",
        "`shipmentId`; `tracking`, unless it was removed; `createdAt`, if an earlier release shipped the "
        "order",
        public=True,
    ),
    "shipment.delivered": EventType(
        "shipment",
        "delivered",
        "A shipment was delivered.",
        "`shipmentId`; `createdAt`, if an earlier release shipped the order",
        public=True,
    ),
    "shipment.cancelled": EventType(
        "shipment",
        "cancelled",
        "A shipment was cancelled, so its pieces are open again.",
        "`shipmentId`; `createdAt`, if an earlier release shipped the order",
        public=True,
    ),
    "hold.placed": EventType(
        "hold",
        None,
        "A hold was placed on the order.",
        "`code`, `reason`, `blocks`, `until`, `then`",
        public=True,
        internal=("reason",),
    ),
    "hold.released": EventType(
        "hold", None, "A hold was released.", "`code`, `reason`", public=True, internal=("reason",)
    ),
    "hold.expired": EventType("hold", None, "The time of a hold is over.", "`code`", public=True),
    "cancellation.created": EventType(
        "cancellation",
        None,
        "Pieces of the order were cancelled.",
        "`cancellationId`, `products` (`line`, `quantity`), `amount`, `reason`",
        public=True,
    ),
    "cancellation.restocked": EventType(
        "cancellation", None, "The cancelled pieces are back in the stock.", "`cancellationId`"
    ),
    "refund.requested": EventType(
        "refund",
        "pending",
        "A refund was requested.",
        "`refundId`, `amount`, `reason`, `products`, `shipping`, `cancellationId`, `returnId`; `computed`, "
        "where no amount was requested",
    ),
    "refund.retried": EventType(
        "refund",
        "pending",
        "A failed refund is retried.",
        "`refundId`; `amount`, if it differs from the first one",
    ),
    "refund.succeeded": EventType("refund", "succeeded", "The refund's money was returned.", "`refundId`"),
    "refund.failed": EventType(
        "refund",
        "failed",
        "The provider refused the refund.",
        "`refundId`, `failure` (`code`, `message`)",
        public=True,
    ),
    "refund.restocked": EventType(
        "refund", None, "The goods of the refund are back in the stock.", "`refundId`, `restocked`"
    ),
    "return.requested": EventType(
        "return",
        None,
        "A return was announced.",
        "`returnId`, `products` (`line`, `quantity`, `reason`), `note`, `refund`",
        public=True,
    ),
    "return.approved": EventType(
        "return",
        None,
        "A return was approved.",
        "`returnId`; `refundId`, `amount`, if this gives money back",
        public=True,
    ),
    "return.rejected": EventType(
        "return", None, "A return was rejected.", "`returnId`, `rejection` (`reason`)", public=True
    ),
    "return.cancelled": EventType("return", None, "A return was cancelled.", "`returnId`", public=True),
    "return.received": EventType(
        "return",
        None,
        "A parcel of a return was received.",
        "`returnId`, `receipt`, `products` (`line`, `quantity`, `condition`), `unannounced`; `refundId`, "
        "`amount`, if this gives money back",
        public=True,
    ),
    "return.closed": EventType("return", None, "A return was closed.", "`returnId`", public=True),
    "return.restocked": EventType(
        "return",
        None,
        "The resellable pieces of a receipt are back in the stock.",
        "`returnId`, `receipt`",
    ),
}

# All types that are public now, or will be.
PUBLIC = frozenset(name for name, event in EVENTS.items() if event.public)


def is_public(event_type: str, at: datetime) -> bool:
    """Whether an event of this type and time is public."""
    return EVENTS[event_type].is_public(at)
