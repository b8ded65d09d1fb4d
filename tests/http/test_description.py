"""The description is true: of every route, of every answer, of what is taken and what is not."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.feed.service import catch_up
from app.http.openapi import operation_id
from app.http.problems import PROBLEMS
from app.reconciliation import run as reconciling
from tests.support.payment_events import event as payment_event
from tests.support.payment_events import signed
from tests.support.tokens import SETTINGS as TOKENS
from tests.support.web_fixtures import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

OPTIONAL_HEADERS = {"Idempotent-Replayed", "Preference-Applied", "Link", "RateLimit", "RateLimit-Policy"}
OPTIONAL_HEADERS |= {"Dry-Run"}
DRY = {"dryRun": "true"}


def described(app: Flask) -> dict[str, Any]:
    return app.test_client().get("/openapi.json").get_json()


@pytest.fixture
def app(api_database: object, shared_app: Callable[..., Flask]) -> Flask:
    """The application with all routes there are, over an empty database."""
    return shared_app(TEST_CLOCK="true")


@pytest.fixture
def description(app: Flask) -> dict[str, Any]:
    return described(app)


def valid(value: Any, schema: dict[str, Any], description: dict[str, Any]) -> None:
    """Checks a value, and that the schema has each of its members."""
    closed = json.loads(json.dumps({**schema, "components": description["components"]}))
    for component in closed["components"]["schemas"].values():
        component.setdefault("additionalProperties", False)
    Draft202012Validator(closed, format_checker=FormatChecker()).validate(value)


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in description["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, operation


def test_the_description_is_openapi_3_1(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(description).validate()


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_every_route_is_described_and_nothing_else(make_app: Callable[..., Flask], prefix: str) -> None:
    app = make_app(API_PREFIX=prefix, TEST_CLOCK="true")
    names = {"<order_id>": "{id}", "<path:product_id>": "{productId}", "<product:product_id>": "{productId}"}
    names |= {"<endpoint_id>": "{id}", "<delivery_id>": "{deliveryId}", "<refund_id>": "{refundId}"}
    names |= {"<hold_code>": "{code}", "<note_id>": "{noteId}", "<return_id>": "{returnId}"}
    names |= {"<cancellation_id>": "{cancellationId}"}
    names |= {"<shipment_id>": "{shipmentId}"}
    names |= {"<provider>": "{provider}", "<report_id>": "{id}"}
    served = {
        (re.sub("<.*?>", lambda match: names[match[0]], rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.endpoint != "service.get_docs_asset"
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    description = app.test_client().get(f"{prefix}/openapi.json").get_json()
    assert served == {(path, method) for path, method, _ in operations(description)}


def test_every_operation_has_an_id_of_its_own_that_is_a_verb_and_a_noun(description: dict[str, Any]) -> None:
    verbs = "advance|create|get|list|update|amend|delete|set|verify|release|retry|rotate|send|replay|receive"
    verbs += "|approve|reject|cancel|close|deliver"
    ids = [operation["operationId"] for _, _, operation in operations(description)]
    assert len(set(ids)) == len(ids)
    assert {"createOrder", "getOrder", "listOrders", "updateOrder", "deleteOrder"} < set(ids)
    assert {"listEvents", "listOrderEvents", "createRefund", "createWebhookEndpoint"} < set(ids)
    assert [name for name in ids if not re.fullmatch(rf"({verbs})([A-Z][a-z]+)+", name)] == []


def test_every_operation_has_a_summary_and_all_its_answers(description: dict[str, Any]) -> None:
    for path, method, operation in operations(description):
        assert operation["summary"], path
        assert operation["operationId"], path
        assert "500" in operation["responses"], path
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= set(operation["responses"]), (path, method)
        if "{" in path and method != "put":
            assert "404" in operation["responses"], path
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"], (path, method, status)


@pytest.mark.parametrize("auth", ["off", "jwt"])
def test_every_operation_says_which_scope_it_needs_where_tokens_are_asked_for(
    make_app: Callable[..., Flask], auth: str
) -> None:
    app = make_app(**{**TOKENS, "AUTH": auth})
    description = described(app)
    OpenAPIV31SpecValidator(description).validate()
    schemes = description["components"].get("securitySchemes", {})
    assert [scheme["scheme"] for scheme in schemes.values()] == (["bearer"] if auth == "jwt" else [])
    scopes = {operation_id(endpoint): view.declared.scope for endpoint, view in app.view_functions.items()}
    for path, method, operation in operations(description):
        scope = scopes[operation["operationId"]]
        asked = auth == "jwt" and scope is not None
        assert operation.get("security") == ([{"token": [scope]}] if asked else None), (path, method)
        assert ({"401", "403"} <= set(operation["responses"])) is asked, (path, method)


def undescribed(description: dict[str, Any]) -> Iterator[str]:
    """All operations, parameters, headers, schemas and their properties without a sentence about them."""
    for path, method, operation in operations(description):
        where = f"{method} {path}"
        parameters = (*operation["parameters"], *description["paths"][path].get("parameters", ()))
        headers = {
            name: header
            for answer in operation["responses"].values()
            for name, header in answer.get("headers", {}).items()
        }
        parts = {
            "summary": operation.get("summary"),
            **{parameter["name"]: parameter.get("description") for parameter in parameters},
            **{name: header.get("description") for name, header in headers.items()},
            **{status: answer.get("description") for status, answer in operation["responses"].items()},
        }
        yield from (f"{where}: {name}" for name, text in parts.items() if not text)
    for name, schema in description["components"]["schemas"].items():
        parts = {"itself": schema} | schema.get("properties", {})
        yield from (f"{name}: {part}" for part, inside in parts.items() if not inside.get("description"))


def test_every_operation_parameter_header_and_property_is_described(app: Flask) -> None:
    assert list(undescribed(described(app))) == []


def test_the_walk_finds_missing_descriptions(description: dict[str, Any]) -> None:
    order = description["paths"]["/orders/{id}"]
    del order["get"]["summary"], order["parameters"][0]["description"]
    del order["put"]["responses"]["200"]["headers"]["ETag"]["description"]
    del description["components"]["schemas"]["Order"]["properties"]["userId"]["description"]
    assert set(undescribed(description)) >= {
        "get /orders/{id}: summary",
        "delete /orders/{id}: id",
        "put /orders/{id}: ETag",
        "Order: userId",
    }


def test_every_body_and_answer_has_an_example_and_it_is_valid(description: dict[str, Any]) -> None:
    """But for the page, the metrics and the description itself, which are large."""
    for path, _, operation in operations(description):
        for holder in (operation.get("requestBody", {}), *operation["responses"].values()):
            for media in holder.get("content", {}).values():
                examples = [example["value"] for example in media.get("examples", {}).values()]
                examples += [media["example"]] if "example" in media else []
                assert examples or path in ("/docs", "/metrics", "/openapi.json"), path
                for example in examples:
                    valid(example, media["schema"], description)


def test_every_link_leads_to_an_operation_and_its_parameters(description: dict[str, Any]) -> None:
    known = {
        operation["operationId"]: {
            parameter["name"]
            for parameter in (*operation["parameters"], *description["paths"][path].get("parameters", ()))
        }
        for path, _, operation in operations(description)
    }
    links = [
        link
        for _, _, operation in operations(description)
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert len(links) > 30
    for link in links:
        assert set(link["parameters"]) <= known[link["operationId"]], link


def test_every_problem_that_a_route_can_have_is_described(make_app: Callable[..., Flask]) -> None:
    shown = {
        code
        for _, _, operation in operations(described(make_app(**TOKENS, TEST_CLOCK="true")))
        for response in operation["responses"].values()
        for code in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    assert set(PROBLEMS) - shown == {"bad_request", "method_not_allowed"}


def test_inputs_are_closed(description: dict[str, Any]) -> None:
    for name in (
        "OrderIn",
        "LineIn",
        "Address",
        "StatusChange",
        "Tracking",
        "LevelIn",
        "AdjustmentIn",
        "EndpointIn",
    ):
        assert description["components"]["schemas"][name]["additionalProperties"] is False


def _correct(call: Callable[..., Any], path: str) -> None:
    """Corrections of a confirmed order."""
    one, merge_patch = "/orders/{id}", {"content_type": "application/merge-patch+json"}
    for body in ({"reference": None}, {"reference": None}, {"reference": ""}):
        call("patch", one, path, json=body, **merge_patch)
    call("patch", one, path, json={})
    call("patch", one, "/orders/none", json={}, **merge_patch)
    call("patch", one, path, json={}, headers={"If-Match": '"v1"'}, **merge_patch)
    tags, notes, note = f"{one}/tags", f"{one}/notes", f"{one}/notes/{{noteId}}"
    for body in (["vip"], [], ["VIP"], {}):
        call("put", tags, f"{path}/tags", json=body, headers={"Idempotency-Key": "t"})
    call("put", tags, "/orders/none/tags", json=[])
    where = call("post", notes, f"{path}/notes", json={"text": "Called."}).headers["Location"]
    for body in ({"text": "Called."}, {"text": "Called."}, {}, {"text": "Called twice."}):
        call("post", notes, f"{path}/notes", json=body, headers={"Idempotency-Key": "n"})
    call("get", notes, f"{path}/notes")
    call("get", note, where)
    call("delete", note, where, query_string=DRY)
    call("post", notes, f"{path}/notes", json={"text": "Called."}, query_string=DRY)
    call("delete", note, where, headers={"If-Match": '"v1"'})
    call("delete", note, where)
    call("get", note, where)
    call("delete", note, where)
    call("post", notes, "/orders/none/notes", json={"text": "Called."})
    call("get", notes, "/orders/none/notes")


def _diagnose(call: Callable[..., Any], path: str) -> None:
    """One order, one that does not exist, and lists."""
    for location in (path, "/orders/none"):
        call("get", "/orders/{id}/diagnosis", f"{location}/diagnosis")
    for query in ({"state": "done", "limit": 1}, {"state": "odd"}, {"cursor": "x"}):
        call("get", "/diagnoses", query_string=query)


def _refund(call: Callable[..., Any], settle: Callable[[str], None], path: str) -> None:
    """Refunds of a confirmed order, and of one that fails at first."""
    refunds, retry = "/orders/{id}/refunds", "/orders/{id}/refunds/{refundId}/retry"
    for body in ({"amount": 1, "reason": "late"}, {"amount": 1}, {"amount": 1000}, {"amount": 0}):
        call("post", refunds, f"{path}/refunds", json=body, headers={"Idempotency-Key": "r"})
    call("post", refunds, "/orders/none/refunds")
    call("post", refunds, f"{path}/refunds", json={"amount": 1}, query_string=DRY)
    call("get", refunds, f"{path}/refunds")
    call("get", "/orders/{id}/refunds/{refundId}", f"{path}/refunds/{path.rpartition('/')[2]}-1")
    call("post", retry, f"{path}/refunds/{path.rpartition('/')[2]}-2/retry")
    figs = [{"productId": "fig", "quantity": 1}]
    draft = {**SAMPLE, "products": figs, "paymentMethod": "sandbox_refund_fails_once"}
    failing = call("post", "/orders", json=draft).headers["Location"]
    order_id = failing.rpartition("/")[2]
    settle(order_id)
    call("post", refunds, f"{failing}/refunds", json={})
    settle(order_id)
    call("post", retry, f"{failing}/refunds/{order_id}-1/retry", query_string=DRY)
    call("post", retry, f"{failing}/refunds/{order_id}-1/retry")
    call("post", retry, f"{failing}/refunds/{order_id}-1/retry")


def _cancel_pieces(call: Callable[..., Any], path: str) -> None:
    """Each answer of a part cancellation."""
    cancellations, one = "/orders/{id}/cancellations", "/orders/{id}/cancellations/{cancellationId}"
    url, body = f"{path}/cancellations", {"products": [{"line": 1, "quantity": 1}], "reason": "r"}
    call("post", cancellations, url, json=body, query_string=DRY)
    made = call("post", cancellations, url, json=body).headers["Location"]
    for other in ({"products": [{"line": 1, "quantity": 2}]}, {}):
        call("post", cancellations, url, json=other)
    call("post", cancellations, url, json=body, headers={"If-Match": '"v1"'})
    call("post", cancellations, "/orders/none/cancellations", json=body)
    for location in (url, "/orders/none/cancellations"):
        call("get", cancellations, location)
    for location in (made, f"{made}0"):
        call("get", one, location)


def _hold(call: Callable[..., Any], path: str) -> None:
    """Each answer of a hold, and of its release."""
    holds, one = "/orders/{id}/holds", "/orders/{id}/holds/{code}"
    for body in ({"code": "a", "reason": "r", "until": "2100-01-01T00:00:00Z"}, {"code": "a"}, {}):
        call("post", holds, f"{path}/holds", json=body)
    call("post", holds, f"{path}/holds", json={"code": "b"}, headers={"If-Match": '"v1"'})
    call("put", "/orders/{id}", path, json={"status": "shipped"})
    for code in ("a", "a"):
        call("post", f"{one}/release", f"{path}/holds/{code}/release", json={"reason": "ok"})
    call("post", holds, f"{path}/holds", json={"code": "b"})
    for code in ("b", "b"):
        call("delete", one, f"{path}/holds/{code}")


def _return(call: Callable[..., Any], settle: Callable[[str], None]) -> None:
    """Each answer of the calls about returns."""
    draft = {**SAMPLE, "products": [{"productId": "fig", "quantity": 2}]}
    path = call("post", "/orders", json=draft).headers["Location"]
    settle(path.rpartition("/")[2])
    for status in ("shipped", "delivered"):
        call("put", "/orders/{id}", path, json={"status": status})
    returns, one, piece = (
        "/orders/{id}/returns",
        "/orders/{id}/returns/{returnId}",
        {"line": 1, "quantity": 1},
    )
    announced = {"products": [{**piece, "reason": "r"}], "note": "n", "refund": "on_approval"}
    for more in ({"query_string": DRY}, {}, {}, {"json": {}}, {"headers": {"If-Match": '"v1"'}}):
        made = call("post", returns, f"{path}/returns", **{"json": announced, **more})
    call("get", returns, f"{path}/returns")
    call("post", returns, "/orders/none/returns", json=announced)
    first, second = (f"{path}/returns/{path.rpartition('/')[2]}-r{number}" for number in (1, 2))
    parcel = {"products": [{**piece, "condition": "damaged"}]}
    for target in (first, f"{path}/returns/none"):
        for command, body in (("approve", {"amount": 1}), ("receive", parcel), ("close", None)):
            call("post", f"{one}/{command}", f"{target}/{command}", json=body)
        call("get", one, target)
    call("post", f"{one}/reject", f"{second}/reject", json={})
    call("post", f"{one}/reject", f"{second}/reject", json={"reason": "r"})
    call("post", f"{one}/cancel", f"{second}/cancel")
    made = call("post", returns, f"{path}/returns", json={"products": [piece]})
    assert made.status_code == 201
    call("post", f"{one}/cancel", f"{made.headers['Location']}/cancel")


def _ship(call: Callable[..., Any], path: str) -> None:
    """Each answer of a shipment: made, read, corrected, delivered and cancelled."""
    shipments, one = "/orders/{id}/shipments", "/orders/{id}/shipments/{shipmentId}"
    url, body = f"{path}/shipments", {"products": [{"line": 1, "quantity": 1}], "tracking": {"number": "2"}}
    call("post", shipments, url, json=body, query_string=DRY)
    made = call("post", shipments, url, json=body).headers["Location"]
    for other in ({"products": [{"line": 1, "quantity": 2}]}, {"products": []}):
        call("post", shipments, url, json=other)
    call("post", shipments, url, json=body, headers={"If-Match": '"v1"'})
    call("post", shipments, "/orders/none/shipments", json=body)
    patch: dict[str, Any] = {
        "json": {"tracking": {"number": None}},
        "content_type": "application/merge-patch+json",
    }
    call("patch", one, made, **patch)
    for command in ("cancel", "deliver"):
        for location in (f"{made}/{command}", f"{made}0/{command}"):
            call("post", f"{one}/{command}", location)
    call("patch", one, made, json={"tracking": {"number": "3"}}, content_type="application/merge-patch+json")
    again = call("post", shipments, url, json=body).headers["Location"]
    call("post", f"{one}/deliver", f"{again}/deliver")
    for location in (url, "/orders/none/shipments"):
        call("get", shipments, location)
    for location in (made, f"{made}0"):
        call("get", one, location)


def test_every_answer_matches_its_description(
    app: Flask, client: FlaskClient, description: dict[str, Any], settle: Callable[[str], None]
) -> None:
    """One of each kind of answer, held to its schema."""
    seen = set()

    def call(method: str, template: str, path: str | None = None, **request: Any) -> TestResponse:
        answer = client.open(path or template, method=method.upper(), **request)
        operation = description["paths"][template][method]
        response = operation["responses"][str(answer.status_code)]
        for name in set(response["headers"]) - OPTIONAL_HEADERS:
            assert name in answer.headers, (method, template, name)
        if "content" in response:
            media = response["content"][answer.mimetype]
            value = answer.get_json() if answer.is_json else answer.text
            valid(value, media["schema"], description)
        else:
            assert answer.data == b""
        seen.add((template, method, answer.status_code))
        return answer

    one, level = "/orders/{id}", "/stock/{productId}"
    call("put", level, "/stock/product-id", json={"onHand": 10})
    call("put", level, "/stock/product-id", json={"onHand": 3})
    call("put", level, "/stock/product-id", json={})
    full = {
        **SAMPLE,
        "products": [{"productId": "product-id", "quantity": 2, "unitPrice": 100}],
        "reference": "R-1",
        "email": "ann@example.org",
        "shippingAddress": {"name": "Ann", "country": "DE"},
        "metadata": {"a": "b"},
        "paymentMethod": "sandbox_ok",
    }
    key = {"Idempotency-Key": "k", "Prefer": "wait=0"}
    for body in (full, full, SAMPLE, {}):
        call("post", "/orders", json=body, headers=key)
    call("post", "/orders", json=full, query_string=DRY)
    call("post", "/orders", data="{", content_type="application/json")
    call("post", "/orders", data="{", content_type="text/plain")
    call("post", "/orders", data=" " * 300_000, content_type="application/json")
    call("post", "/orders", json=SAMPLE, headers={"Accept": "text/html"})
    declined = call("post", "/orders", json={**SAMPLE, "paymentMethod": "sandbox_declined"})
    short = call("post", "/orders", json=SAMPLE).headers["Location"]
    path = call("get", "/orders").get_json()["orders"][-1]["id"]
    path = f"/orders/{path}"
    for location in (path, declined.headers["Location"], short):
        settle(location.rpartition("/")[2])
        call("get", one, location)
    _diagnose(call, short)
    call("get", "/orders", query_string={"limit": 1})
    call("get", "/orders", query_string={"cursor": "x"})
    call("get", "/orders", query_string={"limit": 0})
    call("get", one, path, headers={"If-None-Match": "*"})
    call("get", one, "/orders/none")
    call("get", one, path, query_string={"version": 1})
    call("put", one, path, json={"status": "delivered"})
    _correct(call, path)
    _hold(call, path)
    _refund(call, settle, path)
    _return(call, settle)
    _cancel_pieces(call, path)
    _ship(call, path)
    call(
        "put",
        one,
        path,
        json={"status": "shipped", "tracking": {"number": "1"}},
        headers={"If-Match": '"v1"'},
    )
    call("put", one, path, json={"status": "shipped", "tracking": {"number": "1"}})
    call("delete", one, path)
    call("delete", one, path, headers={"If-Match": "x"})
    call("delete", one, short, query_string=DRY)
    call("delete", one, short, headers={"If-Match": "*"})
    for location in (path, declined.headers["Location"]):
        call("get", f"{one}/events", f"{location}/events")
        call("get", f"{one}/events/verify", f"{location}/events/verify")
    catch_up(app.extensions["services"].feed, lambda: False)
    cursor = call("get", "/events", query_string={"limit": 1}).get_json()["nextCursor"]
    call("get", "/events", query_string={"after": cursor, "types": "stock.*"})
    call("get", "/events", query_string={"after": cursor})
    report = f"/reconciliations/{reconciling.begin(app.extensions['services'].reconciliation)['id']}"
    call("get", "/reconciliations")
    call("get", "/reconciliations/{id}", report)
    call("get", "/reconciliations/{id}", "/reconciliations/none")
    call("get", "/promises")
    call("get", "/promises", "/promises?since=soon")
    call("get", "/stock")
    call("get", level, "/stock/product-id")
    call("get", level, "/stock/none")
    for quantity in (1, -100, 0):
        body = {"quantity": quantity, "reason": "counted"}
        call("post", f"{level}/adjustments", "/stock/product-id/adjustments", json=body)
    call("get", f"{level}/movements", "/stock/product-id/movements")
    hooks = "/webhook-endpoints"
    call("post", hooks, json={"url": "ftp://example.com"})
    endpoint = call("post", hooks, json={"url": "https://hooks.example.com/"}).headers["Location"]
    call("get", hooks)
    call("get", f"{hooks}/{{id}}", endpoint)
    call("post", f"{hooks}/{{id}}/rotate-secret", f"{endpoint}/rotate-secret")
    delivery = call("post", f"{hooks}/{{id}}/test", f"{endpoint}/test").get_json()["id"]
    call("get", f"{hooks}/{{id}}/deliveries", f"{endpoint}/deliveries")
    one_delivery = f"{hooks}/{{id}}/deliveries/{{deliveryId}}"
    call("get", one_delivery, f"{endpoint}/deliveries/{delivery}")
    call("post", f"{one_delivery}/replay", f"{endpoint}/deliveries/{delivery}/replay")
    call("patch", f"{hooks}/{{id}}", endpoint, json={"enabled": False})
    call("post", f"{hooks}/{{id}}/test", f"{endpoint}/test")
    call("get", one_delivery, f"{endpoint}/deliveries/{delivery}")
    call("delete", f"{hooks}/{{id}}", endpoint)
    event = signed(payment_event(path.rpartition("/")[2]))
    for headers in (event.headers, {"Content-Type": "application/json"}):
        sandbox = "/payment-events/sandbox"
        call("post", "/payment-events/{provider}", sandbox, data=event.body, headers=headers)
    call("get", "/test/clock")
    call("post", "/test/clock/advance", json={"by": "0s"})
    for template in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        call("get", template)
    successes = {
        (template, method, int(status))
        for template, method, operation in operations(description)
        for status in operation["responses"]
        if int(status) < 400
    }
    assert successes <= seen
