"""The settings: every fault named, nothing secret repeated, no start without saying who may call."""

from __future__ import annotations

import re
from base64 import b64encode
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.config import TABLE, ConfigError, Settings
from app.setting_parsers import duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_the_service_starts_with_no_more_than_asked_for_openness() -> None:
    settings = Settings.from_env({"AUTH": "off"})
    assert (settings.port, settings.api_prefix, settings.default_currency) == (3003, "", "USD")
    assert settings.order_expiry == timedelta(minutes=15)
    assert settings.smtp_url is None


@pytest.mark.parametrize("environ", [{}, {"AUTH": ""}, {"AUTH": "on"}])
def test_the_service_does_not_start_without_a_valid_auth_setting(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="AUTH must be jwt, or off"):
        Settings.from_env(environ)


JWT = {
    "AUTH": "jwt",
    "JWT_ISSUER": "https://issuer.example",
    "JWT_AUDIENCE": "orders",
    "PAYMENT_PROVIDER": "sandbox",
    "PRICES": "client",
}
SECRET = "s" * 32
QUOTED = {
    "AUTH": "off",
    "PRICES": "quoted",
    "QUOTE_ISSUER": "https://prices.example",
    "QUOTE_AUDIENCE": "orders",
}


@pytest.mark.parametrize(
    ("environ", "faulty"),
    [
        ({"AUTH": "jwt"}, {"AUTH", "JWT_ISSUER", "JWT_AUDIENCE", "PAYMENT_PROVIDER", "PRICES"}),
        ({"AUTH": "jwt", "JWT_SECRET": SECRET}, {"JWT_ISSUER", "JWT_AUDIENCE", "PAYMENT_PROVIDER", "PRICES"}),
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
    ("environ", "faulty"),
    [
        ({"AUTH": "off", "PRICES": "quoted"}, {"PRICES", "QUOTE_ISSUER", "QUOTE_AUDIENCE"}),
        ({**JWT, "JWT_SECRET": SECRET, "PRICES": "quoted"}, {"PRICES", "QUOTE_ISSUER", "QUOTE_AUDIENCE"}),
        ({**QUOTED}, {"PRICES"}),
        ({**QUOTED, "QUOTE_SECRET": SECRET, "QUOTE_AUDIENCE": ""}, {"QUOTE_AUDIENCE"}),
        ({**QUOTED, "QUOTE_SECRET": SECRET, "QUOTE_ISSUER": ""}, {"QUOTE_ISSUER"}),
        ({**QUOTED, "QUOTE_SECRET": SECRET, "QUOTE_JWKS_URL": "https://prices.example/keys"}, {"PRICES"}),
        ({**QUOTED, "QUOTE_SECRET": SECRET[1:]}, {"QUOTE_SECRET"}),
        ({**QUOTED, "QUOTE_JWKS_URL": "file:///etc/keys"}, {"QUOTE_JWKS_URL"}),
        ({**QUOTED, "QUOTE_PUBLIC_KEY": "/nowhere.pem"}, {"QUOTE_PUBLIC_KEY"}),
        ({**QUOTED, "QUOTE_SECRET": SECRET, "PRICES": "free"}, {"PRICES"}),
        (
            {"AUTH": "jwt", "PRICES": "free"},
            {"AUTH", "JWT_ISSUER", "JWT_AUDIENCE", "PAYMENT_PROVIDER", "PRICES"},
        ),
    ],
)
def test_all_that_quotes_need_is_asked_for_at_once(environ: dict[str, str], faulty: set[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(environ)
    assert set(caught.value.faults) == faulty
    assert SECRET[1:] not in str(caught.value)


def test_quotes_need_one_source_of_keys() -> None:
    assert Settings.from_env({**QUOTED, "QUOTE_SECRET": SECRET}).prices == "quoted"
    url = "https://prices.example/keys"
    assert Settings.from_env({**QUOTED, "QUOTE_JWKS_URL": url}).quote_jwks_url == url


def test_with_tokens_the_prices_must_be_named_in_one_line_that_says_how() -> None:
    """Else customers would set their own prices; without tokens every caller may."""
    with pytest.raises(ConfigError) as caught:
        Settings.from_env({**JWT, "JWT_SECRET": SECRET, "PRICES": ""})
    fault = "PRICES must be set with AUTH=jwt: quoted, or client, which lets every caller set its own prices"
    assert str(caught.value) == fault
    assert Settings.from_env({**JWT, "JWT_SECRET": SECRET}).prices == "client"
    assert Settings.from_env({"AUTH": "off"}).prices == "client"


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
def test_an_invalid_time_is_refused(text: str) -> None:
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
        "PRICES": "high",
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


def test_every_setting_says_its_purpose() -> None:
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


@pytest.mark.parametrize("name", ["JWT_JWKS_URL", "QUOTE_JWKS_URL", "STRIPE_API_BASE"])
@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("https://issuer.example/keys", True),
        ("http://127.0.0.1:8080/keys", True),
        ("http://127.9.9.9/keys", True),
        ("http://[::1]:8080/keys", True),
        ("http://localhost/keys", True),
        ("http://issuer.example/keys", False),
        ("http://localhost.evil.example/keys", False),
        ("http://127.0.0.1.evil.example/keys", False),
        ("http://127.0.0.1@evil.example/keys", False),
        ("https://user:hush@issuer.example/keys", False),
        ("http://10.0.0.1/keys", False),
        ("http:///keys", False),
        ("http://[::1/keys", False),
        ("https://issuer.example:port/keys", False),
    ],
)
def test_keys_go_over_https_or_stay_on_this_machine(name: str, url: str, taken: bool) -> None:
    """Else anybody on the way makes the keys of tokens, or reads the key that moves money."""
    environ = {**JWT, "JWT_SECRET": "" if name == "JWT_JWKS_URL" else SECRET, name: url}
    if taken:
        assert getattr(Settings.from_env(environ), name.lower()) == url
    else:
        with pytest.raises(ConfigError) as caught:
            Settings.from_env(environ)
        assert caught.value.faults.keys() == {name}
        assert "hush" not in str(caught.value)


def _whsec(size: int) -> str:
    return f"whsec_{b64encode(b'k' * size).decode()}"


@pytest.mark.parametrize(
    ("provider", "secret", "taken"),
    [
        ("sandbox", _whsec(24), True),
        ("sandbox", _whsec(64), True),
        ("sandbox", _whsec(24).removeprefix("whsec_"), True),
        ("sandbox", _whsec(23), False),
        ("sandbox", _whsec(1), False),
        ("sandbox", "whsec_", False),
        ("sandbox", "\N{BULLET}" * 40, False),
        ("stripe", "whsec_" + "k" * 32, True),
        ("stripe", "whsec_" + "k" * 23, False),
        ("stripe", "k" * 40, False),
        ("stripe", "k", False),
    ],
)
def test_the_secret_of_payment_events_is_no_short_one(provider: str, secret: str, taken: bool) -> None:
    """A secret that can be guessed lets anybody say that orders are paid for."""
    environ = {"AUTH": "off", "PAYMENT_PROVIDER": provider, "STRIPE_API_KEY": "sk_test_1"}
    environ["PAYMENT_WEBHOOK_SECRET"] = secret
    if taken:
        assert Settings.from_env(environ).payment_webhook_secret == secret
    else:
        with pytest.raises(ConfigError, match=r"^PAYMENT_WEBHOOK_SECRET must be whsec_ and [^\n]*24 "):
            Settings.from_env(environ)


def test_no_secret_shows_in_the_settings() -> None:
    """The table marks every setting with the name of a key or of a URL, but for the few without a secret."""
    hidden = {name.upper() for name, setting in TABLE.items() if setting.secret}
    suspect = {name for name in map(str.upper, TABLE) if re.search("SECRET|KEY|PASS|TOKEN|UR[IL]$", name)}
    harmless = {"JWT_PUBLIC_KEY", "JWT_JWKS_URL", "EMAIL_FROM_TOKEN", "REQUIRE_IDEMPOTENCY_KEY"}
    harmless |= {"QUOTE_PUBLIC_KEY", "QUOTE_JWKS_URL"}
    assert suspect - harmless == hidden
    environ = {
        "AUTH": "off",
        "JWT_SECRET": "hush" * 8,
        "QUOTE_SECRET": "hush" * 8,
        "MONGO_URI": "mongodb://user:hush@mongo/orders",
        "REDIS_URL": "redis://:hush@redis:6379/0",
        "RATE_LIMIT_REDIS_URL": "redis://:hush@redis:6379/1",
        "PAYMENT_WEBHOOK_SECRET": f"whsec_{'hush' * 10}",
        "STRIPE_API_KEY": "sk_test_hush",
        "PERSONAL_INDEX_KEY": "hush" * 9,
        "PERSONAL_INDEX_KEY_BEFORE": "hush" * 8,
        "SMTP_URL": "smtp://user:hush@mail.example",
    }
    assert hidden <= environ.keys()
    settings = Settings.from_env(environ)
    for text in (repr(settings), str(settings), f"{settings}", str({"settings": settings})):
        assert "hush" not in text
        assert text.count("***") == len(hidden)
        assert "payment_provider='sandbox'" in text
    assert "smtp_url=None" in repr(Settings.from_env({"AUTH": "off"}))


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


def test_a_missing_package_is_named_with_the_lock_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.setting_rules.find_spec", lambda _: None)
    stripe = {"PAYMENT_PROVIDER": "stripe", "STRIPE_API_KEY": "sk_test_1"}
    with pytest.raises(ConfigError) as caught:
        Settings.from_env({"AUTH": "off", "TRACING": "true", **stripe})
    assert str(caught.value).splitlines() == [
        "PAYMENT_PROVIDER is stripe, which needs Stripe's SDK: pip install -r requirements/stripe.txt",
        "TRACING is true, which needs OpenTelemetry: pip install -r requirements/otel.txt",
    ]
