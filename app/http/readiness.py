"""Whether the service can accept orders."""

from collections.abc import Callable, Mapping

# Without the broker, orders are still accepted and processed later.
REQUIRED = ("database", "migrations")


def readiness(probes: Mapping[str, Callable[[], str]]) -> dict[str, str]:
    """The state of each dependency: `ok`, or what is wrong."""
    return {name: probe() for name, probe in probes.items()}


def is_ready(states: dict[str, str]) -> bool:
    """Whether orders can be accepted in these states."""
    return all(states[name] == "ok" for name in REQUIRED)
