"""What the database refuses for good is no "try again later": one clear answer, and the log has what it said."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest

from caveats_service.storage import DatabaseFull, DatabaseReadOnly, Store, StoreUnavailable
from caveats_service.storage.errors import BadValue, SchemaError, StoreBroken
from tests.support.service import Service, admin_token, bearer, execute, problem, serving
from tests.support.store import NOW, PostgresPlace, new_place

SEAL_KEY = "A" * 42 + "E"
VAST = 2**70


async def test_a_number_that_no_column_holds_is_the_callers_to_mend(store: Store) -> None:
    for work in (store.revocations.page(VAST), store.audit.list(before=VAST), store.revocations.page(2**63)):
        with pytest.raises(BadValue) as refused:
            await work
        assert str(VAST) not in str(refused.value)


async def test_a_text_that_no_index_holds_is_the_callers_to_mend(store: Store, place: Any) -> None:
    if isinstance(place, PostgresPlace):
        with pytest.raises(BadValue):
            await store.users.create(secrets.token_hex(6000), "hash", now=NOW, actor="a")


SPOILT = {
    "no table": "ALTER TABLE meta RENAME TO elsewhere",
    "no column": "ALTER TABLE meta RENAME COLUMN epoch TO elsewhere",
}


@pytest.mark.parametrize("statement", SPOILT.values(), ids=SPOILT)
async def test_what_is_missing_is_missing_later_too(store: Store, place: Any, statement: str) -> None:
    await store.ping()
    await place.execute(statement)
    with pytest.raises(StoreBroken, match=r"meta|epoch"):
        await store.ping()


async def test_a_row_that_a_constraint_refuses_is_refused_later_too(store: Store, place: Any) -> None:
    await place.execute("CREATE UNIQUE INDEX few ON audit (actor)")
    await store.users.create("alice", "hash", now=NOW, actor="a")
    with pytest.raises(StoreBroken) as refused:
        await store.users.create("bob", "hash", now=NOW, actor="a")
    assert "unique" in str(refused.value).lower()
    assert "bob" not in str(refused.value)


@pytest.mark.slow
async def test_a_role_that_may_not_write_is_refused_for_good_and_the_service_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with new_place("postgresql", tmp_path) as place:
        role = f"caveats_test_{secrets.token_hex(6)}"
        url = place.url.replace("//root@", f"//{role}@")
        store = place.store()
        await store.migrate()
        await store.close()
        everything = f"ALL ON ALL TABLES IN SCHEMA public TO {role}"
        await place.execute(
            f"CREATE ROLE {role} LOGIN; GRANT {everything}; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}"
        )
        try:
            with serving(tmp_path, database_url=url, seal_key=SEAL_KEY) as service:
                token = bearer(admin_token(service))
                await place.execute(f"REVOKE {everything.replace(' TO ', ' FROM ')}")
                await place.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
                service.runtime.store._written_at = -9.0
                with service.client(headers=token) as http:
                    answer = http.post("/v1/revocations", json={"presented": True})
                    assert problem(answer) == (500, "internal")
                    assert "retry-after" not in answer.headers
                    ready = http.get("/readyz")
                    assert problem(ready) == (503, "unavailable")
                    assert ready.json()["reason"] == "database_refuses"
                    assert "permission denied" not in ready.text
                    await place.execute(f"GRANT {everything}")
                    assert http.get("/readyz").status_code == 200
            assert "permission denied for table" in capfd.readouterr().out
        finally:
            await place.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_missing_table_is_a_500_that_says_who_can_tell_more(
    service_alone: Service, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    execute(tmp_path, "ALTER TABLE agents RENAME TO elsewhere")
    with service_alone.client(headers=bearer(admin_token(service_alone))) as http:
        answer = http.get("/v1/agents")
        assert problem(answer) == (500, "internal")
        assert "the database refuses this" in answer.json()["detail"]
        assert "retry-after" not in answer.headers
        assert http.get("/readyz").status_code == 200
    assert "no such table: agents" in capfd.readouterr().out


@pytest.fixture
def service_alone(tmp_path: Path) -> Any:
    with serving(tmp_path) as service:
        yield service


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_a_postgresql_that_is_not_utf8_is_refused_by_name(tmp_path: Path, encoding: str) -> None:
    async with new_place("postgresql", tmp_path) as place:
        name = f"caveats_test_{secrets.token_hex(6)}"
        await place.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
        store = Store(f"{place.url.rpartition('/')[0]}/{name}")
        try:
            for work in (store.migrate(), store.schema()):
                with pytest.raises(SchemaError, match=f"{encoding}.*UTF8.*template0"):
                    await work
            assert not await store.exists()
        finally:
            await store.close()
            await place.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_full_disk_and_a_lock_may_be_better_later(store: Store, place: Any) -> None:
    assert issubclass(StoreBroken, StoreUnavailable)
    if isinstance(place, PostgresPlace):
        return
    async with store.write() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    store._written_at = -9.0
    with pytest.raises(StoreUnavailable, match="full") as refused:
        await store.check_writable()
    assert not isinstance(refused.value, StoreBroken)


async def test_both_databases_say_that_they_take_no_writes(store: Store, place: Any) -> None:
    if not isinstance(place, PostgresPlace):
        async with store._engine._writer.connect() as connection:  # type: ignore[attr-defined]
            await connection.exec_driver_sql("PRAGMA query_only = ON")
    else:
        name = place.url.rpartition("/")[2].partition("?")[0]
        await place.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await store.close()
    with pytest.raises(DatabaseReadOnly):
        await store.users.create("alice", "hash", now=NOW, actor="a")


async def test_a_full_disk_has_an_error_of_its_own(store: Store, place: Any) -> None:
    if isinstance(place, PostgresPlace):
        function = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'full' USING ERRCODE = '53100'; END $$"
        await place.execute(f"{function}; CREATE TRIGGER t BEFORE INSERT ON users EXECUTE FUNCTION f()")
    else:
        async with store._engine._writer.connect() as connection:  # type: ignore[attr-defined]
            await connection.exec_driver_sql("PRAGMA max_page_count = 1")
    with pytest.raises(DatabaseFull):
        await store.users.create("a" * 60, "hash" * 5000, now=NOW, actor="a")
