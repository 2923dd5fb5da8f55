"""What annoyed people in their first hour, typed into the installed programs: by heading, with what was said before.

Each row is typed into a shell with an empty environment, in a pipe and on terminals of 60 and 200 columns, beside a service
that runs. `before` is what the programs did when the row was written down, and is here to be read.
"""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.programs import PROGRAMS, WIDTHS, Said, empty, on_terminal, piped
from tests.support.service import ADMIN_PASSWORD, PASSWORD, process

pytestmark = pytest.mark.slow
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Row:
    """A line that is typed, what it says (a pattern; white space is one space, colours are left out), and the exit code.

    `@TOKEN`, `@PORT` and `@ROW` stand for alice's token, the service's port and a word of the row's own.
    """

    typed: str
    before: str
    says: str
    code: int = 0


COMMAND_LINE = [
    Row("caveats-service --version", "no such option", r"^caveats-service \d+\.\d+"),
    Row("caveats --version", "as now", r"^caveats \d+\.\d+"),
    Row("caveats-service no-such-command", "a box of eight lines", r"^caveats-service: No such command", 2),
    Row("caveats-service completion zsh | head -1", "no such command", r"#compdef caveats-service"),
    Row("caveats-service keys retire k1 < /dev/null", "Aborted!", r"add --force", 1),
    Row("caveats-service keys list | cat", "cut at 80 columns", r"k1"),
    Row("caveats login alice --url 127.0.0.1:1 --password-stdin <<< x", "no scheme: an error", r"http://127\.0\.0\.1:1", 6),
    Row("caveats issue --expires-in 8", "a token of eight seconds", r"8 has no unit.*8h", 2),
    Row("caveats issue --expires-in 8w", "not a duration", r"at most \d+w|at most \d+[dhm]", 2),
    Row("caveats attenuate --expires-in 1w @TOKEN", "not a duration", r"^cav1_"),
    Row("caveats attenuate --expires-in 1h30m @TOKEN", "not a duration", r"^cav1_"),
    Row("caveats verify @TOKEN --client-ip nope", "refused, without a word why", r"nope", 2),
    Row("caveats verify '@TOKEN' --scope photos:read", "as now", r"^granted"),
    Row("""caveats inspect '"@TOKEN"'""", "not a token", r"alice"),
    Row("caveats inspect 'Bearer @TOKEN'", "not a token", r"alice"),
    Row("caveats inspect 'Authorization: Bearer @TOKEN'", "not a token", r"alice"),
    Row("caveats inspect '<@TOKEN>'", "not a token", r"alice"),
    Row("caveats inspect '@TOKEN.'", "not a token", r"alice"),
    Row("printf '\\357\\273\\277%s\\n' @TOKEN | caveats inspect -", "not a token", r"alice"),
    Row("echo @TOKEN | fold -w 40 | caveats inspect -", "not a token", r"alice"),
    Row("caveats inspect eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "not a token", r"JWT", 7),
    Row("caveats inspect 'cav1_AgIpMS5r...'", "not a token", r"cut short", 7),
    Row("for i in 1 2; do echo $i; done | while read n; do caveats whoami; echo line $n; done", "one line lost", r"line 1.*line 2"),
    Row("caveats inspect @TOKEN > /dev/full", "this is a bug in caveats", r"cannot write to standard output", 1),
    Row("caveats inspect @TOKEN >&-", "a traceback", r"cannot write to standard output: it is closed", 1),
    Row("caveats-service settings | head -1", "a traceback", r"^variable"),
    Row("caveats-service settings > /dev/full", "a traceback", r"cannot write to standard output", 1),
    Row("caveats-service serve --port @PORT", "a database, an admin and exit 3", r"port @PORT of 127\.0\.0\.1 is taken.*--port", 1),
    Row("HOME= caveats inspect @TOKEN", "an error about the home folder", r"alice"),
    Row("caveats whoami --url http://127.0.0.1:1 --json", "a sentence", r'"code"', 3),
    Row("caveats verify --help", "<bool>", r"(?s)\A(?!.*<bool>).*--scope"),
    Row("caveats-service keys export --audience photos --help", "nothing of its limit", r"(?i)rotat|revo"),
]  # fmt: skip

TOKENS = [
    Row("caveats tokens", "revoked ones as alive", r"revoked"),
    Row("caveats-service users tokens alice", "no such command", r"revoked"),
    Row("printf 'username,password\\nzoe-@ROW,correct horse battery\\n' | caveats-service users import -", "no such command", r"added 1 account"),
    Row("printf 'username,password\\ny-@ROW,correct horse battery\\nx-@ROW,short\\n' | caveats-service users import -", "no such command", r"line 3", 1),
    Row("echo 'correct horse battery' | caveats-service users add dan-@ROW --must-change --password-stdin; caveats-service users delete dan-@ROW --force", "no such command", r"dan-@ROW is deleted"),
    Row("caveats-service users delete alice < /dev/null", "no such command", r"--force", 2),
]  # fmt: skip

DEPLOY = [
    Row("CAVEATS_DATABASE_URL=postgresql://u:secret@127.0.0.1:1/x caveats-service users list", "[Errno 111]", r"PostgreSQL at 127\.0\.0\.1.*CAVEATS_DATABASE_URL", 1),
    Row("CAVEATS_SEAL_KEY=$(head -c 32 /dev/zero | tr '\\0' a | base64) caveats-service users list", "malformed", r"padding", 1),
    Row("HTTP_PROXY=http://127.0.0.1:1 CAVEATS_PORT=@PORT python -m caveats_service.server.health", "asked the proxy", r"\A\s*\Z"),
]  # fmt: skip


@dataclass(frozen=True)
class House:
    """A service that runs, and a person's folder with a login in it."""

    port: int
    folder: Path
    token: str

    def environment(self) -> dict[str, str]:
        return empty(
            self.folder,
            PATH=f"{PROGRAMS}:/usr/bin:/bin",
            CAVEATS_DATA_DIR=str(self.folder / "data"),
            LC_ALL="C.UTF-8",
        )

    def command(self, typed: str, row: str) -> tuple[str, ...]:
        line = typed.replace("@TOKEN", self.token).replace("@PORT", str(self.port)).replace("@ROW", row)
        return ("bash", "-c", line)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("first_hour")
    with process(folder) as running:
        port = int(running.url.rpartition(":")[2])
        made = House(port, folder, "")
        for line in (
            f"caveats-service users add alice --password-stdin <<< {shlex.quote(PASSWORD)}",
            f"caveats login alice --url {running.url} --password-stdin <<< {shlex.quote(PASSWORD)}",
            "caveats revoke $(caveats issue --scope photos:read --note 'for the printer')",
            "caveats-service keys rotate --now",
        ):
            said = _typed(made, line, None)
            assert said.code == 0, said
        token = _typed(
            made, "caveats issue --scope photos:read --note 'for the scanner' 2>/dev/null", None
        ).stdout
        assert ADMIN_PASSWORD not in token
        yield House(port, folder, token.strip())


def _typed(house: House, line: str, columns: int | None, row: str = "0") -> Said:
    command = house.command(line, row)
    if columns is None:
        return piped(*command, env=house.environment(), folder=house.folder, stdin=None)
    return on_terminal(*command, env=house.environment(), columns=columns, folder=house.folder)


@pytest.mark.parametrize("columns", [None, *WIDTHS], ids=["pipe", *map(str, WIDTHS)])
@pytest.mark.parametrize(
    "row", [*COMMAND_LINE, *TOKENS, *DEPLOY], ids=lambda row: row.typed if isinstance(row, Row) else None
)
def test_what_is_typed_in_the_first_hour_is_answered(house: House, row: Row, columns: int | None) -> None:
    said = _typed(house, row.typed, columns, str(columns or "pipe"))
    text = re.sub(r"\s+", " ", _COLOUR.sub("", said.stdout + said.stderr))
    assert re.search(
        row.says.replace("@PORT", str(house.port)).replace("@ROW", str(columns or "pipe")), text
    ), said
    assert said.code == row.code, said
    assert "Traceback" not in text
    assert "bug" not in text
    assert "secret" not in text


def test_a_first_start_on_a_taken_port_makes_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = piped(
            "caveats-service",
            "serve",
            "--port",
            port,
            env=empty(tmp_path, CAVEATS_DATA_DIR=str(tmp_path / "data")),
        )
    assert (said.code, said.stdout) == (1, "")
    assert f"port {port} of 127.0.0.1 is taken" in said.stderr
    assert list(tmp_path.iterdir()) == []
