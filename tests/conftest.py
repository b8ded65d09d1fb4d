"""The fixtures that every test may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tasks import app
from tasks.composition import settings as settings_of_tasks

if TYPE_CHECKING:
    from celery import Celery

pytest_plugins = ["tests.servers"]

# A deadline per example measures the machine's other load, not this code.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def celery() -> Celery:
    """The Celery application with its tasks and its default settings."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AUTH", "off")
        assert settings_of_tasks().auth == "off"
    app.loader.import_default_modules()
    return app
