"""Whether the service can take orders."""

from app.services import Services

# The broker being down delays processing and refuses nobody.
REQUIRED = ("database", "migrations")


def readiness(services: Services) -> dict[str, str]:
    """Each part's state: `ok`, or what is wrong with it."""
    return {name: probe() for name, probe in services.probes.items()}


def is_ready(states: dict[str, str]) -> bool:
    """Whether orders can be taken in these states."""
    return all(states[name] == "ok" for name in REQUIRED)
