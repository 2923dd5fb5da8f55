"""The wheel and the sdist, as a user installs them: what they hold, and that all of it works away from the checkout.

Slow, so `make wheel` runs it and `make test` does not. The first part needs no package index: the dependencies are those
installed here. The second part installs from one, as the README says; it is left out where none can be reached.
"""

from __future__ import annotations

import email
import email.message
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
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


def surroundings(**given: str) -> dict[str, str]:
    """The environment of a command: nothing of this process's may lead back to the checkout."""
    ours = ("PYTHON", "CAVEATS_", "VIRTUAL_ENV")
    outside = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return outside | {"PYTHONDONTWRITEBYTECODE": "1"} | given


def run(*command: str | Path, cwd: Path, expect: int = 0, **given: str) -> str:
    """What the command printed; a failure shows it all."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=surroundings(**given),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stdout
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
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", folder, cwd=ROOT)
    (made,) = folder.iterdir()
    return made


def metadata(wheel: Path) -> email.message.Message:
    (name,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(zipfile.ZipFile(wheel).read(name))


def describe(wheel: Path) -> str:
    """What a package index shows."""
    text = metadata(wheel).get_payload(decode=True)
    assert isinstance(text, bytes)
    return text.decode()


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


def files_in(folder: Path) -> Iterator[Path]:
    """Every file below it, through links as well."""
    for where, _, names in os.walk(folder, followlinks=True):
        yield from (Path(where, name) for name in names)


def test_it_holds_every_file_of_the_three_packages_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    written = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in files_in(folder)
        if "__pycache__" not in path.parts
    }
    assert held == written


def test_the_consoles_pages_come_along_with_the_client_that_they_run(wheel: Path) -> None:
    """In the checkout `client` is a link to the JavaScript client's modules; here they are files."""
    held = zipfile.ZipFile(wheel).namelist()
    console = "caveats_service/console"
    assert {f"{console}/{name}" for name in ("index.html", "style.css", "admin/keys.js")} <= set(held)
    modules = (ROOT / "clients" / "javascript" / "src").rglob("*.js")
    names = {
        f"{console}/client/{path.relative_to(ROOT / 'clients/javascript/src').as_posix()}" for path in modules
    }
    assert f"{console}/client/index.js" in names
    assert names <= set(held)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_that_it_is_typed(wheel: Path, package: str) -> None:
    assert f"{package}/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_the_migrations_come_along(wheel: Path) -> None:
    held = zipfile.ZipFile(wheel).namelist()
    assert "caveats_service/storage/migrations/env.py" in held
    assert any(name.startswith("caveats_service/storage/migrations/versions/0001") for name in held)


def test_the_licence_comes_along(wheel: Path) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_the_sdist_makes_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path)
    run(sys.executable, *build, sdist, cwd=tmp_path)
    (made,) = tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(made).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())
    assert metadata(made).as_string() == metadata(wheel).as_string()


def test_the_sdist_holds_no_tests_and_nobodys_files(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    packages = {"caveats", "caveats_cli", "service", "clients"}
    texts = {"LICENSE", "README.md", "CHANGELOG.md", "PKG-INFO", "pyproject.toml", ".gitignore"}
    assert held == packages | texts


_LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_the_description_is_the_readme_with_absolute_links(wheel: Path) -> None:
    description = describe(wheel)
    readme = (ROOT / "README.md").read_text("utf-8")
    links = _LINK.findall(description)
    assert len(links) == len(_LINK.findall(readme)) > 20
    assert [link for link in links if not link.startswith("https://")] == []
    assert metadata(wheel)["Description-Content-Type"] == "text/markdown"
    assert _LINK.sub("", description).split() == _LINK.sub("", readme).split()


def test_the_project_has_addresses_and_nothing_is_published_under_a_placeholder(wheel: Path) -> None:
    """`.example` belongs to nobody (RFC 2606), and a package index takes nothing that is "Private"."""
    urls = dict(one.split(", ", 1) for one in metadata(wheel).get_all("Project-URL", []))
    assert {"Documentation", "Changelog", "Security"} <= urls.keys()
    description = describe(wheel)
    for url in urls.values():
        host, _, path = url.removeprefix("https://").partition("/")
        assert (ROOT / path).exists(), url
        assert f"](https://{host}/" in description, "the addresses are of one place"
        private = "Private :: Do Not Upload" in metadata(wheel).get_all("Classifier", [])
        assert private == host.endswith(".example")


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


# From a package index, with what the README tells to type.


_INSTALL = re.compile(r"^\| (pip|uv.*|pipx) \| `(.+)` \|$", re.MULTILINE)
WAYS = dict(_INSTALL.findall((ROOT / "README.md").read_text("utf-8")))
PASSWORD = "the admin of a moment"


def pip_says(folder: Path) -> dict[str, str]:
    """How pip reaches its index here: uv reads none of pip's settings."""
    listed = run(sys.executable, "-m", "pip", "config", "list", cwd=folder)
    return dict(re.findall(r"^\S*?([\w-]+)='(.*)'$", listed, re.MULTILINE))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which uv and pipx are programs, and install what constraints.txt has from the package index."""
    folder = tmp_path_factory.mktemp("tools")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    fetch = ("-m", "pip", "--python", python, "install", "--quiet", "--retries", "1", "uv", "pipx")
    try:
        run(sys.executable, *fetch, cwd=folder)
    except AssertionError:
        pytest.skip(
            "uv and pipx cannot be had from the package index: what is installed from there is not tested"
        )
    here = pip_says(folder)
    known = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE", "find-links": "UV_FIND_LINKS"}
    return {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
        "UV_CONSTRAINT": str(ROOT / "constraints.txt"),
        "UV_PYTHON_DOWNLOADS": "never",
        "PIPX_DEFAULT_PYTHON": sys.executable,
        **{name: here[setting] for setting, name in known.items() if setting in here},
    }


@contextmanager
def served(programs: Path, folder: Path) -> Iterator[str]:
    """The address of the installed service, while it runs."""
    command = [str(programs / "caveats-service"), "serve", "--port", "0"]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=surroundings(CAVEATS_ADMIN_PASSWORD=PASSWORD),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if found := re.search(r"serving on (\S+),", line):
                    yield found[1]
                    return
            raise AssertionError(said)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)


def programs_work(programs: Path, folder: Path) -> None:
    """Sign in at the installed service with the installed client, narrow a token, verify it, and have one refused."""
    with served(programs, folder) as url:
        for file in ("style.css", "admin/keys.js", "client/index.js"):
            with urllib.request.urlopen(f"{url}/console/{file}", timeout=20) as answer:
                assert answer.read()
        login = {"CAVEATS_PASSWORD": PASSWORD, "CAVEATS_CONFIG_DIR": str(folder / "config")}
        run(programs / "caveats", "login", "admin", "--url", url, cwd=folder, **login)
        narrow = run(
            programs / "caveats", "attenuate", "--scope", "a:read", cwd=folder, **login
        ).splitlines()[-1]
        verify = (programs / "caveats", "verify", narrow, "--scope")
        assert "granted" in run(*verify, "a:read", cwd=folder, **login)
        assert "refuses" in run(*verify, "a:write", cwd=folder, expect=4, **login)


@pytest.fixture(scope="module")
def checkout() -> Path:
    return ROOT


@pytest.mark.parametrize(
    ("way", "source"),
    [("pip", "checkout"), *((way, source) for way in WAYS for source in ("wheel", "sdist"))],
)
def test_what_the_readme_says_installs_it(
    way: str, source: str, index: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = request.getfixturevalue(source)
    homes = {
        "UV_TOOL_DIR": str(tmp_path / "tools"),
        "UV_TOOL_BIN_DIR": str(tmp_path / ".venv" / "bin"),
        "PIPX_HOME": str(tmp_path / "pipx"),
        "PIPX_BIN_DIR": str(tmp_path / ".venv" / "bin"),
        "PIPX_MAN_DIR": str(tmp_path / "man"),
    }
    command = WAYS[way].replace("'.[", f"'{place}[")
    assert str(place) in command
    run("sh", "-c", command, cwd=tmp_path, **index, **homes)
    programs_work(tmp_path / ".venv" / "bin", tmp_path)


def test_the_readme_names_every_way() -> None:
    assert {way.split(",")[0] for way in WAYS} == {"pip", "uv", "pipx"}
    assert any("uv tool install" in command for command in WAYS.values())


@contextmanager
def environment(folder: Path, index: dict[str, str], what: str) -> Iterator[Path]:
    """The scripts of a new environment with `what`, installed by uv: pip takes five times as long."""
    run("uv", "venv", "--quiet", folder / "venv", cwd=folder, **index)
    python = folder / "venv" / "bin" / "python"
    run("uv", "pip", "install", "--quiet", "--python", python, what, cwd=folder, **index)
    yield python.parent


@pytest.mark.parametrize(
    ("extra", "missing"),
    [
        ("", {"caveats": ("click", "client"), "caveats-service": ("click", "service")}),
        ("[client]", {"caveats-service serve": ("", "service")}),
        ("[service]", {"caveats login": ("", "client")}),
    ],
    ids=["library", "client", "service"],
)
def test_a_program_whose_extra_was_left_out_says_so(
    extra: str, missing: dict[str, tuple[str, str]], index: dict[str, str], wheel: Path, tmp_path: Path
) -> None:
    with environment(tmp_path, index, f"{wheel}{extra}") as programs:
        assert run(programs / "python", "-c", "import caveats; print(caveats.__version__)", cwd=tmp_path)
        assert run(programs / "python", "-W", "error", "-c", SESSION, cwd=tmp_path) == "alice\nalice\n1\n"
        for command, (package, wanted) in missing.items():
            program, *arguments = command.split()
            said = run(programs / program, *arguments, cwd=tmp_path, expect=2)
            assert re.fullmatch(
                rf"{program}: {package or '[a-z0-9_]+'} is not installed: pip install 'caveats\[{wanted}\]'\n",
                said,
            )


FRAMEWORKS = ("django", "fastapi", "flask", "starlette")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_frameworks_extra_is_all_that_its_guard_needs(
    framework: str, index: dict[str, str], wheel: Path, tmp_path: Path
) -> None:
    with environment(tmp_path, index, f"{wheel}[{framework}]") as programs:
        guard = f"import caveats_client.guards.{framework}, caveats_client.verifiers.local"
        run(programs / "python", "-W", "error", "-c", guard, cwd=tmp_path)
        for other in {*FRAMEWORKS} - {framework} - ({"starlette"} if framework == "fastapi" else set()):
            said = run(
                programs / "python", "-c", f"import caveats_client.guards.{other}", cwd=tmp_path, expect=1
            )
            assert f"pip install 'caveats[{other}]'" in said
