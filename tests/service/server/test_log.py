"""What is done does not depend on the log: nothing raises, and background work that has ended is seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import structlog

from caveats_service.core import log
from caveats_service.storage import StoreUnavailable
from tests.support.service import (
    ADMIN_PASSWORD,
    CLIENT,
    COMMAND,
    Service,
    basic,
    bearer,
    environment,
    execute,
    free_port,
    new_user,
    problem,
    until,
)


class Gone:
    """A logger whose reader is gone."""

    def msg(self, message: str) -> None:
        raise BrokenPipeError

    debug = info = warning = error = critical = log = msg


@pytest.fixture
def _gone() -> Iterator[None]:
    structlog.configure(logger_factory=lambda *_: Gone(), cache_logger_on_first_use=False)
    with pytest.raises(BrokenPipeError):
        structlog.get_logger().error("this log is gone")
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("_gone")
@pytest.mark.parametrize("write", [log.info, log.warning, log.error])
def test_an_event_that_cannot_be_written_is_lost_and_no_more(write: Callable[..., None]) -> None:
    write("something_happened", value=1)


@pytest.mark.usefixtures("_gone")
def test_an_answer_is_the_same_when_the_log_is_gone(start: Callable[..., Service]) -> None:
    service = start()
    token = new_user(service).token()

    def fails(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("disk I/O error")

    for name in ("run", "read", "write", "exclusive_write", "watch"):
        setattr(service.runtime.store, name, fails)
    with service.client() as http:
        assert problem(http.get("/v1/tokens", headers=bearer(token))) == (503, "unavailable")
        assert problem(http.get("/v1/tokens", headers=basic("x", "y"))) == (503, "unavailable")
        service.runtime.tokens.authenticate_live = lambda *_: 1 / 0  # type: ignore[method-assign, assignment, return-value]
        assert problem(http.post("/v1/tokens/renew", headers=bearer(token))) == (500, "internal")


@pytest.mark.slow
@pytest.mark.usefixtures("_gone")
def test_background_work_goes_on_when_its_failure_cannot_be_logged(start: Callable[..., Service]) -> None:
    service = start()
    token = new_user(service).token()
    read = service.runtime.store.revocations.page
    failures = 0

    async def fails(*_: Any, **__: Any) -> Any:
        nonlocal failures
        failures += 1
        raise StoreUnavailable("disk I/O error")

    service.runtime.store.revocations.page = fails  # type: ignore[method-assign, assignment]
    service.call(service.runtime.feed.keys_changed)
    until(lambda: failures > 0)
    service.runtime.store.revocations.page = read  # type: ignore[method-assign]
    head = service.runtime.feed.head
    until(lambda: service.runtime.feed.head is not head, 10)  # the feed is read again
    with service.client() as http:
        assert http.get("/readyz").status_code == 200
        assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200


@pytest.mark.parametrize("work", ["feed", "listen", "tend"])
def test_background_work_that_has_ended_shows_in_readyz_and_ends_the_process(
    start: Callable[..., Service], work: str
) -> None:
    service = start()
    ended: list[str] = []
    service.runtime.on_failure = lambda: ended.append(work)
    (task,) = [one for one in service.runtime._tasks if one.get_name() == work]
    with service.client() as http:
        assert http.get("/readyz").status_code == 200
        service.call(task.cancel)  # as an awaited task that was cancelled would
        until(lambda: bool(ended))
        answer = http.get("/readyz")
        assert problem(answer) == (503, "unavailable")
        assert work in answer.json()["detail"]
        assert http.get("/healthz").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_outlives_the_reader_of_its_log(tmp_path: Path, workers: int) -> None:
    """Its standard error is a pipe that nobody reads: a logged 500 is its problem still, and revocations are still heard of."""
    port = free_port()
    reader, writer = os.pipe()
    given = environment(tmp_path, PORT=str(port), OPEN_REGISTRATION="true")
    popen = subprocess.Popen(
        [*COMMAND, "serve", "--workers", str(workers)], env=given, stdout=subprocess.DEVNULL, stderr=writer
    )
    os.close(writer)
    os.close(reader)

    def ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz", **CLIENT).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(ready, 40)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", **CLIENT) as http:
            body = {"username": "admin", "password": ADMIN_PASSWORD}
            token = http.post("/v1/tokens", json=body).json()["token"]
            execute(tmp_path, "ALTER TABLE revocations RENAME TO away")
            for _ in range(3):
                answer = http.post("/v1/revocations", json={"presented": True}, headers=bearer(token))
                assert problem(answer) == (500, "internal")
            execute(tmp_path, "ALTER TABLE away RENAME TO revocations")
            until(
                lambda: (
                    http.post("/v1/revocations", json={"presented": True}, headers=bearer(token)).status_code
                    == 201
                ),
                10,
            )
            until(lambda: http.get("/v1/authorize", headers=bearer(token)).status_code == 401, 10)
            assert ready()
    finally:
        popen.terminate()
        assert popen.wait(20) is not None


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_start_whose_output_cannot_be_written_serves(tmp_path: Path, workers: int) -> None:
    """As where standard output is a file on a full disk: the place where the address and the first password go."""
    port = free_port()
    given = environment(tmp_path, PORT=str(port))
    with Path("/dev/full").open("w") as full:
        popen = subprocess.Popen(
            [*COMMAND, "serve", "--workers", str(workers)], env=given, stdout=full, stderr=subprocess.PIPE
        )

    def healthy() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/healthz", **CLIENT).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(healthy, 60)
    finally:
        popen.terminate()
        _, said = popen.communicate(timeout=30)
    assert b"standard_output_not_written" in said
    assert b"Traceback" not in said


_ENDS = """
import asyncio
from caveats_service.cli import main
from caveats_service.runtime import ServiceRuntime
async def ended(self): raise asyncio.CancelledError
ServiceRuntime._tend = ended
main()
"""


@pytest.mark.slow
def test_a_process_whose_background_work_has_ended_exits_with_an_error(tmp_path: Path) -> None:
    """With 1: a supervisor that starts what has failed takes SIGTERM for a wish."""
    done = subprocess.run(
        [sys.executable, "-c", _ENDS, "serve"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "background_work_ended" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("as_json", ["true", "false"])
def test_a_refused_sign_in_is_one_line_in_either_form(tmp_path: Path, as_json: str) -> None:
    """With the name that was tried, without the password, and without a token that stands for the name."""
    port = free_port()
    given = environment(tmp_path, PORT=str(port), LOG_JSON=as_json)
    token = "cav1_" + "A" * 80
    with subprocess.Popen(
        [*COMMAND, "serve"], env=given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as popen:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", **CLIENT) as http:
                until(lambda: _answers(http), 40)
                for name in ("admin", "nobody", "two\nlines", token):
                    for path in ("/v1/tokens", "/v1/session"):
                        body = {"username": name, "password": "hunter2 hunter2"}
                        assert http.post(path, json=body).status_code == 401
                assert http.get("/v1/tokens", headers=basic("basic", "hunter2 hunter2")).status_code == 401
        finally:
            popen.terminate()
            _, said = popen.communicate(timeout=30)
    log = said.decode()
    refused = [line for line in log.splitlines() if "sign_in_failed" in line]
    assert len(refused) == 9
    for name, times in (("admin", 2), ("nobody", 2), ("two", 2), ("cav1_", 2), ("basic", 1)):
        assert sum(name in line for line in refused) == times, name
    assert all("127.0.0.1" in line for line in refused)
    assert "hunter2" not in log
    assert "AAAA" not in log
    if as_json == "true":
        assert {json.loads(line)["event"] for line in refused} == {"sign_in_failed"}


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False
