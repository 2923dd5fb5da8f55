"""What is shown to people: nothing is cut, whatever the width of the terminal, and what no person reads is left out."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from caveats import Macaroon, Parent
from caveats_client.cli.app import app
from caveats_client.cli.render import Records, in_short
from tests.client.conftest import Mint

CAVEATS = Path(sys.executable).parent / "caveats"
IDS = ["01KAJ5M3W8E2RZ6V8Q4T0N9XCD", "01KAJ5M3W8E2RZ6V8Q4T0N9XCE"]
COLUMNS = {"id": False, "note": True, "scopes": True, "audience": False, "expires": False, "last used": False}
ROWS = [
    [IDS[0], "for the nightly build of the printer in hall 3", "photos/42:read photos/43:*", "default", "in 8 h", "never"],
    [IDS[1], "", "*", "photos", "3 d ago", "2 min ago"],
]  # fmt: skip


def drawn(width: int, rows: list[list[str]]) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(Records(COLUMNS, rows))
    return captured.get()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_no_cell_is_cut_and_no_heading_is_left_out(width: int) -> None:
    shown = drawn(width, ROWS)
    assert all(len(line) <= width for line in shown.splitlines())
    for one in (*IDS, *COLUMNS):
        assert one in shown
    words = re.sub(r"\s+", " ", shown)
    for row in ROWS:
        for cell in row:
            assert all(word in words for word in cell.split()), cell
    assert "\u2026" not in shown


def test_a_table_is_one_where_it_has_place_and_a_stack_where_it_has_none() -> None:
    assert drawn(200, ROWS).splitlines()[0].split() == [
        "id",
        "note",
        "scopes",
        "audience",
        "expires",
        "last",
        "used",
    ]
    lines = drawn(60, ROWS).splitlines()
    assert lines[0].split() == ["id", IDS[0]]
    assert "" in [line.strip() for line in lines]
    assert not any(line.startswith("note ") for line in lines[8:])  # an empty cell has no line


def test_without_records_there_is_the_heading_at_most() -> None:
    assert len(drawn(200, []).splitlines()) == 1
    assert drawn(10, []).strip() == ""


PARENT = Parent("k1", IDS[0], (bytes(16), bytes(range(16))))


def test_a_parent_is_shown_with_its_whole_id_and_with_what_it_means(mint: Mint) -> None:
    token = mint(PARENT).encode()
    shown = CliRunner().invoke(app, ["inspect", token]).stdout
    assert f"parent = k1 {IDS[0]}  issued against that token, and revoked with it\n" in shown
    assert "0000000000" not in shown
    assert str(PARENT) in CliRunner().invoke(app, ["inspect", "--json", token]).stdout


@pytest.mark.parametrize(
    ("predicate", "short"),
    [
        (str(PARENT), f"parent = k1 {IDS[0]}"),
        ("renewed = 2026-12-01T00:00:00Z", "renewed = 2026-12-01T00:00:00Z"),
        ("scope = photos:*", "scope = photos:*"),
        ("parent", "parent"),
        ("", ""),
    ],
)
def test_of_other_caveats_all_is_shown(predicate: str, short: str) -> None:
    assert in_short(predicate)[0] == short


@pytest.mark.slow
@pytest.mark.parametrize("width", [40, 60, 200])
def test_a_terminal_of_any_width_shows_a_token_whole(width: int, token: Macaroon) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen(
        [CAVEATS, "inspect", token.attenuate(PARENT).encode()],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    ) as running:
        os.close(theirs)
        shown = b""
        while select.select([ours], [], [], 30)[0]:
            try:
                shown += os.read(ours, 4096)
            except OSError:
                break
    os.close(ours)
    assert running.returncode == 0
    lines = shown.decode().splitlines()
    assert all(len(line) <= width for line in lines)
    identifier = token.unverified_identifier
    assert identifier is not None
    together = re.sub(r"[\s\u2502\u2514\u251c\u2500]+", "", shown.decode())
    assert identifier.token_id in together
    assert IDS[0] in together


@pytest.mark.parametrize("arguments", [(), *((name,) for name in app.commands)], ids=" ".join)
def test_no_help_has_a_type_of_the_program_s(arguments: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*arguments, "--help"], terminal_width=200).output
    assert not re.search(r"<\w+>|\bINTEGER|\bBOOLEAN|\bFLOAT|RANGE|\bFILENAME|UUID", shown)
