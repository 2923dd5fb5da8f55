"""docs/cli.md and docs/client.md: every block does what it says, and nothing public is left out.

How a page is followed stands in tests/test_docs.py.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import caveats_client
from caveats_client import Client, calls
from caveats_client.cli.app import app
from caveats_client.cli.commands import DeferredCommand
from caveats_client.cli.exit_codes import EXIT_CODES, ExitCode

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CLI, CLIENT, KINDS = ROOT / "docs/cli.md", ROOT / "docs/client.md", ROOT / "docs/caveats.md"


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pages_of_docs", ROOT / "tests/test_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", [CLI, CLIENT], ids=lambda page: page.name)
def test_every_block_does_what_it_says(
    pages: ModuleType, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages.test_every_block_of_a_page_does_what_it_says(page, tmp_path, monkeypatch)


def test_every_command_and_flag_is_documented() -> None:
    text, kinds = CLI.read_text("utf-8"), KINDS.read_text("utf-8")
    for name, command in app.commands.items():
        assert re.search(rf"`(?:caveats )?{name}\b", text), name
        for parameter in command.load().params if isinstance(command, DeferredCommand) else command.params:
            for flag in parameter.opts:
                if flag.startswith("--") and flag != "--help":
                    assert flag in (kinds + text if name == "attenuate" else text), f"{name} {flag}"


def test_every_exit_code_is_documented_in_the_same_words() -> None:
    table = dict(re.findall(r"^\| (\d+) \| (.+?) \|$", CLI.read_text("utf-8"), re.MULTILINE))
    told = dict(re.findall(r"^  (\d+)  (.+)$", EXIT_CODES, re.MULTILINE))
    assert [int(code) for code in told] == [*ExitCode, 130]
    assert table.keys() == told.keys()
    assert all(table[code].startswith(words) for code, words in told.items())


def test_every_method_call_and_error_is_documented() -> None:
    text = CLIENT.read_text("utf-8")
    for name in vars(Client):
        if not name.startswith("_") and name != "close":
            assert re.search(rf"`{name}\(", text), name
    for name, function in vars(calls).items():
        if inspect.isfunction(function) and "Call[" in str(function.__annotations__.get("return")):
            assert name.startswith("_") or f"`{name}`" in text, name
    for name in caveats_client.__all__:
        if name not in ("JudgedCaveat", "Token"):  # a member's type; a name for annotations
            assert name in text, name
