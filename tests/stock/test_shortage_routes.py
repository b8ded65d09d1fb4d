"""What clients may ask for in case of a shortage, and how they see what became of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.clock import now, to_text
from app.stock.taking import deal_stock
from tests.support.doubles import eventually
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from app.services import Services

LATER = to_text(now() + timedelta(days=1))
PAST = to_text(now() - timedelta(days=1))
PRICED = [{"productId": "product-id", "quantity": 2, "unitPrice": 100}]
BACKORDER = {**SAMPLE, "onShortage": "backorder", "backorderUntil": LATER}


def faults(answer: TestResponse) -> list[str]:
    assert answer.status_code == 422, answer.text
    return sorted(fault["pointer"] for fault in answer.get_json()["errors"])


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"onShortage": "wait"}, ["/onShortage"]),
        ({"onShortage": "wait", "backorderUntil": LATER}, ["/onShortage"]),
        ({"onShortage": None}, ["/onShortage"]),
        ({"onShortage": "partial"}, ["/onShortage"]),
        ({"onShortage": "backorder"}, ["/backorderUntil"]),
        ({"onShortage": "backorder", "backorderUntil": PAST}, ["/backorderUntil"]),
        ({"onShortage": "backorder", "backorderUntil": "soon"}, ["/backorderUntil"]),
        ({"onShortage": "cancel", "backorderUntil": LATER}, ["/backorderUntil"]),
        ({"onShortage": "partial", "products": PRICED, "backorderUntil": LATER}, ["/backorderUntil"]),
        ({"backorderUntil": LATER}, ["/backorderUntil"]),
        ({"stockFirst": True}, ["/stockFirst"]),
    ],
)
def test_a_choice_that_does_not_fit_is_refused_by_name(
    client: FlaskClient, fields: dict[str, Any], pointers: list[str]
) -> None:
    assert faults(client.post("/orders", json={**SAMPLE, **fields})) == pointers
    assert faults(client.post("/orders?dryRun=true", json={**SAMPLE, **fields})) == pointers


@pytest.mark.parametrize(
    "fields",
    [
        {"onShortage": "cancel"},
        {"onShortage": "partial", "products": PRICED},
        {"onShortage": "backorder", "backorderUntil": LATER},
    ],
)
def test_a_choice_is_shown_as_it_was_sent(client: FlaskClient, fields: dict[str, Any]) -> None:
    answer = client.post("/orders", json={**SAMPLE, **fields})
    assert answer.status_code == 201, answer.text
    order = answer.get_json()["order"]
    assert {name: order.get(name) for name in ("onShortage", "backorderUntil")} == {
        name: fields.get(name) for name in ("onShortage", "backorderUntil")
    }
    assert "stockFirst" not in order
    assert client.get(answer.headers["Location"]).get_json() == order


def test_a_backorder_can_be_posted_again_after_its_time(client: FlaskClient, app_services: Services) -> None:
    key = {"Idempotency-Key": "k"}
    soon = to_text(app_services.clock() + timedelta(milliseconds=300))
    body = {**BACKORDER, "backorderUntil": soon}
    first = client.post("/orders", json=body, headers=key)
    assert first.status_code == 201
    eventually(lambda: to_text(app_services.clock()) > soon)
    again = client.post("/orders", json=body, headers=key)
    assert (again.status_code, again.data) == (201, first.data)
    assert faults(client.post("/orders", json=body)) == ["/backorderUntil"]


def test_a_backorder_is_seen_to_wait_and_to_be_served(
    client: FlaskClient, app_services: Services, settle: Callable[[str], None]
) -> None:
    client.put("/stock/product-id", json={"onHand": 1})
    order_id = client.post("/orders", json=BACKORDER).get_json()["order"]["id"]
    settle(order_id)
    waiting = client.get(f"/orders/{order_id}").get_json()
    shortage = {"productId": "product-id", "requested": 2, "available": 1}
    assert waiting["stock"] == {"status": "backordered", "shortages": [shortage]}
    assert waiting["payment"]["status"] == "pending"
    seen = client.get(f"/orders/{order_id}/diagnosis").get_json()
    assert (seen["state"], seen["waitingFor"], seen["step"]) == ("waiting", "stock", "decrement")
    assert seen["otherwise"] == {"what": "order.cancelled", "at": LATER}
    assert "next" not in seen
    assert seen["since"] == waiting["updatedAt"]
    listed = client.get("/diagnoses?state=waiting").get_json()["diagnoses"]
    assert [one["orderId"] for one in listed] == [order_id]
    client.post("/stock/product-id/adjustments", json={"quantity": 1, "reason": "delivery"})
    deal_stock(app_services.stock)
    served = client.get(f"/orders/{order_id}").get_json()
    assert served["stock"].keys() == {"status", "heldUntil"}
    level = client.get("/stock/product-id").get_json()
    assert (level["onHand"], level["held"]) == (0, 2)
    settle(order_id)
    assert client.get(f"/orders/{order_id}").get_json()["stock"] == {"status": "decremented"}
    assert client.get("/stock/product-id").get_json()["held"] == 0


def test_a_dry_run_foresees_that_an_order_waits_is_cut_or_is_cancelled(client: FlaskClient) -> None:
    client.put("/stock/product-id", json={"onHand": 1})

    def foreseen(**fields: Any) -> Any:
        return client.post("/orders?dryRun=true", json={**SAMPLE, **fields}).get_json()

    waits = foreseen(onShortage="backorder", backorderUntil=LATER)
    assert (waits["sets"], waits["stock"], waits["money"]["capture"]) == (["stock.backordered"], [], 0)
    cut = foreseen(onShortage="partial", products=PRICED)
    assert cut["sets"] == [
        "payment.authorized", "cancellation.created", "stock.decremented", "payment.captured",
        "order.confirmed",
    ]  # fmt: skip
    assert cut["stock"] == [{"productId": "product-id", "before": 1, "after": 0}]
    assert cut["money"]["capture"] == 100
    assert foreseen()["sets"][-3:] == ["stock.insufficient", "order.cancelled", "payment.voided"]
