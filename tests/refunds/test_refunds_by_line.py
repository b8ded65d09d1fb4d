"""Refunds by lines: what the pieces cost, to the minor unit, each piece once, the shipping once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database
    from werkzeug.test import TestResponse

# The discount is dealt 7.50 to line 1 and 2.50 to line 3; line 1 costs 23.50, line 2 nothing, line 3 7.50.
ORDER: dict[str, Any] = {
    "products": [
        {"productId": "cup", "quantity": 3, "unitPrice": 10.00},
        {"productId": "card", "quantity": 1, "unitPrice": 0},
        {"productId": "tea", "quantity": 2, "unitPrice": 5.00},
    ],
    "adjustments": [
        {"kind": "shipping", "amount": 4.90},
        {"kind": "discount", "amount": -10.00},
        {"kind": "fee", "name": "Engraving", "amount": 1.00, "line": 1},
        {"kind": "tax", "amount": 5.73, "included": True},
        {"kind": "tip", "amount": 2.00},
    ],
    "totalAmount": 37.90,
}
NOTHING = dict.fromkeys(("products", "shipping", "tax", "discount", "fee", "tip"), 0)


@pytest.fixture
def confirm(post_order: Callable[..., Any], settle: Callable[[str], None]) -> Callable[..., str]:
    """Places the order with such changes and takes it to `confirmed`; its id."""

    def make(**changes: Any) -> str:
        order_id = post_order(**{**ORDER, **changes})["id"]
        settle(order_id)
        return order_id

    return make


@pytest.fixture
def ask(client: FlaskClient) -> Callable[..., TestResponse]:
    """As in `ask(order_id, amount=10)`."""
    return lambda order_id, **body: client.post(f"/orders/{order_id}/refunds", json=body)


def of(line: int, quantity: int = 1, **more: Any) -> dict[str, Any]:
    """A line of a refund."""
    return {"line": line, "quantity": quantity, **more}


def given_back(answer: TestResponse) -> Any:
    """The amount of a refund that was accepted; its breakdown adds up to it."""
    assert answer.status_code == 202, answer.text
    refund = answer.get_json(force=True)
    if "breakdown" in refund:
        parts = [Decimal(str(part)) for part in refund["breakdown"].values()]
        assert sum(parts) == Decimal(str(refund["amount"]))
    return refund["amount"]


def refused(answer: TestResponse) -> tuple[int, str, list[str]]:
    """The status, the code and the pointers of a refusal."""
    problem = answer.get_json()
    return answer.status_code, problem["code"], [fault["pointer"] for fault in problem.get("errors", ())]


def test_a_refund_by_lines_is_the_price_of_its_pieces(
    confirm: Callable[..., str], ask: Callable[..., Any]
) -> None:
    order_id = confirm()
    answer = ask(order_id, products=[of(1, restock=True), of(3, 2)])
    assert given_back(answer) == 15.33
    refund = answer.get_json()
    assert refund["products"] == [
        {"line": 1, "productId": "cup", "quantity": 1, "restock": True},
        {"line": 3, "productId": "tea", "quantity": 2, "restock": False},
    ]
    assert refund["breakdown"] == {**NOTHING, "products": 20.00, "discount": -5.00, "fee": 0.33}
    assert "shipping" not in refund
    assert b'"discount":-5.00,"fee":0.33,"tip":0.00' in answer.data


def test_a_series_of_refunds_ends_on_the_paid_cent(
    client: FlaskClient, confirm: Callable[..., str], ask: Callable[..., Any], settle: Callable[[str], None]
) -> None:
    order_id = confirm()
    assert [given_back(ask(order_id, products=[of(1)])) for _ in range(2)] == [7.83, 7.83]
    assert given_back(ask(order_id, products=[of(1), of(2), of(3)])) == 11.59
    assert given_back(ask(order_id, products=[of(3)], shipping=True)) == 8.65
    assert given_back(ask(order_id)) == 2.00, "the tip goes back with the rest alone"
    settle(order_id)
    order = client.get(f"/orders/{order_id}").get_json()
    assert (order["payment"]["status"], order["payment"]["refundedAmount"]) == ("refunded", 37.90)
    assert client.get(f"/orders/{order_id}/events/verify").get_json() == {"intact": True}


def test_shipping_goes_back_once_and_by_itself_if_asked_for(
    confirm: Callable[..., str], ask: Callable[..., Any], client: FlaskClient
) -> None:
    order_id = confirm()
    answer = ask(order_id, shipping=True, reason="late")
    assert (given_back(answer), answer.get_json()["shipping"]) == (4.90, True)
    assert answer.get_json()["breakdown"] == {**NOTHING, "shipping": 4.90}
    assert refused(ask(order_id, shipping=True)) == (422, "invalid_input", ["/shipping"])
    assert refused(ask(order_id, products=[of(1, 4)], shipping=True)) == (
        422,
        "invalid_input",
        ["/products/0/quantity", "/shipping"],
    )
    assert given_back(ask(order_id, products=[of(1)], shipping=False)) == 7.83
    assert client.get(f"/orders/{order_id}/refunds").get_json()["refunds"][0] == answer.get_json()


def test_a_product_names_its_line_if_it_is_on_one_line_only(
    confirm: Callable[..., str], ask: Callable[..., Any]
) -> None:
    order_id = confirm()
    answer = ask(order_id, products=[{"productId": "cup", "quantity": 1}])
    assert (given_back(answer), answer.get_json()["products"][0]["line"]) == (7.83, 1)
    lines = [{**ORDER["products"][0]}, {**ORDER["products"][0]}]
    twice = confirm(products=lines, adjustments=[], totalAmount=60)
    answer = ask(twice, products=[{"productId": "cup", "quantity": 1}])
    assert refused(answer) == (422, "invalid_input", ["/products/0/productId"])
    assert "1, 2" in answer.get_json()["errors"][0]["detail"]
    assert given_back(ask(twice, products=[of(2)])) == 10


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"products": [of(1, 4)]}, ["/products/0/quantity"]),
        ({"products": [of(1, 2), of(1, 2)]}, ["/products/1/quantity"]),
        ({"products": [of(1, 2), {"productId": "cup", "quantity": 2}]}, ["/products/1/quantity"]),
        ({"products": [of(4)]}, ["/products/0/line"]),
        ({"products": [of(0)]}, ["/products/0/line"]),
        ({"products": [of(201)]}, ["/products/0/line"]),
        ({"products": [{"quantity": 1}]}, ["/products/0/line"]),
        ({"products": [of(1), of(1, productId="cup")]}, ["/products/1/productId"]),
        ({"products": [of(1, 0)]}, ["/products/0/quantity"]),
        ({"products": [{"line": 1}]}, ["/products/0/quantity"]),
        ({"products": [of(9), of(1)], "amount": 0.001}, ["/products/0/line", "/amount"]),
        ({"shipping": 1}, ["/shipping"]),
        ({"shipping": None}, ["/shipping"]),
        ({"breakdown": NOTHING}, ["/breakdown"]),
        ({"computed": True}, ["/computed"]),
    ],
)  # fmt: skip
def test_a_bad_refund_by_lines_is_refused_and_leaves_no_trace(
    client: FlaskClient, confirm: Callable[..., str], ask: Callable[..., Any], body: Any, pointers: list[str]
) -> None:
    order_id = confirm()
    before = client.get(f"/orders/{order_id}").data
    assert refused(ask(order_id, **body)) == (422, "invalid_input", pointers)
    assert client.get(f"/orders/{order_id}").data == before


def test_pieces_that_cost_nothing_are_nothing_to_refund(
    confirm: Callable[..., str], ask: Callable[..., Any], client: FlaskClient
) -> None:
    order_id = confirm(adjustments=[], totalAmount=40)
    for body in ({"products": [of(2)]}, {"shipping": True}):
        assert refused(ask(order_id, **body)) == (409, "nothing_to_refund", [])
    given_back(ask(order_id))
    assert refused(ask(order_id)) == (409, "nothing_to_refund", [])
    assert len(client.get(f"/orders/{order_id}/refunds").get_json()["refunds"]) == 1


def test_a_piece_that_rounds_to_nothing_is_nothing_to_refund(
    confirm: Callable[..., str], ask: Callable[..., Any]
) -> None:
    """The last piece has the whole cent."""
    adjustments = [{"kind": "discount", "amount": -0.02}]
    products = [{"productId": "clip", "quantity": 3, "unitPrice": 0.01}]
    order_id = confirm(products=products, adjustments=adjustments, totalAmount=0.01)
    assert refused(ask(order_id, products=[of(1, 2)])) == (409, "nothing_to_refund", [])
    assert given_back(ask(order_id, products=[of(1, 3)])) == 0.01


def test_a_line_without_a_price_needs_an_amount(confirm: Callable[..., str], ask: Callable[..., Any]) -> None:
    products = [ORDER["products"][0], {"productId": "gift", "quantity": 2}]
    adjustments = [{"kind": "fee", "amount": 3, "line": 2}]
    order_id = confirm(products=products, adjustments=adjustments, totalAmount=50)
    assert refused(ask(order_id, products=[of(1), of(2)])) == (422, "invalid_input", ["/amount"])
    answer = ask(order_id, products=[of(2)], amount=5)
    assert given_back(answer) == 5
    assert answer.get_json()["breakdown"] == {**NOTHING, "products": 3.50, "fee": 1.50}
    assert refused(ask(order_id, products=[of(2, 2)], amount=5)) == (
        422,
        "invalid_input",
        ["/products/0/quantity"],
    )
    assert given_back(ask(order_id, products=[of(1, 3)])) == 30


def test_a_requested_amount_is_taken_as_it_is_and_uses_the_pieces(
    confirm: Callable[..., str], ask: Callable[..., Any]
) -> None:
    order_id = confirm()
    answer = ask(order_id, products=[of(1, 2)], amount=1)
    assert given_back(answer) == 1
    assert answer.get_json()["breakdown"] == {**NOTHING, "products": 5.34, "discount": -5.00, "fee": 0.66}
    assert refused(ask(order_id, products=[of(1, 2)])) == (422, "invalid_input", ["/products/0/quantity"])
    assert given_back(ask(order_id, products=[of(1)])) == 7.84


def test_a_refund_by_amount_alone_has_no_breakdown(
    confirm: Callable[..., str], ask: Callable[..., Any]
) -> None:
    order_id = confirm()
    for body in ({"amount": 1}, {}):
        assert "breakdown" not in ask(order_id, **body).get_json()
    assert refused(ask(order_id, products=[of(1)])) == (409, "refund_too_large", [])


@pytest.mark.parametrize(
    ("currency", "price", "fee", "amounts"),
    [
        ("JPY", "100", "100", ["133", "133", "134"]),
        ("USD", "1.00", "1.00", ["1.33", "1.33", "1.34"]),
        ("KWD", "0.100", "0.100", ["0.133", "0.133", "0.134"]),
    ],
)
def test_shares_are_exact_in_minor_units_of_the_currency(
    client: FlaskClient,
    settle: Callable[[str], None],
    ask: Callable[..., Any],
    currency: str,
    price: str,
    fee: str,
    amounts: list[str],
) -> None:
    body = (
        f'{{"userId": "eve", "currency": "{currency}", "totalAmount": {4 * Decimal(price)}, "products":'
        f'[{{"productId": "p", "quantity": 3, "unitPrice": {price}}}],'
        f'"adjustments": [{{"kind": "fee", "amount": {fee}}}]}}'
    )
    order_id = client.post("/orders", data=body, content_type="application/json").get_json()["order"]["id"]
    settle(order_id)
    for amount in amounts:
        assert f'"amount":{amount},' in ask(order_id, products=[of(1)]).text


def test_a_failed_refund_keeps_its_pieces_and_its_shipping(
    client: FlaskClient, confirm: Callable[..., str], ask: Callable[..., Any], settle: Callable[[str], None]
) -> None:
    order_id = confirm(paymentMethod="sandbox_refund_fails_once")
    failed = ask(order_id, products=[of(1)], shipping=True).get_json()
    settle(order_id)
    assert refused(ask(order_id, products=[of(1, 3)])) == (422, "invalid_input", ["/products/0/quantity"])
    assert refused(ask(order_id, shipping=True)) == (422, "invalid_input", ["/shipping"])
    other = ask(order_id, products=[of(1, 2)]).get_json()
    settle(order_id)
    for refund in (failed, other):
        answer = client.post(f"/orders/{order_id}/refunds/{refund['id']}/retry")
        assert given_back(answer) == refund["amount"]
        assert answer.get_json()["breakdown"] == refund["breakdown"]
        settle(order_id)
    assert failed["amount"] + other["amount"] == pytest.approx(23.50 + 4.90)
    refunds = client.get(f"/orders/{order_id}/refunds").get_json()["refunds"]
    assert [(refund["status"], refund["amount"]) for refund in refunds] == [
        ("succeeded", 12.73),
        ("succeeded", 15.67),
    ]


def test_a_retry_computes_an_amount_that_was_not_requested_anew(
    client: FlaskClient, confirm: Callable[..., str], ask: Callable[..., Any], settle: Callable[[str], None]
) -> None:
    order_id = confirm(paymentMethod="sandbox_refund_fails_once")
    rest, part = ask(order_id).get_json(), None
    settle(order_id)
    part = ask(order_id, amount=7.90).get_json()
    settle(order_id)
    client.post(f"/orders/{order_id}/refunds/{part['id']}/retry")
    path = f"/orders/{order_id}/refunds/{rest['id']}"
    assert given_back(client.post(f"{path}/retry")) == 30.00
    settle(order_id)
    assert client.get(path).get_json()["status"] == "succeeded"
    assert client.get(f"/orders/{order_id}").get_json()["payment"]["status"] == "refunded"
    assert client.get(f"/orders/{order_id}/events/verify").get_json() == {"intact": True}


def test_a_retry_of_the_rest_is_refused_if_nothing_is_left(
    client: FlaskClient, confirm: Callable[..., str], ask: Callable[..., Any], settle: Callable[[str], None]
) -> None:
    order_id = confirm(paymentMethod="sandbox_refund_fails_once")
    refunds = []
    for _ in range(2):
        refunds.append(ask(order_id).get_json()["id"])
        settle(order_id)
    answers = [client.post(f"/orders/{order_id}/refunds/{refund}/retry") for refund in refunds]
    assert given_back(answers[0]) == 37.90
    assert refused(answers[1]) == (409, "nothing_to_refund", [])


def test_of_many_refunds_of_the_last_piece_at_once_one_wins(
    app: Flask, confirm: Callable[..., str], ask: Callable[..., Any]
) -> None:
    order_id = confirm()
    given_back(ask(order_id, products=[of(1, 2)]))
    body = {"products": [of(1)]}

    def post(_: int) -> int:
        return app.test_client().post(f"/orders/{order_id}/refunds", json=body).status_code

    with ThreadPoolExecutor(20) as pool:
        assert sorted(pool.map(post, range(20))) == [202] + [422] * 19


def test_refunds_of_the_release_before_count_by_their_products(
    client: FlaskClient, confirm: Callable[..., str], ask: Callable[..., Any], api_database: Database[Any]
) -> None:
    """They name no line. The pieces of a product on several lines are those of its first lines."""
    lines = [{"productId": "cup", "quantity": 2, "unitPrice": 10}] * 2
    order_id = confirm(products=lines, adjustments=[], totalAmount=40)
    ask(order_id, products=[of(1, 2), of(2, 1)])
    api_database["orders"].update_one(
        {}, {"$unset": {"refunds.0.products.0.line": "", "refunds.0.products.1.line": ""}}
    )
    (old,) = client.get(f"/orders/{order_id}/refunds").get_json()["refunds"]
    assert [line.keys() for line in old["products"]] == [{"productId", "quantity", "restock"}] * 2
    assert (old["amount"], old["breakdown"]["products"]) == (30, 30)
    assert refused(ask(order_id, products=[of(1)])) == (422, "invalid_input", ["/products/0/quantity"])
    assert given_back(ask(order_id, products=[of(2)])) == 10


def test_a_line_of_its_own_shipping_and_tip_gives_them_back(
    confirm: Callable[..., str], ask: Callable[..., Any]
) -> None:
    """Those of a line belong to its pieces."""
    adjustments = [{"kind": "shipping", "amount": 3, "line": 1}, {"kind": "tip", "amount": 1, "line": 1}]
    order_id = confirm(adjustments=adjustments, totalAmount=44)
    answer = ask(order_id, products=[of(1, 2)], shipping=True)
    assert given_back(answer) == 22.66
    assert answer.get_json()["breakdown"] == {**NOTHING, "products": 20.00, "shipping": 2.00, "tip": 0.66}
