"""The query of a command: `dryRun` for those of orders, and no other parameter."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask, Response, current_app, request

from app.http.fields import Choice
from app.http.parsing import Parser
from app.http.schemas import Input

PARAMETER = {
    "in": "query",
    "name": "dryRun",
    "required": False,
    "description": "With `true`, the answer says what the command would do, and nothing is written.",
    "schema": {"type": "string", "enum": ["true", "false"], "default": "false"},
}
HEADER = {
    "Dry-Run": {"description": "Present if this is the answer to a dry run.", "schema": {"const": "true"}}
}

_MARK = {"Dry-Run": "true"}
_PARSER = Parser()


class CommandQuery(Input):
    """The parameters of a command."""

    dryRun = Choice(("true", "false"), kind="true or false")  # noqa: N815 - its name in the API


def init_app(app: Flask) -> None:
    """Marks the answers to dry runs, refusals too. Call it first, so that its hook runs last."""

    def mark(response: Response) -> Response:
        if request.environ.get("QUERY_STRING") and request.args.getlist("dryRun") == ["true"]:
            response.headers.update(_MARK if is_offered(_view()) else {})
        return response

    app.after_request(mark)


def offered(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, marked as one that can be run dry."""
    command.dry_run = True  # type: ignore[attr-defined]
    return command


def without_query(view: Any) -> Callable[..., Any]:
    """The view of a command that has no parameters. It refuses all."""

    @wraps(view)
    def command(**path: Any) -> Any:
        if request.environ.get("QUERY_STRING"):
            _PARSER.parse(Input(), request, location="query")
        return view(**path)

    declared = view.declared
    command.declared = declared._replace(  # type: ignore[attr-defined]
        problems=(*declared.problems, "invalid_input")
    )
    return command


def is_offered(view: object) -> bool:
    """Whether the view is a command that can be run dry."""
    return hasattr(view, "dry_run")


def is_asked() -> bool:
    """Whether the request is a dry run. Raises InvalidInput for a bad value and for unknown parameters."""
    # Most commands have no query, and parsing one takes a while.
    if not request.environ.get("QUERY_STRING"):
        return False
    query: dict[str, str] = _PARSER.parse(CommandQuery(), request, location="query")
    return query.get("dryRun") == "true"


def describe(operation: dict[str, Any], example: dict[str, Any]) -> None:
    """Adds the parameter and the answer of a dry run to the description of a command."""
    operation.setdefault("parameters", []).append(PARAMETER)
    answered = operation["responses"].setdefault("200", {"description": "What a dry run answers."})
    media = answered.setdefault("content", {}).setdefault("application/json", {"example": example})
    schema = {"$ref": "#/components/schemas/DryRun"}
    media["schema"] = {"anyOf": [media["schema"], schema]} if "schema" in media else schema


def _view() -> object:
    return current_app.view_functions.get(request.endpoint or "")
