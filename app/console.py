"""What all commands share: refusals as one line, progress, columns, text that cannot steer the terminal."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click
from flask import current_app
from flask.cli import AppGroup

from app.errors import OrderServiceError
from app.mongo.database import connect

if TYPE_CHECKING:
    from app.services import Services

Progress = Callable[[int, int], None]


class Misused(click.ClickException):
    """The command line itself is wrong."""

    exit_code = 2


def _misused(mistake: click.UsageError) -> Misused:
    return Misused(f"{mistake.format_message()} Try --help.")


class _Operators(click.Command):
    """Refuses with one line and no traceback, be it bad input or a database down."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command asked for."""
        try:
            return super().invoke(ctx)
        except click.UsageError as mistake:
            raise _misused(mistake) from None
        except OrderServiceError as fact:
            raise click.ClickException(str(fact)) from None


class OperatorGroup(_Operators, AppGroup):
    """A group of commands for operators."""


class OperatorCommand(_Operators):
    """A command for operators in no group; it needs `with_appcontext`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads the command line."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as mistake:
            raise _misused(mistake) from None


def services() -> "Services":
    """The service's collaborators, as the app holds them."""
    held: Services = current_app.extensions["services"]
    return held


@contextmanager
def opened_database() -> Iterator[Any]:
    """The database by a connection of the command's own, which waits for as long as a command takes."""
    database = connect(services().settings.mongo_uri, patience=None)
    with database.client:
        yield database


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """A bar on stderr, told how much is done and how much there is to do; nothing where nobody watches.

    It comes with the first word of progress, since most of what could take long does not.
    """
    bar = click.progressbar(length=1, label=label, file=sys.stderr, hidden=not sys.stderr.isatty())
    with ExitStack() as shown:

        def show(done: int, total: int) -> None:
            bar.length = total
            if not bar.entered:
                shown.enter_context(bar)
            bar.update(done - bar.pos)

        yield show


def echo_columns(rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Prints the rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(indent + "  ".join(cells).rstrip())


def plain(text: object) -> str:
    """The text with what does not print (control characters, direction marks) escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text)
    )
