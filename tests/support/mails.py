"""Orders to write mails about, and the mails read back from the bytes that would go to a server."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache
from typing import Any

import pytest

from app.money import to_minor
from app.notifications.mail.channel import MailChannel
from app.notifications.mail.smtp import SmtpSession
from app.notifications.model import Channel, Delivery, Notification
from app.orders import model as orders
from app.orders.model import Change, Order, Personal
from app.orders.numbers import number_of

NOW = datetime(2024, 10, 4, 10, tzinfo=UTC)
ORDER_ID = "66ffbd20a1b2c3d4e5f60718"
NUMBER = number_of(ORDER_ID)
EMAIL = "ann@customer.example"
TIMES = "\N{MULTIPLICATION SIGN}"

AUTHORIZED = [Change("payment.authorized", {"reference": "p-1"})]
CONFIRMED = [
    *AUTHORIZED,
    Change("stock.decremented"),
    Change("payment.captured", {"capturedAmount": 20000}),
    Change("order.confirmed"),
]
SHIPPED = [
    *CONFIRMED,
    Change(
        "order.shipped",
        {"tracking": {"carrier": "Snail", "number": "S-1", "url": "https://snail.example/S-1?a=1&b=2"}},
    ),
]


def order_after(
    changes: list[Change] | None = None,
    *,
    products: list[Any] | None = None,
    total: str = "200.00",
    currency: str = "USD",
    reference: str | None = None,
    name: str | None = None,
    email: str = EMAIL,
    adjustments: list[Any] | None = None,
) -> Order:
    created: dict[str, Any] = {
        "userId": "u-1",
        "products": products or [{"productId": "tea-pot", "quantity": 2, "unitPrice": 10000}],
        "totalAmount": to_minor(Decimal(total), currency),
        "currency": currency,
    }
    if adjustments:
        created["adjustments"] = adjustments
    if reference is not None:
        created["reference"] = reference
    personal = Personal(salt="s", email=email)
    if name is not None:
        personal["shippingAddress"] = {"name": name}
    order = orders.create(ORDER_ID, NOW, "test", created, personal)
    return orders.advance(order, NOW, "test", changes) if changes else order


def cancelled(changes: list[Change], reason: str, **fields: str) -> Order:
    return order_after([*changes, Change("order.cancelled", {"cancellation": {"reason": reason, **fields}})])


def notification_of(order: Order, kind: str) -> Notification:
    return Notification(
        id=f"{order['id']}:{order['version']}:mail",
        orderId=order["id"],
        sequence=order["version"],
        channel="mail",
        type=kind,
        at=NOW,
        attempts=1,
    )


class Outbox:
    """Takes what would go to the server, as the bytes that would go there."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []

    def send(self, letter: EmailMessage, sender: str, recipient: str) -> Delivery:
        self.letters.append(message_from_bytes(letter.as_bytes(), policy=policy.default))
        return Delivery("sent")


def delivered(channel: Channel, notifications: Sequence[tuple[Notification, Order]]) -> list[Delivery]:
    return list(channel.deliver(notifications))


@cache
def channel_from(mail_from: str) -> MailChannel:
    return MailChannel("smtp://127.0.0.1:1", mail_from)


def mail_of(order: Order, kind: str, mail_from: str = "The Shop <orders@shop.example>") -> EmailMessage:
    outbox = Outbox()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SmtpSession, "send", lambda _, *letter: outbox.send(*letter))
        batch = [(notification_of(order, kind), order)]
        assert delivered(channel_from(mail_from), batch) == [Delivery("sent")]
    return outbox.letters[0]


def texts_of(letter: EmailMessage) -> tuple[str, str]:
    plain, html = (letter.get_body((kind,)) for kind in ("plain", "html"))
    assert isinstance(plain, EmailMessage)
    assert isinstance(html, EmailMessage)
    # Which way a text runs is no matter of its words.
    page = html.get_content().replace("<bdi>", "").replace("</bdi>", "")
    return plain.get_content().replace("\r\n", "\n"), page
