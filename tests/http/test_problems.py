"""Every refusal is a problem, from any part of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from app import create_app
from app.config import Settings
from app.errors import OrderServiceError
from app.http.problems import CODES_OF_ERRORS, PROBLEMS
from app.mongo.database import connect
from app.services import services_over
from tests.support.web_fixtures import NO_BROKER, SAMPLE

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse


def check(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.get_json()
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert {"type", "title", "status", "detail", "instance", "code", "requestId"} <= set(body)
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"].endswith(code)
    assert body["requestId"] == answer.headers["X-Request-ID"]
    return body


def test_an_unknown_path_is_404(client: FlaskClient) -> None:
    for path in ("/", "/nothing", "//orders", "/orders//", "/orders/a/b", "/healthz/x", "/%00", "/é"):
        body = check(client.get(path), 404, "not_found")
        assert body["detail"] == "Nothing has this path. The API description (openapi.json) lists all paths."


def test_a_problem_names_its_path(client: FlaskClient) -> None:
    assert check(client.get("/a b/é?x=1"), 404, "not_found")["instance"] == "/a%20b/%C3%A9"
    answer = client.get("/x", base_url="http://localhost/mounted")
    assert check(answer, 404, "not_found")["instance"] == "/mounted/x"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/orders", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("POST", "/orders/x", {"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}),
        ("POST", "/orders/x/events", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/stock/p", {"GET", "HEAD", "OPTIONS", "PUT"}),
        ("PUT", "/stock/p/adjustments", {"OPTIONS", "POST"}),
        ("GET", "/stock/a/b/adjustments", {"OPTIONS", "POST"}),
        ("PUT", "/stock/p/movements", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "/orders", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("BREW", "/healthz", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_an_unknown_method_is_405_with_the_allowed_ones(
    client: FlaskClient, method: str, path: str, allowed: set[str]
) -> None:
    answer = client.open(path, method=method)
    detail = check(answer, 405, "method_not_allowed")["detail"]
    assert set(answer.headers["Allow"].split(", ")) == allowed
    assert detail == f"This path allows only these methods: {answer.headers['Allow']}."


@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml", "application/json;q=0", "application/problem+json", "image/*"]
)
def test_a_client_that_takes_no_json_gets_406_and_nothing_is_done(
    client: FlaskClient, api_database: Any, accept: str
) -> None:
    check(client.post("/orders", json=SAMPLE, headers={"Accept": accept}), 406, "not_acceptable")
    assert api_database.orders.count_documents({}) == 0


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/*", "application/json", "text/html, */*;q=0.1", "application/json;q=0.2", ""],
)
def test_a_client_that_takes_json_among_others_gets_it(client: FlaskClient, accept: str) -> None:
    assert client.get("/orders", headers={"Accept": accept}).status_code == 200


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("abc-1.2_3", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("a b", False),
        ("é", False),
        ("<script>", False),
    ],
)
def test_a_request_id_is_taken_if_sane_and_made_if_not(client: FlaskClient, given: str, taken: bool) -> None:
    for path, status in (("/orders", 200), ("/nothing", 404)):
        answer = client.get(path, headers={"X-Request-ID": given.encode().decode("latin-1")})
        echoed = answer.headers["X-Request-ID"]
        assert (echoed == given) == taken
        assert answer.status_code == status
        assert len(echoed) >= 1


def test_the_request_id_stands_in_every_line_of_the_log(client: FlaskClient) -> None:
    with capture_logs() as lines:
        client.get("/orders/none", headers={"X-Request-ID": "abc"})
    (line,) = lines
    assert line["event"] == "request"
    assert (line["method"], line["route"], line["status"]) == ("GET", "/orders/<order_id>", 404)
    assert line["order_id"] == "none"


def test_a_bug_is_a_500_that_says_nothing_and_is_logged(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr("app.orders.service.get_order", fail)
    with capture_logs() as lines:
        answer = app.test_client().get("/orders/x")
    check(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert next(line for line in lines if line["log_level"] == "error")["exc_info"]


@pytest.mark.slow
def test_a_database_that_cannot_be_reached_is_503_with_a_time_to_come_back() -> None:
    settings = Settings.from_env(
        {"AUTH": "off", "MONGO_URI": "mongodb://127.0.0.1:1/x?directConnection=true", "REDIS_URL": NO_BROKER}
    )
    api_database = connect(settings.mongo_uri)
    with api_database.client:
        client = create_app(settings, services_over(api_database, settings)).test_client()
        for answer in (client.post("/orders", json=SAMPLE), client.get("/orders")):
            check(answer, 503, "database_unavailable")
            assert int(answer.headers["Retry-After"]) > 0
        answer = client.get("/readyz")
        assert check(answer, 503, "not_ready")["checks"]["database"] != "ok"
        assert int(answer.headers["Retry-After"]) > 0
        assert client.get("/healthz").status_code == 200


def test_a_problem_names_100_faults_and_how_many_more_there_are(client: FlaskClient) -> None:
    unknown = {f"field{number}": 1 for number in range(2500)}
    body = check(client.post("/orders", json={**SAMPLE, **unknown}), 422, "invalid_input")
    assert len(body["errors"]) == 100
    assert body["omittedErrors"] == 2400
    assert "2500" in body["detail"]


def test_a_problem_with_few_faults_names_them_all(client: FlaskClient) -> None:
    body = check(client.post("/orders", json={**SAMPLE, "color": "red", "size": 3}), 422, "invalid_input")
    assert {fault["pointer"] for fault in body["errors"]} == {"/color", "/size"}
    assert "omittedErrors" not in body


@pytest.mark.parametrize(
    "raw",
    [
        b"{%s}" % b",".join(b'"%d":1' % number for number in range(24_000)),
        b"{%s}" % b",".join(b'"%s%d":1' % (b"\\u0001" * 40, number) for number in range(1000)),
        b'{"%s":1}' % (b"a" * 250_000),
        b'{"%s":1}' % ("\N{GRINNING FACE}" * 60_000).encode(),
        b'{"metadata":{%s}}' % b",".join(b'"%s%d":1' % (b"~" * 5000, number) for number in range(20)),
        b'{"products":[%s]}' % b",".join([b"{}"] * 200),
        b"[%s]" % b",".join([b"NaN"] * 60_000),
        b'{"a":1%s}' % (b',"a":1' * 40_000),
    ],
)
def test_no_body_makes_a_problem_large(client: FlaskClient, raw: bytes) -> None:
    answer = client.post("/orders", data=raw, content_type="application/json")
    assert answer.status_code in (400, 422)
    assert answer.get_json()["errors"]
    assert len(answer.data) < 32 * 1024


def test_no_path_makes_a_problem_large(client: FlaskClient) -> None:
    answer = client.get("/" + "é" * 4000, query_string={f"{'x' * 50}{number}": "y" for number in range(100)})
    assert len(answer.data) < 32 * 1024
    listed = client.get("/orders", query_string={f"{'x' * 20}{number}": "y" for number in range(300)})
    assert listed.get_json()["omittedErrors"] == 200


def test_every_refusal_of_the_domain_has_its_problem() -> None:
    kinds = list(OrderServiceError.__subclasses__())
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert {kind for kind in kinds if kind.__module__ == "app.errors"} == set(CODES_OF_ERRORS)
    assert set(CODES_OF_ERRORS.values()) <= set(PROBLEMS)


def test_head_has_no_body_and_options_lists_the_methods(client: FlaskClient) -> None:
    path = client.post("/orders", json=SAMPLE).headers["Location"]
    head = client.head(path)
    assert (head.status_code, head.data, head.headers["ETag"]) == (200, b"", '"v1"')
    missing = client.head("/orders/none")
    assert (missing.status_code, missing.data) == (404, b"")
    options = client.options(path)
    assert options.status_code in (200, 204)
    assert set(options.headers["Allow"].split(", ")) == {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT"}
