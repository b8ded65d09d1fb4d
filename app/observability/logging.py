"""Log lines: one JSON object each, with the request id that they belong to; readable text on a terminal.

Each line goes to standard error in one write, so that lines of several processes never mix. Of an exception,
a line has the type and the traceback. It leaves out the message, since a database quotes the document there,
and a mail server the address.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import orjson
import structlog

STDERR = 2
# Libraries that log every single action; Stripe's logs secrets, too.
TALKATIVE = (
    "celery.beat",
    "celery.worker.strategy",
    "kombu",
    "amqp",
    "opentelemetry",
    "pymongo",
    "stripe",
    "urllib3",
    "werkzeug",
)
# This logger quotes exceptions. `ObservedTask` logs the errors of a task instead.
QUOTING = "celery.app.trace"


class Lines:
    """Writes each line whole."""

    def msg(self, line: str | bytes) -> None:
        """Write one line."""
        text = line.encode("utf-8", "replace") if isinstance(line, str) else line
        os.write(STDERR, text + b"\n")

    debug = info = warning = error = critical = exception = log = fatal = msg


class _FromLibraries(logging.Handler):
    """Writes the log lines of libraries in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        fault = {"exc_info": record.exc_info} if record.exc_info else {}
        structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name, **fault)


def configure(level: str) -> None:
    """Sets up the logging of a process; `level` is the lowest level that is logged."""
    least = logging.getLevelNamesMapping()[level.upper()]
    readable = sys.stderr.isatty()
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if readable:
        processors.append(structlog.dev.ConsoleRenderer())
    else:
        processors += [_without_words, structlog.processors.JSONRenderer(_to_json)]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *_: Lines(),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_FromLibraries()], level=least, force=True)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(least, logging.WARNING))
    logging.getLogger(QUOTING).setLevel(logging.CRITICAL + 1)


def _without_words(_: object, __: str, line: dict[str, Any]) -> dict[str, Any]:
    given = line.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else sys.exc_info()[1] if given is True else given
    if isinstance(error, BaseException):
        line["exception"] = "\n".join(
            f"{''.join(traceback.format_tb(one.__traceback__))}{_kind(one)}" for one in _chain(error)
        )
    return line


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and its causes, the first cause first."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before:
        yield from _chain(before)
    yield error


def _kind(error: BaseException) -> str:
    """The type of an exception, and its numeric code if it has one."""
    code = getattr(error, "code", None)
    suffix = f" {code}" if isinstance(code, int) else ""
    return f"{type(error).__module__}.{type(error).__qualname__}{suffix}"


def _to_json(line: dict[str, Any], **_: Any) -> bytes:
    try:
        return orjson.dumps(line, default=str)
    except TypeError:
        # Half a surrogate pair or a very large number. No log line is worth a failure.
        return json.dumps(line, default=str).encode()
