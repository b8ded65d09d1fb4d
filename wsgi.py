"""The WSGI entry point: `gunicorn -c deploy/gunicorn.conf.py wsgi:app`, and `flask --app wsgi`."""

from app import create_app
from app.config import Settings
from app.logging import configure

settings = Settings.from_env()
configure(settings.log_level)
app = create_app(settings)
