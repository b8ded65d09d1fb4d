"""`flask --app wsgi webhooks`: lists endpoints and their deliveries, and sends deliveries again."""

from collections.abc import Iterator
from typing import Any

import click

from app.clock import to_text
from app.console import OperatorGroup, echo_columns, plain, services
from app.errors import NotFound
from app.webhooks.model import STATUSES, Delivery, Endpoint
from app.webhooks.service import list_deliveries, list_endpoints
from app.webhooks.service import replay as send_again

_PAGE = 500

webhooks = OperatorGroup("webhooks", help="Webhook endpoints and their deliveries.")


@webhooks.command("list")
@click.argument("endpoint", required=False)
@click.option("--status", type=click.Choice(STATUSES), help="Only deliveries with this status.")
@click.option("--limit", type=click.IntRange(1), default=25, help="How many deliveries: 25 by default.")
def list_(endpoint: str | None, status: str | None, limit: int) -> None:
    """Print all endpoints, or the deliveries of one ENDPOINT, the newest first."""
    if endpoint is None:
        if status is not None:
            raise click.UsageError("--status needs an ENDPOINT.")
        rows = [_endpoint(one) for one in _endpoints()]
        header = ("endpoint", "url", "state", "events", *STATUSES)
    else:
        page = list_deliveries(services().webhooks, endpoint, status, limit, None)
        rows = [_delivery(one) for one in page.items]
        header = ("delivery", "event", "order", "of", "status", "attempts", "last", "next")
    if rows:
        echo_columns([header, *rows])


@webhooks.command()
@click.argument("endpoint")
@click.argument("delivery", nargs=-1)
@click.option("--failed", is_flag=True, help="Send all failed deliveries of the endpoint again.")
def replay(endpoint: str, delivery: tuple[str, ...], failed: bool) -> None:
    """Send deliveries of an ENDPOINT again, each DELIVERY that is named or all failed ones."""
    if bool(delivery) == failed:
        raise click.UsageError("Name deliveries, or give --failed.")
    # Read to the end first, since a delivery that is sent again is no longer failed.
    wanted = delivery or [one["id"] for one in list(_failed(endpoint))]
    for delivery_id in wanted:
        try:
            again = send_again(services().webhooks, endpoint, delivery_id)
        except NotFound as fact:
            raise NotFound(f"{plain(delivery_id)}: {fact}") from None
        click.echo(f"{again['id']}  {again['status']}")
    if not wanted:
        click.echo("No delivery of the endpoint has failed.")


def _endpoints() -> Iterator[Endpoint]:
    after = None
    while True:
        page = list_endpoints(services().webhooks, _PAGE, after)
        yield from page.items
        if (after := page.next) is None:
            return


def _failed(endpoint_id: str) -> Iterator[Delivery]:
    after = None
    while True:
        page = list_deliveries(services().webhooks, endpoint_id, "failed", _PAGE, after)
        yield from page.items
        if (after := page.next) is None:
            return


def _endpoint(one: Endpoint) -> tuple[str, ...]:
    count = services().webhooks.deliveries.count
    state = "enabled" if one["enabled"] else f"disabled, {one.get('disabledReason', 'requested')}"
    numbers = (str(count(one["id"], status)) for status in STATUSES)
    return one["id"], plain(one["url"]), state, ",".join(one["events"]), *numbers


def _delivery(one: Delivery) -> tuple[str, ...]:
    last: Any = one["attempts"][-1] if one["attempts"] else {}
    due = to_text(one["dueBy"]) if "dueBy" in one else ""
    outcome = str(last.get("statusCode", last.get("error", "")))
    about = one["id"], one["type"], one.get("orderId", ""), to_text(one["at"])
    return *about, one["status"], str(len(one["attempts"])), outcome, due
