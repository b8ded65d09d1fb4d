"""The one place where failures of the MongoDB driver become DatabaseUnavailable."""

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from types import FunctionType
from typing import Any, TypeVar

from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from app.errors import DatabaseUnavailable

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

# A server answers with these codes while it becomes or ceases to be the primary. Another server will answer.
PASSING = frozenset(
    (
        6,  # HostUnreachable
        7,  # HostNotFound
        43,  # CursorNotFound
        89,  # NetworkTimeout
        91,  # ShutdownInProgress
        133,  # FailedToSatisfyReadPreference
        134,  # ReadConcernMajorityNotAvailableYet
        175,  # QueryPlanKilled
        189,  # PrimarySteppedDown
        237,  # CursorKilled
        262,  # ExceededTimeLimit
        9001,  # SocketException
        10107,  # NotWritablePrimary
        11600,  # InterruptedAtShutdown
        11601,  # Interrupted
        11602,  # InterruptedDueToReplStateChange
        13435,  # NotPrimaryNoSecondaryOk
        13436,  # NotPrimaryOrSecondary
    )
)
_OUTAGES = (ConnectionFailure, WriteConcernError, ExecutionTimeout)


def reports_outages(target: Decorated) -> Decorated:
    """Decorates a store or a function: an outage of the database raises DatabaseUnavailable.

    An outage is a database that cannot be reached, or that cannot confirm a write. Of a store, all public
    methods are decorated. A generator is covered until its end; a cursor must not leave the method that opens
    it. Inside a transaction a passing error keeps its type, so that the transaction starts again.
    """
    if isinstance(target, type):
        for name, method in list(vars(target).items()):
            if isinstance(method, FunctionType) and not name.startswith("_"):
                setattr(target, name, reports_outages(method))
        return target
    return _generator(target) if inspect.isgeneratorfunction(target) else _function(target)


def is_outage(error: PyMongoError) -> bool:
    """Whether the error says that the database cannot be reached or cannot confirm a write."""
    if isinstance(error, BulkWriteError):
        return all(fault["code"] in PASSING for fault in error.details.get("writeErrors", ()))
    if isinstance(error, OperationFailure) and error.code in PASSING:
        return True
    return isinstance(error, _OUTAGES) or error.has_error_label("RetryableWriteError")


def is_from_the_driver(error: Exception) -> bool:
    """Whether the driver raised the error: the database refused something."""
    return isinstance(error, PyMongoError)


def _function(function: Any) -> Any:
    @wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        try:
            return function(*args, **named)
        except PyMongoError as error:
            _raise_outage(error)
            raise

    return call


def _generator(function: Any) -> Any:
    @wraps(function)
    def call(*args: Any, **named: Any) -> Iterator[Any]:
        try:
            yield from function(*args, **named)
        except PyMongoError as error:
            _raise_outage(error)
            raise

    return call


def _raise_outage(error: PyMongoError) -> None:
    """Raises DatabaseUnavailable if the error is an outage that starts no transaction again."""
    if not error.has_error_label("TransientTransactionError") and is_outage(error):
        raise DatabaseUnavailable("The database cannot be reached.") from error
