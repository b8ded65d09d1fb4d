"""Log lines: one JSON object each, with the request id of what they belong to; readable text on a terminal.

Lines go to standard error, each in one write, so that those of several processes never mix. Of an exception
they tell its kind and where it came from. Its words they leave out: a database's quote what was to be
written, a mail server's the address.
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
# Libraries that would tell of every single thing they do; Stripe's tells secrets, too.
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
# Quotes exceptions in its messages; a task tells of its faults itself.
QUOTING = "celery.app.trace"


class Lines:
    """Writes each line whole."""

    def msg(self, line: str | bytes) -> None:
        """Write one line."""
        text = line.encode("utf-8", "replace") if isinstance(line, str) else line
        os.write(STDERR, text + b"\n")

    debug = info = warning = error = critical = exception = log = fatal = msg


class _FromLibraries(logging.Handler):
    """Brings what libraries log into the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        fault = {"exc_info": record.exc_info} if record.exc_info else {}
        structlog.get_logger().log(record.levelno, record.getMessage(), logger=record.name, **fault)


def configure(level: str) -> None:
    """Sets up the logging of a process; `level` is the least that is logged."""
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
    """The exception behind those that it came from."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before:
        yield from _chain(before)
    yield error


def _kind(error: BaseException) -> str:
    """The name of an exception and, of one that has a numeric code, that."""
    code = getattr(error, "code", None)
    told = f" {code}" if isinstance(code, int) else ""
    return f"{type(error).__module__}.{type(error).__qualname__}{told}"


def _to_json(line: dict[str, Any], **_: Any) -> bytes:
    try:
        return orjson.dumps(line, default=str)
    except TypeError:
        # A half surrogate pair or a very large number: no line is worth failing for.
        return json.dumps(line, default=str).encode()
