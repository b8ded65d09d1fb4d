"""The OpenAPI 3.1 document: flask-smorest's description of the routes, completed by their declarations."""

from inspect import cleandoc
from typing import Any

import orjson
from flask import Flask
from flask_smorest import Api as SmorestApi
from marshmallow import Schema

from app.http import dry_runs
from app.http.access import SCOPES
from app.http.fields import Pairs
from app.http.links import link
from app.http.problems import PROBLEMS, RETRY_AFTER_SECONDS, TYPE
from app.http.route_metadata import OPEN
from app.http.schemas import Problem

TITLE = "Order Service"
VERSION = "1.0.0"

# The static files of the page at /docs.
_ASSETS = "service.get_docs_asset"
# Problems from the server itself, before it has read the request.
_UNREAD = ("uri_too_long", "request_header_fields_too_large", "unavailable")
_ALWAYS = (*_UNREAD, "internal_error")
_TAKING_JSON = (
    "malformed_json",
    "request_timeout",
    "content_too_large",
    "unsupported_media_type",
    "invalid_input",
)
_TAKING_A_QUERY = ("invalid_input",)
_ASKING_FOR_A_TOKEN = ("unauthorized", "forbidden", "issuer_unavailable")
_OF_QUOTES = {
    "quote_required": {"pointer": "/quote", "detail": "is required"},
    "quote_invalid": {"pointer": "/quote", "detail": "must be signed by the shop's pricing for this service"},
    "quote_expired": {"pointer": "/quote", "detail": "must not have expired"},
    "quote_used": {"pointer": "/quote", "detail": "must not have been used for another order"},
    "quote_differs": {"pointer": "/products/0/quantity", "detail": "must be as in the quote, or absent"},
}
_SPEAKING_JSON = ("not_acceptable", "too_many_requests", "database_unavailable")

_REQUEST_ID = {
    "description": "The id of the request. It is in every log line about it.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
}
_RETRY_AFTER = {
    "description": "The seconds to wait before the next try.",
    "schema": {"type": "integer", "examples": [RETRY_AFTER_SECONDS]},
}
_CHALLENGE = {
    "description": "The kind of token that is needed, and what is wrong with the one sent (RFC 6750).",
    "schema": {"type": "string", "examples": ['Bearer realm="orders"']},
}
_ACCEPT_PATCH = {
    "description": "The media type that the PATCH accepts (RFC 5789).",
    "schema": {"type": "string"},
}
# Conditional headers have no example: the page at /docs would send it, and the request would fail.
_IN: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "1 to 128 letters, digits, dots, dashes and underscores; generated if missing.",
        "schema": {"type": "string"},
    },
    "Idempotency-Key": {
        "description": "A repetition with the same key and body gets the first answer and changes nothing.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    },
    "Prefer": {
        "description": "`wait=N` waits up to N seconds (at most 30) until the order has left `pending`.",
        "schema": {"type": "string"},
        "example": "wait=5",
    },
    "If-Match": {
        "description": 'The ETag that the order must still have, such as `"v3"`.',
        "schema": {"type": "string", "pattern": r'^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'},
    },
    "If-None-Match": {
        "description": 'The ETag that the client has, such as `"v3"`. If it is current, the answer is 304.',
        "schema": {"type": "string"},
    },
}
_LIMITS = {
    "RateLimit-Policy": {
        "description": "The rate limits, if any: `q` requests in `w` seconds.",
        "schema": {"type": "string"},
        "example": '"caller";q=100;w=60',
    },
    "RateLimit": {
        "description": "The remaining quota: `r` requests in the next `t` seconds.",
        "schema": {"type": "string"},
        "example": '"caller";r=99;t=42',
    },
}
# The public names of the views' path parameters, and their descriptions.
_PATH_PARAMETERS = {
    "order_id": ("id", "The id of the order."),
    "product_id": ("productId", "The id of the product."),
    "cancellation_id": ("cancellationId", "The id of the part cancellation."),
    "shipment_id": ("shipmentId", "The id of the shipment."),
    "note_id": ("noteId", "The id of the note."),
    "refund_id": ("refundId", "The id of the refund."),
    "return_id": ("returnId", "The id of the return."),
    "hold_code": ("code", "The code of the hold."),
    "endpoint_id": ("id", "The id of the webhook endpoint."),
    "delivery_id": ("deliveryId", "The id of the delivery."),
    "report_id": ("id", "The id of the reconciliation."),
    "provider": ("provider", "The name of the payment provider."),
}
_TOKEN = "token"  # noqa: S105 - its name in the description
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "\n".join(
        [
            "A JWT from the issuer. Its `sub` is the `userId`; its `scope` lists what it allows:",
            "",
            *(f"- `{scope}`: {meaning}" for scope, meaning in SCOPES.items()),
        ]
    ),
}


def _unless(field: str, refused: dict[str, Any]) -> dict[str, Any]:
    """The condition that an object without the field is not as `refused` says.

    It has no `anyOf` at its top, of which generators of clients would make a union of nameless types.
    """
    return {"not": {"allOf": [{"not": {"required": [field]}}, refused]}}


def _on_shortage(choice: str) -> dict[str, Any]:
    """The condition that an order chooses this for a shortage."""
    return {"properties": {"onShortage": {"const": choice}}, "required": ["onShortage"]}


_WITHOUT_QUOTE = {"not": {"required": ["quote"]}}
_SOME_LINE_WITHOUT_PRICE = {
    "properties": {"products": {"contains": {"not": {"required": ["unitPrice"]}}}},
    "required": ["products"],
}
_EITHER = {"anyOf": [{"required": ["line"]}, {"required": ["productId"]}]}
# Rules between fields. apispec cannot derive them from a schema's validators.
_CONDITIONS: dict[str, dict[str, Any]] = {
    "StatusChange": {
        "dependentSchemas": {
            "tracking": {"properties": {"status": {"const": "shipped"}}},
            "reason": {"properties": {"status": {"const": "cancelled"}}},
        }
    },
    "OrderIn": {
        "not": {
            "anyOf": [
                {"allOf": [_WITHOUT_QUOTE, {"not": {"required": ["products", "totalAmount"]}}]},
                {"allOf": [_WITHOUT_QUOTE, _on_shortage("partial"), _SOME_LINE_WITHOUT_PRICE]},
                {"allOf": [_on_shortage("backorder"), {"not": {"required": ["backorderUntil"]}}]},
                {"allOf": [{"required": ["backorderUntil"]}, {"not": _on_shortage("backorder")}]},
            ]
        }
    },
    "HoldIn": _unless("until", {"properties": {"then": {"const": "cancel"}}, "required": ["then"]}),
    "RefundLineIn": {"not": {"anyOf": [{"required": ["line", "productId"]}, {"not": _EITHER}]}},
    "AdjustmentIn": {"not": {"properties": {"quantity": {"const": 0}}, "required": ["quantity"]}},
}
_NOT_MODIFIED = {"description": "The client already has this version."}


class Api(SmorestApi):
    """Documents only the errors that routes declare, and nothing before the description is asked for.

    Few processes are ever asked, and describing the routes takes longer than the rest of a start.
    """

    DEFAULT_ERROR_RESPONSE_NAME = None
    ERROR_SCHEMA = Problem

    def _register_responses(self) -> None:
        """Adds no component for each status of HTTP, as flask-smorest does; this API uses none of them."""

    def register_blueprint(self, blp: Any, *, parameters: Any = None, **options: Any) -> None:
        """Adds the routes alone."""
        self._app.extensions["flask-smorest"]["blp_name_to_api"][blp.name] = self
        self._app.register_blueprint(blp, **options)

    def describe_dry_runs(self, schema: type[Schema], example: dict[str, Any]) -> None:
        """Sets the schema of the answer to a dry run, with an example."""
        self.dry_run, self.dry_run_example = schema, example

    def describe_blueprints(self) -> None:
        """Adds to the description what flask-smorest knows of the routes, and the schema of problems."""
        self.spec.components.schema("Problem", schema=Problem)
        self.spec.components.schema("DryRun", schema=self.dry_run)
        for name, blp in self._app.blueprints.items():
            blp.register_views_in_doc(self, self._app, self.spec, name=name, parameters=None)
            self.spec.tag({"name": name, "description": blp.description})


def begin(app: Flask) -> Api:
    """The API object to which blueprints are added."""
    app.config.update(API_TITLE=TITLE, API_VERSION=VERSION, OPENAPI_VERSION="3.1.0")
    api = Api(app)
    api.ma_plugin.converter.add_attribute_function(_names_of_pairs)
    return api


def finish(app: Flask, api: Api) -> bytes:
    """The complete OpenAPI document as JSON, with every route's declaration."""
    api.describe_blueprints()
    description = api.spec.to_dict()
    description["info"]["description"] = (
        "Accepts orders and processes their payment, stock and notifications."
    )
    asks_for_tokens = app.extensions["services"].settings.auth == "jwt"
    if asks_for_tokens:
        description["components"]["securitySchemes"] = {_TOKEN: _BEARER}
    operations = {}
    for rule in app.url_map.iter_rules():
        declared = getattr(app.view_functions[rule.endpoint], "declared", None)
        if declared is None or rule.endpoint == _ASSETS:
            continue
        path = description["paths"][api.flask_plugin.flaskpath2openapi(rule.rule)]
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            operation = path[method.lower()]
            if asks_for_tokens and declared.scope is not OPEN:
                operation["security"] = [{_TOKEN: [declared.scope]}]
            if dry_runs.is_offered(app.view_functions[rule.endpoint]):
                dry_runs.describe(operation, api.dry_run_example)
            _complete(operation, declared, rule.endpoint)
            if method == "PATCH":
                operation["responses"]["415"].setdefault("headers", {})["Accept-Patch"] = _ACCEPT_PATCH
            operations[operation["operationId"]] = operation
    link(operations)
    schemas = description["components"]["schemas"]
    for (schema, *_), name in api.ma_plugin.converter.refs.items():
        schemas[name]["description"] = cleandoc(schema.__doc__)
    for name, condition in _CONDITIONS.items():
        schemas[name].update(condition)
    description["paths"] = dict(_named_as_outside(*described) for described in description["paths"].items())
    # flask-smorest adds a component that this API does not use.
    del schemas["PaginationMetadata"]
    return orjson.dumps(description)


def operation_id(endpoint: str) -> str:
    """The name of the view function in camelCase: `orders.create_order` is `createOrder`."""
    verb, *words = endpoint.partition(".")[2].split("_")
    return verb + "".join(word.title() for word in words)


def _names_of_pairs(self: Any, field: Any, **_: Any) -> dict[str, Any]:
    """The `propertyNames` of a mapping, which apispec does not copy from the metadata."""
    return {"propertyNames": field.metadata["propertyNames"]} if isinstance(field, Pairs) else {}


def _named_as_outside(path: str, item: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    for parameter in item.get("parameters", ()):
        inside = parameter["name"]
        parameter["name"], parameter["description"] = _PATH_PARAMETERS[inside]
        path = path.replace(f"{{{inside}}}", f"{{{parameter['name']}}}")
    return path, item


def _complete(operation: dict[str, Any], declared: Any, endpoint: str) -> None:
    operation["operationId"] = operation_id(endpoint)
    parameters = operation.setdefault("parameters", [])
    codes = list(_ALWAYS + declared.problems)
    if "requestBody" in operation:
        operation["requestBody"]["required"] = True
        codes += _TAKING_JSON
    if any(parameter["in"] == "query" for parameter in parameters):
        codes += _TAKING_A_QUERY
    if "security" in operation:
        codes += _ASKING_FOR_A_TOKEN
    if not endpoint.startswith("service."):
        codes += _SPEAKING_JSON
    for name in (*declared.headers, "X-Request-ID"):
        parameters.append({"in": "header", "name": name, "required": False, **_IN[name]})
    responses = operation["responses"]
    if "If-None-Match" in declared.headers:
        responses["304"] = {**_NOT_MODIFIED, "headers": dict(responses["200"]["headers"])}
    for code in PROBLEMS:
        if code in codes:
            _add_problem(responses, code)
    common = {"X-Request-ID": _REQUEST_ID} | ({} if endpoint.startswith("service.") else _LIMITS)
    common |= dry_runs.HEADER if dry_runs.PARAMETER in parameters else {}
    for response in responses.values():
        response.setdefault("headers", {}).update(common)
    operation["responses"] = dict(sorted(responses.items()))


def _add_problem(responses: dict[str, Any], code: str) -> None:
    kind = PROBLEMS[code]
    described = responses.get(str(kind.status), {})
    if "content" not in described:
        schema = {"$ref": "#/components/schemas/Problem"}
        described = {
            "description": "",
            "content": {"application/problem+json": {"schema": schema, "examples": {}}},
        }
        if kind.status in (429, 503):
            described["headers"] = {"Retry-After": _RETRY_AFTER}
        if kind.status in (401, 403):
            described["headers"] = {"WWW-Authenticate": _CHALLENGE}
        responses[str(kind.status)] = described
    described["description"] = " / ".join(filter(None, (described["description"], kind.title)))
    described["content"]["application/problem+json"]["examples"][code] = {"value": _example(code)}


def _example(code: str) -> dict[str, Any]:
    kind = PROBLEMS[code]
    example: dict[str, Any] = {
        "type": TYPE + code,
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}.",
        "instance": "/orders",
        "code": code,
        "requestId": "6f1c2d0e9b7a4c35a1e2f3d4c5b6a798",
    }
    if code in _UNREAD:
        del example["instance"]
    if code == "invalid_input":
        example["errors"] = [{"pointer": "/products/0/quantity", "detail": "must be from 1 to 1000000"}]
    if code in _OF_QUOTES:
        example["errors"] = [_OF_QUOTES[code]]
    if code == "illegal_transition":
        example["allowed"] = ["shipped", "cancelled"]
    return example
