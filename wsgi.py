"""The WSGI entry point: `gunicorn -c deploy/gunicorn.conf.py wsgi:app`, and `flask --app wsgi`."""

import os
import sys

from app import create_app
from app.config import ConfigError, Settings
from app.observability.logging import configure

try:
    settings = Settings.from_env()
except ConfigError as faults:
    sys.exit(str(faults))
# A command at a terminal prints its report there, and log lines would mix with it.
is_at_terminal = os.environ.get("FLASK_RUN_FROM_CLI") == "true" and sys.stderr.isatty()
configure("warning" if is_at_terminal and settings.log_level == "info" else settings.log_level)
app = create_app(settings)
