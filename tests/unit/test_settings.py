"""The settings: every fault named, nothing secret repeated, no start without saying who may call."""

from datetime import timedelta

import pytest

from app.config import TABLE, ConfigError, Settings, duration


def test_the_service_starts_with_no_more_than_asked_for_openness() -> None:
    settings = Settings.from_env({"AUTH": "off"})
    assert (settings.port, settings.api_prefix, settings.default_currency) == (3003, "", "USD")
    assert settings.order_expiry == timedelta(minutes=15)
    assert settings.smtp_url is None


@pytest.mark.parametrize("environ", [{}, {"AUTH": ""}, {"AUTH": "on"}, {"AUTH": "jwt"}])
def test_the_service_does_not_start_unless_openness_is_asked_for(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="AUTH must be off"):
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
