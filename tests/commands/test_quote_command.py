"""The command that makes quotes for trying things out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jwt
import pytest

from tests.support.quotes import AUDIENCE, ISSUER, NAMED, SECRET, SETTINGS
from tests.support.tokens import bearer, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

LAMPS = ("--product", "lamp", "2", "100.10")


def test_a_quote_made_at_the_terminal_places_one_order(make_app: Callable[..., Flask]) -> None:
    app = make_app(**SETTINGS)
    line = [*LAMPS, "--product", "bulb", "3", "5", "--adjustment", "shipping", "4.9"]
    more = ["--adjustment", "discount", "-10", "--currency", "EUR", "--sub", "ann"]
    made = app.test_cli_runner().invoke(args=["quote", *line, *more])
    assert (made.exit_code, made.stderr) == (0, "")
    body = {"userId": "ann", "quote": made.stdout.strip()}
    answer = app.test_client().post("/orders", json=body, headers=bearer(token("ann")))
    assert answer.status_code == 201, answer.text
    assert '"totalAmount":210.10,"currency":"EUR"' in answer.text
    again = app.test_client().post("/orders", json=body, headers=bearer(token("ann")))
    assert again.get_json()["code"] == "quote_used"


def test_a_quote_has_its_claims(make_app: Callable[..., Flask]) -> None:
    run = make_app(**SETTINGS).test_cli_runner()
    made = run.invoke(args=["quote", *LAMPS, "--expires", "1h", "--any-number"])
    claims = jwt.decode(made.stdout.strip(), SECRET, ["HS256"], audience=AUDIENCE, issuer=ISSUER)
    assert claims["exp"] - claims["iat"] == 3600
    assert claims.keys() == {"iss", "aud", "iat", "exp", "products", "currency", "totalAmount"}
    assert (claims["totalAmount"], claims["currency"]) == (200.2, "USD")


def test_a_service_that_needs_no_quotes_makes_one_and_says_so(make_app: Callable[..., Flask]) -> None:
    run = make_app(**{**SETTINGS, "PRICES": "client"}).test_cli_runner()
    made = run.invoke(args=["quote", *LAMPS])
    assert made.exit_code == 0
    assert made.stderr == "PRICES is client: the service accepts orders without a quote, too.\n"


def test_the_refusal_names_the_settings_that_a_quote_needs(make_app: Callable[..., Flask]) -> None:
    refused = make_app(QUOTE_SECRET=SECRET).test_cli_runner().invoke(args=["quote", *LAMPS])
    needed = "Error: A quote needs settings that are missing: QUOTE_ISSUER, QUOTE_AUDIENCE.\n"
    assert (refused.exit_code, refused.stderr) == (1, needed)


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        ([], SETTINGS),
        (["--product", "lamp", "2", "cheap"], SETTINGS),
        (["--product", "lamp", "2", "nan"], SETTINGS),
        (["--product", "lamp", "2", "1.001"], SETTINGS),
        (["--product", "lamp", "0", "1"], SETTINGS),
        (["--product", "lamp", "2", "-1"], SETTINGS),
        ([*LAMPS, "--currency", "XXX"], SETTINGS),
        ([*LAMPS, "--adjustment", "gift", "1"], SETTINGS),
        ([*LAMPS, "--adjustment", "discount", "1"], SETTINGS),
        ([*LAMPS, "--adjustment", "discount", "-1000"], SETTINGS),
        ([*LAMPS, "--expires", "never"], SETTINGS),
        (LAMPS, {"AUTH": "off"}),
        (LAMPS, {"AUTH": "off", **NAMED, "QUOTE_JWKS_URL": "https://prices.example/keys"}),
    ],
)
def test_no_quote_is_made_that_would_not_be_one(
    make_app: Callable[..., Flask], arguments: list[str], environ: dict[str, str]
) -> None:
    result = make_app(**environ).test_cli_runner().invoke(args=["quote", *arguments])
    assert result.exit_code != 0
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert SECRET not in result.stderr
