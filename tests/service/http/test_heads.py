"""Every hostile head, asked of two endpoints: one that takes tokens only, and one that takes passwords too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from caveats_service.app import create_app
from caveats_service.settings import Settings
from tests.support.hostile_heads import BAD, GRANTED, HEADS, Answer, Head
from tests.support.service import CHEAP, narrow

PEERS = {"stranger": ("127.0.0.1", 1), "proxy": ("127.0.0.2", 1), "socket": None}
WITH_A_QUERY_OF_ITS_OWN = "/v1/authorize"
ASKED_ABOUT = (b"x-original-method", b"x-forwarded-method", b"x-original-uri", b"x-forwarded-uri")
ENDPOINTS = (WITH_A_QUERY_OF_ITS_OWN, "/v1/tokens")


async def ask(
    app: Any,
    method: str,
    path: bytes,
    query: bytes = b"",
    *,
    headers: list[tuple[bytes, bytes]],
    peer: tuple[str, int] | None = ("127.0.0.1", 1),
    body: bytes = b"",
) -> tuple[int, dict[bytes, bytes], bytes]:
    """One request as an ASGI server hands it on: the path decoded, the rest as it came."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "root_path": "",
        "query_string": query,
        "headers": [(b"host", b"app.example"), *((n.lower(), v) for n, v in headers)],
        "client": peer,
        "server": ("127.0.0.1", 80),
    }
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *chunks = sent
    return start["status"], dict(start["headers"]), b"".join(chunk.get("body", b"") for chunk in chunks)


async def answers_of(folder: Path) -> dict[tuple[str, str], Answer]:
    """The answer to every head, by its name and the endpoint's path."""
    settings = Settings(
        data_dir=folder, open_registration=True, trusted_proxies="127.0.0.2, unix", login_limit_address="10000/minute"
    )  # fmt: skip
    app = create_app(settings, password_profile=CHEAP)
    answers = {}
    async with app.router.lifespan_context(app):
        json_type = [(b"content-type", b"application/json")]
        body = json.dumps({"username": "alice", "password": "correct horse"}).encode()
        assert (await ask(app, "POST", b"/v1/users", headers=json_type, body=body))[0] == 201
        token = json.loads((await ask(app, "POST", b"/v1/tokens", headers=json_type, body=body))[2])["token"]
        for head in HEADS:
            headers = head.filled(narrow(token, *head.caveats).encode())
            if not any(
                name.lower() in ASKED_ABOUT for name, _ in headers
            ):  # with a cookie, unknown is unsafe
                headers.append((b"X-Original-Method", b"GET"))
            for endpoint in ENDPOINTS:
                status, answered, body = await ask(
                    app,
                    "GET",
                    endpoint.encode() + head.path,
                    head.query,
                    headers=headers,
                    peer=PEERS[head.peer],
                )
                challenge = answered.get(b"www-authenticate")
                code = json.loads(body)["code"] if status >= 400 else None
                answers[head.id, endpoint] = Answer(status, code, challenge and challenge.decode())
    return answers


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Answer]:
    return asyncio.run(answers_of(tmp_path_factory.mktemp("heads")))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.id)
def test_every_head_has_its_answer(answers: dict[tuple[str, str], Answer], head: Head, endpoint: str) -> None:
    expected = head.with_cookies or head.answer
    if endpoint == "/v1/tokens" and head.with_passwords is not None:
        expected = head.with_passwords
    if expected == GRANTED and head.path:
        expected = Answer(404, "not_found")  # the service has no such path
    elif expected == GRANTED and head.query and endpoint == WITH_A_QUERY_OF_ITS_OWN:
        expected = BAD  # it takes no other parameters than its own
    assert answers[head.id, endpoint] == expected
