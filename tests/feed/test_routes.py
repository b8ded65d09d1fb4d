"""The event feed: every event once, in one order, each with the order exactly as it was shown then."""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from app.feed import service as feeding
from app.http import paging
from app.orders import history
from app.orders.model import Change, advance, fold

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database

    from app.services import Services

    Place = Callable[..., dict[str, Any]]
    Read = Callable[..., dict[str, Any]]


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """An application of the test's own, which may forget the key of the cursors."""
    return make_app()


@pytest.fixture
def read(client: FlaskClient) -> Read:
    """Reads a part of the feed."""

    def get(**query: Any) -> dict[str, Any]:
        answer = client.get("/events", query_string=query)
        assert answer.status_code == 200, answer.text
        return answer.get_json()

    return get


@pytest.fixture
def feed(app_services: Services) -> Callable[[], None]:
    """Feeds what the relay would have fed."""
    return lambda: (
        None if feeding.catch_up(app_services.feed, lambda: False) else pytest.fail("it was cut off")
    )


@pytest.fixture
def delivered(
    post_order: Place, settle: Callable[[str], None], client: FlaskClient, feed: Callable[[], None]
) -> str:
    """An order that was placed, confirmed, shipped and delivered, and its events fed."""
    order_id = post_order(email="ann@example.org", metadata={"a": "b"})["id"]
    settle(order_id)
    for body in ({"status": "shipped", "tracking": {"number": "1"}}, {"status": "delivered"}):
        assert client.put(f"/orders/{order_id}", json=body).status_code == 200
    feed()
    return order_id


def names(part: dict[str, Any]) -> list[str]:
    return [event["id"] for event in part["events"]]


def test_an_empty_feed_has_a_cursor_to_go_on_from(
    read: Read, post_order: Place, feed: Callable[[], None]
) -> None:
    empty = read()
    assert (empty["events"], empty["hasMore"]) == ([], False)
    order_id = post_order()["id"]
    feed()
    assert names(read(after=empty["nextCursor"])) == [f"{order_id}:1"]


def test_every_event_comes_with_the_order_exactly_as_it_was_shown_then(
    read: Read, delivered: str, client: FlaskClient
) -> None:
    history = client.get(f"/orders/{delivered}/events").get_json()["events"]
    shown = [client.get(f"/orders/{delivered}?version={event['sequence']}") for event in history]
    whole = client.get("/events").text
    for event, answer in zip(history, shown, strict=True):
        name = f"{delivered}:{event['sequence']}"
        start = f'{{"id":"{name}","type":"{event["type"]}","timestamp":"{event["at"]}","data":'
        assert f'{start}{{"order":{answer.text},"sequence":{event["sequence"]}}}}}' in whole
    assert names(read()) == [f"{delivered}:{event['sequence']}" for event in history]
    assert client.get(f"/orders/{delivered}").text == shown[-1].text


@pytest.mark.parametrize("kept", [0, 1, 4, 8])
def test_a_feed_that_lost_its_rows_is_made_again_with_all_corrections(
    read: Read,
    post_order: Place,
    client: FlaskClient,
    feed: Callable[[], None],
    api_database: Database[dict[str, Any]],
    kept: int,
) -> None:
    """Amended, tagged, noted and held: the same events in the same order, from the log alone."""
    order_id = post_order(email="ann@example.org", reference="A-1")["id"]
    path = f"/orders/{order_id}"
    patch = "application/merge-patch+json"
    corrections: tuple[tuple[str, str, Any], ...] = (
        ("patch", "", {"email": "eve@example.org", "reference": "B-2"}),
        ("put", "/tags", ["vip", "gift"]),
        ("post", "/notes", {"text": "Called."}),
        ("post", "/notes", {"text": "On its way.", "visibility": "customer"}),
        ("post", "/holds", {"code": "fraud_review"}),
        ("delete", "/holds/fraud_review", None),
        ("delete", f"/notes/{order_id}-n1", None),
        ("put", "/tags", []),
        ("patch", "", {"reference": None}),
    )
    for method, below, body in corrections:
        media = {"content_type": patch} if method == "patch" else {}
        answer = client.open(f"{path}{below}", method=method.upper(), json=body, **media)
        assert answer.status_code < 300, answer.text
    feed()
    whole = read()["events"]
    assert [event["type"] for event in whole] == [
        "order.created",
        "order.amended",
        "order.tagged",
        "note.added",
        "note.added",
        "hold.placed",
        "hold.released",
        "note.erased",
        "order.tagged",
        "order.amended",
    ]
    history = client.get(f"{path}/events").get_json()["events"]
    assert [event["type"] for event in whole] == [event["type"] for event in history]
    api_database["feed"].delete_many({"sequence": {"$gt": kept}})
    feed()
    assert read()["events"] == whole
    feed()
    assert read()["events"] == whole


def test_pages_of_any_size_give_the_same_feed(
    read: Read, delivered: str, post_order: Place, feed: Any
) -> None:
    for _ in range(4):
        post_order()
    feed()
    whole = read()
    for limit in (1, 2, 5, 1000):
        walked, part = [], read(limit=limit)
        while True:
            walked += part["events"]
            if not part["hasMore"]:
                break
            part = read(limit=limit, after=part["nextCursor"])
        assert walked == whole["events"]
        assert part["nextCursor"] == whole["nextCursor"]


def test_the_end_of_the_feed_can_be_asked_for_again_and_again(
    read: Read, delivered: str, post_order: Place, feed: Any
) -> None:
    end = read()["nextCursor"]
    for _ in range(2):
        part = read(after=end)
        assert part == {"events": [], "nextCursor": end, "hasMore": False}
    order_id = post_order()["id"]
    feed()
    assert names(read(after=end)) == [f"{order_id}:1"]


@pytest.mark.parametrize(
    ("types", "prefixes"),
    [
        ("order.*", ("order.",)),
        ("order.shipped", ("order.shipped",)),
        (["order.shipped", "stock.*"], ("order.shipped", "stock.")),
        ("order.shipped,stock.*", ("order.shipped", "stock.")),
        ("order.shipped,order.shipped,order.*", ("order.",)),
        ("payment.refunded", ()),
    ],
)
def test_types_choose_events_and_keep_their_order(
    read: Read, delivered: str, types: Any, prefixes: tuple[str, ...]
) -> None:
    every = read()["events"]
    chosen = [event for event in every if event["type"].startswith(prefixes)] if prefixes else []
    part = read(types=types)
    assert part["events"] == chosen
    assert not part["hasMore"]
    if len(chosen) > 1:
        first = read(types=types, limit=1)
        assert (first["events"], first["hasMore"]) == (chosen[:1], True)
        assert read(types=types, after=first["nextCursor"])["events"] == chosen[1:]


def test_a_rare_type_is_found_at_once(read: Read, post_order: Place, feed: Any, client: FlaskClient) -> None:
    orders = [post_order()["id"] for _ in range(10)]
    client.delete(f"/orders/{orders[0]}")
    feed()
    part = read(types="order.deleted", limit=1)
    assert [event["type"] for event in part["events"]] == ["order.deleted"]
    assert not part["hasMore"]


def test_a_large_answer_ends_early_and_loses_nothing(
    read: Read, delivered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read()["events"]
    monkeypatch.setattr(paging, "LARGEST_PAGE", 1_500)
    parts = [read()]
    while parts[-1]["hasMore"]:
        parts.append(read(after=parts[-1]["nextCursor"]))
    assert len(parts) > 2
    assert [event for part in parts for event in part["events"]] == whole


def test_a_page_folds_each_event_once_however_long_a_log_is(
    read: Read, delivered: str, feed: Any, app_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    (order,) = app_services.orders.store.load([delivered])
    more = [Change("payment.partially_refunded", {"refundedAmount": 1}) for _ in range(200)]
    at = app_services.clock()
    assert app_services.orders.store.append(order, advance(order, at, "u", more), at)
    feed()
    folded: list[Any] = []

    def counted(order_id: str, events: list[Any], before: Any) -> Any:
        folded.extend(event["sequence"] for event in events)
        return fold(order_id, events, before)

    monkeypatch.setattr(history, "fold", counted)
    shown = read(limit=1000)["events"]
    assert [event["data"]["order"]["version"] for event in shown] == list(range(1, len(shown) + 1))
    assert folded == list(range(1, order["version"] + 201))


def test_a_deleted_order_stays_in_the_feed_with_all_that_came_after(
    read: Read, post_order: Place, settle: Any, feed: Any, client: FlaskClient
) -> None:
    order_id = post_order()["id"]
    settle(order_id)
    client.delete(f"/orders/{order_id}")
    settle(order_id)
    feed()
    types = [event["type"] for event in read()["events"]]
    assert "order.deleted" in types
    assert types.index("order.deleted") < types.index("payment.refunded")
    assert client.get(f"/orders/{order_id}").status_code == 404


def test_a_cursor_still_works_after_its_event_is_purged(
    read: Read, post_order: Place, feed: Any, app_services: Services, client: FlaskClient
) -> None:
    orders = [post_order()["id"] for _ in range(6)]
    feed()
    cursors = [read(limit=number)["nextCursor"] for number in range(1, 7)]
    gone = orders[1:4]
    for order_id in gone:
        client.delete(f"/orders/{order_id}")
    app_services.feed.store.purge(gone)
    app_services.orders.store.purge(gone)
    left = [f"{order_id}:1" for order_id in orders if order_id not in gone]
    assert names(read()) == left
    behind = [[f"{o}:1" for o in orders[number:] if o not in gone] for number in range(1, 7)]
    assert [names(read(after=cursor)) for cursor in cursors] == behind


def test_an_order_purged_before_its_row_is_passed_over(
    read: Read,
    post_order: Place,
    feed: Any,
    app_services: Services,
    api_database: Database[dict[str, Any]],
    client: FlaskClient,
) -> None:
    first, second, third = (post_order()["id"] for _ in range(3))
    feed()
    client.delete(f"/orders/{second}")
    app_services.orders.store.purge([second])
    assert names(read()) == [f"{first}:1", f"{third}:1"]
    part = read(limit=2)
    assert (names(part), part["hasMore"]) == ([f"{first}:1"], True)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=1001", "/limit"),
        ("limit=x", "/limit"),
        ("limit=1&limit=2", "/limit"),
        ("types=", "/types/0"),
        ("types=order", "/types/0"),
        ("types=*", "/types/0"),
        ("types=order.paid", "/types/0"),
        ("types=refunds.*", "/types/0"),
        ("types=order.*,", "/types/0"),
        ("types=order.*, stock.*", "/types/0"),
        ("types=ORDER.*", "/types/0"),
        ("types=order.shipped%0A", "/types/0"),
        ("types=order.*&types=x", "/types/1"),
        ("cursor=x", "/cursor"),
        ("colour=red", "/colour"),
    ],
)
def test_a_bad_value_or_unknown_parameter_is_422_and_named(
    client: FlaskClient, query: str, pointer: str
) -> None:
    answer = client.get(f"/events?{query}")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_input")
    assert [error["pointer"] for error in answer.get_json()["errors"]] == [pointer]


def test_a_cursor_that_was_altered_or_belongs_elsewhere_is_400(
    client: FlaskClient, read: Read, delivered: str, post_order: Place
) -> None:
    post_order()
    cursor = read(limit=1)["nextCursor"]
    other = client.get("/orders?limit=1").get_json()["nextCursor"]
    typed = read(limit=1, types="order.*")["nextCursor"]
    for bad in ("x", "", "\0", "é", cursor[:-1], cursor + "A", cursor + "=", cursor[::-1], other, typed):
        answer = client.get("/events", query_string={"after": bad})
        assert (answer.status_code, answer.get_json()["code"]) == (400, "bad_cursor"), bad
    answer = client.get("/events", query_string={"after": cursor, "types": "order.*"})
    assert (answer.status_code, answer.get_json()["code"]) == (400, "bad_cursor")
    assert client.get("/orders", query_string={"cursor": cursor}).status_code == 400
    assert client.get("/events", query_string=[("after", cursor), ("after", cursor)]).status_code == 422


def test_a_damaged_log_does_not_stop_readers_of_the_feed(
    read: Read, delivered: str, post_order: Place, feed: Any, api_database: Database[dict[str, Any]]
) -> None:
    api_database["orders"].update_one({}, {"$set": {"events.3.type": "order.created"}})
    order_id = post_order()["id"]
    feed()
    events = read()["events"]
    assert [event["id"] for event in events] == [
        *(f"{delivered}:{number}" for number in range(1, 10)),
        f"{order_id}:1",
    ]
    assert ["unreadable" in event["data"] for event in events] == [*[False] * 3, *[True] * 6, False]


def test_positions_follow_each_other_without_gaps(
    delivered: str, post_order: Place, feed: Any, api_database: Database[dict[str, Any]]
) -> None:
    post_order()
    feed()
    positions = [row["_id"] for row in api_database["feed"].find().sort("_id")]
    assert positions[0] == 1
    assert all(later == earlier + 1 for earlier, later in pairwise(positions))


def test_the_feed_stands_under_the_prefix(make_app: Callable[..., Flask]) -> None:
    client = make_app(API_PREFIX="/api").test_client()
    assert client.get("/api/events").get_json()["events"] == []


def test_a_cursor_says_nothing_and_is_the_same_for_the_same_place(
    read: Read, post_order: Place, feed: Any, app_services: Services
) -> None:
    """The same length everywhere, and no digit of the position in it."""
    empty = read()["nextCursor"]
    for _ in range(12):
        post_order()
    feed()
    cursors = [read(limit=number)["nextCursor"] for number in range(1, 13)]
    assert {len(cursor) for cursor in (*cursors, empty)} == {32}
    assert len({*cursors, empty}) == 13
    raw = [base64.urlsafe_b64decode(cursor) for cursor in cursors]
    for position, sealed in enumerate(raw, 1):
        assert position.to_bytes(8) != sealed[-8:]
    differing = [sum(a != b for a, b in zip(one, other, strict=True)) for one, other in pairwise(raw)]
    assert min(differing) > 16


def test_a_cursor_of_the_previous_release_continues_and_reveals_nothing_new(
    read: Read,
    post_order: Place,
    feed: Any,
    app_services: Services,
    app: Flask,
    api_database: Database[dict[str, Any]],
) -> None:
    before = [post_order()["id"] for _ in range(3)]
    feed()
    api_database["feed_cursors"].delete_many({})
    app_services.feed.cursors._sealing = None

    def open_cursor(position: int) -> str:
        with app.test_request_context("/events"):
            return paging.cursor_behind(str(position))

    assert names(read(after=open_cursor(1))) == [f"{order_id}:1" for order_id in before[1:]]
    since = [post_order()["id"] for _ in range(3)]
    feed()
    for position in (3, 4, 5, 10**17):
        assert names(read(after=open_cursor(position))) == [f"{order_id}:1" for order_id in since]


def test_another_process_takes_the_cursor(
    read: Read, post_order: Place, feed: Any, make_app: Callable[..., Flask]
) -> None:
    orders = [post_order()["id"] for _ in range(2)]
    feed()
    cursor = read(limit=1)["nextCursor"]
    other = make_app().test_client().get("/events", query_string={"after": cursor}).get_json()
    assert names(other) == [f"{orders[1]}:1"]
