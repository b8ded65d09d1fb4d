"""The task that sends webhooks: it hands endpoints to the threads of its process and is done."""

from functools import cache, partial

from celery.signals import worker_process_shutdown

from app.webhooks.delivery import deliver_next
from tasks.celery import app
from tasks.composition import services
from tasks.senders import Lanes

_LAST_SECONDS = 1.0


@cache
def lanes() -> Lanes:
    """This process's, begun at first use, which is after the worker has forked."""
    return Lanes(partial(deliver_next, services().webhooks))


@worker_process_shutdown.connect
def end_lanes(**_: object) -> None:
    """Lets attempts under way come to their end; those that take longer are made again by another process.

    Then the traces are handed over that wait, since such a process ends without ado.
    """
    if lanes.cache_info().currsize:
        lanes().close(_LAST_SECONDS)
    if services.cache_info().currsize:
        services().tracer.close()


@app.task(name="notifications.send_webhooks")
def send_webhooks(endpoint_ids: list[str]) -> None:
    """Sends what is due to these endpoints."""
    lanes().wake(endpoint_ids)
