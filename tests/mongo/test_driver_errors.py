"""What counts as a database that is away, by what the driver raises; all else is a fault or a refusal."""

from __future__ import annotations

from typing import Any

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

from app.errors import DatabaseUnavailable
from app.mongo.database import reachable
from app.mongo.group_commit import GroupCommit

STEPPED_DOWN, INVALID, DUPLICATE = 189, 121, 11000
UNCONFIRMED = {"code": 64, "errmsg": "waiting for replication timed out"}


def bulk(*codes: int, unconfirmed: bool = False) -> BulkWriteError:
    """What a write of several documents raises; each code is that of one of them."""
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


@pytest.mark.parametrize("error", AWAY, ids=named)
def test_a_primary_that_is_gone_or_going_is_a_database_that_is_away(error: PyMongoError) -> None:
    with pytest.raises(DatabaseUnavailable), reachable():
        raise error


@pytest.mark.parametrize("error", NOT_AWAY, ids=named)
def test_a_refusal_is_not(error: PyMongoError) -> None:
    with pytest.raises(type(error)), reachable():
        raise error


@pytest.mark.parametrize("error", AWAY, ids=named)
def test_what_makes_a_transaction_start_again_goes_up_as_it_is(error: PyMongoError) -> None:
    error._add_error_label("TransientTransactionError")
    try:
        with pytest.raises(type(error)), reachable():
            raise error
    finally:
        error._remove_error_label("TransientTransactionError")


def test_a_key_that_is_taken_by_what_no_majority_has_is_not_confirmed_as_taken() -> None:
    class Lagging:
        def insert_many(self, *_: Any, **__: Any) -> None:
            raise bulk(DUPLICATE, unconfirmed=True)

    with pytest.raises(ConnectionFailure):
        GroupCommit(Lagging()).insert({})  # type: ignore[arg-type]
