"""A file of a SQLite database that is deleted, moved or replaced under a running service: nothing is lost in it."""

# ruff: noqa: ASYNC240  a test has its loop to itself and may block

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from caveats import UserRevocation
from caveats_service.storage import Store, StoreUnavailable, sqlite_url
from caveats_service.storage.errors import DatabaseReplaced
from tests.support.service import Service, admin_token, bearer, problem
from tests.support.store import NOW

ENDS = ("", "-wal", "-shm")


def away(path: Path) -> None:
    path.rename(f"{path}.away")


def copied_over(path: Path) -> None:
    shutil.copy(path, f"{path}.new")
    Path(f"{path}.new").rename(path)


def linked(path: Path) -> None:
    path.rename(f"{path}.away")
    path.symlink_to(f"{path}.elsewhere")


HOW = [Path.unlink, away, copied_over, linked]


async def revoke(store: Store, user: str) -> None:
    await store.revocations.revoke(UserRevocation(user, NOW, NOW), now=NOW, actor="a")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("change", HOW)
async def test_nothing_is_read_from_or_acknowledged_into_a_file_that_is_gone(
    file_store: Store, path: Path, end: str, change: Callable[[Path], None]
) -> None:
    await revoke(file_store, "before")
    change(Path(f"{path}{end}"))
    file_store._written_at = -9.0
    for work in (revoke(file_store, "after"), file_store.ping(), file_store.check_writable()):
        with pytest.raises(DatabaseReplaced, match=f"caveats.db{end} was deleted"):
            await work


@pytest.mark.parametrize("end", ENDS)
async def test_a_write_during_which_the_file_goes_is_not_acknowledged(
    file_store: Store, path: Path, end: str
) -> None:
    await revoke(file_store, "before")
    with pytest.raises(DatabaseReplaced):
        async with file_store.exclusive_write() as connection:
            await connection.exec_driver_sql("UPDATE meta SET epoch = 77")
            Path(f"{path}{end}").rename(f"{path}{end}.away")
    Path(f"{path}{end}.away").rename(f"{path}{end}")
    assert (await file_store.revocations.page(0)).epoch != 77


async def test_a_file_that_is_put_back_is_used_again(file_store: Store, path: Path) -> None:
    await revoke(file_store, "before")
    path.rename(f"{path}.away")
    with pytest.raises(StoreUnavailable):
        await revoke(file_store, "meanwhile")
    Path(f"{path}.away").rename(path)
    await revoke(file_store, "after")
    users = {getattr(record.entry, "user", "") for record in (await file_store.revocations.page(0)).records}
    assert users == {"before", "after"}


async def test_a_store_that_was_closed_opens_what_is_there_then(file_store: Store, path: Path) -> None:
    await revoke(file_store, "before")
    await file_store.close()
    shutil.copy(path, f"{path}.new")
    Path(f"{path}.new").rename(path)
    await revoke(file_store, "after")


async def test_no_connection_makes_a_file(path: Path) -> None:
    path.parent.mkdir()
    store = Store(sqlite_url(path))
    for work in (store.ping(), revoke(store, "x")):
        with pytest.raises(StoreUnavailable):
            await work
    await store.close()
    assert not path.exists()


@pytest.mark.parametrize("end", ENDS)
def test_the_service_says_so_and_is_not_ready(
    start: Callable[..., Service], end: str, capfd: pytest.CaptureFixture[str]
) -> None:
    service = start()
    token = admin_token(service)
    file = Path(f"{service.settings.sqlite_path}{end}")
    with service.client(headers=bearer(token)) as http:
        assert http.get("/readyz").status_code == 200
        file.rename(f"{file}.away")
        answer = http.get("/readyz")
        assert problem(answer) == (503, "unavailable")
        assert f"caveats.db{end} was deleted, moved or replaced" in answer.json()["detail"]
        assert problem(http.post("/v1/revocations", json={"presented": True})) == (503, "unavailable")
        Path(f"{file}.away").rename(file)
        assert http.get("/readyz").status_code == 200
        assert http.post("/v1/revocations", json={"presented": True}).status_code == 201
    assert "was deleted, moved or replaced" in capfd.readouterr().out
