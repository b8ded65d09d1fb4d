"""Which fields are money is listed once, and the list is complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.orders.fields import AMOUNTS

if TYPE_CHECKING:
    from flask.testing import FlaskClient


def test_every_number_that_is_no_whole_one_is_listed_as_money(client: FlaskClient) -> None:
    """Answers and the terminal show amounts by that list."""
    schemas = client.get("/openapi.json").get_json()["components"]["schemas"].values()
    fields = [field for schema in schemas for field in schema.get("properties", {}).items()]
    numbers = {name for name, field in fields if field.get("type") == "number"}
    assert numbers == {*AMOUNTS, "refundable", "capture", "refund"}
