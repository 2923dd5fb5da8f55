"""What options of `caveats-service` take, and that their help has no types of the program's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from caveats_service.cli.app import app
from tests.service.cli.test_cli import commands_of
from tests.support.service import cli


@pytest.mark.parametrize("path", [(), *commands_of(app)], ids=" ".join)
def test_no_help_has_a_type_of_the_program_s(tmp_path: Path, path: tuple[str, ...]) -> None:
    shown = cli(tmp_path, *path, "--help").stdout
    assert not re.search(r"<\w+>|<=|\bINTEGER|\bBOOLEAN|\bFLOAT|RANGE|\bFILENAME|UUID", shown)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("audit", "--limit", "0"), "'0' is not a whole number from 1 to 10000"),
        (("audit", "--limit", "10001"), "from 1 to 10000"),
        (("audit", "--limit", "ten"), "'ten' is not a whole number"),
        (("audit", "--limit", "1e3"), "is not a whole number"),
        (("audit", "--before", "-1"), "is not a whole number"),
        (("audit", "--before", "9" * 30), "is not a whole number"),
        (("serve", "--port", "65536"), "from 0 to 65535"),
        (("serve", "--port", "http"), "from 0 to 65535"),
        (("serve", "--workers", "0"), "from 1 to 64"),
        (("serve", "--workers", "\u0665"), "from 1 to 64"),
    ],
)
def test_a_number_out_of_its_limits_is_told_them(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = cli(tmp_path, *arguments, expect=2)
    assert words in done.stderr
    assert done.stdout == ""
