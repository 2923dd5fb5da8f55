"""Without an extra, what needs it names it: an import in an `ImportError`, a program in one line and with exit code 2.

A package counts as missing where `sys.modules` says so. That no package is missing with its extra is in test_wheel.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from caveats import Macaroon

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
FRAMEWORKS = ("django", "fastapi", "flask", "starlette")
WITHOUT = "import sys\nfor name in sys.argv.pop(1).split(','): sys.modules[name] = None\n"
"""The beginning of a program: the packages named in its first argument are not installed."""

IMPORTS = [
    ("from caveats_client import Client", "httpx2", "client"),
    ("from caveats_client import AsyncClient", "httpx2", "client"),
    ("from caveats_client import TokenAuth", "httpx2", "client"),
    ("import caveats_client.verifiers.local", "httpx2", "client"),
    ("from caveats_client.verifiers.remote import RemoteVerifier", "httpx2", "client"),
    ("import caveats_client.guards.django", "django", "django"),
    ("import caveats_client.guards.django", "asgiref", "django"),
    ("import caveats_client.guards.fastapi", "fastapi", "fastapi"),
    ("import caveats_client.guards.fastapi", "anyio", "fastapi"),
    ("import caveats_client.guards.flask", "flask", "flask"),
    ("import caveats_client.guards.starlette", "starlette", "starlette"),
    ("from caveats_service.app import create_app", "starlette", "service"),
    ("from caveats_service.settings import Settings", "pydantic", "service"),
]


def without(missing: str, code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code, missing, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", **environment},
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(("statement", "missing", "extra"), IMPORTS, ids=lambda value: value)
def test_an_import_says_which_extra_is_missing(statement: str, missing: str, extra: str) -> None:
    done = without(missing, f"try:\n    {statement}\nexcept ImportError as error:\n    print(error)")
    assert done.stdout == f"{missing} is not installed: pip install 'caveats[{extra}]'\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "missing", "arguments"),
    [
        ("caveats", "click", "--help"),
        ("caveats", "click", "--version"),
        ("caveats", "rich", "inspect TOKEN"),
        ("caveats", "httpx2", "whoami --url http://127.0.0.1:1"),
        ("caveats", "platformdirs", "whoami"),
        ("caveats-service", "click", "--help"),
        ("caveats-service", "click", "serve"),
        ("caveats-service", "uvicorn", "serve"),
        ("caveats-service", "sqlalchemy", "users list"),
        ("caveats-service", "pydantic", "settings"),
    ],
)
def test_a_program_says_which_extra_is_missing(
    program: str, missing: str, arguments: str, tmp_path: Path
) -> None:
    package, extra = ("caveats_client", "client") if program == "caveats" else ("caveats_service", "service")
    token = Macaroon.mint(b"k" * 32, b"somebody's").encode()
    done = without(
        missing,
        f"from {package}.cli import main\nmain()",
        *arguments.replace("TOKEN", token).split(),
        CAVEATS_DATA_DIR=str(tmp_path),
        HOME=str(tmp_path),
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr == f"{program}: {missing} is not installed: pip install 'caveats[{extra}]'\n"
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [("caveats_client", "client", "whoami --json"), ("caveats_service", "service", "users list --json")],
)
def test_a_program_that_is_read_says_it_in_json(package: str, extra: str, arguments: str) -> None:
    done = without("click", f"from {package}.cli import main\nmain()", *arguments.split())
    assert done.returncode == 2
    assert json.loads(done.stderr) == {
        "code": "missing_extra",
        "detail": f"click is not installed: pip install 'caveats[{extra}]'",
        "exit_code": 2,
        "extra": extra,
        "package": "click",
    }


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["fcntl", "resource"])
def test_the_service_says_where_it_runs(missing: str, tmp_path: Path) -> None:
    done = without(
        missing, "from caveats_service.cli import main\nmain()", "serve", CAVEATS_DATA_DIR=str(tmp_path)
    )
    assert done.returncode == 2
    assert done.stderr == (
        "caveats-service: this runs on Linux and macOS; on Windows, run it in a container or in WSL\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_each_framework_has_an_extra_and_frameworks_has_them_all() -> None:
    for name in FRAMEWORKS:
        asked = [Requirement(one) for one in EXTRAS[name]]
        assert {one.name for one in asked} == {"caveats", name}
        assert {extra for one in asked for extra in one.extras} == {"client"}
    (all_of_them,) = (Requirement(one) for one in EXTRAS["frameworks"])
    assert all_of_them.name == "caveats"
    assert all_of_them.extras == set(FRAMEWORKS)


def test_the_readme_has_every_extra_and_no_other() -> None:
    table = (ROOT / "README.md").read_text("utf-8").partition("| extra | adds |\n")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == EXTRAS.keys()


def test_every_extra_that_is_named_anywhere_exists() -> None:
    assert {extra for _, _, extra in IMPORTS} <= EXTRAS.keys()


def test_uvloop_is_wanted_where_it_exists() -> None:
    (uvloop,) = (one for one in map(Requirement, EXTRAS["service"]) if one.name == "uvloop")
    assert uvloop.marker is not None
    assert not uvloop.marker.evaluate({"sys_platform": "win32"})
    assert uvloop.marker.evaluate({"sys_platform": "darwin"})
    assert uvloop.marker.evaluate({"sys_platform": "linux"})
