"""The Celery application: its queues, and how a task behaves when a process dies under it."""

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
from tasks.observed import ObservedTask, share_counts, show_counts
from tasks.starting import await_database, watch_broker


@setup_logging.connect
def configure_logging(**_: object) -> None:
    """Keeps Celery from setting up logging its own way; the service's goes for all processes."""
    configure(settings().log_level)


@worker_process_init.connect
def end_promptly(**_: object) -> None:
    """Keeps a process that is to end from waiting half a minute for word that its last result was read.

    Such word may not come any more once the worker is ending, and nobody reads our results.
    """
    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = 10


@worker_init.connect
def begin(**_: object) -> None:
    """Before the worker forks."""
    configure_logging()
    await_database()
    # A message that a worker has is gone from the broker, begun or not. When a connection ends, Kombu would
    # put back those not begun, and where the broker is gone write them, with ids of orders, into a file.
    virtual.Channel.do_restore = False
    share_counts(settings().metrics_port)


class BrokerWatch(bootsteps.StartStopStep):
    """Begins after the worker has forked, since a thread would not come along, and before it connects."""

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: object) -> None:
        """Says from now on when the worker waits for the broker."""
        watch_broker()


@worker_ready.connect
def show(**_: object) -> None:
    """After it has forked, since a thread of its own would not come along."""
    show_counts(settings().metrics_port)


def queue_of(name: str) -> str:
    """The queue stands in the task's name: `payments.capture` goes by `payments`."""
    return name.partition(".")[0]


def _broker() -> dict[str, Any]:
    """Where the broker is. A fault in the settings ends a command of Celery's with the fault's own lines."""
    try:
        return {"broker_url": settings().redis_url}
    except ConfigError as faults:
        raise click.ClickException(str(faults)) from faults


app = Celery("orders", task_cls=ObservedTask, include=("tasks.steps", "tasks.maintenance"))
# A function, which Celery calls when it first needs a setting: importing this module reads none.
app.add_defaults(_broker)
app.steps["worker"].add(BrokerWatch)
app.conf.update(
    beat_scheduler="tasks.beat:LeasedScheduler",
    broker_connection_max_retries=None,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        # What a worker had in hand when it died, the sweep finds. Kept in the broker until done, it would
        # cost round trips, and with Celery 5.7 the worker itself when the broker goes away.
        "ack_emulation": False,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
    },
    result_backend=None,
    task_acks_late=False,
    task_default_queue="maintenance",
    task_ignore_result=True,
    # The relay and the sweep try again by themselves; Kombu 5.7 may go on with a channel it has closed.
    task_publish_retry=False,
    task_queues=[Queue(name) for name in QUEUES],
    task_routes=lambda name, *_, **__: {"queue": queue_of(name)},
    task_store_errors_even_if_ignored=False,
    # Nothing is acknowledged late, so nothing is cancelled; unset, Celery warns at every lost connection.
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
)
