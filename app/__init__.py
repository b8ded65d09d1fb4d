"""The order service. `create_app` makes its web application."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.config import Settings
    from app.shop import Shop


def create_app(settings: Settings | None = None, shop: Shop | None = None) -> Flask:
    """The web application over a shop; by default the one that the environment's settings describe."""
    # The workers import `app`, too, and are not to carry the web framework.
    from app.application import application  # noqa: PLC0415
    from app.bootstrap import open_shop, rates, who_calls  # noqa: PLC0415
    from app.cli import register_commands  # noqa: PLC0415
    from app.config import Settings  # noqa: PLC0415

    if shop is None:
        shop = open_shop(settings or Settings.from_env())
    app = application(shop, who_calls(shop.settings), rates(shop.settings))
    register_commands(app)
    return app
