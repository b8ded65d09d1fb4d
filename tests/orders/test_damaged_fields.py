"""With any one field of a stored order missing or damaged, no request gets an internal error."""

from __future__ import annotations

import copy
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from pymongo import WriteConcern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask
    from flask.testing import FlaskClient
    from pymongo.database import Database

pytestmark = pytest.mark.slow

MISSING = object()
VALUES = (MISSING, "x", {"x": "y"})
KEY = {"Idempotency-Key": "k"}
PLACED: dict[str, Any] = {
    "userId": "u",
    "reference": "r",
    "products": [{"productId": "p", "quantity": 2, "unitPrice": 5}],
    "adjustments": [{"kind": "fee", "name": "f", "amount": 1, "line": 1}, {"kind": "discount", "amount": -1}],
    "totalAmount": 10,
    "email": "a@example.org",
    "metadata": {"a": "b"},
    "paymentMethod": "sandbox_refund_fails",
}
KEYED_REFUND = {"amount": 3}
KEYED_NOTE = {"text": "Called."}
KEYED_CANCELLATION = {"products": [{"line": 1, "quantity": 1}], "reason": "one broke"}
KEYED = (PLACED, KEYED_REFUND, KEYED_NOTE, KEYED_CANCELLATION)
# The body of each request about one order; `None` is no body.
BODIES: dict[tuple[str, str], list[Any]] = {
    ("PUT", "/orders/<order_id>"): [
        {"status": "cancelled"},
        {"status": "shipped", "tracking": {"carrier": "c"}},
        {"status": "delivered"},
        {"status": "confirmed"},
    ],
    ("PATCH", "/orders/<order_id>"): [{"email": "b@example.org", "reference": "r"}],
    ("PUT", "/orders/<order_id>/tags"): [["gift"]],
    ("POST", "/orders/<order_id>/notes"): [KEYED_NOTE],
    ("GET", "/orders/<order_id>/notes"): [None],
    ("GET", "/orders/<order_id>/notes/<note_id>"): [None],
    ("DELETE", "/orders/<order_id>/notes/<note_id>"): [None],
    ("POST", "/orders/<order_id>/shipments"): [{"products": [{"line": 1, "quantity": 1}]}],
    ("GET", "/orders/<order_id>/shipments"): [None],
    ("GET", "/orders/<order_id>/shipments/<shipment_id>"): [None],
    ("PATCH", "/orders/<order_id>/shipments/<shipment_id>"): [{"tracking": {"number": "2"}}],
    ("POST", "/orders/<order_id>/shipments/<shipment_id>/deliver"): [None],
    ("POST", "/orders/<order_id>/shipments/<shipment_id>/cancel"): [None],
    ("POST", "/orders/<order_id>/holds"): [{"code": "fraud_review"}],
    ("POST", "/orders/<order_id>/holds/<hold_code>/release"): [None],
    ("DELETE", "/orders/<order_id>/holds/<hold_code>"): [None],
    ("GET", "/orders/<order_id>/diagnosis"): [None],
    ("DELETE", "/orders/<order_id>"): [None],
    ("POST", "/orders/<order_id>/refunds"): [
        {},
        {"amount": 1},
        KEYED_REFUND,
        {"products": [{"productId": "p", "quantity": 1, "restock": True}]},
        {"products": [{"line": 1, "quantity": 1}], "shipping": True},
    ],
    ("POST", "/orders/<order_id>/cancellations"): [KEYED_CANCELLATION],
    ("GET", "/orders/<order_id>/cancellations"): [None],
    ("GET", "/orders/<order_id>/cancellations/<cancellation_id>"): [None],
    ("POST", "/orders/<order_id>/refunds/<refund_id>/retry"): [None],
    ("POST", "/orders/<order_id>/returns"): [{"products": [{"line": 1, "quantity": 1}]}],
    ("GET", "/orders/<order_id>/returns"): [None],
    ("GET", "/orders/<order_id>/returns/<return_id>"): [None],
    ("POST", "/orders/<order_id>/returns/<return_id>/approve"): [None],
    ("POST", "/orders/<order_id>/returns/<return_id>/reject"): [{"reason": "r"}],
    ("POST", "/orders/<order_id>/returns/<return_id>/cancel"): [None],
    ("POST", "/orders/<order_id>/returns/<return_id>/receive"): [
        {"products": [{"line": 1, "quantity": 1, "condition": "resellable"}]},
    ],
    ("POST", "/orders/<order_id>/returns/<return_id>/close"): [None],
    ("GET", "/orders/<order_id>"): [None],
    ("GET", "/orders/<order_id>/events"): [None],
    ("GET", "/orders/<order_id>/events/verify"): [None],
    ("GET", "/orders/<order_id>/refunds"): [None],
    ("GET", "/orders/<order_id>/refunds/<refund_id>"): [None],
}


def test_every_route_about_one_order_is_tried(app: Flask) -> None:
    """So a new route cannot be left out."""
    routes = {
        (method, str(rule.rule))
        for rule in app.url_map.iter_rules()
        if "<order_id>" in rule.rule
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert routes == BODIES.keys()


@pytest.mark.parametrize(
    "state", ["pending", "confirmed, with refunds", "with a note, tags and cancelled pieces", "with returns"]
)
def test_no_damaged_field_leads_to_an_internal_error(
    client: FlaskClient,
    api_database: Database[dict[str, Any]],
    settle: Callable[[str], None],
    state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer is a refusal that every order can get, or `order_unreadable`."""
    # Rendering some thousand tracebacks takes most of the time.
    monkeypatch.setattr("app.orders.reading.log.exception", lambda *_, **__: None)
    monkeypatch.setattr("app.orders.documents_store.log.exception", lambda *_, **__: None)
    orders = api_database["orders"].with_options(write_concern=WriteConcern(w=1, j=False))
    order_id = client.post("/orders", json=PLACED, headers=KEY).get_json()["order"]["id"]
    confirmed, plain = state.startswith("confirmed"), orders.find_one({"_id": ObjectId(order_id)}) or {}
    if confirmed:
        settle(order_id)
        client.post(f"/orders/{order_id}/refunds", json={"products": [{"line": 1, "quantity": 1}]})
        settle(order_id)
        client.post(f"/orders/{order_id}/refunds", json=KEYED_REFUND, headers=KEY)
        part = {"products": [{"line": 1, "quantity": 1}], "tracking": {"number": "1"}}
        assert client.post(f"/orders/{order_id}/shipments", json=part).status_code == 201
    elif state == "with returns":
        settle(order_id)
        for status in ("shipped", "delivered"):
            client.put(f"/orders/{order_id}", json={"status": status})
        for _ in range(2):
            pieces = [{"line": 1, "quantity": 1, "reason": "r"}]
            client.post(f"/orders/{order_id}/returns", json={"products": pieces, "note": "n"})
        client.post(f"/orders/{order_id}/returns/{order_id}-r1/approve")
        parcel = {"products": [{"line": 1, "quantity": 1, "condition": "resellable"}]}
        client.post(f"/orders/{order_id}/returns/{order_id}-r1/receive", json=parcel)
    elif state != "pending":
        client.post(f"/orders/{order_id}/notes", json=KEYED_NOTE, headers=KEY)
        client.put(f"/orders/{order_id}/tags", json=["vip"])
        client.post(f"/orders/{order_id}/cancellations", json=KEYED_CANCELLATION, headers=KEY)
    document = orders.find_one({"_id": ObjectId(order_id)})
    assert document
    refunds = ["failed", "pending"] * confirmed or ["pending"] * (state == "with returns")
    assert [refund["status"] for refund in document.get("refunds", ())] == refunds
    codes = set()
    # The other states have the fields of a plain order already.
    paths = [path for path in _paths(document) if confirmed or state == "pending" or path[0] not in plain]
    for path, value in product(paths, VALUES):
        damaged, is_stored = _damaged(document, path, value), False
        for (method, route), bodies in [*BODIES.items(), (("POST", "/orders"), [PLACED])]:
            url = route.replace("<order_id>", order_id).replace("<refund_id>", f"{order_id}-1")
            url = url.replace("<note_id>", f"{order_id}-n1").replace("<return_id>", f"{order_id}-r2")
            url = url.replace("<cancellation_id>", f"{order_id}-c1")
            url = url.replace("<shipment_id>", f"{order_id}-s1")
            for body in bodies:
                if not is_stored:
                    orders.delete_many({})
                    orders.replace_one({}, damaged, upsert=True, bypass_document_validation=True)
                headers = KEY if body in KEYED else {}
                media_type = "application/merge-patch+json" if method == "PATCH" else None
                answer = client.open(url, method=method, json=body, headers=headers, content_type=media_type)
                code = (answer.get_json(silent=True) or {}).get("code", "")
                assert code != "internal_error", (path, value, method, url, body)
                codes.add(code)
                is_stored = method == "GET" or bool(code)
    assert "order_unreadable" in codes


def _paths(value: Any, *above: str | int) -> Iterator[tuple[str | int, ...]]:
    """The path of every field in a document, at any depth, without its id."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, field in inner:
        if name != "_id":
            yield (*above, name)
            yield from _paths(field, *above, name)


def _damaged(document: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    damaged = copy.deepcopy(document)
    *above, name = path
    owner: Any = damaged
    for step in above:
        owner = owner[step]
    if value is MISSING:
        del owner[name]
    else:
        owner[name] = value
    return damaged
