"""Returns as the shop and its customers see them: announced, approved, received, closed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.returns.conftest import ORDER, Returns, pointers, refusal
from tests.support.tokens import SETTINGS, bearer, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient

RECEIVED = {"products": [{"line": 1, "quantity": 1, "condition": "resellable"}]}
DAY = timedelta(days=1)


def test_a_return_is_answered_and_can_be_read(returns: Returns) -> None:
    body = {"products": [{"line": 1, "quantity": 2, "reason": "Too small"}], "note": "Open box."}
    answer = returns.client.post(returns.path, json=body)
    assert answer.status_code == 201
    shown, order = answer.get_json(), returns.order()
    assert shown == {
        "id": f"{returns.order_id}-r1",
        "orderId": returns.order_id,
        "status": "requested",
        **body,
        "refund": "on_receipt",
        "receipts": [],
        "createdAt": order["updatedAt"],
        "updatedAt": order["updatedAt"],
    }
    assert answer.headers["Location"] == f"{returns.path}/{shown['id']}"
    assert answer.headers["ETag"] == f'"v{order["version"]}"'
    assert returns.get(shown["id"]) == shown
    assert returns.client.get(returns.path).get_json() == {"returns": [shown]}
    assert returns.types()[-1] == "return.requested"
    assert returns.made((2, 1)) == f"{returns.order_id}-r2"


# The ways into each status, and what each command then leads to: a status, or what is allowed instead.
ALL = ["approved", "rejected", "cancelled"]
WAYS: dict[str, tuple[str, list[str]]] = {
    "requested": ("on_receipt", []),
    "approved": ("on_receipt", ["approve"]),
    "approved and received": ("none", ["approve", "receive"]),
    "approved and refunded": ("on_approval", ["approve"]),
    "rejected": ("on_receipt", ["reject"]),
    "cancelled": ("on_receipt", ["cancel"]),
    "closed": ("on_receipt", ["approve", "close"]),
}
TABLE: dict[str, dict[str, str | list[str]]] = {
    "requested": {
        "approve": "approved", "reject": "rejected", "cancel": "cancelled", "receive": ALL, "close": ALL,
    },
    "approved": {
        "approve": "approved", "reject": ["closed", "cancelled"], "cancel": "cancelled",
        "receive": "approved", "close": "closed",
    },
    "approved and received": {
        "approve": "approved", "reject": ["closed"], "cancel": ["closed"], "receive": "closed",
        "close": "closed",
    },
    "approved and refunded": {
        "approve": "approved", "reject": ["closed"], "cancel": ["closed"], "receive": "approved",
        "close": "closed",
    },
    "rejected": {"approve": [], "reject": "rejected", "cancel": [], "receive": [], "close": []},
    "cancelled": {"approve": [], "reject": [], "cancel": "cancelled", "receive": [], "close": []},
    "closed": {"approve": [], "reject": [], "cancel": [], "receive": [], "close": "closed"},
}  # fmt: skip
CASES = [(state, command) for state, row in TABLE.items() for command in row]


@pytest.mark.parametrize(("state", "command"), CASES, ids=" ".join)
def test_each_command_leads_where_the_table_of_states_says(
    state: str, command: str, returns: Returns
) -> None:
    """The same command again is 200 and adds no event, except a further receipt."""
    refund, way = WAYS[state]
    return_id = returns.made((1, 2), refund=refund)
    for step in way:
        assert returns.do(return_id, step).status_code == 200
    before, expected = returns.get(return_id), TABLE[state][command]
    assert before["status"] == state.split(maxsplit=1)[0]
    answer = returns.do(return_id, command)
    if isinstance(expected, list):
        problem = answer.get_json()
        assert (answer.status_code, problem["code"]) == (409, "illegal_transition")
        assert sorted(problem["allowed"]) == sorted(expected)
        assert returns.get(return_id) == before
        return
    assert answer.status_code == 200, answer.text
    assert answer.get_json() == returns.get(return_id)
    assert answer.get_json()["status"] == expected
    assert answer.headers["ETag"] == f'"v{returns.order()["version"]}"'
    is_same = before["status"] == expected and command != "receive"
    assert (answer.get_json() == before) == is_same


def test_a_rejected_return_shows_its_reason_and_frees_its_pieces(returns: Returns) -> None:
    return_id = returns.made((1, 3))
    assert pointers(returns.do(return_id, "reject", {})) == ["/reason"]
    shown = returns.do(return_id, "reject", {"reason": "Worn"}).get_json()
    assert shown["rejection"] == {"reason": "Worn"}
    assert returns.announce((1, 3)).status_code == 201


def test_announced_pieces_are_reserved_until_the_return_ends(returns: Returns) -> None:
    first = returns.made((1, 2))
    refused = returns.announce((1, 2), (2, 1))
    assert refusal(refused) == (409, "nothing_returnable")
    assert refused.get_json()["returnable"] == [{"line": 1, "quantity": 1}, {"line": 2, "quantity": 2}]
    returns.do(first, "approve")
    returns.receive(first, (1, 1, "damaged"))
    assert returns.announce((1, 2)).status_code == 409
    returns.do(first, "close")
    assert returns.announce((1, 2)).status_code == 201
    assert refusal(returns.announce((1, 1))) == (409, "nothing_returnable")


@pytest.mark.parametrize("status", ["pending", "confirmed", "cancelled"])
def test_nothing_can_come_back_that_was_not_shipped(
    status: str, brought: Callable[..., Returns], client: FlaskClient
) -> None:
    returns = brought(status)
    if status == "cancelled":
        client.put(f"/orders/{returns.order_id}", json={"status": "cancelled"})
    refused = returns.announce((1, 1))
    assert refusal(refused) == (409, "nothing_returnable")
    assert refused.get_json()["returnable"] == []


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({"products": None}, ["/products"]),
    "no lines": ({"products": []}, ["/products"]),
    "no quantity": ({"products": [{"line": 1}]}, ["/products/0/quantity"]),
    "a quantity of 0": ({"products": [{"line": 1, "quantity": 0}]}, ["/products/0/quantity"]),
    "an unknown line": ({"products": [{"line": 3, "quantity": 1}]}, ["/products/0/line"]),
    "a line twice": (
        {"products": [{"line": 1, "quantity": 1}, {"line": 2, "quantity": 1}, {"line": 1, "quantity": 1}]},
        ["/products/2/line"],
    ),
    "a long reason": (
        {"products": [{"line": 1, "quantity": 1, "reason": "x" * 501}]},
        ["/products/0/reason"],
    ),
    "a long note": ({"note": "x" * 2_001}, ["/note"]),
    "another refund": ({"refund": "later"}, ["/refund"]),
    "an unknown field": ({"status": "approved"}, ["/status"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_return_is_422_at_its_fault_and_leaves_nothing(name: str, returns: Returns) -> None:
    changes, expected = WRONG[name]
    body = {"products": [{"line": 1, "quantity": 1}], **changes}
    sent = {field: value for field, value in body.items() if value is not None}
    before = returns.order()
    assert pointers(returns.client.post(returns.path, json=sent)) == expected
    assert returns.order() == before


@pytest.mark.parametrize(
    ("products", "expected"),
    [
        ([], ["/products"]),
        ([{"line": 1, "quantity": 1}], ["/products/0/condition"]),
        ([{"line": 1, "quantity": 1, "condition": "lost"}], ["/products/0/condition"]),
        ([{"line": 9, "quantity": 1, "condition": "damaged"}], ["/products/0/line"]),
        ([{"line": 1, "quantity": 1, "condition": "damaged"}] * 2, ["/products/1/line"]),
    ],
)
def test_a_wrong_receipt_is_422_at_its_fault(
    products: list[Any], expected: list[str], returns: Returns
) -> None:
    return_id = returns.approved((1, 2))
    assert pointers(returns.do(return_id, "receive", {"products": products})) == expected
    assert returns.get(return_id)["receipts"] == []


def test_a_return_is_received_in_several_parcels_and_closes_by_itself(returns: Returns) -> None:
    return_id = returns.approved((1, 2), (2, 1))
    first = returns.receive(return_id, (1, 1, "resellable"), (2, 1, "damaged")).get_json()
    assert first["status"] == "approved"
    last = returns.receive(return_id, (1, 1, "damaged")).get_json()
    assert last["status"] == "closed"
    assert [receipt["receipt"] for receipt in last["receipts"]] == [1, 2]
    assert last["receipts"][0]["products"] == [
        {"line": 1, "quantity": 1, "condition": "resellable"},
        {"line": 2, "quantity": 1, "condition": "damaged"},
    ]
    assert last["receipts"][1]["at"] == last["updatedAt"] == returns.order()["updatedAt"]
    assert returns.types()[-3:] == ["return.received", "refund.requested", "return.closed"]
    assert "unannounced" not in last


def test_pieces_that_were_not_announced_are_received_up_to_what_was_shipped(returns: Returns) -> None:
    first, second = returns.approved((1, 1)), returns.approved((1, 1))
    refused = returns.receive(first, (1, 3, "damaged"), (1, 1, "resellable"))
    assert refusal(refused) == (409, "nothing_returnable")
    assert refused.get_json()["returnable"] == [{"line": 1, "quantity": 3}, {"line": 2, "quantity": 2}]
    shown = returns.receive(first, (1, 1, "damaged"), (1, 1, "resellable"), (2, 1, "damaged")).get_json()
    more = [{"line": 1, "quantity": 1}, {"line": 2, "quantity": 1}]
    assert (shown["status"], shown["unannounced"], shown["receipts"][0]["unannounced"]) == (
        "closed",
        more,
        more,
    )
    assert refusal(returns.announce((1, 1))) == (409, "nothing_returnable")
    assert refusal(returns.receive(second, (1, 2, "damaged"))) == (409, "nothing_returnable")
    assert returns.receive(second, (1, 1, "damaged")).get_json()["status"] == "closed"


def test_of_64_at_once_for_the_last_returnable_piece_one_wins(
    app: Flask, brought: Callable[..., Returns]
) -> None:
    returns = brought()
    returns.made((1, 2))

    def ask(_: int) -> tuple[int, Any]:
        answer = Returns(app.test_client(), returns.order_id).announce((1, 1))
        return answer.status_code, answer.get_json().get("code")

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(64)))
    assert sorted(answers, key=str) == [(201, None)] + [(409, "nothing_returnable")] * 63
    listed = returns.client.get(returns.path).get_json()["returns"]
    assert [one["id"][-2:] for one in listed] == ["r1", "r2"]


def test_of_two_receipts_at_once_both_count_and_never_more_than_was_shipped(
    app: Flask, brought: Callable[..., Returns]
) -> None:
    returns = brought()
    return_id = returns.approved((1, 3))

    def receive(_: int) -> int:
        return Returns(app.test_client(), returns.order_id).receive(return_id, (1, 1, "damaged")).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(receive, range(8)))
    assert sorted(statuses) == [200] * 3 + [409] * 5
    shown = returns.get(return_id)
    assert (shown["status"], [one["receipt"] for one in shown["receipts"]]) == ("closed", [1, 2, 3])
    assert [refund["amount"] for refund in returns.refunds()] == [6.66, 6.67, 6.67]


def test_if_match_counts_for_each_command_and_no_post_needs_it(
    returns: Returns, make_app: Callable[..., Flask]
) -> None:
    stale = {"If-Match": '"v1"'}
    assert returns.announce((1, 1), headers=stale).status_code == 412
    return_id = returns.made((1, 2))
    for command in ("approve", "receive", "cancel", "reject", "close"):
        assert returns.do(return_id, command, headers=stale).status_code == 412
    present = {"If-Match": f'"v{returns.order()["version"]}"'}
    assert returns.do(return_id, "approve", headers=present).status_code == 200
    strict = Returns(make_app(REQUIRE_IF_MATCH="true").test_client(), returns.order_id)
    assert strict.do(return_id, "receive").status_code == 200
    assert strict.announce((2, 1)).status_code == 201


def test_a_repeated_key_gets_the_first_answer_and_changes_nothing(returns: Returns) -> None:
    key = {"Idempotency-Key": "k"}
    made = returns.announce((1, 2), headers=key)
    return_id = made.get_json()["id"]
    returns.do(return_id, "approve")
    again = returns.announce((1, 2), headers=key)
    assert (again.status_code, again.data) == (201, made.data)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["ETag"] == made.headers["ETag"]
    assert again.headers["Location"] == made.headers["Location"]
    assert refusal(returns.announce((1, 1), headers=key)) == (422, "idempotency_key_reused")
    parcel = {"Idempotency-Key": "parcel"}
    first = returns.do(return_id, "receive", RECEIVED, headers=parcel)
    second = returns.do(return_id, "receive", RECEIVED, headers=parcel)
    assert (first.status_code, first.data) == (second.status_code, second.data)
    assert len(returns.get(return_id)["receipts"]) == 1
    closing = {"Idempotency-Key": "close"}
    closed = returns.do(return_id, "close", headers=closing)
    assert returns.do(return_id, "close", headers=closing).data == closed.data


def test_what_does_not_exist_is_404(returns: Returns) -> None:
    return_id = returns.made((1, 1))
    for unknown in (f"{returns.order_id}-r2", "x"):
        assert returns.client.get(f"{returns.path}/{unknown}").status_code == 404
        for command in ("approve", "reject", "cancel", "receive", "close"):
            assert refusal(returns.do(unknown, command)) == (404, "not_found")
    nowhere = Returns(returns.client, "0" * 24)
    assert refusal(nowhere.announce((1, 1))) == (404, "not_found")
    assert refusal(nowhere.do(return_id, "approve")) == (404, "not_found")
    assert nowhere.client.get(nowhere.path).status_code == 404


def test_an_order_has_at_most_100_returns_ended_ones_counted(returns: Returns) -> None:
    for _ in range(100):
        returns.do(returns.made((1, 1)), "cancel")
    assert refusal(returns.announce((1, 1))) == (409, "too_many_returns")


def test_the_texts_of_all_returns_are_bounded_together(returns: Returns) -> None:
    for _ in range(10):
        returns.do(returns.made((1, 1), note="n" * 2_000), "cancel")
    assert refusal(returns.announce((1, 1), note="n")) == (409, "too_many_returns")
    assert returns.announce((1, 1)).status_code == 201


def test_an_order_with_an_open_return_cannot_be_deleted(returns: Returns, client: FlaskClient) -> None:
    return_id = returns.made((1, 1))
    for _ in range(2):
        assert refusal(client.delete(f"/orders/{returns.order_id}")) == (409, "return_open")
        assert returns.do(return_id, "approve").status_code == 200
    returns.do(return_id, "close")
    assert client.delete(f"/orders/{returns.order_id}").status_code == 204
    assert refusal(returns.announce((1, 1))) == (404, "not_found")
    assert refusal(returns.do(return_id, "close")) == (404, "not_found")


def test_a_shipment_of_which_pieces_are_in_a_return_cannot_be_cancelled(
    brought: Callable[..., Returns], client: FlaskClient
) -> None:
    """Pieces of a line are alike, so another shipment of the line can stand in."""
    returns = brought("confirmed")
    path = f"/orders/{returns.order_id}/shipments"
    for some in (2, 1):
        body = {"products": [{"line": 1, "quantity": some}]}
        assert client.post(path, json=body).status_code == 201
    assert refusal(returns.announce((1, 4))) == (409, "nothing_returnable")
    return_id = returns.made((1, 2))
    assert refusal(client.post(f"{path}/{returns.order_id}-s1/cancel")) == (409, "pieces_returned")
    assert client.post(f"{path}/{returns.order_id}-s2/cancel").status_code == 200
    returns.do(return_id, "cancel")
    assert client.post(f"{path}/{returns.order_id}-s1/cancel").status_code == 200
    assert refusal(returns.announce((1, 1))) == (409, "nothing_returnable")


SHOP = bearer(token("shop", "orders:read orders:write orders:admin"))
ANN, BOB = (bearer(token(name)) for name in ("ann", "bob"))


@pytest.fixture
def shop(
    shared_app: Callable[..., Flask], api_database: object, settle: Callable[[str], None]
) -> Callable[..., Returns]:
    """An order of the customer ann with such a status, as the shop sees it."""
    client = shared_app(**SETTINGS).test_client()

    def make(status: str = "delivered") -> Returns:
        placed = client.post("/orders", json={**ORDER, "userId": "ann"}, headers=SHOP)
        order_id = placed.get_json()["order"]["id"]
        settle(order_id)
        for wanted in ["shipped", "delivered"][: ["confirmed", "shipped", "delivered"].index(status)]:
            answer = client.put(f"/orders/{order_id}", json={"status": wanted}, headers=SHOP)
            assert answer.status_code == 200
        return Returns(client, order_id, SHOP)

    return make


def seen_by(returns: Returns, headers: dict[str, str]) -> Returns:
    """The same order, as somebody else sees it."""
    return Returns(returns.client, returns.order_id, headers)


def test_customers_announce_and_cancel_returns_of_their_own_orders_alone(
    shop: Callable[..., Returns],
) -> None:
    returns = shop()
    ann, bob = seen_by(returns, ANN), seen_by(returns, BOB)
    return_id = ann.made((1, 1))
    assert ann.get(return_id)["id"] == return_id
    for command in ("approve", "reject", "receive", "close"):
        assert refusal(ann.do(return_id, command)) == (403, "forbidden")
        assert bob.do(return_id, command).status_code == 403
    assert refusal(bob.announce((1, 1))) == (404, "not_found")
    assert refusal(bob.do(return_id, "cancel")) == (404, "not_found")
    assert bob.client.get(bob.path, headers=BOB).status_code == 404
    assert returns.do(return_id, "approve").status_code == 200
    assert ann.do(return_id, "cancel").get_json()["status"] == "cancelled"


@pytest.mark.parametrize("refund", ["on_receipt", "on_approval", "none"])
def test_only_the_shop_says_when_money_is_given_back(refund: str, shop: Callable[..., Returns]) -> None:
    returns = shop()
    ann = seen_by(returns, ANN)
    assert refusal(ann.announce((1, 1), refund=refund)) == (403, "forbidden")
    assert ann.client.get(ann.path, headers=ANN).get_json() == {"returns": []}
    assert returns.announce((1, 1), refund=refund).get_json()["refund"] == refund


def test_customers_return_pieces_from_their_delivery_on_and_within_the_window(
    shop: Callable[..., Returns], later: Callable[[timedelta], None]
) -> None:
    """The shop can return any shipped piece."""
    shipped, delivered = shop("shipped"), shop()
    refused = seen_by(shipped, ANN).announce((1, 1))
    assert refusal(refused) == (409, "not_delivered")
    assert refused.get_json()["returnable"] == []
    assert refusal(seen_by(shipped, ANN).announce((1, 4))) == (409, "nothing_returnable")
    assert shipped.announce((1, 1)).status_code == 201
    later(30 * DAY - timedelta(hours=1))
    assert seen_by(delivered, ANN).announce((1, 1)).status_code == 201
    later(30 * DAY + timedelta(hours=1))
    refused = seen_by(delivered, ANN).announce((1, 1))
    assert refusal(refused) == (409, "too_late")
    assert refused.get_json()["returnable"] == []
    assert delivered.announce((1, 2)).status_code == 201


def test_a_line_can_be_returned_in_part_by_the_deliveries_of_its_shipments(
    shop: Callable[..., Returns], later: Callable[[timedelta], None]
) -> None:
    returns = shop("confirmed")
    ann, path = seen_by(returns, ANN), f"/orders/{returns.order_id}/shipments"
    for number in (1, 2, 3):
        body = {"products": [{"line": 1, "quantity": 1}]}
        assert returns.client.post(path, json=body, headers=SHOP).status_code == 201
        if number < 3:
            deliver = f"{path}/{returns.order_id}-s{number}/deliver"
            assert returns.client.post(deliver, headers=SHOP).status_code == 200
        later(8 * DAY * number)
    refused = ann.announce((1, 3))
    assert (refusal(refused), refused.get_json()["returnable"]) == (
        (409, "not_delivered"),
        [{"line": 1, "quantity": 2}],
    )
    later(35 * DAY)
    refused = ann.announce((1, 3))
    assert (refusal(refused), refused.get_json()["returnable"]) == (
        (409, "too_late"),
        [{"line": 1, "quantity": 1}],
    )
    assert ann.announce((1, 1)).status_code == 201
    assert refusal(ann.announce((1, 2))) == (409, "too_late")
    assert refusal(ann.announce((1, 1))) == (409, "not_delivered")
    assert returns.announce((1, 2)).status_code == 201


def test_the_window_is_a_setting(
    shared_app: Callable[..., Flask], shop: Callable[..., Returns], later: Callable[[timedelta], None]
) -> None:
    client = shared_app(**SETTINGS, RETURN_WINDOW="2d").test_client()
    ann = Returns(client, shop().order_id, ANN)
    later(2 * DAY - timedelta(hours=1))
    assert ann.announce((1, 1)).status_code == 201
    later(2 * DAY + timedelta(hours=1))
    assert refusal(ann.announce((1, 1))) == (409, "too_late")
