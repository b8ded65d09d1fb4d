"""Holds as the shop and its customers see them: placed, released, named when they block, and bounded."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.clock import now, to_text
from app.feed.service import catch_up
from app.http.json_body import MAX_BYTES
from tests.support.hash_rule import hashes
from tests.support.tokens import SETTINGS, bearer, token
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database
    from werkzeug.test import TestResponse

    from app.services import Services

REVIEW = {"code": "fraud_review", "reason": "Eve's card\nis from elsewhere"}
BOTH = {"blocks": ["capture", "ship"], "then": "release"}
SOON = to_text(now() + timedelta(hours=1))


@pytest.fixture
def order_id(post_order: Callable[..., Any]) -> str:
    """A new order."""
    return post_order()["id"]


@pytest.fixture
def hold(client: FlaskClient) -> Callable[..., TestResponse]:
    """As in `hold(order_id, code="fraud_review")`."""

    def post(order_id: str, headers: dict[str, str] | None = None, **body: Any) -> TestResponse:
        return client.post(f"/orders/{order_id}/holds", json={**REVIEW, **body}, headers=headers)

    return post


def types(client: FlaskClient, order_id: str) -> list[str]:
    """The types of the order's events."""
    return [event["type"] for event in client.get(f"/orders/{order_id}/events").get_json()["events"]]


def faults(answer: TestResponse) -> dict[str, str]:
    """The faults of a problem by their pointers."""
    assert answer.status_code == 422, answer.text
    return {fault["pointer"]: fault["detail"] for fault in answer.get_json()["errors"]}


def test_a_hold_is_answered_and_stands_on_the_order(
    client: FlaskClient, order_id: str, hold: Callable[..., TestResponse]
) -> None:
    answer = hold(order_id)
    assert answer.status_code == 201
    assert answer.headers["ETag"] == '"v2"'
    placed = answer.get_json()
    order = client.get(f"/orders/{order_id}").get_json()
    assert placed == {**REVIEW, **BOTH, "createdAt": order["updatedAt"]}
    assert order["holds"] == [placed]
    assert types(client, order_id)[-1] == "hold.placed"
    assert "holds" not in client.get(f"/orders/{order_id}?version=1").get_json()


def test_all_that_a_hold_can_have_is_kept(
    client: FlaskClient, order_id: str, hold: Callable[..., TestResponse]
) -> None:
    """`blocks` comes back without repetitions, and always in the same order."""
    given = {"until": SOON, "then": "cancel"}
    placed = hold(order_id, blocks=["ship"], **given).get_json()
    assert placed | {"createdAt": ""} == {**REVIEW, "blocks": ["ship"], **given, "createdAt": ""}
    assert hold(order_id, code="b", blocks=["ship", "ship"]).get_json()["blocks"] == ["ship"]
    assert hold(order_id, code="c", blocks=["ship", "capture"]).get_json()["blocks"] == ["capture", "ship"]


def test_the_same_code_again_is_200_with_the_hold_as_it_stands(
    client: FlaskClient, order_id: str, hold: Callable[..., TestResponse]
) -> None:
    first = hold(order_id)
    again = hold(order_id, reason="another", blocks=["ship"])
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.get_json() == first.get_json()
    assert types(client, order_id).count("hold.placed") == 1


@pytest.mark.parametrize("how", ["post", "empty post", "delete"])
def test_a_released_hold_is_gone(
    how: str, client: FlaskClient, order_id: str, hold: Callable[..., TestResponse]
) -> None:
    """The answer is the bare order; other holds stay."""
    hold(order_id)
    hold(order_id, code="other")
    path = f"/orders/{order_id}/holds/fraud_review"
    if how == "delete":
        answer = client.delete(path)
    elif how == "post":
        answer = client.post(f"{path}/release", json={"reason": "all is well"})
    else:
        answer = client.post(f"{path}/release")
    assert answer.status_code == 200, answer.text
    order = client.get(f"/orders/{order_id}")
    assert answer.get_json() == order.get_json()
    assert answer.headers["ETag"] == order.headers["ETag"] == '"v4"'
    assert [one["code"] for one in order.get_json()["holds"]] == ["other"]
    event = client.get(f"/orders/{order_id}/events").get_json()["events"][-1]
    assert event["type"] == "hold.released"
    reason = {"reason": "all is well"} if how == "post" else {}
    assert event["data"] == {"code": "fraud_review", **reason}
    assert client.delete(f"/orders/{order_id}/holds/other").status_code == 200
    assert "holds" not in client.get(f"/orders/{order_id}").get_json()


@pytest.mark.parametrize("code", ["other", "Fraud_Review", "a-b", "%20"])
def test_releasing_a_missing_hold_is_404(
    code: str, client: FlaskClient, order_id: str, hold: Callable[..., TestResponse]
) -> None:
    hold(order_id)
    for answer in (
        client.delete(f"/orders/{order_id}/holds/{code}"),
        client.post(f"/orders/{order_id}/holds/{code}/release", json={}),
        client.delete(f"/orders/{'0' * 24}/holds/fraud_review"),
    ):
        assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found")


WRONG: dict[str, tuple[dict[str, Any], set[str]]] = {
    "no code": ({"code": None}, {"/code"}),
    "a code with capitals": ({"code": "Fraud"}, {"/code"}),
    "a code with a line end": ({"code": "fraud\n"}, {"/code"}),
    "a long code": ({"code": "x" * 41}, {"/code"}),
    "an empty code": ({"code": ""}, {"/code"}),
    "a long reason": ({"reason": "x" * 501}, {"/reason"}),
    "blocks nothing": ({"blocks": []}, {"/blocks"}),
    "blocks something else": ({"blocks": ["capture", "refund"]}, {"/blocks/1"}),
    "blocks no list": ({"blocks": "ship"}, {"/blocks"}),
    "a time that is past": ({"until": "2024-10-04T10:00:00.000Z"}, {"/until"}),
    "no time": ({"until": "tomorrow"}, {"/until"}),
    "cancels without an end": ({"then": "cancel"}, {"/then"}),
    "an unknown end": ({"until": SOON, "then": "ship"}, {"/then"}),
    "an unknown field": ({"createdAt": SOON}, {"/createdAt"}),
    "everything": ({"code": 1, "reason": "", "then": "cancel", "x": 1}, {"/code", "/reason", "/then", "/x"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_hold_is_422_at_each_fault_and_leaves_nothing(
    name: str, client: FlaskClient, order_id: str, api_database: Database[dict[str, Any]]
) -> None:
    """Alone, and as the second hold of a new order."""
    body, pointers = WRONG[name]
    before = list(api_database["orders"].find())
    sent = {field: value for field, value in {**REVIEW, **body}.items() if value is not None}
    assert faults(client.post(f"/orders/{order_id}/holds", json=sent)).keys() == pointers
    placed = {**SAMPLE, "holds": [{"code": "first"}, sent]}
    expected = {f"/holds/1{pointer}" for pointer in pointers}
    assert faults(client.post("/orders", json=placed)).keys() == expected
    assert list(api_database["orders"].find()) == before


def test_null_is_422_as_everywhere(client: FlaskClient, order_id: str) -> None:
    given = {"code": "a", "reason": None, "until": None}
    assert faults(client.post(f"/orders/{order_id}/holds", json=given)).keys() == {"/reason", "/until"}


def test_an_order_can_be_held_from_its_first_write(
    client: FlaskClient, post_order: Callable[..., Any]
) -> None:
    order = post_order(holds=[REVIEW, {"code": "b", "blocks": ["ship"], "until": SOON}])
    assert order["holds"] == [
        {**REVIEW, **BOTH, "createdAt": order["createdAt"]},
        {"code": "b", "blocks": ["ship"], "until": SOON, "then": "release", "createdAt": order["createdAt"]},
    ]
    assert order["version"] == 1
    (event,) = client.get(f"/orders/{order['id']}/events").get_json()["events"]
    assert event["data"]["holds"] == [
        {name: value for name, value in hold.items() if name != "createdAt"} for hold in order["holds"]
    ]
    assert client.get(f"/orders/{order['id']}?version=1").get_json() == order


def test_the_holds_of_a_new_order_have_different_codes_and_are_at_most_twenty(
    client: FlaskClient, post_order: Callable[..., Any], hold: Callable[..., TestResponse]
) -> None:
    twice = [{"code": "a"}, {"code": "b"}, {"code": "a"}]
    assert faults(client.post("/orders", json={**SAMPLE, "holds": twice})).keys() == {"/holds/2/code"}
    many = [{"code": f"h_{number}"} for number in range(21)]
    assert faults(client.post("/orders", json={**SAMPLE, "holds": many})).keys() == {"/holds"}
    full = post_order(holds=many[:20])
    assert len(full["holds"]) == 20
    assert "holds" not in post_order(holds=[])
    refused = hold(full["id"], code="one_more")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "too_many_holds")
    assert hold(full["id"], code="h_7").status_code == 200
    client.delete(f"/orders/{full['id']}/holds/h_7")
    assert hold(full["id"], code="one_more").status_code == 201


def test_a_repeated_post_shows_the_holds_of_the_first_answer_after_their_time(
    client: FlaskClient, app_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = {**SAMPLE, "holds": [{**REVIEW, "until": SOON}]}
    headers = {"Idempotency-Key": "k"}
    first = client.post("/orders", json=sent, headers=headers)
    later = now() + timedelta(days=1)
    monkeypatch.setattr(type(app_services.clock), "__call__", lambda _: later)
    again = client.post("/orders", json=sent, headers=headers)
    assert (again.status_code, again.data) == (201, first.data)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert faults(client.post("/orders", json=sent)) == {"/holds/0/until": "must be in the future"}


def test_shipping_is_409_with_the_holds_that_block_it(
    client: FlaskClient,
    order_id: str,
    hold: Callable[..., TestResponse],
    settle: Callable[[str], None],
) -> None:
    """One that blocks the capture alone does not block shipping."""
    settle(order_id)
    hold(order_id, code="late", blocks=["capture"])
    blocking = [
        hold(order_id, code="a", until=SOON).get_json(),
        hold(order_id, code="b", blocks=["ship"]).get_json(),
    ]
    refused = client.put(f"/orders/{order_id}", json={"status": "shipped"})
    problem = refused.get_json()
    assert (refused.status_code, problem["code"]) == (409, "on_hold")
    assert problem["holds"] == blocking
    assert "a, b" in problem["detail"]
    refused = client.put(f"/orders/{order_id}", json={"status": "delivered"})
    assert refused.get_json()["code"] == "illegal_transition"
    for code in ("a", "b"):
        assert client.delete(f"/orders/{order_id}/holds/{code}").status_code == 200
    assert client.put(f"/orders/{order_id}", json={"status": "shipped"}).status_code == 200


@pytest.mark.parametrize("status", ["shipped", "delivered", "cancelled"])
def test_a_shipped_or_ended_order_has_nothing_to_hold(
    status: str,
    client: FlaskClient,
    order_id: str,
    hold: Callable[..., TestResponse],
    settle: Callable[[str], None],
) -> None:
    settle(order_id)
    for wanted in ("shipped", "delivered") if status == "delivered" else (status,):
        client.put(f"/orders/{order_id}", json={"status": wanted})
    refused = hold(order_id)
    assert (refused.status_code, refused.get_json()["code"]) == (409, "nothing_to_hold")


@pytest.mark.parametrize("how", ["put", "delete"])
def test_a_held_order_can_always_be_cancelled_which_ends_its_holds(
    how: str,
    client: FlaskClient,
    order_id: str,
    hold: Callable[..., TestResponse],
    settle: Callable[[str], None],
) -> None:
    hold(order_id)
    settle(order_id)
    order = client.get(f"/orders/{order_id}").get_json()
    assert (order["status"], order["payment"]["status"], order["stock"]["status"]) == (
        "pending",
        "authorized",
        "decremented",
    )
    if how == "delete":
        assert client.delete(f"/orders/{order_id}").status_code == 204
        assert client.delete(f"/orders/{order_id}/holds/fraud_review").status_code == 404
        return
    answer = client.put(f"/orders/{order_id}", json={"status": "cancelled"})
    assert answer.status_code == 200
    assert "holds" not in answer.get_json()["order"]
    settle(order_id)
    order = client.get(f"/orders/{order_id}").get_json()
    assert (order["payment"]["status"], order["stock"]["status"]) == ("voided", "restocked")
    assert client.delete(f"/orders/{order_id}/holds/fraud_review").status_code == 404
    assert types(client, order_id).count("hold.released") == 0
    assert client.get(f"/orders/{order_id}?version=2").get_json()["holds"]


def test_if_match_counts_for_holds_and_releases(
    client: FlaskClient, order_id: str, hold: Callable[..., TestResponse]
) -> None:
    stale, present = {"If-Match": '"v9"'}, {"If-Match": '"v1"'}
    assert hold(order_id, stale).status_code == 412
    assert hold(order_id, present).status_code == 201
    path = f"/orders/{order_id}/holds/fraud_review"
    assert client.delete(path, headers=present).status_code == 412
    assert client.post(f"{path}/release", json={}, headers=present).status_code == 412
    assert client.delete(path, headers={"If-Match": '"v2"'}).status_code == 200


def test_a_required_if_match_is_required_of_delete_and_of_no_post(
    make_app: Callable[..., Flask], post_order: Callable[..., Any]
) -> None:
    client = make_app(REQUIRE_IF_MATCH="true").test_client()
    path = f"/orders/{post_order()['id']}/holds"
    assert client.post(path, json=REVIEW).status_code == 201
    refused = client.delete(f"{path}/{REVIEW['code']}")
    assert (refused.status_code, refused.get_json()["code"]) == (428, "if_match_required")
    assert client.post(f"{path}/{REVIEW['code']}/release", json={}).status_code == 200


def test_a_repeated_key_gets_the_first_answer_whatever_happened_since(
    client: FlaskClient, order_id: str, hold: Callable[..., TestResponse]
) -> None:
    """Also when the hold is gone, and though `If-Match` is old; another request with the key is 422."""
    key = {"Idempotency-Key": "k", "If-Match": '"v1"'}
    first = hold(order_id, key)
    path = f"/orders/{order_id}/holds/fraud_review"
    released = client.post(f"{path}/release", json={"reason": "ok"}, headers={"Idempotency-Key": "r"})
    again = hold(order_id, key)
    assert (again.status_code, again.data) == (first.status_code, first.data) == (201, first.data)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["ETag"] == first.headers["ETag"]
    hold(order_id)
    repeated = client.post(f"{path}/release", json={"reason": "ok"}, headers={"Idempotency-Key": "r"})
    assert (repeated.status_code, repeated.data) == (200, released.data)
    assert repeated.headers["Idempotent-Replayed"] == "true"
    for refused in (
        hold(order_id, key, reason="another"),
        client.post(f"{path}/release", json={}, headers={"Idempotency-Key": "r"}),
        client.delete(path, headers={"Idempotency-Key": "k"}),
    ):
        assert (refused.status_code, refused.get_json()["code"]) == (422, "idempotency_key_reused")
    assert types(client, order_id).count("hold.placed") == 2
    assert types(client, order_id).count("hold.released") == 1


def test_a_full_log_takes_no_more_holds_but_still_releases(
    client: FlaskClient,
    order_id: str,
    hold: Callable[..., TestResponse],
    api_database: Database[dict[str, Any]],
) -> None:
    hold(order_id, code="first")
    order = api_database["orders"].find_one({"_id": ObjectId(order_id)})
    assert order
    last = order["events"][-1]
    rest = [{**last, "sequence": number} for number in range(3, 893)]
    api_database["orders"].update_one(
        {"_id": ObjectId(order_id)},
        {"$push": {"events": {"$each": rest}}, "$set": {"version": 892}},
        bypass_document_validation=True,
    )
    refused = hold(order_id)
    assert (refused.status_code, refused.get_json()["code"]) == (409, "history_full")
    assert client.delete(f"/orders/{order_id}/holds/first").status_code == 200


def test_a_body_that_is_too_large_is_413(client: FlaskClient, order_id: str) -> None:
    body = {"code": "a", "reason": "x" * MAX_BYTES}
    assert client.post(f"/orders/{order_id}/holds", json=body).status_code == 413


def test_a_dry_run_of_a_release_foresees_the_capture(
    client: FlaskClient,
    order_id: str,
    hold: Callable[..., TestResponse],
    settle: Callable[[str], None],
    api_database: Database[dict[str, Any]],
) -> None:
    """And that of a hold that there will be none."""
    said = client.post(f"/orders/{order_id}/holds?dryRun=true", json=REVIEW).get_json()
    assert [event["type"] for event in said["events"]] == ["hold.placed"]
    assert said["sets"] == ["payment.authorized", "stock.decremented"]
    hold(order_id)
    settle(order_id)
    before = list(api_database["orders"].find())
    for method, path in (("POST", "fraud_review/release"), ("DELETE", "fraud_review")):
        answer = client.open(f"/orders/{order_id}/holds/{path}?dryRun=true", method=method)
        assert answer.status_code == 200, answer.text
        assert answer.get_json()["sets"] == ["payment.captured", "order.confirmed"]
    shipped = client.put(f"/orders/{order_id}?dryRun=true", json={"status": "cancelled"}).get_json()
    assert shipped["sets"] == ["payment.voided", "stock.restocked"]
    assert list(api_database["orders"].find()) == before


class TestScopes:
    """Only the shop holds and releases, and only it sees the reasons."""

    ANN = bearer(token("ann"))
    BOSS = bearer(token("boss", "orders:admin"))
    OWN = {**SAMPLE, "userId": "ann"}  # noqa: RUF012 - no test changes it

    @pytest.fixture
    def app(self, api_database: object, shared_app: Callable[..., Flask]) -> Flask:
        """The application with tokens."""
        return shared_app(**SETTINGS)

    def test_customers_can_neither_hold_nor_release(self, client: FlaskClient) -> None:
        """Not even an order of their own, nor one that they place."""
        held = client.post("/orders", json={**self.OWN, "holds": [REVIEW]}, headers=self.BOSS)
        assert held.status_code == 201, held.text
        path = f"/orders/{held.get_json()['order']['id']}/holds"
        for answer in (
            client.post("/orders", json={**self.OWN, "holds": [REVIEW]}, headers=self.ANN),
            client.post(path, json={"code": "mine"}, headers=self.ANN),
            client.post(f"{path}/fraud_review/release", json={}, headers=self.ANN),
            client.delete(f"{path}/fraud_review", headers=self.ANN),
        ):
            assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")
            assert 'scope="orders:admin"' in answer.headers["WWW-Authenticate"]
        assert client.post("/orders", json=self.OWN, headers=self.ANN).status_code == 201

    def test_customers_see_no_reasons_anywhere(self, client: FlaskClient, app_services: Services) -> None:
        """On the order, its versions, lists, events and feed; the shop sees them everywhere."""
        placed = client.post("/orders", json={**self.OWN, "holds": [REVIEW]}, headers=self.BOSS)
        order_id = placed.get_json()["order"]["id"]
        path = f"/orders/{order_id}"
        second = {"code": "second", "reason": REVIEW["reason"]}
        client.post(f"{path}/holds", json=second, headers=self.BOSS)
        client.post(f"{path}/holds/second/release", json={"reason": REVIEW["reason"]}, headers=self.BOSS)
        assert catch_up(app_services.feed, lambda: False)
        for asked in (path, f"{path}?version=1", f"{path}?version=2", "/orders", f"{path}/events", "/events"):
            customers, shops = client.get(asked, headers=self.ANN), client.get(asked, headers=self.BOSS)
            assert "Eve's card" not in customers.text, asked
            assert "fraud_review" in customers.text, asked
            assert "Eve's card" in shops.text, asked
        shown = client.get(path, headers=self.ANN).get_json()["holds"]
        assert [hold["code"] for hold in shown] == ["fraud_review"]
        cancelled = client.put(path, json={"status": "cancelled"}, headers=self.ANN)
        assert cancelled.status_code == 200
        assert "Eve's card" not in cancelled.text

    def test_the_metadata_of_an_order_may_have_a_reason(self, client: FlaskClient) -> None:
        """It is the customer's own."""
        sent = {**self.OWN, "metadata": {"reason": "a birthday"}}
        order_id = client.post("/orders", json=sent, headers=self.ANN).get_json()["order"]["id"]
        (event,) = client.get(f"/orders/{order_id}/events", headers=self.ANN).get_json()["events"]
        assert event["data"]["metadata"] == {"reason": "a birthday"}


def test_the_hashes_of_holds_come_out_as_they_are_shown(
    client: FlaskClient, post_order: Callable[..., Any], hold: Callable[..., TestResponse]
) -> None:
    order_id = post_order(holds=[{**REVIEW, "until": SOON, "then": "cancel"}])["id"]
    hold(order_id, code="b", until=SOON)
    client.delete(f"/orders/{order_id}/holds/b")
    answer = client.get(f"/orders/{order_id}/events")
    assert hashes(order_id, answer.text) == [event["hash"] for event in answer.get_json()["events"]]
    assert client.get(f"/orders/{order_id}/events/verify").get_json() == {"intact": True}
