"""The Celery application: its queues, and the fate of a task whose process dies."""

from typing import Any

import click
from billiard import pool  # type: ignore[import-untyped]
from celery import Celery, bootsteps
from celery.signals import (
    setup_logging,
    worker_init,
    worker_process_init,
    worker_ready,
)
from kombu.entity import Queue
from kombu.transport import virtual

from app.broker import QUEUES
from app.config import ConfigError
from app.observability.logging import configure
from tasks.composition import settings
from tasks.hearing import watch_hearing
from tasks.observed import ObservedTask, share_counts, show_counts
from tasks.starting import await_database, watch_broker


@setup_logging.connect
def configure_logging(**_: object) -> None:
    """Replaces Celery's own logging by the service's."""
    configure(settings().log_level)


@worker_process_init.connect
def end_promptly(**_: object) -> None:
    """Shortens the wait of an ending process for the confirmation that its last result was read.

    By default it waits half a minute. The confirmation may never arrive while the worker ends, and our tasks
    have no results.
    """
    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 10


@worker_init.connect
def begin(**_: object) -> None:
    """Prepares the worker before it forks."""
    configure_logging()
    await_database()
    # The broker forgets a message once a worker has it. When a connection ends, Kombu would put unstarted
    # messages back, or write them to a file, order ids included, if the broker is down.
    virtual.Channel.do_restore = False
    share_counts(settings().metrics_port)


class BrokerWatch(bootsteps.StartStopStep):
    """Starts after the worker has forked, since a fork does not copy threads, and before it connects."""

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        """From now on, logs when the worker waits for the broker, and ends the worker when it is deaf."""
        watch_broker()
        watch_hearing(settings().redis_url, worker.app.amqp.queues.consume_from, worker.concurrency)


@worker_ready.connect
def show(**_: object) -> None:
    """Serves the metrics after the worker has forked, since a fork does not copy threads."""
    show_counts(settings().metrics_port)


def queue_of(name: str) -> str:
    """The queue of a task, which is the first part of its name: `payments` for `payments.capture`."""
    return name.partition(".")[0]


def _broker() -> dict[str, Any]:
    """The broker's URL. Faulty settings end a Celery command with the lines of the error."""
    try:
        return {"broker_url": settings().redis_url}
    except ConfigError as faults:
        raise click.ClickException(str(faults)) from faults


app = Celery("orders", task_cls=ObservedTask, include=("tasks.steps", "tasks.maintenance"))
# Celery calls this function when it first needs a setting, so importing this module reads no environment.
app.add_defaults(_broker)
app.steps["worker"].add(BrokerWatch)
app.conf.update(
    beat_scheduler="tasks.beat:LeasedScheduler",
    broker_connection_max_retries=None,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        # The sweep finds the work of a dead worker. Keeping each message in the broker until it is done would
        # cost round trips, and Celery 5.7 would crash the worker when the broker goes away.
        "ack_emulation": False,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
    },
    result_backend=None,
    task_acks_late=False,
    task_default_queue="maintenance",
    task_ignore_result=True,
    # The relay and the sweep retry by themselves, and Kombu 5.7 may retry on a channel that it has closed.
    task_publish_retry=False,
    task_queues=[Queue(name) for name in QUEUES],
    task_routes=lambda name, *_, **__: {"queue": queue_of(name)},
    task_store_errors_even_if_ignored=False,
    # No task is acknowledged late, so none is cancelled. If unset, Celery warns at every lost connection.
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
)
