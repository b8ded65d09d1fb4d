"""The database's clock, used by all processes, so that they agree even if their machines' clocks differ."""

from collections.abc import Callable
from datetime import datetime

from pymongo.database import Database

from app.clock import now
from app.mongo.database import Document
from app.mongo.heartbeats import heartbeats_of
from app.mongo.outages import reports_outages


class ServerClock:
    """The database's time. All processes agree on it to a few milliseconds."""

    def __init__(self, database: Database[Document], report: Callable[[float], None]) -> None:
        self._database = database
        self._heartbeats = heartbeats_of(database)
        self._heartbeats.report = report

    def __call__(self) -> datetime:
        """The present moment. Raises DatabaseUnavailable if the database was never reached."""
        moment = self._heartbeats.now()
        if moment is None:
            self._ping()
            # Behind a load balancer the driver gets no heartbeats.
            moment = self._heartbeats.now() or now()
        return moment

    @reports_outages
    def _ping(self) -> None:
        self._database.command("ping")
