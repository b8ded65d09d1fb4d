"""The client that openapi-python-client makes of the served description, through an order's whole life."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.end_to_end.service import eventually
from tests.support.receiver import Receiver
from tests.support.tokens import SETTINGS, token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.end_to_end.conftest import ServiceStarter

PACKAGE = "generated_client"
SCOPES = "orders:admin stock:write webhooks:write reconciliations:read"


class Api:
    """The generated package, its operations and models by name, and a client of it that brings a token."""

    def __init__(self, base_url: str) -> None:
        package: Any = importlib.import_module(PACKAGE)
        self.client = package.AuthenticatedClient(base_url=base_url, token=token("services", SCOPES))
        self.models: Any = importlib.import_module(f"{PACKAGE}.models")

    def detailed(self, operation: str, *path: str, **arguments: Any) -> Any:
        """The answer to an operation such as `orders.create_order`."""
        module = importlib.import_module(f"{PACKAGE}.api.{operation}")
        return module.sync_detailed(*path, client=self.client, **arguments)

    def call(self, operation: str, *path: str, **arguments: Any) -> Any:
        """The operation's answer, which must not be a problem."""
        answer = self.detailed(operation, *path, **arguments)
        assert answer.status_code < 300, answer.content
        return answer.parsed


@pytest.fixture
def generate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Generates the package from a description; no warning is passed over."""

    def run(description: bytes) -> None:
        (tmp_path / "openapi.json").write_bytes(description)
        here = Path(sys.executable).parent
        result = subprocess.run(
            [
                *(here / "openapi-python-client", "generate", "--fail-on-warning", "--meta", "none"),
                *("--path", tmp_path / "openapi.json", "--output-path", tmp_path / PACKAGE),
            ],
            check=False,
            # Where it finds the linter that it tidies up with.
            env={**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (result.returncode, "arning" in result.stdout) == (0, False), result.stdout
        monkeypatch.syspath_prepend(tmp_path)

    yield run
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_a_generated_client_leads_an_order_through_its_life(serve: ServiceStarter, generate: Any) -> None:
    """Nothing of the description is left out of it, and every answer can be read."""
    service = serve(settings={**SETTINGS, "WEBHOOK_ALLOW_PRIVATE": "true"})
    generate(service.http.get("/openapi.json").content)
    api = Api(service.stack.base_url)
    models = api.models

    with api.client, Receiver() as receiver:
        api.call("stock.set_stock_level", "apple", body=models.LevelIn(on_hand=10))
        wanted = models.EndpointIn(url=receiver.url(), events=[models.EndpointInEventsItem("order.*")])
        endpoint = api.call("webhooks.create_webhook_endpoint", body=wanted)
        line = models.LineIn(product_id="apple", quantity=2, unit_price=3.5)
        draft = models.OrderIn(user_id="ann", products=[line], total_amount=7.0, reference="R-1")
        first = api.detailed("orders.create_order", body=draft, idempotency_key="k", prefer="wait=10")
        order = first.parsed.order
        assert first.headers["Location"].endswith(f"/orders/{order.id}")
        again = api.detailed("orders.create_order", body=draft, idempotency_key="k")
        assert (again.parsed.order.id, again.headers["Idempotent-Replayed"]) == (order.id, "true")
        other = api.call("orders.create_order", body=draft).order
        page = api.call("orders.list_orders", limit=1)
        pages = [page, api.call("orders.list_orders", limit=1, cursor=page.next_cursor)]
        assert [page.orders[0].id for page in pages] == [other.id, order.id]

        for order_id in (order.id, other.id):
            eventually(lambda seen=order_id: api.call("orders.get_order", seen).status == "confirmed")
        assert api.call("stock.get_stock_level", "apple").on_hand == 6
        tracking = models.Tracking(carrier="DHL", number="1")
        for status, more in (("shipped", {"tracking": tracking}), ("delivered", {})):
            change = models.StatusChange(status=models.StatusChangeStatus(status), **more)
            tag = f'"v{api.call("orders.get_order", order.id).version}"'
            assert api.call("orders.update_order", order.id, body=change, if_match=tag).order.status == status
        refused = api.detailed("orders.update_order", order.id, body=change, if_match='"v1"')
        assert (refused.status_code, refused.parsed.code) == (412, models.ProblemCode.STALE_VERSION)

        refund = api.call(
            "refunds.create_refund", order.id, body=models.RefundIn(amount=2.5, reason="bruised")
        )
        eventually(lambda: api.call("refunds.get_refund", order.id, refund.id).status == "succeeded")
        assert api.call("orders.get_order", order.id).payment.refunded_amount == 2.5
        cancelled = models.StatusChange(status=models.StatusChangeStatus.CANCELLED, reason="changed her mind")
        assert api.call("orders.update_order", other.id, body=cancelled).order.status == "cancelled"
        eventually(lambda: api.call("stock.get_stock_level", "apple").on_hand == 8)
        assert api.call("stock.list_stock_movements", "apple").movements[0].quantity == 2

        events = api.call("orders.list_order_events", order.id).events
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        assert api.call("orders.verify_order_events", order.id).intact
        fed = eventually(lambda: feed if len((feed := api.call("events.list_events")).events) > 8 else None)
        assert {event.data.order.id for event in fed.events} == {order.id, other.id}
        eventually(lambda: len(receiver.hooks) >= 6)
        assert all(hook.verified(endpoint.secret) for hook in receiver.hooks)
        assert api.call("webhooks.list_webhook_deliveries", endpoint.id).deliveries
        api.call("webhooks.delete_webhook_endpoint", endpoint.id)

        for order_id in (order.id, other.id):
            api.call("orders.delete_order", order_id)
            gone = api.detailed("orders.get_order", order_id)
            assert (gone.status_code, gone.parsed.code) == (404, models.ProblemCode.NOT_FOUND)
        assert api.call("service.get_readiness").status == "ready"
        report = eventually(lambda: api.call("reconciliations.list_reconciliations").reconciliations)[0]
        assert api.call("reconciliations.get_reconciliation", report.id).differences == []
