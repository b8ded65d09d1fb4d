"""`flask --app wsgi stock`: sets the stock levels of many products at once."""

import csv
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from app.clock import to_text
from app.console import OperatorGroup, echo_columns, plain, progress_bar, services, written
from app.stock.file import COLUMNS, read_stock
from app.stock.load import load_levels
from app.stock.service import get_level, list_levels, list_movements

_PAGE = 500
# A file name that stands for standard input or output.
_STANDARD = Path("-")

stock = OperatorGroup("stock", help="Stock levels.")


@stock.command()
@click.argument("product", metavar="PRODUCT")
@click.option("--movements", type=click.IntRange(0), default=10, help="How many movements: 10 by default.")
def show(product: str, movements: int) -> None:
    """Print the level of a product and its latest movements, the newest first."""
    level = get_level(services().stock, product)
    echo_columns(
        [
            ("product", plain(product)),
            ("on hand", str(level["onHand"])),
            ("held", str(level["held"])),
            ("version", str(level["version"])),
            ("updated", to_text(level["updatedAt"])),
        ]
    )
    if found := list_movements(services().stock, product, movements, None).items[:movements]:
        click.echo("\nmovements")
        rows = [
            (
                to_text(one["at"]),
                f"{one['quantity']:+}",
                one["kind"],
                plain(one.get("orderId", "")),
                plain(one.get("reason", "")),
            )
            for one in found
        ]
        echo_columns(rows, indent="  ")


@stock.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default=_STANDARD)
def export(file: Path) -> None:
    """Write all levels to a CSV FILE, or to standard output, in the form that `stock load` reads."""
    after, number = None, 0
    with written(file) as lines:
        table = csv.writer(lines, lineterminator="\n")
        table.writerow(COLUMNS)
        while True:
            page = list_levels(services().stock, _PAGE, after)
            table.writerows((level["productId"], level["onHand"]) for level in page.items)
            number, after = number + len(page.items), page.next
            if after is None:
                break
    if file != _STANDARD:
        click.echo(f"{number} levels written")


@contextmanager
def _opened(file: Path) -> Iterator[io.TextIOBase]:
    if file == _STANDARD:
        yield io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="surrogateescape", newline="")
        return
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        yield lines


@stock.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
def load(file: Path) -> None:
    """Set the levels in a CSV FILE (productId,onHand): all of them, or none if a line is bad.

    A FILE of - is standard input.
    """
    try:
        with _opened(file) as lines:
            read = read_stock(lines)
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from None
    for fault in read.faults:
        click.echo(f"{file}: {plain(fault)}", err=True)
    if read.faults:
        raise click.ClickException(f"{file}: {len(read.faults)} bad lines, nothing loaded")
    with progress_bar("stock") as progress:
        load_levels(services().stock, read.levels, progress)
    click.echo(f"{len(read.levels)} levels loaded")
