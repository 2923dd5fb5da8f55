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
