"""A service is ready if it can issue, hear of revocations and revoke. The reason is for anybody, the database's words are not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from caveats_service.core.readiness import STALE_AFTER, FailingWork
from tests.support.service import ADMIN_PASSWORD, Service, admin_token, bearer, execute, problem, until

Trouble = Callable[[Service, Path], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def _pragma(service: Service, before: str, after: str) -> Iterator[None]:
    """On the connection that writes."""

    async def set_to(pragma: str) -> None:
        async with service.runtime.store._engine._writer.connect() as connection:  # type: ignore[attr-defined]
            await connection.exec_driver_sql(f"PRAGMA {pragma}")

    service.run(set_to(before))
    service.runtime.store._written_at = -9.0
    yield
    service.run(set_to(after))


@contextlib.contextmanager
def read_only(service: Service, _folder: Path) -> Iterator[None]:
    with _pragma(service, "query_only = ON", "query_only = OFF"):
        yield


@contextlib.contextmanager
def full(service: Service, _folder: Path) -> Iterator[None]:
    with _pragma(service, "max_page_count = 1", "max_page_count = 1000000"):
        yield


@contextlib.contextmanager
def without_columns(service: Service, folder: Path) -> Iterator[None]:
    execute(folder, "ALTER TABLE meta RENAME COLUMN epoch TO elsewhere")
    yield
    execute(folder, "ALTER TABLE meta RENAME COLUMN elsewhere TO epoch")


@contextlib.contextmanager
def without_feed(service: Service, folder: Path) -> Iterator[None]:
    execute(folder, "ALTER TABLE revocations RENAME TO elsewhere")
    feed = service.runtime.feed
    read_at = feed._read_at
    until(lambda: "feed" in service.runtime._failing_work._since)
    feed._read_at = read_at - STALE_AFTER
    yield
    execute(folder, "ALTER TABLE elsewhere RENAME TO revocations")


@contextlib.contextmanager
def without_rotation(service: Service, folder: Path) -> Iterator[None]:
    execute(folder, "ALTER TABLE master_keys RENAME TO elsewhere")
    since = service.runtime._failing_work._since
    until(lambda: "tend" in since)
    since["tend"] -= STALE_AFTER
    yield
    execute(folder, "ALTER TABLE elsewhere RENAME TO master_keys")


@contextlib.contextmanager
def without_active_key(service: Service, folder: Path) -> Iterator[None]:
    execute(folder, "UPDATE master_keys SET state = 'verifying'")
    service.run(service.runtime.master_keys.refresh())
    yield
    execute(folder, "UPDATE master_keys SET state = 'active'")
    service.run(service.runtime.master_keys.refresh())


@contextlib.contextmanager
def without_seal_key(service: Service, folder: Path) -> Iterator[None]:
    file = service.settings.seal_key_path
    file.rename(folder / "away")
    yield
    (folder / "away").rename(file)


TROUBLES = {
    "database_read_only": (read_only, "attempt to write a readonly database"),
    "database_full": (full, "database or disk is full"),
    "database_refuses": (without_columns, "no such column: epoch"),
    "feed_stale": (without_feed, "no such table: revocations"),
    "no_active_key": (without_active_key, ""),
    "seal_key_missing": (without_seal_key, ""),
    "background_work_fails": (without_rotation, "no such table: master_keys"),
}


@pytest.mark.parametrize(
    "reason",
    [pytest.param(name, marks=pytest.mark.slow) if "_work_" in name else name for name in TROUBLES],
)
def test_what_is_wrong_is_a_503_with_a_reason_and_ends_by_itself(
    start: Callable[..., Service], tmp_path: Path, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    trouble, said = TROUBLES[reason]
    service = start()
    with service.client() as http:
        assert http.get("/readyz").status_code == 200
        with trouble(service, tmp_path):
            for _ in range(3):
                answer = http.get("/readyz")
                assert problem(answer) == (503, "unavailable")
                assert answer.json()["reason"] == reason
                assert int(answer.headers["retry-after"]) >= 1
            if said:
                assert said not in answer.text
            assert http.get("/healthz").status_code == 200
            if reason == "no_active_key":
                asked = {"username": "admin", "password": ADMIN_PASSWORD}
                issue = http.post("/v1/tokens", json=asked)
                assert (problem(issue), issue.json()["reason"]) == ((503, "unavailable"), reason)
        until(lambda: http.get("/readyz").status_code == 200, 10)
    log = capfd.readouterr().out
    assert log.count("not_ready") == 1
    assert log.count("ready_again") == 1
    assert said in log


@pytest.mark.slow
def test_a_write_that_failed_proves_more_than_one_before_that_went_well(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    service = start()
    token = bearer(admin_token(service))
    with service.client(headers=token) as http, read_only(service, tmp_path):
        service.runtime.store._written_at = 1e9  # as if one had just gone well
        assert http.get("/readyz").status_code == 200
        assert problem(http.post("/v1/revocations", json={"presented": True})) == (503, "unavailable")
        assert http.get("/readyz").status_code == 503


@pytest.mark.slow
def test_the_log_says_what_the_database_said_to_whoever_was_refused(
    start: Callable[..., Service], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    service = start()
    with service.client(headers=bearer(admin_token(service))) as http, read_only(service, tmp_path):
        answer = http.post("/v1/revocations", json={"presented": True})
        assert "readonly" not in answer.text
    log = capfd.readouterr().out
    assert "store_unavailable" in log
    assert "DatabaseReadOnly" in log
    assert "attempt to write a readonly database" in log


def test_work_counts_as_failing_when_it_has_failed_for_long() -> None:
    at = 0.0
    work = FailingWork(lambda: at)
    assert work.for_long() is None
    work.failed("tend")
    at = STALE_AFTER - 1
    work.failed("tend")
    assert work.for_long() is None
    at = STALE_AFTER
    assert work.for_long() == "tend"
    work.went_well("tend")
    assert work.for_long() is None
