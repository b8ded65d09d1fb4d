"""The settings: read from the environment once, all of them checked before anything starts.

`TABLE` is the one list of them. What docs/settings.md says of them is checked against it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, NamedTuple, Self, get_type_hints

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


class ConfigError(Exception):
    """What is wrong with the settings: one line for each of them, by its name."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"{name} {fault}" for name, fault in sorted(faults.items())))
        self.faults = dict(faults)


class Setting(NamedTuple):
    """How the text of a setting is read; its text where it is not set (None: no value); what it is for.

    The value of a `secret` one never shows: it is a key, or a URL that may have a password.
    """

    read: Callable[[str], Any]
    default: str | None
    doc: str
    secret: bool = False


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """Everything that can be set, each by the environment variable of its name in capitals."""

    auth: Annotated[
        str,
        Setting(auth, "", "Who may call: `jwt` who brings a token; `off` everyone, if asked for by name."),
    ]
    jwt_issuer: Annotated[
        str | None, Setting(str, None, "With `AUTH=jwt`: who issues the tokens, their `iss`.")
    ]
    jwt_audience: Annotated[
        str | None, Setting(str, None, "With `AUTH=jwt`: who the tokens are for, one of their `aud`.")
    ]
    jwt_jwks_url: Annotated[
        str | None,
        Setting(
            secure_url,
            None,
            "Where the issuer's public keys are, as a JWK set; `http://` on this machine alone.",
        ),
    ]
    jwt_public_key: Annotated[
        str | None,
        Setting(public_key, None, "The file with the issuer's public key (PEM), instead of a JWK set."),
    ]
    jwt_secret: Annotated[
        str | None,
        Setting(
            secret,
            None,
            "The secret shared with the issuer, 32 bytes or more, instead of a key.",
            secret=True,
        ),
    ]
    jwt_leeway: Annotated[
        timedelta, Setting(duration, "10s", "How far the issuer's clock may be off from this one.")
    ]
    port: Annotated[int, Setting(whole(1, 65535), "3003", "The port of the web process.")]
    metrics_port: Annotated[
        int | None,
        Setting(
            whole(1, 65535),
            None,
            "A port for `/metrics` alone: web's, then nowhere else, and that of relay, workers and beat.",
        ),
    ]
    mongo_uri: Annotated[
        str,
        Setting(
            url("mongodb", "mongodb+srv"),
            "mongodb://127.0.0.1:27017/orders?replicaSet=rs0",
            "The MongoDB replica set and the name of the database.",
            secret=True,
        ),
    ]
    redis_url: Annotated[
        str,
        Setting(
            url("redis", "rediss", "redis+socket", "sentinel"),
            "redis://127.0.0.1:6379/0",
            "The broker: Redis, or a server that speaks like it.",
            secret=True,
        ),
    ]
    rate_limit: Annotated[
        str | None,
        Setting(
            rate,
            None,
            "How often one caller may call, such as `100/minute`. Where it is not set, as often as he likes.",
        ),
    ]
    rate_limit_address: Annotated[
        str | None,
        Setting(rate, None, "The same for one client address, whoever calls from it."),
    ]
    rate_limit_redis_url: Annotated[
        str | None,
        Setting(
            url("redis", "rediss", "redis+unix", "redis+sentinel"),
            None,
            "The Redis that counts for the limits. Where it is not set, the broker.",
            secret=True,
        ),
    ]
    trusted_proxies: Annotated[
        int,
        Setting(
            whole(0, 9),
            "0",
            "How many proxies stand in front and are believed in what they forward; see docs/proxy.md.",
        ),
    ]
    body_timeout: Annotated[
        timedelta, Setting(duration, "20s", "How long a client may take to send a request's body.")
    ]
    waits_per_caller: Annotated[
        int,
        Setting(
            whole(0, 200),
            "20",
            "How many requests with `Prefer: wait` one caller may have waiting in one web process.",
        ),
    ]
    api_prefix: Annotated[str, Setting(prefix, "/", "A path in front of all paths, such as `/api`.")]
    default_currency: Annotated[
        str, Setting(currency, "USD", "The currency of an order that names none (ISO 4217).")
    ]
    stock_policy: Annotated[
        str,
        Setting(
            one_of("lenient", "strict"),
            "lenient",
            "Whether a product without a stock record never runs out (`lenient`) or is out (`strict`).",
        ),
    ]
    order_expiry: Annotated[
        timedelta, Setting(duration, "15m", "An order not confirmed after this time is cancelled.")
    ]
    step_deadline: Annotated[
        timedelta, Setting(duration, "15s", "A step not done after this time is sent again.")
    ]
    retention_days: Annotated[
        int, Setting(whole(0, 36500), "90", "How many days a deleted order is kept for the books.")
    ]
    payment_provider: Annotated[
        str,
        Setting(
            one_of("sandbox", "stripe"),
            None,
            "What takes the payments: `stripe`, or `sandbox`, which moves no money and is the default with "
            "`AUTH=off` alone.",
        ),
    ]
    payment_webhook_secret: Annotated[
        str | None,
        Setting(
            str,
            None,
            "What the provider signs its events with, `whsec_…`. Where it is not set, none is taken.",
            secret=True,
        ),
    ]
    stripe_api_key: Annotated[
        str | None,
        Setting(str, None, "The secret key of the Stripe account, `sk_…` or `rk_…`.", secret=True),
    ]
    stripe_api_base: Annotated[str, Setting(secure_url, "https://api.stripe.com", "Where Stripe's API is.")]
    smtp_url: Annotated[
        str | None,
        Setting(
            smtp_url,
            None,
            "The mail server, `smtp://user:password@host:587`. Where it is not set, no mail is sent.",
            secret=True,
        ),
    ]
    mail_from: Annotated[str, Setting(str, "Orders <orders@localhost>", "The sender of the mails.")]
    mails_per_address: Annotated[
        int, Setting(whole(1, 10_000), "40", "How many mails go to one address within an hour.")
    ]
    mails_per_caller: Annotated[
        int,
        Setting(whole(1, 10_000), "30", "How many mails go out within an hour for orders of one `userId`."),
    ]
    email_from_token: Annotated[
        bool,
        Setting(
            boolean,
            "false",
            "With `AUTH=jwt`: whether a customer's order may name no `email` but the token's own.",
        ),
    ]
    require_idempotency_key: Annotated[
        bool,
        Setting(boolean, "false", "Whether a POST of an order without an `Idempotency-Key` is refused."),
    ]
    require_if_match: Annotated[
        bool, Setting(boolean, "false", "Whether a change of an order without an `If-Match` is refused.")
    ]
    webhook_allow_private: Annotated[
        bool,
        Setting(boolean, "false", "Whether webhooks may go to private, loopback and link-local addresses."),
    ]
    delivery_retention_days: Annotated[
        int,
        Setting(whole(1, 36500), "30", "How many days the record of a webhook is kept once it has ended."),
    ]
    reconcile_every: Annotated[
        timedelta, Setting(duration, "1h", "How often orders, money and stock are compared.")
    ]
    reconcile_window: Annotated[
        timedelta, Setting(duration, "7d", "How old the orders may be that are compared on schedule.")
    ]
    reconcile_repair: Annotated[
        bool,
        Setting(boolean, "false", "Whether what is safe to repair is repaired on schedule."),
    ]
    log_level: Annotated[
        str,
        Setting(one_of("debug", "info", "warning", "error", "critical"), "info", "The least that is logged."),
    ]
    tracing: Annotated[
        bool, Setting(boolean, "false", "Whether traces are sent, by OpenTelemetry's own variables `OTEL_…`.")
    ]

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The settings of an environment; a variable that is set but empty counts as not set.

        Raises ConfigError with every fault found.
        """
        values: dict[str, Any] = {}
        faults: dict[str, str] = {}
        for field, setting in TABLE.items():
            name = field.upper()
            text = environ.get(name, "").strip() or setting.default
            try:
                values[field] = None if text is None else setting.read(text)
            except ValueError as error:
                faults[name] = str(error)
        if values.get("auth") == "off" and values.get("payment_provider") is None:
            # A laptop needs no provider. Anywhere else the sandbox would confirm orders that nobody pays for.
            values["payment_provider"] = "sandbox"
        faults = {**faults_together(values), **faults}
        if faults:
            raise ConfigError(faults)
        return cls(**values)

    def __repr__(self) -> str:
        """Every setting by its name; of a secret, whether it is set."""
        values = {name: getattr(self, name) for name in TABLE}
        hidden = {
            name: "***" for name, setting in TABLE.items() if setting.secret and values[name] is not None
        }
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in {**values, **hidden}.items())})"


TABLE: dict[str, Setting] = {
    field: hint.__metadata__[0] for field, hint in get_type_hints(Settings, include_extras=True).items()
}
