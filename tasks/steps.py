"""One thin task per step of the event table; each takes a list of ids, to share the cost of a message."""

from collections.abc import Iterable, Mapping

from app.domain import steps
from app.services.notifying import announce, deliver
from app.services.processing import perform
from app.services.sweeping import BATCH
from tasks.celery import app, shop


def send(owed: Mapping[str, Iterable[str]]) -> None:
    """Publishes the steps owed, by name, to the orders they are due for; duplicates are harmless."""
    for name, order_ids in owed.items():
        ids = list(order_ids)
        for start in range(0, len(ids), BATCH):
            app.send_task(name, args=(ids[start : start + BATCH],))


def _make_task(step: steps.Step) -> None:
    @app.task(name=step.name)
    def perform_step(order_ids: list[str]) -> None:
        perform(shop(), step, order_ids)


for _step in steps.STEPS:
    _make_task(_step)


@app.task(name=steps.ANNOUNCE)
def announce_events(order_ids: list[str]) -> None:
    """Records the notifications of these orders' events and sends for their delivery."""
    send({deliver_notifications.name: announce(shop(), order_ids)})


@app.task(name="notifications.deliver")
def deliver_notifications(notification_ids: list[str]) -> None:
    """Delivers these notifications."""
    deliver(shop(), notification_ids)
