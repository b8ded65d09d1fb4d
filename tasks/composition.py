"""What a background process is made of: its settings, and over them its shop. Each is made at first use."""

from functools import cache

from app.config import Settings
from app.services import Services, open_services


@cache
def settings() -> Settings:
    """The settings of this process's environment. Raises ConfigError."""
    return Settings.from_env()


@cache
def services() -> Services:
    """This process's shop. A worker asks for it in the processes that it has forked, never before."""
    return open_services(settings())
