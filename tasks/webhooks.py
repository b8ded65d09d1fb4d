"""The task that sends webhooks: it hands the endpoints to the sender threads of its process and returns."""

from functools import cache

from celery.signals import worker_process_shutdown

from app.notifications.announce import SEND_WEBHOOKS
from app.webhooks.delivery import deliver_next
from tasks.celery import app
from tasks.composition import services
from tasks.senders import SenderThreads

_LAST_SECONDS = 1.0


@cache
def senders() -> SenderThreads:
    """The sender threads of this process. They start at first use, which is after the worker has forked."""
    return SenderThreads(_deliver_next)


def _deliver_next(endpoint_id: str) -> bool | None:
    with services().still():
        return deliver_next(services().webhooks, endpoint_id)


@worker_process_shutdown.connect
def close_senders(**_: object) -> None:
    """Lets attempts under way finish for a second; another process repeats those that take longer.

    Then it sends the traces that still wait, since no other hook runs before the process ends.
    """
    if senders.cache_info().currsize:
        senders().close(_LAST_SECONDS)
    if services.cache_info().currsize:
        services().tracer.close()


@app.task(name=SEND_WEBHOOKS)
def send_webhooks(endpoint_ids: list[str]) -> None:
    """Sends the webhooks that are due to these endpoints."""
    senders().wake(endpoint_ids)
