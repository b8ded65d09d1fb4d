"""Log lines, metrics and traces of every task, and the endpoint that serves the metrics."""

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from celery import Task
from celery.utils import uuid
from kombu.exceptions import OperationalError
from structlog.contextvars import bind_contextvars, clear_contextvars

from app.errors import DatabaseUnavailable
from app.observability.metrics import FOLDER, shared_registry
from app.services import Services
from tasks.composition import services

log = structlog.get_logger()

# The most ids in one log line, so that the line is written in one piece.
_MOST_IDS = 100


class ObservedTask(Task):
    """A task with log lines, metrics and a trace. A direct call runs the plain function."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the task. An unavailable server is no error, since the work is sent again."""
        if self.request.called_directly:
            return super().__call__(*args, **kwargs)
        own, began = services(), time.perf_counter()
        clear_contextvars()
        bind_contextvars(task=self.name, task_id=self.request.id)
        try:
            with own.tracer.working(self.name, getattr(self.request, "traceparent", None)) as trace_id:
                if trace_id:
                    bind_contextvars(trace_id=trace_id)
                with own.still():
                    return super().__call__(*args, **kwargs)
        except (DatabaseUnavailable, OperationalError) as error:
            own.metrics.count("task_failures_total", self.name)
            log.warning("task interrupted", reason=str(error))
        except Exception:
            own.metrics.count("task_failures_total", self.name)
            log.exception("task failed")
        finally:
            self._report(own, sum(map(len, args)), time.perf_counter() - began)

    def _report(self, own: Services, ids: int, seconds: float) -> None:
        own.metrics.time("task_duration_seconds", self.name, seconds=seconds)
        if ids:
            own.metrics.count("task_ids_total", self.name, by=ids)
        # Most tasks of beat find nothing to do, every second.
        (log.info if ids else log.debug)("task done", ids=ids, ms=round(seconds * 1000, 1))


@contextmanager
def publishing(task: str, ids: list[str]) -> Iterator[dict[str, Any]]:
    """The options of a message that link it to its log lines and its trace. Logs the ids afterwards."""
    options = {"task_id": uuid()}
    with services().tracer.publishing(task) as headers:
        yield {**options, "headers": headers}
    for start in range(0, len(ids), _MOST_IDS):
        log.info("published", task=task, **options, ids=ids[start : start + _MOST_IDS])


def share_counts(port: int | None) -> None:
    """Creates the folder in which this process and its forks share counts, if `port` serves metrics."""
    if port is None:
        return
    if FOLDER not in os.environ:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="order-service-")
        atexit.register(shutil.rmtree, os.environ[FOLDER], ignore_errors=True)
    folder = Path(os.environ[FOLDER])
    folder.mkdir(parents=True, exist_ok=True)
    for counts in folder.glob("*.db"):
        counts.unlink(missing_ok=True)


def show_counts(port: int | None) -> None:
    """Serves the shared counts on `port`. If the port is taken, logs a warning and continues."""
    if port is None:
        return
    from prometheus_client import start_http_server  # noqa: PLC0415 - once there is a folder

    address = os.environ.get("BIND_ADDRESS") or "0.0.0.0"  # noqa: S104 - in a container
    try:
        start_http_server(port, addr=address, registry=shared_registry())
    except OSError as error:
        log.warning("metrics cannot be shown", port=port, reason=type(error).__name__)
