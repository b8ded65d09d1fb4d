"""The rules of webhooks: who hears of what, when it is tried again, which addresses are public."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import gevent
import pytest

from app.http.guard import is_public
from app.orders.events import PUBLIC
from app.webhooks import model as webhooks
from app.webhooks.model import (
    OVERLAP,
    PATTERNS,
    WAITS,
    Answer,
    Endpoint,
    delivery_id,
    meaning,
    next_attempt,
    rotated,
    signing,
    target_of,
    wants,
)
from app.webhooks.sender import WebhookSender

NOW = datetime(2026, 10, 4, 10, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def endpoint(*events: str) -> Endpoint:
    """One that hears of these."""
    return Endpoint(
        id="e", url="", events=list(events), enabled=True, secrets=[], createdAt=NOW, updatedAt=NOW
    )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_matches_exactly_its_events(pattern: str) -> None:
    matched = {kind for kind in PUBLIC if wants(endpoint(pattern), kind, NOW)}
    kind = pattern.partition(".")[0]
    expected = {one for one in PUBLIC if pattern in ("*", one, f"{one.partition('.')[0]}.*")}
    assert matched == expected
    assert matched
    assert kind in ("*", *(one.partition(".")[0] for one in matched))


def test_an_endpoint_hears_of_nothing_from_before_its_time() -> None:
    assert wants(endpoint("*"), "order.created", NOW)
    assert not wants(endpoint("*"), "order.created", NOW - timedelta(milliseconds=1))


def test_the_waits_are_those_of_the_contract() -> None:
    minutes = timedelta(minutes=1)
    hours = [hours * HOUR for hours in (2, 5, 10, 14, 20, 24)]
    assert list(WAITS) == [5 * SECOND, 5 * minutes, 30 * minutes, *hours]


@pytest.mark.parametrize(("failures", "wait"), list(enumerate(WAITS, start=1)))
def test_each_attempt_comes_after_its_wait_give_or_take_a_fifth(failures: int, wait: timedelta) -> None:
    drawn = [next_attempt(failures, NOW, None) for _ in range(200)]
    waits = sorted(moment - NOW for moment in drawn if moment)
    assert len(waits) == 200
    assert wait * 0.8 <= waits[0] < wait * 0.9
    assert wait * 1.1 < waits[-1] <= wait * 1.2


def test_after_the_last_wait_comes_one_more_attempt_and_then_none() -> None:
    assert next_attempt(len(WAITS), NOW, None)
    assert next_attempt(len(WAITS) + 1, NOW, "5") is None


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("120", 120 * SECOND, 120 * SECOND),
        (" 120 ", 120 * SECOND, 120 * SECOND),
        (format_datetime(NOW + HOUR, usegmt=True), HOUR, HOUR),
        ("Sun, 04 Oct 2026 11:00:00 -0000", HOUR, HOUR),
        ("1", 4 * SECOND, 6 * SECOND),
        (format_datetime(NOW - HOUR, usegmt=True), 4 * SECOND, 6 * SECOND),
        ("999999999", 24 * HOUR, 24 * HOUR),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 24 * HOUR, 24 * HOUR),
        ("9" * 400, 4 * SECOND, 6 * SECOND),
        ("soon", 4 * SECOND, 6 * SECOND),
        ("-5", 4 * SECOND, 6 * SECOND),
        ("1.5", 4 * SECOND, 6 * SECOND),
        ("", 4 * SECOND, 6 * SECOND),
        ("Sun, 99 Oct 2026 11:00:00 GMT", 4 * SECOND, 6 * SECOND),
        ("Sun, 04 Oct 2026 11:00:00 +9999", 4 * SECOND, 6 * SECOND),
    ],
)
def test_a_receiver_may_ask_for_a_later_attempt_of_up_to_a_day(
    header: str, least: timedelta, most: timedelta
) -> None:
    moment = next_attempt(1, NOW, header)
    assert moment
    assert least <= moment - NOW <= most


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, "taken") for status in (200, 201, 202, 204, 299)),
        *(
            (status, "refused")
            for status in (101, 300, 301, 302, 304, 307, 308, 400, 404, 409, 429, 500, 503)
        ),
        (None, "refused"),
        (410, "gone"),
    ],
)
def test_only_2xx_is_taken_and_only_410_is_gone(status: int | None, expected: str) -> None:
    assert meaning(Answer(status)) == expected


def test_an_id_is_the_same_for_the_same_and_another_for_any_other_and_sorts_by_time() -> None:
    one = delivery_id("order", 1, "endpoint", NOW)
    assert one == delivery_id("order", 1, "endpoint", NOW)
    others = [("other", 1, "endpoint"), ("order", 2, "endpoint"), ("order", 1, "other"), ("order", 11, "e")]
    assert len({one, *(delivery_id(*other, NOW) for other in others)}) == 5
    times = [NOW + timedelta(milliseconds=10**exponent) for exponent in range(9)]
    ids = [delivery_id("order", 1, "endpoint", at) for at in times]
    assert all(earlier < later for earlier, later in pairwise(ids))
    assert {len(given) for given in ids} == {32}


def test_a_secret_that_was_replaced_signs_for_a_day_more() -> None:
    secrets = rotated([{"secret": "a"}], "b", NOW)
    assert signing(secrets, NOW) == ["b", "a"]
    assert signing(secrets, NOW + OVERLAP - SECOND) == ["b", "a"]
    assert signing(secrets, NOW + OVERLAP) == ["b"]
    later = rotated(secrets, "c", NOW + HOUR)
    assert signing(later, NOW + HOUR) == ["c", "b", "a"]
    assert signing(later, NOW + OVERLAP) == ["c", "b"]
    assert rotated(later, "d", NOW + 2 * OVERLAP) == [
        {"secret": "d"},
        {"secret": "c", "until": NOW + 3 * OVERLAP},
    ]


def test_the_secrets_that_sign_at_once_are_few_however_often_they_are_rotated() -> None:
    secrets: Any = [{"secret": "0"}]
    for number in range(1, 50):
        secrets = rotated(secrets, str(number), NOW)
    assert signing(secrets, NOW) == ["49", "48", "47", "46", "45"]


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://a", ("http", "a", 80, "/", "a")),
        ("https://a.example:8443/b/c?d=e", ("https", "a.example", 8443, "/b/c?d=e", "a.example:8443")),
        ("https://a.example?d", ("https", "a.example", 443, "/?d", "a.example")),
        ("http://[::1]:81/", ("http", "::1", 81, "/", "[::1]:81")),
    ],
)
def test_a_url_is_taken_apart_in_one_way(url: str, parts: tuple[Any, ...]) -> None:
    assert target_of(url) == webhooks.Target(*parts)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001::", "::ffff:8.8.8.8"],
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1"),
        *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1"),
        *("192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255"),
        *("240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:10.0.0.1", "::ffff:127.0.0.1"),
        *(
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:808:808::",
            "3fff::1",
        ),
        # Of clouds, plain and inside of what carries IPv4 over IPv6.
        *("168.63.129.16", "::ffff:168.63.129.16", "64:ff9b::168.63.129.16", "2002:a83f:8110::1"),
        *(
            "169.254.170.2",
            "169.254.169.253",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
        ),
        *("2002:a9fe:a9fe::", "64:ff9b::169.254.169.254", "2001:0:a9fe:a9fe::1", "::ffff:100.100.100.200"),
        *("5f00::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "4000::1"),
    ],
)
def test_any_other_address_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["2606:4700:4700::1111", "fd00::1"]]
)
def test_a_name_is_refused_if_any_of_its_addresses_is_not_public(addresses: list[str]) -> None:
    sender = WebhookSender(allow_private=False, resolve=lambda *_: addresses)
    assert sender.fault_of("https://example.com/") == "must resolve to public addresses only"


def test_a_name_that_does_not_resolve_yet_is_accepted() -> None:
    def unknown(*_: object) -> list[str]:
        raise OSError

    assert WebhookSender(allow_private=False, resolve=unknown).fault_of("https://example.com/") is None


@pytest.mark.slow
def test_a_slow_name_lookup_ends_after_its_limit() -> None:
    """The test's own time limit is what fails it."""

    def never(*_: object) -> list[str]:
        gevent.sleep(1000)
        return ["127.0.0.1"]

    assert WebhookSender(allow_private=False, resolve=never).fault_of("https://example.com/") is None
