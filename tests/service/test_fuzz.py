"""Every route, with requests that are nearly right: nothing answers 500, and afterwards all is well.

CAVEATS_FUZZ=100000 asks for so many requests; CI for some thousands.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import time
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from caveats_service.app import ROUTES
from caveats_service.core.accounts import OPERATOR
from caveats_service.discharge.routes.schemas import AgentLoginRequest, FillInRequest
from caveats_service.http import schemas
from tests.support.service import (
    ADMIN_PASSWORD,
    PASSWORD,
    Service,
    admin_of,
    basic,
    bearer,
    narrow,
    new_user,
    serving,
)

pytestmark = pytest.mark.slow
REQUESTS = int(os.environ.get("CAVEATS_FUZZ", "2000"))
PATHS = sorted({(method, path) for method, path, _ in ROUTES} | {("GET", "/nowhere")})
BODIES: dict[tuple[str, str], list[type[BaseModel]]] = {
    ("POST", "/v1/users"): [schemas.RegisterRequest],
    ("PUT", "/v1/users/{username}/password"): [schemas.ChangePasswordRequest],
    ("POST", "/v1/tokens"): [schemas.IssueTokenRequest, schemas.IssueForUserRequest],
    ("POST", "/v1/clients"): [schemas.AddClientRequest],
    ("POST", "/v1/tokens/renew"): [schemas.RenewTokenRequest],
    ("POST", "/v1/verify"): [schemas.VerifyRequest, schemas.VerifyManyRequest],
    ("POST", "/v1/session"): [schemas.SignInRequest],
    ("POST", "/v1/revocations"): [schemas.RevokeRequest],
    ("POST", "/v1/keys/rotate"): [schemas.RotateKeysRequest],
    ("POST", "/v1/keys/{key_id}/retire"): [schemas.RetireKeyRequest],
    ("POST", "/v1/verifiers"): [schemas.RegisterVerifierRequest],
    ("PUT", "/v1/groups/{group}"): [schemas.SetGroupRequest],
    ("POST", "/v1/agents"): [schemas.RegisterAgentRequest],
    ("POST", "/discharge/form/{wait}"): [FillInRequest],
    ("POST", "/discharge/agent-login/{visit}"): [AgentLoginRequest],
}
NASTY = [
    "", " ", "\0", "a" * 300, "a" * 2000, "é", "\u202e", "\U0001f600", "*", "..", "/", "%00", "null", "-1", "0", "1e400",
    "9" * 40, "0x10", "٣", "user = x", "scope = *", "caveats:*", "k1", "admin", "cav1_", "photos:read", "8h", "99999d",
    "2026-02-30T00:00:00Z", "10.0.0.1/8", "::1%eth0", "\r\nX-Evil: 1", "'; DROP TABLE users; --", "{}", "[]",
]  # fmt: skip
JUNK: list[Any] = [None, True, False, 0, -1, 2**63, 10**30, 1.5, 1e308, [], {}, [[]], {"a": 1}, *NASTY]


class World:
    """A service, and credentials and ids of every sort to ask it with; made anew when they have worn out."""

    wild = 0.0

    def __init__(self, service: Service) -> None:
        self.service = service
        self.asked = 0
        self.refresh()

    def keep_fresh(self) -> None:
        """Tokens are revoked and passwords changed by what is asked."""
        self.asked += 1
        if self.asked % 5 == 0:
            here = self.service.runtime
            user = self.service.run(here.store.users.get("admin"))
            verdict = (
                self.service.run(here.passwords.verify(user.password_hash, ADMIN_PASSWORD)) if user else None
            )
            if user and not (user.is_enabled and verdict and verdict.ok):
                self.service.run(here.store.users.enable("admin", now=here.now(), actor="test"))
                self.service.run(here.accounts.set_password("admin", ADMIN_PASSWORD, actor=OPERATOR))
            self.refresh()

    def refresh(self) -> None:
        service = self.service
        user = new_user(service)
        whole, labelled = user.token(), user.issue(note="ci")
        admin = admin_of(service).token(scope="* caveats:*")
        dead = user.token()
        site = {"name": f"site-of-{user.username}", "users": [user.username], "audiences": ["photos"]}
        with service.client() as http:
            made = http.post("/v1/clients", json={**site, "scope": "photos:*"}, headers=bearer(admin))
            client = made.json()
            http.post("/v1/revocations", json={"presented": True}, headers=bearer(dead))
            child = http.post("/v1/tokens", json={}, headers=bearer(whole)).json()["token"]
            renewed = http.post("/v1/tokens/renew", headers=bearer(narrow(whole, "note = n"))).json()["token"]
        self.tokens = [
            whole, labelled["token"], admin, dead, child, renewed,
            narrow(whole, "scope = photos:read", "method = GET"), narrow(whole, "acme/x = 1"),
            narrow(admin, "path = /v1/keys"), user.token(audience="photos"), whole[:-1], whole[5:-6], "x",
            f"{whole}.{child}", "MDAwZmxvY2F0aW9uIAo",
        ]  # fmt: skip
        self.values = {
            "name": [f"made-for-{user.username}", "ci", "two words"],
            "users": [[user.username], ["admin"]],
            "groups": [[]],
            "audiences": [["photos"], ["photos", "albums"]],
            "longest_life": ["1h"],
            "client_id": [client["client_id"], "0" * 26],
            "client_secret": [client["client_secret"], "wrong secret"],
            "username": [user.username, "nobody", "admin"],
            "user": [user.username, "nobody", "admin"],
            "password": [PASSWORD, ADMIN_PASSWORD, "wrong password"],
            "new_password": [PASSWORD, "short"],
            "token": self.tokens,
            "token_id": [labelled["token_id"], "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "0" * 26],
            "verifier_id": ["7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "0" * 26],
            "branch_id": ["00" * 16, "ff" * 16, "zz"],
            "group": ["ops", "dev", "admin", "Ops"],
            "members": [[], ["admin"], [user.username, "nobody"], ["A"]],
            "key_id": ["k1", "k2", "k99", "k"],
            "scope": ["*", "photos:read", "photos/1:* docs:read", "caveats:admin", "* caveats:*"],
            "audience": ["default", "photos", "Photos"],
            "expires_in": [60, "1h", "30d", 0, "31d"],
            "caveats": [[], ["method = GET"], ["user = x"], ["acme/x = 1"], ["note = " + "a" * 1100]],
            "note": ["ci", "a\nb"],
            "public_key": ["A" * 43, "B" * 43, "x"],
            "method": ["GET", "get"],
            "path": ["/a", "/a/../b"],
            "client_ip": ["10.0.0.1", "x"],
        }
        self.good = [bearer(whole), bearer(admin), bearer(admin), basic("admin", ADMIN_PASSWORD)]
        self.credentials: list[dict[str, str]] = [
            {},
            *[bearer(token) for token in self.tokens],
            *[{"X-Auth-Token": token} for token in self.tokens[:4]],
            *[
                {"Cookie": f"__Host-caveats-session={token}", "Origin": service.url}
                for token in self.tokens[:7]
            ],
            {"Cookie": f"__Host-caveats-session={whole}"},
            basic(user.username, PASSWORD),
            basic("admin", ADMIN_PASSWORD),
            basic("admin", "wrong password"),
            {"Authorization": "Negotiate x"},
            {**bearer(whole), "X-Auth-Token": whole},
        ]

    def value(self, name: str, annotation: Any, chance: random.Random) -> Any:
        """Something for this member: mostly right, sometimes not."""
        if chance.random() < self.wild:
            return chance.choice(JUNK)
        if name == "tokens":
            return [self.body(schemas.VerifyRequest, chance) for _ in range(chance.randrange(4))]
        if name in self.values:
            return chance.choice(self.values[name])
        origin = typing.get_origin(annotation)
        if origin in (typing.Union, types.UnionType):
            annotation = chance.choice(typing.get_args(annotation))
        if annotation is bool:
            return chance.random() < 0.5
        if annotation is int:
            return chance.randrange(-1, 100)
        if typing.get_origin(annotation) is dict:
            return {"x": chance.choice(JUNK)}
        return chance.choice(NASTY)

    def body(self, shape: type[BaseModel], chance: random.Random) -> dict[str, Any]:
        body = {}
        for name, field in shape.model_fields.items():
            if field.is_required() or chance.random() < 0.5:
                body[name] = self.value(name, field.annotation, chance)
        if chance.random() < self.wild:
            body[chance.choice(NASTY)] = chance.choice(JUNK)
        if body and chance.random() < self.wild:
            body.pop(chance.choice(list(body)))
        return body

    def request(self, chance: random.Random) -> bytes:
        self.wild = chance.choice([0, 0.05, 0.3])
        method, path = chance.choice([*PATHS, *BODIES])  # what takes a body twice as often
        shape = BODIES.get((method, path))
        for name in ("username", "token_id", "key_id", "verifier_id", "client_id"):
            value = self.value(name, str, chance)
            path = path.replace("{" + name + "}", _quoted(str(value)))
        if chance.random() < 0.3:
            pairs = []
            for _ in range(chance.randrange(1, 4)):
                name = chance.choice(["scope", "audience", "after", "limit", "wait", "epoch", "x"])
                known = self.values.get(name, ["0", "1", "5", "x", str(2**53), str(2**64)])
                pairs.append(f"{name}={_quoted(str(chance.choice([*known, *NASTY])))}")
            path += "?" + "&".join(pairs)
        headers = dict(chance.choice(self.credentials if chance.random() < 0.4 else self.good))
        if (method, path) in (("POST", "/v1/tokens"), ("POST", "/v1/session")):
            headers = {} if chance.random() < 0.6 else headers
        raw = b""
        if shape is not None or chance.random() < 0.05:
            made = self.body(chance.choice(shape), chance) if shape else chance.choice(JUNK)
            if isinstance(made, dict) and "Authorization" in headers and chance.random() < 0.8:
                made = (
                    {name: value for name, value in made.items() if name not in ("username", "password")}
                    if path == "/v1/tokens"
                    else made
                )
            elif isinstance(made, dict) and {"username", "password"} <= set(made) and chance.random() < 0.7:
                made |= {"username": self.values["username"][0], "password": PASSWORD}
            if isinstance(made, dict) and path == "/v1/revocations" and chance.random() < 0.8:
                one = chance.choice(list(made or {"token": 0}))
                made = {name: value for name, value in made.items() if name == one}
            raw = json.dumps(made, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
            headers["Content-Type"] = "application/json"
            if chance.random() < 0.1:
                headers["Content-Type"] = chance.choice(["text/plain", "application/json;charset=x", "é", ""])
            if raw and chance.random() < 0.15:
                raw = _mutated(raw, chance)
        for _ in range(chance.randrange(3)):
            name = chance.choice(
                ["X-Original-URI", "X-Original-Method", "X-Forwarded-For", "X-Forwarded-Uri", "Origin", "Accept",
                 "Idempotency-Key", "X-Feed-Proof", "Last-Event-ID", "Sec-Fetch-Site", "Referer", "Cookie"]
            )  # fmt: skip
            headers[name] = chance.choice(
                ["/a/b", "GET", "10.0.0.1", "x, y", "null", "deploy-0001", "deploy-0002", *NASTY]
            )
        if chance.random() < 0.05:
            method = chance.choice(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode("utf-8", "replace")
        for name, text in headers.items():
            line = f"{name}: {text}".encode("utf-8", "replace").replace(b"\r", b"").replace(b"\n", b"")
            if chance.random() < 0.03:
                line = _mutated(line, chance).replace(b"\r", b"").replace(b"\n", b"")
            head += line + b"\r\n"
        return head + b"Content-Length: %d\r\n\r\n" % len(raw) + raw


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="") or "-"


def _mutated(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    match chance.randrange(4):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        case 2:
            return data[:at] + data[at:] * 2
        case _:
            return data[:at] + chance.choice([b"\0", b"\xff", b'"', b"}", b"[[[[", b'"a":1,']) + data[at:]


class Wire:
    """One connection, kept for as long as the server keeps it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.connection: socket.socket | None = None
        self.head = False

    def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        for _ in range(2):
            if self.connection is None:
                self.connection = socket.create_connection(("127.0.0.1", self.service.port), timeout=20)
            try:
                self.connection.sendall(data)
                answer = self._read(head=data.startswith(b"HEAD "))
            except OSError:
                answer = None
            if answer is not None:
                return answer
            self.close()
        raise AssertionError(f"no answer to {data[:500]!r}")

    def _read(self, *, head: bool) -> tuple[int, dict[str, str], bytes] | None:
        assert self.connection is not None
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = self.connection.recv(65536)
            if not chunk:
                return None
            received += chunk
        first, _, body = received.partition(b"\r\n\r\n")
        lines = first.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        size = 0 if head else int(headers.get("content-length", "0"))
        while len(body) < size:
            body += self.connection.recv(65536)
        if headers.get("connection") == "close" or "content-length" not in headers:
            self.close()
        elif body[size:]:  # what was sent holds a request and more, which is none
            assert body[size:].startswith(b"HTTP/1.1 400 "), body[size:]
            self.close()
            body = body[:size]
        return int(lines[0].split(" ")[1]), headers, body

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("fuzzed")) as service:
        yield World(service)


@given(seed=st.integers(0, 2**64 - 1))
@settings(
    max_examples=max(1, REQUESTS // 20),
    deadline=None,
    phases=[Phase.generate],
    derandomize=REQUESTS <= 2000,
    suppress_health_check=list(HealthCheck),
)
def _twenty_requests(world: World, wire: Wire, statuses: dict[int, int], seed: int) -> None:
    chance = random.Random(seed)
    world.keep_fresh()
    for _ in range(20):
        data = world.request(chance)
        status, headers, body = wire.ask(data)
        statuses[status] = statuses.get(status, 0) + 1
        where = f"{status} {body[:300]!r} to {data[:3000]!r}"
        assert status < 500 or status == 503, where
        if status >= 400 and headers.get("content-type", "").startswith("application/"):
            bakerys = headers["content-type"] == "application/json" and b"/discharge" in data.split(b"\r")[0]
            assert bakerys or headers["content-type"] == "application/problem+json", where
            if not data.startswith(b"HEAD "):
                said = json.loads(body)
                assert set(said) >= {"Code", "Message"} if bakerys else said["status"] == status, where
        if body and status != 400:
            path = data.split(b" ")[1].partition(b"?")[0]
            a_file = headers["content-type"].startswith(("text/", "image/"))
            of_console = a_file and (path == b"/" or path.startswith(b"/console"))  # they are no secrets
            assert headers.get("cache-control") == ("no-cache" if of_console else "no-store"), where


@pytest.mark.timeout(120 if REQUESTS <= 2000 else 7200)
def test_requests_that_are_nearly_right_are_never_a_500(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    wire = Wire(world.service)
    statuses: dict[int, int] = {}
    begin = time.monotonic()
    with contextlib.closing(wire):
        _twenty_requests(world, wire, statuses)
    assert sum(statuses.values()) >= REQUESTS * 0.9
    assert all(statuses.get(status, 0) > REQUESTS / 250 for status in (200, 201, 400, 401, 403, 404)), (
        statuses
    )
    with world.service.client() as http:
        assert http.get("/readyz").status_code == 200
        token = new_user(world.service).token()
        assert http.get("/v1/tokens", headers=bearer(token)).status_code == 200
    out = "".join(capfd.readouterr())
    assert "internal_error" not in out, out[-3000:]
    print(f"{sum(statuses.values())} requests in {time.monotonic() - begin:.1f} s: {statuses}")
