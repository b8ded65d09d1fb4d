"""One thin task per step of the event table; each takes a list of ids, to share the cost of a message."""

from collections.abc import Mapping, Sequence

from kombu.exceptions import OperationalError

from app.domain import steps
from app.services.notifying import announce, deliver
from app.services.processing import perform
from app.services.sweeping import BATCH
from tasks.celery import app, queue_of, shop

# A queue with fewer messages waiting than this is given more.
_WAITING = 2


def is_free(name: str) -> bool:
    """Whether the workers of the task's queue will soon have nothing left to do. Raises OperationalError."""
    with app.connection_or_acquire() as connection:
        try:
            queue = connection.default_channel.queue_declare(queue_of(name), passive=True)
        except connection.channel_errors:
            # In Redis a queue with nothing in it is not there.
            return True
        except connection.connection_errors as error:
            raise OperationalError("The broker cannot be reached.") from error
    return bool(queue.message_count < _WAITING)


def send(name: str, ids: list[str]) -> None:
    """Publishes a task for these ids; a duplicate is harmless."""
    app.send_task(name, args=(ids,))


def send_all(owed: Mapping[str, Sequence[str]]) -> None:
    """Publishes all that is owed, by the names of the steps."""
    for name, ids in owed.items():
        for start in range(0, len(ids), BATCH):
            send(name, list(ids[start : start + BATCH]))


def _make_task(step: steps.Step) -> None:
    @app.task(name=step.name)
    def perform_step(order_ids: list[str]) -> None:
        perform(shop(), step, order_ids)


for _step in steps.STEPS:
    _make_task(_step)


@app.task(name=steps.ANNOUNCE)
def announce_events(order_ids: list[str]) -> None:
    """Records the notifications of these orders' events and sends for their delivery."""
    send_all({deliver_notifications.name: announce(shop(), order_ids)})


@app.task(name="notifications.deliver")
def deliver_notifications(notification_ids: list[str]) -> None:
    """Delivers these notifications."""
    deliver(shop(), notification_ids)
