"""One clock for all processes, the database's: they agree whatever the clocks of their machines say."""

from collections.abc import Callable
from datetime import datetime

from pymongo.database import Database

from app.clock import now
from app.mongo.database import Document
from app.mongo.heartbeats import heartbeats_of
from app.mongo.outages import reports_outages


class ServerClock:
    """The database's time; the same for every process, to some milliseconds."""

    def __init__(self, database: Database[Document], report: Callable[[float], None]) -> None:
        self._database = database
        self._heartbeats = heartbeats_of(database)
        self._heartbeats.report = report

    def __call__(self) -> datetime:
        """The present moment. Raises DatabaseUnavailable where the database was never reached."""
        moment = self._heartbeats.now()
        if moment is None:
            self._ping()
            # A load balancer in between sends no heartbeats.
            moment = self._heartbeats.now() or now()
        return moment

    @reports_outages
    def _ping(self) -> None:
        self._database.command("ping")
