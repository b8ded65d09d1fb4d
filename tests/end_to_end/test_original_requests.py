"""Clients of the original service go on as before: its documented requests, sent as they stand."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.end_to_end.service import eventually

if TYPE_CHECKING:
    from tests.end_to_end.conftest import ServiceStarter

CREATE = """{
  "userId": "user-id",
  "products": [
    {
      "productId": "product-id",
      "quantity": 2
    }
  ],
  "totalAmount": 200.00
}
"""
JSON = {"Content-Type": "application/json"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_original_services_requests_get_the_documented_answers(
    serve: ServiceStarter, prefix: str
) -> None:
    """Field by field, and then the order's whole way; the original's code put `/api` in front."""
    http = serve(settings={"API_PREFIX": prefix}).http

    def say(method: str, path: str, body: str = "") -> Any:
        answer = http.request(method, path, content=body, headers=JSON if body else {})
        return answer, json.loads(answer.text, parse_float=Decimal) if answer.text else None

    created, body = say("POST", "/orders", CREATE)
    assert created.status_code == 201
    assert created.headers["Content-Type"] == "application/json"
    assert body.keys() == {"message", "order"}
    assert body["message"] == "Order created successfully"
    order = body["order"]
    assert re.fullmatch(r"[0-9a-f]{24}", order["id"])
    assert created.headers["Location"] == f"{prefix}/orders/{order['id']}"
    assert created.headers["ETag"] == '"v1"'
    assert order["userId"] == "user-id"
    assert order["products"] == [{"line": 1, "productId": "product-id", "quantity": 2}]
    assert order["status"] == "pending"
    assert order["totalAmount"] == Decimal(200)
    assert order["currency"] == "USD"
    assert order["payment"] == {"status": "pending", "capturedAmount": 0, "refundedAmount": 0}
    assert order["stock"] == {"status": "pending"}
    assert order["fulfillment"] == {"status": "none", "open": [{"line": 1, "quantity": 2}]}
    assert order["version"] == 1
    assert TIME.fullmatch(order["createdAt"])
    assert order["updatedAt"] == order["createdAt"]
    assert order.keys() == {
        "id", "number", "userId", "products", "status", "totalAmount", "currency", "payment", "stock",
        "fulfillment", "version", "createdAt", "updatedAt",
    }  # fmt: skip

    path = f"/orders/{order['id']}"
    first, body = say("GET", f"{path}?version=1")
    assert (first.status_code, body) == (200, order)

    eventually(lambda: say("GET", path)[1]["status"] == "confirmed")
    shown, body = say("GET", path)
    assert shown.status_code == 200
    assert shown.headers["ETag"] == f'"v{body["version"]}"'
    stands = ("id", "userId", "products", "totalAmount", "currency", "createdAt")
    assert {field: body[field] for field in stands} == {field: order[field] for field in stands}
    assert TIME.fullmatch(body["updatedAt"])
    assert body["updatedAt"] >= order["createdAt"]
    assert body["payment"]["status"] == "captured"
    assert body["payment"]["capturedAmount"] == Decimal(200)

    listed, body_of_list = say("GET", "/orders")
    assert listed.status_code == 200
    assert body_of_list == {"orders": [body]}

    for status in ("shipped", "delivered"):
        updated, body = say("PUT", path, json.dumps({"status": status}))
        assert updated.status_code == 200
        assert body["message"] == "Order updated successfully"
        assert body["order"]["status"] == status
        assert updated.headers["ETag"] == f'"v{body["order"]["version"]}"'
        assert say("GET", path)[1] == body["order"]

    deleted, body = say("DELETE", path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    for method, gone, content in (
        ("GET", path, ""),
        ("GET", f"{path}/events", ""),
        ("PUT", path, '{"status": "delivered"}'),
        ("DELETE", path, ""),
    ):
        answer, problem = say(method, gone, content)
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert problem["code"] == "not_found"
    assert say("GET", "/orders")[1] == {"orders": []}
