"""The settings: read from the environment once, all of them checked before anything starts.

`TABLE` is the one list of them. What the README says of the settings is made from it.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import Annotated, Any, NamedTuple, Self, get_type_hints

from app.domain.money import DECIMALS

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d|)", re.ASCII)
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_BOOLEANS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "off", "0"), False
)


class ConfigError(Exception):
    """What is wrong with the settings: one line for each of them, by its name."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"{name} {fault}" for name, fault in sorted(faults.items())))
        self.faults = dict(faults)


def duration(text: str) -> timedelta:
    """A time above zero: `15m`, `2h`, `0.5s`, or plain seconds. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0
    if seconds <= 0:
        raise ValueError("must be a time such as 15m, 2h, 30s or 0.5s")
    return timedelta(seconds=seconds)


def _prefix(text: str) -> str:
    path = f"/{text.strip('/')}" if text.strip("/") else ""
    if not _PREFIX.fullmatch(path):
        raise ValueError("must be a path such as /api")
    return path


def _auth(text: str) -> str:
    if text.lower() != "off":
        raise ValueError("must be off: serving everyone must be asked for by name")
    return "off"


def _currency(text: str) -> str:
    if text.upper() not in DECIMALS:
        raise ValueError("must be an ISO 4217 code such as USD")
    return text.upper()


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError("must be true or false")
    return _BOOLEANS[text.lower()]


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"must be {' or '.join(choices)}")
        return text.lower()

    return read


def _url(*schemes: str) -> Callable[[str], str]:
    begins = tuple(f"{scheme}://" for scheme in schemes)

    def read(text: str) -> str:
        # Not repeated in the message: there may be a password in it.
        if not text.startswith(begins):
            raise ValueError(f"must be a URL that begins with {' or '.join(begins)}")
        return text

    return read


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return read


class Setting(NamedTuple):
    """How the text of a setting is read; its text where it is not set (None: no value); what it is for."""

    read: Callable[[str], Any]
    default: str | None
    doc: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set, each by the environment variable of its name in capitals."""

    auth: Annotated[
        str, Setting(_auth, "", "Who may call. `off` serves everyone and must be asked for by name.")
    ]
    port: Annotated[int, Setting(_whole(1, 65535), "3003", "The port of the web process.")]
    mongo_uri: Annotated[
        str,
        Setting(
            _url("mongodb", "mongodb+srv"),
            "mongodb://127.0.0.1:27017/orders?replicaSet=rs0",
            "The MongoDB replica set and the name of the database.",
        ),
    ]
    redis_url: Annotated[
        str,
        Setting(
            _url("redis", "rediss", "redis+socket", "sentinel"),
            "redis://127.0.0.1:6379/0",
            "The broker: Redis, or a server that speaks like it.",
        ),
    ]
    api_prefix: Annotated[str, Setting(_prefix, "/", "A path in front of all paths, such as `/api`.")]
    default_currency: Annotated[
        str, Setting(_currency, "USD", "The currency of an order that names none (ISO 4217).")
    ]
    stock_policy: Annotated[
        str,
        Setting(
            _one_of("lenient", "strict"),
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
        int, Setting(_whole(0, 36500), "90", "How many days a deleted order is kept for the books.")
    ]
    payment_provider: Annotated[
        str,
        Setting(
            _one_of("sandbox", "stripe"),
            "sandbox",
            "Who takes the payments: `sandbox`, which moves no money, or `stripe`.",
        ),
    ]
    payment_webhook_secret: Annotated[
        str | None,
        Setting(
            str,
            None,
            "What the provider signs its events with, `whsec_…`. Where it is not set, none is taken.",
        ),
    ]
    stripe_api_key: Annotated[
        str | None, Setting(str, None, "The secret key of the Stripe account, `sk_…` or `rk_…`.")
    ]
    stripe_api_base: Annotated[
        str, Setting(_url("https", "http"), "https://api.stripe.com", "Where Stripe's API is.")
    ]
    smtp_url: Annotated[
        str | None,
        Setting(
            _url("smtp", "smtps"),
            None,
            "The mail server, `smtp://user:password@host:587`. Where it is not set, no mail is sent.",
        ),
    ]
    mail_from: Annotated[str, Setting(str, "Orders <orders@localhost>", "The sender of the mails.")]
    require_idempotency_key: Annotated[
        bool,
        Setting(_boolean, "false", "Whether a POST of an order without an `Idempotency-Key` is refused."),
    ]
    require_if_match: Annotated[
        bool, Setting(_boolean, "false", "Whether a change of an order without an `If-Match` is refused.")
    ]
    webhook_allow_private: Annotated[
        bool,
        Setting(_boolean, "false", "Whether webhooks may go to private, loopback and link-local addresses."),
    ]
    log_level: Annotated[
        str,
        Setting(
            _one_of("debug", "info", "warning", "error", "critical"), "info", "The least that is logged."
        ),
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
        faults = {**_together(values), **faults}
        if faults:
            raise ConfigError(faults)
        return cls(**values)


def _together(values: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with settings that hold only together."""
    faults = {}
    if values.get("payment_provider") == "stripe":
        if find_spec("stripe") is None:
            faults["PAYMENT_PROVIDER"] = (
                "is stripe, which needs the extra: pip install 'order-service[stripe]'"
            )
        if not values.get("stripe_api_key"):
            faults["STRIPE_API_KEY"] = "must be set where PAYMENT_PROVIDER is stripe"
    return faults


TABLE: dict[str, Setting] = {
    field: hint.__metadata__[0] for field, hint in get_type_hints(Settings, include_extras=True).items()
}
