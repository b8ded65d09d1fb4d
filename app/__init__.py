"""The order service. `create_app` makes its web application."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.config import Settings
    from app.services import Services


def create_app(settings: Settings | None = None, services: Services | None = None) -> Flask:
    """The web application over the services; by default those that the environment's settings describe."""
    # The workers import `app`, too, and are not to carry the web framework.
    from app.application import application  # noqa: PLC0415
    from app.commands import register_commands  # noqa: PLC0415
    from app.config import Settings  # noqa: PLC0415
    from app.services import caller_of_token, claims_of_quote, open_services, rates  # noqa: PLC0415

    if services is None:
        services = open_services(settings or Settings.from_env())
    read = services.settings
    app = application(services, caller_of_token(read), rates(read), claims_of_quote(read))
    register_commands(app)
    return app
