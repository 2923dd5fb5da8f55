"""Tokens to work with, minted here: no service is needed for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from caveats import (
    Caveat,
    Expires,
    Identifier,
    Macaroon,
    MasterKey,
    MasterKeyring,
    Scope,
    User,
    new_token_id,
)

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
KEYRING = MasterKeyring([MasterKey("k1", bytes(range(1, 33)))])

Mint = Callable[..., Macaroon]


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def mint() -> Mint:
    def make(
        *more: Caveat | bytes,
        user: str = "alice",
        scope: str = "*",
        audience: str = "default",
        life: timedelta = timedelta(hours=8),
        now: datetime | None = None,
    ) -> Macaroon:
        at = datetime.now(UTC) if now is None else now
        issued = (User(user), Expires.after(life, now=at), Scope(scope), *more)
        identifier = Identifier("k1", audience, new_token_id(at), len(issued))
        return Macaroon.mint(KEYRING.root_key(identifier), identifier, caveats=issued)

    return make


@pytest.fixture
def token(mint: Mint) -> Macaroon:
    return mint()


@pytest.fixture(autouse=True)
def nobody_signed_in(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees, or touches, what the person who runs it is signed in to."""
    for name in (
        "CAVEATS_TOKEN",
        "CAVEATS_URL",
        "CAVEATS_USERNAME",
        "CAVEATS_PASSWORD",
        "CAVEATS_NEW_PASSWORD",
        "CAVEATS_ALLOW_HTTP",
        "NO_COLOR",
        "FORCE_COLOR",
        "GITHUB_ACTIONS",
        "PY_COLORS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CAVEATS_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))
