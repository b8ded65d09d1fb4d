"""The worker's end of the broker, which outlives the broker."""

from contextlib import suppress

from celery.worker import consumer


class Consumer(consumer.Consumer):
    """Connects again after the broker was away, whatever the worker had in hand.

    Celery 5.7 closes a lost connection twice. At the second time Kombu would give back the messages in hand,
    finds no connection to do it by, and its AttributeError would end the worker. They need not be given back.
    """

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Lets go of the lost connection."""
        with suppress(AttributeError):
            super().on_connection_error_after_connected(exc)
