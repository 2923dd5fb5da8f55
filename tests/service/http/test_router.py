"""From method and path to an endpoint: exact paths first, each method by its name."""

from __future__ import annotations

from typing import Any

import pytest

from caveats_service.http.router import Router


async def asked(router: Router, method: str, path: str, root_path: str = "", **scope: Any) -> Any:
    """What an endpoint was given, or the status and Allow of the router's own answer."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    head = {"type": "http", "method": method, "path": path, "root_path": root_path, **scope}
    await router(head, receive, send)
    if isinstance(sent[0], tuple):
        return sent[0]
    return sent[0]["status"], dict(sent[0]["headers"]).get(b"allow", b"").decode()


def named(name: str) -> Any:
    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await send((name, scope.get("path_params")))

    return endpoint


ROUTER = Router(
    [
        ("GET", "/things/{thing}", named("one")),
        ("DELETE", "/things/{thing}", named("delete")),
        ("GET", "/things/new", named("new")),
        ("PUT", "/things/{thing}/parts/{part}", named("part")),
        ("POST", "/", named("root")),
        ("GET", "/files/{file:path}", named("file")),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/things/1", ("one", {"thing": "1"})),
        ("HEAD", "/things/1", ("one", {"thing": "1"})),
        ("DELETE", "/things/new", (405, "GET, HEAD")),
        ("GET", "/things/new", ("new", None)),
        ("POST", "/", ("root", None)),
        ("HEAD", "/", (405, "POST")),
        ("PUT", "/things/a b/parts/\n", ("part", {"thing": "a b", "part": "\n"})),
        ("POST", "/things/1", (405, "DELETE, GET, HEAD")),
        ("GET", "/things/", (404, "")),
        ("GET", "/things/new\n", ("one", {"thing": "new\n"})),
        ("GET", "/things/1/", (404, "")),
        ("GET", "//things/1", (404, "")),
        ("GET", "/things/1/parts/2\n/", (404, "")),
        ("GET", "", (404, "")),
        ("GET", "/files/a/b.js", ("file", {"file": "a/b.js"})),
        ("GET", "/files/a", ("file", {"file": "a"})),
        ("GET", "/files/", (404, "")),
        ("get", "/things/1", (405, "DELETE, GET, HEAD")),
    ],
)
async def test_a_method_and_a_path_lead_to_one_endpoint_or_to_none(
    method: str, path: str, answer: object
) -> None:
    assert await asked(ROUTER, method, path) == answer


@pytest.mark.parametrize(
    ("path", "answer"),
    [("/auth/things/new", ("new", None)), ("/things/new", ("new", None)), ("/auth", (404, ""))],
)
async def test_the_path_that_the_app_is_mounted_at_is_left_out(path: str, answer: object) -> None:
    assert await asked(ROUTER, "GET", path, "/auth") == answer


@pytest.mark.parametrize(
    ("raw", "decoded", "answer"),
    [
        ("/things/a%2Fb", "/things/a/b", ("one", {"thing": "a/b"})),
        ("/things/a%2fb%27", "/things/a/b'", ("one", {"thing": "a/b'"})),
        ("/things/a/parts/%2F", "/things/a/parts//", (405, "PUT")),
        ("/things%2Fa", "/things/a", (404, "")),
        ("/things/a%2Fparts%2Fb", "/things/a/parts/b", ("one", {"thing": "a/parts/b"})),
    ],
)
async def test_an_escaped_slash_belongs_to_its_parameter(raw: str, decoded: str, answer: Any) -> None:
    """A mail address may hold one."""
    for root in ("", "/auth"):
        assert await asked(ROUTER, "GET", root + decoded, root, raw_path=(root + raw).encode()) == answer
