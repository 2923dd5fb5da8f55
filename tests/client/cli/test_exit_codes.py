"""Every exit code that an error can give is in the help's list and in the documentation, with `--json` as without."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from caveats import CaveatsError, Failure, Macaroon
from caveats_client.api.errors import ClientError, Forbidden, Unavailable
from caveats_client.cli.app import app
from caveats_client.cli.commands import DeferredCommand
from caveats_client.cli.credentials import CredentialsError
from caveats_client.cli.exit_codes import CliError, ExitCode
from caveats_client.cli.failures import report

CODES = {*range(8), 130}
Caveats = Callable[..., Result]


@pytest.fixture
def caveats() -> Caveats:
    def run(*arguments: str, **environment: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env=environment, prog_name="caveats")

    return run


def test_help_and_documentation_list_the_same_codes(caveats: Caveats) -> None:
    listed = caveats("--help").stdout.partition("Exit codes:")[2]
    assert {int(code) for code in re.findall(r"^ +(\d+)  ", listed, re.MULTILINE)} == CODES
    docs = (
        Path(__file__).parents[3].joinpath("docs", "cli.md").read_text("utf-8").partition("## Exit codes")[2]
    )
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", docs, re.MULTILINE)} == CODES


def kinds(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


ERRORS = [
    *(error for base in (ClientError, CaveatsError, CredentialsError, CliError) for error in kinds(base)),
    *(
        click.ClickException,
        click.UsageError,
        click.BadParameter,
        click.NoSuchOption,
        click.FileError,
        click.Abort,
    ),
    *(OSError, RuntimeError, AssertionError, RecursionError),
]


@pytest.mark.parametrize("kind", dict.fromkeys(ERRORS), ids=lambda kind: kind.__name__)
def test_an_error_of_every_kind_ends_with_a_code_of_the_list_and_as_json_with_the_same(
    kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    error = kind.__new__(kind, "what")
    if issubclass(kind, ClientError):
        ClientError.__init__(error, "what", code="a_code", status=400)  # type: ignore[arg-type]
    elif issubclass(kind, click.ClickException):
        error = kind("what") if kind is not click.NoSuchOption else click.NoSuchOption("--what")
    elif issubclass(kind, CliError):
        error = CliError(ExitCode.USAGE, "what")
    code = report(error)
    plain = capsys.readouterr()
    assert code in CODES - {0}
    assert plain.out == ""
    assert report(error, as_json=True) == code
    told = capsys.readouterr()
    assert told.out == ""
    if kind is click.Abort:
        assert plain.err == told.err == ""
        return
    members = json.loads(told.err)
    assert members["exit_code"] == code
    assert re.fullmatch("[a-z_]+", members["code"])
    assert plain.err.startswith(f"caveats: {members['detail']}")


def test_json_has_what_a_program_may_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    busy = Unavailable("busy", code="unavailable", status=503)
    busy.retry_after = 7
    report(busy, as_json=True)
    assert json.loads(capsys.readouterr().err) == {
        "code": "unavailable",
        "detail": "busy; try again in 7 s",
        "exit_code": 6,
        "status": 503,
        "retry_after": 7,
    }
    refused = Forbidden("not allowed", code="forbidden", status=403)
    refused.failures = (Failure(2, "scope", "scope = a:b", "holder", "needs a:c", "a:b"),)
    report(refused, as_json=True)
    (failure,) = json.loads(capsys.readouterr().err)["failures"]
    assert failure == {
        "index": 2,
        "kind": "scope",
        "predicate": "scope = a:b",
        "added_by": "holder",
        "reason": "needs a:c",
        "hint": "a:b",
    }


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    for command in group.commands.values():
        assert command.name is not None
        if isinstance(command, DeferredCommand):
            if any("--json" in parameter.opts for parameter in command.load().params):
                yield (*path, command.name)
        elif isinstance(command, click.Group):
            yield from commands(command, *path, command.name)


@pytest.mark.parametrize("path", list(commands(app)), ids=" ".join)
def test_each_command_that_prints_json_prints_wrong_usage_as_json(
    caveats: Caveats, path: tuple[str, ...]
) -> None:
    for wrong in (["--nonsense"], ["a", "b", "c", "d"]):
        done = caveats(*path, "--json", *wrong)
        assert (done.exit_code, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert json.loads(line)["code"] == "usage"


def test_after_two_dashes_json_is_an_argument_like_any_other(caveats: Caveats, token: Macaroon) -> None:
    done = caveats("inspect", token.encode(), "--", "--json")
    assert done.exit_code == 2
    assert done.stderr.startswith("caveats: ")
