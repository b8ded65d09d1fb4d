"""Health, metrics and the documentation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from app.http.access import SCOPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """An application that has counted nothing yet."""
    return make_app()


def test_the_process_lives(client: FlaskClient) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.get_json()) == (200, {"status": "ok"})


def test_the_service_is_ready_without_a_broker(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    body = answer.get_json()
    assert (answer.status_code, body["status"]) == (200, "ready")
    assert body["checks"]["database"] == "ok"
    assert body["checks"]["migrations"] == "ok"
    assert body["checks"]["broker"] != "ok"


def test_the_service_is_not_ready_before_it_is_migrated(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.pending", lambda _: ["0003"])
    answer = make_app().test_client().get("/readyz")
    assert (answer.status_code, answer.get_json()["code"]) == (503, "not_ready")


def test_requests_are_counted_by_route_and_status(client: FlaskClient) -> None:
    for path in ("/orders/1", "/orders/2", "/nowhere/1", "/nowhere/2"):
        client.get(path)
    answer = client.get("/metrics")
    assert answer.content_type.startswith("text/plain")
    assert 'http_requests_total{method="GET",route="/orders/<order_id>",status="404"} 2.0' in answer.text
    assert 'http_requests_total{method="GET",route="unmatched",status="404"} 2.0' in answer.text
    assert 'http_request_duration_seconds_count{method="GET",route="/orders/<order_id>"} 2.0' in answer.text


def test_made_up_methods_do_not_grow_the_metrics(client: FlaskClient) -> None:
    for number in range(5):
        client.open("/orders", method=f"BREW{number}")
    assert (
        'http_requests_total{method="other",route="unmatched",status="405"} 5.0'
        in client.get("/metrics").text
    )


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_documentation_needs_nothing_from_elsewhere(make_app: Callable[..., Flask], prefix: str) -> None:
    client = make_app(API_PREFIX=prefix).test_client()
    page = client.get(f"{prefix}/docs")
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert "//" not in re.sub(r"<!doctype[^>]*>", "", page.text)
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(addresses) == 3
    for address in addresses:
        assert address.startswith(f"{prefix}/docs/")
        with client.get(address) as answer:
            assert answer.status_code == 200
    assert f'url: "{prefix}/openapi.json"' in page.text
    assert client.get(f"{prefix}/openapi.json").status_code == 200
    assert client.get(f"{prefix}/docs/../orders.py").status_code == 404


def test_all_paths_sit_under_the_prefix(make_app: Callable[..., Flask]) -> None:
    app = make_app(API_PREFIX="/api")
    assert all(rule.rule.startswith("/api/") for rule in app.url_map.iter_rules())
    client = app.test_client()
    assert client.get("/orders").status_code == 404
    assert client.get("/api/orders").status_code == 200


def test_every_route_declares_its_callers(app: Flask) -> None:
    open_to_all = set()
    for rule in app.url_map.iter_rules():
        view: Any = app.view_functions[rule.endpoint]
        if view.declared.scope is None:
            open_to_all.add(rule.endpoint)
        else:
            assert view.declared.scope in SCOPES
    open_to_all.remove("payment_events.receive_payment_event")  # authenticated by its signature
    assert {name.partition(".")[0] for name in open_to_all} == {"service"}
