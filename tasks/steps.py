"""One thin task per step of the event table. Each takes a list of ids, to share the cost of a message."""

from collections.abc import Callable, Mapping, Sequence

from kombu.exceptions import OperationalError

from app.broker import QUEUES
from app.notifications.announce import DELIVER, deliver
from app.orders import steps
from app.orders.processing import perform
from app.orders.sweeping import BATCH
from tasks.celery import app, queue_of
from tasks.composition import services
from tasks.observed import publishing

# The relay and beat send to a queue in which fewer messages than this wait. Under load the relay keeps the
# queue full. Beat may send one message more, so that retries get their turn.
_WAITING = 2
WAITING_WITH_BEATS = 3


def free_tasks(waiting_below: int = _WAITING) -> Callable[[str], bool]:
    """A function that says whether fewer messages than `waiting_below` wait in a task's queue, as of now.

    Raises OperationalError if the broker cannot be reached.
    """
    with app.connection_or_acquire() as connection:
        try:
            with connection.default_channel.client.pipeline(transaction=False) as asked:
                for queue in QUEUES:
                    asked.llen(queue)
                lengths = asked.execute()
        except connection.connection_errors as error:
            raise OperationalError("The broker cannot be reached.") from error
    free = {queue for queue, waiting in zip(QUEUES, lengths, strict=True) if waiting < waiting_below}
    return lambda name: queue_of(name) in free


def send(name: str, ids: list[str]) -> None:
    """Publishes a task for these ids. A duplicate message is harmless."""
    with publishing(name, ids) as options:
        app.send_task(name, args=(ids,), **options)


def send_all(owed: Mapping[str, Sequence[str]]) -> None:
    """Publishes the tasks for all these ids, by the name of the task."""
    for name, ids in owed.items():
        for start in range(0, len(ids), BATCH):
            send(name, list(ids[start : start + BATCH]))


def own_steps() -> list[steps.Step]:
    """The steps that this worker does: those of the queues that it takes messages from."""
    return [step for step in steps.STEPS if queue_of(step.name) in app.amqp.queues.consume_from]


def _make_task(step: steps.Step) -> None:
    @app.task(name=step.name)
    def perform_step(order_ids: list[str]) -> None:
        perform(services().orders, step, order_ids, own_steps(), send_all)


for _step in steps.STEPS:
    _make_task(_step)


@app.task(name=DELIVER)
def deliver_notifications(notification_ids: list[str]) -> None:
    """Delivers these notifications."""
    deliver(services().notifications, notification_ids)
