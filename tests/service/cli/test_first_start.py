"""`caveats-service serve`, the first time: the port is bound before anything is made, and the admin's password is not lost."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.support.programs import PROGRAMS, Said, empty, piped
from tests.support.service import CLIENT, free_port, until

pytestmark = pytest.mark.slow
WORKERS = pytest.mark.parametrize("workers", [1, 2])


def variables(folder: Path) -> dict[str, str]:
    return empty(folder, CAVEATS_DATA_DIR=str(folder / "data"))


def serve(folder: Path, *arguments: str) -> Said:
    """A start that must end by itself."""
    return piped("caveats-service", "serve", *arguments, env=variables(folder))


@contextlib.contextmanager
def serving(folder: Path, redirection: str, *arguments: str) -> Iterator[tuple[str, Path]]:
    """The service behind a shell's redirection of its output: its address, and the file of its standard error."""
    url, said = f"http://127.0.0.1:{(port := free_port())}", folder / "stderr"
    command = f'exec "$@" {redirection}'
    with said.open("w") as errors:
        process = subprocess.Popen(
            [
                "/bin/sh",
                "-c",
                command,
                "sh",
                PROGRAMS / "caveats-service",
                "serve",
                "--port",
                str(port),
                *arguments,
            ],
            env=variables(folder),
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert process.stdout is not None
        try:
            with httpx.Client(base_url=url, **CLIENT) as http:
                until(lambda: process.poll() is None and answers(http), 40)
            yield url, said
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def password_in(text: str) -> str:
    found = re.search(r"Password: (\S+)", text)
    assert found is not None, text
    return found[1]


def signs_in(url: str, password: str) -> bool:
    body = {"username": "admin", "password": password}
    return httpx.post(f"{url}/v1/tokens", json=body, **CLIENT).status_code == 201


@WORKERS
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_on_a_taken_port_nothing_is_made_and_one_line_names_the_port(
    tmp_path: Path, workers: int, host: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = serve(tmp_path, "--host", host, "--port", str(port), "--workers", str(workers))
    assert done == Said(
        1,
        "",
        f"caveats-service: port {port} of {host} is taken (address already in use): "
        "choose another with --port or CAVEATS_PORT\n",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("192.0.2.1", "192.0.2.1 is no address of this machine"),
        ("no-such-host.invalid", "no-such-host.invalid is no address of this machine, and no known name"),
        ("2001:db8::1", "2001:db8::1 is no address of this machine"),
    ],
)
@WORKERS
def test_an_address_that_this_machine_has_not_is_named_and_nothing_is_made(
    tmp_path: Path, workers: int, host: str, words: str
) -> None:
    done = serve(tmp_path, "--host", host, "--port", "0", "--workers", str(workers))
    assert (done.code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"caveats-service: {words}")
    assert line.endswith("--host or CAVEATS_HOST")
    assert list(tmp_path.iterdir()) == []


@WORKERS
def test_the_start_after_one_on_a_taken_port_shows_the_password(tmp_path: Path, workers: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        serve(tmp_path, "--port", str(taken.getsockname()[1]), "--workers", str(workers))
    shown = tmp_path / "stdout"
    with serving(tmp_path, f"> {shown}", "--workers", str(workers)) as (url, _):
        until(lambda: "Password: " in shown.read_text(), 20)
        address, admin, _, change = shown.read_text().splitlines()
        assert address.startswith(f"Caveats is serving on {url}")
        assert admin == "  Admin:    admin"
        assert change == f"  To change it: caveats passwd admin --url {url}"
        assert signs_in(url, password_in(shown.read_text()))


@WORKERS
def test_a_port_that_is_taken_while_the_service_starts_costs_no_password(
    tmp_path: Path, workers: int
) -> None:
    """Both had bound the port, which neither listened on: the one that lost has made no administrator."""
    first, second = tmp_path / "first", tmp_path / "second"
    port = str(free_port())
    started = []
    for folder in (first, second):
        folder.mkdir()
        command = [PROGRAMS / "caveats-service", "serve", "--port", port, "--workers", str(workers)]
        started.append(
            subprocess.Popen(
                command, env=variables(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    try:
        until(lambda: any(one.poll() is not None for one in started), 40)
        lost = next(one for one in started if one.poll() is not None)
        out, err = lost.communicate(timeout=30)
        assert (lost.returncode, out) == (1, "")
        assert "is taken" in err.splitlines()[-1]
    finally:
        for one in started:
            one.kill()
            one.communicate()
    folder = (first, second)[started.index(lost)]
    shown = folder / "stdout"
    with serving(folder, f"> {shown}") as (url, _):
        until(lambda: "Password: " in shown.read_text(), 20)
        assert signs_in(url, password_in(shown.read_text()))


@WORKERS
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
def test_a_start_that_is_told_to_end_shows_the_administrator_that_it_has_made(
    tmp_path: Path, workers: int, number: signal.Signals
) -> None:
    starting = subprocess.Popen(
        [PROGRAMS / "caveats-service", "serve", "--port", "0", "--workers", str(workers)],
        env=variables(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until((tmp_path / "data" / "seal.key").exists, 20)  # before there is an administrator
        starting.send_signal(number)
        said, errors = starting.communicate(timeout=30)
    finally:
        starting.kill()
        starting.wait()
    assert starting.returncode == 0, errors
    listed = piped("caveats-service", "users", "list", "--json", env=variables(tmp_path))
    made = listed.code == 0 and json.loads(listed.stdout) != []
    assert ("Password: " in said) is made, said
    assert made or workers == 1


@WORKERS
@pytest.mark.parametrize("redirection", [">&-", "> /dev/full", "> gone"], ids=["closed", "full", "gone"])
def test_a_password_that_standard_output_does_not_take_is_on_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, redirection: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("gone")
    reader = os.open("gone", os.O_RDONLY | os.O_NONBLOCK)  # it is there for the shell to open, and then gone
    leaving = threading.Timer(0.2, os.close, [reader])
    leaving.start()
    with serving(tmp_path, redirection, "--workers", str(workers)) as (url, errors):
        until(lambda: "Password: " in errors.read_text(), 20)
        said = errors.read_text()
        assert signs_in(url, password_in(said))
        assert "Traceback" not in said
        assert [line for line in said.splitlines() if password_in(said) in line] == [
            f"  Password: {password_in(said)}   (shown this once)"
        ]
    leaving.join()
