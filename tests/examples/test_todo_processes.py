"""`make todo` as a whole: two processes behind one address that agree, a script beside the browser, and one Ctrl-C for all of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ADA = {"address": "ada@example.org", "password": "correct horse battery staple"}


@dataclass
class Todo:
    """What `make todo` has started."""

    running: subprocess.Popen[str]
    url: str
    service: str
    folder: Path

    def ask(self, method: str, path: str, **more: object) -> httpx.Response:
        """On a connection of its own, so that either process may get it."""
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as http:
            return http.request(method, path, **more)  # type: ignore[arg-type]

    def from_all(self, ask: Callable[[], httpx.Response]) -> dict[str, httpx.Response]:
        """An answer of each process, the last one."""
        answers: dict[str, httpx.Response] = {}
        until = time.monotonic() + 60
        while len(answers) < 2:
            assert time.monotonic() < until, answers
            answer = ask()
            answers[answer.headers["served-by"]] = answer
        return answers


def start(examples: Path, folder: Path) -> Todo:
    command = [sys.executable, str(examples / "todo" / "run.py"), "--port", "0", "--service-port", "0"]
    running = subprocess.Popen(
        [*command, "--data", str(folder)],
        env={name: value for name, value in os.environ.items() if not name.startswith("CAVEATS_")},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert running.stdout is not None
    said: list[str] = []
    while not said or "--audience todo" not in said[-1]:
        said.append(running.stdout.readline())
        assert said[-1], said
    url, service = (line.partition("http://")[2].split()[0].rstrip(",") for line in said[1:3])
    return Todo(running, f"http://{url}", f"http://{service}", folder)


def interrupt(todo: Todo) -> int:
    """Ctrl-C, which every process of the terminal gets."""
    if todo.running.poll() is None:
        os.killpg(todo.running.pid, signal.SIGINT)
    code = todo.running.wait(60)
    assert todo.running.stdout is not None
    todo.running.stdout.close()
    return code


@pytest.fixture(scope="module")
def todo(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Todo]:
    started = start(examples, tmp_path_factory.mktemp("todo"))
    yield started
    interrupt(started)


def signed_in(todo: Todo, path: str) -> dict[str, str]:
    """The headers of a browser that ada has signed in with."""
    answer = todo.ask("POST", path, json=ADA)
    assert answer.is_success, answer.text
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0], "Origin": todo.url}


@pytest.fixture(scope="module")
def cookie(todo: Todo) -> dict[str, str]:
    return signed_in(todo, "/api/accounts")


def test_either_process_serves_a_session_that_neither_keeps(todo: Todo, cookie: dict[str, str]) -> None:
    written = todo.from_all(lambda: todo.ask("POST", "/api/items", json={"text": "x"}, headers=cookie))
    assert {answer.status_code for answer in written.values()} == {201}
    read = todo.from_all(lambda: todo.ask("GET", "/api/items", headers=cookie))
    assert len({answer.text for answer in read.values()}) == 1
    assert read.keys() == written.keys()


def test_a_script_signs_in_at_the_service_and_sends_bearer_to_the_same_endpoints(
    todo: Todo, cookie: dict[str, str], tmp_path: Path
) -> None:
    login = (
        "login",
        ADA["address"],
        "--url",
        todo.service,
        "--audience",
        "todo",
        "--print",
        "--password-stdin",
    )
    done = subprocess.run(
        [Path(sys.executable).with_name("caveats"), *login],
        input=ADA["password"],
        env={**os.environ, "CAVEATS_CONFIG_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    headers = {"Authorization": f"Bearer {done.stdout.strip()}"}
    assert todo.ask("POST", "/api/items", json={"text": "nightly"}, headers=headers).status_code == 201
    assert "nightly" in todo.ask("GET", "/api/items", headers=cookie).text


def test_what_is_signed_out_at_one_process_is_refused_by_both_within_a_second(
    todo: Todo, cookie: dict[str, str]
) -> None:
    session = signed_in(todo, "/api/sign-in")
    todo.from_all(lambda: todo.ask("GET", "/api/items", headers=session))
    assert todo.ask("POST", "/api/sign-out", headers=session).status_code == 204
    time.sleep(1)
    refused = todo.from_all(lambda: todo.ask("GET", "/api/items", headers=session))
    assert {answer.status_code for answer in refused.values()} == {401}
    fine = todo.from_all(lambda: todo.ask("GET", "/api/items", headers=cookie))
    assert {answer.status_code for answer in fine.values()} == {200}


def test_what_is_kept_is_nobody_elses_to_read(todo: Todo) -> None:
    assert todo.folder.stat().st_mode & 0o077 == 0
    for secret in ("admin.password", "todo.verifier"):
        assert (todo.folder / secret).stat().st_mode & 0o077 == 0, secret


def test_one_interrupt_ends_all_of_it_and_the_next_start_knows_who_is_signed_in(
    examples: Path, tmp_path: Path
) -> None:
    """Neither process has kept anything about the session; the keys are fetched anew."""
    first = start(examples, tmp_path / "data")
    try:
        session = signed_in(first, "/api/accounts")
        assert first.ask("POST", "/api/items", json={"text": "kept"}, headers=session).status_code == 201
    finally:
        code = interrupt(first)
    assert code == 0
    for url in (first.url, first.service):
        address = urlsplit(url)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((str(address.hostname), int(address.port or 0))).close()
    again = start(examples, tmp_path / "data")
    try:
        answers = again.from_all(lambda: again.ask("GET", "/api/items", headers=session))
        assert {answer.status_code for answer in answers.values()} == {200}
        assert all("kept" in answer.text for answer in answers.values())
    finally:
        interrupt(again)


def test_a_port_that_is_taken_is_said_in_a_sentence(examples: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, str(examples / "todo" / "run.py"), "--port", str(taken.getsockname()[1])]
        done = subprocess.run(
            [*command, "--data", str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 2
    assert "name another: make todo ARGS=" in done.stderr
    assert "Traceback" not in done.stderr
