"""The rules between several settings, each of which is valid on its own."""

from base64 import b64decode
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

_LEAST_SECRET = 24
_KEY_SOURCES = ("jwks_url", "public_key", "secret")
_NEEDED_WITH_TOKENS = {
    "jwt_issuer": "must be set with AUTH=jwt",
    "jwt_audience": "must be set with AUTH=jwt",
    "payment_provider": "must be set with AUTH=jwt: stripe, or sandbox, which moves no money",
    "prices": "must be set with AUTH=jwt: quoted, or client, which lets every caller set its own prices",
}
_NEEDED_WITH_QUOTES = {
    "quote_issuer": "must be set with PRICES=quoted",
    "quote_audience": "must be set with PRICES=quoted",
}


def faults_together(values: Mapping[str, Any]) -> dict[str, str]:
    """The faults of settings that do not fit together, by the setting's name."""
    faults = _issuer_faults(values)
    if values.get("email_from_token") and values.get("auth") == "off":
        faults |= {"EMAIL_FROM_TOKEN": "is true, which needs AUTH=jwt"}
    if values.get("personal_index_key_before") and values.get("personal_index_key", "faulty") is None:
        faults["PERSONAL_INDEX_KEY"] = "must be set if PERSONAL_INDEX_KEY_BEFORE is set"
    if _lacks_redis_for_limits(values):
        faults["RATE_LIMIT_REDIS_URL"] = "must be set if REDIS_URL is not a redis:// or rediss:// URL"
    if values.get("tracing") and find_spec("opentelemetry") is None:
        faults["TRACING"] = "is true, which needs OpenTelemetry: pip install -r requirements/otel.txt"
    if fault := _webhook_secret_fault(values.get("payment_provider"), values.get("payment_webhook_secret")):
        faults["PAYMENT_WEBHOOK_SECRET"] = fault
    if values.get("test_clock") and values.get("payment_provider", "sandbox") != "sandbox":
        faults["TEST_CLOCK"] = (
            "is true, which needs PAYMENT_PROVIDER=sandbox: a real provider has the real time"
        )
    if values.get("payment_provider") == "stripe":
        if find_spec("stripe") is None:
            faults["PAYMENT_PROVIDER"] = (
                "is stripe, which needs Stripe's SDK: pip install -r requirements/stripe.txt"
            )
        if not values.get("stripe_api_key"):
            faults["STRIPE_API_KEY"] = "must be set where PAYMENT_PROVIDER is stripe"
    return faults


def _webhook_secret_fault(provider: str | None, secret: str | None) -> str | None:
    """The fault of the secret for the provider's events. Standard Webhooks requires at least 24 bytes."""
    if secret is None or provider is None:
        return None
    if provider == "stripe":
        # Stripe signs with the text itself, and does not decode it.
        is_long = secret.startswith("whsec_") and len(secret.removeprefix("whsec_")) >= _LEAST_SECRET
        return (
            None if is_long else f"must be whsec_ and {_LEAST_SECRET} characters or more, as Stripe shows it"
        )
    try:
        is_long = len(b64decode(secret.removeprefix("whsec_") + "==", validate=False)) >= _LEAST_SECRET
    except ValueError:
        is_long = False
    return None if is_long else f"must be whsec_ and the base64 of {_LEAST_SECRET} bytes or more"


def _lacks_redis_for_limits(values: Mapping[str, Any]) -> bool:
    is_limited = values.get("rate_limit") or values.get("rate_limit_address")
    is_named = values.get("rate_limit_redis_url", "faulty")
    return bool(
        is_limited
        and not is_named
        and not values.get("redis_url", "redis://").startswith(("redis://", "rediss://"))
    )


def _issuer_faults(values: Mapping[str, Any]) -> dict[str, str]:
    """The faults of the settings for tokens and for quotes."""
    faults: dict[str, str] = {}
    if values.get("auth") == "jwt":
        faults |= _missing(values, _NEEDED_WITH_TOKENS) | _key_faults(values, "auth", "jwt")
    if values.get("prices") == "quoted":
        faults |= _missing(values, _NEEDED_WITH_QUOTES) | _key_faults(values, "prices", "quote")
    return faults


def _missing(values: Mapping[str, Any], needed: Mapping[str, str]) -> dict[str, str]:
    """The faults of needed settings that are unset. An unreadable one is missing in `values`, but is set."""
    return {field.upper(): fault for field, fault in needed.items() if values.get(field, field) is None}


def _key_faults(values: Mapping[str, Any], setting: str, prefix: str) -> dict[str, str]:
    """The fault of `setting` if not exactly one source of keys with this prefix is set."""
    sources = [f"{prefix}_{source}" for source in _KEY_SOURCES]
    if sum(values.get(field, field) is not None for field in sources) == 1:
        return {}
    named = ", ".join(map(str.upper, sources))
    return {setting.upper(): f"is {values[setting]}, which needs one of {named}, and only one"}
