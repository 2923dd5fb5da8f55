"""caveats-service: serve, and what an operator does on the machine itself. Knows the store and the keys, no HTTP."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from caveats import InvalidKey, MalformedCaveat, Scope
from caveats.token import encode_base64
from caveats_service.core.clock import utc_now
from caveats_service.core.errors import BadPassword
from caveats_service.core.issuing import DEFAULT_AUDIENCE
from caveats_service.core.master_keys import MasterKeys
from caveats_service.core.passwords import PasswordHasher
from caveats_service.core.revoking import RACE
from caveats_service.core.usernames import is_username
from caveats_service.discharge.agents import read_agent_key
from caveats_service.settings import Settings, SettingsError, describe_settings
from caveats_service.storage import Agent, Group, Store, StoreError, User, restore_database
from caveats_service.storage.encryption import SealKey, SealKeyError
from caveats_service.storage.files import sync_file, temporary_beside
from caveats_service.storage.open import open_store

_T = TypeVar("_T")
_ACTOR: Final = "operator"
_FORGOTTEN: Final = "revocations made after the backup are not in it: rotate and retire keys if that matters"
_out: Final = Console(highlight=False)
_err: Final = Console(stderr=True, highlight=False)

app = typer.Typer(
    help="The Caveats service: issues, verifies and revokes capability tokens.\n\n"
    "Settings are environment variables CAVEATS_*: see `caveats-service settings`.\n\n"
    "Exit codes: 0 done, 1 it did not work, 2 wrong usage or settings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
groups_app = typer.Typer(help="Groups of users: list, set, remove; their members.", no_args_is_help=True)
agents_app = typer.Typer(help="Agents, which sign in with a key: add, list, remove.", no_args_is_help=True)
users_app = typer.Typer(help="Accounts: add, list, change, disable.", no_args_is_help=True)
keys_app = typer.Typer(
    help="Master keys: list, rotate, retire, export for an audience.", no_args_is_help=True
)
app.add_typer(users_app, name="users")
app.add_typer(groups_app, name="groups")
app.add_typer(agents_app, name="agents")
app.add_typer(keys_app, name="keys")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """The console script."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (CAVEATS_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (CAVEATS_PORT).")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that share the port.")] = 1,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the database (CAVEATS_DATA_DIR).")] = None,
) -> None:
    """Serve until stopped. The first start makes the keys and an admin, and prints the admin's password once."""
    from caveats_service.server.uvicorn import serve as run  # noqa: PLC0415  the other commands need no server

    given = {"host": host, "port": port, "data_dir": data_dir}
    settings = _settings(**{name: value for name, value in given.items() if value is not None})
    try:
        run(settings, workers)
    except (SealKeyError, StoreError, SettingsError) as error:
        _fail(str(error))


@app.command("settings")
def show_settings(*, as_json: Json = False) -> None:
    """Every setting: its variable, its default, what it means."""
    rows = describe_settings()
    if as_json:
        _print_json([asdict(row) for row in rows])
        return
    table = Table("variable", "default", "meaning", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.variable, row.default, row.meaning)
    _out.print(table)


# users


@users_app.command("add")
def add_user(
    username: str,
    *,
    admin: Annotated[bool, typer.Option("--admin", help="May administer the service.")] = False,
    scope: Annotated[str, typer.Option(help="The most that this user's tokens may have.")] = "*",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Add an account. The password is asked for, or read from standard input."""
    if not is_username(username):
        _usage("a username has 1 to 64 of a-z, 0-9 and . _ @ + -, and begins with a letter or digit")
    try:
        Scope(scope)
    except MalformedCaveat as error:
        _usage(str(error))
    password = _password(from_stdin=password_stdin)

    async def work(store: Store) -> User:
        hashed = await _hash(password)
        return await store.users.create(
            username, hashed, now=utc_now(), actor=_ACTOR, is_admin=admin, scope=scope
        )

    user = _with_store(work, create=True)
    _err.print(f"added {user.username}{' (admin)' if user.is_admin else ''}")


@users_app.command("list")
def list_users(*, as_json: Json = False) -> None:
    """All accounts."""

    async def work(store: Store) -> list[User]:
        found: list[User] = []
        while page := await store.users.list(after=found[-1].username if found else "", limit=1000):
            found += page
        return found

    rows = _with_store(work)
    if as_json:
        _print_json([_plain(row, without=("password_hash",)) for row in rows])
        return
    table = Table("username", "admin", "scope", "created", "disabled", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            row.username,
            "yes" if row.is_admin else "",
            row.scope,
            _when(row.created_at),
            _when(row.disabled_at),
        )
    _out.print(table)


@users_app.command("passwd")
def set_password(
    username: str,
    *,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Set a password. Everything that was issued to the user until now is dead."""
    password = _password(from_stdin=password_stdin)
    settings = _settings()

    async def work(store: Store) -> None:
        hashed = await _hash(password)
        now = utc_now() + RACE
        await store.users.set_password(
            username, hashed, now=now, actor=_ACTOR, revoke_until=now + settings.longest_life
        )
        await asyncio.sleep(RACE.total_seconds())  # what is issued after this is later than what was revoked

    _with_store(work)
    _err.print(f"password of {username} set; all their tokens are revoked")


@users_app.command("disable")
def disable_user(username: str) -> None:
    """Nobody signs in as this user any more, and everything issued to them is dead."""
    settings = _settings()

    async def work(store: Store) -> None:
        now = utc_now() + RACE
        await store.users.disable(username, now=now, actor=_ACTOR, revoke_until=now + settings.longest_life)
        await asyncio.sleep(RACE.total_seconds())

    _with_store(work)
    _err.print(f"{username} is disabled; all their tokens are revoked")


@users_app.command("enable")
def enable_user(username: str) -> None:
    """The user may sign in again. What was revoked stays revoked."""
    _with_store(lambda store: store.users.enable(username, now=utc_now(), actor=_ACTOR))
    _err.print(f"{username} may sign in again")


@users_app.command("admin")
def set_admin(
    username: str, *, revoke: Annotated[bool, typer.Option("--revoke", help="Take it away.")] = False
) -> None:
    """Let this user administer the service, or no longer."""
    _with_store(
        lambda store: store.users.set_admin(username, is_admin=not revoke, now=utc_now(), actor=_ACTOR)
    )
    _err.print(f"{username} is {'no longer ' if revoke else ''}an administrator")


# groups


@groups_app.command("list")
def list_groups(*, as_json: Json = False) -> None:
    """All groups and who belongs to them."""

    async def work(store: Store) -> list[Group]:
        found: list[Group] = []
        while page := await store.groups.list(after=found[-1].name if found else "", limit=1000):
            found += page
        return found

    rows = _with_store(work)
    if as_json:
        _print_json([_plain(row, without=()) for row in rows])
        return
    table = Table("group", "members", "created", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.name, " ".join(row.members), _when(row.created_at))
    _out.print(table)


@groups_app.command("set")
def set_group(name: str, members: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Make a group, or give it other members: these and no others."""
    if not is_username(name):
        _usage("a group's name has 1 to 64 of a-z, 0-9 and . _ @ + -, and begins with a letter or digit")
    group = _with_store(lambda store: store.groups.put(name, members or [], now=utc_now(), actor=_ACTOR))
    _say_members(group)


@groups_app.command("add")
def add_member(name: str, username: str) -> None:
    """Let this user belong to the group."""
    _say_members(
        _with_store(lambda store: store.groups.add_member(name, username, now=utc_now(), actor=_ACTOR))
    )


@groups_app.command("remove")
def remove_member(name: str, username: str) -> None:
    """This user does not belong to the group any more."""
    _say_members(
        _with_store(lambda store: store.groups.remove_member(name, username, now=utc_now(), actor=_ACTOR))
    )


@groups_app.command("delete")
def delete_group(name: str) -> None:
    """The group is gone: nobody belongs to it."""
    _with_store(lambda store: store.groups.delete(name, now=utc_now(), actor=_ACTOR))
    _err.print(f"{name} is gone")


def _say_members(group: Group) -> None:
    _err.print(f"{group.name}: {' '.join(group.members) or 'nobody'}")


# agents


@agents_app.command("add")
def add_agent(
    username: str,
    public_key: str,
    *,
    name: Annotated[str, typer.Option(help="What it is, for people.")] = "",
) -> None:
    """Let whoever has this key (X25519, base64) speak for the user."""
    try:
        key = read_agent_key(public_key)
    except InvalidKey:
        _usage("a public key is 32 bytes in base64")
    agent = _with_store(
        lambda store: store.agents.add(
            username=username, public_key=key, name=name, now=utc_now(), actor=_ACTOR
        )
    )
    _err.print(f"added {agent.agent_id}")


@agents_app.command("list")
def list_agents(*, as_json: Json = False) -> None:
    """All agents and whom they speak for."""

    async def work(store: Store) -> list[Agent]:
        found: list[Agent] = []
        while page := await store.agents.list(after=found[-1].agent_id if found else "", limit=1000):
            found += page
        return found

    rows = _with_store(work)
    if as_json:
        plain = [_plain(row, without=("public_key",)) for row in rows]
        _print_json(
            [
                {**one, "public_key": encode_base64(row.public_key)}
                for one, row in zip(plain, rows, strict=True)
            ]
        )
        return
    table = Table("id", "user", "name", "created", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.agent_id, row.username, row.name, _when(row.created_at))
    _out.print(table)


@agents_app.command("remove")
def remove_agent(agent_id: str) -> None:
    """This key speaks for nobody any more."""
    _with_store(lambda store: store.agents.remove(agent_id, now=utc_now(), actor=_ACTOR))
    _err.print(f"{agent_id} is removed")


# keys


@keys_app.command("list")
def list_keys(*, as_json: Json = False) -> None:
    """All master keys and what each may do."""
    rows = _with_masters(lambda masters: _value(masters.rows))
    if as_json:
        _print_json([_plain(row, without=("sealed", "row_id")) for row in rows])
        return
    table = Table(
        "id", "state", "created", "active since", "can retire after", "retired", box=None, pad_edge=False
    )
    for row in rows:
        table.add_row(
            row.key_id,
            row.state.value,
            _when(row.created_at),
            _when(row.activated_at),
            _when(row.retire_after),
            _when(row.retired_at),
        )
    _out.print(table)


@keys_app.command("rotate")
def rotate_keys(
    *, now: Annotated[bool, typer.Option("--now", help="Issue under it at once; do not wait.")] = False
) -> None:
    """Publish a new key. It issues once everybody has had time to get it, or at once with --now."""

    async def work(masters: MasterKeys) -> str:
        row = await masters.publish(actor=_ACTOR)
        if now:
            row = await masters.activate(row.key_id, actor=_ACTOR)
        return f"{row.key_id} is {row.state.value}"

    _err.print(_with_masters(work))


@keys_app.command("retire")
def retire_key(
    key_id: str,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also while tokens under it may be alive: they die.")
    ] = False,
) -> None:
    """Destroy a key that issues no more."""
    _with_masters(lambda masters: masters.retire(key_id, force=force, actor=_ACTOR))
    _err.print(f"{key_id} is retired")


@keys_app.command("export")
def export_keys(
    audience: Annotated[str, typer.Option(help="The app, or group of apps, that will verify.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file, 0600.")] = None,
) -> None:
    """The keys of one audience, for an app that verifies locally. Whoever has them can mint for that audience."""

    async def work(masters: MasterKeys) -> dict[str, object]:
        return masters.keyring.export(audience).to_json()

    text = json.dumps(_with_masters(work), indent=2) + "\n"
    if audience == DEFAULT_AUDIENCE:
        _err.print(
            f"careful: {audience} is the audience of this service itself. Whoever has these keys can mint tokens "
            "that administer it; give your apps audiences of their own"
        )
    if output is None:
        sys.stdout.write(text)
        return
    try:
        with temporary_beside(output) as temporary:
            temporary.write_text(text)
            sync_file(temporary)
            temporary.rename(output)
    except OSError as error:
        _fail(f"{output}: {error.strerror}")
    _err.print(f"wrote the keys of audience {audience} to {output}; keep that file secret")


# backup, restore


@app.command()
def backup(target: Path) -> None:
    """Copy the database while the service runs. Keep the seal key too: without it the copy's keys stay shut."""
    with Progress(console=_err, transient=True, disable=not _err.is_terminal) as progress:
        task = progress.add_task("copying", total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        _with_store(lambda store: store.backup(target, progress=report))
    _err.print(f"backed up to {target}; the seal key ({_settings().seal_key_path}) is not in it")


@app.command()
def restore(
    source: Path,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also over a database, which is kept aside.")
    ] = False,
) -> None:
    """Put a backup in place, the service being stopped. All who follow revocations load them anew."""
    settings = _settings()
    if not settings.on_sqlite:
        _fail(
            "this database is PostgreSQL: restore it with its own tools, then run `caveats-service restored`"
        )
    settings.sqlite_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        done = restore_database(source, settings.sqlite_path, now=utc_now(), actor=_ACTOR, force=force)
    except StoreError as error:
        _fail(str(error))
    aside = f"; the one before is kept as {done.set_aside}" if done.set_aside else ""
    _err.print(f"restored; the revocation epoch is now {done.epoch}{aside}")
    _err.print(_FORGOTTEN)


@app.command()
def restored() -> None:
    """Say that the database was put back by other means, such as pg_restore or a copy of its files.

    All who follow revocations load them anew: they may know some that are no longer in the database, and would
    miss others. Run it before the first node starts; where nodes run already, they notice.
    """
    epoch = _with_store(lambda store: store.revocations.bump_epoch(now=utc_now(), actor=_ACTOR))
    _err.print(f"the revocation epoch is now {epoch}")
    _err.print(_FORGOTTEN)


@app.command("audit")
def show_audit(
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many entries.")] = 100,
    before: Annotated[
        int | None, typer.Option(min=1, help="Older ones than this id, the last of those shown.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Who changed what, the newest first: accounts, groups, keys, labelled tokens, revocations, decisions."""
    rows = _with_store(lambda store: store.audit.list(before=before, limit=limit))
    if as_json:
        _print_json([_plain(row, without=()) for row in rows])
        return
    table = Table("id", "at", "who", "did", "to", "more", box=None, pad_edge=False)
    for row in rows:
        more = " ".join(f"{name}={value}" for name, value in row.detail.items() if value is not None)
        cells = (row.actor, row.action, row.subject, more)
        table.add_row(str(row.id), _when(row.at), *map(escape, cells))
    _out.print(table)


# how commands reach the store


def _settings(**overrides: Any) -> Settings:
    try:
        return Settings.load(**overrides)
    except SettingsError as error:
        _usage(str(error))


def _with_store(work: Callable[[Store], Awaitable[_T]], *, create: bool = False) -> _T:
    return _opened(lambda store, _seal_key: work(store), create=create)


def _with_masters(work: Callable[[MasterKeys], Awaitable[_T]]) -> _T:
    settings = _settings()

    async def with_keys(store: Store, seal_key: SealKey) -> _T:
        masters = MasterKeys(store, seal_key, settings, now=utc_now, changed=lambda _keyring: None)
        await masters.start()
        return await work(masters)

    return _opened(with_keys, create=False)


def _opened(work: Callable[[Store, SealKey], Awaitable[_T]], *, create: bool) -> _T:
    settings = _settings()

    async def run() -> _T:
        store, seal_key = await open_store(settings, create=create)
        try:
            return await work(store, seal_key)
        finally:
            await store.close()

    return _run(run())


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    try:
        return asyncio.run(work)
    except (StoreError, SealKeyError, SettingsError, BadPassword, InvalidKey) as error:
        _fail(str(error))


async def _hash(password: str) -> str:
    hasher = PasswordHasher(workers=1)
    try:
        return await hasher.hash(password)
    finally:
        hasher.close()


async def _value(value: _T) -> _T:
    return value


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    text: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return text


def _plain(row: Any, without: tuple[str, ...]) -> dict[str, object]:
    assert is_dataclass(row)
    members = {name: value for name, value in asdict(row).items() if name not in without}  # type: ignore[arg-type]
    return {name: _json_value(value) for name, value in members.items()}


def _json_value(value: object) -> object:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    return value.value if isinstance(value, Enum) else value


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _when(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _fail(message: str) -> NoReturn:
    _err.print(f"caveats-service: {message}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(1)


def _usage(message: str) -> NoReturn:
    _err.print(f"caveats-service: {message}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(2)
