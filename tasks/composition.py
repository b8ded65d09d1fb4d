"""The settings and services of a background process, each created at first use."""

from functools import cache

from app.config import Settings
from app.services import Services, open_services


@cache
def settings() -> Settings:
    """The settings of this process's environment. Raises ConfigError."""
    return Settings.from_env()


@cache
def services() -> Services:
    """The services of this process. A worker calls this only in the processes that it has forked."""
    return open_services(settings())
