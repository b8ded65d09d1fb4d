"""Part cancellations as customers and the shop see them: answered, listed, paid back, refused and bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.orders import bounds
from app.orders.processing import perform
from app.orders.steps import AUTHORIZE, DECREMENT
from tests.support.doubles import at_once
from tests.support.tokens import SETTINGS, bearer, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database
    from werkzeug.test import TestResponse

    from app.services import Services

# The discount is dealt 7.50 to line 1, whose three pieces cost 23.50, and 2.50 to line 2.
ORDER: dict[str, Any] = {
    "products": [
        {"productId": "cup", "quantity": 3, "unitPrice": 10.00},
        {"productId": "tea", "quantity": 2, "unitPrice": 5.00},
    ],
    "adjustments": [
        {"kind": "shipping", "amount": 4.90},
        {"kind": "discount", "amount": -10.00},
        {"kind": "fee", "amount": 1.00, "line": 1},
    ],
    "totalAmount": 35.90,
}
UNPRICED: dict[str, Any] = {"products": [{"productId": "cup", "quantity": 3}], "totalAmount": 30.00}


def of(line: int, quantity: int = 1) -> dict[str, int]:
    return {"line": line, "quantity": quantity}


@pytest.fixture
def order_id(post_order: Callable[..., Any]) -> str:
    """A new order."""
    return post_order(**ORDER)["id"]


@pytest.fixture
def confirmed(order_id: str, settle: Callable[[str], None]) -> str:
    """The same, confirmed."""
    settle(order_id)
    return order_id


@pytest.fixture
def cancel(client: FlaskClient) -> Callable[..., TestResponse]:
    """As in `cancel(order_id, of(1), reason="broken")`."""

    def post(order_id: str, *pieces: Any, headers: dict[str, str] | None = None, **more: Any) -> TestResponse:
        body = {"products": list(pieces), **more}
        return client.post(f"/orders/{order_id}/cancellations", json=body, headers=headers)

    return post


def types(client: FlaskClient, order_id: str) -> list[str]:
    """The types of the order's events."""
    return [event["type"] for event in client.get(f"/orders/{order_id}/events").get_json()["events"]]


def problem(answer: TestResponse) -> tuple[int, str, set[str]]:
    """The status, the code and the pointers of a refusal."""
    body = answer.get_json()
    return answer.status_code, body["code"], {fault["pointer"] for fault in body.get("errors", ())}


def test_a_cancellation_before_the_capture_is_answered_and_lowers_it(
    client: FlaskClient, order_id: str, cancel: Callable[..., TestResponse], settle: Callable[[str], None]
) -> None:
    answer = cancel(order_id, of(1), of(2, 2), reason="Too\nmany")
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"/orders/{order_id}/cancellations/{order_id}-c1"
    order = client.get(f"/orders/{order_id}")
    assert answer.headers["ETag"] == order.headers["ETag"] == '"v2"'
    shown = answer.get_json()
    assert shown == {
        "id": f"{order_id}-c1",
        "orderId": order_id,
        "currency": "USD",
        "products": [of(1), of(2, 2)],
        "reason": "Too\nmany",
        "amount": 15.33,
        "createdAt": order.get_json()["updatedAt"],
    }
    assert b'"amount":15.33' in answer.data
    assert client.get(answer.headers["Location"]).get_json() == shown
    assert client.get(f"/orders/{order_id}/cancellations").get_json() == {"cancellations": [shown]}
    assert types(client, order_id) == ["order.created", "cancellation.created"]
    order = order.get_json()
    assert (order["products"][0]["quantity"], order["totalAmount"]) == (3, 35.90)
    assert order["fulfillment"] == {"status": "none", "open": [of(1, 2)]}
    assert "cancellations" not in order
    settle(order_id)
    order = client.get(f"/orders/{order_id}").get_json()
    assert (order["status"], order["payment"]["status"]) == ("confirmed", "captured")
    assert (order["payment"]["capturedAmount"], order["payment"]["refundedAmount"]) == (20.57, 0.00)
    assert client.get(f"/orders/{order_id}/refunds").get_json() == {"refunds": []}


def test_a_cancellation_after_the_capture_shows_its_refund(
    client: FlaskClient, confirmed: str, cancel: Callable[..., TestResponse], settle: Callable[[str], None]
) -> None:
    shown = cancel(confirmed, of(1, 2)).get_json()
    (refund,) = client.get(f"/orders/{confirmed}/refunds").get_json()["refunds"]
    assert (shown["amount"], shown["refundId"]) == (refund["amount"], refund["id"]) == (15.66, refund["id"])
    assert refund["cancellationId"] == shown["id"] == f"{confirmed}-c1"
    assert (refund["status"], refund["reason"]) == ("pending", "Pieces of the order were cancelled.")
    assert refund["products"] == [{"line": 1, "productId": "cup", "quantity": 2, "restock": False}]
    assert sum(refund["breakdown"].values()) == pytest.approx(15.66)
    settle(confirmed)
    payment = client.get(f"/orders/{confirmed}").get_json()["payment"]
    assert (payment["status"], payment["refundedAmount"]) == ("partially_refunded", 15.66)
    assert cancel(confirmed, of(1)).get_json()["amount"] == 7.84
    beyond = {"products": [of(1)]}
    assert problem(client.post(f"/orders/{confirmed}/refunds", json=beyond)) == (
        422,
        "invalid_input",
        {"/products/0/quantity"},
    )


def test_the_last_pieces_cancel_the_order_and_give_back_the_shipping(
    client: FlaskClient, confirmed: str, cancel: Callable[..., TestResponse], settle: Callable[[str], None]
) -> None:
    assert cancel(confirmed, of(1, 3)).get_json()["amount"] == 23.50
    last = cancel(confirmed, of(2, 2), reason="all of it").get_json()
    assert (last["amount"], last["refundId"]) == (12.40, f"{confirmed}-2")
    order = client.get(f"/orders/{confirmed}").get_json()
    assert order["cancellation"] == {"reason": "requested", "detail": "all of it"}
    assert order["fulfillment"] == {"status": "none", "open": []}
    settle(confirmed)
    order = client.get(f"/orders/{confirmed}").get_json()
    assert (order["status"], order["payment"]["status"]) == ("cancelled", "refunded")
    assert order["payment"]["refundedAmount"] == 35.90
    assert order["stock"]["status"] == "restocked"
    assert client.get(f"/orders/{confirmed}/events/verify").get_json() == {"intact": True}


def test_the_last_pieces_of_a_pending_order_void_its_payment(
    client: FlaskClient, order_id: str, cancel: Callable[..., TestResponse], settle: Callable[[str], None]
) -> None:
    assert cancel(order_id, of(1, 3), of(2, 2)).get_json()["amount"] == 35.90
    assert types(client, order_id)[1:] == ["cancellation.created", "order.cancelled", "stock.released"]
    settle(order_id)
    payment = client.get(f"/orders/{order_id}").get_json()["payment"]
    assert (payment["status"], payment["capturedAmount"]) == ("voided", 0.00)


def test_if_nothing_is_left_to_capture_the_order_goes_on_for_nothing(
    client: FlaskClient,
    post_order: Callable[..., Any],
    cancel: Callable[..., TestResponse],
    settle: Callable[[str], None],
    api_database: Database[dict[str, Any]],
    app_services: Services,
) -> None:
    lines = [{"productId": "gift", "quantity": 2, "unitPrice": 0}, {**ORDER["products"][1]}]
    for steps_before in ((), (AUTHORIZE, DECREMENT)):
        order_id = post_order(products=lines, totalAmount=10)["id"]
        for step in steps_before:
            perform(app_services.orders, step, [order_id])
        assert cancel(order_id, of(2, 2)).get_json()["amount"] == 10
        settle(order_id)
        order = client.get(f"/orders/{order_id}").get_json()
        assert (order["status"], order["payment"]["status"]) == ("confirmed", "captured")
        assert order["payment"]["capturedAmount"] == 0
        assert api_database["sandbox_payments"].find_one({"_id": order_id})["status"] == "voided"  # type: ignore[index]
        assert client.put(f"/orders/{order_id}", json={"status": "cancelled"}).status_code == 200
        settle(order_id)
        assert client.get(f"/orders/{order_id}").get_json()["payment"]["status"] == "refunded"


@pytest.mark.parametrize("state", ["cancelled", "shipped", "delivered"])
def test_pieces_of_an_ended_order_are_not_open(
    state: str, client: FlaskClient, confirmed: str, cancel: Callable[..., TestResponse]
) -> None:
    for status in {"delivered": ["shipped", "delivered"]}.get(state, [state]):
        assert client.put(f"/orders/{confirmed}", json={"status": status}).status_code == 200
    answer = cancel(confirmed, of(1))
    assert problem(answer) == (409, "nothing_open", set())
    assert answer.get_json()["open"] == []


def test_pieces_beyond_the_open_ones_are_named_and_nothing_happens(
    client: FlaskClient, order_id: str, cancel: Callable[..., TestResponse]
) -> None:
    cancel(order_id, of(1, 2))
    answer = cancel(order_id, of(1, 2), of(2))
    assert problem(answer) == (409, "nothing_open", set())
    assert answer.get_json()["open"] == [of(1), of(2, 2)]
    assert types(client, order_id).count("cancellation.created") == 1


WRONG: dict[str, tuple[Any, set[str]]] = {
    "no body": ({}, {"/products"}),
    "no pieces": ({"products": []}, {"/products"}),
    "no list": ({"products": of(1)}, {"/products"}),
    "an unknown line": ({"products": [of(3)]}, {"/products/0/line"}),
    "line 0": ({"products": [of(0)]}, {"/products/0/line"}),
    "a line twice": ({"products": [of(1), of(1)]}, {"/products/1/line"}),
    "no line": ({"products": [{"quantity": 1}]}, {"/products/0/line"}),
    "no quantity": ({"products": [{"line": 1}]}, {"/products/0/quantity"}),
    "nothing of a line": ({"products": [of(1, 0)]}, {"/products/0/quantity"}),
    "half a piece": ({"products": [{"line": 1, "quantity": 0.5}]}, {"/products/0/quantity"}),
    "text": ({"products": [{"line": "1", "quantity": True}]}, {"/products/0/line", "/products/0/quantity"}),
    "a product": ({"products": [{**of(1), "productId": "cup"}]}, {"/products/0/productId"}),
    "a long reason": ({"products": [of(1)], "reason": "x" * 501}, {"/reason"}),
    "an empty reason": ({"products": [of(1)], "reason": ""}, {"/reason"}),
    "an amount despite the prices": ({"products": [of(1)], "amount": 1}, {"/amount"}),
    "null": ({"products": [of(1)], "amount": None}, {"/amount"}),
    "less than nothing": ({"products": [of(1)], "amount": -1}, {"/amount"}),
    "an unknown field": ({"products": [of(1)], "refundId": "r"}, {"/refundId"}),
    "several": (
        {"products": [of(3), of(1), of(1)], "amount": 1},
        {"/products/0/line", "/products/2/line", "/amount"},
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_422_at_each_fault_and_leaves_nothing(
    name: str, client: FlaskClient, order_id: str, api_database: Database[dict[str, Any]]
) -> None:
    body, pointers = WRONG[name]
    before = list(api_database["orders"].find())
    answer = client.post(f"/orders/{order_id}/cancellations", json=body)
    assert problem(answer) == (422, "invalid_input", pointers)
    assert list(api_database["orders"].find()) == before


def test_lines_without_a_price_need_an_amount_of_what_is_left(
    client: FlaskClient,
    post_order: Callable[..., Any],
    cancel: Callable[..., TestResponse],
    settle: Callable[[str], None],
) -> None:
    order_id = post_order(**UNPRICED)["id"]
    assert problem(cancel(order_id, of(1))) == (422, "invalid_input", {"/amount"})
    assert problem(cancel(order_id, of(1), amount=0.001)) == (422, "invalid_input", {"/amount"})
    large = cancel(order_id, of(1), amount=30.01)
    assert problem(large) == (409, "refund_too_large", set())
    assert large.get_json()["refundable"] == 30
    assert cancel(order_id, of(1), amount=12.00).get_json()["amount"] == 12
    settle(order_id)
    assert client.get(f"/orders/{order_id}").get_json()["payment"]["capturedAmount"] == 18
    large = cancel(order_id, of(1), amount=18.01)
    assert (problem(large)[1], large.get_json()["refundable"]) == ("refund_too_large", 18)
    assert cancel(order_id, of(1), amount=8).get_json()["refundId"] == f"{order_id}-1"
    settle(order_id)
    assert cancel(order_id, of(1), amount=1).get_json()["amount"] == 10, "the last piece gives back the rest"
    settle(order_id)
    order = client.get(f"/orders/{order_id}").get_json()
    assert (order["status"], order["payment"]["refundedAmount"]) == ("cancelled", 18)


def test_pieces_that_were_refunded_before_are_cancelled_for_nothing(
    client: FlaskClient, confirmed: str, cancel: Callable[..., TestResponse]
) -> None:
    client.post(f"/orders/{confirmed}/refunds", json={"products": [of(2, 2)]})
    shown = cancel(confirmed, of(2)).get_json()
    assert shown["amount"] == 0
    assert "refundId" not in shown
    assert types(client, confirmed)[-1] == "cancellation.created"


def test_the_same_key_gives_the_first_answer_and_cancels_once(
    client: FlaskClient, confirmed: str, cancel: Callable[..., TestResponse], settle: Callable[[str], None]
) -> None:
    key = {"Idempotency-Key": "k"}
    first = cancel(confirmed, of(1), headers=key)
    settle(confirmed)
    again = cancel(confirmed, of(1), headers=key)
    assert (again.status_code, again.data) == (201, first.data)
    assert again.headers["Idempotent-Replayed"] == "true"
    for header in ("ETag", "Location"):
        assert again.headers[header] == first.headers[header]
    assert problem(cancel(confirmed, of(2), headers=key))[:2] == (422, "idempotency_key_reused")
    assert types(client, confirmed).count("cancellation.created") == 1


def test_a_stale_if_match_is_412(confirmed: str, cancel: Callable[..., TestResponse]) -> None:
    assert problem(cancel(confirmed, of(1), headers={"If-Match": '"v1"'}))[:2] == (412, "stale_version")
    assert cancel(confirmed, of(1), headers={"If-Match": '"v5"'}).status_code == 201
    assert problem(cancel(confirmed, of(1), headers={"If-Match": "5"}))[:2] == (400, "bad_header")


def test_what_is_not_there_is_404(
    client: FlaskClient, order_id: str, cancel: Callable[..., TestResponse]
) -> None:
    nowhere = "0" * 24
    assert problem(cancel(nowhere, of(1)))[:2] == (404, "not_found")
    for path in (
        f"/orders/{nowhere}/cancellations",
        f"/orders/{order_id}/cancellations/{order_id}-c1",
        f"/orders/{order_id}/cancellations/none",
        f"/orders/none/cancellations/{order_id}-c1",
    ):
        assert problem(client.get(path))[:2] == (404, "not_found")


def test_one_of_many_at_once_gets_the_last_piece(
    app: Flask, post_order: Callable[..., Any], api_database: Database[dict[str, Any]]
) -> None:
    order_id = post_order(**ORDER)["id"]
    body = {"products": [of(1, 3)]}

    def cancel() -> TestResponse:
        return app.test_client().post(f"/orders/{order_id}/cancellations", json=body)

    answers = at_once(*[cancel] * 16)
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 15
    for answer in answers:
        if answer.status_code == 409:
            assert answer.get_json()["code"] == "nothing_open"
            assert answer.get_json()["open"] == [of(2, 2)]


def test_the_number_of_cancellations_is_bounded(
    client: FlaskClient, post_order: Callable[..., Any], cancel: Callable[..., TestResponse]
) -> None:
    lines = [{"productId": "cup", "quantity": 1000, "unitPrice": 1.00}]
    order_id = post_order(products=lines, totalAmount=1000)["id"]
    for _ in range(bounds.MOST_CANCELLATIONS):
        assert cancel(order_id, of(1)).status_code == 201
    assert problem(cancel(order_id, of(1))) == (409, "too_many_cancellations", set())
    assert client.put(f"/orders/{order_id}", json={"status": "cancelled"}).status_code == 200


def test_the_lines_of_all_cancellations_are_bounded(
    post_order: Callable[..., Any], cancel: Callable[..., TestResponse], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cancellations.service.MOST_CANCELLED_LINES", 3)
    order_id = post_order(**ORDER)["id"]
    assert cancel(order_id, of(1), of(2)).status_code == 201
    assert problem(cancel(order_id, of(1), of(2))) == (409, "too_many_cancellations", set())
    assert cancel(order_id, of(1)).status_code == 201


def test_customers_cancel_pieces_of_their_own_orders_only(
    make_app: Callable[..., Flask], api_database: Database[dict[str, Any]]
) -> None:
    client = make_app(**SETTINGS).test_client()
    ann, bob = (bearer(token(sub=name, scope="orders:read orders:write")) for name in ("ann", "bob"))
    placed = client.post("/orders", json={"userId": "ann", **ORDER}, headers=ann).get_json()["order"]
    path = f"/orders/{placed['id']}/cancellations"
    body = {"products": [of(1)], "reason": "mine"}
    assert problem(client.post(path, json=body, headers=bob))[:2] == (404, "not_found")
    reader = bearer(token(sub="ann", scope="orders:read"))
    assert problem(client.post(path, json=body, headers=reader))[:2] == (403, "forbidden")
    made = client.post(path, json=body, headers=ann)
    assert made.status_code == 201
    assert client.get(made.headers["Location"], headers=reader).get_json()["reason"] == "mine"
    assert client.get(path, headers=bob).status_code == 404
    assert client.get(made.headers["Location"], headers=bob).status_code == 404
    events = client.get(f"/orders/{placed['id']}/events", headers=ann).get_json()["events"]
    assert events[-1]["data"] == {
        "cancellationId": made.get_json()["id"],
        "products": [of(1)],
        "amount": 7.83,
        "reason": "mine",
    }


def test_a_dry_run_says_what_a_cancellation_would_do(
    client: FlaskClient, confirmed: str, cancel: Callable[..., TestResponse]
) -> None:
    body = {"products": [of(1)]}
    answer = client.post(f"/orders/{confirmed}/cancellations?dryRun=true", json=body)
    assert (answer.status_code, answer.headers["Dry-Run"]) == (200, "true")
    assert "Location" not in answer.headers
    found = answer.get_json()
    assert [event["type"] for event in found["events"]] == ["cancellation.created", "refund.requested"]
    assert found["sets"] == ["refund.succeeded", "payment.partially_refunded", "cancellation.restocked"]
    assert found["money"] == {"capture": 0, "refund": 7.83}
    assert client.get(f"/orders/{confirmed}/cancellations").get_json() == {"cancellations": []}


def test_the_diagnosis_offers_to_cancel_pieces_while_some_are_open(
    client: FlaskClient, confirmed: str, post_order: Callable[..., Any], cancel: Callable[..., TestResponse]
) -> None:
    def offered(order_id: str) -> dict[str, Any]:
        may = client.get(f"/orders/{order_id}/diagnosis").get_json()["may"]
        return {one["command"]: one["sets"] for one in may}

    assert offered(confirmed)["create_cancellation"][:2] == ["cancellation.created", "refund.requested"]
    unpriced = post_order(**UNPRICED)["id"]
    assert offered(unpriced)["create_cancellation"][0] == "cancellation.created"
    cancel(confirmed, of(1, 3), of(2, 2))
    assert "create_cancellation" not in offered(confirmed)
