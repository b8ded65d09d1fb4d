"""The wait before a retry."""

import random
from datetime import timedelta


def backoff(attempts: int, *, base: float = 1.0, longest: float = 60.0) -> timedelta:
    """Doubles from `base` seconds with every failed attempt up to `longest`, ±50% to spread retries."""
    seconds = min(longest, base * 2 ** min(attempts, 30))
    return timedelta(seconds=seconds * random.uniform(0.5, 1.5))  # noqa: S311 - not a secret
