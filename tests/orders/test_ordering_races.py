"""Requests at the same time: one key makes one order, and one of conflicting changes wins."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from app.clock import now
from app.errors import IdempotencyKeyReused, IllegalTransition, OrderInTransit, StaleVersion
from app.orders.service import (
    change_status,
    delete_order,
    first_answer,
    order_at_version,
    place_order,
    verify,
)
from tests.support.damage import damage
from tests.support.doubles import at_once, with_parts

if TYPE_CHECKING:
    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.books import Books
    from tests.support.service_fixtures import Finish, Place

THREADS = 32
DRAFT: Any = {
    "userId": "u",
    "products": [{"productId": "apple", "quantity": 1}],
    "totalAmount": 5,
    "currency": "USD",
}


def test_of_32_orders_under_one_key_at_once_one_is_made_and_all_callers_get_it(
    services: Services, books: Books
) -> None:
    def post(digest: str) -> Any:
        return place_order(services.orders, DRAFT, actor="u", key="k", digest=digest)

    placed = at_once(*[lambda: post("a" * 64)] * THREADS)
    assert len({one.order["id"] for one in placed}) == 1
    assert Counter(one.replayed for one in placed) == {False: 1, True: THREADS - 1}
    assert len(books.orders()) == 1
    with pytest.raises(IdempotencyKeyReused):
        post("b" * 64)
    other = place_order(services.orders, DRAFT, actor="another", key="k", digest="b" * 64)
    assert not other.replayed


def test_the_version_that_the_first_answer_showed_is_fixed_for_all_replays(
    services: Services, finish: Finish, books: Books
) -> None:
    placed = place_order(services.orders, DRAFT, actor="u", key="k", digest="a" * 64, waits=True)
    finish(services, placed.order["id"])
    shown = first_answer(services.orders, placed, wait=1)
    assert shown["status"] == "confirmed"
    change_status(services.orders, shown["id"], "shipped", actor="u")
    replay = place_order(services.orders, DRAFT, actor="u", key="k", digest="a" * 64)
    assert first_answer(services.orders, replay, wait=None) == first_answer(services.orders, replay, wait=1)
    assert {**first_answer(services.orders, replay, wait=None), "events": []} == {
        **order_at_version(services.orders, shown["id"], shown["version"]),
        "events": [],
    }


def test_of_32_conflicting_changes_one_wins_and_the_others_are_refused(
    services: Services, place: Place, stocked: Any, finish: Finish, books: Books
) -> None:
    stocked(apple=5)
    order_id = place(apple=1)["id"]
    finish(services, order_id)
    busy = with_parts(services, clock=now)
    wanted = ["shipped", "cancelled"] * (THREADS // 2)
    outcomes = at_once(
        *(lambda status=status: change_status(busy.orders, order_id, status, actor="u") for status in wanted)
    )
    ended = books.order(order_id)
    for status, outcome in zip(wanted, outcomes, strict=True):
        assert (
            (outcome["status"] == status)
            if status == ended["status"]
            else isinstance(outcome, IllegalTransition)
        )
    finish(services, order_id)
    assert books.order(order_id)["status"] == ended["status"]
    assert books.levels() == {"apple": 4 if ended["status"] == "shipped" else 5}
    assert sum(event["type"] in ("order.shipped", "order.cancelled") for event in ended["events"]) == 1


def test_a_stale_version_is_refused_and_changes_nothing(
    services: Services, place: Place, books: Books
) -> None:
    order_id = place()["id"]
    change_status(services.orders, order_id, "cancelled", actor="u", if_match={1})
    with pytest.raises(StaleVersion) as refusal:
        delete_order(services.orders, order_id, actor="u", if_match={1})
    assert refusal.value.present == books.order(order_id)["version"]


def test_a_shipped_order_cannot_be_deleted(services: Services, place: Place, finish: Finish) -> None:
    order_id = place()["id"]
    finish(services, order_id)
    change_status(services.orders, order_id, "shipped", actor="u")
    with pytest.raises(OrderInTransit):
        delete_order(services.orders, order_id, actor="u")


@pytest.mark.parametrize(
    ("edit", "bad"),
    [
        ({"$set": {"events.2.actor": "somebody else"}}, 3),
        ({"$set": {"events.0.data.totalAmount": 1}}, 1),
        ({"$pop": {"events": 1}}, 5),
        ({"$pop": {"events": -1}}, 1),
    ],
    ids=["an actor", "an amount", "the last gone", "the first gone"],
)
def test_an_edit_of_the_stored_log_is_found(
    edit: Any, bad: int, services: Services, place: Place, finish: Finish, database: OrderDatabase
) -> None:
    order_id = place(total=7)["id"]
    finish(services, order_id)
    assert verify(services.orders, order_id) is None
    damage(database, order_id, edit)
    assert verify(services.orders, order_id) == bad
