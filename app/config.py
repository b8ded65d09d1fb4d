"""The settings, read from the environment and checked before anything starts.

`TABLE` lists all of them. A test compares docs/settings.md with it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, NamedTuple, Self

from app.setting_parsers import (
    auth,
    boolean,
    currency,
    duration,
    one_of,
    prefix,
    public_key,
    rate,
    secret,
    secure_url,
    smtp_url,
    url,
    whole,
)
from app.setting_rules import faults_together

_INDEX_KEY_FOR_TRYING_OUT = "a key that everyone knows, for a laptop"


class ConfigError(Exception):
    """The settings are invalid; one line for each of them, by its name."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"{name} {fault}" for name, fault in sorted(faults.items())))
        self.faults = dict(faults)


class Setting(NamedTuple):
    """How a setting is parsed, its default text (None: no value), and its description.

    The value of a `secret` setting is never shown: it is a key, or a URL that may hold a password.
    """

    read: Callable[[str], Any]
    default: str | None
    doc: str
    secret: bool = False


def setting(read: Callable[[str], Any], default: str | None, doc: str, *, secret: bool = False) -> Any:
    """A field of `Settings`, with its row in the table."""
    return field(metadata={"setting": Setting(read, default, doc, secret)})


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """All settings. The environment variable is the name in capitals."""

    auth: str = setting(
        auth, "", "Access control: `jwt` requires a token, `off` admits everyone. There is no default."
    )
    jwt_issuer: str | None = setting(str, None, "With `AUTH=jwt`: the issuer of the tokens, their `iss`.")
    jwt_audience: str | None = setting(
        str, None, "With `AUTH=jwt`: the audience of the tokens, one of their `aud`."
    )
    jwt_jwks_url: str | None = setting(
        secure_url, None, "The URL of the issuer's JWK set; `http://` on this machine only."
    )
    jwt_public_key: str | None = setting(
        public_key, None, "A PEM file with the issuer's public key, instead of a JWK set."
    )
    jwt_secret: str | None = setting(
        secret,
        None,
        "The secret shared with the issuer, 32 bytes or more, instead of a public key.",
        secret=True,
    )
    jwt_leeway: timedelta = setting(
        duration,
        "10s",
        "The allowed difference between the clock that signed a token or a quote and this one.",
    )
    prices: str | None = setting(
        one_of("client", "quoted"),
        None,
        "What sets the prices of an order: the request (`client`), or a signed quote (`quoted`). The default "
        "with `AUTH=off` is `client`.",
    )
    quote_issuer: str | None = setting(
        str, None, "With `PRICES=quoted`: the issuer of the quotes, their `iss`."
    )
    quote_audience: str | None = setting(
        str, None, "With `PRICES=quoted`: the audience of the quotes, one of their `aud`."
    )
    quote_jwks_url: str | None = setting(
        secure_url, None, "The URL of the JWK set that verifies quotes; `http://` on this machine only."
    )
    quote_public_key: str | None = setting(
        public_key, None, "A PEM file with the public key that verifies quotes, instead of a JWK set."
    )
    quote_secret: str | None = setting(
        secret,
        None,
        "The secret that signs and verifies quotes, 32 bytes or more, instead of a public key.",
        secret=True,
    )
    port: int = setting(whole(1, 65535), "3003", "The port of the web process.")
    metrics_port: int | None = setting(
        whole(1, 65535),
        None,
        "A port for `/metrics` only, in every process. If unset, only web has `/metrics`, at `PORT`.",
    )
    mongo_uri: str = setting(
        url("mongodb", "mongodb+srv"),
        "mongodb://127.0.0.1:27017/orders?replicaSet=rs0",
        "The MongoDB replica set and the name of the database.",
        secret=True,
    )
    redis_url: str = setting(
        url("redis", "rediss", "redis+socket", "sentinel"),
        "redis://127.0.0.1:6379/0",
        "The broker: Redis or a compatible server.",
        secret=True,
    )
    rate_limit: str | None = setting(
        rate, None, "The requests that one caller may make, such as `100/minute`. Unlimited if unset."
    )
    rate_limit_address: str | None = setting(
        rate,
        None,
        "The requests that one client address may make, for all callers together. Unlimited if unset.",
    )
    rate_limit_redis_url: str | None = setting(
        url("redis", "rediss", "redis+unix", "redis+sentinel"),
        None,
        "The Redis that counts requests for the limits. The broker if unset.",
        secret=True,
    )
    trusted_proxies: int = setting(
        whole(0, 9), "0", "The number of trusted proxies in front of the service; see docs/proxy.md."
    )
    body_timeout: timedelta = setting(
        duration, "20s", "The time that a client has to send the body of a request."
    )
    waits_per_caller: int = setting(
        whole(0, 200),
        "20",
        "The requests with `Prefer: wait` that one caller may have waiting in one web process.",
    )
    api_prefix: str = setting(prefix, "/", "A prefix for all paths, such as `/api`.")
    default_currency: str = setting(currency, "USD", "The currency (ISO 4217) of an order that gives none.")
    stock_policy: str = setting(
        one_of("lenient", "strict"),
        "lenient",
        "A product without a stock record never runs out (`lenient`) or is out of stock (`strict`).",
    )
    return_window: timedelta = setting(
        duration, "30d", "The time from the delivery of pieces on in which customers can return them."
    )
    stock_first: bool = setting(
        boolean,
        "false",
        "Whether new orders take their stock before the payment. Backorders always do.",
    )
    order_expiry: timedelta = setting(
        duration, "15m", "An order that is not confirmed after this time is cancelled."
    )
    step_deadline: timedelta = setting(
        duration, "15s", "A step that is not done after this time is sent again."
    )
    retention_days: int = setting(
        whole(0, 36500), "90", "The days that a deleted order is kept for accounting."
    )
    payment_provider: str = setting(
        one_of("sandbox", "stripe"),
        None,
        "The payment provider: `stripe`, or `sandbox`, which moves no money. The default with `AUTH=off` "
        "is `sandbox`.",
    )
    payment_webhook_secret: str | None = setting(
        str,
        None,
        "The secret that verifies the provider's events, `whsec_…`. If unset, events are refused.",
        secret=True,
    )
    stripe_api_key: str | None = setting(
        str, None, "The secret key of the Stripe account, `sk_…` or `rk_…`.", secret=True
    )
    stripe_api_base: str = setting(secure_url, "https://api.stripe.com", "The URL of Stripe's API.")
    smtp_url: str | None = setting(
        smtp_url,
        None,
        "The mail server, `smtp://user:password@host:587`. If unset, no mail is sent.",
        secret=True,
    )
    mail_from: str = setting(str, "Orders <orders@localhost>", "The sender of the mails.")
    mails_per_address: int = setting(
        whole(1, 10_000), "40", "The maximum number of mails to one address within an hour."
    )
    mails_per_caller: int = setting(
        whole(1, 10_000), "30", "The maximum number of mails within an hour for the orders of one `userId`."
    )
    email_from_token: bool = setting(
        boolean,
        "false",
        "With `AUTH=jwt`: whether the `email` of a customer's order must be the one in the token.",
    )
    personal_index_key: str | None = setting(
        secret,
        None,
        "The secret, 32 bytes or more, of the keys by which orders are found by `email`. If unset, that is "
        "refused. With `AUTH=off` there is a default for trying out.",
        secret=True,
    )
    personal_index_key_before: str | None = setting(
        secret,
        None,
        "The previous `PERSONAL_INDEX_KEY`, until `orders reindex` has run with the new one.",
        secret=True,
    )
    require_idempotency_key: bool = setting(
        boolean, "false", "Whether a new order needs an `Idempotency-Key`."
    )
    require_if_match: bool = setting(
        boolean, "false", "Whether PUT, PATCH and DELETE of an order need `If-Match`."
    )
    webhook_allow_private: bool = setting(
        boolean, "false", "Whether webhooks may be sent to private, loopback and link-local addresses."
    )
    delivery_retention_days: int = setting(
        whole(1, 36500), "30", "The days that a finished webhook delivery is kept."
    )
    reconcile_every: timedelta = setting(duration, "1h", "How often orders, money and stock are compared.")
    reconcile_window: timedelta = setting(
        duration, "7d", "The maximum age of the orders that the scheduled comparison covers."
    )
    reconcile_repair: bool = setting(
        boolean, "false", "Whether the scheduled comparison makes the repairs that are safe."
    )
    test_clock: bool = setting(
        boolean,
        "false",
        "Whether callers may move the time of the service, see docs/test-clock.md; with the sandbox only.",
    )
    log_level: str = setting(
        one_of("debug", "info", "warning", "error", "critical"), "info", "The lowest level that is logged."
    )
    tracing: bool = setting(
        boolean, "false", "Whether traces are sent. OpenTelemetry's own variables `OTEL_…` configure where."
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The settings in an environment. An empty variable counts as unset.

        Raises ConfigError with every fault found.
        """
        values: dict[str, Any] = {}
        faults: dict[str, str] = {}
        for own_name, row in TABLE.items():
            name = own_name.upper()
            text = environ.get(name, "").strip() or row.default
            try:
                values[own_name] = None if text is None else row.read(text)
            except ValueError as error:
                faults[name] = str(error)
        if values.get("auth") == "off":
            # Only local runs may default to the sandbox, which confirms orders without a real payment, and to
            # prices that any caller sets.
            defaults = {
                "payment_provider": "sandbox",
                "prices": "client",
                "personal_index_key": _INDEX_KEY_FOR_TRYING_OUT,
            }
            for name, local in defaults.items():
                if values.get(name) is None:
                    values[name] = local
        faults = {**faults_together(values), **faults}
        if faults:
            raise ConfigError(faults)
        return cls(**values)

    def __repr__(self) -> str:
        """All settings by name, with secrets hidden."""
        values = {name: getattr(self, name) for name in TABLE}
        hidden = {name: "***" for name, row in TABLE.items() if row.secret and values[name] is not None}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in {**values, **hidden}.items())})"


TABLE: dict[str, Setting] = {field.name: field.metadata["setting"] for field in fields(Settings)}
