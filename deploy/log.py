"""Formats gunicorn's log lines like all others, and removes text from the client: it may be a token."""

import logging
from typing import Any

from gunicorn.glogging import Logger

from app.observability.logging import configure


class Log(Logger):
    """Gunicorn's logger, in the arbiter and its workers."""

    def setup(self, cfg: Any) -> None:
        """Runs at the start and at each reload."""
        super().setup(cfg)
        configure(logging.getLevelName(self.loglevel))
        self.error_log.handlers.clear()
        self.error_log.propagate = True

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Logs a warning without the text from the client, which follows a colon."""
        if msg.startswith("Invalid request"):
            msg = "Invalid request"
        super().warning(msg, *args, **kwargs)

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Logs an exception without the path and query of the request."""
        super().exception(msg.replace("%s", "").strip() if args else msg, **kwargs)
