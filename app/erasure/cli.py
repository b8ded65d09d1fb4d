"""`flask --app wsgi erase-customer`: erases a customer's personal data, which the customer has a right to."""

import sys

import click
from flask.cli import with_appcontext

from app.console import OperatorCommand, echo_columns, plain, services
from app.erasure import service as erasing
from app.orders.fields import PERSONAL

_DATA = f"the personal data ({', '.join(PERSONAL)}) and the notes"


@click.command(
    "erase-customer", cls=OperatorCommand, help=f"Erase {_DATA} from all orders of USER_ID, for good."
)
@click.argument("user_id")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@with_appcontext
def erase_customer(user_id: str, yes: bool) -> None:
    if not yes:
        _ask(user_id)
    erased = erasing.erase_customer(services().erasure, user_id)
    echo_columns(
        [
            ("orders erased", str(erased.orders)),
            ("rejected original orders erased", str(erased.rejected)),
        ]
    )


def _ask(user_id: str) -> None:
    if not sys.stdin.isatty():
        raise click.ClickException("Nothing is erased: add --yes to run without a terminal.")
    if not click.confirm(f"Erase {_DATA} from all orders of {plain(user_id)}? They cannot be restored."):
        raise click.ClickException("Nothing is erased.")
