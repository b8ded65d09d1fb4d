"""`flask --app wsgi token`: creates a token for trying things out, if the service has the tokens' secret."""

import time
from datetime import timedelta

import click
from flask.cli import with_appcontext

from app.commands.own_secret import expires_option, own_secret
from app.console import OperatorCommand, services
from app.http.access import caller_of


@click.command(cls=OperatorCommand)
@click.option("--sub", required=True, help="The userId of the token's owner.")
@click.option("--scope", required=True, help='The scopes of the token: "orders:read orders:write".')
@expires_option("1h", "The token's lifetime.")
@with_appcontext
def token(sub: str, scope: str, expires: timedelta) -> None:
    """Create a token, if the tokens' secret (JWT_SECRET) is set."""
    secret, issued = own_secret("token", "jwt")
    if services().settings.auth == "off":
        click.echo("AUTH is off: the service accepts every call, with or without a token.", err=True)
    claims = {"sub": sub, "scope": scope}
    try:
        caller = caller_of(claims)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--sub") from error
    if unknown := set(scope.split()) - caller.scopes:
        raise click.BadParameter(f"unknown: {', '.join(sorted(unknown))}", param_hint="--scope")
    # Imported here, so that a service without tokens does not load the cryptography library.
    from app.http.tokens import mint  # noqa: PLC0415

    now = int(time.time())
    click.echo(mint(secret, {**claims, **issued, "iat": now, "exp": now + int(expires.total_seconds())}))
