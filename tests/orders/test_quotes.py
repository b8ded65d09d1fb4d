"""Signed quotes: what sets the prices of an order, and what is refused, with its pointer."""

from __future__ import annotations

import copy
import hmac
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from jsonschema import Draft202012Validator

from tests.support.quotes import BASKET, NAMED, SECRET, SETTINGS, claims, quote, quote_by
from tests.support.tokens import KEYS, Issuer, bearer, jwk, pem, token
from tests.support.tokens import SECRET as TOKEN_SECRET
from tests.support.tokens import SETTINGS as TOKENS
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database
    from werkzeug.test import TestResponse

    Documents = Database[dict[str, Any]]
    Post = Callable[..., TestResponse]

ANN = bearer(token("ann"))
PRICER = bearer(token("ann", "orders:write orders:price"))
BOSS = bearer(token("boss", "orders:admin"))
OWN = {**SAMPLE, "userId": "ann"}


@pytest.fixture
def app(api_database: object, shared_app: Callable[..., Flask]) -> Flask:
    return shared_app(**SETTINGS)


@pytest.fixture
def post(client: FlaskClient) -> Post:
    """Posts an order of Ann's with these members."""

    def send(
        headers: dict[str, str] | None = None, more_headers: dict[str, str] | None = None, **body: Any
    ) -> TestResponse:
        return client.post(
            "/orders", json={"userId": "ann", **body}, headers={**(headers or ANN), **(more_headers or {})}
        )

    return send


def refused(answer: TestResponse, code: str, *at: str) -> list[str]:
    """The details of a refusal by this code, at these pointers."""
    problem = answer.get_json()
    assert (answer.status_code, problem["code"]) == (422, code), answer.text
    assert answer.content_type == "application/problem+json"
    assert [fault["pointer"] for fault in problem["errors"]] == list(at)
    return [fault["detail"] for fault in problem["errors"]]


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """The basket with another value at this path; None removes it."""
    basket: Any = copy.deepcopy(BASKET)
    inner = basket
    for name in path[:-1]:
        inner = inner[name]
    if to is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return basket


def test_an_order_by_a_quote_has_its_basket(post: Post, api_database: Documents) -> None:
    answer = post(quote=quote(), reference="R-1", email="ann@example.org")
    assert answer.status_code == 201, answer.text
    order = answer.get_json()["order"]
    numbered = [{"line": line, **each} for line, each in enumerate(BASKET["products"], 1)]
    assert order["products"] == numbered
    assert (order["adjustments"], order["currency"]) == (BASKET["adjustments"], "EUR")
    assert (order["totalAmount"], order["reference"]) == (210, "R-1")
    assert '"totalAmount":210.00,' in answer.text
    stored = api_database.orders.find_one({})
    assert stored is not None
    assert stored["totalAmount"] == 21_000
    assert stored["events"][0]["data"]["products"][0] == {
        "productId": "lamp",
        "quantity": 2,
        "unitPrice": 10_010,
    }


def test_a_quote_is_shown_nowhere(
    post: Post, client: FlaskClient, api_database: Documents, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = quote(jti="q-1")
    path = post(quote=sent).headers["Location"]
    post(quote=sent)
    post(quote=f"{sent}x")
    for part in ("", "?version=1", "/events"):
        shown = client.get(f"{path}{part}", headers=ANN)
        assert shown.status_code == 200
        assert "quote" not in shown.text
        assert "q-1" not in shown.text
    assert sent.split(".")[2] not in repr(list(api_database.orders.find()))
    logged = "".join(capsys.readouterr())
    assert sent.split(".")[1] not in logged


@pytest.mark.parametrize("adjustments", [None, []])
def test_a_quote_without_adjustments_has_none(post: Post, adjustments: Any) -> None:
    answer = post(quote=quote(adjustments=adjustments, totalAmount=215.2), adjustments=[])
    assert answer.status_code == 201, answer.text


def test_a_quote_without_a_currency_has_the_default(post: Post) -> None:
    assert post(quote=quote(currency=None)).get_json()["order"]["currency"] == "USD"
    refused(post(quote=quote(currency=None), currency="EUR"), "quote_differs", "/currency")


@pytest.mark.parametrize(
    ("currency", "price", "total", "minor"),
    [("JPY", 101, 303, 303), ("BHD", 1.001, 3.003, 3_003), ("EUR", 0.1, 0.3, 30), ("USD", 1.10, 3.3, 330)],
)
def test_prices_are_exact_in_every_currency(
    post: Post, api_database: Documents, currency: str, price: float, total: float, minor: int
) -> None:
    lines = [{"productId": "lamp", "quantity": 3, "unitPrice": price}]
    basket = {"products": lines, "currency": currency, "totalAmount": total}
    signed = quote(**basket, adjustments=None)
    assert post(quote=signed, **basket).status_code == 201
    stored = api_database.orders.find_one({})
    assert stored is not None
    assert stored["totalAmount"] == minor
    differing = {**basket, "totalAmount": total + (1 if currency == "JPY" else 0.001)}
    refused(post(quote=signed, **differing), "quote_differs", "/totalAmount")


@pytest.mark.parametrize("jti", [None, "q-1"])
def test_a_body_may_repeat_the_basket(post: Post, jti: str | None) -> None:
    lines = [{"productId": line["productId"], "quantity": line["quantity"]} for line in BASKET["products"]]
    assert post(quote=quote(jti=jti), **BASKET).status_code == 201
    assert post(quote=quote(), **{**BASKET, "products": lines}).status_code == 201
    some = changed("products", 1, "unitPrice", to=None)
    assert post(quote=quote(), products=some["products"], totalAmount=210.00).status_code == 201
    unfolded = changed("adjustments", 0, "included", to=False)
    # Only a tax may be `included`, but `false` says the same as nothing.
    assert post(quote=quote(), adjustments=unfolded["adjustments"]).status_code == 201


@pytest.mark.parametrize(
    ("path", "value", "pointer"),
    [
        (("totalAmount",), 210.01, "/totalAmount"),
        (("totalAmount",), 209.99, "/totalAmount"),
        (("currency",), "USD", "/currency"),
        (("products", 0, "unitPrice"), 100.09, "/products/0/unitPrice"),
        (("products", 0, "unitPrice"), 0, "/products/0/unitPrice"),
        (("products", 1, "quantity"), 4, "/products/1/quantity"),
        (("products", 1, "productId"), "lamp", "/products/1/productId"),
        (("products",), BASKET["products"][:1], "/products"),
        (("products",), BASKET["products"][::-1], "/products/0/productId"),
        (("adjustments", 0, "amount"), 4.91, "/adjustments/0/amount"),
        (("adjustments", 0, "name"), "Post", "/adjustments/0/name"),
        (("adjustments", 0, "name"), None, "/adjustments/0/name"),
        (("adjustments", 0, "line"), 1, "/adjustments/0/line"),
        (("adjustments", 1, "line"), None, "/adjustments/1/line"),
        (("adjustments", 2, "included"), False, "/adjustments/2/included"),
        (("adjustments", 2, "kind"), "fee", "/adjustments/2/kind"),
        (("adjustments",), [], "/adjustments"),
        (("adjustments",), BASKET["adjustments"][:2], "/adjustments"),
    ],
)
@pytest.mark.parametrize("headers", [ANN, PRICER], ids=["customer", "pricer"])
def test_a_body_that_differs_is_refused_at_its_member(
    post: Post,
    api_database: Documents,
    path: tuple[str, ...],
    value: Any,
    pointer: str,
    headers: dict[str, str],
) -> None:
    """Also of a caller that needs no quote."""
    body = changed(*path, to=value)
    answer = post(headers, quote=quote(jti="q-1"), **body)
    assert pointer in [fault["pointer"] for fault in answer.get_json()["errors"]]
    assert (answer.status_code, answer.get_json()["code"]) == (422, "quote_differs")
    assert api_database.orders.count_documents({}) == 0
    assert post(headers, quote=quote(jti="q-1")).status_code == 201


def test_every_difference_is_named(post: Post) -> None:
    body = changed("products", 0, "quantity", to=1)
    answer = post(quote=quote(sub="bob"), **{**body, "totalAmount": 1})
    refused(answer, "quote_differs", "/userId", "/products/0/quantity", "/totalAmount")
    assert "bob" not in answer.text


def test_a_quote_for_a_user_is_for_no_other(post: Post) -> None:
    assert post(quote=quote(sub="ann")).status_code == 201
    refused(post(quote=quote(sub="bob")), "quote_differs", "/userId")
    refused(post(BOSS, quote=quote(sub="bob")), "quote_differs", "/userId")
    assert post(BOSS, userId="bob", quote=quote(sub="bob")).status_code == 201


def test_a_customer_needs_a_quote(post: Post, api_database: Documents) -> None:
    for body in ({}, SAMPLE, BASKET, {**SAMPLE, "totalAmount": 0}, {**BASKET, "totalAmount": 1}):
        refused(post(**{**body, "userId": "ann"}), "quote_required", "/quote")
    assert api_database.orders.count_documents({}) == 0


def test_the_scope_for_prices_makes_up_for_a_quote(post: Post) -> None:
    for headers in (PRICER, BOSS):
        assert post(headers, **{**SAMPLE, "userId": "ann"}).status_code == 201
        answer = post(headers)
        refused(answer, "invalid_input", "/products", "/totalAmount")


def test_the_scope_for_prices_alone_places_no_order(post: Post) -> None:
    assert post(bearer(token("ann", "orders:price orders:read")), **BASKET).status_code == 403
    answer = post(PRICER, userId="bob", **BASKET)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")


def test_scope_and_ownership_come_before_the_quote(post: Post) -> None:
    for sent in ({}, {"quote": "x"}, {"quote": quote(sub="ann")}, {"quote": quote(exp=1)}):
        answer = post(userId="bob", **sent)
        assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")
        assert post(bearer(token("ann", "orders:read")), **sent).status_code == 403
        assert post({"X-Request-ID": "1"}, **sent).status_code == 401


FORGED: dict[str, str] = {
    "not a JWS": "x",
    "empty": "",
    "two parts": ".".join(quote().split(".")[:2]),
    "four parts": f"{quote()}.x",
    "another secret": jwt.encode(claims(), "z" * 32, "HS256"),
    "the secret of tokens": jwt.encode(claims(), TOKEN_SECRET, "HS256"),
    "a token": token("ann"),
    "no signature": jwt.encode(claims(), None, "none"),
    "another hash": jwt.encode(claims(), SECRET.ljust(64, "q"), "HS512"),
    "a key": quote_by("ES256"),
    "another basket": f"{quote(totalAmount=1).rpartition('.')[0]}.{quote().rpartition('.')[2]}",
    "control characters": "\x00\n",
    "a surrogate": "\ud800",
    "long": "A" * 200_000,
    "nested": jwt.PyJWS().encode(b"[" * 5000, SECRET, "HS256"),
    "no object": jwt.PyJWS().encode(b"[]", SECRET, "HS256"),
    "a name twice": jwt.PyJWS().encode(b'{"totalAmount":1,"totalAmount":2}', SECRET, "HS256"),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_forged_quote_is_refused(post: Post, api_database: Documents, forged: str) -> None:
    for headers in (ANN, PRICER):
        refused(post(headers, quote=forged, **BASKET), "quote_invalid", "/quote")
    assert api_database.orders.count_documents({}) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://else.example"},
        {"iss": None},
        {"aud": "else"},
        {"aud": None},
        {"aud": []},
        {"exp": None},
        {"exp": "soon"},
        {"exp": float("inf")},
        {"nbf": int(time.time()) + 36_000},
        {"iat": int(time.time()) + 36_000},
        {"sub": 7},
        {"jti": 7},
        {"jti": ""},
        {"jti": "x" * 256},
        {"jti": "\ud800"},
        {"jti": "a\x00"},
    ],
)
def test_a_quote_with_a_wrong_claim_is_refused(post: Post, changes: dict[str, Any]) -> None:
    """`float("inf")` becomes `Infinity`, which is not JSON."""
    said = {**claims(), **changes}
    signed = jwt.PyJWT()._encode_payload({name: value for name, value in said.items() if value is not None})
    refused(post(quote=jwt.PyJWS().encode(signed, SECRET, "HS256")), "quote_invalid", "/quote")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("products",), None),
        (("products",), []),
        (("products",), {}),
        (("totalAmount",), None),
        (("totalAmount",), "210"),
        (("totalAmount",), 210.01),
        (("totalAmount",), 210.001),
        (("totalAmount",), -1),
        (("currency",), "XXX"),
        (("currency",), "JPY"),
        (("products", 0, "unitPrice"), None),
        (("products", 0, "unitPrice"), 100.09),
        (("products", 0, "quantity"), 0),
        (("products", 0, "quantity"), 3),
        (("products", 0, "line"), 1),
        (("products", 0, "productId"), "\ud800"),
        (("adjustments", 0, "amount"), -4.9),
        (("adjustments", 1, "line"), 3),
        (("adjustments", 1, "amount"), -300),
        (("adjustments",), "none"),
    ],
)
def test_a_quote_whose_basket_breaks_a_rule_is_refused(
    post: Post, api_database: Documents, path: tuple[str, ...], value: Any
) -> None:
    """Whatever the body repeats of it."""
    basket = changed(*path, to=value)
    signed = quote(**{**dict.fromkeys(BASKET), **basket})
    for headers in (ANN, PRICER):
        answer = post(headers, quote=signed)
        assert (answer.status_code, answer.get_json()["code"]) == (422, "quote_invalid"), answer.text
        assert {fault["pointer"] for fault in answer.get_json()["errors"]} == {"/quote"}
    assert api_database.orders.count_documents({}) == 0


def test_a_refused_basket_names_its_fault(post: Post) -> None:
    [detail] = refused(post(quote=quote(totalAmount=1)), "quote_invalid", "/quote")
    assert detail == (
        "must have a valid basket: /totalAmount must equal the sum of the lines and adjustments (210.00)"
    )


@pytest.mark.parametrize("sent", [None, 7, True, {}, ["x"]])
def test_a_quote_that_is_no_text_is_bad_input(post: Post, sent: Any) -> None:
    refused(post(quote=sent), "invalid_input", "/quote")


def test_an_expired_quote_is_refused_as_that(post: Post) -> None:
    now = int(time.time())
    refused(post(quote=quote(exp=now - 60)), "quote_expired", "/quote")
    refused(post(PRICER, quote=quote(exp=1)), "quote_expired", "/quote")
    assert post(quote=quote(exp=now + 60)).status_code == 201
    assert post(quote=quote(exp=now + 600.5)).status_code == 201


def test_a_quote_may_be_good_for_ages(post: Post, api_database: Documents) -> None:
    for place, exp in enumerate((2**33, 253_402_300_800, 10**18, 10**30)):
        assert post(quote=quote(jti=f"q-{place}", exp=exp)).status_code == 201
    assert api_database.orders.count_documents({"quote.until": {"$type": "date"}}) == 4


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_quote_may_be_signed_by_a_key(
    make_app: Callable[..., Flask], tmp_path: Path, algorithm: str
) -> None:
    file = tmp_path / "prices.pem"
    file.write_bytes(pem(algorithm))
    client = make_app(**{**TOKENS, **NAMED}, QUOTE_PUBLIC_KEY=str(file)).test_client()

    def send(given: str) -> TestResponse:
        return client.post("/orders", json={"userId": "ann", "quote": given}, headers=ANN)

    assert send(quote_by(algorithm)).status_code == 201
    for other in {*KEYS} - {algorithm}:
        refused(send(quote_by(other)), "quote_invalid", "/quote")
    refused(send(quote()), "quote_invalid", "/quote")
    # The public key is no secret, so it must not become one.
    signed = quote().rpartition(".")[0]
    signature = hmac.new(pem(algorithm), signed.encode(), sha256).digest()
    confused = f"{signed}.{urlsafe_b64encode(signature).decode().rstrip('=')}"
    refused(send(confused), "quote_invalid", "/quote")


def test_a_quote_may_be_signed_by_a_key_of_a_set(make_app: Callable[..., Flask]) -> None:
    keys = [jwk(algorithm, algorithm) for algorithm in KEYS]
    with Issuer(*keys, jwk("RS256", "other", use="enc")) as issuer:
        client = make_app(**{**TOKENS, **NAMED}, QUOTE_JWKS_URL=issuer.url).test_client()

        def send(given: str) -> TestResponse:
            return client.post("/orders", json={"userId": "ann", "quote": given}, headers=ANN)

        for algorithm in KEYS:
            assert send(quote_by(algorithm)).status_code == 201
        refused(send(quote()), "quote_invalid", "/quote")
        foreign = jwt.encode(claims(), KEYS["ES256"], "ES256", headers={"kid": "RS256"})
        refused(send(foreign), "quote_invalid", "/quote")
        assert issuer.fetches == 1


def test_without_its_keys_no_quote_is_refused_as_invalid(make_app: Callable[..., Flask]) -> None:
    with Issuer() as issuer:
        client = make_app(**{**TOKENS, **NAMED}, QUOTE_JWKS_URL=issuer.url).test_client()
        answer = client.post("/orders", json={"userId": "ann", "quote": quote_by("ES256")}, headers=ANN)
        assert (answer.status_code, answer.get_json()["code"]) == (503, "issuer_unavailable")
        assert int(answer.headers["Retry-After"]) > 0


def test_where_clients_set_prices_a_quote_is_verified_or_refused(make_app: Callable[..., Flask]) -> None:
    """It is never passed over, since its sender counts on its prices."""
    body = {"userId": "ann", "quote": quote()}
    plain = make_app(**TOKENS).test_client()
    refused(plain.post("/orders", json=body, headers=ANN), "quote_invalid", "/quote")
    assert plain.post("/orders", json=OWN, headers=ANN).status_code == 201
    keyed = make_app(**{**SETTINGS, "PRICES": "client"}).test_client()
    assert keyed.post("/orders", json=body, headers=ANN).status_code == 201
    differs = keyed.post("/orders", json={**body, "totalAmount": 1}, headers=ANN)
    refused(differs, "quote_differs", "/totalAmount")
    assert keyed.post("/orders", json=OWN, headers=ANN).status_code == 201


def test_without_tokens_every_caller_may_set_prices(make_app: Callable[..., Flask]) -> None:
    client = make_app(**{**SETTINGS, "AUTH": "off"}).test_client()
    assert client.post("/orders", json=SAMPLE).status_code == 201
    assert client.post("/orders", json={"userId": "ann", "quote": quote()}).status_code == 201
    refused(client.post("/orders", json={"userId": "ann", "quote": "x"}), "quote_invalid", "/quote")


def test_the_description_shows_quotes(client: FlaskClient) -> None:
    described = client.get("/openapi.json").get_json()
    sent = described["components"]["schemas"]["OrderIn"]
    assert sent["properties"]["quote"]["description"]
    assert sent["required"] == ["userId"]
    condition = Draft202012Validator({"not": sent["not"]})
    given = ({}, {"products": []}, {"products": [], "totalAmount": 0}, {"quote": "q"})
    assert [condition.is_valid(body) for body in given] == [False, False, True, True]
    answers = described["paths"]["/orders"]["post"]["responses"]["422"]
    codes = set(answers["content"]["application/problem+json"]["examples"])
    assert codes >= {"quote_required", "quote_invalid", "quote_expired", "quote_used", "quote_differs"}
