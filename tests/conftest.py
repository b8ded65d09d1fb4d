"""The fixtures that every test may ask for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from types import ModuleType

pytest_plugins = ["tests.servers"]

# A deadline per example measures the machine's other load, not this code.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def tasks() -> ModuleType:
    """The package of the Celery tasks, which reads its settings from the environment when it is imported."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AUTH", "off")
        return importlib.import_module("tasks")
