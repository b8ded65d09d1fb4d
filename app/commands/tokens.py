"""`flask --app wsgi token`: a token to try things out with, where the secret of the tokens is at hand."""

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
@click.option("--sub", required=True, help="Who the token is for: a userId.")
@click.option("--scope", required=True, help='What it allows: "orders:read orders:write".')
@click.option("--expires", default="1h", show_default=True, callback=_expiry, help="For how long.")
@with_appcontext
def token(sub: str, scope: str, expires: timedelta) -> None:
    """Make a token, where the tokens' secret is set (JWT_SECRET)."""
    settings = services().settings
    if settings.jwt_jwks_url or settings.jwt_public_key:
        raise click.ClickException("Tokens are verified by a public key, so their issuer alone makes them.")
    if not (settings.jwt_secret and settings.jwt_issuer and settings.jwt_audience):
        needed = {
            "JWT_SECRET": settings.jwt_secret,
            "JWT_ISSUER": settings.jwt_issuer,
            "JWT_AUDIENCE": settings.jwt_audience,
        }
        missing = ", ".join(name for name, value in needed.items() if not value)
        raise click.ClickException(f"A token needs settings that are missing: {missing}.")
    if settings.auth == "off":
        click.echo("AUTH is off: the service takes every call, with or without a token.", err=True)
    claims = {"sub": sub, "scope": scope}
    try:
        caller = caller_of(claims)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--sub") from error
    if unknown := set(scope.split()) - caller.scopes:
        raise click.BadParameter(f"there is no {', '.join(sorted(unknown))}", param_hint="--scope")
    # Whoever runs a service without tokens is not to carry the cryptography.
    from app.http.tokens import mint  # noqa: PLC0415

    now = int(time.time())
    told = {"iss": settings.jwt_issuer, "aud": settings.jwt_audience, "iat": now}
    click.echo(mint(settings.jwt_secret, {**claims, **told, "exp": now + int(expires.total_seconds())}))
