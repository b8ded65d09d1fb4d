"""Whether the service can take orders."""

from collections.abc import Callable, Mapping

# The broker being down delays processing and refuses nobody.
REQUIRED = ("database", "migrations")


def readiness(probes: Mapping[str, Callable[[], str]]) -> dict[str, str]:
    """Each part's state: `ok`, or what is wrong with it."""
    return {name: probe() for name, probe in probes.items()}


def is_ready(states: dict[str, str]) -> bool:
    """Whether orders can be taken in these states."""
    return all(states[name] == "ok" for name in REQUIRED)
