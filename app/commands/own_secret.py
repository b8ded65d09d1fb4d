"""What the commands that sign with the service's own secrets share."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from app.console import services
from app.setting_parsers import period


def expires_option(default: str, text: str) -> Callable[[Any], Any]:
    """The option for a lifetime."""
    return click.option("--expires", default=default, show_default=True, callback=_expiry, help=text)


def own_secret(what: str, prefix: str) -> tuple[str, dict[str, str]]:
    """The secret in the settings with this prefix, and the claims `iss` and `aud`. Raises ClickException."""
    names = [f"{prefix}_{name}" for name in ("jwks_url", "public_key", "secret", "issuer", "audience")]
    jwks_url, public_key, *needed = (getattr(services().settings, name) for name in names)
    if jwks_url or public_key:
        raise click.ClickException(f"Only the issuer can make {what}s, since a public key verifies them.")
    if not all(needed):
        missing = ", ".join(name.upper() for name, value in zip(names[2:], needed, strict=True) if not value)
        raise click.ClickException(f"A {what} needs settings that are missing: {missing}.")
    secret, issuer, audience = needed
    return secret, {"iss": issuer, "aud": audience}


def _expiry(_context: click.Context, _option: click.Parameter, text: str) -> timedelta:
    try:
        return period(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
