"""`flask --app wsgi stock`: sets the stock levels of many products at once."""

from pathlib import Path

import click

from app.console import OperatorGroup, plain, progress_bar, services
from app.stock.file import read_stock
from app.stock.load import load_levels

stock = OperatorGroup("stock", help="Stock levels.")


@stock.command()
@click.argument("file", type=click.Path(path_type=Path))
def load(file: Path) -> None:
    """Set the levels in a CSV FILE (productId,onHand): all of them, or none if a line is bad."""
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
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
