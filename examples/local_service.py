"""A service of one's own for as long as a `with` lasts: a free port, a folder, real processes. For demo and tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = Path(sys.executable).parent
ADMIN_PASSWORD = "the admin of a moment"
_SERVING = re.compile(r"(?:serving|running) on (http://[^\s,]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LocalService:
    """A running service. `environment` is for whoever uses it: no settings but its own, the scripts on the path."""

    url: str
    folder: Path
    environment: dict[str, str]

    def run(self, *command: str, stdin: str = "", **more: str) -> str:
        """What a command prints on standard output. Raises `CalledProcessError`, with what it said otherwise."""
        done = subprocess.run(
            command,
            input=stdin,
            env={**self.environment, **more},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def add_user(self, username: str, password: str) -> None:
        """One more account."""
        self.run("caveats-service", "users", "add", username, "--password-stdin", stdin=password)

    def export_keys(self, audience: str) -> Path:
        """A file with the keys of one audience."""
        path = self.folder / f"{audience}.keys"
        self.run("caveats-service", "keys", "export", "--audience", audience, "--output", str(path))
        return path


@contextmanager
def local_service(folder: Path, *, port: int = 0, **settings: str | None) -> Iterator[LocalService]:
    """A service whose data lies in `folder`; its admin's password is `ADMIN_PASSWORD`. A setting None is left out.

    `port`: 0 for a free one.
    """
    own = {
        "CAVEATS_CONFIG_DIR": str(folder / "config"),
        "CAVEATS_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ.get('PATH', '')}",
        "NO_COLOR": "1",
        "COLUMNS": "200",
        **settings,
    }
    outside = {name: value for name, value in os.environ.items() if not name.startswith("CAVEATS_")}
    environment = outside | {name: value for name, value in own.items() if value is not None}
    serve = ("caveats-service", "serve", "--port", str(port))
    with process(*serve, folder=folder, environment=environment) as url:
        yield LocalService(url, folder, {**environment, "CAVEATS_URL": url})


@contextmanager
def process(*command: str, folder: Path, environment: dict[str, str], patience: float = 30) -> Iterator[str]:
    """A server as a process of its own, from when it says where it is until the end of the `with`; its address.

    `patience`: seconds that it may take to say so.
    """
    log = folder / f"{command[0]}-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            [str(SCRIPTS / command[0]), *command[1:]],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield _address(running, log, patience)
        finally:
            running.terminate()
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def _address(running: subprocess.Popen[bytes], log: Path, patience: float) -> str:
    until = time.monotonic() + patience
    while time.monotonic() < until and running.poll() is None:
        found = _SERVING.search(log.read_text("utf-8", "replace"))
        if found is not None:
            return found[1]
        time.sleep(0.02)
    raise RuntimeError(f"{running.args!r} did not start:\n{log.read_text('utf-8', 'replace')}")
