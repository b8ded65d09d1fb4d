"""The numbers of orders: made from the id, typed again, unique, and shown wherever an order is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.orders import numbers, service
from app.orders.sweeping import number_orders
from app.orders.values import NUMBER
from tests.support.doubles import at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient

    from app.mongo.database import OrderDatabase
    from app.services import Services
    from tests.support.service_fixtures import Place

ID = "66ffbd20a1b2c3d4e5f60718"
NUMBER_OF_ID = "R675-51RT-P"


def test_a_number_follows_from_the_id() -> None:
    """An id whose check is no letter or digit has a number, too."""
    assert numbers.number_of(ID) == NUMBER_OF_ID
    for count in range(500):
        number = numbers.number_of(f"{count:024x}")
        assert numbers.parse(number) == number
        assert re.fullmatch(NUMBER[0], number)


@pytest.mark.parametrize(
    "written",
    ["R675-51RT-P", "r67551rtp", "R675-5IRT-P", "r675 5lrt p", "R-6-7-5-5-1-R-T-P"],
)
def test_a_number_is_read_without_regard_to_case_dashes_and_similar_letters(written: str) -> None:
    assert numbers.parse(written) == NUMBER_OF_ID


def test_the_letter_o_counts_as_a_zero() -> None:
    number = next(n for n in map(numbers.number_of, (f"{c:024x}" for c in range(99))) if "0" in n)
    assert numbers.parse(number.replace("0", "o")) == number


@pytest.mark.parametrize(
    "written", ["", "-", "R675-51RT", "R675-51RT-PP", "R675-51RT-*", "R675-51RT-U", "\u017f675-51RT-P", ID]
)
def test_what_is_no_number_is_not_read(written: str) -> None:
    assert numbers.parse(written) is None


def test_every_single_typing_mistake_and_every_swap_is_noticed() -> None:
    """Each sign replaced by each other one, and each two neighbours swapped."""
    signs = NUMBER_OF_ID.replace("-", "")
    for place in range(9):
        for other in "0123456789ABCDEFGHJKMNPQRSTVWXYZ":
            if other != signs[place]:
                assert numbers.parse(signs[:place] + other + signs[place + 1 :]) is None
    for place in range(8):
        swapped = signs[:place] + signs[place + 1] + signs[place] + signs[place + 2 :]
        assert swapped == signs or numbers.parse(swapped) is None


def test_new_orders_have_the_first_number_of_their_id(place: Place) -> None:
    """Ids with another check sign are drawn again."""
    for order in (place() for _ in range(40)):
        assert order["number"] == numbers._number(order["id"])


def test_an_order_whose_number_is_taken_is_drawn_again_alone(
    services: Services, place: Place, database: OrderDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 32 orders of one batch one meets the number of an earlier one, and all are stored."""
    taken = place()
    drawn: list[str] = []

    def draw(moment: Any) -> str:
        drawn.append(numbers.new_numbered_id(moment))
        return drawn[-1]

    original = numbers.number_of
    monkeypatch.setattr(service, "new_numbered_id", draw)
    monkeypatch.setattr(
        "app.orders.model.number_of",
        lambda order_id: taken["number"] if order_id == drawn[0] else original(order_id),
    )
    placed = at_once(*[place] * 32)
    assert len(drawn) == 33
    assert drawn[0] not in {order["id"] for order in placed}
    assert len({order["number"] for order in placed} | {taken["number"]}) == 33
    assert database["orders"].count_documents({}) == 33


def test_the_number_is_shown_wherever_the_order_is(
    client: FlaskClient, post_order: Callable[..., dict[str, Any]]
) -> None:
    order = post_order()
    number = numbers.number_of(order["id"])
    cancelled = client.put(f"/orders/{order['id']}", json={"status": "cancelled"}).get_json()["order"]
    shown = client.get(f"/orders/{order['id']}").get_json()
    past = client.get(f"/orders/{order['id']}?version=1").get_json()
    listed = client.get("/orders").get_json()["orders"][0]
    assert {one["number"] for one in (order, cancelled, shown, past, listed)} == {number}


def test_a_replayed_answer_has_the_same_number(client: FlaskClient) -> None:
    body = {"userId": "u", "products": [{"productId": "p", "quantity": 1}], "totalAmount": 1}
    first, second = (client.post("/orders", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.data == second.data


def test_a_client_cannot_choose_the_number(client: FlaskClient) -> None:
    body = {"userId": "u", "products": [{"productId": "p", "quantity": 1}], "totalAmount": 1}
    answer = client.post("/orders", json={**body, "number": NUMBER_OF_ID})
    assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, "/number")


def test_an_order_of_the_previous_release_shows_its_number_and_gets_it(
    services: Services, place: Place, database: OrderDatabase
) -> None:
    """The shown number is the one that it gets."""
    order = place()
    database["orders"].update_one({}, {"$unset": {"number": ""}})
    shown = services.orders.store.get(order["id"])
    assert shown
    assert shown["number"] == order["number"]
    assert number_orders(services.orders) == 1
    assert number_orders(services.orders) == 0
    assert services.orders.store.id_of(order["number"]) == order["id"]


def test_an_order_without_a_number_gets_the_next_one_if_its_first_is_taken(
    services: Services, place: Place, database: OrderDatabase
) -> None:
    """It shows that number at past versions, too, and a reconciliation finds nothing wrong with it."""
    first, second, other = (place() for _ in range(3))
    database["orders"].update_many({}, {"$unset": {"number": ""}})
    database["orders"].update_one({"_id": ObjectId(other["id"])}, {"$set": {"number": first["number"]}})
    assert number_orders(services.orders) == 2
    found = {order["id"]: order for order in services.orders.store.load([first["id"], second["id"]])}
    again = found[first["id"]]["number"]
    assert again != first["number"]
    assert numbers.is_number_of(again, first["id"])
    assert found[second["id"]]["number"] == second["number"]
    assert service.order_at_version(services.orders, first["id"], 1)["number"] == again


def test_a_damaged_order_gets_a_number_too(services: Services, place: Place, database: OrderDatabase) -> None:
    order = place()
    damaged = {"$unset": {"number": ""}, "$set": {"status": "lost"}}
    database["orders"].update_one({}, damaged, bypass_document_validation=True)
    assert number_orders(services.orders) == 1
    assert services.orders.store.id_of(order["number"]) == order["id"]
