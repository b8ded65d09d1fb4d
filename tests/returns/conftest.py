"""Delivered orders, and calls about their returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from app.services import Services

# Line 1 costs 30.00, of which a discount takes 10.00: so one piece costs 6.66 or 6.67.
ORDER: dict[str, Any] = {
    "products": [
        {"productId": "cup", "quantity": 3, "unitPrice": 10.00},
        {"productId": "tea", "quantity": 2, "unitPrice": 5.00},
    ],
    "adjustments": [
        {"kind": "discount", "amount": -10.00, "line": 1},
        {"kind": "shipping", "amount": 4.90},
    ],
    "totalAmount": 34.90,
}

Call = "Callable[..., TestResponse]"


class Returns:
    """Calls about the returns of one order."""

    def __init__(self, client: FlaskClient, order_id: str, headers: dict[str, str] | None = None) -> None:
        self.client, self.order_id, self.headers = client, order_id, headers or {}
        self.path = f"/orders/{order_id}/returns"

    def announce(self, *products: tuple[int, int], headers: Any = None, **more: Any) -> TestResponse:
        """Announces pieces, given as line and quantity."""
        body = {"products": [{"line": line, "quantity": some} for line, some in products], **more}
        return self.client.post(self.path, json=body, headers={**self.headers, **(headers or {})})

    def made(self, *products: tuple[int, int], **more: Any) -> str:
        """Announces pieces; the id of the return."""
        answer = self.announce(*products, **more)
        assert answer.status_code == 201, answer.text
        return answer.get_json()["id"]

    def approved(self, *products: tuple[int, int], **more: Any) -> str:
        """Announces and approves pieces; the id of the return."""
        return_id = self.made(*products, **more)
        assert self.do(return_id, "approve").status_code == 200
        return return_id

    def do(self, return_id: str, command: str, body: Any = None, headers: Any = None) -> TestResponse:
        """Sends the command."""
        if command == "reject" and body is None:
            body = {"reason": "Made to measure"}
        if command == "receive" and body is None:
            body = {"products": [{"line": 1, "quantity": 1, "condition": "resellable"}]}
        path = f"{self.path}/{return_id}/{command}"
        return self.client.post(path, json=body, headers={**self.headers, **(headers or {})})

    def receive(self, return_id: str, *pieces: tuple[int, int, str], **more: Any) -> TestResponse:
        """Receives pieces, given as line, quantity and condition."""
        products = [
            {"line": line, "quantity": some, "condition": condition} for line, some, condition in pieces
        ]
        return self.do(return_id, "receive", {"products": products, **more})

    def get(self, return_id: str) -> Any:
        """The return."""
        return self.client.get(f"{self.path}/{return_id}", headers=self.headers).get_json()

    def order(self) -> Any:
        """The order."""
        return self.client.get(f"/orders/{self.order_id}", headers=self.headers).get_json()

    def refunds(self) -> list[Any]:
        """The refunds of the order."""
        path = f"/orders/{self.order_id}/refunds"
        return self.client.get(path, headers=self.headers).get_json()["refunds"]

    def types(self) -> list[str]:
        """The types of the order's events."""
        path = f"/orders/{self.order_id}/events"
        events = self.client.get(path, headers=self.headers).get_json()["events"]
        return [event["type"] for event in events]


def refusal(answer: TestResponse) -> tuple[int, str]:
    """The status and the code of a refusal."""
    return answer.status_code, answer.get_json()["code"]


def pointers(answer: TestResponse) -> list[str]:
    """The pointers of a 422."""
    assert answer.status_code == 422, answer.text
    return [fault["pointer"] for fault in answer.get_json()["errors"]]


@pytest.fixture
def brought(
    client: FlaskClient, post_order: Callable[..., Any], settle: Callable[[str], None]
) -> Callable[..., Returns]:
    """Places the order with such changes and takes it to a status, `delivered` by default."""

    def make(status: str = "delivered", **changes: Any) -> Returns:
        order_id = post_order(**{**ORDER, **changes})["id"]
        settle(order_id)
        for wanted in {"shipped": ["shipped"], "delivered": ["shipped", "delivered"]}.get(status, []):
            assert client.put(f"/orders/{order_id}", json={"status": wanted}).status_code == 200
        return Returns(client, order_id)

    return make


@pytest.fixture
def returns(brought: Callable[..., Returns]) -> Returns:
    """A delivered order."""
    return brought()


@pytest.fixture
def later(app_services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[timedelta], None]]:
    """Moves the service's clock on."""
    clock, usual = type(app_services.clock), type(app_services.clock).__call__

    def move(by: timedelta) -> None:
        monkeypatch.setattr(clock, "__call__", lambda self: usual(self) + by)

    yield move
    monkeypatch.undo()
