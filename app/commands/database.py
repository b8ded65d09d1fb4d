"""`flask --app wsgi db`: runs the database's migrations, and lists them."""

import click

from app.clock import to_text
from app.console import OperatorGroup, echo_columns, opened_database, plain, progress_bar, services
from app.migrations import applied, pending
from app.migrations import upgrade as run_pending
from app.mongo.database import require_replica_set

db = OperatorGroup("db", help="Migrations of the database.")


@db.command()
def upgrade() -> None:
    """Run all pending migrations. You can run it twice, or from several processes at once."""
    with opened_database() as database:
        require_replica_set(database)
        for migration in run_pending(database, services().settings, progress_bar, on_wait=_say_waiting):
            click.echo(f"{migration.name} applied in {migration.seconds:.1f} s")
            for note in migration.notes:
                click.echo(f"  {plain(note)}")
    click.echo("The database is up to date.")


@db.command()
@click.pass_context
def status(ctx: click.Context) -> None:
    """List the migrations. Exit with 1 if one is pending."""
    with opened_database() as database:
        done, missing = applied(database), pending(database)
    rows = [(one.name, f"applied {to_text(one.at)} in {one.seconds:.1f} s") for one in done]
    echo_columns([*rows, *((name, "pending") for name in missing)])
    ctx.exit(1 if missing else 0)


def _say_waiting() -> None:
    click.echo("Another process is migrating; waiting for it.", err=True)
