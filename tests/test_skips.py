"""The hook in conftest.py: with CI=true whatever would be left out fails; without, it is left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TESTS = {
    "marked": "import pytest\n@pytest.mark.skip(reason='left out: marked')\ndef test_x(): assert False\n",
    "inside": "import pytest\ndef test_x(): pytest.skip('left out: inside')\n",
    "fixture": "import pytest\n@pytest.fixture\ndef f(): pytest.skip('left out: fixture')\ndef test_x(f): ...\n",
    "module": "import pytest\npytest.skip('left out: module', allow_module_level=True)\n",
    "import": "import pytest\npytest.importorskip('no_such_thing', reason='left out: import')\n",
}
FINE = "import pytest\ndef test_x(): ...\n@pytest.mark.xfail\ndef test_y(): assert False\n"


def run(folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    plain = ["-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:hypothesispytest"]
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--continue-on-collection-errors",
            *plain,
            "--rootdir",
            str(folder),
            str(folder),
        ],
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_skip_fails_in_ci_with_its_reason_and_nowhere_else(tmp_path: Path) -> None:
    for name, text in TESTS.items():
        (tmp_path / f"test_{name}.py").write_text(text)
    (tmp_path / "test_fine.py").write_text(FINE)
    done = run(tmp_path, "")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 5 skipped, 1 xfailed" in done.stdout
    done = run(tmp_path, "true")
    assert done.returncode != 0
    for name in TESTS:
        assert f"with CI=true nothing is skipped: Skipped: left out: {name}" in done.stdout
    for name in TESTS:
        (tmp_path / f"test_{name}.py").unlink()
    assert run(tmp_path, "true").returncode == 0
