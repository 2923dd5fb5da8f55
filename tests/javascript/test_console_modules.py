"""The console's modules as they are sent: without comments, and in every other way as they are written."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from caveats_service.console.files import FOLDER, ConsoleFiles
from tests.javascript.peer import needs_node

CLIENT = Path(__file__).parents[2] / "clients" / "javascript"
ESBUILD = CLIENT / "node_modules" / ".bin" / "esbuild"
MODULES = sorted(
    Path(root, name).relative_to(FOLDER).as_posix()
    for root, _, names in os.walk(FOLDER, followlinks=True)
    for name in names
    if name.endswith(".js")
)

pytestmark = [pytest.mark.slow, needs_node]


def _minified(module: bytes) -> bytes:
    done = subprocess.run(
        [ESBUILD, "--minify", "--legal-comments=none"], input=module, capture_output=True, check=True
    )
    return done.stdout


def test_nothing_but_comments_is_left_out_of_what_is_sent() -> None:
    """What a minifier makes of both is the same."""
    if not ESBUILD.exists():
        pytest.skip("esbuild is not there: npm ci --prefix clients/javascript")
    files = ConsoleFiles(service="", public_path="")
    assert len(MODULES) > 50
    shorter = 0
    for name in MODULES:
        sent = files.find(name)
        assert sent is not None, name
        written = (FOLDER / name).read_bytes()
        assert _minified(sent.content) == _minified(written), name
        assert sent.content.count(b"\n") == written.count(b"\n")
        shorter += len(written) - len(sent.content)
    assert shorter > 50_000
