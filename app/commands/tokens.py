"""`flask --app wsgi token`: creates a token for trying things out, if the service has the tokens' secret."""

import time
from datetime import timedelta

import click
from flask.cli import with_appcontext

from app.console import OperatorCommand, services
from app.http.access import caller_of
from app.setting_parsers import duration


def _expiry(_context: click.Context, _option: click.Parameter, text: str) -> timedelta:
    try:
        return duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(cls=OperatorCommand)
@click.option("--sub", required=True, help="The userId of the token's owner.")
@click.option("--scope", required=True, help='The scopes of the token: "orders:read orders:write".')
@click.option("--expires", default="1h", show_default=True, callback=_expiry, help="The token's lifetime.")
@with_appcontext
def token(sub: str, scope: str, expires: timedelta) -> None:
    """Create a token, if the tokens' secret (JWT_SECRET) is set."""
    settings = services().settings
    if settings.jwt_jwks_url or settings.jwt_public_key:
        raise click.ClickException("Only the issuer can make tokens, since a public key verifies them.")
    if not (settings.jwt_secret and settings.jwt_issuer and settings.jwt_audience):
        needed = {
            "JWT_SECRET": settings.jwt_secret,
            "JWT_ISSUER": settings.jwt_issuer,
            "JWT_AUDIENCE": settings.jwt_audience,
        }
        missing = ", ".join(name for name, value in needed.items() if not value)
        raise click.ClickException(f"A token needs settings that are missing: {missing}.")
    if settings.auth == "off":
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
    claims |= {"iss": settings.jwt_issuer, "aud": settings.jwt_audience}
    click.echo(mint(settings.jwt_secret, {**claims, "iat": now, "exp": now + int(expires.total_seconds())}))
