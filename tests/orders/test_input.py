"""Invalid input gets a problem that names the field, and nothing is stored."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

LINE = {"productId": "p", "quantity": 1}


def post(client: FlaskClient, body: str | bytes, content_type: str = "application/json") -> TestResponse:
    return client.post("/orders", data=body, content_type=content_type)


def spelled(**members: str) -> str:
    """The sample as JSON text, with members spelled as given."""
    parts = {name: json.dumps(value) for name, value in SAMPLE.items()} | members
    return "{" + ",".join(f'"{name}":{text}' for name, text in parts.items()) + "}"


def pointers(answer: TestResponse) -> list[str]:
    return [error["pointer"] for error in answer.get_json()["errors"]]


@pytest.fixture(autouse=True)
def nothing_stored(api_database: Any) -> Any:
    yield
    assert api_database.orders.count_documents({}) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"{",
        b"not json",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": 01}',
        b'{"a": .5}',
        b'{"a": 1} x',
        b'{"a": "\x01"}',
        b'{"a": "\xff"}',
        b"\xef\xbb\xbf{}",
        '{"userId": "u"}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"[" * 990 + b"]" * 990 + b",",
    ],
)
def test_a_body_that_is_not_json_is_400(client: FlaskClient, body: bytes) -> None:
    answer = post(client, body)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "malformed_json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_an_invalid_json_number_is_400_and_named(client: FlaskClient, number: str) -> None:
    answer = post(
        client, spelled(products=f'[{{"productId": "p", "quantity": {number}}}]', totalAmount=number)
    )
    assert (answer.status_code, answer.get_json()["code"]) == (400, "malformed_json")
    assert pointers(answer) == ["/products/0/quantity", "/totalAmount"]


def test_a_name_given_twice_is_400_and_named(client: FlaskClient) -> None:
    answer = post(client, '{"userId": "a", "userId": "b", "metadata": {"x/y": "1", "x/y": "1"}}')
    assert (answer.status_code, answer.get_json()["code"]) == (400, "malformed_json")
    assert pointers(answer) == ["/userId", "/metadata/x~1y"]


@pytest.mark.parametrize("body", ["[]", "null", "1", '"text"', "true", "NaN", "1e400"])
def test_a_body_that_is_no_object_is_refused(client: FlaskClient, body: str) -> None:
    answer = post(client, body)
    assert answer.status_code == (400 if body == "NaN" else 422)
    assert "" in pointers(answer)


@pytest.mark.parametrize(
    ("name", "text", "pointer"),
    [
        ("totalAmount", "1e400", ""),
        ("totalAmount", "1e99999999999999999999", ""),
        ("totalAmount", "9" * 5000, ""),
        ("totalAmount", "10000000000.01", ""),
        ("totalAmount", "-1", ""),
        ("totalAmount", "-0.01", ""),
        ("totalAmount", "0.001", ""),
        ("totalAmount", "200.00000000000000000000000000001", ""),
        ("totalAmount", "1e-400", ""),
        ("totalAmount", "1e-1000100", ""),
        ("totalAmount", '"200"', ""),
        ("totalAmount", "true", ""),
        ("totalAmount", "null", ""),
        ("totalAmount", "[1]", ""),
        ("products", "[]", ""),
        ("products", "{}", ""),
        ("products", "null", ""),
        ("products", '"p"', ""),
        ("products", "1", ""),
        ("products", "1.5", ""),
        ("products", "true", ""),
        ("products", '[null, {"productId": "p", "quantity": 1, "unitPrice": 0.001}]', "/0"),
        ("products", "[null]", "/0"),
        ("products", "[[]]", "/0"),
        ("products", "[1]", "/0"),
        ("products", json.dumps([LINE] * 201), ""),
        ("products", '[{"productId": "p"}]', "/0/quantity"),
        ("products", '[{"productId": "p", "quantity": 0}]', "/0/quantity"),
        ("products", '[{"productId": "p", "quantity": -1}]', "/0/quantity"),
        ("products", '[{"productId": "p", "quantity": 1000001}]', "/0/quantity"),
        ("products", '[{"productId": "p", "quantity": 1.5}]', "/0/quantity"),
        ("products", '[{"productId": "p", "quantity": 2.5}]', "/0/quantity"),
        ("products", '[{"productId": "p", "quantity": "2"}]', "/0/quantity"),
        ("products", '[{"productId": "p", "quantity": true}]', "/0/quantity"),
        ("products", f'[{{"productId": "p", "quantity": {"9" * 5000}}}]', "/0/quantity"),
        ("products", '[{"quantity": 1}]', "/0/productId"),
        ("products", '[{"productId": "", "quantity": 1}]', "/0/productId"),
        ("products", '[{"productId": 7, "quantity": 1}]', "/0/productId"),
        ("products", f'[{{"productId": "{"x" * 129}", "quantity": 1}}]', "/0/productId"),
        ("products", r'[{"productId": "a\u0000b", "quantity": 1}]', "/0/productId"),
        ("products", '[{"productId": "p", "quantity": 1, "unitPrice": -1}]', "/0/unitPrice"),
        ("products", '[{"productId": "p", "quantity": 1, "unitPrice": "1"}]', "/0/unitPrice"),
        ("products", '[{"productId": "p", "quantity": 1, "price": 1}]', "/0/price"),
        ("userId", '""', ""),
        ("userId", "7", ""),
        ("userId", "null", ""),
        ("userId", "{}", ""),
        ("userId", json.dumps("x" * 129), ""),
        ("userId", r'"a\u0000"', ""),
        ("userId", r'"\ud800"', ""),
        ("userId", r'"\udc00\ud800"', ""),
        ("userId", r'"line\nbreak"', ""),
        ("currency", '"usd"', ""),
        ("currency", '"XXX"', ""),
        ("currency", "840", ""),
        ("currency", "[]", ""),
        ("currency", "{}", ""),
        ("currency", '"JPY2"', ""),
        ("paymentMethod", '"no_such_method"', ""),
        ("paymentMethod", '""', ""),
        ("reference", '""', ""),
        ("reference", json.dumps("x" * 65), ""),
        ("email", '"ann"', ""),
        ("email", '"ann@"', ""),
        ("email", '"a@b@c.example"', ""),
        ("email", r'"ann@example.org\r\nBcc: all@example.org"', ""),
        ("email", json.dumps(f"{'x' * 65}@example.org"), ""),
        ("shippingAddress", '"home"', ""),
        ("shippingAddress", '{"country": "Germany"}', "/country"),
        ("shippingAddress", '{"planet": "Mars"}', "/planet"),
        ("shippingAddress", '{"name": null}', "/name"),
        ("metadata", "[]", ""),
        ("metadata", '{"a": 1}', "/a"),
        ("metadata", '{"a": {"b": "c"}}', "/a"),
        ("metadata", r'{"a\u0000": "b"}', "/a\0"),
        ("metadata", r'{"a": "\u0000"}', "/a"),
        ("metadata", '{"": "b"}', "/"),
        ("metadata", json.dumps({"x" * 65: "b"}), "/" + "x" * 65),
        ("metadata", json.dumps({"a": "x" * 513}), "/a"),
        ("metadata", json.dumps({str(number): "x" for number in range(21)}), ""),
        ("id", '"1"', ""),
        ("status", '"confirmed"', ""),
        ("version", "7", ""),
        ("payment", '{"status": "captured"}', ""),
        ("createdAt", '"2024-10-04T10:00:00.000Z"', ""),
        ("$where", '"1"', ""),
        ("a/b~c", "1", "/a~1b~0c"),
        ("_schema", "1", ""),
    ],
)
def test_a_field_that_breaks_a_rule_is_422_and_named(
    client: FlaskClient, name: str, text: str, pointer: str
) -> None:
    answer = post(client, spelled(**{name: text}))
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_input")
    assert pointers(answer) == [pointer if name == "a/b~c" else f"/{name}{pointer}"]


def test_a_field_whose_name_is_not_valid_text_is_named_as_well_as_possible(client: FlaskClient) -> None:
    assert pointers(post(client, spelled(**{r"\ud800": "1"}))) == ["/?"]


def test_every_missing_field_is_named(client: FlaskClient) -> None:
    assert sorted(pointers(post(client, "{}"))) == ["/products", "/totalAmount", "/userId"]


def test_every_fault_is_named_at_once(client: FlaskClient) -> None:
    lines = '[{"productId":"","quantity":0,"unitPrice":0.001},{"productId":"p","quantity":1,"unitPrice":"x"}]'
    answer = post(client, spelled(userId="1", products=lines, totalAmount="0.005", email='"x"', nonsense="1"))
    assert sorted(pointers(answer)) == [
        "/email",
        "/nonsense",
        "/products/0/productId",
        "/products/0/quantity",
        "/products/0/unitPrice",
        "/products/1/unitPrice",
        "/totalAmount",
        "/userId",
    ]
    assert "USD" in next(e["detail"] for e in answer.get_json()["errors"] if e["pointer"] == "/totalAmount")


@pytest.mark.parametrize(("currency", "amount"), [("JPY", "1.5"), ("KWD", "1.2345"), ("USD", "1.005")])
def test_no_amount_is_finer_than_its_currency(client: FlaskClient, currency: str, amount: str) -> None:
    answer = post(client, spelled(currency=f'"{currency}"', totalAmount=amount))
    assert pointers(answer) == ["/totalAmount"]


def test_priced_lines_must_add_up(client: FlaskClient) -> None:
    lines = '[{"productId":"a","quantity":3,"unitPrice":0.1},{"productId":"b","quantity":1,"unitPrice":0.1}]'
    answer = post(client, spelled(products=lines, totalAmount="0.41"))
    assert (answer.status_code, pointers(answer)) == (422, ["/totalAmount"])
    assert "0.4" in answer.get_json()["errors"][0]["detail"]


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/merge-patch+json",
        "application/jsonx",
        "x",
        "application/json; charset=latin-1",
    ],
)
def test_another_form_of_body_is_415(client: FlaskClient, content_type: str) -> None:
    answer = post(client, json.dumps(SAMPLE), content_type)
    assert (answer.status_code, answer.get_json()["code"]) == (415, "unsupported_media_type")


def test_a_body_of_no_stated_form_is_415(client: FlaskClient) -> None:
    assert client.post("/orders", data=json.dumps(SAMPLE)).status_code == 415


def test_a_packed_body_is_415(client: FlaskClient) -> None:
    answer = client.post("/orders", json=SAMPLE, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


@pytest.mark.parametrize("size", [256 * 1024 + 1, 257 * 1024, 5_000_000])
def test_a_body_that_is_too_large_is_413(client: FlaskClient, size: int) -> None:
    answer = post(client, b" " * size)
    assert (answer.status_code, answer.get_json()["code"]) == (413, "content_too_large")


def test_a_body_of_unknown_length_that_is_too_large_is_413(client: FlaskClient) -> None:
    answer = client.post(
        "/orders",
        input_stream=io.BytesIO(b" " * (256 * 1024 + 1)),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
        headers={"Transfer-Encoding": "chunked"},
    )
    assert answer.status_code == 413


def test_a_change_is_read_as_strictly_as_an_order(client: FlaskClient) -> None:
    path = f"/orders/{'0' * 24}"
    assert client.put(path, data="{", content_type="application/json").status_code == 400
    assert client.put(path, data="{}", content_type="text/plain").status_code == 415
    assert client.put(path, json=[]).status_code == 422


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_an_unexpected_body_or_form_does_no_harm(make_app: Callable[..., Flask], prefix: str) -> None:
    client = make_app(API_PREFIX=prefix).test_client()
    path = f"{prefix}/orders/{'0' * 24}"
    assert client.delete(path, data="{", content_type="text/plain").status_code == 404
    assert client.get(f"{prefix}/orders", data="x", content_type="text/plain").status_code == 200
