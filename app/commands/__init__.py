"""The operator's commands, under `flask --app wsgi`."""

from flask import Flask

from app.commands import finding  # noqa: F401 - it adds its commands to the group `orders`
from app.commands.database import db
from app.commands.quotes import quote
from app.commands.tokens import token
from app.erasure.cli import erase_customer
from app.orders.cli import orders
from app.promises.cli import promises
from app.reconciliation.cli import reconcile
from app.refunds.cli import refunds
from app.stock.cli import stock
from app.webhooks.cli import webhooks


def register_commands(app: Flask) -> None:
    """Adds the groups `db`, `orders`, `refunds`, `stock` and `webhooks`, and the single commands."""
    for command in (db, orders, refunds, stock, webhooks, erase_customer, reconcile, promises, token, quote):
        app.cli.add_command(command)
