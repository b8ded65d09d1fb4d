"""The fixtures that every test may ask for."""

import os

from hypothesis import settings

# The package `tasks` reads its settings when it is imported, and refuses to run with none.
os.environ.setdefault("AUTH", "off")

pytest_plugins = ["tests.servers"]

# A deadline per example measures the machine's other load, not this code.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")
