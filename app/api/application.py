"""Puts the web application together out of its blueprints and hooks."""

from collections.abc import Callable

from flask import Flask

from app.api import (
    access,
    browsers,
    events,
    limits,
    openapi,
    orders,
    payment_events,
    problems,
    reconciliations,
    refunds,
    service,
    shares,
    stock,
    webhooks,
)
from app.api.forwarded import believing
from app.domain.access import Caller
from app.services.shop import Shop
from app.services.vitals import Vitals


def application(
    shop: Shop, who_calls: Callable[[str], Caller] | None, count: limits.Count | None = None
) -> Flask:
    """The web application over a shop.

    `who_calls` tells callers by their tokens, where they need one; `count` counts what they may do so often.
    """
    app = Flask("app", static_folder=None)
    # A redirect to the right path would lose a body, so a path is right with or without a slash at its end.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.converters["product"] = stock.ProductConverter
    app.extensions["shop"] = shop
    app.extensions["vitals"] = Vitals(shop)

    if proxies := shop.settings.trusted_proxies:
        app.wsgi_app = believing(app.wsgi_app, proxies)  # type: ignore[method-assign, assignment]
    access.init_app(app, who_calls)
    if count:
        limits.init_app(app, count)
    shares.init_app(app)
    browsers.init_app(app)
    api = openapi.begin(app)
    problems.init_app(app)
    prefix = shop.settings.api_prefix
    for blueprint in (
        orders.blueprint,
        refunds.blueprint,
        events.blueprint,
        stock.blueprint,
        webhooks.blueprint,
        reconciliations.blueprint,
        payment_events.blueprint,
        service.blueprint,
    ):
        api.register_blueprint(blueprint, url_prefix=prefix)
    app.add_url_rule(f"{prefix}/docs/<name>", "service.asset", service.asset)
    app.extensions["description"] = openapi.finish(app, api)
    return app
