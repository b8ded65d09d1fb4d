"""Input on the edge of the rules that is still valid."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from flask.testing import FlaskClient

LINE = {"productId": "p", "quantity": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"userId": "x" * 128},
        {"userId": " "},
        {"userId": "Zoë 🛒 $where"},
        {"products": [LINE] * 200},
        {"products": [{"productId": "x" * 128, "quantity": 1_000_000}]},
        {"products": [LINE, {**LINE, "unitPrice": 7}], "totalAmount": 1},
        {"products": [{**LINE, "unitPrice": 0.1}] * 3, "totalAmount": 0.3},
        {
            "products": [{"productId": "p", "quantity": 1_000_000, "unitPrice": 9999.99}],
            "totalAmount": 9999990000,
        },
        {"totalAmount": 0},
        {"totalAmount": 10_000_000_000},
        {"totalAmount": 10_000_000_000.00},
        {"reference": "x" * 64},
        {"metadata": {}},
        {"metadata": {f"{number:064}": "x" * 512 for number in range(20)}},
        {"metadata": {"$set": "a.b", "_schema": "", "a.b": "~/"}},
        {"shippingAddress": {}},
        {"email": "a.b+c@d-e.example.co"},
    ],
)
def test_an_order_at_the_bounds_is_taken_and_shown(client: FlaskClient, changes: dict[str, object]) -> None:
    answer = client.post("/orders", json={**SAMPLE, **changes})
    assert answer.status_code == 201, answer.text
    shown = client.get(answer.headers["Location"]).get_json()
    assert [line.pop("line") for line in shown["products"]] == list(range(1, len(shown["products"]) + 1))
    assert {name: shown[name] for name in changes} == changes


@pytest.mark.parametrize("content_type", ["application/json; charset=UTF-8", "Application/JSON"])
def test_the_media_type_may_be_spelled_otherwise(client: FlaskClient, content_type: str) -> None:
    assert client.post("/orders", data=json.dumps(SAMPLE), content_type=content_type).status_code == 201


def test_a_body_may_be_as_large_as_the_limit(client: FlaskClient) -> None:
    body = json.dumps(SAMPLE).ljust(256 * 1024)
    assert client.post("/orders", data=body, content_type="application/json").status_code == 201


def test_a_slash_at_the_end_of_a_path_changes_nothing(client: FlaskClient) -> None:
    answer = client.post("/orders/", json=SAMPLE)
    assert answer.status_code == 201
    assert client.get(answer.headers["Location"] + "/").get_json() == answer.get_json()["order"]
