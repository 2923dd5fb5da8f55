"""The library and the client import and run without what only Unix has: they are for Windows and macOS too.

Windows is not here. What can be told is told: its missing modules count as missing, in processes of their own.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.support.service import ADMIN_PASSWORD, serving

ROOT = Path(__file__).resolve().parents[1]
UNIX = (
    *("fcntl", "grp", "nis", "pty", "pwd", "readline", "resource", "spwd", "syslog", "termios", "tty"),
    "uvloop",
)
"""What the standard library has on Unix alone, and what there is no build of for Windows."""
FOLDERS = {
    "caveats": "caveats",
    "caveats_cli": "caveats_cli",
    "caveats_client": "clients/python/caveats_client",
}
BEGIN = f"""
import os, sys
sys.modules.update(dict.fromkeys({UNIX!r}))
del os.fork, os.forkpty, os.register_at_fork
"""
EVERYTHING = """
import importlib, pkgutil
for package in ("caveats", "caveats_cli", "caveats_client"):
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(found.name)
        print(found.name)
"""
CREDENTIALS = """
from pathlib import Path
from caveats_client.cli.credentials import Credentials, Login
credentials = Credentials.here()
for name in ("alice", "bob"):
    print(credentials.save(Login(f"https://{name}.example", name, "cav1_token")))
credentials.forget("https://alice.example")
print([login.username for login in credentials.load().by_url.values()])
"""


def run(code: str, *arguments: str, stdin: str = "", **environment: str) -> str:
    """What a program prints where Unix's own modules are missing."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code, *arguments],
        **({"input": stdin} if stdin else {"stdin": subprocess.DEVNULL}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_of_library_and_client_is_imported_without_what_only_unix_has() -> None:
    found = run(EVERYTHING).split()
    for package, place in FOLDERS.items():
        files = {path.relative_to(ROOT / place).with_suffix("") for path in (ROOT / place).rglob("*.py")}
        names = {f"{package}.{'.'.join(path.parts)}".removesuffix(".__init__") for path in files}
        assert names - {package} <= {*found}, "something was not imported"


def test_stored_logins_are_kept_there(tmp_path: Path) -> None:
    assert run(CREDENTIALS, CAVEATS_CONFIG_DIR=str(tmp_path)).split("\n")[:3] == ["None", "None", "['bob']"]


@pytest.mark.parametrize("folder", FOLDERS.values())
def test_no_module_imports_what_only_unix_has_not_even_later(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {*UNIX}, f"{path}:{node}"


@pytest.mark.slow
def test_the_program_runs_there(tmp_path: Path) -> None:
    """Signs in, narrows, verifies, revokes and signs out, each in a process without Unix's modules."""
    with serving(tmp_path) as service:
        main = "from caveats_client.cli import main\nmain()"

        def caveats(*arguments: str, stdin: str = "") -> str:
            return run(main, *arguments, stdin=stdin, CAVEATS_CONFIG_DIR=str(tmp_path / "config"))

        caveats("login", "admin", "--url", service.url, "--password-stdin", stdin=ADMIN_PASSWORD)
        narrow = caveats("attenuate", "--scope", "photos:read").strip()
        assert "granted" in caveats("verify", "-", "--scope", "photos:read", stdin=narrow)
        caveats("revoke", "-", stdin=narrow)
        caveats("logout")
        assert (tmp_path / "config" / "credentials.json").is_file()


@pytest.mark.slow
def test_the_service_runs_without_uvloop(tmp_path: Path) -> None:
    code = "import sys; sys.modules['uvloop'] = None; from caveats_service.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--port", "0"],
        env={"PATH": "/usr/bin:/bin", "CAVEATS_DATA_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "serving on" in line, line + process.stdout.read()
            url = line.partition("serving on ")[2].partition(",")[0]
            assert httpx.get(f"{url}/readyz", trust_env=False).json()["status"] == "ready"
        finally:
            process.terminate()
            process.wait(20)
    assert process.returncode == 0


def test_the_platforms_are_named() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["classifiers"]
    assert {one for one in classifiers if one.startswith("Operating System")} == {
        "Operating System :: MacOS",
        "Operating System :: Microsoft :: Windows",
        "Operating System :: POSIX :: Linux",
    }
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "library and the client run on Linux, macOS and Windows" in readme
    assert "service on Linux and macOS" in readme
