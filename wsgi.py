"""The WSGI entry point: `gunicorn -c deploy/gunicorn.conf.py wsgi:app`, and `flask --app wsgi`."""

import sys

from app import create_app
from app.config import ConfigError, Settings
from app.observability.logging import configure

try:
    settings = Settings.from_env()
except ConfigError as faults:
    sys.exit(str(faults))
configure(settings.log_level)
app = create_app(settings)
