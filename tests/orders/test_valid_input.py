"""A valid body loads as marshmallow alone would load it, and any other body has the same errors."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from marshmallow import RAISE, ValidationError

from app import shapes
from app.http import fields, schemas
from app.orders import schemas as order_schemas
from app.orders.fields import ORDER
from app.orders.schemas import OrderIn, StatusChange
from app.shapes import Field, Kind, Many, Record

LINE = {"productId": "a", "quantity": 2, "unitPrice": Decimal("1.50")}
WHOLE = {"userId": "u", "products": [LINE, LINE], "totalAmount": Decimal("6.00"), "currency": "EUR"}
odd = st.sampled_from(
    (None, 0, -1, 10**30, Decimal("0.001"), True, "", "\x00", "x" * 3_000, [], [None], {}, {"a": 1})
)


def values(kind: Kind) -> st.SearchStrategy[Any]:
    """Values of this kind, most of them valid, and some of any other."""
    if isinstance(kind, shapes.Choice):
        fit: st.SearchStrategy[Any] = st.sampled_from(tuple(kind.values))
    elif isinstance(kind, shapes.Whole):
        fit = st.sampled_from((kind.least, kind.least + 1, Decimal(kind.least), Decimal("1.5")))
    elif isinstance(kind, shapes.Amount):
        fit = st.sampled_from((0, 3, Decimal("1.50"), Decimal("-1.5"), Decimal("1e3")))
    elif isinstance(kind, shapes.Moment):
        fit = st.sampled_from(("2030-01-02T03:04:05Z", "2030-01-02T03:04:05.1234+02:00", "2030-13-02"))
    elif isinstance(kind, shapes.Flag):
        fit = st.booleans()
    elif isinstance(kind, shapes.Pairs):
        fit = st.dictionaries(st.sampled_from(("a", "$b", "c.d")), st.sampled_from(("", "x\ny")), max_size=2)
    elif isinstance(kind, Record):
        fit = objects(kind.fields)
    elif isinstance(kind, Many):
        fit = st.lists(values(kind.of), max_size=2)
    else:
        fit = st.sampled_from(("a", "DE", "a@example.com", "https://example.com/a", "2000", "line\nend"))
    return st.integers(0, 29).flatmap(lambda number: odd if number == 29 else fit)


def objects(members: tuple[Field, ...]) -> st.SearchStrategy[Any]:
    """Objects with these fields as clients may send them, and now and then an unknown one."""
    given_ones = [member for member in members if member.given]
    required = {one.name: values(one.kind) for one in given_ones if one.given == "required"}
    optional = {one.name: values(one.kind) for one in given_ones if one.given != "required"}
    return st.fixed_dictionaries(required, optional=optional | {"line": odd, "unknown": st.none()})


def loaded(schema: Any, body: Any) -> Any:
    """What the schema makes of the body; members are in order, since an order keeps it."""
    try:
        return repr(schema.load(body, unknown=RAISE))
    except ValidationError as error:
        return error.messages


def same(kind: type[Any], body: Any) -> None:
    """Fails if the body loads in another way than by marshmallow alone."""
    quick = loaded(kind(), body)
    with pytest.MonkeyPatch.context() as patch:
        for module in (fields, schemas):
            patch.setattr(module, "valid", lambda *_: None)
        assert quick == loaded(kind(), body)


@pytest.fixture(autouse=True, scope="module")
def _currency() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_schemas, "_default_currency", lambda: "USD")
        patch.setattr(order_schemas, "may_set_prices", lambda: True)
        yield


@given(st.one_of(objects(ORDER), odd, st.builds(lambda more: WHOLE | more, objects(ORDER))))
@example(WHOLE)
@example(WHOLE | {"products": [LINE, LINE | {"quantity": None}]})
@example(WHOLE | {"adjustments": [0]})
@example({})
def test_an_order_loads_as_by_marshmallow_alone(body: Any) -> None:
    same(OrderIn, body)


@given(
    st.fixed_dictionaries(
        {"status": st.sampled_from(("shipped", "cancelled", "lost", None))},
        optional={
            "tracking": st.one_of(odd, st.just({"carrier": "DHL"}), st.just({"url": "ftp://a"})),
            "reason": st.one_of(odd, st.just("late")),
        },
    )
)
def test_a_status_change_loads_as_by_marshmallow_alone(body: Any) -> None:
    same(StatusChange, body)


def test_a_valid_order_takes_the_quick_way() -> None:
    assert fields.valid(OrderIn(), WHOLE) == WHOLE
