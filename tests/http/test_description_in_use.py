"""The description works in JavaScript and on the page at /docs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import regress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient


@pytest.fixture
def description(client: FlaskClient) -> dict[str, Any]:
    return client.get("/openapi.json").get_json()


def patterns(described: Any) -> Iterator[str]:
    """Every regular expression in a description."""
    if isinstance(described, dict):
        if isinstance(described.get("pattern"), str):
            yield described["pattern"]
        for inner in described.values():
            yield from patterns(inner)
    elif isinstance(described, list):
        for inner in described:
            yield from patterns(inner)


def test_every_pattern_is_a_regular_expression_of_ecmascript(description: dict[str, Any]) -> None:
    """As JSON Schema asks, with the flag `u`."""
    found = sorted(set(patterns(description)))
    assert len(found) > 10
    for pattern in found:
        regress.Regex(pattern, "u")


def test_the_page_fills_in_no_condition(description: dict[str, Any]) -> None:
    """The page sends every example and default as it opens, so a condition with one would fail."""
    filled = {
        parameter["name"]
        for item in description["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
        for parameter in operation.get("parameters", ())
        if {"example", "examples", "default"} & (parameter.keys() | parameter["schema"].keys())
    }
    assert filled == {"Prefer", "dryRun", "limit", "since", "sort", "state"}
