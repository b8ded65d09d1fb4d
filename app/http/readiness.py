"""Whether the service can take orders."""

from app.shop import Shop

# The broker being down delays processing and refuses nobody.
REQUIRED = ("database", "migrations")


def readiness(shop: Shop) -> dict[str, str]:
    """Each part's state: `ok`, or what is wrong with it."""
    return {name: probe() for name, probe in shop.probes.items()}


def is_ready(states: dict[str, str]) -> bool:
    """Whether orders can be taken in these states."""
    return all(states[name] == "ok" for name in REQUIRED)
