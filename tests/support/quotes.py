"""Quotes for the tests, made with a secret or with one of the keys of the tokens."""

from __future__ import annotations

import time
from typing import Any

import jwt

from tests.support.tokens import KEYS
from tests.support.tokens import SETTINGS as TOKENS

ISSUER, AUDIENCE, SECRET = "https://prices.example", "order-prices", "q" * 32
NAMED = {"PRICES": "quoted", "QUOTE_ISSUER": ISSUER, "QUOTE_AUDIENCE": AUDIENCE}
# Asks customers for tokens and for quotes that a test can make with the secrets.
SETTINGS = {**TOKENS, **NAMED, "QUOTE_SECRET": SECRET}

BASKET: dict[str, Any] = {
    "products": [
        {"productId": "lamp", "quantity": 2, "unitPrice": 100.1},
        {"productId": "bulb", "quantity": 3, "unitPrice": 5},
    ],
    "adjustments": [
        {"kind": "shipping", "name": "Parcel", "amount": 4.9},
        {"kind": "discount", "amount": -10.1, "line": 1},
        {"kind": "tax", "amount": 33.1, "included": True},
    ],
    "currency": "EUR",
    "totalAmount": 210,
}


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a valid quote, with these changes; None removes a claim."""
    now = int(time.time())
    said = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 900, **BASKET}
    return {name: value for name, value in {**said, **changes}.items() if value is not None}


def quote(**changes: Any) -> str:
    """A quote made with the secret."""
    return jwt.encode(claims(**changes), SECRET, "HS256")


def quote_by(algorithm: str, **changes: Any) -> str:
    """A quote made with the private key of an algorithm."""
    return jwt.encode(claims(**changes), KEYS[algorithm], algorithm, headers={"kid": algorithm})
