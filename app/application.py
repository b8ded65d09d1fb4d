"""Builds the web application from its blueprints and hooks."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from flask import Flask

from app.cancellations import routes as cancellations
from app.corrections import routes as corrections
from app.diagnosis import routes as diagnoses
from app.dry_run import routes as dry_run
from app.feed import routes as events
from app.gauges import Gauges
from app.holds import routes as holds
from app.http import authentication, dry_runs, limits, openapi, problems, security_headers, shares
from app.http import routes as service
from app.http.access import Caller
from app.http.forwarded import believing
from app.orders import routes as orders
from app.payments import routes as payment_events
from app.promises import routes as promises
from app.reconciliation import routes as reconciliations
from app.refunds import routes as refunds
from app.returns import routes as returns
from app.services import Services
from app.shipments import routes as shipments
from app.stock import routes as stock
from app.test_clock import routes as test_clock
from app.webhooks import routes as webhooks


class _Application(Flask):
    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself. Flask asks for every view and hook of a request, and none is asynchronous."""
        return func


def application(
    services: Services,
    identify: Callable[[str], Caller] | None,
    count: limits.Count | None = None,
    claims_of_quote: Callable[[str], dict[str, Any]] | None = None,
) -> Flask:
    """The web application over the services.

    `identify` returns the caller of a token; None if callers need no token. `count` counts requests for the
    rate limits. `claims_of_quote` verifies a quote; None if the service takes no quotes.
    """
    app = _Application("app", static_folder=None)
    # A redirect to the right path would lose the body. So a path is right with or without a slash at its end.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.converters["product"] = stock.ProductConverter
    app.extensions["services"] = services
    app.extensions["gauges"] = Gauges(services)
    app.extensions["claims_of_quote"] = claims_of_quote

    if proxies := services.settings.trusted_proxies:
        app.wsgi_app = believing(app.wsgi_app, proxies)  # type: ignore[method-assign, assignment]
    dry_runs.init_app(app)
    authentication.init_app(app, identify)
    if count:
        limits.init_app(app, count)
    shares.init_app(app)
    security_headers.init_app(app)
    api = openapi.begin(app)
    problems.init_app(app)
    prefix = services.settings.api_prefix
    for blueprint in (
        orders.blueprint,
        corrections.blueprint,
        holds.blueprint,
        cancellations.blueprint,
        shipments.blueprint,
        refunds.blueprint,
        returns.blueprint,
        diagnoses.blueprint,
        events.blueprint,
        stock.blueprint,
        webhooks.blueprint,
        reconciliations.blueprint,
        promises.blueprint,
        payment_events.blueprint,
        *([test_clock.blueprint] if services.test_clock else []),
        service.blueprint,
    ):
        api.register_blueprint(blueprint, url_prefix=prefix)
    dry_run.add_to_commands(app, api, prefix)
    app.add_url_rule(f"{prefix}/docs/<name>", "service.get_docs_asset", service.get_docs_asset)
    app.extensions["description"] = cache(partial(openapi.finish, app, api))
    return app
