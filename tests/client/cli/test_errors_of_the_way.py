"""What `caveats` says when there is no service at the address, or something else: a table of what is typed and what is said.

Each row is typed into the installed program in an empty environment, and asked for as JSON. `before` is what was said when the
row was written down.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from caveats import Macaroon
from caveats_client.cli.app import app
from tests.support.programs import WIDTHS, empty, on_terminal, piped

pytestmark = pytest.mark.slow


class Other(BaseHTTPRequestHandler):
    """A server that is no caveats service: the first word of the path says which kind of one."""

    kind = "page"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, headers, body = {
            "page": (200, {"Content-Type": "text/html"}, b"<!doctype html><title>Welcome</title>"),
            "not-found": (404, {"Content-Type": "text/html"}, b"<html><h1>404 Not Found</h1></html>"),
            "api": (404, {"Content-Type": "application/json"}, b'{"detail":"Not Found"}'),
            "other-json": (200, {"Content-Type": "application/json"}, b'{"status":"ok"}'),
            "to-https": (301, {"Location": f"https://auth.example{self.path}"}, b""),
            "to-login": (302, {"Location": "https://login.example/start?next=secret"}, b""),
            "to-nothing": (302, {"Location": "/somewhere"}, b""),
            "wants-tls": (
                400,
                {"Content-Type": "text/html"},
                b"<center>The plain HTTP request was sent to HTTPS port",
            ),
            "gateway": (502, {"Content-Type": "text/html"}, b"<html>Bad Gateway</html>"),
        }[self.kind]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def other(kind: str, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Other,), {"kind": kind})) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """With a certificate that nobody trusts."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    both = made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "both.pem").write_bytes(both)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context


@dataclass(frozen=True)
class Row:
    """One thing that is typed, and what is said. PORT stands for the server's port."""

    there: str
    """What listens: a kind of `Other`, `tls`, or nothing."""
    url: str
    before: str
    after: str
    code: int


ROWS = [
    Row(
        "nothing",
        "http://127.0.0.1:PORT",
        "cannot reach http://127.0.0.1:PORT: [Errno 111] Connection refused",
        "cannot reach http://127.0.0.1:PORT: connection refused: is the service running, and is the port right?",
        6,
    ),
    Row(
        "nothing",
        "https://no-such-host.invalid",
        "cannot reach https://no-such-host.invalid: [Errno -2] Name or service not known",
        "cannot reach https://no-such-host.invalid: its name cannot be looked up",
        6,
    ),
    Row(
        "page",
        "http://127.0.0.1:PORT",
        "the answer to POST /v1/verify is not that of a caveats service: it is not JSON",
        "the answer of http://127.0.0.1:PORT to POST /v1/verify is not that of a caveats service: it is a page of HTML, not JSON",
        1,
    ),
    Row(
        "not-found",
        "http://127.0.0.1:PORT",
        "something on the way answers 404, or what is there is not a caveats service",
        "something on the way answers 404, or what is at http://127.0.0.1:PORT is not a caveats service",
        1,
    ),
    Row(
        "api",
        "http://127.0.0.1:PORT",
        "something on the way answers 404, or what is there is not a caveats service",
        "something on the way answers 404, or what is at http://127.0.0.1:PORT is not a caveats service",
        1,
    ),
    Row(
        "other-json",
        "http://127.0.0.1:PORT",
        "the answer to POST /v1/verify is not that of a caveats service: it is the answer to another request",
        "the answer of http://127.0.0.1:PORT to POST /v1/verify is not that of a caveats service",
        1,
    ),
    Row(
        "to-https",
        "http://127.0.0.1:PORT",
        "the service answers with a redirect, which is not followed: give the address that it leads to",
        "http://127.0.0.1:PORT answers with a redirect to https://auth.example, which is not followed: "
        "if that is the service, use that address",
        1,
    ),
    Row(
        "to-login",
        "http://127.0.0.1:PORT",
        "the service answers with a redirect, which is not followed: give the address that it leads to",
        "http://127.0.0.1:PORT answers with a redirect to https://login.example, which is not followed: "
        "if that is the service, use that address",
        1,
    ),
    Row(
        "to-nothing",
        "http://127.0.0.1:PORT",
        "the service answers with a redirect, which is not followed: give the address that it leads to",
        "http://127.0.0.1:PORT answers with a redirect, which is not followed: is the address right?",
        1,
    ),
    Row(
        "gateway",
        "http://127.0.0.1:PORT",
        "the service answers 502",
        "http://127.0.0.1:PORT answers 502",
        6,
    ),
    Row(
        "wants-tls",
        "http://127.0.0.1:PORT",
        "something on the way answers 400, or what is there is not a caveats service",
        "http://127.0.0.1:PORT wants TLS: use https://127.0.0.1:PORT",
        1,
    ),
    Row(
        "tls",
        "http://127.0.0.1:PORT",
        "cannot reach http://127.0.0.1:PORT: [Errno 104] Connection reset by peer",
        "use https://127.0.0.1:PORT",
        6,
    ),
    Row(
        "tls",
        "https://127.0.0.1:PORT",
        "cannot reach https://127.0.0.1:PORT: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:1006)",
        "cannot reach https://127.0.0.1:PORT: its certificate is not trusted (self-signed certificate); "
        "SSL_CERT_FILE names other authorities",
        6,
    ),
    Row(
        "page",
        "https://127.0.0.1:PORT",
        "cannot reach https://127.0.0.1:PORT: [SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)",
        "cannot reach https://127.0.0.1:PORT: it does not speak TLS: if it is plain http, use http://127.0.0.1:PORT",
        6,
    ),
    Row(
        "nothing",
        "127.0.0.1:PORT",
        "'127.0.0.1:PORT' is not the address of a service: expected https://host",
        "127.0.0.1:PORT has no scheme: http://127.0.0.1:PORT is meant",
        6,
    ),
    Row(
        "nothing",
        "'http://127.0.0.1:PORT'",
        "\"'http://127.0.0.1:PORT'\" is not the address of a service: expected https://host",
        "cannot reach http://127.0.0.1:PORT: ",
        6,
    ),
    Row(
        "nothing",
        "http://127.0.0.1:PORT/v1/tokens",
        "cannot reach http://127.0.0.1:PORT: ... (a 404 where the service runs)",
        "the service's address is http://127.0.0.1:PORT: what followed is left out",
        6,
    ),
    Row(
        "nothing",
        "http://alice:hunter2@127.0.0.1:PORT",
        "an address with a user name or a password in it ends up in logs: leave them out",
        "an address with a user name or a password in it ends up in logs: leave them out, and sign in with `caveats login`",
        2,
    ),
    Row(
        "nothing",
        "http://auth.example",
        "http://auth.example is plain http: everyone on the way could read the token.",
        "http://auth.example is plain http: everyone on the way could read the token.",
        2,
    ),
]


@pytest.fixture
def port(request: pytest.FixtureRequest, tls: ssl.SSLContext) -> Iterator[int]:
    there = request.param
    if there == "nothing":
        yield 9
        return
    with other("page" if there == "tls" else there, tls if there == "tls" else None) as found:
        yield found


def named(row: Row) -> str:
    return f"{row.there} {row.url}"


@pytest.mark.parametrize(
    ("row", "port"), [(row, row.there) for row in ROWS], indirect=["port"], ids=map(named, ROWS)
)
def test_what_is_wrong_on_the_way_is_said_in_a_line_that_says_what_to_do(
    row: Row, port: int, token: Macaroon, tmp_path: Path
) -> None:
    url, words = (text.replace("PORT", str(port)) for text in (row.url, row.after))
    typed, env = ("caveats", "whoami", token.encode(), "--url", url), empty(tmp_path)

    done = piped(*typed, env=env)
    assert (done.code, done.stdout) == (row.code, "")
    assert words in done.stderr
    assert all(line.startswith(("caveats: ", "try: ")) for line in done.stderr.splitlines())

    told = CliRunner().invoke(app, [*typed[1:], "--json"], prog_name="caveats")
    assert (told.exit_code, told.stdout) == (row.code, "")
    error = json.loads(told.stderr.splitlines()[-1])
    assert error["exit_code"] == row.code
    assert error["code"]
    assert error["detail"] in done.stderr or words in error["detail"]  # TLS is heard in two ways, by chance
    for said in (done.stderr, told.stderr):
        assert not any(
            secret in said for secret in ("hunter2", "Errno", "next=", token.encode(), "Traceback")
        )


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_terminal_is_told_the_same_as_a_pipe_however_wide_it_is(
    token: Macaroon, tmp_path: Path, columns: int
) -> None:
    typed, env = ("caveats", "whoami", token.encode(), "--url", "127.0.0.1:9"), empty(tmp_path)
    shown = on_terminal(*typed, env=env, columns=columns)
    assert (shown.code, shown.stdout) == (6, piped(*typed, env=env).stderr)
