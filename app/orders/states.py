"""The transitions of an order: one table for each of its axes, and for its refunds, shipments and returns."""

STATUS = {
    "pending": ("confirmed", "cancelled"),
    "confirmed": ("shipped", "cancelled"),
    # Without one of its shipments, a shipped order has open pieces again.
    "shipped": ("delivered", "confirmed"),
    "delivered": (),
    "cancelled": (),
}
PAYMENT = {
    # A payment stays pending while it waits for the customer, for example at the bank.
    "pending": ("pending", "authorized", "declined", "voided"),
    "authorized": ("captured", "voided"),
    "captured": ("partially_refunded", "refunded"),
    "partially_refunded": ("partially_refunded", "refunded"),
    "refunded": (),
    "declined": (),
    "voided": (),
}
STOCK = {
    "pending": ("backordered", "decremented", "insufficient", "released"),
    # A backordered order stays so while other products become short.
    "backordered": ("backordered", "decremented", "insufficient", "released"),
    "decremented": ("restocked",),
    "insufficient": (),
    "released": (),
    "restocked": (),
}
# A failed refund reserves no money. A retry has to fit into the refundable amount again.
REFUND = {"pending": ("succeeded", "failed"), "failed": ("pending",), "succeeded": ()}

SHIPMENT_STATUS = {"shipped": ("delivered", "cancelled"), "delivered": (), "cancelled": ()}
RETURN_STATUS = {
    "requested": ("approved", "rejected", "cancelled"),
    # Once something was received or refunded, it can only be closed.
    "approved": ("closed", "cancelled"),
    "rejected": (),
    "cancelled": (),
    "closed": (),
}
# How far the goods of an order are on their way.
FULFILLMENTS = ("none", "partial", "shipped", "delivered")

TRANSITIONS = {
    "order": STATUS,
    "payment": PAYMENT,
    "stock": STOCK,
    "refund": REFUND,
    "shipment": SHIPMENT_STATUS,
}

CANCELLATION_REASONS = ("requested", "payment_declined", "out_of_stock", "expired")
# The command for each status that a client may request, by its name in `bounds.LIMITS`. `confirmed` is
# missing: the service sets it, when the payment is captured and the stock is decremented.
COMMANDS = {"shipped": "ship", "delivered": "deliver", "cancelled": "cancel"}
# These statuses need the scope `orders:admin`.
OF_THE_SHOP = ("shipped", "delivered")

# The payment statuses in which no money is taken, but can be.
OPEN_PAYMENT = ("pending", "authorized")
# The payment statuses in which money can be refunded.
CAPTURED = ("captured", "partially_refunded")
