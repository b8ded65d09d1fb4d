"""`flask --app wsgi promises`: prints how well the service kept its promises."""

from datetime import timedelta

import click
from flask.cli import with_appcontext

from app.clock import to_text
from app.console import OperatorCommand, echo_columns, plain, progress_bar, services
from app.promises.model import DELAYS, EXPIRED_BY, LATER, MOST_ATTEMPTS, Figures, percentile
from app.promises.service import Promises
from app.promises.service import promises as add_up
from app.setting_parsers import period


def _period(_context: click.Context, _option: click.Parameter, text: str) -> timedelta:
    try:
        return period(text)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{plain(text)} is no length of time such as 30d or 12h.") from error


@click.command("promises", cls=OperatorCommand)
@click.option(
    "--since",
    metavar="PERIOD",
    default="30d",
    callback=_period,
    help="How long ago the first of the orders was made: 30d (the default), 12h.",
)
@with_appcontext
def promises(since: timedelta) -> None:
    """Print how well the service kept its promises, by its logs, webhooks and reconciliations."""
    with progress_bar("orders") as progress:
        found = add_up(services().promises, since, progress)
    echo_columns(_rows(found))
    if kinds := found.differences.by_kind:
        click.echo("\ndifferences")
        rows = [
            (plain(kind), f"{number} found, {repaired} repaired")
            for kind, (number, repaired) in sorted(kinds.items())
        ]
        echo_columns(rows, indent="  ")


def _rows(found: Promises) -> list[tuple[str, str]]:
    figures, differences = found.figures, found.differences
    return [
        ("orders", f"made from {to_text(found.since)} until {to_text(found.until)}"),
        ("accepted", str(figures.accepted)),
        ("lost", str(differences.lost)),
        ("doubled", str(figures.doubled + differences.doubled)),
        ("unreadable", str(figures.unreadable)),
        ("confirmed", _confirmed(figures)),
        ("expired", ", ".join(f"{cause} {figures.expired[cause]}" for cause in EXPIRED_BY)),
        ("refunds", _refunds(figures)),
        ("webhooks", _webhooks(figures)),
        ("reconciliations", f"{differences.finished} finished, {differences.failed} failed"),
        ("longest gap", _gap(figures)),
    ]


def _confirmed(figures: Figures) -> str:
    delays = figures.confirming
    times = "".join(
        f", {percent}% within {_time(delay)}"
        for percent in (50, 99)
        if (delay := percentile(delays, percent)) is not None
    )
    return f"{delays.total()}{times}"


def _refunds(figures: Figures) -> str:
    counted = [f"within {delay} {figures.refunding[delay]}" for delay in DELAYS]
    rest = f"later {figures.refunding[LATER]}, failed {figures.refunds_failed}"
    return f"{', '.join(counted)}, {rest}, pending {figures.refunds_pending}"


def _webhooks(figures: Figures) -> str:
    """The webhooks taken at the first attempt, up to the third, and up to the last."""

    def taken(last: int) -> int:
        return sum(number for attempt, number in figures.taken.items() if attempt <= last)

    rest = f"failed {figures.webhooks_failed}, pending {figures.webhooks_pending}"
    first, third, last = (taken(attempt) for attempt in (1, 3, MOST_ATTEMPTS))
    return f"taken at the first attempt {first}, by the third {third}, by the last {last}; {rest}"


def _gap(figures: Figures) -> str:
    gap = figures.longest_gap
    if gap is None:
        return "none"
    return f"{_time(gap.milliseconds)} after {plain(gap.after)} of {gap.order_id} at {to_text(gap.at)}"


def _time(milliseconds: int) -> str:
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    whole, rest = divmod(milliseconds, 1000)
    return f"{whole}.{rest:03d} s" if whole < 60 else str(timedelta(seconds=whole))
