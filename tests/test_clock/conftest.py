"""Services whose time can be moved, over a clock that stands still until a test moves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.config import Settings

if TYPE_CHECKING:
    from app.services import Services
    from app.test_clock import TestClockServices


@pytest.fixture
def settings() -> Settings:
    """The settings of a service under test."""
    return Settings.from_env({"AUTH": "off", "TEST_CLOCK": "true", "WEBHOOK_ALLOW_PRIVATE": "true"})


@pytest.fixture
def test_clock(services: Services) -> TestClockServices:
    """What moves the time."""
    assert services.test_clock
    return services.test_clock
