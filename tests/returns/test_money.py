"""The money of returns: each piece is refunded once, when the return says so, and never beyond capture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.returns.conftest import ORDER, Returns, pointers, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient

UNPRICED: dict[str, Any] = {
    "products": [{"productId": "cup", "quantity": 3}, {"productId": "tea", "quantity": 2, "unitPrice": 5.00}],
    "adjustments": [],
    "totalAmount": 40.00,
}


def amounts(returns: Returns) -> list[float]:
    """The amounts of the order's refunds."""
    return [refund["amount"] for refund in returns.refunds()]


def test_each_receipt_is_refunded_damaged_pieces_too(returns: Returns, settle: Callable[[str], None]) -> None:
    return_id = returns.approved((1, 3), (2, 1))
    assert returns.refunds() == []
    first = returns.receive(return_id, (1, 1, "resellable"), (1, 1, "damaged")).get_json()
    last = returns.receive(return_id, (1, 1, "damaged"), (2, 1, "resellable"), (2, 1, "damaged")).get_json()
    assert amounts(returns) == [13.33, 16.67]
    for receipt, refund in zip(last["receipts"], returns.refunds(), strict=True):
        assert (receipt["refundId"], receipt["amount"]) == (refund["id"], refund["amount"])
        assert refund["returnId"] == return_id
        assert sum(refund["breakdown"].values()) == pytest.approx(refund["amount"])
    assert first["receipts"] == last["receipts"][:1]
    assert returns.refunds()[0]["products"] == [
        {"line": 1, "productId": "cup", "quantity": 2, "restock": False}
    ]
    settle(returns.order_id)
    payment = returns.order()["payment"]
    assert (payment["status"], payment["refundedAmount"]) == ("partially_refunded", 30.00)


def test_an_approval_refunds_what_was_announced_and_a_receipt_what_is_beyond(returns: Returns) -> None:
    return_id = returns.made((1, 1), refund="on_approval")
    shown = returns.do(return_id, "approve").get_json()
    assert (shown["amount"], shown["refundId"]) == (6.66, f"{returns.order_id}-1")
    assert returns.types()[-2:] == ["return.approved", "refund.requested"]
    shown = returns.receive(return_id, (1, 1, "damaged"), (2, 1, "damaged")).get_json()
    assert shown["receipts"][0]["amount"] == 5.00
    assert [(one["amount"], one["returnId"]) for one in returns.refunds()] == [
        (6.66, return_id),
        (5.00, return_id),
    ]


def test_a_receipt_of_what_the_approval_refunded_gives_nothing_more_back(returns: Returns) -> None:
    return_id = returns.approved((1, 2), refund="on_approval")
    receipt = returns.receive(return_id, (1, 1, "damaged")).get_json()["receipts"][0]
    assert receipt.keys() == {"receipt", "products", "at"}
    returns.receive(return_id, (1, 1, "damaged"))
    assert amounts(returns) == [13.33]


def test_a_return_without_refund_gives_nothing_back(returns: Returns) -> None:
    return_id = returns.approved((1, 1), refund="none")
    returns.receive(return_id, (1, 1, "damaged"), (2, 2, "damaged"))
    assert returns.refunds() == []


def test_pieces_that_a_refund_paid_back_are_not_paid_back_again(
    returns: Returns, client: FlaskClient
) -> None:
    """And the other way round: a refund by lines is for pieces that no return has paid back."""
    path, one = f"/orders/{returns.order_id}/refunds", {"line": 1, "quantity": 1}
    assert client.post(path, json={"products": [{**one, "quantity": 2}]}).status_code == 202
    return_id = returns.approved((1, 3))
    returns.receive(return_id, (1, 2, "damaged"))
    (_, refund) = returns.refunds()
    assert (refund["amount"], refund["products"][0]["quantity"]) == (6.67, 1)
    assert pointers(client.post(path, json={"products": [one]})) == ["/products/0/quantity"]
    assert returns.receive(return_id, (1, 1, "damaged")).get_json()["status"] == "closed"
    assert len(returns.refunds()) == 2


def test_no_refund_is_more_than_what_is_left_of_the_capture(returns: Returns, client: FlaskClient) -> None:
    client.post(f"/orders/{returns.order_id}/refunds", json={"amount": 30.00})
    return_id = returns.approved((1, 3), (2, 2))
    shown = returns.receive(return_id, (1, 1, "damaged")).get_json()
    assert shown["receipts"][0]["amount"] == 4.90
    shown = returns.receive(return_id, (1, 2, "damaged"), (2, 2, "damaged")).get_json()
    assert "amount" not in shown["receipts"][1]
    assert amounts(returns) == [30.00, 4.90]


def test_pieces_that_cost_nothing_make_no_refund(brought: Callable[..., Returns]) -> None:
    free = [{"productId": "card", "quantity": 2, "unitPrice": 0}, *ORDER["products"]]
    returns = brought(products=free, adjustments=[], totalAmount=40.00)
    shown = returns.receive(returns.approved((1, 2)), (1, 2, "resellable")).get_json()
    assert (shown["status"], shown["receipts"][0].keys()) == ("closed", {"receipt", "products", "at"})
    assert returns.refunds() == []


@pytest.mark.parametrize("command", ["receive", "approve"])
def test_pieces_without_a_price_need_an_amount_and_no_others(
    command: str, brought: Callable[..., Returns]
) -> None:
    returns = brought(**UNPRICED)
    refund = {"receive": "on_receipt", "approve": "on_approval"}[command]
    cups, tea = returns.made((1, 2), refund=refund), returns.made((2, 1), refund=refund)

    def send(return_id: str, line: int, **body: Any) -> Any:
        piece = {"line": line, "quantity": 1, "condition": "damaged"}
        products = {"products": [piece]} if command == "receive" else {}
        return returns.do(return_id, command, {**products, **body})

    if command == "receive":
        for return_id in (cups, tea):
            returns.do(return_id, "approve")
    before = returns.order()
    assert pointers(send(cups, 1)) == ["/amount"]
    assert pointers(send(cups, 1, amount=1.234)) == ["/amount"]
    assert pointers(send(cups, 1, amount=-1)) == ["/amount"]
    assert pointers(send(cups, 1, amount="5")) == ["/amount"]
    refused = send(cups, 1, amount=40.01)
    assert (refusal(refused), refused.get_json()["refundable"]) == ((409, "refund_too_large"), 40.00)
    assert pointers(send(tea, 2, amount=5.00)) == ["/amount"]
    assert returns.order() == before
    assert send(cups, 1, amount=7.50).status_code == 200
    assert send(tea, 2).status_code == 200
    assert amounts(returns) == [7.50, 5.00]


def test_an_amount_of_0_gives_nothing_back(brought: Callable[..., Returns]) -> None:
    returns = brought(**UNPRICED)
    assert returns.receive(returns.approved((1, 1)), (1, 1, "damaged"), amount=0).status_code == 200
    assert returns.refunds() == []


@pytest.mark.parametrize("refund", ["on_receipt", "on_approval", "none"])
def test_an_amount_where_nothing_is_refunded_is_422(refund: str, brought: Callable[..., Returns]) -> None:
    returns = brought(**UNPRICED)
    return_id = returns.made((1, 1), refund=refund)
    if refund != "on_approval":
        assert pointers(returns.do(return_id, "approve", {"amount": 1})) == ["/amount"]
    returns.do(return_id, "approve", {"amount": 1} if refund == "on_approval" else None)
    if refund != "on_receipt":
        assert pointers(returns.receive(return_id, (1, 1, "damaged"), amount=1)) == ["/amount"]


def test_a_failed_refund_of_a_return_is_retried_for_what_is_left(
    brought: Callable[..., Returns], client: FlaskClient, settle: Callable[[str], None]
) -> None:
    returns = brought(paymentMethod="sandbox_refund_fails_once")
    return_id = returns.approved((1, 1))
    returns.receive(return_id, (1, 1, "damaged"))
    settle(returns.order_id)
    (failed,) = returns.refunds()
    assert failed["status"] == "failed"
    path = f"/orders/{returns.order_id}/refunds"
    client.post(path, json={"amount": 30.00})
    settle(returns.order_id)
    client.post(f"{path}/{returns.order_id}-2/retry")
    settle(returns.order_id)
    answer = client.post(f"{path}/{failed['id']}/retry")
    assert (answer.status_code, answer.get_json()["amount"]) == (202, 4.90)
    settle(returns.order_id)
    assert returns.order()["payment"]["status"] == "refunded"
