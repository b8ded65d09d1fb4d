"""Notes stand beside the log and can be erased; tags are in it. Customers see only notes meant for them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from app.corrections import service as correcting
from app.erasure.service import erase_customer
from app.feed.service import catch_up
from app.orders.commands import Request
from app.orders.fields import MOST_NOTES
from tests.support.tokens import SETTINGS, bearer, token
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database

    from app.services import Services

Found = dict[str, Any]


def write(client: FlaskClient, order_id: str, text: str = "Called.", **more: Any) -> Found:
    answer = client.post(f"/orders/{order_id}/notes", json={"text": text, **more})
    assert answer.status_code == 201, answer.text
    note: Found = answer.get_json()
    return note


def notes(client: FlaskClient, order_id: str, **headers: str) -> list[Found]:
    found: list[Found] = client.get(f"/orders/{order_id}/notes", headers=headers).get_json()["notes"]
    return found


def events(client: FlaskClient, order_id: str, **headers: str) -> list[Found]:
    found: list[Found] = client.get(f"/orders/{order_id}/events", headers=headers).get_json()["events"]
    return found


def stored(database: Database[Found], order_id: str) -> Found:
    (document,) = database["orders"].find({"_id": ObjectId(order_id)})
    return document


def verifies(client: FlaskClient, order_id: str) -> bool:
    found: bool = client.get(f"/orders/{order_id}/events/verify").get_json()["intact"]
    return found


def test_a_note_is_written_listed_and_got(client: FlaskClient, post_order: Callable[..., Any]) -> None:
    order_id = post_order()["id"]
    answer = client.post(f"/orders/{order_id}/notes", json={"text": "Called.\n\tTwice."})
    note = answer.get_json()
    assert list(note) == ["id", "text", "visibility", "actor", "createdAt"]
    assert (note["text"], note["visibility"], note["actor"]) == ("Called.\n\tTwice.", "internal", "anonymous")
    assert answer.headers["Location"] == f"/orders/{order_id}/notes/{note['id']}"
    assert answer.headers["ETag"] == '"v2"'
    assert client.get(answer.headers["Location"]).get_json() == note
    second = write(client, order_id, visibility="customer")
    assert notes(client, order_id) == [note, second]
    assert verifies(client, order_id)


def test_the_log_has_no_text(
    client: FlaskClient, post_order: Callable[..., Any], api_database: Database[Found]
) -> None:
    """Only its salted digest."""
    order_id = post_order()["id"]
    note = write(client, order_id, "A secret.")
    event = events(client, order_id)[-1]
    assert event["type"] == "note.added"
    assert event["data"].keys() == {"noteId", "visibility", "textDigest"}
    assert event["data"]["noteId"] == note["id"]
    assert "A secret." not in str(stored(api_database, order_id)["events"])
    assert "A secret." not in client.get(f"/orders/{order_id}").text


def test_an_erased_note_is_gone_for_good(
    client: FlaskClient, post_order: Callable[..., Any], api_database: Database[Found]
) -> None:
    """With the digest of the request that made it. Its id is never used again."""
    order_id, key = post_order()["id"], {"Idempotency-Key": "key"}
    body = {"text": "A secret."}
    first = client.post(f"/orders/{order_id}/notes", json=body, headers=key).get_json()
    path = f"/orders/{order_id}/notes/{first['id']}"
    assert client.delete(path).status_code == 204
    assert [client.open(path, method=method).status_code for method in ("GET", "DELETE")] == [404, 404]
    assert notes(client, order_id) == []
    assert "A secret." not in str(stored(api_database, order_id))
    assert [event["type"] for event in events(client, order_id)[1:]] == ["note.added", "note.erased"]
    assert events(client, order_id)[-1]["data"] == {"noteId": first["id"]}
    assert verifies(client, order_id)
    assert client.post(f"/orders/{order_id}/notes", json=body, headers=key).status_code == 422
    assert write(client, order_id)["id"] == f"{order_id}-n2"


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/text"]),
        ({"text": ""}, ["/text"]),
        ({"text": "x" * 2001}, ["/text"]),
        ({"text": 1, "visibility": "all"}, ["/text", "/visibility"]),
        ({"text": "x", "actor": "me"}, ["/actor"]),
        ([], [""]),
    ],
)
def test_a_bad_note_is_refused(
    client: FlaskClient, post_order: Callable[..., Any], body: Any, pointers: list[str]
) -> None:
    order_id = post_order()["id"]
    answer = client.post(f"/orders/{order_id}/notes", json=body)
    assert answer.status_code == 422
    assert sorted(fault["pointer"] for fault in answer.get_json()["errors"]) == pointers
    assert len(events(client, order_id)) == 1


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_note_cannot_be_edited(client: FlaskClient, post_order: Callable[..., Any], method: str) -> None:
    order_id = post_order()["id"]
    note = write(client, order_id)
    answer = client.open(f"/orders/{order_id}/notes/{note['id']}", method=method, json={"text": "x"})
    assert answer.status_code == 405


def test_a_repeated_note_is_written_once(client: FlaskClient, post_order: Callable[..., Any]) -> None:
    order_id, key = post_order()["id"], {"Idempotency-Key": "key", "If-Match": '"v1"'}
    first, again = (
        client.post(f"/orders/{order_id}/notes", json={"text": "Called."}, headers=key) for _ in range(2)
    )
    assert (again.status_code, again.data, again.headers["ETag"]) == (201, first.data, first.headers["ETag"])
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotent-Replayed"] == "true"
    other = client.post(f"/orders/{order_id}/notes", json={"text": "Wrote."}, headers=key)
    assert (other.status_code, other.get_json()["code"]) == (422, "idempotency_key_reused")
    assert len(notes(client, order_id)) == 1
    stale = client.post(f"/orders/{order_id}/notes", json={"text": "x"}, headers={"If-Match": '"v1"'})
    assert stale.status_code == 412


def test_notes_at_the_bound_at_once_never_exceed_it(
    app: Flask, client: FlaskClient, post_order: Callable[..., Any]
) -> None:
    """Erased ones count."""
    order_id = post_order()["id"]
    first = write(client, order_id)
    assert client.delete(f"/orders/{order_id}/notes/{first['id']}").status_code == 204
    for _ in range(MOST_NOTES - 6):
        write(client, order_id)

    def one(number: int) -> tuple[int, str]:
        answer = app.test_client().post(f"/orders/{order_id}/notes", json={"text": f"Note {number}."})
        return answer.status_code, answer.get_json().get("code", "")

    with ThreadPoolExecutor(10) as pool:
        answers = sorted(pool.map(one, range(10)))
    assert answers == 5 * [(201, "")] + 5 * [(409, "too_many_notes")]
    found = notes(client, order_id)
    assert len(found) == MOST_NOTES - 1
    assert [note["id"] for note in found] == [f"{order_id}-n{n}" for n in range(2, MOST_NOTES + 1)]
    assert verifies(client, order_id)


def test_erasing_the_customer_erases_the_notes(
    client: FlaskClient,
    post_order: Callable[..., Any],
    app_services: Services,
    api_database: Database[Found],
) -> None:
    """Of orders without personal data, too, and though one is being written."""
    order_id = post_order(userId="eve")["id"]
    note = write(client, order_id, "A secret.", visibility="customer")
    assert erase_customer(app_services.erasure, "eve").orders == 1
    assert "A secret." not in str(stored(api_database, order_id))
    assert notes(client, order_id) == []
    assert client.get(f"/orders/{order_id}/notes/{note['id']}").status_code == 404
    assert verifies(client, order_id)
    later = write(client, order_id)
    assert notes(client, order_id) == [later]
    assert client.delete(f"/orders/{order_id}/notes/{later['id']}").status_code == 204
    assert erase_customer(app_services.erasure, "eve").orders == 0


def tag(client: FlaskClient, order_id: str, tags: Any, **headers: str) -> Any:
    return client.put(f"/orders/{order_id}/tags", json=tags, headers=headers)


def test_tags_are_sorted_folded_and_replaced(client: FlaskClient, post_order: Callable[..., Any]) -> None:
    order_id = post_order()["id"]
    answer = tag(client, order_id, ["vip", "gift", "vip"])
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"v2"')
    assert (answer.get_json()["id"], answer.get_json()["tags"]) == (order_id, ["gift", "vip"])
    assert events(client, order_id)[-1]["data"] == {"added": ["gift", "vip"], "removed": []}
    assert tag(client, order_id, ["vip", "b", "a:1_2-3"]).get_json()["tags"] == ["a:1_2-3", "b", "vip"]
    assert events(client, order_id)[-1]["data"] == {"added": ["a:1_2-3", "b"], "removed": ["gift"]}
    assert tag(client, order_id, ["b", "vip", "a:1_2-3"]).headers["ETag"] == '"v3"'
    assert client.get(f"/orders/{order_id}?version=2").get_json()["tags"] == ["gift", "vip"]
    assert "tags" not in tag(client, order_id, []).get_json()
    assert "tags" not in client.get(f"/orders/{order_id}").get_json()
    assert [event["type"] for event in events(client, order_id)[1:]] == 3 * ["order.tagged"]
    assert verifies(client, order_id)


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (["VIP"], ["/0"]),
        (["a", "", 4, None, "x" * 41, "a b", "a\n"], [f"/{n}" for n in range(1, 7)]),
        ([f"t{n}" for n in range(21)], [""]),
        ({"tags": []}, [""]),
        ("vip", [""]),
    ],
)
def test_bad_tags_are_refused_at_each_fault(
    client: FlaskClient, post_order: Callable[..., Any], body: Any, pointers: list[str]
) -> None:
    order_id = post_order()["id"]
    answer = tag(client, order_id, body)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "invalid_input")
    assert [fault["pointer"] for fault in answer.get_json()["errors"]] == pointers
    assert len(events(client, order_id)) == 1


def test_tags_know_versions_and_keys(
    client: FlaskClient, post_order: Callable[..., Any], shared_app: Callable[..., Flask]
) -> None:
    order_id = post_order()["id"]
    key = {"Idempotency-Key": "key", "If-Match": '"v1"'}
    first = tag(client, order_id, ["vip"], **key)
    tag(client, order_id, ["gift"])
    again = tag(client, order_id, ["vip"], **key)
    assert (again.data, again.headers["Idempotent-Replayed"]) == (first.data, "true")
    assert tag(client, order_id, ["b"], **key).status_code == 422
    assert tag(client, order_id, ["b"], **{"If-Match": '"v1"'}).status_code == 412
    strict = shared_app(REQUIRE_IF_MATCH="true").test_client()
    assert tag(strict, order_id, ["b"]).status_code == 428
    assert (
        strict.post(f"/orders/{order_id}/notes", json={"text": "A POST replaces nothing."}).status_code == 201
    )
    assert client.get(f"/orders/{order_id}").get_json()["tags"] == ["gift"]


def test_a_death_between_the_digest_and_the_note_leaves_the_note(
    client: FlaskClient,
    post_order: Callable[..., Any],
    app_services: Services,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second erasure finishes it."""
    order_id = post_order()["id"]
    note = write(client, order_id)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(type(app_services.orders.store), "append", die)
        with pytest.raises(KeyboardInterrupt):
            correcting.erase_note(app_services.orders, order_id, note["id"], Request("shop"))
    assert notes(client, order_id) == [note]
    assert client.delete(f"/orders/{order_id}/notes/{note['id']}").status_code == 204


def test_the_command_line_prints_notes_and_tags(
    app: Flask, client: FlaskClient, post_order: Callable[..., Any]
) -> None:
    order_id = post_order()["id"]
    note = write(client, order_id, "Called.\nTwice.")
    tag(client, order_id, ["vip"])
    printed = app.test_cli_runner().invoke(args=["orders", "show", order_id]).output
    assert 'tags         ["vip"]' in printed or '["vip"]' in printed
    assert note["id"] in printed
    assert r"Called.\nTwice." in printed
    client.delete(f"/orders/{order_id}/notes/{note['id']}")
    assert "Called." not in app.test_cli_runner().invoke(args=["orders", "show", order_id]).output


class TestCustomers:
    """With tokens."""

    ANN, SHOP = bearer(token("ann")), bearer(token("shop", "orders:admin"))

    @pytest.fixture
    def app(self, api_database: object, shared_app: Callable[..., Flask]) -> Flask:
        return shared_app(**SETTINGS)

    @pytest.fixture
    def order_id(self, client: FlaskClient) -> str:
        answer = client.post("/orders", json={**SAMPLE, "userId": "ann"}, headers=self.ANN)
        found: str = answer.get_json()["order"]["id"]
        for text, visibility in (("For the shop.", "internal"), ("For you.", "customer")):
            body = {"text": text, "visibility": visibility}
            made = client.post(f"/orders/{found}/notes", json=body, headers=self.SHOP)
            assert made.status_code == 201
        assert client.put(f"/orders/{found}/tags", json=["fraud"], headers=self.SHOP).status_code == 200
        assert client.delete(f"/orders/{found}/notes/{found}-n1", headers=self.SHOP).status_code == 204
        body = {"text": "For the shop.", "visibility": "internal"}
        client.post(f"/orders/{found}/notes", json=body, headers=self.SHOP)
        return found

    def test_only_the_shop_writes(self, client: FlaskClient, order_id: str) -> None:
        for method, path, body in (
            ("POST", "notes", {"text": "x"}),
            ("PUT", "tags", ["vip"]),
            ("DELETE", f"notes/{order_id}-n2", None),
        ):
            answer = client.open(f"/orders/{order_id}/{path}", method=method, json=body, headers=self.ANN)
            assert (answer.status_code, answer.get_json()["code"]) == (403, "forbidden")

    def test_customers_see_their_notes_alone(self, client: FlaskClient, order_id: str) -> None:
        assert [note["text"] for note in notes(client, order_id, **self.ANN)] == ["For you."]
        assert [note["text"] for note in notes(client, order_id, **self.SHOP)] == [
            "For you.",
            "For the shop.",
        ]
        one = f"/orders/{order_id}/notes/{order_id}-n"
        assert client.get(f"{one}2", headers=self.ANN).status_code == 200
        assert client.get(f"{one}3", headers=self.ANN).status_code == 404
        bob = bearer(token("bob"))
        assert client.get(f"/orders/{order_id}/notes", headers=bob).status_code == 404

    def test_customers_see_no_tags_wherever_they_look(
        self, client: FlaskClient, order_id: str, app_services: Services
    ) -> None:
        assert catch_up(app_services.feed, lambda: False)
        roads = ("", "?version=4", "/events")
        for path in (*(f"/orders/{order_id}{road}" for road in roads), "/orders", "/events"):
            assert "fraud" in client.get(path, headers=self.SHOP).text, path
            assert "fraud" not in client.get(path, headers=self.ANN).text, path
        body = {"reference": "R"}
        media = "application/merge-patch+json"
        for headers, seen in ((self.ANN, False), (self.SHOP, True)):
            answer = client.patch(f"/orders/{order_id}", json=body, headers=headers, content_type=media)
            assert ("tags" in answer.get_json()) == seen
        answer = client.put(f"/orders/{order_id}", json={"status": "cancelled"}, headers=self.ANN)
        assert "tags" not in answer.get_json()["order"]

    def test_customers_events_are_gapless_and_have_no_internal_part(
        self, client: FlaskClient, order_id: str
    ) -> None:
        seen = [
            (event["sequence"], event["type"], event["data"])
            for event in events(client, order_id, **self.ANN)
        ]
        assert [one for one, _, _ in seen] == [1, 2, 3, 4, 5, 6]
        kinds = {2: "note.added", 3: "note.added", 4: "order.tagged", 5: "note.erased", 6: "note.added"}
        assert {one: kind for one, kind, _ in seen[1:]} == kinds
        data = {one: set(data) for one, _, data in seen[1:]}
        shown = {"noteId", "visibility", "textDigest"}
        assert data == {2: set(), 3: shown, 4: set(), 5: set(), 6: set()}
