"""Who calls, and the shop that serves them."""

from typing import cast

from flask import current_app

from app.services.shop import Shop


def shop() -> Shop:
    """The shop of the application that handles the request."""
    return cast("Shop", current_app.extensions["shop"])


def caller() -> str:
    """The one who calls, as the order's log names him."""
    return "anonymous"
