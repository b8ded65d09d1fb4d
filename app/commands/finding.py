"""`flask --app wsgi orders`: finds, exports, follows and explains orders, by the functions of the API."""

import csv
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from app import money
from app.clock import to_text
from app.console import Misused, echo_columns, plain, progress_bar, services, written
from app.diagnosis.commands import possible_commands
from app.diagnosis.service import diagnose_order
from app.errors import InvalidInput, OrderUnreadable
from app.feed import service as feeding
from app.feed.schemas import KINDS
from app.http.parsing import checked
from app.orders import public
from app.orders.cli import id_of, orders
from app.orders.listing import order_query
from app.orders.model import Order
from app.orders.query_store import OrderQuery
from app.orders.reading import reading
from app.orders.schemas import OrdersQuery
from app.orders.service import list_orders
from app.setting_parsers import period

_PAGE = 500
# Seconds between two looks at the feed.
_PAUSE = 1.0
_STANDARD = Path("-")
ACTOR = "operator"

# The filters of the API, as options: `createdFrom` is `--created-from`.
_FILTERS = {
    name: field for name, field in OrdersQuery().fields.items() if name not in ("limit", "cursor", "q")
}
_TIMES = ("createdFrom", "createdTo", "updatedFrom", "updatedTo")
Command = TypeVar("Command", bound=Callable[..., Any])


def _option(name: str) -> str:
    return "--" + re.sub("([A-Z])", r"-\1", name).lower()


def _filtered(command: Command) -> Command:
    """Gives a command the filters of the API."""
    for name, field in reversed(_FILTERS.items()):
        text = field.metadata["description"].replace(" Needs `orders:admin`.", "").replace("`", "")
        if name in _TIMES:
            text += " A time, or how long ago, such as 7d."
        several = hasattr(field, "inner")
        command = click.option(_option(name), name, multiple=several, metavar="TEXT", help=text)(command)
    return command


def _query(given: Mapping[str, Any], limit: int) -> OrderQuery:
    """The query with these options. Raises Misused."""
    now = services().clock()
    values: dict[str, Any] = {
        name: [*value] if isinstance(value, tuple) else value for name, value in given.items() if value
    }
    for name in _TIMES:
        if name in values:
            values[name] = _moment(values[name], now)
    try:
        query = order_query(checked(OrdersQuery(), values), now)
    except InvalidInput as error:
        # A key of `find` is no option.
        faults = (
            f"{_option(name) if (name := fault.pointer.split('/')[1]) in _FILTERS else 'KEY'} {fault.detail}"
            for fault in error.faults
        )
        raise Misused(f"{'; '.join(faults)}. Try --help.") from None
    return query._replace(limit=limit)


def _moment(text: str, now: datetime) -> str:
    try:
        return to_text(now - period(text))
    except (ValueError, OverflowError):
        # A day is its beginning in UTC.
        return f"{text}T00:00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text


def _pages(query: OrderQuery) -> Iterator[Order]:
    """The orders that match, read a page at a time, since the reader may be slow."""
    left = query.limit
    while left:
        wanted = min(left, _PAGE)
        page = list(list_orders(services().orders, query._replace(limit=wanted)))
        yield from page[:wanted]
        if len(page) <= wanted:
            return
        left -= wanted
        last = page[wanted - 1]
        query = query._replace(after=last["id"], after_update=last.get("updatedAt"))


@orders.command("list")
@_filtered
@click.option("--limit", type=click.IntRange(1), default=25, help="How many orders: 25 by default.")
def list_(limit: int, **given: Any) -> None:
    """Print orders, the newest first; those that match all options."""
    _print(_pages(_query(given, limit)))


@orders.command()
@click.argument("key")
def find(key: str) -> None:
    """Print the orders with exactly this KEY: an id, number, reference, email or tracking number."""
    _print(_pages(_query({"q": key}, 100)))


@orders.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default=_STANDARD)
@click.option(
    "--format", "form", type=click.Choice(["ndjson", "csv"]), default="ndjson", help="The default is ndjson."
)
@_filtered
@click.pass_context
def export(ctx: click.Context, /, file: Path, form: str, **given: Any) -> None:
    """Write the orders that match all options to a FILE, or to standard output.

    `ndjson` has a line per order, as the API shows it. `csv` has the most important fields. Exit with 1 if an
    order is damaged and left out.
    """
    query = _query(given, 1)
    total = services().orders.store.count(query)
    damaged: list[str] = []
    with written(file) as lines, progress_bar("orders") as progress:
        write = _csv(lines) if form == "csv" else _ndjson(lines)
        number = 0
        for number, order in enumerate(_pages(query._replace(limit=2**31)), 1):
            try:
                with reading(order["id"]):
                    write(order)
            except OrderUnreadable:
                damaged.append(order["id"])
            if number % _PAGE == 0:
                progress(min(number, total), total)
    for order_id in damaged:
        click.echo(f"{order_id}  damaged, left out", err=True)
    if file != _STANDARD:
        click.echo(f"{number - len(damaged)} orders written")
    ctx.exit(1 if damaged else 0)


@orders.command()
@click.option(
    "--type", "types", multiple=True, metavar="TEXT", help="Only this type, such as order.shipped or order.*."
)
@click.option("--last", type=click.IntRange(0), default=10, help="Begin with so many events: 10 by default.")
@click.option("--follow/--no-follow", default=True, help="Whether to wait for further events.")
def tail(types: tuple[str, ...], last: int, follow: bool) -> None:
    """Print the events of all orders as they come."""
    if unknown := [plain(one) for one in types if one not in KINDS]:
        raise click.BadParameter(f"unknown: {', '.join(unknown)}", param_hint="--type")
    wanted = frozenset[str]().union(*(KINDS[one] for one in types))
    position = max(0, services().feed.store.last() - last)
    # Ctrl-C is how one ends it.
    with suppress(KeyboardInterrupt):
        while (after := _print_events(position, wanted)) != position or follow:
            if after == position:
                time.sleep(_PAUSE)
            position = after


def _print_events(position: int, types: frozenset[str]) -> int:
    """Prints the next events of these types, or of all, and returns the position after them."""
    part = feeding.read(services().feed, position, _PAGE, types)
    for event in part.events:
        about = event.order.get("number", "") if event.order else "damaged"
        click.echo(f"{to_text(event.at)}  {event.order_id}  {about:<11}  {event.type}")
    return part.position


@orders.command()
@click.argument("key", metavar="ID_OR_NUMBER")
def why(key: str) -> None:
    """Print what an order waits for, since when, what happens next, and what could be done."""
    found = diagnose_order(services().diagnosis, id_of(key))
    shown: dict[str, Any] = {**found.diagnosis}
    rows = [("order", found.order_id), ("state", shown["state"]), ("waiting for", shown["waitingFor"])]
    named = {"step": "step", "since": "since", "dueBy": "due by", "attempts": "attempts"}
    rows += [(label, _text(shown[name])) for name, label in named.items() if name in shown]
    if error := shown.get("lastError"):
        rows.append(("last error", f"{error['code']} at {to_text(error['at'])}"))
    rows += [
        (name, f"{shown[name]['what']} at {to_text(shown[name]['at'])}")
        for name in ("next", "otherwise")
        if name in shown
    ]
    rows += [("hold", hold["code"]) for hold in shown.get("holds", ())]
    rows += [(notice["channel"], _notice(notice)) for notice in shown.get("notifications", ())]
    possible = possible_commands(services(), found.order, ACTOR) if found.order else []
    rows += [("possible", f"{one['command']}: {', '.join(one['sets'])}") for one in possible]
    echo_columns([(label, plain(text)) for label, text in rows])


def _notice(notice: Mapping[str, Any]) -> str:
    due = f", next attempt at {to_text(notice['nextAttempt'])}" if "nextAttempt" in notice else ""
    return f"{notice['state']}{due}"


def _text(value: Any) -> str:
    return to_text(value) if isinstance(value, datetime) else str(value)


def _print(found: Iterable[Order]) -> None:
    rows = []
    for order in found:
        try:
            with reading(order["id"]):
                rows.append(_row(order))
        except OrderUnreadable:
            rows.append((order["id"], "damaged", *[""] * 5))
    if rows:
        echo_columns([("order", "number", "created", "status", "payment", "total", "user"), *rows])


def _row(order: Order) -> tuple[str, ...]:
    return (
        order["id"],
        plain(order.get("number", "")),
        to_text(order["createdAt"]),
        order["status"],
        order["payment"]["status"],
        f"{money.to_text(order['totalAmount'], order['currency'])} {order['currency']}",
        plain(order["userId"]),
    )


def _ndjson(lines: Any) -> Callable[[Order], object]:
    return lambda order: lines.write(public.order_text(order, for_shop=True).decode() + "\n")


def _amount(name: str) -> Callable[[Order], str]:
    return lambda order: money.to_text(order["payment"][name], order["currency"])  # type: ignore[literal-required]


_COLUMNS: dict[str, Callable[[Any], Any]] = {
    "id": lambda order: order["id"],
    "number": lambda order: order.get("number"),
    "userId": lambda order: order["userId"],
    "reference": lambda order: order.get("reference"),
    "email": lambda order: order.get("personal", {}).get("email"),
    "status": lambda order: order["status"],
    "paymentStatus": lambda order: order["payment"]["status"],
    "stockStatus": lambda order: order["stock"]["status"],
    "currency": lambda order: order["currency"],
    "totalAmount": lambda order: money.to_text(order["totalAmount"], order["currency"]),
    "capturedAmount": _amount("capturedAmount"),
    "refundedAmount": _amount("refundedAmount"),
    "products": lambda order: "; ".join(f"{one['quantity']} {one['productId']}" for one in order["products"]),
    "tags": lambda order: "; ".join(order.get("tags", ())),
    "createdAt": lambda order: to_text(order["createdAt"]),
    "updatedAt": lambda order: to_text(order["updatedAt"]),
}


def _csv(lines: Any) -> Callable[[Order], object]:
    table = csv.writer(lines, lineterminator="\n")
    table.writerow(_COLUMNS)
    return lambda order: table.writerow([_cell(column(order)) for column in _COLUMNS.values()])


def _cell(value: Any) -> str:
    """The text of a cell. A spreadsheet would take some beginnings for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
