"""Adds `?dryRun=true` to every command of an order."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import orjson
from flask import Flask, Response, g

from app import money
from app.dry_run import service as rehearsing
from app.dry_run.schemas import EXAMPLE, DryRun
from app.http import dry_runs
from app.http.answers import answer
from app.http.openapi import Api
from app.http.request_context import may, services
from app.http.route_metadata import OPEN
from app.orders import public
from app.orders.reading import reading

_COMMANDS = {"POST", "PUT", "PATCH", "DELETE"}


def add_to_commands(app: Flask, api: Api, prefix: str) -> None:
    """Adds it to all routes below `/orders` that change something.

    All other commands refuse every query, so that no dry run is taken for the command itself. A payment
    provider chooses the address for its events, so those may have one.
    """
    for rule in app.url_map.iter_rules():
        view: Any = app.view_functions[rule.endpoint]
        if not _COMMANDS & (rule.methods or set()) or view.declared.scope is OPEN:
            continue
        is_of_orders = rule.rule.startswith(f"{prefix}/orders")
        command = dry_runs.offered(_rehearsable(view)) if is_of_orders else dry_runs.without_query(view)
        app.view_functions[rule.endpoint] = command
    api.describe_dry_runs(DryRun, EXAMPLE)


def _rehearsable(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def command(**path: Any) -> Any:
        return _rehearse(view, path) if dry_runs.is_asked() else view(**path)

    return command


def _rehearse(view: Callable[..., Any], path: dict[str, Any]) -> Response:
    real, headers = services(), {}

    def run(others: Any) -> None:
        g.services = others
        response = view(**path)
        if replayed := response.headers.get("Idempotent-Replayed"):
            headers["Idempotent-Replayed"] = replayed

    try:
        found = rehearsing.rehearse(real, run)
    finally:
        g.services = real
    return answer(_shown(found), headers=headers)


def _shown(found: rehearsing.DryRun) -> dict[str, Any]:
    order, for_shop = found.order, may("orders:admin")

    def amount(minor: int) -> orjson.Fragment:
        return orjson.Fragment(money.to_text(minor, order["currency"]))

    with reading(order["id"]):
        events = [public.event(event, order, for_shop=for_shop) for event in found.events]
    return {
        "order": public.order(order, for_shop=for_shop),
        "events": events,
        "sets": [event["type"] for event in found.follow],
        "money": {"capture": amount(found.captured), "refund": amount(found.refunded)},
        "stock": [
            {"productId": moved.product, "before": moved.before, "after": moved.after}
            for moved in found.stock
        ],
        "mails": [{"to": "customer", "template": template} for template in found.mails],
    }
