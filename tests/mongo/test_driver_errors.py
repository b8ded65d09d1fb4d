"""Some errors of the driver mean that the database is unavailable; all others are faults or refusals."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConnectionFailure,
    CursorNotFound,
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WriteError,
    WTimeoutError,
)

import app
from app.errors import DatabaseUnavailable
from app.mongo.documents import insert_each, insert_new
from app.mongo.group_commit import GroupCommit
from app.mongo.outages import reports_outages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEPPED_DOWN, INVALID, DUPLICATE = 189, 121, 11000
UNCONFIRMED = {"code": 64, "errmsg": "waiting for replication timed out"}


def bulk(*codes: int, unconfirmed: bool = False) -> BulkWriteError:
    """The error of a write of several documents, with one code for each document."""
    faults = [{"index": index, "code": code, "errmsg": "fault"} for index, code in enumerate(codes)]
    return BulkWriteError(
        {"writeErrors": faults, "writeConcernErrors": [UNCONFIRMED] if unconfirmed else []}  # type: ignore[dict-item]
    )


AWAY: list[PyMongoError] = [
    AutoReconnect("connection closed"),
    NetworkTimeout("timed out"),
    ServerSelectionTimeoutError("no primary"),
    NotPrimaryError("not primary"),
    ExecutionTimeout("took too long", 50),
    WriteConcernError("interrupted", 11602),
    WTimeoutError("no majority", 64),
    OperationFailure("no majority to read from yet", 134),
    OperationFailure("took too long", 262),
    CursorNotFound("the server is another one", 43),
    WriteError("stepped down", STEPPED_DOWN),
    bulk(unconfirmed=True),
    bulk(STEPPED_DOWN, STEPPED_DOWN),
]
NOT_AWAY: list[PyMongoError] = [
    OperationFailure("not allowed", 13),
    WriteError("refused by its validator", INVALID),
    DuplicateKeyError("there already", DUPLICATE),
    bulk(INVALID),
    bulk(STEPPED_DOWN, INVALID),
]


def named(error: PyMongoError) -> str:
    return type(error).__name__


@reports_outages
class Failing:
    """A store whose database answers with the error, at once or after the first document."""

    def __init__(self, error: PyMongoError) -> None:
        self._error = error

    def get(self) -> None:
        raise self._error

    def page(self) -> Iterator[int]:
        yield 1
        raise self._error


def read_on(error: PyMongoError) -> None:
    rows = Failing(error).page()
    assert next(rows) == 1
    next(rows)


CALLS: list[Callable[[PyMongoError], Any]] = [lambda error: Failing(error).get(), read_on]


@pytest.mark.parametrize("call", CALLS, ids=("at once", "while reading"))
@pytest.mark.parametrize("error", AWAY, ids=named)
def test_a_primary_that_is_gone_or_going_is_a_database_that_is_away(
    error: PyMongoError, call: Callable[[PyMongoError], Any]
) -> None:
    with pytest.raises(DatabaseUnavailable):
        call(error)


@pytest.mark.parametrize("call", CALLS, ids=("at once", "while reading"))
@pytest.mark.parametrize("error", NOT_AWAY, ids=named)
def test_a_refusal_is_not(error: PyMongoError, call: Callable[[PyMongoError], Any]) -> None:
    with pytest.raises(type(error)):
        call(error)


@pytest.mark.parametrize("call", CALLS, ids=("at once", "while reading"))
@pytest.mark.parametrize("error", AWAY, ids=named)
def test_errors_that_restart_a_transaction_are_not_translated(
    error: PyMongoError, call: Callable[[PyMongoError], Any]
) -> None:
    error._add_error_label("TransientTransactionError")
    try:
        with pytest.raises(type(error)):
            call(error)
    finally:
        error._remove_error_label("TransientTransactionError")


def stores() -> list[type]:
    """The classes of the service that are made with a database."""
    names = [found.name for found in pkgutil.walk_packages(app.__path__, "app.")]
    modules = [importlib.import_module(name) for name in names if name.endswith("store")]
    return [
        one
        for module in modules
        for one in vars(module).values()
        if inspect.isclass(one)
        and one.__module__ == module.__name__
        and "database" in inspect.signature(one.__init__).parameters
    ]


def public_methods(store: type) -> list[tuple[str, Any]]:
    methods = inspect.getmembers(store, inspect.isfunction)
    return [(name, method) for name, method in methods if not name.startswith("_")]


def test_every_store_reports_outages() -> None:
    found = stores()
    assert len(found) >= 19
    for store in found:
        for name, method in public_methods(store):
            assert hasattr(method, "__wrapped__"), f"{store.__name__}.{name}"


def test_no_store_hands_out_an_open_cursor() -> None:
    for store in stores():
        for name, method in public_methods(store):
            if "Iter" in str(inspect.signature(method).return_annotation):
                assert inspect.isgeneratorfunction(inspect.unwrap(method)), f"{store.__name__}.{name}"


class Lagging:
    """A collection that answers an insert with the codes, confirmed by no majority."""

    name = "orders"

    def __init__(self, *codes: int, unconfirmed: bool = False) -> None:
        self._error = bulk(*codes, unconfirmed=unconfirmed)

    def insert_many(self, *_: Any, **__: Any) -> None:
        raise self._error


def test_a_key_that_is_taken_is_no_fault_of_an_insert_that_ignores_it() -> None:
    insert_new(Lagging(DUPLICATE, DUPLICATE), [{}, {}])  # type: ignore[arg-type]


def test_a_document_that_is_refused_is_one() -> None:
    with pytest.raises(WriteError):
        insert_new(Lagging(DUPLICATE, INVALID), [{}, {}])  # type: ignore[arg-type]
    assert insert_each(Lagging(DUPLICATE, INVALID), [{}, {}]) == {0: DUPLICATE, 1: INVALID}  # type: ignore[arg-type]


@pytest.mark.parametrize("codes", [(), (DUPLICATE,), (STEPPED_DOWN,)])
def test_an_insert_that_no_majority_has_is_not_confirmed(codes: tuple[int, ...]) -> None:
    with pytest.raises(DatabaseUnavailable):
        reports_outages(insert_new)(Lagging(*codes, unconfirmed=True), [{}])  # type: ignore[arg-type]


def test_a_key_taken_without_a_majority_is_not_confirmed_as_taken() -> None:
    with pytest.raises(ConnectionFailure):
        GroupCommit(Lagging(DUPLICATE, unconfirmed=True)).insert({})  # type: ignore[arg-type]
