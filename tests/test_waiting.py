"""The log lines about a missing server: at once, at each reminder, and when it answers."""

from __future__ import annotations

import pytest
import structlog

from app import waiting
from app.waiting import Waiting, without_credentials


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        (
            "rediss://user:p%40ss@cache.example:6380/1?ssl_cert_reqs=none&password=x",
            "rediss://cache.example:6380/1",
        ),
        ("mongodb://u:p@a:1,b:2/orders?replicaSet=rs0&authSource=admin", "mongodb://a:1,b:2/orders"),
        ("redis://:a@b@cache/0", "redis://cache/0"),
    ],
)
def test_an_address_is_logged_without_user_password_and_options(url: str, said: str) -> None:
    assert without_credentials(url) == said


def test_a_missing_server_is_logged_once_until_the_reminder_and_when_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("app.waiting.time.monotonic", lambda: now)
    with structlog.testing.capture_logs() as lines:
        one = Waiting("broker", "redis://u:p@host/0")
        one.there()
        one.missing("ConnectionError")
        now += waiting.REMINDER - 1
        one.missing("ConnectionError")
        now += 1
        one.missing("TimeoutError")
        now += 2
        one.there()
        one.there()
    assert [(line["event"], line["seconds"]) for line in lines] == [
        ("waiting for a server", 0),
        ("waiting for a server", 30),
        ("the server answers again", 32),
    ]
    assert {line["address"] for line in lines} == {"redis://host/0"}
