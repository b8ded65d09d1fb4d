"""What a mail may not become, whatever stands in an order or in the settings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.domain.notifications import Delivery
from app.domain.order import Change
from app.gateways.mail import MailChannel
from tests.mails import CONFIRMED, EMAIL, TIMES, cancelled, mail_of, notification_of, order_after, texts_of


def test_markup_in_a_field_is_shown_and_not_obeyed() -> None:
    """In HTML it is escaped; a link that is not to the web is left out."""
    change = Change("order.shipped", {"tracking": {"carrier": "<b>C</b>", "url": "javascript:alert(1)"}})
    order = order_after(
        [*CONFIRMED, change], products=[{"productId": "<img src=x>", "quantity": 1}], name="<i>Ann</i>"
    )
    text, html = texts_of(mail_of(order, "order.shipped"))
    assert f"1 {TIMES} <img src=x>" in text
    assert "<img" not in html
    assert "&lt;img src=x&gt;" in html
    assert "<b>" not in html
    assert "<i>" not in html
    assert "javascript" not in text + html


@pytest.mark.parametrize(
    "evil",
    [
        "x\r\nBcc: victim@other.example",
        "x\nBcc: victim@other.example\n\nbody",
        "=?utf-8?q?x=0D=0ABcc:_victim=40other.example?=",
        'x" <victim@other.example>, "y',
        "x\u2028Bcc: victim@other.example",
        "ü" * 60 + ", victim@other.example",
    ],
)
def test_no_field_can_add_a_header_or_a_recipient(evil: str) -> None:
    """Whatever stands in a name or a reference, the mail has one recipient and our headers only."""
    letter = mail_of(order_after(CONFIRMED, reference=evil, name=evil), "order.confirmed")
    assert [address.addr_spec for address in letter["To"].addresses] == [EMAIL]
    assert "Bcc" not in letter


@given(reference=st.text(min_size=1, max_size=64), name=st.text(max_size=80), product=st.text(max_size=40))
def test_any_text_in_any_field_makes_a_well_formed_mail(reference: str, name: str, product: str) -> None:
    """The same for whatever Hypothesis can think of."""
    order = order_after(
        CONFIRMED, reference=reference, name=name, products=[{"productId": product, "quantity": 1}]
    )
    letter = mail_of(order, "order.confirmed")
    assert [address.addr_spec for address in letter["To"].addresses] == [EMAIL]
    assert sorted(letter.keys()) == sorted(
        ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]
    )
    text, html = texts_of(letter)
    assert "200.00 USD" in text
    assert "200.00 USD" in html
    assert len(text.splitlines()) == 9


@pytest.mark.parametrize(
    "address",
    ["", "ann", "@x.example", "a@b@c", "a b@x.example", "a@x.example\r\nBcc: v@o.example", "<a@x.example>",
     "a@x.example, v@o.example", "a(c)@x.example", "a@x\u2028.example", "a\x00@x.example"],
)  # fmt: skip
def test_what_is_no_mail_address_fails_for_good_without_a_server(address: str) -> None:
    """Nothing is connected to: the port is closed, and that would be tried again."""
    order = order_after(CONFIRMED, email=address)
    channel = MailChannel("smtp://127.0.0.1:1", "orders@shop.example")
    outcomes = channel.deliver([(notification_of(order, "order.confirmed"), order)])
    assert outcomes == [Delivery("failed", "no usable mail address")]


def test_an_order_that_cannot_be_told_spoils_no_other_and_says_nothing_of_its_customer() -> None:
    """A fault of our own in one order, here a reason without words, is logged and final for it alone."""
    bad, good = cancelled([], "a whim of Ann"), order_after(CONFIRMED)
    channel = MailChannel("smtp://127.0.0.1:1", "orders@shop.example")
    with capture_logs() as lines:
        outcomes = channel.deliver(
            [(notification_of(bad, "order.cancelled"), bad), (notification_of(good, "order.confirmed"), good)]
        )
    assert outcomes == [
        Delivery("failed", "not composed: KeyError"),
        Delivery("try_again", "ConnectionRefusedError"),
    ]
    assert "Ann" not in str(lines)
    assert lines[0]["event"] == "mail not composed"


@pytest.mark.parametrize(
    "url",
    ["", "mail.example", "http://mail.example", "smtp://", "smtp://u:1/secret@mail.example", "smtp://h:99999",
     "smtp://h?starttls=maybe", "smtp://h?tls=1", "smtps://h?starttls=1", "smtp://h/path", "smtp://u:secret\xe9@h"],
)  # fmt: skip
def test_a_malformed_server_address_is_refused_without_showing_it(url: str) -> None:
    """It may hold a password, and the message goes to the log."""
    with pytest.raises(ValueError, match=r"^(is not smtp|smtps is|has a user)") as refusal:
        MailChannel(url, "orders@shop.example")
    assert "cret" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    "sender",
    ["", "Shop", "a@b.example, c@d.example", "a@b.example\r\nBcc: c@d.example", "Shop <a b@c.example>"],
)
def test_a_sender_that_is_not_one_address_is_refused(sender: str) -> None:
    """At the start, rather than at the first mail."""
    with pytest.raises(ValueError, match="one mail address"):
        MailChannel("smtp://mail.example", sender)
