"""Parses the bodies and queries of requests with their schemas, and converts errors into faults."""

from collections.abc import Mapping
from typing import Any, NoReturn

from flask import Request, g, request
from flask_smorest import Blueprint as SmorestBlueprint
from marshmallow import RAISE, Schema, ValidationError, fields
from webargs.flaskparser import FlaskParser

from app.errors import InvalidInput
from app.http import pointers
from app.http.fields import Repeated
from app.http.json_body import JSON, read_json


class Parser(FlaskParser):
    """A strict parser: it refuses unknown fields and repeated parameters."""

    DEFAULT_UNKNOWN_BY_LOCATION = {"json": RAISE, "query": RAISE}  # noqa: RUF012 - webargs' own declaration

    def __init__(self) -> None:
        super().__init__()
        self._without_query: dict[Schema, dict[str, Any]] = {}

    def parse(self, argmap: Any, req: Request | None = None, **options: Any) -> Any:
        """The parsed body or query. Without a query, the parameters are always the same."""
        if options.get("location") != "query" or (req or request).environ.get("QUERY_STRING"):
            return super().parse(argmap, req, **options)
        if argmap not in self._without_query:
            self._without_query[argmap] = super().parse(argmap, req, **options)
        return {**self._without_query[argmap]}

    def load_json(self, req: Request, schema: Schema) -> Any:
        """The body. It is also kept in `g.body`, for the digest of an idempotency key."""
        is_empty = not req.content_length and "HTTP_TRANSFER_ENCODING" not in req.environ
        if is_empty and getattr(schema, "may_be_empty", False):
            g.body = {}
        else:
            g.body = read_json(req, getattr(schema, "media_type", JSON))
        return g.body

    def load_querystring(self, req: Request, schema: Schema) -> dict[str, str | list[str]]:
        """The query parameters. Those that are lists in the schema are lists."""
        many = {name for name, field in schema.fields.items() if isinstance(field, fields.List)}
        return {
            name: values if name in many else values[0] if len(values) == 1 else Repeated(values)
            for name, values in req.args.lists()
        }

    def handle_error(self, error: ValidationError, req: Request, schema: Schema, **_: Any) -> NoReturn:
        """Raises InvalidInput with marshmallow's errors as faults."""
        (messages,) = error.messages_dict.values()  # by location; there is only one
        raise InvalidInput(*pointers.faults(messages)) from error


def checked(schema: Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the schema loads them. Raises InvalidInput."""
    try:
        return dict(schema.load(values))
    except ValidationError as error:
        raise InvalidInput(*pointers.faults(error.normalized_messages())) from error


class Blueprint(SmorestBlueprint):
    """A blueprint whose `arguments` are parsed strictly."""

    ARGUMENTS_PARSER = Parser()
