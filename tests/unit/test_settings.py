"""The settings: every fault named, nothing secret repeated, no start without saying who may call."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.config import TABLE, ConfigError, Settings
from app.setting_texts import duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_the_service_starts_with_no_more_than_asked_for_openness() -> None:
    settings = Settings.from_env({"AUTH": "off"})
    assert (settings.port, settings.api_prefix, settings.default_currency) == (3003, "", "USD")
    assert settings.order_expiry == timedelta(minutes=15)
    assert settings.smtp_url is None


@pytest.mark.parametrize("environ", [{}, {"AUTH": ""}, {"AUTH": "on"}])
def test_the_service_does_not_start_unless_it_is_told_who_may_call(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="AUTH must be jwt, or off"):
        Settings.from_env(environ)


JWT = {
    "AUTH": "jwt",
    "JWT_ISSUER": "https://issuer.example",
    "JWT_AUDIENCE": "orders",
    "PAYMENT_PROVIDER": "sandbox",
}
SECRET = "s" * 32


@pytest.mark.parametrize(
    ("environ", "faulty"),
    [
        ({"AUTH": "jwt"}, {"AUTH", "JWT_ISSUER", "JWT_AUDIENCE", "PAYMENT_PROVIDER"}),
        ({"AUTH": "jwt", "JWT_SECRET": SECRET}, {"JWT_ISSUER", "JWT_AUDIENCE", "PAYMENT_PROVIDER"}),
        (JWT, {"AUTH"}),
        ({**JWT, "JWT_SECRET": SECRET[1:]}, {"JWT_SECRET"}),
        ({**JWT, "JWT_SECRET": SECRET, "JWT_JWKS_URL": "https://issuer.example/keys"}, {"AUTH"}),
        ({**JWT, "JWT_JWKS_URL": "file:///etc/keys"}, {"JWT_JWKS_URL"}),
        ({**JWT, "JWT_PUBLIC_KEY": "/nowhere.pem"}, {"JWT_PUBLIC_KEY"}),
        ({**JWT, "JWT_PUBLIC_KEY": __file__}, {"JWT_PUBLIC_KEY"}),
        ({**JWT, "JWT_SECRET": SECRET, "JWT_LEEWAY": "-1s"}, {"JWT_LEEWAY"}),
    ],
)
def test_all_that_tokens_need_is_asked_for_at_once(environ: dict[str, str], faulty: set[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(environ)
    assert set(caught.value.faults) == faulty
    assert SECRET[1:] not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "taken"),
    [
        (lambda: rsa.generate_private_key(65537, 2048), True),
        (lambda: rsa.generate_private_key(65537, 1024), False),
        (lambda: ec.generate_private_key(ec.SECP256R1()), True),
        (lambda: ec.generate_private_key(ec.SECP384R1()), False),
        (ed25519.Ed25519PrivateKey.generate, True),
        (ed448.Ed448PrivateKey.generate, False),
    ],
)
def test_a_public_key_is_one_of_three_kinds(key: Callable[[], Any], taken: bool, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    environ = {**JWT, "JWT_PUBLIC_KEY": str(file)}
    if taken:
        assert Settings.from_env(environ).jwt_public_key == file.read_text()
    else:
        with pytest.raises(ConfigError, match="JWT_PUBLIC_KEY must hold a key of RSA"):
            Settings.from_env(environ)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15m", 900), ("900", 900), ("900s", 900), ("2h", 7200), ("0.5s", 0.5), ("1d", 86400), ("250ms", 0.25)],
)
def test_a_time_may_be_spelled_with_its_unit(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "0", "-1s", "15 minutes", "m", "1e3", "nan", "inf", "٣s", "1h30m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a time"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "prefix"), [("", ""), ("/", ""), ("api", "/api"), ("/api/", "/api"), ("/a/b", "/a/b")]
)
def test_a_prefix_is_a_path_however_it_is_written(text: str, prefix: str) -> None:
    assert Settings.from_env({"AUTH": "off", "API_PREFIX": text}).api_prefix == prefix


def test_every_fault_is_named_at_once_and_no_secret_with_it() -> None:
    faulty = {
        "API_PREFIX": "/a b",
        "AUTH": "",
        "DEFAULT_CURRENCY": "XXX",
        "LOG_LEVEL": "loud",
        "MONGO_URI": "user:secret@host",
        "ORDER_EXPIRY": "soon",
        "PAYMENT_PROVIDER": "bank",
        "PORT": "65536",
        "REDIS_URL": "http://:secret@host",
        "REQUIRE_IF_MATCH": "maybe",
        "RETENTION_DAYS": "-1",
        "SMTP_URL": "secret",
        "STOCK_POLICY": "loose",
    }
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(faulty)
    assert set(caught.value.faults) == set(faulty)
    assert len(str(caught.value).splitlines()) == len(faulty)
    assert "secret" not in str(caught.value)


def test_every_setting_says_what_it_is_for() -> None:
    assert all(setting.doc.endswith(".") for setting in TABLE.values())
    environ = {name.upper(): setting.default for name, setting in TABLE.items() if setting.default}
    assert Settings.from_env({**environ, "AUTH": "off"}) == Settings.from_env({"AUTH": "off"})


def test_with_tokens_the_payment_provider_must_be_named_in_one_line_that_says_how() -> None:
    """Else orders would be confirmed that nobody pays for; a laptop without tokens has the sandbox."""
    with pytest.raises(ConfigError) as caught:
        Settings.from_env({**JWT, "JWT_SECRET": SECRET, "PAYMENT_PROVIDER": ""})
    fault = "PAYMENT_PROVIDER must be set with AUTH=jwt: stripe, or sandbox, which moves no money"
    assert str(caught.value) == fault
    assert Settings.from_env({**JWT, "JWT_SECRET": SECRET}).payment_provider == "sandbox"
    assert Settings.from_env({"AUTH": "off"}).payment_provider == "sandbox"


def test_a_mail_address_of_the_token_needs_tokens() -> None:
    with pytest.raises(ConfigError, match=r"^EMAIL_FROM_TOKEN is true, which needs AUTH=jwt$"):
        Settings.from_env({"AUTH": "off", "EMAIL_FROM_TOKEN": "true"})
    assert Settings.from_env({**JWT, "JWT_SECRET": SECRET, "EMAIL_FROM_TOKEN": "true"}).email_from_token


def test_stripe_takes_a_key_to_start_with() -> None:
    stripe = {"AUTH": "off", "PAYMENT_PROVIDER": "stripe"}
    assert Settings.from_env({**stripe, "STRIPE_API_KEY": "sk_test_1"}).payment_provider == "stripe"
    with pytest.raises(ConfigError, match="STRIPE_API_KEY must be set") as caught:
        Settings.from_env({**stripe, "PORT": "0"})
    assert set(caught.value.faults) == {"PORT", "STRIPE_API_KEY"}


def test_what_is_not_installed_is_named_with_the_lock_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.setting_rules.find_spec", lambda _: None)
    stripe = {"PAYMENT_PROVIDER": "stripe", "STRIPE_API_KEY": "sk_test_1"}
    with pytest.raises(ConfigError) as caught:
        Settings.from_env({"AUTH": "off", "TRACING": "true", **stripe})
    assert str(caught.value).splitlines() == [
        "PAYMENT_PROVIDER is stripe, which needs Stripe's SDK: pip install -r requirements/stripe.txt",
        "TRACING is true, which needs OpenTelemetry: pip install -r requirements/otel.txt",
    ]
