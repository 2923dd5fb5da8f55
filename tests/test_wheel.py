"""The wheel, as a user installs it: what it holds, and that all of it works away from the checkout.

Slow, so `make wheel` runs it and `make test` does not. Needs no index: the dependencies are those installed here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(600)]

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "caveats": ROOT / "caveats",
    "caveats_service": ROOT / "service" / "caveats_service",
    "caveats_cli": ROOT / "caveats_cli",
    "caveats_client": ROOT / "clients" / "python" / "caveats_client",
}

SESSION = """
from datetime import UTC, datetime, timedelta
from caveats import *

now = datetime.now(UTC)
keyring = MasterKeyring([MasterKey("k1", bytes(range(32)))])
identifier = Identifier("k1", "photos", new_token_id(now), 3)
token = Macaroon.mint(
    keyring.root_key(identifier),
    identifier,
    caveats=[User("alice"), Expires.after(timedelta(hours=8), now=now), Scope("photos:*")],
)
narrow = token.attenuate(Scope("photos/42:read"))
verifier = Verifier(keyring.export("photos"), audience="photos")
read, write = (Context(now, scopes=(f"photos/42:{action}",)) for action in ("read", "write"))
print(verifier.verify(token.encode(), write).user)
print(verifier.verify(narrow.encode(), read).user)
try:
    verifier.verify(narrow.encode(), write)
except UnsatisfiedCaveats as refusal:
    print(len(refusal.failures))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """What the command printed; a failure shows it all."""
    # Nothing of this process's surroundings may lead back to the checkout.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CAVEATS_"))
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = (
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        ROOT,
    )
    run(sys.executable, *build, cwd=folder)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment that holds the wheel, and finds the dependencies where they are now."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    install = ("-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    run(sys.executable, *install, cwd=folder)
    # A folder named in a .pth file has its own .pth files ignored: the checkout's is among them.
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(site, "dependencies.pth").write_text("\n".join(sorted(dependencies)))
    return python.parent


def test_it_holds_every_file_of_the_three_packages_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    written = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == written


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_that_it_is_typed(wheel: Path, package: str) -> None:
    assert f"{package}/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_the_migrations_come_along(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    assert "caveats_service/storage/migrations/env.py" in held
    assert any(name.startswith("caveats_service/storage/migrations/versions/0001") for name in held)


def test_the_licence_comes_along(wheel: Path) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize("package", PACKAGES)
def test_the_code_under_test_is_the_installed_one(installed: Path, package: str) -> None:
    found = run(
        installed / "python", "-c", f"import {package}; print({package}.__file__)", cwd=installed
    ).strip()
    assert Path(found).is_relative_to(installed.parent)


def test_a_session_works_from_there(installed: Path, tmp_path: Path) -> None:
    """Mint, narrow, verify; and one request refused."""
    assert run(installed / "python", "-W", "error", "-c", SESSION, cwd=tmp_path) == "alice\nalice\n1\n"


@pytest.mark.parametrize("script", ["caveats", "caveats-service"])
def test_the_console_scripts_say_what_they_do(installed: Path, tmp_path: Path, script: str) -> None:
    assert "Usage" in run(installed / script, "--help", cwd=tmp_path)


def test_the_library_passes_its_tests_from_there(installed: Path, tmp_path: Path) -> None:
    pytest_from = (installed / "python", "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    # In a folder of their own: beside them the checkout's packages would be found first.
    for folder in ("caveats", "support", "vectors"):
        shutil.copytree(ROOT / "tests" / folder, tmp_path / "tests" / folder)
    for file in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    where = run(installed / "python", "-c", "import caveats; print(caveats.__path__[0])", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert " passed" in run(*pytest_from, tmp_path / "tests" / "caveats", cwd=tmp_path)
