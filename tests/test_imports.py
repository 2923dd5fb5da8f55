"""Whoever stands outside the library imports its rooms, never what is inside a room."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OUTSIDE = ("service", "clients", "examples", "benchmarks", "typing_tests", "tests")
ROOMS = {path.parent.name for path in (ROOT / "caveats").glob("*/__init__.py")}
HEAVY = ("cryptography", "nacl", "pymacaroons", "ulid")


def imports(path: Path) -> list[tuple[str, str]]:
    """Each name that a file imports from the library, with the module."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
    return [(module, name) for module, name in found if module.split(".")[0] == "caveats"]


@pytest.mark.parametrize("folder", OUTSIDE)
def test_nobody_outside_imports_deeper_than_a_room(folder: str) -> None:
    """The library's own tests may look inside: that is what they test."""
    inside = ROOT / "tests" / "caveats"
    modules = {path.stem for room in ROOMS for path in (ROOT / "caveats" / room).glob("*.py")}
    for path in (ROOT / folder).rglob("*.py"):
        if inside in path.parents:
            continue
        for module, name in imports(path):
            parts = module.split(".")
            assert len(parts) < 3, f"{path}: {module}"
            room = len(parts) == 2 and parts[1] in ROOMS
            handed_on = name in getattr(__import__(module, fromlist=["__all__"]), "__all__", ())
            assert not room or handed_on, f"{path}: {module} does not hand on {name}"
            assert not room or name not in modules or handed_on, f"{path}: the module {module}.{name}"


def test_the_library_is_imported_without_what_few_of_its_users_need() -> None:
    """Boxes, key derivation, new token ids and the bridge to pymacaroons import theirs when they are called."""
    code = f"import sys, caveats; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
