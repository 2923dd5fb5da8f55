"""Settings: read once, strictly; a bad one is named, and no secret is repeated."""

from __future__ import annotations

import ipaddress
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import caveats_client
from caveats.durations import parse_duration
from caveats_service.setting_types import is_service_link
from caveats_service.settings import Settings, SettingsError, describe_settings, unknown_variables


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("CAVEATS_")]:
        monkeypatch.delenv(name)


def test_the_defaults_describe_a_service_in_the_data_folder() -> None:
    settings = Settings.load()
    assert settings.sqlite_path == Path("data/caveats.db")
    assert settings.seal_key_path == Path("data/seal.key")
    assert settings.cookie_name.startswith("__Host-")
    assert not settings.open_registration
    assert settings.longest_life == timedelta(days=90)


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("DATA_DIR", "/srv/x", "data_dir", Path("/srv/x")),
        ("DATABASE_URL", "sqlite:////srv/x.db", "sqlite_path", Path("/srv/x.db")),
        ("DATABASE_URL", "sqlite:///x.db", "sqlite_path", Path("x.db")),
        ("DATABASE_URL", "sqlite:///x.db", "on_sqlite", True),
        ("DATABASE_URL", "postgresql://u@h:5432/d", "store_url", "postgresql://u@h:5432/d"),
        ("DATABASE_URL", "postgresql://u@h/d", "on_sqlite", False),
        (
            "DATABASE_URL",
            "postgresql://u:p%20w@h1:5432,h2:5432/d?target_session_attrs=read-write&sslmode=require",
            "store_url",
            "postgresql://u:p%20w@h1:5432,h2:5432/d?target_session_attrs=read-write&sslmode=require",
        ),
        ("SEAL_KEY_FILE", "/run/seal", "seal_key_path", Path("/run/seal")),
        ("OPEN_REGISTRATION", "true", "open_registration", True),
        ("DEFAULT_LIFETIME", "15m", "default_lifetime", timedelta(minutes=15)),
        ("DEFAULT_LIFETIME", "900", "default_lifetime", timedelta(minutes=15)),
        ("KEY_ROTATION_AGE", "0", "key_rotation_age", timedelta(0)),
        ("TRUSTED_PROXIES", "", "trusted_proxies", ()),
        (
            "TRUSTED_PROXIES",
            "10.0.0.0/8, ::1",
            "trusted_proxies",
            (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1")),
        ),
        ("TRUSTED_PROXIES", "unix,::1", "trusted_proxies", ("unix", ipaddress.ip_network("::1"))),
        ("CHECKERS", "photos,acme.album", "checkers", ("photos", "acme.album")),
        ("CHECKER_DEADLINE", "0.5", "checker_deadline", 0.5),
        ("PORT", "0", "port", 0),
        ("PUBLIC_URL", "https://auth.example:8443", "public_url", "https://auth.example:8443"),
        (
            "ALLOWED_ORIGINS",
            "https://a.example,http://[::1]:3000",
            "allowed_origins",
            ("https://a.example", "http://[::1]:3000"),
        ),
        ("ALLOWED_ORIGINS", "https://a.example:443", "allowed_origins", ("https://a.example",)),
        ("PUBLIC_URL", "http://auth.example:80", "public_url", "http://auth.example"),
        ("PUBLIC_URL", "http://auth.example:443", "public_url", "http://auth.example:443"),
        ("PUBLIC_URL", "https://example.com:443/auth/", "public_url", "https://example.com/auth"),
        ("PUBLIC_URL", "https://example.com/a/b", "public_path", "/a/b"),
        ("PUBLIC_URL", "https://example.com/a/b", "public_origin", "https://example.com"),
        ("PUBLIC_URL", "https://example.com/a", "cookie_name", "__Secure-caveats-session"),
        ("COOKIE_SECURE", "false", "cookie_name", "caveats-session"),
        ("LOG_LEVEL", "WARNING", "log_level", "warning"),
        ("LOGIN_LIMIT_ACCOUNT", "5/hour", "login_limit_account", "5/hour"),
    ],
)
def test_an_accepted_variable_is_read(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, field: str, value: object
) -> None:
    monkeypatch.setenv(f"CAVEATS_{variable}", text)
    assert getattr(Settings.load(), field) == value


@pytest.mark.parametrize(
    ("variable", "text", "accepted"),
    [
        ("DATA_DIR", "", "a path"),
        ("DATABASE_URL", "mysql://u:hunter2@h/d", "postgresql://user@host:port/database"),
        ("DATABASE_URL", "postgresql://u:hunter2@h", "postgresql://user@host:port/database"),
        ("DATABASE_URL", "postgresql://u:hunter2@h/", "postgresql://user@host:port/database"),
        ("DATABASE_URL", "postgresql://u:hunter2@h/d#x", "postgresql://user@host:port/database"),
        ("DATABASE_URL", "postgresql://u:hunter2 @h/d", "postgresql://user@host:port/database"),
        ("DATABASE_URL", "postgresql://u:hunter2@[h/d", "postgresql://user@host:port/database"),
        ("DATABASE_URL", "postgresql+asyncpg://u:hunter2@h/d", "postgresql://user@host:port/database"),
        ("DATABASE_URL", "sqlite://", "sqlite:///path"),
        ("OPEN_REGISTRATION", "of", "true or false"),
        ("MAX_LIFETIME", "+5", "8h"),
        ("MAX_LIFETIME", " 5", "8h"),
        ("MAX_LIFETIME", "1_000", "8h"),
        ("MAX_LIFETIME", "\u0665", "8h"),
        ("MAX_LIFETIME", "", "8h"),
        ("PORT", "1_000", "a port"),
        ("PORT", "+80", "a port"),
        ("PORT", "\u0668\u0660", "a port"),
        ("PORT", "65536", "a port"),
        ("PASSWORD_WORKERS", "0", "1 to 64"),
        ("PASSWORD_QUEUE", "-1", "0 to 10000"),
        ("CHECKER_DEADLINE", "nan", "seconds"),
        ("CHECKER_DEADLINE", "1e400", "seconds"),
        ("CHECKER_DEADLINE", "0", "seconds"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "host bits"),
        ("TRUSTED_PROXIES", "10.0.0.0/255.0.0.0", "networks"),
        ("TRUSTED_PROXIES", "010.0.0.1", "networks"),
        ("TRUSTED_PROXIES", "fe80::1%eth0", "networks"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,", "networks"),
        ("TRUSTED_PROXIES", "*", "networks"),
        ("CHECKERS", "a,a", "twice"),
        ("CHECKERS", "a b", "entry points"),
        ("LOGIN_LIMIT_ACCOUNT", "10", "10/minute"),
        ("LIMITS", "redis", "memory, database, or redis://"),
        ("LIMITS", "redis://:hunter2@", "memory, database, or redis://"),
        ("LIMITS", "http://127.0.0.1:6379", "memory, database, or redis://"),
        ("LOGIN_LIMIT_ACCOUNT", "0/minute", "10/minute"),
        ("LOGIN_LIMIT_ADDRESS", "ten per minute", "10/minute"),
        ("PUBLIC_URL", "https://auth.example/v1/", "an origin"),
        ("PUBLIC_URL", "HTTPS://auth.example", "an origin"),
        ("PUBLIC_URL", "ftp://auth.example", "an origin"),
        ("ALLOWED_ORIGINS", "null", "an origin"),
        ("ALLOWED_ORIGINS", "https://user@a.example", "an origin"),
        ("LOG_LEVEL", "loud", "debug, info, warning or error"),
        ("LOCATION", "a\nb", "printable"),
        ("LOCATION", "x" * 257, "256"),
        ("MAX_HEADER_BYTES", "10", "8192"),
    ],
)
def test_a_bad_variable_is_refused_by_name_with_what_would_be_accepted(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, accepted: str
) -> None:
    monkeypatch.setenv(f"CAVEATS_{variable}", text)
    with pytest.raises(SettingsError) as refused:
        Settings.load()
    assert str(refused.value).startswith(f"CAVEATS_{variable}: ")
    assert accepted in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("overrides", "variable"),
    [
        ({"default_lifetime": "31d"}, "CAVEATS_DEFAULT_LIFETIME"),
        ({"max_lifetime": "91d"}, "CAVEATS_MAX_LIFETIME"),
        ({"session_lifetime": "8d"}, "CAVEATS_SESSION_LIFETIME"),
        ({"default_lifetime": 0}, "CAVEATS_DEFAULT_LIFETIME"),
        ({"key_rotation_age": "30s"}, "CAVEATS_KEY_ROTATION_AGE"),
        ({"seal_key": "x", "seal_key_file": "y"}, "CAVEATS_SEAL_KEY"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(overrides: dict[str, object], variable: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}: "):
        Settings.load(**overrides)


def test_all_bad_variables_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAVEATS_PORT", "x")
    monkeypatch.setenv("CAVEATS_LOG_LEVEL", "x")
    with pytest.raises(SettingsError) as refused:
        Settings.load()
    assert len(str(refused.value).splitlines()) == 2


def test_what_is_handed_in_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAVEATS_PORT", "81")
    assert Settings.load(port=82).port == 82


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="no_such: there is no such setting"):
        Settings.load(no_such=1)


def test_no_secret_is_shown_or_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAVEATS_SEAL_KEY", "hunter2")
    monkeypatch.setenv("CAVEATS_DATABASE_URL", "postgresql://u:hunter2@h/d")
    assert "hunter2" not in repr(Settings.load())
    assert "hunter2" not in str(Settings.load().model_dump())
    assert "hunter2" not in Settings.load().model_dump_json()
    with pytest.raises(SettingsError) as refused:
        _ = Settings.load().sqlite_path
    assert "hunter2" not in str(refused.value)
    with pytest.raises(SettingsError) as refused:
        Settings.load(seal_key=["hunter2"])
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings.load().__setattr__("port", 1)


def test_every_setting_is_described_with_its_variable_default_and_meaning() -> None:
    rows = describe_settings()
    assert [row.variable for row in rows] == [f"CAVEATS_{name.upper()}" for name in Settings.model_fields]
    for row in rows:
        assert row.meaning.endswith(".")
        assert row.default
        assert row.accepts


def test_every_duration_default_is_shown_in_a_form_that_is_accepted() -> None:
    rows = {row.variable: row for row in describe_settings()}
    assert parse_duration(rows["CAVEATS_MAX_LIFETIME"].default) == Settings.load().max_lifetime
    assert parse_duration(rows["CAVEATS_KEY_PROPAGATION"].default) == Settings.load().key_propagation


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("CAVEATS_TRUSTED_PROXYS", "CAVEATS_TRUSTED_PROXIES"),
        ("CAVEATS_OPEN_REGISTRATON", "CAVEATS_OPEN_REGISTRATION"),
        ("CAVEATS_PUBLICURL", "CAVEATS_PUBLIC_URL"),
        ("caveats_seal_key_fiel", "CAVEATS_SEAL_KEY_FILE"),
        ("CAVEATS_DATADIR", "CAVEATS_DATA_DIR"),
        ("CAVEATS_MAX_LIFE_TIME", "CAVEATS_MAX_LIFETIME"),
    ],
)
def test_a_mistyped_variable_is_named_with_the_setting_that_was_meant(
    monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "a secret")
    with pytest.raises(SettingsError) as raised:
        Settings.load()
    assert str(raised.value) == f"{variable}: there is no such setting; did you mean {meant}?"


@pytest.mark.parametrize(
    "variable",
    ["CAVEATS_SERVICE_HOST", "CAVEATS_PORT_8080_TCP", "CAVEATS_PORT_8080_TCP_ADDR", "CAVEATS_ELSE"],
)
def test_a_variable_that_is_no_setting_and_like_none_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Such as Kubernetes sets for a service called caveats. `serve` logs its name."""
    monkeypatch.setenv(variable, "tcp://10.0.0.1:8080")
    Settings.load()
    assert (variable, None) in unknown_variables()


def test_the_variables_of_the_client_are_no_slips(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(caveats_client.__file__).parent
    source = "".join(file.read_text("utf-8") for file in folder.rglob("*.py"))
    variables = set(re.findall(r"CAVEATS_[A-Z_]*[A-Z]", source)) - {"CAVEATS_COMPLETE"}
    assert "CAVEATS_TOKEN" in variables
    for variable in variables:
        monkeypatch.setenv(variable, "x")
    known = {f"CAVEATS_{name.upper()}" for name in Settings.model_fields}
    assert {name for name, _ in unknown_variables()} & (variables - known) == set()


# what Kubernetes sets

LINKS = {
    "CAVEATS_SERVICE_HOST": "10.0.0.1",
    "CAVEATS_SERVICE_PORT": "8080",
    "CAVEATS_SERVICE_PORT_HTTP": "8080",
    "CAVEATS_SERVICE_PORT_PUBLIC_URL": "8080",
    "CAVEATS_PORT": "tcp://10.0.0.1:8080",
    "CAVEATS_PORT_8080_TCP": "tcp://10.0.0.1:8080",
    "CAVEATS_PORT_8080_TCP_PROTO": "tcp",
    "CAVEATS_PORT_8080_TCP_PORT": "8080",
    "CAVEATS_PORT_8080_TCP_ADDR": "10.0.0.1",
    "CAVEATS_PUBLIC_PORT": "tcp://10.0.0.2:80",
    "CAVEATS_HOST_PORT": "tcp://10.0.0.3:80",
    "CAVEATS_DATABASE_SERVICE_HOST": "10.0.0.4",
}
"""Beside the services `caveats`, `caveats-public`, `caveats-host` and `caveats-database`."""


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_what_kubernetes_sets_beside_a_service_of_this_name_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    for variable, value in LINKS.items():
        monkeypatch.setenv(variable, value.replace("tcp:", f"{protocol}:"))
    assert Settings.load().port == Settings.load(port=8080).port == 8080
    assert all(meant is None for _, meant in unknown_variables())
    assert all(is_service_link(variable, os.environ[variable]) for variable, _ in unknown_variables())


@pytest.mark.parametrize("value", ["tcp", "tcp://", "http://10.0.0.1:8080", "8080/tcp", ""])
def test_another_value_of_the_port_is_a_slip(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CAVEATS_PORT", value)
    with pytest.raises(SettingsError, match="CAVEATS_PORT: not a whole number; accepted: a port"):
        Settings.load()


def test_a_slip_beside_them_is_still_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAVEATS_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("CAVEATS_PUBLIC_UR", "https://auth.example")
    with pytest.raises(SettingsError, match="did you mean CAVEATS_PUBLIC_URL"):
        Settings.load()


# the session cookie's name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "__Host-caveats-session"),
        ({"public_url": "https://example.com"}, "__Host-caveats-session"),
        ({"public_url": "https://example.com:443"}, "__Host-caveats-session"),
        ({"public_url": "https://example.com:8443"}, "__Host-caveats-session-8443"),
        ({"public_url": "http://example.com:8080", "cookie_secure": False}, "caveats-session-8080"),
        ({"public_url": "https://example.com:8443/auth"}, "__Secure-caveats-session"),
        ({"session_cookie": "team-a"}, "__Host-team-a"),
        ({"session_cookie": "team-a", "public_url": "https://example.com/a"}, "__Secure-team-a"),
        ({"session_cookie": "team-a", "public_url": "https://example.com:8443"}, "__Host-team-a"),
        ({"session_cookie": "team-a", "cookie_secure": False}, "team-a"),
    ],
)
def test_the_cookies_name_tells_services_on_one_host_apart(given: dict[str, Any], name: str) -> None:
    assert Settings.load(**given).cookie_name == name


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a=b", "__Host-a", "__Secure-a", "é", "x" * 65, "a\n"])
def test_a_name_that_no_cookie_can_have_stops_the_start(name: str) -> None:
    with pytest.raises(SettingsError, match="CAVEATS_SESSION_COOKIE"):
        Settings.load(session_cookie=name)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, "data"),
        ({"data_dir": "/srv/caveats"}, "/srv/caveats"),
        ({"database_url": "sqlite:////srv/other.db"}, "/srv/other.db"),
        (
            {"database_url": "postgresql://caveats:hunter2@db.example/caveats"},
            "PostgreSQL (CAVEATS_DATABASE_URL)",
        ),
    ],
)
def test_where_the_data_is_is_said_without_a_password(given: dict[str, str], shown: str) -> None:
    assert Settings.load(**given).data_shown == shown
