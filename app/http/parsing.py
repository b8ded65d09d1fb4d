"""How a request's body and query reach their schemas, and how what these refuse reaches the client."""

from typing import Any, NoReturn

from flask import Request, g
from flask_smorest import Blueprint as SmorestBlueprint
from marshmallow import RAISE, Schema, ValidationError, fields
from webargs.flaskparser import FlaskParser

from app.errors import InvalidInput
from app.http import pointers
from app.http.fields import Repeated
from app.http.json_body import read_json


class Parser(FlaskParser):
    """Reads strictly: no unknown field or parameter, and no parameter twice that has one value."""

    DEFAULT_UNKNOWN_BY_LOCATION = {"json": RAISE, "query": RAISE}  # noqa: RUF012 - webargs' own declaration

    def load_json(self, req: Request, schema: Schema) -> Any:
        """The body; it stays in `g.body` as it came, for the digest of an idempotency key."""
        is_empty = not req.content_length and "HTTP_TRANSFER_ENCODING" not in req.environ
        g.body = {} if is_empty and getattr(schema, "may_be_empty", False) else read_json(req)
        return g.body

    def load_querystring(self, req: Request, schema: Schema) -> dict[str, str | list[str]]:
        """The parameters; those that the schema has as lists are lists."""
        many = {name for name, field in schema.fields.items() if isinstance(field, fields.List)}
        return {
            name: values if name in many else values[0] if len(values) == 1 else Repeated(values)
            for name, values in req.args.lists()
        }

    def handle_error(self, error: ValidationError, req: Request, schema: Schema, **_: Any) -> NoReturn:
        """Turns marshmallow's complaints into faults with their pointers."""
        (messages,) = error.messages_dict.values()  # by location, of which there is one
        raise InvalidInput(*pointers.faults(messages)) from error


class Blueprint(SmorestBlueprint):
    """A blueprint whose `arguments` are read strictly."""

    ARGUMENTS_PARSER = Parser()
