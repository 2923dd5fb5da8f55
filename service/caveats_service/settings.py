"""Every setting of the service: one frozen value, read once from `CAVEATS_*`, documented where it is defined.

Knows the environment; what a variable may be is in `setting_types`. Must not open anything. A bad value is a
`SettingsError` that names the variable and what would be accepted, and repeats no value.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from caveats.extras import needs

with needs("service"):
    from pydantic import Field, SecretStr, ValidationError, model_validator
    from pydantic_settings import BaseSettings, SettingsConfigDict

from caveats.durations import format_duration
from caveats.http import TrustedProxies, UnknownProxies
from caveats_service.setting_types import (
    DEFAULT_PORT,
    Accepts,
    CookieName,
    Count,
    DatabaseUrl,
    Duration,
    EntryPoints,
    File,
    Location,
    LogLevel,
    Origins,
    OwnPort,
    Proxies,
    PublicUrl,
    Rate,
    Seconds,
    SharedCounts,
    Switch,
    is_service_link,
)

PREFIX = "CAVEATS_"
QUIET_START = "QUIET_START"
"""Set in the environment of workers: their parent has printed the address already."""
_OTHERS = {QUIET_START, "ALLOW_HTTP", "CONFIG_DIR", "NEW_PASSWORD", "PASSWORD", "TOKEN", "URL", "USERNAME"}
"""Variables that are no settings: of workers, and the client's."""
_CLOSE = 0.8
"""How much of a name must be that of a setting to be a slip (0 to 1)."""


class SettingsError(Exception):
    """The environment does not describe a service that can run; the message says which variables, and why."""


class Settings(BaseSettings):
    """How this service runs. Each field is the variable of its name in capitals after `CAVEATS_`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False
    )

    data_dir: File = Field(
        Path("data"), description="Folder of the database and the seal key; made if it is missing."
    )
    database_url: DatabaseUrl = Field(
        None,
        description="The database: one file, or a PostgreSQL that many nodes share. "
        "Unset: the file caveats.db in the data folder.",
    )
    database_connections: Annotated[Count, Accepts("a whole number, 3 to 1000")] = Field(
        12,
        ge=3,
        le=1000,
        description="Connections of each process to PostgreSQL at a time; requests wait for one (count).",
    )
    seal_key: Annotated[SecretStr | None, Accepts("32 random bytes as 43 characters of base64url")] = Field(
        None, description="Key that seals the master keys at rest: 32 bytes, base64url. Unset: from its file."
    )
    seal_key_file: File | None = Field(
        None, description="File of the seal key, made at the first start. Unset: seal.key in the data folder."
    )
    location: Location = Field(
        "",
        description="Location written into tokens: a hint for people, not authenticated. Tokens with another one are refused. "
        "Unset: CAVEATS_PUBLIC_URL in tokens for accounts, none in those for apps; any is accepted.",
    )
    open_registration: Switch = Field(
        default=False, description="Whether anybody may register, or only admins."
    )

    default_lifetime: Duration = Field(
        timedelta(hours=8), description="Life of a token when the request does not say (duration)."
    )
    max_lifetime: Duration = Field(
        timedelta(days=30), description="Longest life that one issue or renewal may ask for (duration)."
    )
    max_total_life: Duration = Field(
        timedelta(days=90), description="Longest life from first issue to last renewal (duration)."
    )
    session_lifetime: Duration = Field(
        timedelta(hours=8), description="A browser session ends when idle for so long (duration)."
    )
    session_max_life: Duration = Field(
        timedelta(days=7), description="A browser session ends after so long, idle or not (duration)."
    )

    host: Annotated[str, Accepts("an address or host name")] = Field(
        "127.0.0.1", min_length=1, description="Address to listen on."
    )
    port: Annotated[Count, OwnPort, Accepts("a port, 0 to 65535")] = Field(
        DEFAULT_PORT, ge=0, le=65_535, description="Port to listen on; 0 takes a free one."
    )
    keep_alive_timeout: Duration = Field(
        timedelta(minutes=3),
        description="Idle connections are closed after so long (duration): longer than the proxy in front keeps them.",
    )
    public_url: PublicUrl = Field(
        None,
        description="Where browsers reach the service, with the path if it is below one. "
        "Unset: taken from the request's Host header.",
    )
    allowed_origins: Origins = Field(
        (),
        description="Other origins whose pages may use the service (CORS), with the session cookie as well; "
        "comma-separated.",
    )
    bearer_from_any_origin: Switch = Field(
        default=False,
        description="Whether pages of all origins may use the service with a token in a header, never with cookies.",
    )
    authorize_basic: Switch = Field(
        default=False,
        description="Whether /v1/authorize takes a token as the password of Basic (git, pip), and asks for it.",
    )
    authorize_subprotocol: Switch = Field(
        default=False,
        description="Whether /v1/authorize takes a token among the subprotocols of a WebSocket (browsers).",
    )
    trusted_proxies: Proxies = Field(
        (),
        description="Proxies whose X-Forwarded-* headers are believed, comma-separated networks; "
        "unix: those that connect through a Unix socket.",
    )
    cookie_secure: Switch = Field(
        default=True,
        description="Session cookie over https only, with a __Host- name. Browsers (not Safari) take it from "
        "http://localhost as well; false is for plain http elsewhere, in development.",
    )

    session_cookie: CookieName = Field(
        None,
        description="Name of the session cookie, after its prefix. Services on one host need one each: browsers send cookies "
        "to all ports of a host. Unset: caveats-session, with the port of CAVEATS_PUBLIC_URL if that has one and no path.",
    )

    checkers: Annotated[
        EntryPoints, Accepts("names of entry points in the group caveats.checkers, comma-separated")
    ] = Field((), description="Plug-in caveat kinds to enable, by entry point, comma-separated.")
    checker_deadline: Seconds = Field(
        2.0, gt=0, le=60, description="A plug-in's check refuses after so long (seconds)."
    )

    conditions: Annotated[
        EntryPoints, Accepts("names of entry points in the group caveats.conditions, comma-separated")
    ] = Field((), description="Plug-in conditions of third-party caveats to enable, by entry point.")
    service_name: Annotated[str, Accepts("text of at most 100 characters")] = Field(
        "",
        max_length=100,
        description="What the service is called on its pages. Unset: the host of its address.",
    )
    pages_dir: File | None = Field(
        None, description="Folder of templates that replace those of the pages. Unset: none."
    )
    discharge_lifetime: Duration = Field(
        timedelta(minutes=5), description="Life of a discharge, from the decision (duration)."
    )
    interaction_lifetime: Duration = Field(
        timedelta(minutes=10),
        description="Time for signing in or approving before a discharge (duration).",
    )
    poll_keepalive: Duration = Field(
        timedelta(seconds=15),
        description="Silence after which whoever waits for a decision is sent a space, for proxies (duration).",
    )
    interaction_limit_address: Rate = Field(
        "60/minute", description="Interactions that one address may begin (rate)."
    )
    max_interactions: Annotated[Count, Accepts("a whole number, 1 to 1000000")] = Field(
        10_000, ge=1, le=1_000_000, description="Interactions that are kept at a time (count)."
    )

    admin_password: Annotated[SecretStr | None, Accepts("text of 8 characters or more")] = Field(
        None,
        description="Password of the admin that the first start creates. Unset: a random one, printed once.",
    )
    password_min_length: Annotated[Count, Accepts("a whole number, 8 to 128")] = Field(
        8, ge=8, le=128, description="Shortest new password (characters)."
    )
    password_workers: Annotated[Count, Accepts("a whole number, 1 to 64")] = Field(
        2, ge=1, le=64, description="Passwords hashed at the same time (threads; 64 MiB each)."
    )
    password_queue: Annotated[Count, Accepts("a whole number, 0 to 10000")] = Field(
        32,
        ge=0,
        le=10_000,
        description="Sign-ins that may wait for a thread; more are told to come back (count).",
    )
    limits: SharedCounts = Field(
        "memory",
        description="Where sign-ins, registrations and interactions are counted for their limits. memory: each process for "
        "itself, so that N workers and nodes together allow N times as much; database or Redis: all together.",
    )
    login_limit_account: Rate = Field(
        "10/minute", description="Sign-in attempts on one account from one address (rate)."
    )
    login_limit_address: Rate = Field("60/minute", description="Failed sign-ins from one address (rate).")

    max_labels: Annotated[Count, Accepts("a whole number, 2 to 1000000")] = Field(
        1000,
        ge=2,
        le=1_000_000,
        description="Labelled tokens of one account that have not expired; tokens that do not stand for the account "
        "may take half of the places (count).",
    )
    keep_limit_holder: Rate = Field(
        "1000/hour",
        description="Labelled tokens, and replies under idempotency keys, that one token with all that came of it, "
        "or one account's password, may have kept (rate).",
    )
    keep_limit_address: Rate = Field("10000/hour", description="The same for one address (rate).")

    register_limit_address: Rate = Field(
        "120/minute", description="Accounts that one address may register (rate)."
    )

    revoke_limit_token: Rate = Field(
        "100/hour", description="Copies of one token that may be revoked one by one (rate)."
    )
    revoke_limit_address: Rate = Field(
        "1000/day", description="Copies that one address may revoke one by one (rate)."
    )
    max_revoked_branches: Annotated[Count, Accepts("a whole number, 1 to 1000000")] = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="Revoked copies of one token that are kept at a time; then the token has to be revoked (count).",
    )

    max_feed_readers: Annotated[Count, Accepts("a whole number, 2 to 1000000")] = Field(
        10_000,
        ge=2,
        le=1_000_000,
        description="Streams and waiting polls of the feed in each process; one audience may have half (count).",
    )

    unsafe_share_account_keys: Switch = Field(
        default=False,
        description="Whether apps may have the keys of the audience default. Their holder can make tokens of every "
        "account. Tokens then administer nothing: administrators use their passwords.",
    )
    key_rotation_age: Duration = Field(
        timedelta(days=30), description="Age at which the active master key is replaced (duration; 0: never)."
    )
    key_propagation: Duration = Field(
        timedelta(seconds=60),
        description="A published key waits so long before it issues, so that all have it (duration).",
    )

    max_body_bytes: Annotated[Count, Accepts("a whole number of bytes, 1024 to 16777216")] = Field(
        64 * 1024, ge=1024, le=16 * 1024 * 1024, description="Largest request body (bytes)."
    )
    body_timeout: Seconds = Field(
        30.0, gt=0, le=3600, description="A request whose body takes longer is a 408 (seconds)."
    )
    max_header_bytes: Annotated[Count, Accepts("a whole number of bytes, 8192 to 1048576")] = Field(
        72 * 1024,
        ge=8192,
        le=1024 * 1024,
        description="Largest request head; a bundle may have 64 KiB (bytes).",
    )

    log_level: LogLevel = Field("info", description="Least important events that are logged.")
    log_json: Switch = Field(
        default=False, description="Log one JSON object a line instead of text for people."
    )

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment; what is given here wins. `SettingsError` lists everything that is wrong.

        A variable whose name is almost that of a setting is wrong as well: what it was to do is not done.
        """
        mistyped = [
            f"{name}: there is no such setting; did you mean {meant}?"
            for name, meant in unknown_variables()
            if meant is not None
        ]
        if mistyped:
            raise SettingsError("\n".join(mistyped))
        try:
            return cls(**overrides)
        except ValidationError as error:
            # The cause would repeat the values.
            raise SettingsError(
                "\n".join(_explain(one["loc"], one["msg"]) for one in error.errors())
            ) from None

    @property
    def store_url(self) -> str:
        """Where the store is, for `Store`. May hold a password: never to be shown."""
        if self.database_url is None:
            return f"sqlite:///{self.data_dir / 'caveats.db'}"
        return self.database_url.get_secret_value()

    @property
    def data_shown(self) -> str:
        """Where the data is, for people: a path, or the variable that names the PostgreSQL."""
        if not self.on_sqlite:
            return f"PostgreSQL ({_variable('database_url')})"
        return str(self.data_dir if self.database_url is None else self.sqlite_path)

    @property
    def on_sqlite(self) -> bool:
        """Whether the database is a file of this machine."""
        return self.store_url.startswith("sqlite:")

    @property
    def sqlite_path(self) -> Path:
        """The database's file. `SettingsError` if it is not a file."""
        if not self.on_sqlite:
            raise SettingsError(
                f"{_variable('database_url')}: this is for SQLite only; PostgreSQL has its own tools"
            )
        return Path(self.store_url.removeprefix("sqlite:///"))

    @property
    def seal_key_path(self) -> Path:
        """The seal key's file, if the key is not in the environment."""
        return self.seal_key_file or self.data_dir / "seal.key"

    @cached_property
    def proxies(self) -> TrustedProxies:
        """The trusted proxies, ready to be asked."""
        return TrustedProxies(self.trusted_proxies)

    @cached_property
    def unknown_proxies(self) -> UnknownProxies:
        """The proxies that are none of these. It remembers which ones this process has told the log."""
        return UnknownProxies(self.proxies, setting=_variable("trusted_proxies"))

    @property
    def public_origin(self) -> str | None:
        """The origin of `public_url`."""
        return self.public_url and self.public_url.removesuffix(self.public_path)

    @property
    def public_path(self) -> str:
        """The path of `public_url`, without a slash at the end; empty if the service has its host for itself."""
        _, slash, path = (self.public_url or "").partition("://")[2].partition("/")
        return f"{slash}{path}"

    @cached_property
    def cookie_name(self) -> str:
        """The session cookie's name. Browsers hold `__Host-` to Secure, this host and all paths; `__Secure-` to Secure."""
        prefix = ("__Secure-" if self.public_path else "__Host-") if self.cookie_secure else ""
        port = urlsplit(self.public_url or "").port
        own = f"caveats-session-{port}" if port and not self.public_path else "caveats-session"
        return f"{prefix}{self.session_cookie or own}"

    @property
    def longest_life(self) -> timedelta:
        """No token outlives its first issue by more, renewals included: when a key that issues no more can go."""
        return max(self.max_total_life, self.session_max_life)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for shorter, longer in (
            ("default_lifetime", "max_lifetime"),
            ("max_lifetime", "max_total_life"),
            ("session_lifetime", "session_max_life"),
        ):
            if getattr(self, shorter) <= timedelta(0):
                raise ValueError(f"{_variable(shorter)}: must be longer than nothing")
            if getattr(self, shorter) > getattr(self, longer):
                raise ValueError(f"{_variable(shorter)}: must not be longer than {_variable(longer)}")
        for life in ("keep_alive_timeout", "discharge_lifetime", "interaction_lifetime", "poll_keepalive"):
            if getattr(self, life) <= timedelta(0):
                raise ValueError(f"{_variable(life)}: must be longer than nothing")
        if timedelta(0) < self.key_rotation_age <= self.key_propagation:
            raise ValueError(
                f"{_variable('key_rotation_age')}: must be longer than {_variable('key_propagation')}"
            )
        if self.seal_key is not None and self.seal_key_file is not None:
            raise ValueError(f"{_variable('seal_key')}: give this or {_variable('seal_key_file')}, not both")
        return self


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting for people: its variable, its default and its meaning, with what it accepts."""

    variable: str
    default: str
    meaning: str
    accepts: str


def describe_settings() -> tuple[SettingRow, ...]:
    """All settings in the order of definition, for the documentation and `--help`."""
    return tuple(
        SettingRow(_variable(name), _shown(field.default), field.description or "", _accepted(name))
        for name, field in Settings.model_fields.items()
    )


def unknown_variables() -> list[tuple[str, str | None]]:
    """The variables `CAVEATS_*` of the environment that no setting has, each with the setting that was meant, if one is close.

    The client's are left out.
    """
    names = [field.upper() for field in Settings.model_fields]
    unknown = []
    for variable in sorted(os.environ):
        name = variable.upper()
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in {*names, *_OTHERS}:
            slip = not is_service_link(variable, os.environ[variable])
            close = slip and difflib.get_close_matches(name.removeprefix(PREFIX), names, 1, _CLOSE)
            unknown.append((variable, f"{PREFIX}{close[0]}" if close else None))
    return unknown


def _explain(where: tuple[int | str, ...], message: str) -> str:
    text = message.removeprefix("Value error, ")
    if not where:
        return text
    name = str(where[0])
    if name not in Settings.model_fields:
        return f"{name}: there is no such setting"
    accepted = _accepted(name)
    return f"{_variable(name)}: {text}" + ("" if accepted in text else f"; accepted: {accepted}")


def _accepted(name: str) -> str:
    words = [item.words for item in Settings.model_fields[name].metadata if isinstance(item, Accepts)]
    return words[-1] if words else "a path"


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _shown(default: object) -> str:
    if isinstance(default, timedelta):
        return format_duration(default)
    if isinstance(default, bool):
        return str(default).lower()
    if default is None or default in ((), ""):
        return "(unset)"
    return str(default)
