"""Habits of this repository that no tool keeps."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_each_exception_from_a_rule_has_its_reason_in_one_form() -> None:
    """The code, two spaces, the reason as a comment of its own. Ruff keeps the code, this keeps the form."""
    files = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    for name in files.stdout.split():
        for line in (ROOT / name).read_text("utf-8").splitlines():
            _, found, rest = line.partition("# noqa" + ":")
            assert not found or re.fullmatch(r" [A-Z]+[0-9]+(, [A-Z]+[0-9]+)*(  # .+)?", rest), (
                f"{name}: {line}"
            )


def test_nothing_waits_with_the_function_that_loses_cancellations() -> None:
    """`asyncio.wait_for` of Python 3.11 swallows one that comes in the same tick as the result; `timeout` does not."""
    folders = ("caveats", "caveats_cli", "service", "clients/python")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert files
    assert [path for path in files if "asyncio.wait_for" in path.read_text("utf-8")] == []
