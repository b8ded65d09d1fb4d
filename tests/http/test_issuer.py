"""The keys of an issuer: fetched when needed, kept during an outage, not fetched for every unknown key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from app.errors import IssuerUnavailable
from app.http.issuer import IssuerKeys
from tests.support.tokens import Issuer, jwk

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE, OTHER = jwk("RS256", "one"), jwk("ES256", "other")


class Clock:
    """Advances only when a test sets it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer(ONE) as running:
        yield running


@pytest.fixture
def keys(issuer: Issuer, clock: Clock) -> IssuerKeys:
    return IssuerKeys(issuer.url, now=clock)


def test_nothing_is_fetched_before_there_is_a_token(issuer: Issuer, keys: IssuerKeys) -> None:
    assert issuer.fetches == 0
    assert keys.find("one").algorithm == "RS256"
    assert issuer.fetches == 1


def test_a_known_key_is_not_fetched_again(issuer: Issuer, keys: IssuerKeys, clock: Clock) -> None:
    for _ in range(100):
        keys.find("one")
        clock.seconds += 1
    assert issuer.fetches == 1


def test_a_key_that_is_new_is_fetched(issuer: Issuer, keys: IssuerKeys, clock: Clock) -> None:
    keys.find("one")
    issuer.show(ONE, OTHER)
    clock.seconds += 60
    assert keys.find("other").algorithm == "ES256"
    assert keys.find("one").algorithm == "RS256"
    assert issuer.fetches == 2


def test_a_key_that_was_withdrawn_is_one_no_more_after_a_while(
    issuer: Issuer, keys: IssuerKeys, clock: Clock
) -> None:
    assert keys.find("one")
    issuer.show(OTHER)
    clock.seconds += 301
    keys.find("one")  # nobody waits for the new set while there is an old one
    assert keys.find("other")
    assert keys.find("one") is None


def test_a_flood_of_foreign_keys_does_not_reach_the_issuer(
    issuer: Issuer, keys: IssuerKeys, clock: Clock
) -> None:
    keys.find("one")
    with ThreadPoolExecutor(16) as callers:
        for _ in range(10):
            assert set(callers.map(lambda n: keys.find(f"foreign-{n}"), range(200))) == {None}
    assert issuer.fetches == 1  # no time has gone by
    clock.seconds += 6
    with ThreadPoolExecutor(16) as callers:
        assert set(callers.map(lambda n: keys.find(f"foreign-{n}"), range(200))) == {None}
    assert issuer.fetches == 2


def test_a_token_with_a_known_key_waits_for_no_fetch(issuer: Issuer, keys: IssuerKeys, clock: Clock) -> None:
    keys.find("one")
    issuer.gate.clear()
    issuer.asked.clear()
    clock.seconds += 301
    with ThreadPoolExecutor(1) as callers:
        foreign = callers.submit(keys.find, "foreign")
        assert issuer.asked.wait(5)
        for _ in range(50):
            assert keys.find("one")
        assert not foreign.done()
        issuer.gate.set()
        assert foreign.result(5) is None
    assert issuer.fetches == 2


@pytest.mark.parametrize(
    "answer",
    [
        (500, b""),
        (302, b""),
        (200, b""),
        (200, b"{"),
        (200, b"[]"),
        (200, b'{"keys":[]}'),
        (200, b'{"keys":{}}'),
        (200, b'{"keys":null}'),
        (200, b'{"keys":1}'),
        (200, b'{"keys":true}'),
        (200, b'{"keys":"one"}'),
        (200, b'{"keys":[null,[],{"kid":[],"kty":[]},{"kid":{},"kty":"RSA","n":null,"e":1}]}'),
        (200, b"null"),
        (200, b'{"keys":[1,{"kty":"oct","k":"c2VjcmV0","kid":"one"}]}'),
        (200, b" " * 600_000),
    ],
)
def test_an_outage_of_the_issuer_is_survived_with_the_keys_at_hand(
    issuer: Issuer, keys: IssuerKeys, clock: Clock, answer: tuple[int, bytes]
) -> None:
    keys.find("one")
    issuer.answer = answer
    for _ in range(5):
        clock.seconds += 301
        assert keys.find("one")
        assert keys.find("foreign") is None
    assert issuer.fetches == 6
    issuer.show(OTHER)
    clock.seconds += 6
    assert keys.find("other")


def test_an_issuer_that_is_gone_is_survived_too(clock: Clock) -> None:
    with Issuer(ONE) as issuer:
        keys = IssuerKeys(issuer.url, now=clock)
        keys.find("one")
    clock.seconds += 301
    assert keys.find("one")
    assert keys.find("foreign") is None


def test_without_any_key_no_token_can_be_verified(issuer: Issuer, keys: IssuerKeys, clock: Clock) -> None:
    good, issuer.answer = issuer.answer, (500, b"")
    for _ in range(3):
        with pytest.raises(IssuerUnavailable):
            keys.find("one")
    assert issuer.fetches == 1
    issuer.answer = good
    clock.seconds += 6
    assert keys.find("one")


def test_keys_that_are_not_for_signatures_are_passed_over(issuer: Issuer, keys: IssuerKeys) -> None:
    issuer.show(jwk("RS256", "encrypts", use="enc"), {"kty": "new"}, OTHER)
    assert keys.find("other")
    assert keys.find("encrypts") is None


def test_a_token_that_names_no_key_means_the_only_one(issuer: Issuer, clock: Clock) -> None:
    assert IssuerKeys(issuer.url, now=clock).find(None).algorithm == "RS256"
    issuer.show(ONE, OTHER)
    assert IssuerKeys(issuer.url, now=clock).find(None) is None
