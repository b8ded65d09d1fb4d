"""The channel that announces events to customers by mail, over SMTP."""

import contextlib
import re
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from decimal import Decimal
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any

import structlog
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from app.mail_server import SmtpServer
from app.money import DECIMALS
from app.notifications.mail import returns
from app.notifications.mail.smtp import SmtpSession
from app.notifications.mail.text import harmless, web_link
from app.notifications.model import Delivery, Notification
from app.orders.goods import LinePieces, Shipment, cancelled, ordered, shipments
from app.orders.log import Event
from app.orders.model import Order

log = structlog.get_logger(__name__)

# The mailed events, each with its subject, in which {} is the order's number. Each event has two templates.
# A subject never contains a client's text.
SUBJECTS = {
    "order.confirmed": "Order {} is confirmed",
    "order.shipped": "Order {} is on its way",
    "order.delivered": "Order {} has been delivered",
    "order.cancelled": "Order {} has been cancelled",
    "cancellation.created": "A part of order {} has been cancelled",
    "shipment.created": "A parcel of order {} is on its way",
    "shipment.corrected": "The tracking of order {} has changed",
    "shipment.delivered": "A parcel of order {} has been delivered",
    "shipment.cancelled": "A parcel of order {} will not be sent",
    **returns.SUBJECTS,
}
# Each write is mailed once: these events have no mail if their write has one of the events beside them.
COVERED_BY = {
    "shipment.created": ("order.shipped",),
    "shipment.delivered": ("order.delivered",),
    "cancellation.created": ("order.cancelled",),
    "return.closed": ("return.received",),
    # The cancelled rest of a partly shipped order sends nothing on its way.
    "order.shipped": ("cancellation.created",),
    "order.delivered": ("cancellation.created",),
}

REASONS = {
    "requested": "It was cancelled on request.",
    "payment_declined": "The payment was declined.",
    "out_of_stock": "We are sorry: we do not have enough in stock to send everything you ordered.",
    "expired": "We are sorry: we could not complete it in time.",
}

BANKS_ARE_SLOW = "your bank may take a few days to show it"

# The sentence about the money of a cancelled order, by its payment status at the cancellation. A capture can
# be under way then. So the sentence for an authorized payment says only that the money is given back.
MONEY = {
    "pending": "You have not been charged. If your bank shows an amount held for it, that will be released.",
    "authorized": f"The {{total}} held for this order is being given back; {BANKS_ARE_SLOW}.",
    "captured": f"We are refunding {{owed}}; {BANKS_ARE_SLOW}.",
    "partially_refunded": f"We are refunding the remaining {{owed}}; {BANKS_ARE_SLOW}.",
    "refunded": "Your payment has been refunded in full.",
    "declined": "You have not been charged.",
    "voided": "You have not been charged; the amount held for this order has been released.",
}
# The sentence about the money of pieces that were cancelled before the capture, after it, or for nothing.
MONEY_OF_PIECES = {
    "lowered": "You pay {amount} less for this order.",
    "refunded": f"We are refunding {{amount}}; {BANKS_ARE_SLOW}.",
    "nothing": "No further money is owed to you for them.",
}
NOTHING_TO_PAY = "There was nothing to pay, so nothing is owed to you."

_PART = r"[^\s\"(),:;<>@\[\]\\\x00-\x1f\x7f-\x9f]+"
_ADDRESS = re.compile(f"({_PART})@({_PART})")
_LONGEST_NOTE = 200

# Returns the reason why a mail must not be sent now, or an empty text.
Withhold = Callable[[Notification, Order], str]


class MailChannel:
    """Mails the events in SUBJECTS, each as text and as HTML.

    docs/settings.md describes `smtp_url` (SMTP_URL). `mail_from` is an address, with or without a name.
    `withhold` is called for all mails of a batch before the first one is sent. Raises ValueError if the URL
    or the sender is malformed; its text contains no secret.
    """

    name = "mail"
    instant = False

    def __init__(self, smtp_url: str, mail_from: str, withhold: Withhold = lambda *_: "") -> None:
        self._withhold = withhold
        self._server = SmtpServer.at(smtp_url)
        self._sender = _sender(mail_from)
        self._templates = Environment(
            loader=PackageLoader("app.notifications.mail"),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def wants(self, order: Order, event_type: str) -> bool:
        """Wants the events with a subject, for orders with a mail address."""
        return event_type in SUBJECTS and "email" in order.get("personal", {})

    def deliver(self, notifications: Sequence[tuple[Notification, Order]]) -> Generator[Delivery]:
        """Sends the mails, and yields each outcome at once.

        A repeated mail has the same Message-ID and the same Date.
        """
        ready = [self._refusal(*each) for each in notifications]
        with contextlib.closing(SmtpSession(self._server)) as session:
            for refusal, each in zip(ready, notifications, strict=True):
                yield refusal or self._deliver_one(session, *each)

    def _refusal(self, notification: Notification, order: Order) -> Delivery | None:
        """The outcome of a mail that must not be sent; None if it may be sent."""
        try:
            usable = _ADDRESS.fullmatch(order.get("personal", {}).get("email", ""))
        except (AttributeError, TypeError):
            usable = None
        if not usable:
            return Delivery("failed", "no usable mail address")
        reason = self._withhold(notification, order)
        return Delivery("withheld", reason) if reason else None

    def _deliver_one(self, session: SmtpSession, notification: Notification, order: Order) -> Delivery:
        email = order["personal"]["email"]
        try:
            letter = self._letter(notification, order, email)
        except Exception as fault:
            # A bug that affects this order must not stop the other mails. The exception's text can contain
            # personal data, so the log has only its type.
            log.error("mail not composed", notification=notification["id"], error=type(fault).__name__)
            return Delivery("failed", f"not composed: {type(fault).__name__}")
        return session.send(letter, self._sender.addr_spec, email)

    def _letter(self, notification: Notification, order: Order, email: str) -> EmailMessage:
        variables = _variables(order)
        subject = SUBJECTS[notification["type"]].format(order["number"])
        local_part, _, domain = email.rpartition("@")
        letter = EmailMessage(policy.SMTP)
        letter["From"] = self._sender
        letter["To"] = Address("", local_part, domain)
        letter["Subject"] = subject
        letter["Date"] = notification["at"]
        letter["Message-ID"] = f"<{notification['id'].replace(':', '.')}@{self._sender.domain}>"
        letter["Auto-Submitted"] = "auto-generated"
        for kind, add in (("txt", letter.set_content), ("html", letter.add_alternative)):
            template = self._templates.get_template(f"{template_of(notification['type'])}.{kind}")
            # Some mail servers do not accept 8-bit bodies.
            add(
                template.render(variables, subject=subject),
                subtype="plain" if kind == "txt" else kind,
                cte="quoted-printable",
            )
        return letter


def template_of(event_type: str) -> str:
    """The name of the templates of a mail about an event of this type."""
    return event_type.removeprefix("order.")


def mailed(events: Sequence[Event]) -> set[int]:
    """The sequences of the events that are mailed. Events of one write have the same time."""
    writes: dict[Any, set[str]] = defaultdict(set)
    for event in events:
        writes[event["at"]].add(event["type"])
    return {
        event["sequence"]
        for event in events
        if event["type"] in SUBJECTS and writes[event["at"]].isdisjoint(COVERED_BY.get(event["type"], ()))
    }


def _sender(mail_from: str) -> Address:
    if mail_from.isprintable():
        addresses = policy.SMTP.header_factory("From", mail_from).addresses
        if len(addresses) == 1 and _ADDRESS.fullmatch(addresses[0].addr_spec):
            return addresses[0]
    raise ValueError("is not one mail address, with or without a name")


def _variables(order: Order) -> dict[str, Any]:
    """The variables of the templates: every text is harmless, and every amount has its currency.

    The tracking URL becomes a link, because only callers with `orders:admin` can set it.
    """
    currency = order["currency"]

    def amount(minor: int) -> str:
        return _amount(minor, currency)

    total = amount(order["totalAmount"])
    payment = order["payment"]
    owed = amount(payment["capturedAmount"] - payment["refundedAmount"])
    money = MONEY[payment["status"]].format(total=total, owed=owed)
    cancellation = order.get("cancellation", {})
    off = sum(one["amount"] for one in order.get("cancellations", ()))
    reason = cancellation.get("reason", "requested")
    shipment = _shipment(order)
    given = (order if shipment is None else shipment).get("tracking", {})
    tracking = {key: harmless(given.get(key, "")) for key in ("carrier", "number")}
    tracking["url"] = web_link(given.get("url", ""))
    return {
        "name": harmless(order.get("personal", {}).get("shippingAddress", {}).get("name", "")),
        "reference": harmless(order.get("reference", "")),
        "number": order["number"],
        "order_id": order["id"],
        "lines": [
            {
                "product": harmless(line["productId"]),
                "quantity": line["quantity"],
                "price": amount(line["unitPrice"]) if "unitPrice" in line else None,
                "cancelled": gone,
            }
            for line, gone in zip(order["products"], cancelled(order), strict=True)
        ],
        "taken_off": amount(-off) if off and order["status"] != "cancelled" else None,
        "cancelled": _cancelled(order),
        "returned": returns.variables(
            order, lambda minor: MONEY_OF_PIECES["refunded"].format(amount=amount(minor))
        ),
        "adjustments": [
            {
                "name": harmless(one.get("name", "")) or one["kind"].capitalize(),
                "amount": amount(one["amount"]),
                "included": one.get("included", False),
            }
            for one in order.get("adjustments", ())
        ],
        "total": total,
        "tracking": tracking if any(tracking.values()) else None,
        "parcel": _parcel(order, shipment),
        "reason": REASONS[reason],
        # For any other reason, the service itself wrote the detail, and not for customers.
        "note": harmless(cancellation.get("detail", ""), _LONGEST_NOTE) if reason == "requested" else "",
        "money": money if order["totalAmount"] else NOTHING_TO_PAY,
    }


def _cancelled(order: Order) -> dict[str, Any] | None:
    """The variables of the newest part cancellation; None if there are none."""
    if not (made := order.get("cancellations")):
        return None
    newest = made[-1]
    rule = "nothing" if not newest["amount"] else "lowered" if "lowers" in newest else "refunded"
    return {
        "pieces": _named(order, newest["products"]),
        "note": harmless(newest.get("reason", ""), _LONGEST_NOTE),
        "money": MONEY_OF_PIECES[rule].format(amount=_amount(newest["amount"], order["currency"])),
    }


def _shipment(order: Order) -> Shipment | None:
    """The shipment that the last event of the order is about, or the one that made the order `shipped`."""
    last = order["events"][-2:]
    if last[-1]["type"] == "order.shipped" and last[0]["type"] != "shipment.created":
        return None
    wanted = last[0 if last[-1]["type"] == "order.shipped" else -1]["data"].get("shipmentId")
    return next((one for one in shipments(order) if one["id"] == wanted), None)


def _parcel(order: Order, shipment: Shipment | None) -> list[dict[str, Any]]:
    """The pieces of the shipment. Empty if they are all of the order, which every mail lists."""
    if shipment is None or sum(one["quantity"] for one in shipment["products"]) == sum(ordered(order)):
        return []
    return _named(order, shipment["products"])


def _named(order: Order, pieces: Sequence[LinePieces]) -> list[dict[str, Any]]:
    """The pieces with the products of their lines."""
    products = [harmless(line["productId"]) for line in order["products"]]
    return [{"product": products[one["line"] - 1], "quantity": one["quantity"]} for one in pieces]


def _amount(minor: int, currency: str) -> str:
    """The amount as an English reader expects it, with all decimals of its currency: `1,234.50 USD`."""
    # Imported here, so that only a process that sends mails loads it.
    from babel.numbers import format_currency  # noqa: PLC0415

    # The decimals are those of ISO 4217. Babel knows those of everyday use, and would round.
    decimals = DECIMALS[currency]
    form = f"#,##0.{'0' * decimals} ¤¤" if decimals else "#,##0 ¤¤"
    value = Decimal(minor).scaleb(-decimals)
    return format_currency(value, currency, form, locale="en", currency_digits=False)
