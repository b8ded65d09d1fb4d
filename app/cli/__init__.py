"""What an operator does at a terminal, under `flask --app wsgi`."""

from flask import Flask

from app.cli.database import db
from app.cli.erasure import erase_customer
from app.cli.orders import orders
from app.cli.reconcile import reconcile
from app.cli.refunds import refunds
from app.cli.stock import stock
from app.cli.tokens import token


def register_commands(app: Flask) -> None:
    """Adds the groups `db`, `orders`, `refunds` and `stock`, and the commands that stand alone."""
    for command in (db, orders, refunds, stock, erase_customer, reconcile, token):
        app.cli.add_command(command)
