"""Real connections, byte for byte: no body is lost by an upgrade, and no connection gets out of step."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from caveats_service.server import uvicorn as server
from tests.support.service import Service, bearer, new_user, raw, serving, status_of

CURL_H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
"""What `curl --http2` sends over plain http."""
JDK_H2C = (
    "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
    "Upgrade: h2c\r\n"
)
"""What java.net.http.HttpClient sends over plain http."""
UPGRADES = {
    "curl": CURL_H2C,
    "the JDK": JDK_H2C,
    "a proxy with the usual WebSocket lines": "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "a WebSocket handshake": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "two lines": "Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: foo/2\r\n",
    "TLS": "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
}


def post(path: str, body: bytes, *lines: str, framing: str | None = None) -> bytes:
    """A POST of JSON. `framing`: the header that says where the body ends, if it is not its length."""
    framing = f"Content-Length: {len(body)}\r\n" if framing is None else framing
    head = (
        f"POST {path} HTTP/1.1\r\nHost: auth.example\r\nUser-Agent: test\r\nAccept: */*\r\n"
        f"Content-Type: application/json\r\n{''.join(lines)}{framing}\r\n"
    )
    return head.encode() + body


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


class Connection:
    """One kept connection, on which answers are read one by one."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.received = b""

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body. Status 0: the server has closed."""
        head, blank, _ = self._until(lambda got: b"\r\n\r\n" in got).partition(b"\r\n\r\n")
        if not blank:
            return 0, {}, head
        lines = head.decode("latin-1").split("\r\n")[1:]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        whole = self._until(lambda got: len(got) >= len(head) + 4 + length)
        self.received = whole[len(head) + 4 + length :]
        return status_of(whole), headers, whole[len(head) + 4 :][:length]

    def _until(self, enough: Callable[[bytes], bool]) -> bytes:
        while not enough(self.received):
            chunk = self.socket.recv(65536)
            if not chunk:
                break
            self.received += chunk
        return self.received


@pytest.fixture
def connection(service: Service) -> Iterator[Connection]:
    made = Connection(service.port)
    with made.socket:
        yield made


# an upgrade that is not taken


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES.keys())
@pytest.mark.parametrize("how", ["at once", "head and body apart", "byte by byte", "chunked"])
def test_an_upgrade_that_is_not_taken_is_ignored_and_the_body_is_read(
    connection: Connection, service: Service, upgrade: str, how: str
) -> None:
    user = new_user(service)
    wish = {
        "username": user.username,
        "password": user.password,
        "scope": "photos:read",
        "expires_in": 600,
    }
    body = json.dumps(wish).encode()
    if how == "chunked":
        request = post("/v1/tokens", chunked(body), upgrade, framing="Transfer-Encoding: chunked\r\n")
    else:
        request = post("/v1/tokens", body, upgrade)
    cut = request.index(b"\r\n\r\n") + 4
    match how:
        case "byte by byte":
            connection.send(*(request[at : at + 1] for at in range(len(request))))
        case "head and body apart":
            connection.send(request[:cut], request[cut:])
        case _:
            connection.send(request)
    status, _, answered = connection.answer()
    issued = json.loads(answered)
    assert (status, issued.get("scope")) == (201, "photos:read"), answered
    connection.send(b"GET /v1/authorize HTTP/1.1\r\nHost: a\r\n\r\n")  # and the connection is in step
    assert connection.answer()[0] == 401


def test_who_revokes_another_token_through_an_upgrade_keeps_their_own(
    connection: Connection, service: Service, http: httpx.Client
) -> None:
    user = new_user(service)
    mine, other = user.token(), user.issue(note="other")
    body = json.dumps({"token_id": other["token_id"]}).encode()
    connection.send(post("/v1/revocations", body, CURL_H2C, f"Authorization: Bearer {mine}\r\n"))
    assert connection.answer()[0] == 201
    assert http.get("/v1/authorize", headers=bearer(mine)).status_code == 200
    assert http.get("/v1/authorize", headers=bearer(other["token"])).status_code == 401


def test_upgrades_in_a_row_on_one_connection_are_all_answered(connection: Connection) -> None:
    asked = f"GET /healthz HTTP/1.1\r\nHost: a\r\n{CURL_H2C}\r\n".encode()
    body = b'{"token": "cav1_x"}'
    connection.send((asked + post("/v1/verify", body, JDK_H2C)) * 3)
    statuses = [connection.answer()[0] for _ in range(6)]
    assert statuses == [200, 401] * 3


def test_an_upgrade_hides_no_second_request(service: Service) -> None:
    """The head is parsed twice: nothing in it may be another line the second time."""
    for line in ("X: a\r\n b\r\n", "X: a\r\n\tGET / HTTP/1.1\r\n", "X: a\rb\r\n", "X: a\nY: b\r\n"):
        answer = raw(service, f"GET /healthz HTTP/1.1\r\nHost: a\r\n{line}{CURL_H2C}\r\n".encode(), wait=2)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert status_of(answer) in (200, 400)


@pytest.mark.parametrize(
    ("version", "line"),
    [
        pytest.param("1.1", "Connection: close, Upgrade\r\nUpgrade: h2c\r\n", id="the last request"),
        pytest.param(
            "1.1", "Connection: close\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", id="two lines"
        ),
        pytest.param(
            "1.0", "Connection: upgrade\r\nUpgrade: h2c\r\n", id="HTTP/1.0, nginx without a version"
        ),
        pytest.param("1.0", "Connection: keep-alive, upgrade\r\nUpgrade: h2c\r\n", id="HTTP/1.0, kept"),
    ],
)
def test_an_upgrade_in_the_last_request_of_a_connection_is_ignored_too(
    connection: Connection, version: str, line: str
) -> None:
    request = post("/v1/verify", b'{"token": "cav1_x"}', line).replace(
        b"HTTP/1.1", f"HTTP/{version}".encode()
    )
    connection.send(request)
    status, headers, _ = connection.answer()
    assert (status, headers["connection"]) == (401, "close")
    assert connection.answer()[0] == 0


def test_connect_is_no_method_of_this_service(service: Service) -> None:
    answer = raw(
        service, b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    assert status_of(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("protocol", ["h11", "httptools"])
def test_a_body_that_another_server_protocol_lost_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """Under uvicorn's own protocols the body is read as well, or the request is refused."""
    ours = server.options
    import tests.support.service as support

    monkeypatch.setattr(support, "options", lambda settings: {**ours(settings), "http": protocol})
    with serving(tmp_path) as other:
        user = new_user(other)
        wish = {"username": user.username, "password": user.password, "scope": "photos:read"}
        answer = raw(other, post("/v1/tokens", json.dumps(wish).encode(), CURL_H2C))
        assert status_of(answer) == {"h11": 201, "httptools": 400}[protocol], answer


# what comes after a body


def with_trailers(body: bytes, *trailers: str) -> bytes:
    return b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, "".join(trailers).encode())


@pytest.mark.parametrize("name", ["Authorization", "authorization", "X-Auth-Token", "Cookie"])
@pytest.mark.parametrize("upgrade", ["", CURL_H2C], ids=["plain", "h2c"])
def test_a_field_after_the_body_is_no_header(
    connection: Connection, service: Service, name: str, upgrade: str
) -> None:
    """A proxy that checks, adds or removes headers does so in the head (RFC 9110, section 6.5.1)."""
    token = new_user(service).token()
    value = {"authorization": f"Bearer {token}", "cookie": f"{service.settings.cookie_name}={token}"}
    trailer = f"{name}: {value.get(name.lower(), token)}\r\nOrigin: {service.url}\r\n"
    framing = f"Trailer: {name}\r\nTransfer-Encoding: chunked\r\n"
    request = post("/v1/tokens", with_trailers(b'{"scope": "a:b"}', trailer), upgrade, framing=framing)
    connection.send(request)
    assert connection.answer()[0] == 401
    connection.send(post("/v1/tokens", b'{"scope": "a:b"}'))  # nor one of the next request
    assert connection.answer()[0] == 401


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded"])
def test_an_address_after_the_body_is_not_the_clients(tmp_path: Path, name: str) -> None:
    """Caddy and HAProxy hand on what a client writes there, behind what they write themselves."""
    with serving(tmp_path, trusted_proxies="127.0.0.1") as behind:
        token = new_user(behind).issue(caveats=["client-ip = 10.0.0.0/8"])["token"]
        head = f"GET /v1/authorize HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
        framing = f"Trailer: {name}\r\nTransfer-Encoding: chunked\r\n\r\n"

        def asked(address: str, *trailers: str) -> int:
            forwarded = f"X-Forwarded-For: {address}\r\n"
            return status_of(
                raw(behind, (head + forwarded + framing).encode() + with_trailers(b"x", *trailers))
            )

        own = "10.0.0.1" if name == "X-Forwarded-For" else "for=10.0.0.1"
        assert asked("10.0.0.1") == 200
        assert asked("192.0.2.7") == 403
        assert asked("192.0.2.7", f"{name}: {own}\r\nX-Last: x\r\n") == 403


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"2\r\n{}\r\n0\r\nX: ", id="one field"),
        pytest.param(b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 1000, id="many fields"),
        pytest.param(b"2\r\n{}\r\n1;", id="an extension of a chunk"),
    ],
)
def test_what_comes_after_a_body_is_bounded(connection: Connection, begun: bytes) -> None:
    connection.send(post("/v1/verify", begun, framing="Transfer-Encoding: chunked\r\n"))
    line = b"X: y\r\n" if begun.endswith(b"\n") else b"x"
    with contextlib.suppress(ConnectionError):
        for _ in range(16):  # the server reads a quarter of a megabyte at once
            connection.send(line * (65536 // len(line)))
    status, headers, _ = connection.answer()
    assert (status, headers["connection"]) == (431, "close")


def test_a_body_in_small_pieces_is_no_head(connection: Connection, service: Service) -> None:
    """Neither its chunks nor a second request count as the head that came before."""
    long = f"X-Long: {'x' * (service.settings.max_header_bytes - 4096)}\r\n"
    body = json.dumps({"token": "cav1_" + "x" * 9000}).encode()
    for _ in range(2):
        head = post("/v1/verify", b"", long, framing="Transfer-Encoding: chunked\r\n")
        connection.send(head[:30_000], head[30_000:])
        for at in range(0, len(body), 500):
            connection.send(b"%x;e=f\r\n%s\r\n" % (len(body[at : at + 500]), body[at : at + 500]))
        connection.send(b"0\r\n", b"X: y\r\n", b"\r\n")
        assert connection.answer()[0] == 401


# a head that does not come


@pytest.mark.slow
def test_a_head_that_is_not_whole_in_time_ends_the_connection(tmp_path: Path) -> None:
    """Neither silence nor a byte now and then holds a connection for longer than a kept one may be idle."""
    with serving(tmp_path, keep_alive_timeout="1s") as other:
        silent, slow, again = Connection(other.port), Connection(other.port), Connection(other.port)
        again.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert again.answer()[0] == 200
        for at in range(7):
            with contextlib.suppress(ConnectionError):
                slow.send(begun := b"GET /"[at : at + 1] or b"x")
                again.send(begun)
            time.sleep(0.25)
        for connection in (silent, slow, again):
            with connection.socket:
                connection.socket.settimeout(1)
                assert connection.answer()[0] == 0


@pytest.mark.slow
def test_a_head_in_time_is_given_all_the_time_that_its_body_and_answer_take(tmp_path: Path) -> None:
    with serving(tmp_path, keep_alive_timeout="1s") as other:
        connection = Connection(other.port)
        with connection.socket:
            whole = post("/v1/verify", b'{"token": "cav1_x"}')
            for _ in range(2):
                connection.send(whole[:5])
                time.sleep(0.5)
                connection.send(whole[5:-5])
                time.sleep(1.3)
                connection.send(whole[-5:])
                assert connection.answer()[0] == 401


# a connection that is kept


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param("Content-Length: 300\r\n", id="the length of a body that does not come"),
        pytest.param("Transfer-Encoding: chunked\r\n", id="chunked, without a chunk"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/authorize", "/healthz", "/v1/no-such-endpoint", "/v1/verify"])
@pytest.mark.parametrize("token", [True, False], ids=["granted", "refused"])
def test_the_next_question_on_a_kept_connection_is_not_eaten_as_a_body(
    connection: Connection, service: Service, framing: str, path: str, token: bool
) -> None:
    """What a proxy sends that asks `/v1/authorize` with its client's headers and without the body."""
    credential = f"Authorization: Bearer {new_user(service).token()}\r\n" if token else ""
    question = f"GET {path} HTTP/1.1\r\nHost: a\r\n{credential}{framing}\r\n".encode()
    connection.send(question)
    status, headers, _ = connection.answer()
    assert status in (200, 401, 404, 405)
    assert headers["connection"] == "close"
    with contextlib.suppress(ConnectionError):
        connection.send(question)
    assert connection.answer()[0] == 0  # never an answer that could be taken for one to the second question


def test_a_preflight_that_announces_a_body_closes_the_connection(tmp_path: Path) -> None:
    """Starlette's middleware answers it, which reads no body."""
    origin = "https://app.example"
    preflight = (
        f"OPTIONS /v1/tokens HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n"
        "Content-Length: 60\r\n\r\n"
    ).encode()
    with serving(tmp_path, allowed_origins=origin) as other:
        connection = Connection(other.port)
        with connection.socket:
            connection.send(preflight)
            status, headers, _ = connection.answer()
            assert (status, headers.get("connection")) == (200, "close")
            assert headers["access-control-allow-origin"] == origin
            assert connection.answer()[0] == 0


@pytest.mark.parametrize(
    ("request_of", "status"),
    [
        pytest.param(lambda _: post("/v1/verify", b"x" * 70_000), 413, id="413, too large"),
        pytest.param(
            lambda _: post("/v1/verify", chunked(b"x" * 2_000_000), framing="Transfer-Encoding: chunked\r\n"),
            413,
            id="413, chunked",
        ),
        pytest.param(
            lambda _: post("/v1/tokens", b"{}" * 40_000, "Authorization: Basic x\r\n"), 413, id="413, 401"
        ),
        pytest.param(lambda _: post("/v1/verify?token=x", b"x" * 70_000), 400, id="400, in the URL"),
        pytest.param(lambda _: post("/nowhere", b"x" * 500_000), 404, id="404"),
        pytest.param(lambda _: post("/v1/authorize", b"x" * 500_000), 405, id="405"),
        pytest.param(
            lambda _: post("/v1/verify", b"x" * 10, *(f"X-{n}: {'x' * 7000}\r\n" for n in range(12))),
            431,
            id="431",
        ),
    ],
)
def test_an_answer_before_the_body_was_read_closes_the_connection_and_is_not_lost(
    service: Service, request_of: Callable[[Any], bytes], status: int
) -> None:
    """Nor does the client lose the answer to a reset, though it sends all before it reads."""
    connection = Connection(service.port)
    with connection.socket:
        connection.send(request_of(None))
        answered, headers, _ = connection.answer()
        assert (answered, headers.get("connection")) == (status, "close")
        assert connection.answer()[0] == 0


def test_a_connection_whose_bodies_are_read_is_kept(connection: Connection) -> None:
    for _ in range(3):
        connection.send(post("/v1/verify", b'{"token": "cav1_x"}'))
        status, headers, _ = connection.answer()
        assert (status, headers.get("connection")) == (401, None)
