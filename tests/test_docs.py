"""The docs are true: every block is run against a real service, every reference agrees with the code it describes.

An `sh` block is pasted whole into a shell on a terminal; an `output` block is what the one before it prints, where `...`
stands for anything. A `shell` block is one for a machine that a test does not have (names, root, Docker): it is parsed only. A
`python` block is a doctest where it has `>>>`, else a script, or what is pasted into a Python if an `output` block
follows; the blocks of one page share their names.
An `http` block is a request, and the one after it the answer. Pages run in a folder of their own, where the
service is `http://127.0.0.1:8080`, alice has an account, and `examples` is what it is here.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import doctest
import io
import json
import os
import re
import shlex
import subprocess
import sys
import traceback
import types
import typing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from pathlib import Path

import httpx2 as httpx
import pytest
from pathspec import GitIgnoreSpec
from pydantic import BaseModel

from caveats import Macaroon, standard_checkers
from caveats.http import TITLES
from caveats.kinds import STANDARD
from caveats_client import Client
from caveats_client.verifiers.local import LocalVerifier
from caveats_service.app import ROUTES
from caveats_service.discharge.routes import schemas as discharge_schemas
from caveats_service.http import schemas
from caveats_service.settings import describe_settings
from tests.support.terminal import Pasted, Terminal

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))

from local_service import ADMIN_PASSWORD, LocalService, local_service  # noqa: E402

DOCS = ROOT / "docs"
OTHERS = {"cli.md", "client.md", "benchmarks.md"}
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.glob("*.md") if page.name not in OTHERS)]
LANGUAGES = {"sh", "shell", "output", "python", "http", "json", "text", "toml", "mermaid"}
ADDRESS = "http://127.0.0.1:8080"
PASSWORD = "correct horse battery staple"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_same = doctest.OutputChecker().check_output


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int
    page: Path

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start()) + 2, page)
        for found in _FENCE.finditer(text)
    ]


@dataclass
class Reader:
    """Somebody who follows a page from top to bottom."""

    service: LocalService
    names: dict[str, object] = field(default_factory=lambda: {"__name__": "docs"})
    asked: httpx.Response | None = None
    terminal: Terminal | None = None
    pasted: Pasted | None = None
    """What the last `sh` block has printed, until somebody has looked."""

    def __post_init__(self) -> None:
        folder = self.service.folder
        (folder / "examples").symlink_to(ROOT / "examples")

    def close(self) -> None:
        """The terminal goes, with whatever was left running there, and the page's connections."""
        for value in self.names.values():
            if isinstance(value, Client | LocalVerifier):
                value.close()
        if self.terminal is not None:
            self.terminal.close()

    def here(self, text: str) -> str:
        return text.replace(ADDRESS, self.service.url)

    def follow(self, block: Block, after: Block | None = None) -> None:
        """Do what the page says. `after`: the block that comes next."""
        if block.language != "output":
            self.look()
        match block.language:
            case "sh":
                self.paste(block)
            case "output":
                self.compare(block)
            case "shell":
                parse(block)
            case "python" if after is not None and after.language == "output":
                self.enter(block)
            case "python":
                self.execute(block)
            case "http":
                self.exchange(block)
            case "json":
                json.loads(block.text)
            case _:
                pass

    def paste(self, block: Block) -> None:
        """Into a terminal whose shell knows nothing that the page does not say: no address, no password."""
        if block.text.startswith("make "):
            self.pasted = Pasted("".join(map(self.make, block.text.splitlines())), [0])
            return
        if self.terminal is None:
            known = ("CAVEATS_URL", "CAVEATS_PASSWORD")
            environment = {
                name: value for name, value in self.service.environment.items() if name not in known
            }
            self.terminal = Terminal(self.service.folder, environment)
        answers = {
            f"Password of {name} at {self.service.url}: ": password
            for name, password in (("admin", self.admin_password()), ("alice", PASSWORD))
        }
        self.pasted = self.terminal.paste(self.here(block.text), answers)

    def admin_password(self) -> str:
        """What the first start has printed, or the one that was set."""
        found = re.search(r"Password: (\S+)", self.first_start())
        return found[1] if found else ADMIN_PASSWORD

    def first_start(self) -> str:
        return next(self.service.folder.glob("caveats-service-*.log")).read_text()

    def make(self, command: str) -> str:
        """What `make` prints, which is not run here: its targets have tests of their own."""
        arguments = shlex.split(command)
        subprocess.run([*arguments, "--dry-run"], cwd=ROOT, check=True, capture_output=True)
        return self.first_start() if arguments[1] == "run" else ""

    def compare(self, block: Block) -> None:
        assert self.pasted is not None, f"{block.place}: the output of nothing"
        expected, got = self.here(block.text), self.pasted.text
        got = re.sub(r"^Password of .*:\n", "", got, flags=re.MULTILINE)
        assert _same(expected, got, doctest.ELLIPSIS), f"{block.place}\n\nexpected:\n{expected}\ngot:\n{got}"
        self.pasted = None

    def look(self) -> None:
        """The commands of a block whose output the page does not show have all done their work."""
        pasted, self.pasted = self.pasted, None
        assert pasted is None or not any(pasted.codes), pasted

    def enter(self, block: Block) -> None:
        """Into a Python at a terminal: what has a value prints it, and an exception ends no more than its statement."""
        with contextlib.redirect_stdout(io.StringIO()) as screen:
            for statement in ast.parse(self.here(block.text)).body:
                try:
                    exec(compile(ast.Interactive([statement]), block.place, "single"), self.names)
                except Exception as error:  # whatever it is, the page shows it
                    last = "".join(traceback.format_exception_only(error))
                    screen.write(f"Traceback (most recent call last):\n    ...\n{last}")
        self.pasted = Pasted(screen.getvalue(), [0])

    def execute(self, block: Block) -> None:
        source = self.here(block.text)
        if ">>>" not in source:
            code = compile("\n" * (block.line - 1) + source, str(block.page), "exec", dont_inherit=True)
            exec(code, self.names)
            return
        test = doctest.DocTestParser().get_doctest(
            source, self.names, block.place, str(block.page), block.line
        )
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(test, out=said.append, clear_globs=False)
        assert runner.failures == 0, "".join(said)
        self.names.update(test.globs)

    def exchange(self, block: Block) -> None:
        """A request, or the answer to the request before."""
        head, _, body = self.here(block.text).partition("\n\n")
        first, *rest = head.splitlines()
        headers = dict(line.split(": ", 1) for line in rest)
        if not first.startswith("HTTP/1.1 "):
            method, path = first.split(" ")
            sent = {name: self.filled(value) for name, value in headers.items()}
            self.asked = httpx.request(
                method, self.service.url + path, headers=sent, content=self.filled(body)
            )
            return
        assert self.asked is not None, f"{block.place}: an answer to nothing"
        assert str(self.asked.status_code) == first.split(" ")[1], f"{block.place}: {self.asked.text}"
        for name, value in headers.items():
            assert _same(value, self.asked.headers.get(name, ""), doctest.ELLIPSIS), (
                f"{block.place}: {name}: {self.asked.headers.get(name)}"
            )
        got = json.dumps(self.asked.json(), indent=2) if self.asked.content else ""
        expected = json.dumps(json.loads(body), indent=2) if body.strip() else ""
        expected = re.sub(r'^ *"\.\.\.": "\.\.\.",?$', "...", expected, flags=re.MULTILINE)
        assert _same(expected + "\n", got + "\n", doctest.ELLIPSIS), f"{block.place}: {got}"
        if body.strip():
            answer = self.asked.json()
            self.names.update({name: answer[name] for name in ("token", "token_id") if name in answer})

    def filled(self, text: str) -> str:
        """`{token}` and `{token_id}` as last answered, `{admin}` for an administrator's token."""

        def value(found: re.Match[str]) -> str:
            named = self.names.get(found[1], found[0])
            return named.encode() if isinstance(named, Macaroon) else str(named)

        return re.sub(r"\{(\w+)\}", value, text)


def parse(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_does_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = blocks(page)
    assert {block.language for block in found} <= LANGUAGES
    if not any(block.language in ("sh", "shell", "python", "http") for block in found):
        return
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CAVEATS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ADMIN_PASSWORD", ADMIN_PASSWORD)
    first = {"CAVEATS_ADMIN_PASSWORD": None} if page.name == "README.md" else {}
    with local_service(tmp_path, **first) as service:
        if page.name != "README.md":
            service.add_user("alice", PASSWORD)
        with Client(service.url) as client:
            before = {path.name for path in tmp_path.iterdir()} | {"examples", "config"}
            reader = Reader(service)
            try:
                if page.name != "README.md":
                    reader.names["token"] = client.login("alice", PASSWORD).encode()
                    reader.names["admin"] = client.login(
                        "admin", ADMIN_PASSWORD, scope="* caveats:*"
                    ).encode()
                for block, after in zip_longest(found, found[1:]):
                    reader.follow(block, after)
                reader.look()
            finally:
                reader.close()
            made = [path for path in tmp_path.iterdir() if path.name not in before]
            seen = [path.name for path in made if not IGNORED.match_file(path.name + "/" * path.is_dir())]
            assert not seen, "git would see what the page makes"


IGNORED = GitIgnoreSpec.from_lines((ROOT / ".gitignore").read_text("utf-8").splitlines())
_ASKS = re.compile(r"caveats (login|register|passwd)|caveats-service users (add|passwd)")


WRITTEN = sorted(
    file
    for file in ROOT.rglob("*.md")
    if not IGNORED.match_file(str(file.relative_to(ROOT))) and ".git" not in file.parts
)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_can_be_pasted_block_by_block(page: Path) -> None:
    """No block has prompts in it, and none of commands a comment, which an interactive zsh does not know; who asks for a
    password stands alone, or the password would be the next line."""
    for block in blocks(page):
        lines = block.text.splitlines()
        assert not [line for line in lines if line.startswith("$ ")], f"{block.place}: a prompt"
        if block.language not in ("sh", "shell"):
            continue
        parse(block)
        for command in lines:
            assert not command.startswith((">", "#")), f"{block.place}: {command}"
            assert " #" not in command, f"{block.place}: {command}"
            asks = _ASKS.search(command) is not None and "--password-stdin" not in block.text
            assert not asks or len(lines) == 1, f"{block.place}: {command} asks for a password"


def test_what_can_be_pasted_into_a_python_has_no_prompts() -> None:
    """The README is pasted by people who have seen nothing else yet."""
    assert not [block.place for block in blocks(ROOT / "README.md") if ">>>" in block.text]


@pytest.mark.slow
def test_the_commands_of_contributing_run_as_they_are() -> None:
    (block,) = (block for block in blocks(ROOT / "CONTRIBUTING.md") if ".venv/bin/pytest" in block.text)
    pytest_line, make_line = block.text.splitlines()
    command = [sys.executable, "-m", *shlex.split(pytest_line.replace(".venv/bin/", ""))]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert said.returncode == 0, said.stdout
    assert re.search(r"\d+ passed", said.stdout)
    subprocess.run([*shlex.split(make_line), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(
    "name",
    ["photos.keys", "photos.verifier", "caveats.backup", "seal.key", "root.crt", "state/", "data/", ".venv/"],
)
def test_git_does_not_see_what_the_readme_makes(name: str) -> None:
    assert IGNORED.match_file(name)


def anchors(page: Path) -> set[str]:
    """The fragments by which a page's headings are linked; a second heading of the same words has -1 behind it."""
    found: dict[str, int] = {}
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text("utf-8"))):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found[name] = found.get(name, 0) + 1
    return {name if not n else f"{name}-{n}" for name, count in found.items() for n in range(count)}


LINKED = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))]


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = _FENCE.sub("", page.read_text("utf-8"))
    for link in _LINK.findall(text):
        if link.startswith(("https://", "http://")):
            continue
        name, _, fragment = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if fragment:
            assert fragment in anchors(target), link


def test_the_readme_links_to_every_page() -> None:
    linked = set(_LINK.findall((ROOT / "README.md").read_text("utf-8")))
    assert {str(page.relative_to(ROOT)) for page in DOCS.rglob("*.md")} <= {
        link.partition("#")[0] for link in linked
    }


# docs/architecture.md


ARCHITECTURE = (DOCS / "architecture.md").read_text("utf-8")
PACKAGES = ("caveats", "service/caveats_service", "clients/python/caveats_client")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_architecture_names_every_room(package: str) -> None:
    rooms = {found.parent.relative_to(ROOT) for found in (ROOT / package).glob("*/__init__.py")}
    assert rooms
    assert {str(room) for room in rooms} <= set(re.findall(r"`([\w/.]+)`", ARCHITECTURE))


@pytest.mark.parametrize(
    "page", [DOCS / "architecture.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name
)
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    for path in re.findall(r"`((?:caveats|service|clients|tests|docs)/[\w/.-]+)`", page.read_text("utf-8")):
        assert (ROOT / path).exists(), path


# docs/threat-model.md


def test_each_bound_of_the_threat_model_names_tests_that_are_there() -> None:
    text = (DOCS / "threat-model.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)
    }
    assert named
    assert named <= there, sorted(named - there)


# docs/settings.md


SETTINGS = DOCS / "settings.md"


def settings_table() -> str:
    rows = [
        f"| `{row.variable}` | `{row.default}` | {row.meaning} | {row.accepts} |"
        for row in describe_settings()
    ]
    return "\n".join(["| variable | default | meaning | accepts |", "|---|---|---|---|", *rows])


def test_the_table_of_settings_is_what_the_service_says_of_itself() -> None:
    """`python tests/test_docs.py` writes the table anew."""
    assert settings_table() in SETTINGS.read_text("utf-8")


# docs/http.md


def section(heading: str) -> str:
    """What stands under a heading of http.md, up to the next one."""
    text = (DOCS / "http.md").read_text("utf-8")
    assert f"### {heading}\n" in text, f"http.md says nothing of {heading}"
    return text.split(f"### {heading}\n", 1)[1].split("\n### ", 1)[0].split("\n## ", 1)[0]


ENDPOINTS = [(method, path) for method, path, _ in ROUTES]


def test_http_md_has_every_endpoint_and_no_other() -> None:
    text = (DOCS / "http.md").read_text("utf-8")
    documented = re.findall(r"^### ((?:GET|POST|PUT|DELETE|PATCH) \S+)$", text, re.MULTILINE)
    assert sorted(documented) == sorted(f"{method} {path}" for method, path in ENDPOINTS)


SHAPES = {
    name: shape
    for module in (schemas, discharge_schemas)
    for name, shape in vars(module).items()
    if isinstance(shape, type)
    and (issubclass(shape, BaseModel) or dataclasses.is_dataclass(shape))
    and shape.__module__ == module.__name__
    and shape not in (schemas.Schema, schemas.EmptyRequest)
}


def json_type(annotation: object) -> str:
    """An annotation in the words of the reference."""
    origin = typing.get_origin(annotation)
    inner = typing.get_args(annotation)
    if origin is typing.Annotated:
        return json_type(inner[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join("null" if each is types.NoneType else json_type(each) for each in inner)
    if origin is list:
        return f"list of {json_type(inner[0])}"
    if origin is dict:
        return "object"
    if isinstance(annotation, type) and annotation in SHAPES.values():
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    words = {str: "text", int: "integer", bool: "boolean", datetime: "time"}
    return words[annotation]  # type: ignore[index]


def members(shape: type) -> list[tuple[str, object, bool]]:
    """Each member's name and annotation, and whether a request has to have it."""
    if issubclass(shape, BaseModel):
        return [(name, info.annotation, info.is_required()) for name, info in shape.model_fields.items()]
    hints = typing.get_type_hints(shape)
    return [(field.name, hints[field.name], False) for field in dataclasses.fields(shape)]


@pytest.mark.parametrize("name", SHAPES)
def test_http_md_has_every_member_of_every_body(name: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", section(name), re.MULTILINE)
    expected = [
        (member, json_type(annotation) + ", required" * required)
        for member, annotation, required in members(SHAPES[name])
    ]
    assert rows == expected, "\n".join(f"| `{member}` | {kind} |  |" for member, kind in expected)


def test_http_md_has_every_problem_and_its_title() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [\d, ]+ \| ([^|]+?) \|", section("Problems"), re.MULTILINE)
    assert dict(rows) == dict(TITLES)
    assert [code for code, _ in rows] == sorted(TITLES)


# docs/caveats.md


def test_caveats_md_has_every_kind() -> None:
    text = (DOCS / "caveats.md").read_text("utf-8")
    documented = re.findall(r"^### (\S+)$", text, re.MULTILINE)
    assert sorted(documented) == sorted(standard_checkers().kinds)


def kinds_table() -> str:
    """The table of kinds in docs/caveats.md."""
    rows = ["| kind | says | flag of `caveats attenuate` | alive | handed on |", "|---|---|---|---|---|"]
    for row in STANDARD:
        kind = row.kind
        flag = f"`--{kind.kind} {row.asks}`" if row.asks else "none: the issuer writes it"
        marks = ["yes" if mark else "no" for mark in (kind.liveness, kind.inherited)]
        rows.append(f"| `{kind.kind}` | {row.summary} | {flag} | {' | '.join(marks)} |")
    return "\n".join(rows)


def test_caveats_md_has_the_table_of_kinds() -> None:
    assert kinds_table() in (DOCS / "caveats.md").read_text("utf-8"), "run python tests/test_docs.py"


def test_a_kind_that_only_the_issuer_writes_has_no_flag() -> None:
    assert {row.kind for row in STANDARD if row.kind.issuer_only} == {
        row.kind for row in STANDARD if not row.asks
    }


@pytest.mark.parametrize("kind", sorted(standard_checkers().kinds))
def test_the_examples_of_a_kind_are_of_that_kind(kind: str) -> None:
    text = (DOCS / "caveats.md").read_text("utf-8").split(f"### {kind}\n", 1)[1].split("\n### ", 1)[0]
    good = re.findall(rf"^- `({kind} = [^`]+)`", text, re.MULTILINE)
    bad = re.findall(rf"^- not `({kind} = [^`]+)`", text, re.MULTILINE)
    checkers = standard_checkers()
    assert good
    for predicate in good:
        assert checkers.parse(predicate.encode()).kind == kind, predicate
    for predicate in bad:
        assert checkers.parse(predicate.encode()).kind == "unknown", predicate


if __name__ == "__main__":
    for page, heading, table in (
        (SETTINGS, "| variable |", settings_table()),
        (DOCS / "caveats.md", "| kind | says |", kinds_table()),
    ):
        before, _, rest = page.read_text("utf-8").partition(heading)
        page.write_text(before + table + "\n\n" + rest.partition("\n\n")[2], "utf-8")
