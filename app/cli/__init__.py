"""What an operator does at a terminal, under `flask --app wsgi`."""

from flask import Flask

from app.cli.database import db
from app.cli.orders import orders
from app.cli.stock import stock


def register_commands(app: Flask) -> None:
    """Adds the groups `db`, `orders` and `stock` to the app's command line."""
    for group in (db, orders, stock):
        app.cli.add_command(group)
