"""The health check of a container: this very service, whatever proxies are named, in one line if not."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from caveats_service.server import health
from tests.support.service import Service, execute, free_port


@pytest.fixture
def running(start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> Service:
    service = start()
    monkeypatch.setenv("CAVEATS_PORT", str(service.port))
    monkeypatch.setenv("CAVEATS_HOST", "0.0.0.0")
    return service


def test_a_service_that_answers_is_alive_past_every_proxy(
    running: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert health.main([]) == 0
    assert health.main(["/readyz"]) == 0


def test_one_that_is_not_ready_is_alive_and_says_why(
    running: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(tmp_path, "ALTER TABLE meta RENAME COLUMN epoch TO elsewhere")
    assert health.main(["/healthz"]) == 0
    assert health.main(["/readyz"]) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("/readyz")]
    assert len(said) == 1
    assert "/readyz is 503: database_refuses; the database refuses for good" in said[0]


def test_nobody_there_and_somebody_else_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAVEATS_PORT", str(free_port()))
    assert health.main([]) == 1
    monkeypatch.setenv("CAVEATS_PORT", "http")
    assert health.main([]) == 1
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("CAVEATS_PORT", str(listening.getsockname()[1]))
        monkeypatch.setattr(health, "_WITHIN", 0.1)
        assert health.main([]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_it_imports_nothing_that_takes_time() -> None:
    code = "import sys, caveats_service.server.health; print(sorted(m for m in sys.modules if 'pydantic' in m or 'starlette' in m or 'sqlalchemy' in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
