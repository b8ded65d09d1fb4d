"""The task that processes payment events."""

from app.payments.events import take_in
from tasks.celery import app
from tasks.composition import services

# Each event may need two calls to the provider, while steps of orders wait in the same queue.
MOST_PER_MESSAGE = 50


@app.task(name="payments.take_in_events")
def take_in_events(event_ids: list[str]) -> None:
    """Processes these events."""
    take_in(services().payments, event_ids)
