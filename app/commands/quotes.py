"""`flask --app wsgi quote`: creates a quote for trying things out, if the service has the quotes' secret."""

import time
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from secrets import token_urlsafe
from typing import Any

import click
import orjson
from flask.cli import with_appcontext

from app.commands.own_secret import expires_option, own_secret
from app.console import OperatorCommand, services
from app.errors import QuoteInvalid
from app.money import DECIMALS
from app.orders.schemas import basket_in
from app.orders.shares import total


def _amount(text: str) -> Decimal:
    """The exact amount. Raises ValueError."""
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(text) from error
    if not amount.is_finite():
        raise ValueError(text)
    return amount


@click.command(cls=OperatorCommand)
@click.option(
    "--product",
    "products",
    type=(str, int, _amount),
    metavar="ID QUANTITY PRICE",
    multiple=True,
    required=True,
    help="A line: the product, the number of pieces, and the price of one. Repeat it for more lines.",
)
@click.option(
    "--adjustment",
    "adjustments",
    type=(str, _amount),
    metavar="KIND AMOUNT",
    multiple=True,
    help="Shipping, a tax, a discount (below 0), a fee or a tip. Repeat it for more.",
)
@click.option("--currency", help="The currency of all amounts; DEFAULT_CURRENCY without it.")
@click.option("--sub", help="The userId of the only user that may order by it; any user without it.")
@click.option("--any-number", is_flag=True, help="Allow any number of orders with it, not only one.")
@expires_option("15m", "The quote's lifetime.")
@with_appcontext
def quote(
    products: tuple[tuple[str, int, Decimal], ...],
    adjustments: tuple[tuple[str, Decimal], ...],
    currency: str | None,
    sub: str | None,
    any_number: bool,
    expires: timedelta,
) -> None:
    """Create a quote, if the quotes' secret (QUOTE_SECRET) is set. It works out the total."""
    secret, issued = own_secret("quote", "quote")
    if services().settings.prices != "quoted":
        click.echo("PRICES is client: the service accepts orders without a quote, too.", err=True)
    lines = [
        {"productId": product, "quantity": quantity, "unitPrice": price}
        for product, quantity, price in products
    ]
    added: list[dict[str, Any]] = [{"kind": kind, "amount": amount} for kind, amount in adjustments]
    currency = currency or services().settings.default_currency
    basket = {
        "products": lines,
        **({"adjustments": added} if added else {}),
        "currency": currency,
        "totalAmount": Decimal(total(lines, added) or 0),
    }
    try:
        basket_in(basket)
    except QuoteInvalid as refused:
        raise click.UsageError("; ".join(fault.detail for fault in refused.faults)) from refused
    now = int(time.time())
    claims = {
        **issued,
        "iat": now,
        "exp": now + int(expires.total_seconds()),
        **({"sub": sub} if sub else {}),
        **({} if any_number else {"jti": token_urlsafe(16)}),
        **basket,
    }
    # Imported here, so that a service without quotes does not load the cryptography library.
    from app.http.signed import sign  # noqa: PLC0415

    decimals = DECIMALS[currency]
    text = orjson.dumps(claims, default=lambda amount: orjson.Fragment(f"{amount:.{decimals}f}"))
    click.echo(sign(secret, text))
