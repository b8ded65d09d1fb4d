"""How an order may move: a table for each of its axes, and one for its refunds."""

STATUS = {
    "pending": ("confirmed", "cancelled"),
    "confirmed": ("shipped", "cancelled"),
    "shipped": ("delivered",),
    "delivered": (),
    "cancelled": (),
}
PAYMENT = {
    # A payment that waits for the customer, at the bank for example, stays pending.
    "pending": ("pending", "authorized", "declined", "voided"),
    "authorized": ("captured", "voided"),
    "captured": ("partially_refunded", "refunded"),
    "partially_refunded": ("partially_refunded", "refunded"),
    "refunded": (),
    "declined": (),
    "voided": (),
}
STOCK = {
    "pending": ("decremented", "insufficient", "released"),
    "decremented": ("restocked",),
    "insufficient": (),
    "released": (),
    "restocked": (),
}
# A failed refund reserves nothing. When it is tried again, it has to fit into what is left.
REFUND = {"pending": ("succeeded", "failed"), "failed": ("pending",), "succeeded": ()}

TRANSITIONS = {"order": STATUS, "payment": PAYMENT, "stock": STOCK, "refund": REFUND}

CANCELLATION_REASONS = ("requested", "payment_declined", "out_of_stock", "expired")
# The service itself makes the move `pending → confirmed`, when payment is captured and stock decremented.
CLIENT_STATUSES = ("shipped", "delivered", "cancelled")

# While there is money that may be given back.
CAPTURED = ("captured", "partially_refunded")
