"""What comes back in good order goes back into the stock, once, whatever dies in between."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from app.orders import steps
from app.orders.commands import Request
from app.orders.processing import perform
from app.orders.service import change_status
from app.refunds.service import request_refund
from app.returns.service import announce_return, approve_return, receive_return
from tests.support.doubles import Crash, followed

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.services import Services
    from tests.support.books import Books
    from tests.support.service_fixtures import Finish, Place, SetStock

SHOP = Request("shop")
GOOD, BAD = "resellable", "damaged"


@pytest.fixture
def order_id(services: Services, place: Place, stocked: SetStock, finish: Finish) -> str:
    """A delivered order of three apples and a bread, which leaves two apples and four breads."""
    stocked(apple=5, bread=5)
    order_id = place(apple=3, bread=1)["id"]
    finish(services, order_id)
    for status in ("shipped", "delivered"):
        change_status(services.orders, order_id, status, actor="shop")
    return order_id


@pytest.fixture
def receive(services: Services, order_id: str) -> Callable[..., str]:
    """As in `receive((1, 2, GOOD))`: announces the pieces as a return, and receives them. The return's id."""

    def come(*pieces: tuple[int, int, str]) -> str:
        lines = {line: sum(some for one, some, _ in pieces if one == line) for line, _, _ in pieces}
        draft = {
            "products": [{"line": one, "quantity": some} for one, some in lines.items()],
            "refund": "none",
        }
        made = announce_return(services.orders, order_id, draft, SHOP, window=None)
        approve_return(services.orders, order_id, made.found["id"], None, SHOP)
        parcel(services, order_id, made.found["id"], *pieces)
        return made.found["id"]

    return come


def parcel(services: Services, order_id: str, return_id: str, *pieces: tuple[int, int, str]) -> None:
    """Receives the pieces."""
    products = [{"line": line, "quantity": some, "condition": state} for line, some, state in pieces]
    receive_return(services.orders, order_id, return_id, {"products": products}, SHOP)


def came_back(books: Books) -> list[Any]:
    """The movements of returns: product, line, receipt and quantity."""
    rows = [row for row in books.movements() if row["kind"] == "return"]
    return sorted((row["productId"], row["line"], row["receipt"], row["quantity"]) for row in rows)


def test_resellable_pieces_go_back_line_by_line_and_damaged_ones_do_not(
    services: Services, order_id: str, receive: Callable[..., str], finish: Finish, books: Books
) -> None:
    return_id = receive((1, 1, GOOD), (1, 2, BAD), (2, 1, GOOD))
    assert books.owed(order_id) == {steps.RESTOCK_RETURNED.name}
    finish(services, order_id)
    assert came_back(books) == [("apple", 1, 1, 1), ("bread", 2, 1, 1)]
    assert {row["returnId"] for row in books.movements() if row["kind"] == "return"} == {return_id}
    assert books.levels() == {"apple": 3, "bread": 5}
    (order,) = books.check()
    assert order["events"][-1]["type"] == "return.restocked"


def test_each_receipt_has_movements_of_its_own(
    services: Services, order_id: str, receive: Callable[..., str], finish: Finish, books: Books
) -> None:
    """Two of them may wait for the worker at once."""
    first = receive((1, 1, GOOD))
    assert books.order(order_id)["returns"][0]["status"] == "closed"
    finish(services, order_id)
    draft = {"products": [{"line": 1, "quantity": 2}], "refund": "none"}
    second = announce_return(services.orders, order_id, draft, SHOP, window=None).found["id"]
    approve_return(services.orders, order_id, second, None, SHOP)
    for _ in range(2):
        parcel(services, order_id, second, (1, 1, GOOD))
    finish(services, order_id)
    rows = [(row["returnId"], row["receipt"]) for row in books.movements() if row["kind"] == "return"]
    assert sorted(rows) == [(first, 1), (second, 1), (second, 2)]
    assert books.levels() == {"apple": 5, "bread": 4}
    books.check()


def test_damaged_pieces_alone_owe_nothing(order_id: str, receive: Callable[..., str], books: Books) -> None:
    receive((1, 3, BAD))
    assert books.owed(order_id) == set()
    assert books.levels() == {"apple": 2, "bread": 4}


def test_pieces_that_a_refund_put_back_are_not_put_back_again(
    services: Services, order_id: str, receive: Callable[..., str], finish: Finish, books: Books
) -> None:
    lines: Any = [{"line": 1, "quantity": 2, "restock": True}]
    draft: Any = {"amount": Decimal(1), "products": lines}
    request_refund(services.orders, order_id, draft, actor="shop", key=None, digest="")
    finish(services, order_id)
    assert books.levels() == {"apple": 4, "bread": 4}
    receive((1, 3, GOOD))
    finish(services, order_id)
    assert came_back(books) == [("apple", 1, 1, 1)]
    assert books.levels() == {"apple": 5, "bread": 4}


def test_untracked_products_have_no_movement(
    services: Services, order_id: str, receive: Callable[..., str], finish: Finish, place: Place, books: Books
) -> None:
    other = place(untracked=1)["id"]
    finish(services, other)
    for status in ("shipped", "delivered"):
        change_status(services.orders, other, status, actor="shop")
    draft = {"products": [{"line": 1, "quantity": 1}], "refund": "none"}
    return_id = announce_return(services.orders, other, draft, SHOP, window=None).found["id"]
    approve_return(services.orders, other, return_id, None, SHOP)
    parcel(services, other, return_id, (1, 1, GOOD))
    finish(services, other)
    assert came_back(books) == []
    assert books.order(other)["returns"][0]["receipts"][0]["restocked"]


POINTS = (("orders", "load"), ("stock", "held_by"), ("stock", "move"), ("orders", "append_all"))


@pytest.mark.parametrize(("collaborator", "method"), POINTS, ids=" ".join)
@pytest.mark.parametrize("meanwhile", ["dies", "another receipt", "twice"])
def test_goods_come_back_once_whatever_happens_at_any_point(
    meanwhile: str,
    collaborator: str,
    method: str,
    services: Services,
    order_id: str,
    receive: Callable[..., str],
    finish: Finish,
    books: Books,
) -> None:
    """A worker dies, another parcel comes in between, or the message comes twice."""
    return_id = receive((1, 1, GOOD), (2, 1, GOOD))
    step, in_transaction = steps.RESTOCK_RETURNED, method in ("move", "append_all")
    if meanwhile == "dies":
        with pytest.raises(Crash):
            perform(followed(services, collaborator, method, crash).orders, step, [order_id])
    elif meanwhile == "twice" or in_transaction:
        perform(services.orders, step, [order_id])
        perform(services.orders, step, [order_id])
    else:
        more = lambda: receive((1, 1, GOOD))  # noqa: E731
        perform(followed(services, collaborator, method, more).orders, step, [order_id])
    finish(services, order_id)
    books.check()
    second = meanwhile == "another receipt" and not in_transaction
    assert books.levels() == {"apple": 3 + second, "bread": 5}
    assert len([one for one in came_back(books) if one[0] == "apple"]) == 1 + second
    assert books.order(order_id)["returns"][0]["id"] == return_id


def crash() -> None:
    """Dies."""
    raise Crash
