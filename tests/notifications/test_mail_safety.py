"""No text in an order or in the settings turns a mail into something harmful."""

import re
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.utils import urlize
from markupsafe import escape
from structlog.testing import capture_logs

from app.notifications.mail.channel import MailChannel
from app.notifications.mail.text import harmless
from app.notifications.model import Delivery
from app.orders.model import Change
from tests.support.mails import (
    CONFIRMED,
    EMAIL,
    NUMBER,
    TIMES,
    cancelled,
    delivered,
    mail_of,
    notification_of,
    order_after,
    texts_of,
)


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
    """With any name and reference, the mail has one recipient and only our headers."""
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
    assert len(text.splitlines()) == 10 + bool(harmless(reference))


# What mail programs make links of, whatever spelling of a dot they know.
LINKS = (
    re.compile(r"(?i)\b[a-z][a-z0-9+.-]{1,20}:(?=[^\W\d]|[/\\+])"),
    re.compile(r"(?i)\bwww[.\u3002\uff61]\w"),
    re.compile(r"[^\s.\u3002\uff61][.\u3002\uff61]+[^\W\d_]"),
    re.compile(r"[^\s.]\.\S*[.:@]\w"),
    re.compile(r"\d+(\.\d+){2,}"),
    re.compile(r"\S@\w"),
    re.compile(r"\\\w"),
)
EVIL = [
    "https://evil.example/x",
    "HTTP:evil.example",
    "www.evil.example",
    "evil.example/pay?a=b",
    "Pay at evil.com!",
    "(evil.com)",
    "user@evil.example",
    "mailto:user@evil.example",
    "javascript:alert(1)",
    "tel:+18005550100",
    "file:\\\\evil\\share",
    "\\\\evil\\share",
    "192.0.2.7/x",
    "//evil.example",
    "ev\u200bil.example",
    "evil\u3002example/x",
    "evil\uff0eexample",
    "evil\uff61com",
    "evil\u2024com",
    "evil\ufe52com",
    "\uff48\uff54\uff54\uff50\uff1a\uff0f\uff0f\uff45\uff56\uff49\uff4c\uff0e\uff43\uff4f\uff4d",
    "xn--e1afmkfd.example",
    "\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444",
    "evil\u2488com",
    "\u202emoc.live\u202c",
    "evil.\u034fcom",
    "a\uff20evil.example",
    "1.5.evil.com",
]
SCRAPS = st.lists(
    st.one_of(
        st.sampled_from([*EVIL, *".:@/\\ 1a", "www", "http", "com", "\u3002", "\uff0e", "\u2028"]),
        st.text(max_size=4),
    ),
    max_size=8,
).map("".join)


class Page(HTMLParser):
    """The texts of an HTML page, and where its links go."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[str | None] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        """Keeps a text."""
        self.texts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps a link."""
        self.links += [value for name, value in attrs if name in ("href", "src", "action")]


def links_in(text: str) -> list[str]:
    """The parts of a text that look like links, as text and as a browser would read it."""
    # Not the ellipsis, which no browser reads as dots.
    text = text.replace("\N{HORIZONTAL ELLIPSIS}", " ")
    forms = (text, unicodedata.normalize("NFKC", text))
    found = [match[0] for form in forms for pattern in LINKS if (match := pattern.search(form))]
    return found + [form for form in forms if urlize(form) != str(escape(form))]


def test_the_patterns_know_a_link() -> None:
    """Each of the texts is one to them, so the tests below can fail."""
    invisible = {"ev\u200bil.example", "\u202emoc.live\u202c", "evil.\u034fcom"}
    assert [evil for evil in EVIL if not links_in(evil) and evil not in invisible] == []


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("place", ["product", "name", "reference", "note", "carrier", "number"])
def test_no_text_of_a_client_becomes_a_link(evil: str, place: str) -> None:
    """Wherever a client can place it, in the text as in the page."""
    _assert_no_link(**{place: evil})


@pytest.mark.slow
@given(evil=SCRAPS)
def test_no_text_becomes_a_link(evil: str) -> None:
    """This holds for every kind of text, in all fields at once."""
    _assert_no_link(**dict.fromkeys(("product", "name", "reference", "note", "carrier", "number"), evil))


def _assert_no_link(
    product: str = "p",
    name: str = "",
    reference: str = "",
    note: str = "",
    carrier: str = "",
    number: str = "",
) -> None:
    lines = [{"productId": product, "quantity": 1}, {"productId": "com", "quantity": 1}]
    shipped = Change("order.shipped", {"tracking": {"carrier": carrier, "number": number}})
    cancellation = Change("order.cancelled", {"cancellation": {"reason": "requested", "detail": note}})
    for kind, change in (("order.shipped", shipped), ("order.cancelled", cancellation)):
        order = order_after([*CONFIRMED, change], products=lines, name=name, reference=reference)
        letter = mail_of(order, kind)
        assert NUMBER in letter["Subject"]
        assert letter["To"] == EMAIL
        text, html = texts_of(letter)
        page = Page(html)
        assert links_in(text) == []
        assert [found for shown in page.texts for found in links_in(shown)] == []
        assert page.links == []


def test_a_very_long_text_is_cut() -> None:
    """A letter of somebody else's does not fit in."""
    long = "pay " * 2_500
    change = Change("order.cancelled", {"cancellation": {"reason": "requested", "detail": long}})
    lines = [{"productId": long, "quantity": 1}]
    order = order_after([*CONFIRMED, change], products=lines, name=long, reference=long)
    text, _ = texts_of(mail_of(order, "order.cancelled"))
    assert max(map(len, text.splitlines())) < 250
    assert text.count("pay") <= 3 * 25 + 50


def test_no_subject_shows_a_clients_text() -> None:
    """It has the order's id alone, by which the shop finds the order."""
    evil = "You have won"
    letter = mail_of(
        order_after(CONFIRMED, reference=evil, name=evil, products=[{"productId": evil, "quantity": 1}]),
        "order.confirmed",
    )
    assert letter["Subject"] == f"Order {NUMBER} is confirmed"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://snail.example/S-1?a=1&b=2", "https://snail.example/S-1?a=1&b=2"),
        ("https://snail.example/\u00fc", "https://snail.example/%C3%BC"),
        ("https://snail.example/\u202e", ""),
        ("javascript:alert(1)", ""),
        ('https://snail.example/"><b>', "https://snail.example/%22%3E%3Cb%3E"),
    ],
)
def test_the_shops_tracking_address_is_the_only_link(url: str, shown: str) -> None:
    """Of the web, in ASCII; anything else is left out."""
    change = Change("order.shipped", {"tracking": {"number": "S-1", "url": url}})
    text, html = texts_of(mail_of(order_after([*CONFIRMED, change]), "order.shipped"))
    assert Page(html).links == [shown] * bool(shown)
    assert (f"Follow your parcel: {shown}\n" in text) == bool(shown)


@pytest.mark.parametrize(
    "address",
    ["", "ann", "@x.example", "a@b@c", "a b@x.example", "a@x.example\r\nBcc: v@o.example", "<a@x.example>",
     "a@x.example, v@o.example", "a(c)@x.example", "a@x\u2028.example", "a\x00@x.example"],
)  # fmt: skip
def test_an_invalid_mail_address_fails_for_good_without_a_server(address: str) -> None:
    """Nothing is connected to: the port is closed, and that would be tried again."""
    order = order_after(CONFIRMED, email=address)
    channel = MailChannel("smtp://127.0.0.1:1", "orders@shop.example")
    outcomes = delivered(channel, [(notification_of(order, "order.confirmed"), order)])
    assert outcomes == [Delivery("failed", "no usable mail address")]


def test_an_unreadable_order_delays_no_other_and_logs_no_personal_data() -> None:
    """A fault of our own in one order, here a reason without words, is logged and final for it alone."""
    bad, good = cancelled([], "a whim of Ann"), order_after(CONFIRMED)
    channel = MailChannel("smtp://127.0.0.1:1", "orders@shop.example")
    with capture_logs() as lines:
        outcomes = delivered(
            channel,
            [
                (notification_of(bad, "order.cancelled"), bad),
                (notification_of(good, "order.confirmed"), good),
            ],
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
     "smtp://h?starttls=maybe", "smtp://h?tls=1", "smtps://h?starttls=1", "smtp+plain://h?starttls=1",
     "smtp://h/path", "smtp://u:secret\xe9@h", "smtp+tls://h"],
)  # fmt: skip
def test_a_malformed_server_address_is_refused_without_showing_it(url: str) -> None:
    """It may hold a password, and the message goes to the log."""
    with pytest.raises(ValueError, match=r"^(is not smtp|takes starttls|has a user)") as refusal:
        MailChannel(url, "orders@shop.example")
    assert "cret" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    "sender",
    ["", "Services", "a@b.example, c@d.example", "a@b.example\r\nBcc: c@d.example", "Shop <a b@c.example>"],
)
def test_a_sender_that_is_not_one_address_is_refused(sender: str) -> None:
    """At the start, rather than at the first mail."""
    with pytest.raises(ValueError, match="one mail address"):
        MailChannel("smtp://mail.example", sender)
