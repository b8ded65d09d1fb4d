"""The mails to customers, as they are before they reach a server."""

import html
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from app.money import DECIMALS, to_text
from app.notifications.log import LogChannel
from app.notifications.mail.channel import MONEY, REASONS, SUBJECTS, MailChannel, mailed
from app.notifications.model import Delivery
from app.orders.events import EVENTS, PUBLIC
from app.orders.model import Change, Order, advance
from app.orders.states import CANCELLATION_REASONS, PAYMENT
from tests.support.mails import (
    AUTHORIZED,
    CONFIRMED,
    NOW,
    NUMBER,
    ORDER_ID,
    SHIPPED,
    TIMES,
    cancelled,
    delivered,
    mail_of,
    notification_of,
    order_after,
    texts_of,
)


def test_the_mail_of_a_confirmed_order_has_lines_and_total_in_text_and_html() -> None:
    """Both versions say the same; amounts have all decimals and their currency."""
    order = order_after(CONFIRMED, reference="PO-7", name="Ann Lee")
    letter = mail_of(order, "order.confirmed")
    assert letter["Subject"] == f"Order {NUMBER} is confirmed"
    assert letter.get_content_type() == "multipart/alternative"
    for text in texts_of(letter):
        assert "Hello Ann Lee," in text
        assert f"2 {TIMES} tea-pot" in text
        assert "100.00 USD each" in text
        assert "200.00 USD" in text
        assert NUMBER in text
        assert "PO-7" in text


def test_the_text_version_reads_like_a_letter() -> None:
    """White space is where templates go wrong unseen."""
    text, _ = texts_of(mail_of(order_after(SHIPPED, reference="PO-7", name="Ann"), "order.shipped"))
    assert text == (
        "Hello Ann,\n"
        "\n"
        f"Good news: your order {NUMBER} is on its way.\n"
        "\n"
        "Carrier: Snail\n"
        "Tracking number: S-1\n"
        "Follow your parcel: https://snail.example/S-1?a=1&b=2\n"
        "\n"
        f"  2 {TIMES} tea-pot, 100.00 USD each\n"
        "  Total: 200.00 USD\n"
        "\n"
        "Your reference: PO-7\n"
        f"Order {NUMBER} ({ORDER_ID}). This mail was sent automatically.\n"
    )


def test_a_mail_lists_the_adjustments_with_their_names_and_amounts() -> None:
    """A nameless one by its kind; a tax that the prices include says so. A name cannot become a link."""
    adjustments = [
        {"kind": "shipping", "name": "Parcel <b>", "amount": 490},
        {"kind": "discount", "name": "spam.example", "amount": -1000, "line": 1},
        {"kind": "tip", "amount": 5},
        {"kind": "tax", "name": "VAT", "amount": 3111, "included": True},
    ]
    order = order_after(CONFIRMED, adjustments=adjustments, total="194.95")
    text, page = texts_of(mail_of(order, "order.confirmed"))
    assert (
        f"  2 {TIMES} tea-pot, 100.00 USD each\n"
        "  Parcel <b>: 4.90 USD\n"
        "  spam. example: -10.00 USD\n"
        "  Tip: 0.05 USD\n"
        "  VAT: 31.11 USD (included in the prices)\n"
        "  Total: 194.95 USD\n"
    ) in text
    for shown in (
        "Parcel &lt;b&gt;",
        "4.90 USD",
        "spam. example",
        "-10.00 USD",
        "Tip",
        "included in the prices",
    ):
        assert shown in page


def test_a_cancelled_order_reads_like_a_letter() -> None:
    """The note of who cancelled, and the money, each in a paragraph of its own."""
    order = cancelled(CONFIRMED, "requested", detail="Ordered twice")
    text, _ = texts_of(mail_of(order, "order.cancelled"))
    assert text.startswith(
        "Hello,\n"
        "\n"
        f"Your order {NUMBER} has been cancelled. It was cancelled on request.\n"
        "\n"
        "Note: Ordered twice\n"
        "\n"
        "We are refunding 200.00 USD; your bank may take a few days to show it.\n"
        "\n"
        f"  2 {TIMES} tea-pot, 100.00 USD each\n"
    )


@pytest.mark.parametrize(
    ("order", "sentences"),
    [
        (
            cancelled([Change("payment.declined")], "payment_declined", detail="do_not_honor"),
            ("The payment was declined.", "You have not been charged."),
        ),
        (
            cancelled([*AUTHORIZED, Change("stock.insufficient")], "out_of_stock"),
            ("not have enough in stock", "The 200.00 USD held for this order is being given back"),
        ),
        (cancelled([], "expired"), ("could not complete it in time", "You have not been charged.")),
        (
            cancelled([*CONFIRMED, Change("payment.partially_refunded", {"refundedAmount": 1})], "requested"),
            ("cancelled on request", "refunding the remaining 199.99 USD"),
        ),
    ],
    ids=["declined", "out of stock", "expired", "part refunded"],
)
def test_the_mail_of_a_cancelled_order_has_the_reason_and_the_money(
    order: Order, sentences: tuple[str, ...]
) -> None:
    """Reason and money have separate sentences, since any reason can meet any state of the payment."""
    for text in texts_of(mail_of(order, "order.cancelled")):
        for sentence in sentences:
            assert sentence in text
        assert "do_not_honor" not in text


def test_there_are_words_for_every_reason_and_every_state_of_the_money() -> None:
    """A state added to the tables of the domain needs its words."""
    assert set(REASONS) == set(CANCELLATION_REASONS)
    assert set(MONEY) == set(PAYMENT)


def test_a_free_order_owes_nothing_when_cancelled() -> None:
    """`The 0.00 USD held for this order` would be silly."""
    change = Change("order.cancelled", {"cancellation": {"reason": "requested"}})
    order = order_after([*AUTHORIZED, change], products=[{"productId": "p", "quantity": 1}], total="0")
    text, _ = texts_of(mail_of(order, "order.cancelled"))
    assert "There was nothing to pay" in text
    assert "held" not in text


@pytest.mark.parametrize(
    ("total", "currency", "shown"),
    [
        ("200", "JPY", "200 JPY"),
        ("1.005", "KWD", "1.005 KWD"),
        ("9999999999.99", "EUR", "9,999,999,999.99 EUR"),
    ],
)
def test_amounts_are_exact_in_every_currency(total: str, currency: str, shown: str) -> None:
    """None, two or three decimals, and no rounding at ten billion."""
    order = order_after(products=[{"productId": "p", "quantity": 1}], total=total, currency=currency)
    for text in texts_of(mail_of(order, "order.delivered")):
        assert shown in text
        assert "each" not in text


@pytest.mark.parametrize("currency", DECIMALS)
def test_an_amount_in_a_mail_has_the_digits_of_the_api(currency: str) -> None:
    """All decimals of its currency; only the commas between the thousands are more."""
    for total in (1, 1234567):
        total_text = to_text(total, currency)
        order = order_after(products=[{"productId": "p", "quantity": 1}], total=total_text, currency=currency)
        text, _ = texts_of(mail_of(order, "order.delivered"))
        assert f"  Total: {total_text} {currency}\n" in text.replace(",", "")


def test_a_doubled_mail_has_the_same_headers() -> None:
    """Mailboxes fold together what has the same Message-ID; robots leave alone what is auto-generated."""
    order = order_after(SHIPPED)
    first, second = mail_of(order, "order.shipped"), mail_of(order, "order.shipped")
    assert first["Message-ID"] == second["Message-ID"] == f"<{ORDER_ID}.6.mail@shop.example>"
    assert first["Date"].datetime == NOW
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["From"] == "The Shop <orders@shop.example>"
    assert mail_of(order_after(CONFIRMED), "order.confirmed")["Message-ID"] != first["Message-ID"]


def test_names_in_any_script_arrive_whole() -> None:
    """A name of letters beyond ASCII stands in both texts, and so does a reference."""
    order = order_after(CONFIRMED, name="Jörg Müller-Ångström 山田 太郎", reference="Bestellung №7")
    letter = mail_of(order, "order.confirmed", "Laden für Töpfe <orders@shop.example>")
    assert letter["From"].addresses[0].display_name == "Laden für Töpfe"
    for text in texts_of(letter):
        assert "Jörg Müller-Ångström 山田 太郎" in text
        assert "Bestellung №7" in text


@pytest.mark.parametrize(
    "text", ["St. Ives", "lamp-v2.1", "3.5 mm", "A/B, 12:30", "O'Neil & Sons (GmbH)", "№ 7"]
)
def test_ordinary_text_arrives_as_it_was_given(text: str) -> None:
    """A text that mail programs do not turn into a link stays unchanged."""
    order = order_after(CONFIRMED, products=[{"productId": text, "quantity": 1}])
    plain, page = texts_of(mail_of(order, "order.confirmed"))
    assert f"1 {TIMES} {text}\n" in plain
    assert text in html.unescape(page)


BROKEN = Change(
    "cancellation.created",
    {
        "cancellationId": "c1",
        "products": [{"line": 1, "quantity": 1}],
        "amount": 10000,
        "reason": "one broke",
    },
)


def test_the_mail_of_cancelled_pieces_names_them_and_the_money() -> None:
    text, page = texts_of(mail_of(order_after([*CONFIRMED, BROKEN]), "cancellation.created"))
    assert text.startswith(
        "Hello,\n"
        "\n"
        f"A part of your order {NUMBER} has been cancelled:\n"
        "\n"
        f"  1 {TIMES} tea-pot\n"
        "\n"
        "Note: one broke\n"
        "\n"
        "We are refunding 100.00 USD; your bank may take a few days to show it.\n"
        "\n"
        "This is your order as you placed it:\n"
        "\n"
        f"  2 {TIMES} tea-pot, 100.00 USD each (1 cancelled)\n"
        "  Total: 200.00 USD\n"
        "  Cancelled: -100.00 USD\n"
    )
    for shown in (
        f"1 {TIMES} tea-pot",
        "one broke",
        "We are refunding 100.00 USD",
        "(1 cancelled)",
        "-100.00 USD",
    ):
        assert shown in page


def test_pieces_cancelled_before_the_capture_cost_less_and_free_ones_nothing() -> None:
    text, _ = texts_of(mail_of(order_after([BROKEN]), "cancellation.created"))
    assert "You pay 100.00 USD less for this order." in text
    data = {**BROKEN.data, "amount": 0}
    text, _ = texts_of(mail_of(order_after([*CONFIRMED, Change(BROKEN.type, data)]), "cancellation.created"))
    assert "No further money is owed to you for them." in text
    assert "Cancelled:" not in text


PIECES = [{"line": 1, "quantity": 2, "reason": "too small"}]
ASKED = Change("return.requested", {"returnId": "r1", "products": PIECES, "refund": "on_receipt"})
TAKEN = Change("return.approved", {"returnId": "r1"})
GONE = [*CONFIRMED, Change("order.shipped"), Change("order.delivered")]
PARCEL = [
    {"line": 1, "quantity": 1, "condition": "resellable"},
    {"line": 1, "quantity": 1, "condition": "damaged"},
]
MONEY_BACK = "We are refunding 200.00 USD; your bank may take a few days to show it."
RETURNS: dict[str, tuple[list[Change], list[str]]] = {
    "requested": ([ASKED], ["We refund the pieces once they have arrived."]),
    "approved": ([ASKED, TAKEN], ["We refund the pieces once they have arrived."]),
    "approved at once": (
        [ASKED, Change("return.approved", {"returnId": "r1", "refundId": "1", "amount": 20000})],
        [MONEY_BACK],
    ),
    "rejected": (
        [ASKED, Change("return.rejected", {"returnId": "r1", "rejection": {"reason": "made to measure"}})],
        ["Reason: made to measure"],
    ),
    "cancelled": ([ASKED, Change("return.cancelled", {"returnId": "r1"})], []),
    "closed": ([ASKED, TAKEN, Change("return.closed", {"returnId": "r1"})], []),
}


@pytest.mark.parametrize("name", RETURNS)
def test_the_mails_of_a_return_name_its_pieces_and_the_money(name: str) -> None:
    changes, sentences = RETURNS[name]
    for shown in texts_of(mail_of(order_after([*GONE, *changes]), changes[-1].type)):
        for sentence in (f"2 {TIMES} tea-pot", "The number of the return is r1.", *sentences):
            assert sentence in " ".join(shown.replace("<bdi>", "").replace("</bdi>", "").split())


def test_a_receipt_that_closes_its_return_is_one_mail() -> None:
    came = Change("return.received", {"returnId": "r1", "receipt": 1, "products": PARCEL})
    closed = Change("return.closed", {"returnId": "r1"})
    order = order_after([*GONE, ASKED, TAKEN])
    after = advance(order, order["updatedAt"] + timedelta(hours=1), "shop", [came, closed])
    assert mailed(after["events"][-2:]) == {after["version"] - 1}
    assert mailed(after["events"][-1:]) == {after["version"]}


def test_the_mail_of_a_receipt_names_the_pieces_that_came_and_which_are_damaged() -> None:
    came = Change(
        "return.received",
        {"returnId": "r1", "receipt": 1, "products": PARCEL, "refundId": "1", "amount": 20000},
    )
    text, _ = texts_of(mail_of(order_after([*GONE, ASKED, TAKEN, came]), "return.received"))
    assert text.startswith(
        "Hello,\n"
        "\n"
        f"We have received these pieces of your order {NUMBER}:\n"
        "\n"
        f"  1 {TIMES} tea-pot\n"
        f"  1 {TIMES} tea-pot (damaged)\n"
        "\n"
        f"{MONEY_BACK}\n"
        "\n"
        "The number of the return is r1. This is your order:\n"
    )


def test_mail_is_wanted_for_what_customers_wait_for_if_an_order_has_an_address() -> None:
    """Not for steps on the way, and not once the address is erased."""
    channel = MailChannel("smtp://127.0.0.1:1", "orders@shop.example")
    order = order_after(CONFIRMED)
    wanted = {kind for kind in EVENTS if channel.wants(order, kind)}
    of_orders = {f"order.{what}" for what in ("confirmed", "shipped", "delivered", "cancelled")}
    of_shipments = {f"shipment.{what}" for what in ("created", "corrected", "delivered", "cancelled")}
    ends = ("rejected", "cancelled", "received", "closed")
    of_returns = {f"return.{what}" for what in ("requested", "approved", *ends)}
    assert wanted == of_orders | of_shipments | {"cancellation.created"} | of_returns == set(SUBJECTS)
    del order["personal"]
    assert not any(channel.wants(order, kind) for kind in EVENTS)
    outcomes = delivered(channel, [(notification_of(order, "order.confirmed"), order)])
    assert outcomes == [Delivery("failed", "no usable mail address")]


def test_the_log_channel_logs_every_public_event_in_one_line_without_the_customer() -> None:
    """The line is constant text with fields; the address stays out."""
    order = order_after(CONFIRMED)
    channel = LogChannel()
    assert {kind for kind in EVENTS if channel.wants(order, kind)} == PUBLIC
    with capture_logs() as lines:
        outcomes = delivered(channel, [(notification_of(order, "order.confirmed"), order)] * 2)
    assert outcomes == [Delivery("sent")] * 2
    assert (
        lines
        == [
            {
                "event": "notification",
                "log_level": "info",
                "order_id": ORDER_ID,
                "type": "order.confirmed",
                "sequence": 5,
            }
        ]
        * 2
    )
