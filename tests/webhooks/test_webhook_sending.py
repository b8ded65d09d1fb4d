"""One webhook on its way to a real receiver: signed, in time, and never into the service's own network."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from standardwebhooks import WebhookVerificationError

from app.clock import now
from app.http import guard
from app.webhooks.model import Answer
from app.webhooks.sender import WebhookSender, new_secret
from tests.support.receiver import HOST, Receiver, Reply

if TYPE_CHECKING:
    from pathlib import Path

    from app.http.guard import Resolve

MESSAGE: dict[str, Any] = {"type": "order.created", "data": {"name": "Zoë"}}
PUBLIC = "93.184.216.34"
SOON = 0.5


def sender(*, resolve: Resolve = guard.resolve, seconds: float = 15.0) -> WebhookSender:
    """One that may reach the receiver."""
    return WebhookSender(allow_private=True, resolve=resolve, seconds=seconds)


def send(by: WebhookSender, url: str, *secrets: str) -> Answer:
    """The result of sending the message."""
    return by.send(url, secrets or [new_secret()], "an-id", now(), MESSAGE)


def test_a_receiver_verifies_a_webhook_with_the_library(receiver: Receiver) -> None:
    old, new = new_secret(), new_secret()
    assert send(sender(), receiver.url("localhost"), new, old) == Answer(200)
    (hook,) = receiver.hooks
    assert hook.path == "/hooks?from=shop"
    assert hook.id == "an-id"
    assert hook.headers["content-type"] == "application/json"
    assert hook.headers["host"] == f"localhost:{receiver.port}"
    assert hook.verified(new) == hook.verified(old) == MESSAGE
    with pytest.raises(WebhookVerificationError):
        hook.verified(new_secret())
    with pytest.raises(WebhookVerificationError):
        hook._replace(body=hook.body.replace(b"created", b"deleted")).verified(new)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    with Receiver() as other:
        receiver.reply = Reply(status, headers=(("Location", other.url()),))
        assert send(sender(), receiver.url()) == Answer(status)
        assert other.hooks == []


def test_the_answers_retry_after_is_returned(receiver: Receiver) -> None:
    receiver.reply = Reply(503, headers=(("Retry-After", "120"),))
    assert send(sender(), receiver.url()) == Answer(503, retry_after="120")


@pytest.mark.parametrize("way", ["stall", "drip", "drip_headers"])
def test_the_deadline_holds_for_the_whole_however_the_answer_comes(receiver: Receiver, way: str) -> None:
    receiver.reply = Reply(instead=getattr(receiver, way))
    began = time.monotonic()
    assert send(sender(seconds=SOON), receiver.url()) == Answer(None, "timeout")
    assert SOON * 0.9 < time.monotonic() - began < SOON + 5


def test_the_deadline_holds_while_the_receiver_does_not_read() -> None:
    with socket.create_server((HOST, 0)) as silent:
        message = {"x": "x" * 20_000_000}
        answer = sender(seconds=SOON).send(
            f"http://{HOST}:{silent.getsockname()[1]}/", [new_secret()], "i", now(), message
        )
    assert answer == Answer(None, "timeout")


def test_an_endless_answer_is_not_read_to_its_end(receiver: Receiver) -> None:
    def pour(connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        while not receiver.released.is_set():
            connection.sendall(b"." * 65536)

    receiver.reply = Reply(instead=pour)
    assert send(sender(), receiver.url()) == Answer(200)


@pytest.mark.parametrize(
    "said", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n.", b"\0" * 99]
)
def test_an_invalid_answer_is_a_failure(receiver: Receiver, said: bytes) -> None:
    def say(connection: Any) -> None:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_RDWR)

    receiver.reply = Reply(instead=say)
    assert send(sender(), receiver.url()) == Answer(None, "bad_answer")


def test_a_refused_connection_is_a_failure() -> None:
    with socket.create_server((HOST, 0)) as gone:
        port = gone.getsockname()[1]
    assert send(sender(), f"http://{HOST}:{port}/") == Answer(None, "unreachable")


@pytest.mark.parametrize("error", [OSError(), UnicodeError()])
def test_a_name_without_an_address_is_a_failure(error: Exception) -> None:
    def unknown(*_: object) -> list[str]:
        raise error

    assert send(sender(resolve=unknown), "http://example.com/") == Answer(None, "unresolvable")


def test_the_next_address_is_tried_where_one_does_not_answer(receiver: Receiver) -> None:
    by = sender(resolve=lambda *_: ["127.0.0.2", HOST])
    assert send(by, f"http://example.com:{receiver.port}/") == Answer(200)
    assert receiver.hooks[0].headers["host"] == f"example.com:{receiver.port}"


@pytest.mark.parametrize("host", [HOST, "localhost", "127.1", "2130706433", "0.0.0.0", "[::ffff:127.0.0.1]"])
def test_a_private_address_is_refused_at_the_send_and_not_even_connected_to(
    receiver: Receiver, host: str
) -> None:
    by = WebhookSender(allow_private=False)
    assert send(by, receiver.url(host)) == Answer(None, "private_address")
    assert receiver.hooks == []


def test_a_name_that_changes_its_mind_between_check_and_use_gains_nothing(receiver: Receiver) -> None:
    """It is public whenever it is asked for the first time, and the receiver's afterwards."""
    answers = [[PUBLIC], [HOST]]
    asked = []

    def fickle(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    by = WebhookSender(allow_private=False, resolve=fickle, seconds=SOON)
    url = receiver.url("rebind.example.com")
    assert by.fault_of(url) is None
    assert send(by, url) == Answer(None, "private_address")
    asked.clear()
    # Public at the check of the send itself: the connection goes there, or nowhere, but the name is not
    # asked for again.
    assert send(by, url).error in ("timeout", "unreachable")
    assert asked == ["rebind.example.com"]
    assert receiver.hooks == []


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the name, which a resolver of the system would answer for differently by then."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def changed(host: str, port: int, *args: Any, **options: Any) -> Any:
        asked.append(host)
        first = asked.count("rebind.example.com") == 1
        found = PUBLIC if host == "rebind.example.com" and first else HOST if "rebind" in host else host
        return real(found, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", changed)
    answer = send(WebhookSender(allow_private=False, seconds=SOON), receiver.url("rebind.example.com"))
    assert answer.error in ("timeout", "unreachable")
    assert asked == ["rebind.example.com", PUBLIC]
    assert receiver.hooks == []


def test_a_proxy_of_the_environment_is_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        assert send(sender(), receiver.url()) == Answer(200)
        assert proxy.hooks == []


def test_a_certificate_must_be_trusted_and_be_the_hosts_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.example.com").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    def by() -> WebhookSender:
        return sender(resolve=lambda *_: [HOST], seconds=5)

    with Receiver(context) as receiver:
        own, others = receiver.url("shop.example.com"), receiver.url("other.example.com")
        assert send(by(), own) == Answer(None, "untrusted")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert send(by(), own) == Answer(200)
        assert send(by(), others) == Answer(None, "untrusted")
        assert len(receiver.hooks) == 1


def test_the_deadline_holds_for_the_handshake_of_tls() -> None:
    with socket.create_server((HOST, 0)) as silent:
        url = f"https://{HOST}:{silent.getsockname()[1]}/"
        assert send(sender(seconds=SOON), url) == Answer(None, "timeout")
