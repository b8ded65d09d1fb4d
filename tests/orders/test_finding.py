"""Each order is found by each of its keys right after the write, by its owner and by the shop."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from structlog.testing import capture_logs

from app.clock import to_text
from app.erasure.service import erase_customer
from tests.support.damage import damage
from tests.support.tokens import SETTINGS, bearer, token
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database

    from app.services import Services

    Place = Callable[..., dict[str, Any]]


def ids(client: FlaskClient, headers: Any = None, **query: Any) -> list[str]:
    """The ids that the list shows."""
    answer = client.get("/orders", query_string=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return [order["id"] for order in answer.get_json()["orders"]]


def pages(client: FlaskClient, query: str) -> Iterator[list[str]]:
    """The ids of each page, by its cursor."""
    path = f"/orders?{query}"
    while path:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        yield [order["id"] for order in answer.get_json()["orders"]]
        path = answer.headers.get("Link", "").removesuffix('>; rel="next"').removeprefix("<")


@pytest.fixture
def shipped(client: FlaskClient, post_order: Place, settle: Callable[[str], None]) -> dict[str, Any]:
    """A shipped order with every key."""
    order = post_order(reference="R-1", email="Ünal@Example.org")
    settle(order["id"])
    change = {"status": "shipped", "tracking": {"carrier": "DHL", "number": "003404"}}
    return client.put(f"/orders/{order['id']}", json=change).get_json()["order"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("email", "ünal@example.ORG"),
        ("email", "U\u0308NAL@example.org"),
        ("trackingNumber", "003404"),
        ("reference", "R-1"),
        ("q", "R-1"),
        ("q", "003404"),
        ("q", "ÜNAL@EXAMPLE.ORG"),
    ],
)
def test_an_order_is_found_by_each_of_its_keys(
    client: FlaskClient, post_order: Place, shipped: dict[str, Any], name: str, value: str
) -> None:
    """By both sorts, and no other order is."""
    post_order(reference="R-2", email="other@example.org")
    for sort in ("createdAt", "-createdAt", "updatedAt", "-updatedAt"):
        assert ids(client, **{name: value}, sort=sort) == [shipped["id"]]


def test_an_order_is_found_by_its_number_as_people_write_it(client: FlaskClient, post_order: Place) -> None:
    order, _ = post_order(), post_order()
    number = order["number"]
    for written in (
        number,
        number.lower(),
        number.replace("-", ""),
        number.replace("0", "O").replace("1", "l"),
    ):
        assert ids(client, number=written) == [order["id"]]
        assert ids(client, q=written) == [order["id"]]
        assert ids(client, number=written, sort="updatedAt", status="pending") == [order["id"]]
    assert ids(client, number=number, status="shipped") == []


def test_an_order_is_found_by_its_id(client: FlaskClient, post_order: Place) -> None:
    order, other = post_order(), post_order()
    assert ids(client, q=order["id"]) == ids(client, q=order["id"].upper()) == [order["id"]]
    assert ids(client, q=order["id"], number=other["number"]) == []


@pytest.mark.parametrize(
    "number", ["", "x", "7KQ4-2M9X", "R675-51RT-Q", "R675-51RT-*", "R675-51RT-PP", "0" * 900, "\f", "Å"]
)
def test_a_mistyped_number_is_422_with_a_code_of_its_own(client: FlaskClient, number: str) -> None:
    answer = client.get("/orders", query_string={"number": number})
    problem = answer.get_json()
    assert (answer.status_code, problem["code"]) == (422, "mistyped_number")
    assert [fault["pointer"] for fault in problem["errors"]] == ["/number"]


def test_a_mistyped_number_is_named_beside_other_faults(client: FlaskClient) -> None:
    problem = client.get("/orders?number=x&limit=0").get_json()
    assert problem["code"] == "invalid_input"
    assert {fault["pointer"] for fault in problem["errors"]} == {"/number", "/limit"}


def test_q_finds_nothing_by_a_mistyped_number(client: FlaskClient, post_order: Place) -> None:
    number = post_order()["number"]
    assert ids(client, q=number[:-1] + ("2" if number[-1] != "2" else "3")) == []


def test_q_finds_every_order_that_has_the_text_as_one_of_its_keys(
    client: FlaskClient, post_order: Place, shipped: dict[str, Any]
) -> None:
    """Newest first, over several pages, each once, and with other filters."""
    named = [post_order(reference="003404")["id"] for _ in range(4)]
    everything = [*named[::-1], shipped["id"]]
    assert ids(client, q="003404") == everything
    assert [one for page in pages(client, "limit=2&q=003404") for one in page] == everything
    assert [one for page in pages(client, "limit=2&q=003404&sort=updatedAt") for one in page] == [
        shipped["id"],
        *named,
    ]
    assert ids(client, q="003404", status="shipped") == [shipped["id"]]
    assert ids(client, q="003404", reference="003404", limit=1) == [named[-1]]
    assert ids(client, q="00340") == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("q=", "/q"),
        (f"q={'x' * 255}", "/q"),
        ("q=a&q=b", "/q"),
        ("q=%00", "/q"),
        ("number=a&number=b", "/number"),
        ("email=x", "/email"),
        ("email=", "/email"),
        ("trackingNumber=", "/trackingNumber"),
        (f"trackingNumber={'x' * 101}", "/trackingNumber"),
        ("updatedFrom=yesterday", "/updatedFrom"),
        ("updatedTo=2024-10-04", "/updatedTo"),
        ("overdue=yes", "/overdue"),
        ("held=1", "/held"),
        ("tag=VIP", "/tag/0"),
        ("tag=a&tag=", "/tag/1"),
        ("held=", "/held"),
        ("overdue=true&overdue=true", "/overdue"),
        ("sort=updated", "/sort"),
    ],
)
def test_a_bad_value_is_422_and_named(client: FlaskClient, query: str, pointer: str) -> None:
    answer = client.get(f"/orders?{query}")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_input")
    assert [fault["pointer"] for fault in answer.get_json()["errors"]] == [pointer]


def test_the_bounds_of_the_last_change_are_from_inclusive_to_exclusive(
    client: FlaskClient, api_database: Database[Any], post_order: Place
) -> None:
    """By both sorts. A change moves an order."""
    made = [post_order()["id"] for _ in range(3)]
    at = datetime.fromisoformat("2024-10-04T10:00:00Z")
    for number, order_id in enumerate(made):
        moment = at + timedelta(seconds=10 - number)
        api_database["orders"].update_one({"_id": ObjectId(order_id)}, {"$set": {"updatedAt": moment}})
    middle = to_text(at + timedelta(seconds=9))
    for sort in ("createdAt", "updatedAt"):
        assert set(ids(client, updatedFrom=middle, sort=sort)) == {made[0], made[1]}
        assert ids(client, updatedTo=middle, sort=sort) == [made[2]]
        assert ids(client, updatedFrom=middle, updatedTo=middle, sort=sort) == []
    assert ids(client, sort="updatedAt") == made[::-1]
    assert ids(client, sort="-updatedAt") == made
    client.put(f"/orders/{made[1]}", json={"status": "cancelled"})
    assert ids(client, sort="-updatedAt") == [made[1], made[0], made[2]]


@pytest.mark.parametrize("sort", ["updatedAt", "-updatedAt"])
def test_orders_that_do_not_change_come_once_by_their_last_change(
    client: FlaskClient, api_database: Database[Any], post_order: Place, sort: str
) -> None:
    """Though several have the same time, and others change meanwhile."""
    made = [post_order()["id"] for _ in range(12)]
    at = datetime.fromisoformat("2024-10-04T10:00:00Z")
    for number, order_id in enumerate(made):
        moment = at + timedelta(seconds=number // 5)
        api_database["orders"].update_one({"_id": ObjectId(order_id)}, {"$set": {"updatedAt": moment}})
    expected = made if sort == "updatedAt" else made[::-1]
    assert [one for page in pages(client, f"limit=2&sort={sort}") for one in page] == expected
    seen = []
    for number, page in enumerate(pages(client, f"limit=2&sort={sort}")):
        seen += page
        if number == 1:
            for changed in (made[0], made[6]):
                client.put(f"/orders/{changed}", json={"status": "cancelled"})
    unchanged = [one for one in expected if one not in (made[0], made[6])]
    assert [one for one in seen if one in unchanged] == unchanged


def test_a_cursor_of_one_sort_is_refused_by_another(client: FlaskClient, post_order: Place) -> None:
    for _ in range(2):
        post_order()
    by_update = client.get("/orders?limit=1&sort=updatedAt").get_json()["nextCursor"]
    by_creation = client.get("/orders?limit=1").get_json()["nextCursor"]
    for query in ({"cursor": by_update}, {"cursor": by_creation, "sort": "updatedAt"}):
        answer = client.get("/orders", query_string=query)
        assert (answer.status_code, answer.get_json()["code"]) == (400, "bad_cursor")


def test_a_damaged_order_stops_no_page_by_the_last_change(
    client: FlaskClient, api_database: Database[Any], post_order: Place
) -> None:
    """It is named as unreadable, as in every list."""
    made = [post_order()["id"] for _ in range(5)]
    damage(api_database, made[2], {"$set": {"payment": "lost"}})
    seen, broken, query = [], [], "/orders?limit=2&sort=updatedAt"
    while query:
        page = client.get(query).get_json()
        seen += [order["id"] for order in page["orders"]]
        broken += page.get("unreadable", [])
        cursor = page.get("nextCursor")
        query = f"/orders?limit=2&sort=updatedAt&cursor={cursor}" if cursor else ""
    assert (seen, broken) == ([made[0], made[1], made[3], made[4]], [made[2]])


def test_overdue_orders_are_those_past_their_deadline(
    client: FlaskClient, api_database: Database[Any], post_order: Place, settle: Callable[[str], None]
) -> None:
    late, on_time, done = (post_order()["id"] for _ in range(3))
    settle(done)
    past = datetime.fromisoformat("2024-10-04T10:00:00Z")
    api_database["orders"].update_one({"_id": ObjectId(late)}, {"$set": {"dueBy": past}})
    assert ids(client, overdue="true") == [late]
    assert ids(client, overdue="false") == [done, on_time]
    assert ids(client, overdue="true", sort="updatedAt") == [late]


KEYED = {**SETTINGS, "PERSONAL_INDEX_KEY": "i" * 32}
ANN, BOB = bearer(token("ann")), bearer(token("bob"))
BOSS = bearer(token("boss", "orders:admin"))


@pytest.fixture
def of_ann(make_app: Callable[..., Flask]) -> tuple[FlaskClient, dict[str, Any]]:
    """A service with tokens, and an order of Ann."""
    client = make_app(**KEYED).test_client()
    body = {**SAMPLE, "userId": "ann", "email": "ann@example.org", "reference": "R-1"}
    return client, client.post("/orders", json=body, headers=ANN).get_json()["order"]


def test_customers_find_their_own_orders_alone(of_ann: tuple[FlaskClient, dict[str, Any]]) -> None:
    """By no key does another's order appear."""
    client, order = of_ann
    keys = {"email": "ann@example.org", "number": order["number"]}
    queries = [{name: value} for name, value in keys.items()]
    queries += [{"q": value} for value in (*keys.values(), order["id"], "R-1")]
    queries += [{"sort": "updatedAt"}, {"updatedFrom": "2000-01-01T00:00:00Z"}]
    for query in queries:
        assert ids(client, ANN, **query) == ids(client, BOSS, **query) == [order["id"]]
        assert ids(client, BOB, **query) == []


def test_orders_are_found_by_all_of_several_tags(client: FlaskClient, post_order: Place) -> None:
    """Right after each change, and by both sorts."""
    first, second = post_order()["id"], post_order()["id"]
    assert client.put(f"/orders/{first}/tags", json=["vip", "gift"]).status_code == 200
    assert client.put(f"/orders/{second}/tags", json=["vip"]).status_code == 200
    for sort in ("createdAt", "updatedAt"):
        assert ids(client, tag="vip", sort=sort) == [first, second]
        assert ids(client, tag=["vip", "gift"], sort=sort) == [first]
        assert ids(client, tag=["gift", "other"], sort=sort) == []
    assert [one for page in pages(client, "tag=vip&limit=1") for one in page] == [second, first]
    assert client.put(f"/orders/{first}/tags", json=[]).status_code == 200
    assert ids(client, tag="gift") == []


def test_held_orders_are_found_until_their_last_hold_ends(client: FlaskClient, post_order: Place) -> None:
    """From the first write on, and by both sorts."""
    held, free = post_order(holds=[{"code": "fraud"}, {"code": "other"}]), post_order()
    for sort in ("createdAt", "-updatedAt"):
        assert ids(client, held="true", sort=sort) == [held["id"]]
        assert ids(client, held="false", sort=sort) == [free["id"]]
    for code, found in (("fraud", [held["id"]]), ("other", [])):
        assert client.delete(f"/orders/{held['id']}/holds/{code}").status_code == 200
        assert ids(client, held="true") == found
    client.post(f"/orders/{free['id']}/holds", json={"code": "late"})
    assert ids(client, held="true") == [free["id"]]
    client.put(f"/orders/{free['id']}", json={"status": "cancelled"})
    assert ids(client, held="true") == []


@pytest.mark.parametrize(
    "query", [{"tag": "vip"}, {"overdue": "true"}, {"overdue": "false"}, {"held": "true"}, {"held": "false"}]
)
def test_filters_of_the_shop_need_the_scope_of_an_admin(
    of_ann: tuple[FlaskClient, dict[str, Any]], query: dict[str, str]
) -> None:
    client, _ = of_ann
    answer = client.get("/orders", query_string=query, headers=ANN)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")
    assert client.get("/orders", query_string=query, headers=BOSS).status_code == 200


def test_without_a_secret_the_filter_by_email_is_refused(make_app: Callable[..., Flask]) -> None:
    """Orders are found by all other keys."""
    client = make_app(**SETTINGS).test_client()
    body = {**SAMPLE, "userId": "ann", "email": "ann@example.org"}
    order = client.post("/orders", json=body, headers=ANN).get_json()["order"]
    answer = client.get("/orders?email=ann@example.org", headers=ANN)
    assert answer.status_code == 422
    fault = {"pointer": "/email", "detail": "needs PERSONAL_INDEX_KEY, which is not set"}
    assert answer.get_json()["errors"] == [fault]
    assert ids(client, ANN, q="ann@example.org") == []
    assert ids(client, ANN, q=order["number"]) == [order["id"]]


def test_an_order_is_found_by_email_while_the_secret_changes(
    make_app: Callable[..., Flask], of_ann: tuple[FlaskClient, dict[str, Any]], api_database: Database[Any]
) -> None:
    """The command makes it found with the new secret alone. It may run twice."""
    _, order = of_ann
    new = {**SETTINGS, "PERSONAL_INDEX_KEY": "n" * 32}
    both, alone = make_app(**new, PERSONAL_INDEX_KEY_BEFORE="i" * 32), make_app(**new)
    query = {"email": "ANN@example.org"}
    assert ids(both.test_client(), ANN, **query) == [order["id"]]
    assert ids(alone.test_client(), ANN, **query) == []
    for corrected in (1, 0):
        shown = both.test_cli_runner().invoke(args=["orders", "reindex"])
        assert (shown.exit_code, shown.output) == (0, f"corrected: {corrected}\n")
        assert ids(alone.test_client(), ANN, **query) == [order["id"]]


def test_the_key_is_no_copy_of_the_address_and_is_erased_with_it(
    client: FlaskClient, app_services: Services, api_database: Database[Any], post_order: Place
) -> None:
    """Erasing also takes a key that the previous release left behind."""
    order = post_order(email="eve@example.org")
    document: Any = api_database["orders"].find_one()
    assert len(document["emailKey"]) == 16
    assert b"eve" not in document["emailKey"]
    assert erase_customer(app_services.erasure, "user-id").orders == 1
    erased: Any = api_database["orders"].find_one()
    assert {"personal", "emailKey"}.isdisjoint(erased)
    assert ids(client, email="eve@example.org") == ids(client, q="eve@example.org") == []
    api_database["orders"].update_one({}, {"$set": {"emailKey": document["emailKey"]}})
    assert erase_customer(app_services.erasure, "user-id").orders == 1
    assert ids(client, email="eve@example.org") == []
    assert ids(client, q=order["id"]) == [order["id"]]


def test_a_deleted_order_is_found_by_no_key(client: FlaskClient, post_order: Place) -> None:
    order = post_order(email="eve@example.org", reference="R")
    client.delete(f"/orders/{order['id']}")
    for value in (order["id"], order["number"], "eve@example.org", "R"):
        assert ids(client, q=value) == []
    assert ids(client, number=order["number"]) == ids(client, email="eve@example.org") == []


def test_no_log_line_has_a_search_term(client: FlaskClient) -> None:
    with capture_logs() as lines:
        client.get("/orders", query_string={"q": "eve@example.org", "email": "eve@example.org"})
        client.get("/orders", query_string={"email": "eve@", "q": "x" * 300})
    assert [line["event"] for line in lines] == ["request", "request"]
    assert "eve@" not in str(lines)
    assert "xxx" not in str(lines)


def test_a_corrected_email_finds_the_order_instead_of_the_old_one(
    client: FlaskClient, api_database: Database[Any], post_order: Place
) -> None:
    """A removed one finds nothing, and leaves no key."""
    order = post_order(email="old@example.org")
    path, merge = f"/orders/{order['id']}", "application/merge-patch+json"
    assert client.patch(path, json={"email": "new@example.org"}, content_type=merge).status_code == 200
    assert ids(client, email="old@example.org") == ids(client, q="old@example.org") == []
    assert ids(client, email="new@example.org") == ids(client, q="new@example.org") == [order["id"]]
    assert client.patch(path, json={"email": None}, content_type=merge).status_code == 200
    assert ids(client, email="new@example.org") == []
    assert "emailKey" not in (api_database["orders"].find_one() or {})
