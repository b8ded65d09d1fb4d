"""Adjustments of an order: what clients may send, what the total must be, and where they are shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from app.feed.service import catch_up
from app.webhooks.delivery import deliver_next
from app.webhooks.model import Answer
from app.webhooks.service import add_endpoint
from tests.support.announcing import announce

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from app.services import Services

LINES = [
    {"productId": "lamp", "quantity": 2, "unitPrice": 100.00},
    {"productId": "bulb", "quantity": 3, "unitPrice": 5.00},
]
ADJUSTMENTS = [
    {"kind": "shipping", "name": "Parcel", "amount": 4.90},
    {"kind": "discount", "name": "Welcome", "amount": -10.00},
    {"kind": "fee", "name": "Gift wrap", "amount": 2.50, "line": 1},
    {"kind": "tip", "amount": 1},
    {"kind": "tax", "name": "VAT", "amount": 33.13, "included": True},
    {"kind": "tax", "name": "City", "amount": 0.60, "included": False},
]
TOTAL = 214.00


@pytest.fixture
def ask(client: FlaskClient) -> Callable[..., TestResponse]:
    """Posts an order of these lines and adjustments, with other fields as given."""

    def post(total: Any = TOTAL, adjustments: Any = ADJUSTMENTS, **fields: Any) -> TestResponse:
        body = {
            "userId": "eve",
            "products": LINES,
            "totalAmount": total,
            "adjustments": adjustments,
            **fields,
        }
        return client.post("/orders", json=body)

    return post


def faults(answer: TestResponse) -> dict[str, str]:
    """The faults of a 422 by pointer."""
    assert answer.status_code == 422, answer.text
    return {fault["pointer"]: fault["detail"] for fault in answer.get_json()["errors"]}


def test_adjustments_come_back_as_they_were_sent(
    client: FlaskClient, ask: Callable[..., TestResponse], settle: Callable[[str], None]
) -> None:
    answer = ask()
    assert answer.status_code == 201, answer.text
    order = answer.get_json()["order"]
    assert order["adjustments"] == ADJUSTMENTS
    assert b'{"kind":"discount","name":"Welcome","amount":-10.00}' in answer.data
    settle(order["id"])
    confirmed = client.get(f"/orders/{order['id']}").get_json()
    assert confirmed["payment"]["capturedAmount"] == TOTAL
    assert confirmed["adjustments"] == ADJUSTMENTS
    assert client.get(f"/orders/{order['id']}?version=1").get_json() == order
    created = client.get(f"/orders/{order['id']}/events").get_json()["events"][0]["data"]
    assert created["adjustments"] == ADJUSTMENTS
    assert client.get(f"/orders/{order['id']}/events/verify").get_json() == {"intact": True}
    assert client.get("/orders").get_json()["orders"][0]["adjustments"] == ADJUSTMENTS


def test_lines_are_numbered_wherever_an_order_is_shown(
    client: FlaskClient, ask: Callable[..., TestResponse]
) -> None:
    order = ask().get_json()["order"]
    numbered = [{"line": number, **line} for number, line in enumerate(LINES, 1)]
    assert order["products"] == numbered
    assert client.get(f"/orders/{order['id']}").get_json()["products"] == numbered
    assert client.get("/orders").get_json()["orders"][0]["products"] == numbered


def test_a_request_must_not_number_its_lines(ask: Callable[..., TestResponse]) -> None:
    lines = [{"line": 1, **LINES[0]}, LINES[1]]
    assert faults(ask(products=lines)) == {"/products/0/line": "is unknown"}


@pytest.mark.parametrize(
    ("currency", "shipping", "discount", "total", "expected"),
    [
        ("USD", "4.90", "-0.30", "153.59", "153.60"),
        ("USD", "4.90", "-0.30", "153.6", None),
        ("USD", "0", "-0.00", "150.01", "149.00"),
        ("USD", "0", "-0", "149", None),
        ("USD", "1e10", "-0.01", "150", "10000000148.99"),
        ("JPY", "490", "-30", "608", "609"),
        ("JPY", "490", "-30", "609.0", None),
        ("KWD", "0.001", "-0.003", "15", "148.998"),
        ("KWD", "0.001", "-0.003", "148.998", None),
    ],
)
def test_the_total_is_exactly_the_sum_of_lines_and_adjustments(
    client: FlaskClient, currency: str, shipping: str, discount: str, total: str, expected: str | None
) -> None:
    """The problem has the expected sum with all decimals of the currency."""
    body = (
        f'{{"userId": "eve", "currency": "{currency}", "totalAmount": {total},'
        '"products": [{"productId": "bulb", "quantity": 3, "unitPrice": 50}], "adjustments": ['
        f'{{"kind": "shipping", "amount": {shipping}}}, {{"kind": "discount", "amount": {discount}}},'
        '{"kind": "tax", "included": true, "amount": 3}, {"kind": "discount", "line": 1, "amount": -1}]}'
    )
    answer = client.post("/orders", data=body, content_type="application/json")
    if expected is None:
        assert answer.status_code == 201, answer.text
    else:
        detail = f"must equal the sum of the lines and adjustments ({expected})"
        assert faults(answer) == {"/totalAmount": detail}


def test_without_all_prices_the_total_is_not_checked(ask: Callable[..., TestResponse]) -> None:
    lines = [LINES[0], {"productId": "bulb", "quantity": 3}]
    assert ask(total=1, products=lines).status_code == 201


@pytest.mark.parametrize(
    ("adjustments", "pointers"),
    [
        (None, ["/adjustments"]),
        ({}, ["/adjustments"]),
        ([None], ["/adjustments/0"]),
        ([0], ["/adjustments/0"]),
        ([{}], ["/adjustments/0/kind", "/adjustments/0/amount"]),
        ([{"kind": "toll", "amount": 1}], ["/adjustments/0/kind"]),
        ([{"kind": "fee", "amount": "1"}], ["/adjustments/0/amount"]),
        ([{"kind": "fee", "amount": True}], ["/adjustments/0/amount"]),
        ([{"kind": "fee", "amount": -0.01}], ["/adjustments/0/amount"]),
        ([{"kind": "discount", "amount": 0.01}], ["/adjustments/0/amount"]),
        ([{"kind": "fee", "amount": 0.001}], ["/adjustments/0/amount"]),
        ([{"kind": "discount", "amount": -0.001}], ["/adjustments/0/amount"]),
        ([{"kind": "fee", "amount": 10**10 + 1}], ["/adjustments/0/amount"]),
        ([{"kind": "discount", "amount": -(10**10) - 1}], ["/adjustments/0/amount"]),
        ([{"kind": "fee", "amount": 1, "name": ""}], ["/adjustments/0/name"]),
        ([{"kind": "fee", "amount": 1, "name": "x" * 101}], ["/adjustments/0/name"]),
        ([{"kind": "fee", "amount": 1, "name": "a\u0000b"}], ["/adjustments/0/name"]),
        ([{"kind": "fee", "amount": 1, "line": 0}], ["/adjustments/0/line"]),
        ([{"kind": "fee", "amount": 1, "line": 3}], ["/adjustments/0/line"]),
        ([{"kind": "fee", "amount": 1, "line": "1"}], ["/adjustments/0/line"]),
        ([{"kind": "fee", "amount": 1, "included": True}], ["/adjustments/0/included"]),
        ([{"kind": "fee", "amount": 1, "included": False}], ["/adjustments/0/included"]),
        ([{"kind": "tax", "amount": 1, "included": 1}], ["/adjustments/0/included"]),
        ([{"kind": "fee", "amount": 1, "tax": 1}], ["/adjustments/0/tax"]),
        ([{"kind": "fee", "amount": -1, "line": 9}], ["/adjustments/0/amount", "/adjustments/0/line"]),
        ([*ADJUSTMENTS, {"kind": "fee", "amount": -1}, 3], ["/adjustments/6/amount", "/adjustments/7"]),
        ([{"kind": "fee", "amount": 0}] * 101, ["/adjustments"]),
    ],
)  # fmt: skip
def test_a_bad_adjustment_is_refused_by_the_name_of_its_field(
    client: FlaskClient, ask: Callable[..., TestResponse], adjustments: Any, pointers: list[str]
) -> None:
    assert sorted(faults(ask(adjustments=adjustments))) == sorted(pointers)
    assert client.get("/orders").get_json()["orders"] == []


def test_names_of_100_characters_and_100_adjustments_are_accepted(ask: Callable[..., TestResponse]) -> None:
    many = [{"kind": "fee", "amount": 0.01, "name": "é" * 100, "line": 2}] * 100
    assert ask(total=216, adjustments=many).status_code == 201


@pytest.mark.parametrize(
    ("total", "adjustments", "pointer", "line"),
    [
        # 15.00 of bulbs bear no more than 15.00 of discount.
        (202, [{"kind": "discount", "amount": -15.01, "line": 2}, {"kind": "tip", "amount": 2.01}], 0, 2),
        (0, [{"kind": "tip", "amount": 5}, {"kind": "discount", "amount": -220}], 1, 1),
        # The second of two discounts is one too many; shipping and included taxes pay for nothing.
        (
            10,
            [
                {"kind": "discount", "amount": -14, "line": 2},
                {"kind": "shipping", "amount": 9},
                {"kind": "tax", "amount": 9, "line": 2, "included": True},
                {"kind": "discount", "amount": -200},
            ],
            3,
            2,
        ),
    ],
)
def test_a_discount_that_makes_a_line_cost_less_than_0_is_refused(
    ask: Callable[..., TestResponse], total: float, adjustments: list[dict[str, Any]], pointer: int, line: int
) -> None:
    detail = f"must not bring the share of line {line} below 0"
    assert faults(ask(total, adjustments)) == {f"/adjustments/{pointer}/amount": detail}


def test_a_line_may_cost_nothing_after_its_discount(ask: Callable[..., TestResponse]) -> None:
    assert ask(200, [{"kind": "discount", "amount": -15, "line": 2}]).status_code == 201
    assert ask(0, [{"kind": "discount", "amount": -215}]).status_code == 201


def test_one_key_does_not_cover_other_adjustments(client: FlaskClient) -> None:
    body = {"userId": "eve", "products": [{"productId": "lamp", "quantity": 1}], "totalAmount": 5}
    answers = [
        client.post("/orders", json={**body, "adjustments": adjustments}, headers={"Idempotency-Key": "k"})
        for adjustments in ([ADJUSTMENTS[0]], [ADJUSTMENTS[0]], [ADJUSTMENTS[1]])
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 422]
    assert answers[0].data == answers[1].data
    assert answers[2].get_json()["code"] == "idempotency_key_reused"


def test_an_order_without_adjustments_shows_none(post_order: Callable[..., Any], client: FlaskClient) -> None:
    order = post_order()
    assert "adjustments" not in order
    assert (
        "adjustments" not in json.loads(client.get(f"/orders/{order['id']}/events").data)["events"][0]["data"]
    )


class Posted:
    """A sender of webhooks whose receiver takes everything."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def fault_of(self, _url: str) -> None:
        """Every address is right."""

    def send(self, _url: str, _secrets: Any, _id: str, _at: Any, message: Any, *_: Any) -> Answer:
        """Keeps the message."""
        self.messages.append(message)
        return Answer(200)


def test_webhooks_and_the_feed_show_adjustments_and_lines_as_the_order_does(
    client: FlaskClient,
    ask: Callable[..., TestResponse],
    settle: Callable[[str], None],
    app_services: Services,
) -> None:
    """A confirmed order with a refund of one piece, at each of its versions."""
    posted = Posted()
    sending = app_services.anew(webhooks=posted)
    endpoint = add_endpoint(sending.webhooks, "https://example.com/", ["*"])["id"]
    order_id = ask().get_json()["order"]["id"]
    settle(order_id)
    asked = {"products": [{"line": 1, "quantity": 1}], "shipping": True}
    assert client.post(f"/orders/{order_id}/refunds", json=asked).status_code == 202
    settle(order_id)
    announce(sending.notifications, [order_id])
    while deliver_next(sending.webhooks, endpoint):
        pass
    assert catch_up(app_services.feed, lambda: False)
    fed = {
        event["data"]["sequence"]: event["data"]["order"]
        for event in client.get("/events").get_json()["events"]
    }
    sent = {one["data"]["sequence"]: one["data"]["order"] for one in map(as_json, posted.messages)}
    assert {"order.created", "order.confirmed", "payment.partially_refunded"} == {
        one["type"] for one in map(as_json, posted.messages)
    }
    for sequence, order in fed.items():
        shown = client.get(f"/orders/{order_id}?version={sequence}").get_json()
        assert order == shown
        assert order["adjustments"] == ADJUSTMENTS
        assert [line["line"] for line in order["products"]] == [1, 2]
        assert sent.get(sequence, shown) == shown


def as_json(message: Any) -> Any:
    """The message as a receiver reads it."""
    return json.loads(orjson.dumps(message))
