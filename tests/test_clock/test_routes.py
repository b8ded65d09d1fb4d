"""The routes of the test clock: there with TEST_CLOCK only, for the shop only, and clear about bad input."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import jsonschema
import pytest

from app.config import ConfigError, Settings
from deploy.local.stack import ROOT
from tests.support.tokens import SETTINGS, bearer, token
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient

ADVANCE, CLOCK = "/test/clock/advance", "/test/clock"
ON = {"TEST_CLOCK": "true"}
ALLOWED = "must be a time with a unit (ms, s, m, h or d), such as 16m, from 0s to 366d"


@pytest.fixture
def app(api_database: object, shared_app: Callable[..., Flask]) -> Flask:
    """The application of a service under test, over an empty database."""
    return shared_app(**ON)


def test_without_the_setting_there_is_no_test_clock(
    api_database: object, shared_app: Callable[..., Flask]
) -> None:
    """Not in the description either."""
    client = shared_app().test_client()
    assert client.post(ADVANCE, json={"by": "16m"}).status_code == 404
    assert client.get(CLOCK).status_code == 404
    assert not [path for path in client.get("/openapi.json").get_json()["paths"] if "/test/" in path]


@pytest.mark.parametrize(
    ("environ", "starts"),
    [
        ({"AUTH": "off"}, True),
        ({**SETTINGS}, True),
        ({"AUTH": "off", "PAYMENT_PROVIDER": "stripe", "STRIPE_API_KEY": "sk_test_1"}, False),
    ],
)
def test_a_service_with_a_real_provider_does_not_start_with_a_test_clock(
    environ: dict[str, str], starts: bool
) -> None:
    if starts:
        assert Settings.from_env({**environ, **ON}).test_clock
    else:
        with pytest.raises(ConfigError, match="TEST_CLOCK is true, which needs PAYMENT_PROVIDER=sandbox"):
            Settings.from_env({**environ, **ON})
    assert not Settings.from_env(environ).test_clock


def test_a_call_answers_the_new_time_and_the_events_as_the_description_says(client: FlaskClient) -> None:
    order = client.post("/orders", json={**SAMPLE, "paymentMethod": "sandbox_unavailable"}).get_json()[
        "order"
    ]

    answer = client.post(ADVANCE, json={"by": "16m"})

    assert answer.status_code == 200, answer.text
    shown = answer.get_json()
    assert shown["done"] is True
    assert "target" not in shown
    assert 950 < shown["offsetSeconds"] <= 960
    events = client.get(f"/orders/{order['id']}/events").get_json()["events"]
    # The order was placed before.
    assert shown["events"] == [{**event, "orderId": order["id"]} for event in events[1:]]
    assert shown["webhookAttempts"] == []
    assert client.get(f"/orders/{order['id']}").get_json()["cancellation"] == {"reason": "expired"}
    time = client.get(CLOCK).get_json()
    assert time["offsetSeconds"] == shown["offsetSeconds"]
    assert time["now"] >= shown["now"] > order["createdAt"]
    schemas = client.get("/openapi.json").get_json()["components"]
    for name, instance in (("AdvancedOut", shown), ("TimeOut", time)):
        jsonschema.validate(instance, {"$ref": f"#/components/schemas/{name}", "components": schemas})


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({}, "/by", "is required"),
        ({"by": None}, "/by", "must not be null"),
        *(
            ({"by": by}, "/by", ALLOWED)
            for by in (
                "16",
                "",
                "-5m",
                "16 m",
                "16min",
                "1w",
                "367d",
                "999999999d",
                "999999999.999999999d",
                "\u0661m",
                "1e3s",
                16,
                ["16m"],
                True,
            )
        ),
        ({"by": "16m", "to": "2030-01-01"}, "/to", "is unknown"),
        ([], "", "must be an object"),
    ],
)
def test_bad_input_is_refused_with_what_is_allowed(
    client: FlaskClient, body: Any, pointer: str, detail: str
) -> None:
    answer = client.post(ADVANCE, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.get_json()["errors"] == [{"pointer": pointer, "detail": detail}]
    assert client.get(CLOCK).get_json()["offsetSeconds"] == 0


@pytest.mark.parametrize("by", ["0s", "1ms", "0.5s", "366d", "8784h"])
def test_every_time_with_a_unit_up_to_a_year_is_allowed(client: FlaskClient, by: str) -> None:
    assert client.post(ADVANCE, json={"by": by}).status_code == 200


def test_the_time_cannot_be_moved_past_what_ids_can_hold(client: FlaskClient, app: Flask) -> None:
    record = app.extensions["services"].test_clock.clock.record._collection
    record.insert_one({"_id": "clock", "offset": 73 * 366 * 86_400_000})
    answer = client.post(ADVANCE, json={"by": "366d"})
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["pointer"] == "/by"
    assert "2100-01-01" in answer.get_json()["errors"][0]["detail"]


def test_of_two_calls_at_once_one_is_a_conflict(client: FlaskClient, app: Flask) -> None:
    with app.extensions["services"].test_clock.clock.moving():
        answer = client.post(ADVANCE, json={"by": "16m"})
    assert (answer.status_code, answer.get_json()["code"]) == (409, "clock_is_moving")
    assert client.post(ADVANCE, json={"by": "16m"}).status_code == 200


def test_the_time_is_the_shop_s_to_move_and_tokens_keep_the_real_time(
    api_database: object, shared_app: Callable[..., Flask]
) -> None:
    client = shared_app(**SETTINGS, **ON).test_client()
    customer, shop = bearer(token()), bearer(token(scope="orders:admin"))
    for headers, status in (({}, 401), (customer, 403), (shop, 200)):
        assert client.post(ADVANCE, json={"by": "2d"}, headers=headers).status_code == status
        assert client.get(CLOCK, headers=headers).status_code == status


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_the_example_of_a_return_window_runs_as_it_is_printed(
    api_database: object, shared_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a worker: the calls that move the time do its work."""
    first, *_, last = re.findall(r"(?ms)^```python\n(.*?)^```", (ROOT / "docs/test-clock.md").read_text())
    app = shared_app(**SETTINGS, **ON)
    with make_server("127.0.0.1", 0, app, handler_class=_Silent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        monkeypatch.setenv("SERVICE", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("CUSTOMER", token("user-1"))
        monkeypatch.setenv("SHOP", token("shop", "orders:admin"))
        try:
            known: dict[str, Any] = {}
            exec(f"{first}\n{last}", known)
        finally:
            server.shutdown()
            thread.join()
    assert known["code"] == "too_late"
