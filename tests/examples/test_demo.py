"""The demo tells the story to its end, plainly where nobody looks, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import demo
import pytest

from caveats_client import Client

pytestmark = pytest.mark.slow


def run(examples: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(examples / "demo.py")]
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def test_the_demo_ends_well_and_leaves_nothing_behind(examples: Path, tmp_path: Path) -> None:
    done = run(examples, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("`make run`.")
    assert "\x1b" not in done.stdout
    assert "cav1_" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_does_not_come_out_as_told_ends_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        demo.check(False, "the moon is full")
    assert ended.value.code == 1
    assert "the moon is full" in capsys.readouterr().out


def test_a_revocation_that_does_nothing_ends_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Client, "revoke", lambda self, token: None)
    monkeypatch.setattr(demo, "PATIENCE", 0.2)
    with pytest.raises(SystemExit), demo.ExitStack() as processes:
        demo.story(tmp_path, processes)
    assert "never heard of it" in capsys.readouterr().out
