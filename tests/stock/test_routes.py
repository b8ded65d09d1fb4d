"""The stock over HTTP: levels, adjustments and the ledger."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database


def test_a_level_is_set_shown_and_set_again(client: FlaskClient) -> None:
    first = client.put("/stock/p", json={"onHand": 10})
    again = client.put("/stock/p", json={"onHand": 4})
    assert (first.status_code, again.status_code) == (201, 200)
    assert set(first.get_json()) == {"productId", "onHand", "held", "updatedAt", "version"}
    assert (first.get_json()["productId"], first.get_json()["onHand"]) == ("p", 10)
    assert again.get_json()["version"] > first.get_json()["version"]
    assert client.get("/stock/p").get_json() == again.get_json()


def test_a_product_that_is_not_tracked_has_no_level(client: FlaskClient) -> None:
    for answer in (
        client.get("/stock/none"),
        client.get("/stock/none/movements"),
        client.post("/stock/none/adjustments", json={"quantity": 1, "reason": "found"}),
    ):
        assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("product", ["%00", "x" * 129, "a%0Ab"])
def test_an_id_that_no_product_can_have_is_not_found(client: FlaskClient, product: str) -> None:
    for answer in (
        client.get(f"/stock/{product}"),
        client.put(f"/stock/{product}", json={"onHand": 1}),
        client.post(f"/stock/{product}/adjustments", json={"quantity": 1, "reason": "found"}),
        client.get(f"/stock/{product}/movements"),
    ):
        assert answer.status_code == 404


@pytest.mark.parametrize(
    "product", ["a%2Fb", "a b", "é", "¨X©~", "a%3Fb%23", "$where", "adjustments", "a.b", "..", "x" * 128]
)
def test_any_id_that_an_order_may_name_can_be_tracked(client: FlaskClient, product: str) -> None:
    path = f"/stock/{product}"
    shown = client.put(path, json={"onHand": 2}).get_json()
    assert client.get(path).get_json() == shown
    assert client.get("/stock").get_json()["levels"] == [shown]
    assert len(client.get(f"{path}/movements").get_json()["movements"]) == 1
    client.put(path, json={"onHand": 3})
    first = client.get(f"{path}/movements?limit=1")
    # As it goes over the wire, where only what is quoted gets through.
    link = first.headers["Link"].split(">")[0][1:]
    assert link.isascii()
    assert len(client.get(link).get_json()["movements"]) == 1


def test_an_adjustment_moves_the_level_and_is_in_the_ledger(client: FlaskClient) -> None:
    client.put("/stock/p", json={"onHand": 10})
    answer = client.post("/stock/p/adjustments", json={"quantity": -3, "reason": "damaged"})
    movement = answer.get_json()["movement"]
    assert (answer.status_code, answer.get_json()["onHand"]) == (201, 7)
    assert (movement["quantity"], movement["kind"], movement["reason"]) == (-3, "adjustment", "damaged")
    movements = client.get("/stock/p/movements").get_json()["movements"]
    assert movements[0] == movement
    assert [row["quantity"] for row in movements] == [-3, 10]


def test_nothing_goes_below_zero(client: FlaskClient) -> None:
    client.put("/stock/p", json={"onHand": 2})
    answer = client.post("/stock/p/adjustments", json={"quantity": -3, "reason": "lost"})
    assert (answer.status_code, answer.get_json()["code"]) == (409, "insufficient_stock")
    assert client.get("/stock/p").get_json()["onHand"] == 2
    assert len(client.get("/stock/p/movements").get_json()["movements"]) == 1


def test_adjustments_at_once_never_take_more_than_the_level(app: Flask) -> None:
    app.test_client().put("/stock/p", json={"onHand": 5})

    def take(_: int) -> int:
        body = {"quantity": -1, "reason": "taken"}
        return app.test_client().post("/stock/p/adjustments", json=body).status_code

    with ThreadPoolExecutor(8) as callers:
        statuses = list(callers.map(take, range(12)))
    assert sorted(statuses) == [201] * 5 + [409] * 7
    assert app.test_client().get("/stock/p").get_json()["onHand"] == 0


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/onHand"),
        ({"onHand": -1}, "/onHand"),
        ({"onHand": "1"}, "/onHand"),
        ({"onHand": 1.5}, "/onHand"),
        ({"onHand": True}, "/onHand"),
        ({"onHand": None}, "/onHand"),
        ({"onHand": 10**20}, "/onHand"),
        ({"onHand": 1, "version": 2}, "/version"),
    ],
)
def test_a_bad_level_is_422_and_named(client: FlaskClient, body: Any, pointer: str) -> None:
    answer = client.put("/stock/p", json=body)
    assert (answer.status_code, [error["pointer"] for error in answer.get_json()["errors"]]) == (
        422,
        [pointer],
    )
    assert client.get("/stock/p").status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"quantity": 1}, "/reason"),
        ({"quantity": 0, "reason": "x"}, "/quantity"),
        ({"quantity": 0.5, "reason": "x"}, "/quantity"),
        ({"quantity": -(10**20), "reason": "x"}, "/quantity"),
        ({"quantity": 1, "reason": ""}, "/reason"),
        ({"quantity": 1, "reason": "x", "kind": "restock"}, "/kind"),
    ],
)
def test_a_bad_adjustment_is_422_and_named(client: FlaskClient, body: Any, pointer: str) -> None:
    client.put("/stock/p", json={"onHand": 1})
    answer = client.post("/stock/p/adjustments", json=body)
    assert (answer.status_code, [error["pointer"] for error in answer.get_json()["errors"]]) == (
        422,
        [pointer],
    )


def test_the_stock_that_an_order_takes_is_in_the_ledger(
    client: FlaskClient, post_order: Callable[..., Any], settle: Callable[[str], None]
) -> None:
    client.put("/stock/product-id", json={"onHand": 5})
    order_id = post_order()["id"]
    settle(order_id)
    row = client.get("/stock/product-id/movements").get_json()["movements"][0]
    assert (row["quantity"], row["kind"], row["orderId"]) == (-2, "decrement", order_id)
    client.put(f"/orders/{order_id}", json={"status": "cancelled"})
    settle(order_id)
    row = client.get("/stock/product-id/movements").get_json()["movements"][0]
    assert (row["quantity"], row["kind"], row["orderId"]) == (2, "restock", order_id)
    assert client.get("/stock/product-id").get_json()["onHand"] == 5


def test_an_order_that_was_short_says_by_how_much(
    client: FlaskClient, post_order: Callable[..., Any], settle: Callable[[str], None]
) -> None:
    client.put("/stock/product-id", json={"onHand": 1})
    order_id = post_order()["id"]
    settle(order_id)
    order = client.get(f"/orders/{order_id}").get_json()
    assert order["stock"] == {
        "status": "insufficient",
        "shortages": [{"productId": "product-id", "requested": 2, "available": 1}],
    }
    assert (order["status"], order["cancellation"]) == ("cancelled", {"reason": "out_of_stock"})


def test_levels_and_movements_are_paged(client: FlaskClient) -> None:
    for product in "cab":
        client.put(f"/stock/{product}", json={"onHand": 1})
    for on_hand in (2, 3):
        client.put("/stock/a", json={"onHand": on_hand})
    for path, name, field, wanted in (
        ("/stock?limit=2", "levels", "productId", ["a", "b", "c"]),
        ("/stock/a/movements?limit=2", "movements", "quantity", [1, 1, 1]),
    ):
        first = client.get(path)
        second = client.get(first.headers["Link"].split(">")[0][1:])
        found = [row[field] for page in (first, second) for row in page.get_json()[name]]
        assert found == wanted
        assert "nextCursor" not in second.get_json()
        assert client.get(f"{path}&colour=red").status_code == 422
    cursor = client.get("/stock/a/movements?limit=1").get_json()["nextCursor"]
    assert client.get(f"/stock/b/movements?cursor={cursor}").status_code == 400


@pytest.mark.slow
def test_a_product_that_another_transaction_holds_is_busy_and_the_database_is_well(
    client: FlaskClient, api_database: Database[dict[str, Any]]
) -> None:
    client.put("/stock/p", json={"onHand": 5})
    with api_database.client.start_session() as session, session.start_transaction():
        api_database["stock"].update_one({"_id": "p"}, {"$inc": {"onHand": -1}}, session=session)
        answer = client.put("/stock/p", json={"onHand": 6})
        session.abort_transaction()
    assert (answer.status_code, answer.get_json()["code"]) == (503, "stock_busy")
    assert int(answer.headers["Retry-After"]) > 0
    assert client.put("/stock/p", json={"onHand": 6}).status_code == 200
