"""`flask --app wsgi refunds`: retries failed refunds, even of deleted orders."""

import click

from app import money
from app.console import OperatorGroup, plain, services
from app.errors import NotFound, OrderServiceError, RefundNotFailed
from app.refunds.service import failed_refunds, retry_refund

# The actor in the order's log for a command at the terminal.
ACTOR = "operator"

refunds = OperatorGroup("refunds", help="Refunds that have failed.")


@refunds.command()
@click.argument("order_id", metavar="ORDER")
@click.argument("refund_id", metavar="[REFUND]", required=False)
@click.pass_context
def retry(ctx: click.Context, order_id: str, refund_id: str | None) -> None:
    """Retry one failed refund or all failed refunds of an order, even a deleted one. Exit with 1 if one is
    refused."""
    if refund_id is not None:
        _retry(order_id, refund_id)
        return
    try:
        failed = failed_refunds(services().orders, order_id)
    except NotFound:
        raise NotFound(f"The order {plain(order_id)} does not exist.") from None
    if not failed:
        raise RefundNotFailed("No refund of the order has failed.")
    refused = 0
    for refund in failed:
        try:
            _retry(order_id, refund["id"])
        except OrderServiceError as fact:
            refused += 1
            click.echo(f"{refund['id']}  not retried: {fact}", err=True)
    ctx.exit(1 if refused else 0)


def _retry(order_id: str, refund_id: str) -> None:
    result = retry_refund(services().orders, order_id, refund_id, actor=ACTOR)
    amount = money.to_text(result.refund["amount"], result.order["currency"])
    click.echo(
        f"{result.refund['id']}  {amount} {result.order['currency']}  attempt {result.refund['attempt']}"
    )
