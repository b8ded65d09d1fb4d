"""Mail as it goes over the wire: a real SMTP server that need not mean well."""

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from smtplib import SMTP
from typing import Any

import pytest
import trustme
from aiosmtpd.smtp import AuthResult

from app import mail_server
from app.mail_server import SmtpServer
from app.notifications.mail import smtp
from app.notifications.mail.channel import MailChannel
from app.notifications.model import Delivery, Notification
from app.orders.model import Order
from tests.support.mails import CONFIRMED, NUMBER, delivered, notification_of, order_after
from tests.support.postbox import HOST, Postbox, Server

SENT = Delivery("sent")


Serve = Callable[..., str]


@pytest.fixture
def postbox() -> Postbox:
    """The mails that the server accepted."""
    return Postbox()


@pytest.fixture
def serve(postbox: Postbox) -> Iterator[Serve]:
    """Starts a server for the postbox, with aiosmtpd's options, and answers with its `host:port`."""
    with contextlib.ExitStack() as servers:

        def start(**options: Any) -> str:
            server = Server(postbox, **options)
            server.start()
            servers.callback(server.stop)
            return f"{HOST}:{server.port}"

        yield start


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts yet."""
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A server's TLS, with a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the authority the one that is trusted, the way an operator would."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def batch(*emails: str) -> list[tuple[Notification, Order]]:
    found = [order_after(CONFIRMED, email=email, reference=f"PO-{n}") for n, email in enumerate(emails)]
    return [(notification_of(order, "order.confirmed"), order) for order in found]


def channel_to(address: str, scheme: str = "smtp", login: str = "", query: str = "") -> MailChannel:
    return MailChannel(f"{scheme}://{login}{address}{query}", "The Shop <orders@shop.example>")


def test_a_batch_goes_out_on_one_connection(serve: Serve, postbox: Postbox) -> None:
    """Each to its own recipient, whole."""
    channel = channel_to(serve())
    assert delivered(channel, batch("a@x.example", "b@x.example", "c@x.example")) == [SENT] * 3
    assert postbox.recipients == ["a@x.example", "b@x.example", "c@x.example"]
    assert postbox.connections == 1
    _, letter = postbox.taken[1]
    assert letter["To"] == "b@x.example"
    assert letter["From"] == "The Shop <orders@shop.example>"
    assert letter["Subject"] == f"Order {NUMBER} is confirmed"
    assert [part.get_content_type() for part in letter.iter_parts()] == ["text/plain", "text/html"]
    assert all("200.00 USD" in part.get_content() for part in letter.iter_parts())


def test_a_mail_sent_again_has_the_same_message_id(serve: Serve, postbox: Postbox) -> None:
    """As happens when a worker dies between the sending and the noting down."""
    channel = channel_to(serve())
    delivered(channel, batch("a@x.example"))
    delivered(channel, batch("a@x.example"))
    [(_, first), (_, second)] = postbox.taken
    assert first["Message-ID"] == second["Message-ID"]


def test_a_refused_recipient_fails_for_good_and_spoils_no_other(serve: Serve, postbox: Postbox) -> None:
    """The detail has the codes and not the server's words, which quote the address."""
    postbox.replies = {
        "gone@x.example": "550 5.1.1 <gone@x.example>: user unknown",
        "busy@x.example": "451 4.7.1 <busy@x.example>: greylisted, come back later",
    }
    postbox.replies_to_data = {"full@x.example": "552 too much for full@x.example"}
    emails = ("a@x.example", "gone@x.example", "busy@x.example", "full@x.example", "b@x.example")
    assert delivered(channel_to(serve()), batch(*emails)) == [
        SENT,
        Delivery("failed", "550 5.1.1"),
        Delivery("try_again", "451 4.7.1"),
        Delivery("failed", "552"),
        SENT,
    ]
    assert postbox.recipients == ["a@x.example", "b@x.example"]
    assert postbox.connections == 1


def test_after_a_lost_connection_the_rest_goes_out_on_a_new_one(serve: Serve, postbox: Postbox) -> None:
    """A server may drop us, or say 421 and close, after so many mails."""
    postbox.dropped = {"drop@x.example"}
    postbox.replies = {"much@x.example": "421 4.4.5 too many mails on this connection"}
    emails = ("a@x.example", "drop@x.example", "b@x.example", "much@x.example", "c@x.example")
    outcomes = delivered(channel_to(serve()), batch(*emails))
    assert [outcome.status for outcome in outcomes] == ["sent", "try_again", "sent", "try_again", "sent"]
    assert postbox.recipients == ["a@x.example", "b@x.example", "c@x.example"]
    assert postbox.connections == 3


def test_a_server_that_always_drops_us_is_left_alone_for_now(serve: Serve, postbox: Postbox) -> None:
    """Two connections in vain are enough for one batch."""
    postbox.dropped = {f"{number}@x.example" for number in range(10)}
    outcomes = delivered(channel_to(serve()), batch(*sorted(postbox.dropped)))
    assert {outcome.status for outcome in outcomes} == {"try_again"}
    assert len(outcomes) == 10
    assert postbox.connections == 2


def test_with_no_server_everything_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt to connect, whatever the size of the batch."""
    attempts = []
    connect = SmtpServer.connect

    def counted(server: SmtpServer) -> SMTP:
        attempts.append(server)
        return connect(server)

    monkeypatch.setattr(SmtpServer, "connect", counted)
    with socket.create_server((HOST, 0)) as reserved:
        port = reserved.getsockname()[1]
    outcomes = delivered(channel_to(f"{HOST}:{port}"), batch("a@x.example", "b@x.example", "c@x.example"))
    assert outcomes[0] == Delivery("try_again", "ConnectionRefusedError")
    assert {outcome.status for outcome in outcomes} == {"try_again"}
    assert len(outcomes) == 3
    assert len(attempts) == 1


def test_a_server_that_stalls_is_not_waited_for_for_ever(
    serve: Serve, postbox: Postbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mail is tried again, and the next one goes out now."""
    monkeypatch.setattr(mail_server, "REPLY_SECONDS", 0.3)
    postbox.stalled = {"stall@x.example"}
    outcomes = delivered(channel_to(serve()), batch("stall@x.example", "b@x.example"))
    assert [outcome.status for outcome in outcomes] == ["try_again", "sent"]


def test_no_mail_is_begun_after_the_time_of_a_batch_is_over(
    serve: Serve, postbox: Postbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker may take the rest by then."""
    monkeypatch.setattr(smtp, "SESSION_SECONDS", -1)
    assert delivered(channel_to(serve()), batch("a@x.example")) == [Delivery("try_again", "TimeoutError")]
    assert postbox.taken == []


def test_an_address_beyond_ascii_is_sent_where_the_server_takes_it(serve: Serve, postbox: Postbox) -> None:
    """SMTPUTF8 (RFC 6531), for that mail alone."""
    assert delivered(channel_to(serve()), batch("jörg@müller.example", "a@x.example")) == [SENT, SENT]
    assert postbox.recipients == ["jörg@müller.example", "a@x.example"]
    assert postbox.taken[0][1]["To"] == "jörg@müller.example"


def test_an_address_beyond_ascii_fails_cleanly_where_the_server_does_not(
    serve: Serve, postbox: Postbox
) -> None:
    """The others of the batch are sent."""
    channel = channel_to(serve(enable_SMTPUTF8=False))
    assert delivered(channel, batch("jörg@x.example", "a@x.example")) == [
        Delivery("failed", "the mail server takes no international addresses"),
        SENT,
    ]
    assert postbox.recipients == ["a@x.example"]


def test_an_empty_batch_connects_to_nothing(serve: Serve, postbox: Postbox) -> None:
    """Nothing to say, nobody to call."""
    assert delivered(channel_to(serve()), []) == []
    assert postbox.connections == 0


@pytest.mark.usefixtures("trusted")
def test_starttls_encrypts_before_the_password_is_sent(
    serve: Serve, postbox: Postbox, server_tls: ssl.SSLContext
) -> None:
    """The server takes mail from the signed-in only, and passwords under TLS only."""
    address = serve(
        tls_context=server_tls, require_starttls=True, auth_required=True, authenticator=_authenticator
    )
    channel = channel_to(address, login="shop:p%40ss%3Aword@", query="?starttls=1")
    assert delivered(channel, batch("a@x.example", "b@x.example")) == [SENT, SENT]
    assert postbox.encrypted == [True, True]

    wrong = channel_to(address, login="shop:wrong@", query="?starttls=1")
    [outcome] = delivered(wrong, batch("c@x.example"))
    assert outcome == Delivery("try_again", "SMTPAuthenticationError 535")


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("login", ["shop:p%40ss%3Aword@", "shop@"])
def test_a_password_asks_for_tls_by_itself(
    serve: Serve, postbox: Postbox, server_tls: ssl.SSLContext, login: str
) -> None:
    """STARTTLS that the server offers is used, though the URL does not mention it."""
    accepting = {"auth_required": True, "authenticator": lambda *_: AuthResult(success=True)}
    channel = channel_to(serve(tls_context=server_tls, **accepting), login=login)
    assert delivered(channel, batch("a@x.example")) == [SENT]
    assert postbox.encrypted == [True]


@pytest.mark.parametrize("offers", [True, False])
def test_no_password_goes_out_in_clear_or_to_a_stranger(
    serve: Serve, postbox: Postbox, server_tls: ssl.SSLContext, offers: bool
) -> None:
    """A server without STARTTLS, or with a certificate of nobody's, does not get to see it."""
    seen: list[Any] = []

    def authenticator(*heard: Any) -> AuthResult:
        seen.append(heard)
        return AuthResult(success=True)

    options = {"auth_require_tls": False, "authenticator": authenticator}
    channel = channel_to(serve(tls_context=server_tls if offers else None, **options), login="shop:hush@")
    (outcome,) = delivered(channel, batch("a@x.example"))
    fault = "SSLCertVerificationError" if offers else "SMTPNotSupportedError"
    assert outcome == Delivery("try_again", fault)
    assert (seen, postbox.taken) == ([], [])


def test_a_password_goes_out_in_clear_where_plain_is_asked_for_by_name(
    serve: Serve, postbox: Postbox, server_tls: ssl.SSLContext
) -> None:
    """Even where the server offers STARTTLS: its certificate is nobody's, so it would not do."""
    options = {"auth_require_tls": False, "authenticator": _authenticator}
    address = serve(tls_context=server_tls, **options)
    wrong = delivered(channel_to(address, "smtp+plain", "shop:wrong@"), batch("a@x.example"))
    assert wrong == [Delivery("try_again", "SMTPAuthenticationError 535")]
    right = delivered(channel_to(address, "smtp+plain", "shop:p%40ss%3Aword@"), batch("b@x.example"))
    assert (right, postbox.encrypted) == ([SENT], [False])


def test_without_a_password_starttls_is_used_where_it_is_offered(
    serve: Serve, postbox: Postbox, server_tls: ssl.SSLContext
) -> None:
    """With any certificate: it is better than none, and mail servers of one's own seldom have a valid one."""
    assert delivered(channel_to(serve(tls_context=server_tls)), batch("a@x.example")) == [SENT]
    assert delivered(channel_to(serve()), batch("b@x.example")) == [SENT]
    assert postbox.encrypted == [True, False]


@pytest.mark.usefixtures("trusted")
def test_smtps_is_encrypted_from_the_first_byte(
    serve: Serve, postbox: Postbox, server_tls: ssl.SSLContext
) -> None:
    """The scheme alone asks for it."""
    assert delivered(channel_to(serve(ssl_context=server_tls), "smtps"), batch("a@x.example")) == [SENT]
    assert postbox.recipients == ["a@x.example"]


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_server_with_an_untrusted_certificate_gets_no_mail(
    serve: Serve, postbox: Postbox, server_tls: ssl.SSLContext, scheme: str
) -> None:
    """It may be the operator's mistake, so the mail waits."""
    address = serve(**{"smtp": {"tls_context": server_tls}, "smtps": {"ssl_context": server_tls}}[scheme])
    channel = channel_to(address, scheme, query="?starttls=1" if scheme == "smtp" else "")
    assert delivered(channel, batch("a@x.example")) == [Delivery("try_again", "SSLCertVerificationError")]
    assert postbox.taken == []


def test_where_starttls_is_asked_for_nothing_goes_in_clear(serve: Serve, postbox: Postbox) -> None:
    """A server, or somebody on the way, that hides STARTTLS gets no mail."""
    channel = channel_to(serve(), query="?starttls=1")
    assert delivered(channel, batch("a@x.example")) == [Delivery("try_again", "SMTPNotSupportedError")]
    assert postbox.taken == []


def _authenticator(server: Any, session: Any, envelope: Any, mechanism: str, login: Any) -> AuthResult:
    return AuthResult(success=(login.login, login.password) == (b"shop", b"p@ss:word"), handled=False)
