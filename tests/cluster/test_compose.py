"""compose.yaml says what there is, and what it says works: the same nodes, app and proxy, as processes."""

from __future__ import annotations

import contextlib
import importlib.metadata
import ipaddress
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import yaml
from packaging.requirements import Requirement

from caveats_service.settings import describe_settings
from tests.support.cluster import SEAL_KEY
from tests.support.service import bearer, free_port, narrow, until

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
CADDYFILE = ROOT / "docs" / "compose" / "Caddyfile"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PASSWORD = "the admin of a moment"
GIVEN = {"POSTGRES_PASSWORD": "secret", "CAVEATS_SEAL_KEY": SEAL_KEY, "CAVEATS_ADMIN_PASSWORD": PASSWORD}
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::\?([^}]*))?\}")


def filled(text: str) -> str:
    return _VARIABLE.sub(lambda found: GIVEN[found[1]], text)


def scripts() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group="console_scripts")}


def served_ports() -> dict[str, int]:
    """On which port each of our services is."""
    found = {}
    exposed = int(re.search(r"(?m)^EXPOSE (\d+)$", DOCKERFILE)[1])  # type: ignore[index]
    for name, service in OURS.items():
        command = service["command"]
        if "serve" in command or "--port" in command:
            found[name] = int(command[command.index("--port") + 1]) if "--port" in command else exposed
    return found


def test_it_is_two_nodes_postgresql_caddy_and_an_app() -> None:
    assert set(SERVICES) == {"postgres", "node-1", "node-2", "caddy", "photos-keys", "photos"}
    assert SERVICES["node-1"] == SERVICES["node-2"]
    workers = SERVICES["node-1"]["command"]
    assert workers[workers.index("--workers") + 1] == "2"


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_one_that_is_read(name: str) -> None:
    settings = {row.variable for row in describe_settings()}
    app = set(re.findall(r'os\.environ\["([A-Z_]+)"\]', (ROOT / "examples/photos/photos.py").read_text()))
    app |= {"PHOTOS_FEED_TOKEN", "PYTHONPATH"}
    known = app if name == "photos" else settings
    assert set(OURS[name]["environment"]) <= known


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_a_script_that_the_image_has(name: str) -> None:
    assert OURS[name]["command"][0] in scripts()
    assert OURS[name]["build"] == "."


def test_the_image_runs_as_nobody_in_particular_and_its_folder_is_where_volumes_go() -> None:
    users = re.findall(r"(?m)^USER (\S+)$", DOCKERFILE)
    assert users
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])  # numbers: Kubernetes can see that it is not root
    (home,) = re.findall(r"(?m)^WORKDIR (/var\S+)$", DOCKERFILE)
    for service in OURS.values():
        for volume in service.get("volumes", ()):
            if not volume.startswith("."):
                assert (
                    volume.split(":")[1] == home
                )  # where the user may write: a new volume takes its owner over


def test_the_image_has_what_the_service_needs_and_no_web_framework() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = set(re.findall(r"(?m)^COPY (\S+) \S+$", DOCKERFILE))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {package.partition("/")[0] for package in packages} <= copied
    extras = re.findall(r"\[([a-z,]+)\]", DOCKERFILE)
    assert set(extras) == {"service,client"}
    asked = {
        Requirement(one).name
        for extra in ("service", "client")
        for one in project["project"]["optional-dependencies"][extra]
    }
    assert asked.isdisjoint(("django", "fastapi", "flask"))


def test_the_image_keeps_its_data_in_a_volume_and_asks_whether_it_lives() -> None:
    (volume,) = re.findall(r'(?m)^VOLUME \["(\S+)"\]$', DOCKERFILE)
    (data,) = re.findall(r"CAVEATS_DATA_DIR=(\S+)", DOCKERFILE)
    assert data.startswith(f"{volume}/")
    (check,) = re.findall(r"(?m)^HEALTHCHECK .*CMD (\[.*\])$", DOCKERFILE)
    assert json.loads(check) == ["python", "-m", "caveats_service.server.health"]  # /healthz
    asked = SERVICES["node-1"]["healthcheck"]["test"]
    assert asked == ["CMD", "python", "-m", "caveats_service.server.health", "/readyz"]


def test_volumes_and_files_are_there() -> None:
    named = set()
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source, target, *mode = volume.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (ROOT / source).exists(), source
                assert mode == ["ro"]
            else:
                named.add(source)
    assert named == set(COMPOSE["volumes"])


def test_whatever_is_waited_for_is_there_and_can_say_that_it_is_ready() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            waited_for = SERVICES[name]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in waited_for or ("build" in waited_for and "HEALTHCHECK" in DOCKERFILE)
            else:
                assert how["condition"] == "service_completed_successfully"
                assert waited_for["restart"] == "no"


def test_ports_line_up_from_the_outside_to_the_processes() -> None:
    published = {int(port.split(":")[-1]) for port in SERVICES["caddy"]["ports"]}
    text = CADDYFILE.read_text()
    listening = {int(port) for port in re.findall(r"(?m)^\{\$\w+:https://localhost:(\d+)\} \{$", text)}
    assert published == listening
    upstreams = re.findall(r"reverse_proxy \{\$\w+:([^}]+)\}", text)
    asked = dict(address.split(":") for upstream in upstreams for address in upstream.split())
    assert {name: int(port) for name, port in asked.items()} == served_ports()
    assert SERVICES["photos"]["environment"]["CAVEATS_URL"] == f"http://node-1:{served_ports()['node-1']}"


def test_every_secret_must_be_given_and_the_docs_say_how() -> None:
    text = (ROOT / "compose.yaml").read_text()
    needed = {found[1]: found[2] for found in _VARIABLE.finditer(text)}
    assert set(needed) == set(GIVEN)
    assert all(needed.values())  # ${NAME:?why}: without it nothing starts
    docs = (ROOT / "docs" / "cluster.md").read_text()
    assert all(name in docs for name in needed)


def test_the_nodes_believe_caddy_and_nobody_else_on_the_network() -> None:
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    address = ipaddress.ip_address(SERVICES["caddy"]["networks"]["default"]["ipv4_address"])
    assert SERVICES["node-1"]["environment"]["CAVEATS_TRUSTED_PROXIES"] == str(address)
    assert address in ipaddress.ip_network(network["subnet"])
    assert address not in ipaddress.ip_network(network["ip_range"])  # so that no other container gets it


def test_what_is_published_is_for_this_machine_and_has_tls() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published == SERVICES["caddy"]["ports"]
    assert all(port.startswith("127.0.0.1:") for port in published)
    sites = re.findall(r"(?m)^(\S+) \{$", CADDYFILE.read_text())
    assert len(sites) == len(published)
    assert all("https://" in site for site in sites)
    public = SERVICES["node-1"]["environment"]["CAVEATS_PUBLIC_URL"]
    assert public in sites[0]


# The same with processes


@contextlib.contextmanager
def process(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """The command of a service until the end of the block."""
    folder.mkdir(exist_ok=True)
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("CAVEATS_", "PHOTOS_"))
    }
    with (folder / "said.txt").open("wb") as said:
        running = subprocess.Popen(
            command,
            cwd=folder,
            env={**clean, **environment},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    try:
        yield
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def script(command: list[str]) -> list[str]:
    """The command, from wherever the scripts of this Python are."""
    return [str(Path(sys.executable).parent / command[0]), *command[1:]]


def answers(url: str, path: str, *expected: int, trust: ssl.SSLContext | None = None) -> bool:
    time.sleep(0.05)  # those who start need the processor
    try:
        with urllib.request.urlopen(url + path, timeout=2, context=trust) as answer:
            return answer.status in expected
    except urllib.error.HTTPError as error:
        error.close()
        return error.code in expected
    except OSError:
        return False


def test_the_same_nodes_and_app_work_as_processes(database: str, tmp_path: Path) -> None:
    ports = {name: free_port() for name in served_ports()}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    home = tmp_path / "home"
    home.mkdir()

    def here(name: str) -> tuple[list[str], dict[str, str]]:
        """The command and the environment of a service, with this machine's addresses and folders in them."""
        said = OURS[name]["environment"]
        environment = {key: filled(value) for key, value in said.items() if value is not None}
        if "CAVEATS_DATABASE_URL" in environment:
            environment["CAVEATS_DATABASE_URL"] = database
        if name in ports and "serve" in OURS[name]["command"]:
            environment |= {"CAVEATS_PORT": str(ports[name]), "CAVEATS_TRUSTED_PROXIES": "127.0.0.1"}
        elsewhere = {
            "/examples": str(ROOT / "examples"),
            "/var/lib/caveats": str(home),
            "http://node-1:8080": urls["node-1"],
        }
        for there, path in elsewhere.items():
            environment = {key: value.replace(there, path) for key, value in environment.items()}
        command = [
            elsewhere["/var/lib/caveats"].join(part.split("/var/lib/caveats"))
            for part in OURS[name]["command"]
        ]
        if "--port" in command:
            command[command.index("--port") + 1] = str(ports[name])
        return script(command), environment

    with contextlib.ExitStack() as stack:
        for name in ("node-1", "node-2"):
            command, environment = here(name)
            stack.enter_context(process(command, tmp_path / name, environment))
        for name in ("node-1", "node-2"):
            until(lambda name=name: answers(urls[name], "/readyz", 200), 60)
        command, environment = here("photos-keys")
        subprocess.run(
            command, env={**os.environ, **environment}, check=True, capture_output=True, timeout=60
        )
        keys = json.loads((home / "photos.keys").read_text())
        assert keys["audience"] == "photos"
        with httpx.Client() as inside:
            token = _token(urls["node-1"], inside, scope="* caveats:*")
        feed_token = narrow(token, "method = GET", "path = /v1/revocations")
        command, environment = here("photos")
        environment["PHOTOS_FEED_TOKEN"] = feed_token
        stack.enter_context(process(command, tmp_path / "photos", environment))
        until(lambda: answers(urls["photos"], "/albums", 401), 60)
        service, app, http = _through_caddy(stack, tmp_path, urls)
        photos = _token(service, http, audience="photos", scope="photos:*")
        copy = narrow(photos, "scope = photos/42:read")
        assert http.get(f"{app}/albums", headers=bearer(photos)).json()["albums"] == [42, 43]
        assert http.get(f"{app}/albums/42", headers=bearer(copy)).status_code == 200
        assert http.get(f"{app}/albums/43", headers=bearer(copy)).status_code == 403
        for _ in range(4):  # at whichever node
            asked = {"token": photos, "audience": "photos", "scope": "photos:read"}
            assert http.post(f"{service}/v1/verify", json=asked).json()["granted"]
        revoked_it = http.post(f"{service}/v1/revocations", json={"presented": True}, headers=bearer(copy))
        assert revoked_it.status_code == 201
        revoked = time.monotonic()
        until(lambda: http.get(f"{app}/albums/42", headers=bearer(copy)).status_code == 401, 5)
        print(f"the app refuses {time.monotonic() - revoked:.1f} s after the revocation")
        assert http.get(f"{app}/albums/42", headers=bearer(photos)).status_code == 200


def _token(url: str, http: httpx.Client, **asked: str) -> str:
    body = {"username": "admin", "password": PASSWORD, **asked}
    answer = http.post(f"{url}/v1/tokens", json=body, timeout=30)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def _through_caddy(
    stack: contextlib.ExitStack, folder: Path, urls: dict[str, str]
) -> tuple[str, str, httpx.Client]:
    """Where the service and the app are to the outside, and who asks there: Caddy, if it is installed, else they themselves."""
    caddy = shutil.which("caddy")
    if caddy is None:
        return urls["node-2"], urls["photos"], stack.enter_context(httpx.Client())
    service, app = (f"https://localhost:{free_port()}" for _ in range(2))
    environment = {
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "SERVICE": service,
        "APP": app,
        "NODES": " ".join(urls[name].removeprefix("http://") for name in ("node-1", "node-2")),
        "APP_NODE": urls["photos"].removeprefix("http://"),
    }
    command = [caddy, "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
    stack.enter_context(process(command, folder / "caddy", environment))
    root = folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"
    until(root.exists, 30)
    trust = ssl.create_default_context(cafile=str(root))
    until(
        lambda: answers(service, "/readyz", 200, trust=trust) and answers(app, "/albums", 401, trust=trust),
        30,
    )
    return service, app, stack.enter_context(httpx.Client(verify=trust, trust_env=False, timeout=30))
