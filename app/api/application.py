"""Puts the web application together out of its blueprints and hooks."""

from collections.abc import Callable

from flask import Flask

from app.api import (
    access,
    events,
    openapi,
    orders,
    payment_events,
    problems,
    refunds,
    service,
    stock,
    webhooks,
)
from app.api.metrics import Metrics
from app.domain.access import Caller
from app.services.shop import Shop


def application(shop: Shop, who_calls: Callable[[str], Caller] | None) -> Flask:
    """The web application over a shop; `who_calls` tells callers by their tokens, where they need one."""
    app = Flask("app", static_folder=None)
    # A redirect to the right path would lose a body, so a path is right with or without a slash at its end.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.converters["product"] = stock.ProductConverter
    app.extensions["shop"] = shop
    app.extensions["metrics"] = metrics = Metrics()

    access.init_app(app, metrics, who_calls)
    api = openapi.begin(app)
    problems.init_app(app)
    prefix = shop.settings.api_prefix
    for blueprint in (
        orders.blueprint,
        refunds.blueprint,
        events.blueprint,
        stock.blueprint,
        webhooks.blueprint,
        payment_events.blueprint,
        service.blueprint,
    ):
        api.register_blueprint(blueprint, url_prefix=prefix)
    app.add_url_rule(f"{prefix}/docs/<name>", "service.asset", service.asset)
    app.extensions["description"] = openapi.finish(app, api)
    return app
