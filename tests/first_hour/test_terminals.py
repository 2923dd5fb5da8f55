"""What the programs show on terminals of 60 and of 200 columns: no line is wider, no id is cut, and help is whole.

Each command that lists or shows something is run on a terminal, beside a service whose names and notes are long.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from caveats_cli.commands import DeferredCommand
from caveats_client.cli.app import app as client_app
from caveats_service.cli.app import app as service_app
from tests.support.programs import PROGRAMS, WIDTHS, Said, empty, on_terminal, piped
from tests.support.service import ADMIN_PASSWORD, PASSWORD, process

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
LONG = "maria-magdalena.hohenstaufen-weissenfels"
NOTE = "nightly build of the photos app, to be removed when the new pipeline is there"
KEY = "rIykf8xr7PFs2MlT5+5b50UsdKrWL3VAp+4sPo/5ly0="

LISTS = {
    "caveats-service users list": "username",
    "caveats-service users tokens alice": "token_id",
    "caveats-service groups list": "name",
    "caveats-service agents list": "agent_id",
    "caveats-service clients list": "client_id",
    "caveats-service keys list": "key_id",
    "caveats-service audit --limit 30": "subject",
    "caveats-service settings": "variable",
    "caveats tokens": "token_id",
    "caveats tokens --user alice --token $(cat admin.token)": "token_id",
    "caveats verifier list --token $(cat admin.token)": "verifier_id",
}
"""The commands that list records, and the member of each record that a person copies from there."""
SHOWS = [
    "caveats whoami",
    "caveats inspect $(cat narrow.token)",
    "caveats verify $(cat narrow.token) --scope photos/42:read --client-ip 10.0.0.1 --path /albums/1",
    "caveats verify $(cat narrow.token) --scope photos/43:read --client-ip 192.0.2.7",
    "caveats-service damage list",
]


@dataclass(frozen=True)
class House:
    """A person's folder, with a login in it and a service that runs beside it."""

    folder: Path

    def environment(self) -> dict[str, str]:
        return empty(
            self.folder,
            PATH=f"{PROGRAMS}:/usr/bin:/bin",
            CAVEATS_DATA_DIR=str(self.folder / "data"),
            LC_ALL="C.UTF-8",
        )

    def typed(self, line: str, columns: int | None = None) -> Said:
        command = ("bash", "-c", line)
        if columns is None:
            return piped(*command, env=self.environment(), folder=self.folder, stdin=None)
        return on_terminal(*command, env=self.environment(), columns=columns, folder=self.folder)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("terminals")
    with process(folder) as running:
        made = House(folder)
        for line in (
            *(
                f"caveats-service users add {name} --password-stdin <<< '{PASSWORD}'"
                for name in ("alice", LONG)
            ),
            f"caveats-service groups set everybody-who-may-see-photos alice {LONG}",
            f"caveats-service agents add {LONG} {KEY} --name '{NOTE}'",
            "caveats-service clients add photo-site --group everybody-who-may-see-photos --audience photos --scope 'photos:* notes:*'",
            f"caveats login alice --url {running.url} --password-stdin <<< '{PASSWORD}'",
            f"caveats login admin --scope caveats:admin --print --password-stdin <<< {shlex.quote(ADMIN_PASSWORD)} > admin.token",
            f"caveats issue --scope photos:read --note '{NOTE}'",
            "caveats issue --scope 'photos/42:read photos/43:write notes:*' --audience photos --note scanner",
            "caveats revoke $(caveats issue --note printer)",
            "caveats verifier init photos.verifier",
            f"caveats verifier register photos.verifier --audience photos --name '{NOTE}' --token $(cat admin.token)",
            f"caveats attenuate --scope photos/42:read --client-ip 10.0.0.0/8 --path '/albums/*' --note '{NOTE}' > narrow.token",
        ):
            said = made.typed(line)
            assert said.code == 0, (line, said)
        yield made


def _lines(said: Said, columns: int) -> list[str]:
    """What is on the screen, line by line; none is wider than it, and nothing in it controls a terminal."""
    lines = _STYLE.sub("", said.stdout).splitlines()
    assert not [line for line in lines if len(line) > columns], said.stdout
    assert not [line for line in lines if not line.isprintable()], said.stdout
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("command", LISTS)
def test_a_list_fits_the_terminal_and_cuts_no_id(house: House, command: str, columns: int) -> None:
    said = house.typed(command, columns)
    assert said.code == 0, said
    lines = _lines(said, columns)
    ids = [record[LISTS[command]] for record in json.loads(house.typed(f"{command} --json").stdout)]
    assert ids
    for one in ids:
        assert any(one in line.split() for line in lines), f"{one} is not whole in:\n{said.stdout}"


@pytest.mark.slow
@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("command", SHOWS)
def test_what_is_shown_fits_the_terminal(house: House, command: str, columns: int) -> None:
    said = house.typed(command, columns)
    assert said.code in (0, 4), said
    assert len(_lines(said, columns)) > 0


@pytest.mark.slow
def test_a_broken_text_of_verify_stays_in_its_column(house: House) -> None:
    lines = _lines(house.typed(SHOWS[3], 60), 60)
    assert all(line.startswith(("refused", "  holds    ", "  refuses  ", " " * 11)) for line in lines), lines


# Help


def _commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield (*path, name), command
            yield from _commands(command, (*path, name))
        else:
            assert isinstance(command, DeferredCommand)
            yield (*path, name), command.load()


COMMANDS = {
    " ".join(path): (app, path[1:], command)
    for app, name in ((client_app, "caveats"), (service_app, "caveats-service"))
    for path, command in (((name,), app), *_commands(app, (name,)))
}


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_the_terminal(name: str, columns: int) -> None:
    """But for examples, which are there to be pasted and therefore not broken."""
    app, path, _ = COMMANDS[name]
    program = name.split(maxsplit=1)[0]
    said = CliRunner().invoke(app, [*path, "--help"], prog_name=program, terminal_width=columns)
    assert said.exit_code == 0
    wide = [line for line in said.stdout.splitlines() if len(line) > columns]
    assert not [line for line in wide if not line.startswith("    ") or program not in line], wide


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_has_an_example_of_it(name: str) -> None:
    command = COMMANDS[name][2]
    if not isinstance(command, click.Group):
        assert re.search(
            rf"^ *(.* )?({re.escape(name)}|[A-Z]+=\$\({re.escape(name)})", command.help or "", re.MULTILINE
        )


EMPTY = ("groups list", "agents list", "clients list", "damage list")


@pytest.mark.slow
@pytest.mark.parametrize("command", EMPTY)
def test_an_empty_list_is_said_to_be_empty(command: str, tmp_path: Path) -> None:
    environment = empty(tmp_path, CAVEATS_DATA_DIR=str(tmp_path / "data"))
    assert piped("caveats-service", "migrate", env=environment).code == 0
    said = piped("caveats-service", *command.split(), env=environment)
    assert (said.code, said.stdout) == (0, "")
    assert re.match(r"there are no |no row is damaged", said.stderr)
    assert piped("caveats-service", *command.split(), "--json", env=environment).stdout == "[]\n"
