"""The npm package: its version, its lock file, and that its files run everywhere."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients/javascript"
SOURCES = sorted((CLIENT / "src").rglob("*.js"))
PACKAGE = json.loads((CLIENT / "package.json").read_text())
LOCK = json.loads((CLIENT / "package-lock.json").read_text())


def test_the_version_is_the_one_of_the_python_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert PACKAGE["version"] == LOCK["version"] == project["version"]
    assert PACKAGE["license"] == project["license"]
    assert (CLIENT / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_it_depends_on_nothing_and_has_no_side_effects() -> None:
    assert not {"dependencies", "peerDependencies", "optionalDependencies"} & set(PACKAGE)
    assert PACKAGE["sideEffects"] is False


@pytest.mark.parametrize("name", sorted(name for name in LOCK["packages"] if name))
def test_a_locked_package_has_a_hash_and_no_address(name: str) -> None:
    """Anybody can install from it, wherever they are."""
    locked = LOCK["packages"][name]
    assert "resolved" not in locked
    assert locked["integrity"].startswith("sha512-")


def test_what_is_asked_for_is_pinned() -> None:
    assert PACKAGE["devDependencies"]
    for name, version in PACKAGE["devDependencies"].items():
        assert re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", version)
        assert LOCK["packages"][f"node_modules/{name}"]["version"] == version


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(CLIENT).as_posix())
def test_a_file_runs_in_every_browser_and_server(path: Path) -> None:
    """No name of Node's alone, but in `node.js`; and each file opens by saying what it knows."""
    text = path.read_text("utf-8")
    assert re.match(r"/\*\*\n \* .+", text)
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    if path.name != "node.js":
        assert not re.search(r"\bBuffer\b|node:|\brequire\(|\bprocess\b|\b__dirname\b", code)
    for imported in re.findall(r'from "([^"]+)"', code):
        assert imported.startswith(("./", "../")) or path.name == "node.js"
