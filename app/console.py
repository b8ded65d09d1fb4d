"""The shared parts of all commands: one-line errors, progress, columns, and text that is safe for a
terminal."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from flask import current_app
from flask.cli import AppGroup

from app.errors import OrderServiceError
from app.mongo.database import connect

if TYPE_CHECKING:
    from app.services import Services

Progress = Callable[[int, int], None]


class Misused(click.ClickException):
    """The command line is wrong."""

    exit_code = 2


def _misused(mistake: click.UsageError) -> Misused:
    return Misused(f"{mistake.format_message()} Try --help.")


class _Operators(click.Command):
    """Prints one line instead of a traceback for an expected error, such as bad input or a missing
    database."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except click.UsageError as mistake:
            raise _misused(mistake) from None
        except OrderServiceError as fact:
            raise click.ClickException(str(fact)) from None


class OperatorGroup(_Operators, AppGroup):
    """A group of commands for operators."""


class OperatorCommand(_Operators):
    """A command for operators without a group. It needs `with_appcontext`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads the command line."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as mistake:
            raise _misused(mistake) from None


def services() -> "Services":
    """The services of the current app."""
    held: Services = current_app.extensions["services"]
    return held


@contextmanager
def opened_database() -> Iterator[Any]:
    """The database over a connection of the command's own, with timeouts long enough for a command."""
    database = connect(services().settings.mongo_uri, patience=None)
    with database.client:
        yield database


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """A progress bar on stderr, or nothing if stderr is not a terminal. It yields the function that moves it.

    The bar appears with the first progress, since most work that could take long does not.
    """
    bar = click.progressbar(length=1, label=label, file=sys.stderr, hidden=not sys.stderr.isatty())
    with ExitStack() as shown:

        def show(done: int, total: int) -> None:
            bar.length = total
            if not bar.entered:
                shown.enter_context(bar)
            bar.update(done - bar.pos)

        yield show


@contextmanager
def written(file: Path) -> Iterator[TextIO]:
    """The file to write to, or standard output for `-`. The file appears, or is replaced, at the end only.

    It can hold personal data, so only its owner can read it.
    """
    if file == Path("-"):
        yield sys.stdout
        sys.stdout.flush()
        return
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as lines:
                yield lines
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from None


def echo_columns(rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Prints the rows with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(indent + "  ".join(cells).rstrip())


def plain(text: object) -> str:
    """The text with unprintable characters (control characters, direction marks) escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text)
    )
