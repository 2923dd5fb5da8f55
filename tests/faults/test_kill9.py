"""A short run of the kill -9 script: what was acknowledged is there after every crash."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_spec = importlib.util.spec_from_file_location("kill9", Path(__file__).with_name("kill9.py"))
assert _spec is not None
assert _spec.loader is not None
kill9 = sys.modules["kill9"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kill9)


def test_five_kills_lose_nothing(tmp_path: Path) -> None:
    summary = kill9.cycles(tmp_path, 5, seed=9, most=0.5, say=False)
    assert summary["lost"] == 0
    assert summary["effects"] > 20


def test_a_lost_revocation_would_be_noticed(tmp_path: Path) -> None:
    """The check itself: take an acknowledged revocation away, and it says so."""
    import sqlite3

    service, acked = kill9.Service(tmp_path), kill9.Acked()
    service.start()
    try:
        body = {"username": kill9.ADMIN, "password": kill9.PASSWORD, "scope": "* caveats:*"}
        admin = kill9.httpx.post(f"{service.url}/v1/tokens", json=body, **kill9.HTTP).json()["token"]
        copy = kill9.narrow(admin, "a copy")
        answer = kill9.httpx.post(
            f"{service.url}/v1/revocations",
            json={"presented": True},
            headers=kill9.bearer(copy),
            **kill9.HTTP,
        )
        assert answer.status_code == 201
        acked.died(copy)
        kill9.check_acked(service, acked, admin)
    finally:
        service.kill()
    with sqlite3.connect(tmp_path / "data" / "caveats.db") as connection:
        connection.execute("DELETE FROM revocations")
    connection.close()
    service.start()
    try:
        with pytest.raises(kill9.Lost, match="revoked and are granted"):
            kill9.check_acked(service, acked, admin)
    finally:
        service.kill()
