"""`flask --app wsgi reconcile`: compares orders, money and stock now and prints the differences."""

import re
import time
from datetime import UTC, datetime

import click
from flask.cli import with_appcontext

from app.clock import to_text
from app.console import OperatorCommand, echo_columns, plain, progress_bar, services
from app.errors import ProviderUnavailable
from app.reconciliation import run as reconciling
from app.reconciliation.kinds import KINDS
from app.reconciliation.report import SCOPES, Report, ReportedDifference
from app.setting_parsers import period

# Seconds of work, then of rest, so that the command hardly slows down the service.
_SLICE = 0.2
_REST = 0.7
_PAGE = 500


class BrokenOff(click.ClickException):
    """The reconciliation ended early, so its result is unknown."""

    exit_code = 3


def _since(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    """A day, a time, or how long ago."""
    if text is None:
        return None
    try:
        if re.fullmatch(r"\d{4}-.*", text):
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return datetime.now(UTC) - period(text)
    except (ValueError, OverflowError) as error:
        fault = f"{plain(text)} is no day such as 2024-10-01 and no length of time such as 7d."
        raise click.BadParameter(fault) from error


@click.command("reconcile", cls=OperatorCommand)
@click.argument("scope", type=click.Choice(SCOPES), required=False)
@click.option("--repair", is_flag=True, help="Also make the safe repairs.")
@click.option(
    "--since", metavar="WHEN", callback=_since, help="Only orders made since: 2024-10-01, a time, or 7d ago."
)
@click.pass_context
@with_appcontext
def reconcile(ctx: click.Context, scope: str | None, repair: bool, since: datetime | None) -> None:
    """Compare orders, money and stock, or one of them; exit with 1 if any difference is left."""
    scopes = [one for one in SCOPES if scope in (None, one)]
    report = reconciling.begin(services().reconciliation, scopes, since=since, repair=repair)
    try:
        _work(report)
    except (KeyboardInterrupt, ProviderUnavailable) as cut:
        reason = str(cut) or "It was interrupted."
        reconciling.break_off(services().reconciliation, report["id"], reason)
        raise BrokenOff(f"{reason} Report {report['id']} says how far it came.") from None
    ctx.exit(1 if _print_report(reconciling.get_report(services().reconciliation, report["id"])) else 0)


def _work(report: Report) -> None:
    total = reconciling.orders_to_check(services().reconciliation, report)
    with progress_bar("orders") as progress:
        while not reconciling.advance(services().reconciliation, report["id"], _SLICE):
            checked = reconciling.get_report(services().reconciliation, report["id"])["checked"].get(
                "orders", 0
            )
            progress(min(checked, total), max(total, 1))
            time.sleep(_REST)


def _print_report(report: Report) -> int:
    """Prints the report. Returns the number of differences left."""
    checked = ", ".join(f"{number} {what}" for what, number in sorted(report["checked"].items()) if number)
    found = sum(report["found"].values())
    after = None
    while True:
        page = reconciling.list_differences(services().reconciliation, report["id"], _PAGE, after)
        if page.items:
            echo_columns([_row(difference) for difference in page.items])
        after = page.next
        if after is None:
            break
    click.echo(f"report {report['id']} of {to_text(report['startedAt'])}")
    click.echo(f"checked: {checked or 'nothing'}")
    if unjudged := report.get("unjudged"):
        after = to_text(report["runAgainAfter"])
        click.echo(f"orders changed a moment ago: {unjudged}, not judged; run again after {after}")
    click.echo(f"found: {found}, of which repaired: {report['repaired']}")
    return found - report["repaired"]


def _row(difference: ReportedDifference) -> tuple[str, ...]:
    kind = difference["kind"]
    ids = " ".join(f"{name}={plain(value)}" for name, value in difference["ids"].items())
    proposed = "repaired" if difference["repaired"] else KINDS[kind].proposal
    return (
        kind,
        ids,
        f"expected {plain(difference['expected'])}",
        f"found {plain(difference['found'])}",
        proposed,
    )
