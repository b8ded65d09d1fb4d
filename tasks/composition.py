"""What a background process is made of: its settings, and over them its shop. Each is made at first use."""

from functools import cache

from app.bootstrap import open_shop
from app.config import Settings
from app.shop import Shop


@cache
def settings() -> Settings:
    """The settings of this process's environment. Raises ConfigError."""
    return Settings.from_env()


@cache
def shop() -> Shop:
    """This process's shop. A worker asks for it in the processes that it has forked, never before."""
    return open_shop(settings())
