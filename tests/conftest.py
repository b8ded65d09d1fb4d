"""The fixtures that every test may ask for."""

from hypothesis import settings

pytest_plugins = ["tests.servers"]

# A deadline per example measures the machine's other load, not this code.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")
