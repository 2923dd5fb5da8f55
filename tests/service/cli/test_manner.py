"""`caveats-service` has the manner of `caveats`: one line an error, exit codes that its help lists, JSON for programs, no boxes.

The programs are the installed ones, in pipes, on terminals of 60 and 200 columns, and in an environment that is empty but for
the place of the data.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import click
import pytest

from caveats_service.cli.app import app
from caveats_service.cli.exit_codes import CliError
from caveats_service.cli.failures import report
from caveats_service.core.errors import ServiceError
from caveats_service.settings import SettingsError
from caveats_service.storage import StoreError
from caveats_service.storage.encryption import SealKeyError
from tests.support.programs import PROGRAMS, WIDTHS, Said, empty, on_terminal, piped
from tests.support.service import ADMIN_PASSWORD, cli, serving
from tests.support.store import new_place

ROOT = Path(__file__).parents[3]
BOXES = re.compile("[\u2500-\u257f]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with some accounts and two keys."""
    made = tmp_path_factory.mktemp("manner")
    with serving(made):
        pass
    cli(made, "keys", "rotate", "--now")
    return made


def service(folder: Path, *arguments: str, stdin: str | None = "", **variables: str) -> Said:
    env = empty(folder, CAVEATS_DATA_DIR=str(folder / "data"), **variables)
    return piped("caveats-service", *arguments, env=env, stdin=stdin, folder=folder)


def at_terminal(
    folder: Path, *arguments: str, columns: int = 80, answers: tuple[tuple[str, str], ...] = ()
) -> Said:
    env = empty(folder, CAVEATS_DATA_DIR=str(folder / "data"))
    return on_terminal(
        "caveats-service", *arguments, env=env, columns=columns, answers=answers, folder=folder
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "lists"),
    [
        (["users", "disable", "nobody"], "users list"),
        (["groups", "add", "nobody", "admin"], "groups list"),
        (["agents", "remove", "nobody"], "agents list"),
        (["clients", "remove", "nobody"], "clients list"),
        (["keys", "retire", "k9"], "keys list"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.split()[0],
)
def test_who_names_what_is_not_there_is_told_where_it_is_seen(
    folder: Path, arguments: list[str], lists: str
) -> None:
    said = service(folder, *arguments)
    assert said.code == 1
    assert re.fullmatch(
        rf"caveats-service: there is no \w+ (nobody|k9): see `caveats-service {lists}`\n", said.stderr
    )
    assert service(folder, *lists.split()).code == 0


def test_an_audience_that_is_none_is_wrong_usage(folder: Path) -> None:
    said = service(folder, "keys", "export", "--audience", "Not Good")
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr.startswith("caveats-service: an audience reads a-z")


# Exit codes

LISTED = re.compile(r"^ +(\d+)  \S", re.MULTILINE)
IN_DOCS = re.compile(r"^\| (\d+) \|", re.MULTILINE)

FAILURES = {
    "no command": ([], 2),
    "no such command": (["frobnicate"], 2),
    "no such command of a group": (["users", "frobnicate"], 2),
    "no such option": (["users", "list", "--nonsense"], 2),
    "no argument": (["backup"], 2),
    "too many arguments": (["users", "list", "x"], 2),
    "no number": (["serve", "--port", "x"], 2),
    "no port": (["serve", "--port", "99999"], 2),
    "no workers": (["serve", "--workers", "0"], 2),
    "no shell": (["completion", "tcsh"], 2),
    "a bad name": (["users", "add", "BAD NAME", "--password-stdin"], 2),
    "no password": (["users", "add", "someone", "--password-stdin"], 2),
    "no terminal": (["users", "add", "someone"], 2),
    "no key": (["agents", "add", "admin", "x"], 2),
    "no such user": (["users", "disable", "nobody"], 1),
    "no such group": (["groups", "delete", "nobody"], 1),
    "no such agent": (["agents", "remove", "nobody"], 1),
    "no such key": (["keys", "retire", "k99"], 1),
    "a key in use": (["keys", "retire", "k1"], 1),
    "an audience that is none": (["keys", "export", "--audience", "Photos"], 2),
    "a folder that is none": (["keys", "export", "--audience", "photos", "-o", "/proc/nowhere"], 1),
    "a backup that is none": (["restore", "/nowhere"], 1),
    "a backup to nowhere": (["backup", "/proc/nowhere/b"], 1),
    "no such row": (["damage", "remove", "users", "99"], 1),
    "no such table": (["damage", "remove", "nothing", "99"], 1),
}
"""What is typed, and its exit code."""


@pytest.mark.parametrize(("arguments", "code"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_one_line_and_an_exit_code_that_help_and_docs_list(
    folder: Path, arguments: list[str], code: int
) -> None:
    done = cli(folder, *arguments, expect=code)
    listed = {
        int(number) for number in LISTED.findall(cli(folder, "--help").stdout.partition("Exit codes:")[2])
    }
    table = (ROOT / "docs" / "operations.md").read_text("utf-8").partition("## Exit codes")[2]
    assert (
        listed == {0, 1, 2, 130} == {int(number) for number in IN_DOCS.findall(table.partition("\n## ")[0])}
    )
    assert code in listed
    if not arguments:  # the help
        return
    first, *more = done.stderr.splitlines()
    assert first.startswith("caveats-service: ")
    assert [line.partition(" ")[0] for line in more] in ([], ["try:"])
    assert "Traceback" not in done.stderr
    assert BOXES.search(done.stderr) is None


@pytest.mark.parametrize(
    "arguments",
    [
        *(["users", "list"], ["groups", "list"], ["agents", "list"], ["keys", "list"]),
        *(["damage", "list"], ["audit"]),
    ],
    ids=" ".join,
)
def test_with_json_an_error_is_json_and_its_exit_code_the_same(tmp_path: Path, arguments: list[str]) -> None:
    for more, code, name in (([], 1, "no_database"), (["--nonsense"], 2, "usage")):
        told = cli(tmp_path, *arguments, *more, "--json", expect=code)
        assert told.stdout == ""
        (line,) = told.stderr.splitlines()
        error = json.loads(line)
        assert (error["code"], error["exit_code"]) == (name, code)
        assert f"caveats-service: {error['detail']}\n" in cli(tmp_path, *arguments, *more, expect=code).stderr


def with_json(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from with_json(command, *path, name)
        elif any("--json" in parameter.opts for parameter in command.load().params):  # type: ignore[attr-defined]
            yield (*path, name)


@pytest.mark.parametrize("path", list(with_json(app)), ids=" ".join)
def test_each_command_that_prints_json_prints_wrong_usage_as_json(
    folder: Path, path: tuple[str, ...]
) -> None:
    told = cli(folder, *path, "--json", "--nonsense", expect=2)
    (line,) = told.stderr.splitlines()
    assert (told.stdout, json.loads(line)["code"]) == ("", "usage")


def kinds(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


ERRORS = [
    *(kind for base in (ServiceError, StoreError, SealKeyError, SettingsError) for kind in kinds(base)),
    *(click.ClickException, click.UsageError, click.FileError, click.Abort, OSError, RuntimeError),
]


@pytest.mark.parametrize("kind", dict.fromkeys(ERRORS), ids=lambda kind: kind.__name__)
def test_an_error_of_every_kind_ends_with_a_code_of_the_list_and_as_json_with_the_same(
    kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    error = kind("what") if issubclass(kind, click.ClickException) else kind.__new__(kind, "what")
    if issubclass(kind, ServiceError | StoreError | SealKeyError | SettingsError):
        error = CliError.of(error)
    code = report(error)
    plain = capsys.readouterr().err
    assert code in (1, 2, 130)
    assert report(error, as_json=True) == code
    told = capsys.readouterr()
    assert told.out == ""
    if kind is click.Abort:
        assert plain == told.err == ""
        return
    members = json.loads(told.err)
    assert members["exit_code"] == code
    assert re.fullmatch("[a-z_]+", members["code"])
    assert plain.startswith(f"caveats-service: {members['detail']}")


def test_a_wrong_setting_is_json_with_json(folder: Path) -> None:
    told = cli(folder, "users", "list", "--json", expect=2, MAX_LIFETIME="forever")
    error = json.loads(told.stderr)
    assert (error["code"], error["exit_code"]) == ("usage", 2)
    assert "CAVEATS_MAX_LIFETIME" in error["detail"]


def test_a_token_that_was_pasted_as_an_argument_is_in_no_error(folder: Path) -> None:
    token = "cav1_" + "A" * 60
    for more in ([], ["--json"]):
        assert token not in cli(folder, "users", "list", token, *more, expect=2).stderr


# The installed program


@pytest.mark.slow
def test_version_help_and_completion_are_those_of_caveats(tmp_path: Path) -> None:
    for program in ("caveats", "caveats-service"):
        env = empty(tmp_path)
        assert piped(program, "--version", env=env) == Said(0, f"{program} {version('caveats')}\n")
        assert piped(program, "-h", env=env) == piped(program, "--help", env=env)
        assert "Exit codes:\n" in piped(program, "-h", env=env).stdout
        for shell in ("bash", "zsh", "fish"):
            assert piped(program, "completion", shell, env=env).stdout
        wrong = piped(program, "--nonsense", env=env)
        assert wrong == Said(2, "", f"{program}: No such option '--nonsense'.\ntry: {program} --help\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["settings"], ["users", "list"], ["keys", "list"], ["audit"]], ids=" ".join
)
def test_a_table_is_whole_in_a_pipe_and_on_every_terminal(folder: Path, arguments: list[str]) -> None:
    """Lines are not cut at 80 columns in a pipe; where a terminal is narrow, no cell is lost."""
    wide = service(folder, *arguments).stdout
    records = wide.splitlines()[1:]
    cells = {cell for record in records for cell in re.split(" {2,}", record) if cell}
    assert records
    for columns in WIDTHS:
        shown = at_terminal(folder, *arguments, columns=columns)
        assert shown.code == 0
        plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.stdout)
        assert BOXES.search(plain) is None
        assert max(map(len, plain.splitlines())) <= columns
        words = " ".join(plain.split())
        assert all(" ".join(cell.split()) in words for cell in cells if len(cell) < columns // 3)
        if arguments != ["settings"] or columns == 200:
            assert len(plain.strip().splitlines()) >= len(records)


@pytest.mark.slow
def test_a_key_that_is_in_use_is_retired_only_by_force_or_after_a_yes(tmp_path: Path) -> None:
    with serving(tmp_path):
        pass
    cli(tmp_path, "keys", "rotate", "--now")
    piped_refusal = service(tmp_path, "keys", "retire", "k1")
    assert piped_refusal.code == 1
    assert "may be alive until" in piped_refusal.stderr
    assert "--force" in piped_refusal.stderr
    no = at_terminal(tmp_path, "keys", "retire", "k1", answers=(("[y/N]", "n\n"),))
    assert no.code == 1
    assert "--force" in no.stdout
    assert "k1 is retired" not in no.stdout
    yes = at_terminal(tmp_path, "keys", "retire", "k1", answers=(("[y/N]", "y\n"),))
    assert yes.code == 0
    assert "k1 is retired" in yes.stdout


@pytest.mark.slow
def test_a_database_is_replaced_only_by_force_or_after_a_yes(tmp_path: Path) -> None:
    with serving(tmp_path):
        pass
    assert service(tmp_path, "backup", "b").code == 0
    refusal = service(tmp_path, "restore", "b")
    assert refusal.code == 1
    assert "--force" in refusal.stderr
    assert at_terminal(tmp_path, "restore", "b", answers=(("[y/N]", "\n"),)).code == 1
    yes = at_terminal(tmp_path, "restore", "b", answers=(("[y/N]", "y\n"),))
    assert (yes.code, "restored; the revocation epoch" in yes.stdout) == (0, True)


@pytest.mark.slow
def test_a_password_is_typed_twice_at_a_terminal_and_not_shown(folder: Path) -> None:
    typed = (("Password", "a good password\n"), ("Repeat", "a good password\n"))
    done = at_terminal(folder, "users", "add", "typist", answers=typed)
    assert (done.code, "added typist" in done.stdout) == (0, True)
    assert "a good password" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("stdin", ["", None], ids=["pipe", "null"])
def test_without_a_terminal_the_prompt_says_how_to_give_the_password(folder: Path, stdin: str | None) -> None:
    for arguments in (["users", "add", "x"], ["users", "passwd", "admin"]):
        done = service(folder, *arguments, stdin=stdin)
        assert (done.code, done.stdout) == (2, "")
        assert "--password-stdin" in done.stderr
    assert ADMIN_PASSWORD not in service(folder, "users", "list", "--json").stdout


# PostgreSQL that is away


AWAY = pytest.mark.parametrize(
    ("url", "host", "reason"),
    [
        ("postgresql://alice:hunter2@127.0.0.1:1/caveats", "127.0.0.1:1", "connection refused"),
        ("postgresql://alice:hunter2@localhost:1/caveats", "localhost:1", "connection refused"),
        ("postgresql://alice:hunter2@no-such-host.invalid/caveats", "no-such-host.invalid", "looked up"),
        ("postgresql://alice:hunter2@127.0.0.1:1,127.0.0.1:2/caveats", "127.0.0.1:1,127.0.0.1:2", "refused"),
        ("postgresql:///caveats?host=/nowhere&password=hunter2", "/nowhere", "no such file"),
    ],
)


@AWAY
@pytest.mark.parametrize("arguments", [["users", "list"], ["migrate"]], ids=" ".join)
def test_a_postgresql_that_is_away_is_named_with_the_variable_and_without_the_password(
    folder: Path, url: str, host: str, reason: str, arguments: list[str]
) -> None:
    _is_named(cli(folder, *arguments, expect=1, DATABASE_URL=url).stderr, host, reason)
    told = json.loads(cli(folder, "users", "list", "--json", expect=1, DATABASE_URL=url).stderr)
    assert told["code"] == "store_unavailable"


@AWAY
@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_start_without_its_postgresql_says_so_in_one_line(
    tmp_path: Path, url: str, host: str, reason: str, workers: str
) -> None:
    done = service(tmp_path, "serve", "--port", "0", "--workers", workers, CAVEATS_DATABASE_URL=url)
    assert (done.code, done.stdout) == (1, "")
    _is_named(done.stderr, host, reason)


@pytest.mark.slow
async def test_a_postgresql_that_refuses_is_named_with_what_it_said(tmp_path: Path) -> None:
    async with new_place("postgresql", tmp_path) as place:
        wrong = urlunsplit(urlsplit(place.url)._replace(path="/no_such_database"))
        done = await asyncio.to_thread(service, tmp_path, "users", "list", CAVEATS_DATABASE_URL=wrong)
    host = urlsplit(wrong).netloc.rpartition("@")[2]
    assert done == Said(
        1,
        "",
        f"caveats-service: PostgreSQL at {host} refuses the connection: "
        'database "no_such_database" does not exist; is CAVEATS_DATABASE_URL right, and does the server run?\n',
    )


def _is_named(said: str, host: str, reason: str) -> None:
    (line,) = said.splitlines()
    assert line.startswith(f"caveats-service: PostgreSQL at {host} cannot be reached: ")
    assert reason in line
    assert "CAVEATS_DATABASE_URL" in line
    assert not any(word in line for word in ("hunter2", "Errno", "Traceback"))


def test_the_console_scripts_are_those_that_are_tested() -> None:
    assert (PROGRAMS / "caveats-service").is_file()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_data_folder_that_is_none_and_a_database_that_is_none_are_named_by_their_path(
    tmp_path: Path, kind: str
) -> None:
    if kind == "file":
        (tmp_path / "data").touch()
    else:
        (tmp_path / "data" / "caveats.db").mkdir(parents=True)
    (line,) = cli(tmp_path, "users", "list", expect=1).stderr.splitlines()
    assert line.startswith(f"caveats-service: {tmp_path / 'data' / 'caveats.db'}")
    assert "Error" not in line
    assert "Errno" not in line
