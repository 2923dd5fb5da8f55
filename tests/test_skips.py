"""The hook in conftest.py: with CI=true whatever would be left out fails; without, it is left out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = {
    "test_marked": "import pytest\n@pytest.mark.skip(reason='no such thing here')\ndef test_x(): assert False\n",
    "test_inside": "import pytest\ndef test_x(): pytest.skip('no such thing here')\n",
    "test_fixture": "import pytest\n@pytest.fixture\ndef f(): pytest.skip('no such thing here')\ndef test_x(f): ...\n",
    "test_module": "import pytest\npytest.skip('no such thing here', allow_module_level=True)\n",
    "test_import": "import pytest\npytest.importorskip('no_such_thing_here')\n",
}
FINE = "import pytest\ndef test_x(): ...\n@pytest.mark.xfail\ndef test_y(): assert False\n"


def run(folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(folder),
            str(folder),
        ],
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", TESTS)
def test_a_skip_fails_in_ci_with_its_reason_and_nowhere_else(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(TESTS[name])
    assert run(tmp_path, "").returncode in (0, 5)
    done = run(tmp_path, "true")
    assert done.returncode not in (0, 5), done.stdout
    assert "with CI=true nothing is skipped" in done.stdout
    assert "no such thing here" in done.stdout or "no_such_thing_here" in done.stdout


def test_what_passes_or_fails_as_expected_does_so_in_ci(tmp_path: Path) -> None:
    (tmp_path / "test_fine.py").write_text(FINE)
    assert run(tmp_path, "true").returncode == 0
