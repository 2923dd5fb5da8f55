"""The real command, in real processes: start and refusal to start, two nodes on one database, kill -9, workers."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.service import (
    ADMIN_PASSWORD,
    CLIENT,
    Process,
    basic,
    bearer,
    command,
    environment,
    execute,
    free_port,
    narrow,
    process,
    rows,
    spawn,
    spawn_in,
    until,
)
from tests.support.workers import workers_of

pytestmark = pytest.mark.slow


def token_of(running: Process | httpx.Client, **asked: Any) -> str:
    body = {"username": "admin", "password": ADMIN_PASSWORD, **asked}
    http = running if isinstance(running, httpx.Client) else None
    answer = (
        http.post("/v1/tokens", json=body)
        if http
        else httpx.post(f"{running.url}/v1/tokens", json=body, **CLIENT)  # type: ignore[union-attr]
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def live(http: httpx.Client, token: str) -> bool:
    return http.get("/v1/authorize", headers=bearer(token)).status_code == 200


def test_the_first_start_shows_the_admins_password_once(tmp_path: Path) -> None:
    import re

    def start() -> tuple[Process, str]:
        given = environment(tmp_path)
        del given["CAVEATS_ADMIN_PASSWORD"]
        return spawn_in(given), given["CAVEATS_DATA_DIR"]

    running, _ = start()
    until(lambda: "Password:" in "\n".join(running.output))
    shown = re.search(r"Password: (\S+)", "\n".join(running.output))
    assert shown is not None
    with running.client() as http:
        body = {"username": "admin", "password": shown[1], "scope": "* caveats:*"}
        assert http.post("/v1/tokens", json=body).status_code == 201
    running.stop()
    again, _ = start()
    again.stop()
    assert "Password:" not in "\n".join(again.output)
    for file in (tmp_path / "data").iterdir():
        assert shown[1].encode() not in file.read_bytes()


def test_two_processes_on_one_database_agree_within_a_second(tmp_path: Path) -> None:
    with process(tmp_path) as one, process(tmp_path) as two, one.client() as first, two.client() as second:
        delays = []
        for _ in range(3):
            token = token_of(first)
            copy = narrow(token, "note = a copy")
            assert live(second, token)
            assert live(second, copy)
            assert (
                first.post("/v1/revocations", json={"presented": True}, headers=bearer(copy)).status_code
                == 201
            )
            assert not live(first, copy)
            delays.append(until(lambda copy=copy: not live(second, copy)))  # type: ignore[misc]
            assert live(second, token)
        second.post("/v1/keys/rotate", json={"now": True}, headers=basic("admin", ADMIN_PASSWORD))
        assert live(first, token_of(second))
        assert max(delays) < 1


def test_workers_share_a_port_and_agree_within_a_second(tmp_path: Path) -> None:
    port = free_port()
    with process(tmp_path, "--workers", "2", PORT=str(port)) as running:
        until(lambda: _answers(running.url), 30)
        token = token_of(running)
        copies = [narrow(token, f"note = {n}") for n in range(2)]
        workers = workers_of(running.popen.pid)
        assert len(workers) == 2
        for copy in copies:
            assert all(_live_anew(running, copy) for _ in range(6))
            httpx.post(
                f"{running.url}/v1/revocations", json={"presented": True}, headers=bearer(copy), **CLIENT
            )
            time.sleep(1)
            assert not any(_live_anew(running, copy) for _ in range(8))
        assert _live_anew(running, token)
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: _answers(running.url) and len(workers_of(running.popen.pid)) == 2, 30)
        assert _live_anew(running, token)
        assert not any(_live_anew(running, copies[0]) for _ in range(10))


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", **{**CLIENT, "timeout": 2}).status_code == 200
    except httpx.TransportError:
        return False


def _live_anew(running: Process, token: str) -> bool:
    """A connection each time, so that any worker may answer."""
    return httpx.get(f"{running.url}/v1/authorize", headers=bearer(token), **CLIENT).status_code == 200


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    """And the start that finds it takes no longer than the first one did, give or take a busy machine."""
    begin = time.monotonic()
    running = spawn(tmp_path)
    first_start = time.monotonic() - begin
    with running.client() as http:
        token, other = token_of(http, note="ci"), token_of(http)
        copy = narrow(other, "note = a copy")
        assert (
            http.post("/v1/revocations", json={"presented": True}, headers=bearer(token)).status_code == 201
        )
        assert http.post("/v1/revocations", json={"presented": True}, headers=bearer(copy)).status_code == 201
        running.kill()
    running.stop()
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    begin = time.monotonic()
    with process(tmp_path) as again, again.client() as http:
        assert time.monotonic() - begin < max(5, 2 * first_start)
        assert not live(http, token)
        assert not live(http, copy)
        assert live(http, other)
        assert "Admin:" not in "\n".join(again.output)


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="limits are read in /proc")
def test_no_process_that_holds_keys_leaves_a_core_dump_or_shows_a_secret_in_its_arguments(
    tmp_path: Path,
) -> None:
    """Catalogue row 64."""
    with process(tmp_path, "--workers", "2") as running:
        until(lambda: len(workers_of(running.popen.pid)) == 2, 30)
        for pid in (running.popen.pid, *workers_of(running.popen.pid)):
            limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
            (core,) = [line.split()[4:6] for line in limits if line.startswith("Max core file size")]
            assert core == ["0", "0"]
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
            assert arguments
            assert ADMIN_PASSWORD.encode() not in arguments
            assert (tmp_path / "data" / "seal.key").read_bytes().strip() not in arguments


def test_a_stop_is_clean_and_quick(tmp_path: Path) -> None:
    running = spawn(tmp_path)
    begin = time.monotonic()
    running.stop()
    assert running.popen.returncode in (0, -signal.SIGTERM)
    assert time.monotonic() - begin < 5
    assert not (tmp_path / "data" / "caveats.db-wal").exists()


# the seal key


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with keys, and beside it the key that opens them."""
    folder = tmp_path_factory.mktemp("sealed")
    command(folder, "migrate")
    command(folder, "users", "add", "x", "--password-stdin", stdin="password1\n")
    command(folder, "keys", "list")
    return folder


@pytest.fixture
def copy_of_sealed(sealed: Path, tmp_path: Path) -> Path:
    import shutil

    shutil.copytree(sealed / "data", tmp_path / "data")
    return tmp_path


OTHER = "A" * 42 + "E"


@pytest.mark.parametrize(
    ("arguments", "spoil", "says"),
    [
        ("serve", "missing", "no seal key"),
        ("serve", "empty", "the seal key is empty"),
        ("serve", "wrong", "not the one that sealed"),
        ("serve", "padded", "padding (=) at its end"),
        ("serve", "readable by others", "chmod 600"),
        ("serve", "a folder", "cannot be used"),
        ("serve", "wrong in the environment", "not the one that sealed"),
        ("serve", "elsewhere", "no seal key"),
        ("serve --workers 2", "missing", "no seal key"),
        ("serve --workers 2", "wrong", "not the one that sealed"),
        ("keys list", "missing", "no seal key"),
        ("keys rotate", "wrong", "not the one that sealed"),
        ("users list", "missing", "no seal key"),
    ],
)
def test_without_the_right_seal_key_nothing_starts_and_nothing_is_made(
    copy_of_sealed: Path, arguments: str, spoil: str, says: str
) -> None:
    path = copy_of_sealed / "data" / "seal.key"
    given: dict[str, str] = {}
    match spoil:
        case "missing":
            path.unlink()
        case "empty":
            path.write_text("")
        case "wrong":
            path.write_text(OTHER)
        case "padded":
            path.write_text(path.read_text().strip() + "=\n")
        case "readable by others":
            path.chmod(0o644)
        case "a folder":
            path.unlink()
            path.mkdir()
        case "wrong in the environment":
            given["SEAL_KEY"] = OTHER
        case _:
            given["SEAL_KEY_FILE"] = str(copy_of_sealed / "other.key")
    before = sorted(p.name for p in copy_of_sealed.rglob("*key*"))
    done = command(copy_of_sealed, *arguments.split(), expect=1, **given)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("caveats-service: ")
    assert OTHER not in done.stderr
    assert sorted(p.name for p in copy_of_sealed.rglob("*key*")) == before


def test_a_changed_sealed_key_refuses_to_start(copy_of_sealed: Path) -> None:
    execute(copy_of_sealed, "UPDATE master_keys SET sealed = zeroblob(length(sealed))")
    done = command(copy_of_sealed, "serve", expect=1)
    assert "master key k1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "says", "code"),
    [
        ({"ADMIN_PASSWORD": "short"}, "CAVEATS_ADMIN_PASSWORD", 1),
        ({"CHECKERS": "nothing-of-this-name"}, "CAVEATS_CHECKERS", 1),
        ({"MAX_LIFETIME": "1000d"}, "CAVEATS_MAX_LIFETIME", 2),
        ({"DATA_DIR": "/proc/nowhere"}, "/proc/nowhere", 1),
    ],
)
def test_settings_that_cannot_work_are_named_in_one_line(
    tmp_path: Path, given: dict[str, str], says: str, code: int
) -> None:
    done = command(tmp_path, "serve", expect=code, **given)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = command(tmp_path, "serve", expect=None, PORT=str(taken.getsockname()[1]))
    assert done.returncode != 0
    assert "address already in use" in done.stderr.lower()
