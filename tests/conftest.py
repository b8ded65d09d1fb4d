"""The fixtures that every test may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings

from tasks import app
from tasks.composition import settings as settings_of_tasks

if TYPE_CHECKING:
    from celery import Celery

pytest_plugins = [
    "tests.support.plans",
    "tests.support.servers",
    "tests.support.service_fixtures",
    "tests.support.web_fixtures",
]

# A deadline per example measures the machine's other load, not this code.
settings.register_profile("steady", deadline=None)
# For `make check`; all examples run in `make test`.
settings.register_profile("quick", deadline=None, max_examples=20)
settings.load_profile("steady")
# By default, a traceback shows the variables of each frame in colours, which can take seconds.
PLAIN = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[structlog.processors.add_log_level, PLAIN])


@pytest.fixture(scope="session")
def celery() -> Celery:
    """The Celery application with its tasks and its default settings."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AUTH", "off")
        assert settings_of_tasks().auth == "off"
    app.loader.import_default_modules()
    return app


# What a test needs shows in the fixtures that it asks for, directly or by others.
NEEDS = {
    "processes": {
        "start_stack",
        "start_shared_stack",
        "service",
        "life",
        "newcomer",
        "mirror",
        "stack_over",
    },
    # Something large is made first: a database of the test's own, orders in every state, a replica set.
    "slow": {"mongo_uri", "healthy", "full", "explained", "members"},
    "servers": {
        "mongo_server",
        "broker_server",
        "private_mongo",
        "private_broker",
        "stripe_of_the_run",
        "members",
        "nginx",
    },
}


# The tests with these markers take the longest.
LONGEST = ("processes", "slow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test by what it needs, and puts the files that take longest first.

    So the quick files fill up the end of the run, and all workers of xdist end together.
    """
    first: dict[str, int] = {}
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        for marker, needed in NEEDS.items():
            if fixtures & needed:
                item.add_marker(marker)
        rank = next(
            (at for at, marker in enumerate(("processes", "slow")) if item.get_closest_marker(marker)), 2
        )
        file = item.nodeid.partition("::")[0]
        first[file] = min(rank, first.get(file, rank))
    items.sort(key=lambda item: first[item.nodeid.partition("::")[0]])
