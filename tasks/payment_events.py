"""The task that works on what payment providers have told."""

from app.payments.events import take_in
from tasks.celery import app
from tasks.composition import services

# Each may take a call of the provider or two, and steps of orders wait behind them in the same queue.
MOST_PER_MESSAGE = 50


@app.task(name="payments.take_in_events")
def take_in_events(event_ids: list[str]) -> None:
    """Works on these events."""
    take_in(services().payments, event_ids)
