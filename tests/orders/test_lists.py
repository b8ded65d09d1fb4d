"""The list of orders: pages, filters, and cursors that hold to both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.http import paging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask
    from flask.testing import FlaskClient

    Place = Callable[..., dict[str, Any]]


def ids(client: FlaskClient, **query: Any) -> list[str]:
    answer = client.get("/orders", query_string=query)
    assert answer.status_code == 200, answer.text
    return [order["id"] for order in answer.get_json()["orders"]]


def pages(client: FlaskClient, path: str) -> Iterator[list[str]]:
    """Follows the links."""
    while path:
        answer = client.get(path)
        yield [order["id"] for order in answer.get_json()["orders"]]
        assert ("Link" in answer.headers) == ("nextCursor" in answer.get_json())
        path = answer.headers.get("Link", "").removesuffix('>; rel="next"').removeprefix("<")


def test_an_empty_list_is_a_list(client: FlaskClient) -> None:
    answer = client.get("/orders")
    assert (answer.get_json(), "Link" in answer.headers) == ({"orders": []}, False)


def test_the_newest_comes_first_or_last(post_order: Place, client: FlaskClient) -> None:
    placed = [post_order()["id"] for _ in range(3)]
    assert ids(client) == placed[::-1]
    assert ids(client, sort="createdAt") == placed
    assert ids(client, sort="-createdAt") == placed[::-1]


def test_a_listed_order_is_shown_as_itself(post_order: Place, client: FlaskClient) -> None:
    order = post_order(reference="R", metadata={"a": "b"})
    assert client.get("/orders").get_json()["orders"] == [order]


@pytest.mark.parametrize("sort", ["createdAt", "-createdAt"])
def test_links_lead_through_all_orders_once(post_order: Place, client: FlaskClient, sort: str) -> None:
    placed = [post_order(userId="a b&c")["id"] for _ in range(7)]
    post_order()
    found = list(pages(client, f"/orders?limit=3&userId=a%20b%26c&status=pending&sort={sort}"))
    assert [len(page) for page in found] == [3, 3, 1]
    assert [order for page in found for order in page] == (placed if sort == "createdAt" else placed[::-1])


def test_a_full_last_page_has_no_next(post_order: Place, client: FlaskClient) -> None:
    for _ in range(4):
        post_order()
    assert [len(page) for page in pages(client, "/orders?limit=2")] == [2, 2]


def test_a_cursor_holds_while_orders_are_added_and_the_limit_may_change(
    post_order: Place, client: FlaskClient
) -> None:
    placed = [post_order()["id"] for _ in range(4)]
    cursor = client.get("/orders?limit=2").get_json()["nextCursor"]
    post_order()
    assert ids(client, cursor=cursor, limit=100) == placed[1::-1]


def test_every_filter_finds_its_orders_and_they_combine(
    post_order: Place, client: FlaskClient, settle: Callable[[str], None]
) -> None:
    first = post_order(userId="ann", reference="R-1")
    second = post_order(
        userId="ann", products=[{"productId": "x", "quantity": 1}, {"productId": "y", "quantity": 1}]
    )
    third = post_order(userId="bob")
    settle(third["id"])
    client.put(f"/orders/{second['id']}", json={"status": "cancelled"})
    assert ids(client, userId="ann") == [second["id"], first["id"]]
    assert ids(client, reference="R-1") == [first["id"]]
    assert ids(client, productId="y") == [second["id"]]
    assert ids(client, status="pending") == [first["id"]]
    assert ids(client, status=["pending", "cancelled"]) == [second["id"], first["id"]]
    assert ids(client, paymentStatus="captured") == [third["id"]]
    assert ids(client, userId="ann", status="cancelled", productId="x") == [second["id"]]
    assert ids(client, userId="bob", productId="x") == []


def test_the_bounds_of_time_are_from_inclusive_to_exclusive(post_order: Place, client: FlaskClient) -> None:
    orders = [post_order()]
    while len(orders) < 3:
        order = post_order()
        if order["createdAt"] != orders[-1]["createdAt"]:
            orders.append(order)
    second = orders[1]
    at = second["createdAt"]
    later = ids(client, createdFrom=at)
    earlier = ids(client, createdTo=at)
    assert second["id"] in later
    assert second["id"] not in earlier
    assert len(later) + len(earlier) == len(ids(client))
    assert ids(client, createdFrom=at, createdTo=at) == []
    everything = client.get("/orders").get_json()["orders"]
    after = [order["id"] for order in everything if order["createdAt"] > at]
    assert ids(client, createdFrom=at.replace("Z", "001Z")) == after
    assert ids(client, createdFrom=at.replace("Z", "+00:00")) == later
    assert ids(client, createdFrom="0001-01-01T00:00:00Z", createdTo="9999-12-31T23:59:59Z") == ids(client)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=101", "/limit"),
        ("limit=x", "/limit"),
        ("limit=", "/limit"),
        ("limit=1.5", "/limit"),
        ("limit=%D9%A1", "/limit"),
        (f"limit={'9' * 5000}", "/limit"),
        ("limit=1&limit=2", "/limit"),
        ("status=paid", "/status/0"),
        ("status=pending&status=x", "/status/1"),
        ("status=", "/status/0"),
        ("paymentStatus=paid", "/paymentStatus"),
        ("paymentStatus=pending&paymentStatus=captured", "/paymentStatus"),
        ("userId=", "/userId"),
        ("userId=a&userId=b", "/userId"),
        ("userId=a%00", "/userId"),
        (f"userId={'x' * 129}", "/userId"),
        ("productId=%0A", "/productId"),
        ("reference=", "/reference"),
        (f"reference={'x' * 65}", "/reference"),
        ("createdFrom=yesterday", "/createdFrom"),
        ("createdFrom=2024-10-04", "/createdFrom"),
        ("createdFrom=2024-10-04T10:00:00", "/createdFrom"),
        ("createdFrom=2024-13-04T10:00:00Z", "/createdFrom"),
        ("createdFrom=2024-10-04T25:00:00Z", "/createdFrom"),
        ("createdTo=2024-10-04T10:00:00+02:00", "/createdTo"),
        ("createdTo=0001-01-01T00:00:00%2B02:00", "/createdTo"),
        ("createdTo=20241004T100000Z", "/createdTo"),
        ("sort=total", "/sort"),
        ("sort=", "/sort"),
        ("colour=red", "/colour"),
        ("user_id=1", "/user_id"),
        ("=", "/"),
        ("page=2", "/page"),
    ],
)
def test_a_bad_value_or_unknown_parameter_is_422_and_named(
    client: FlaskClient, query: str, pointer: str
) -> None:
    answer = client.get(f"/orders?{query}")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_input")
    assert [error["pointer"] for error in answer.get_json()["errors"]] == [pointer]


def test_an_unknown_parameter_of_a_single_order_is_422(post_order: Place, client: FlaskClient) -> None:
    assert client.get(f"/orders/{post_order()['id']}?verison=1").status_code == 422


def test_all_bad_parameters_are_named_at_once(client: FlaskClient) -> None:
    errors = client.get("/orders?limit=0&sort=x&colour=red").get_json()["errors"]
    assert {error["pointer"] for error in errors} == {"/limit", "/sort", "/colour"}


@pytest.fixture
def cursor(post_order: Place, client: FlaskClient) -> str:
    for _ in range(2):
        post_order()
    return str(client.get("/orders?limit=1").get_json()["nextCursor"])


def test_an_altered_cursor_is_400(client: FlaskClient, cursor: str) -> None:
    for altered in (
        "x",
        "",
        "\0",
        "é",
        cursor[:-1],
        cursor + "A",
        cursor + "=",
        cursor[::-1],
        *(
            cursor[:post_order] + ("A" if cursor[post_order] != "A" else "B") + cursor[post_order + 1 :]
            for post_order in range(len(cursor))
        ),
    ):
        answer = client.get("/orders", query_string={"cursor": altered})
        assert (answer.status_code, answer.get_json()["code"]) == (400, "bad_cursor"), altered


@pytest.mark.parametrize(
    "query", ["sort=createdAt", "userId=user-id", "status=pending", "createdFrom=2020-01-01T00:00:00Z"]
)
def test_a_cursor_with_other_filters_is_400(client: FlaskClient, cursor: str, query: str) -> None:
    answer = client.get(f"/orders?cursor={cursor}&{query}")
    assert (answer.status_code, answer.get_json()["code"]) == (400, "bad_cursor")


def test_a_cursor_is_good_for_its_own_listing_only(client: FlaskClient, cursor: str) -> None:
    assert client.get(f"/stock?cursor={cursor}").status_code == 400


def test_links_hold_under_a_prefix(make_app: Callable[..., Flask]) -> None:
    client = make_app(API_PREFIX="/api").test_client()
    line = {"productId": "p", "quantity": 1}
    for _ in range(3):
        answer = client.post("/api/orders", json={"userId": "u", "products": [line], "totalAmount": 1})
        assert answer.headers["Location"].startswith("/api/orders/")
    assert [len(page) for page in pages(client, "/api/orders?limit=2")] == [2, 1]


@pytest.mark.parametrize("limit", [25, 100])
def test_a_page_ends_at_one_mebibyte_whatever_its_limit(
    client: FlaskClient, post_order: Place, limit: int
) -> None:
    """Each page is as full as it can be, and none is empty, though an order may be larger than others."""
    texts = {str(number): "\u00fc" * 512 for number in range(20)}
    lines = [{"productId": f"{number:0128}", "quantity": 1} for number in range(200)]
    small, large = {}, {"metadata": texts, "products": lines}
    made = [post_order(**(large if number % 3 else small))["id"] for number in range(45)]
    seen, pages, query = [], [], f"/orders?limit={limit}"
    while query:
        answer = client.get(query)
        pages.append(answer)
        seen += [order["id"] for order in answer.get_json()["orders"]]
        cursor = answer.get_json().get("nextCursor")
        query = f"/orders?limit={limit}&cursor={cursor}" if cursor else ""
    assert seen == made[::-1]
    assert all(len(page.data) <= 1024 * 1024 + 1000 for page in pages)
    assert len(pages) > 1
    assert all('rel="next"' in page.headers["Link"] for page in pages[:-1])
    full = [len(page.data) > 900_000 or len(page.get_json()["orders"]) == limit for page in pages[:-1]]
    assert all(full)


def test_an_order_that_is_larger_than_a_page_is_one_by_itself(
    client: FlaskClient, post_order: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "LARGEST_PAGE", 10)
    made = [post_order()["id"] for _ in range(3)]
    first = client.get("/orders").get_json()
    assert [order["id"] for order in first["orders"]] == [made[2]]
    second = client.get(f"/orders?cursor={first['nextCursor']}").get_json()
    assert [order["id"] for order in second["orders"]] == [made[1]]
