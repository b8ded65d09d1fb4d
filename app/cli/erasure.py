"""`flask --app wsgi erase-customer`: what a customer who asks for it has a right to."""

import click
from flask.cli import with_appcontext

from app.cli.console import OperatorCommand, echo_columns, shop
from app.services import erasing


@click.command("erase-customer", cls=OperatorCommand)
@click.argument("user_id")
@with_appcontext
def erase_customer(user_id: str) -> None:
    """Erase mail address, postal address and metadata from all orders of USER_ID, for good."""
    erased = erasing.erase_customer(shop(), user_id)
    echo_columns(
        [
            ("orders erased", str(erased.orders)),
            ("rejected original orders erased", str(erased.rejected)),
        ]
    )
