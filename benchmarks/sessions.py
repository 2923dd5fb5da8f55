"""Four ways to stay signed in, side by side: a table of sessions, a signed and an encrypted cookie, and the token of `examples/todo`.

    python -m benchmarks.sessions

Each is a site of two nodes, driven over HTTP, in process: sign in, 100 requests at either node, sign out, and the old cookie once more at
both. Counted are the bytes of the cookie, and what a node asks of somebody else: statements to the table, requests to the service.
docs/sessions.md has these figures, and tests/examples/test_sessions.py holds the page to them. Times are of this machine alone.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sqlite3
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
sys.path[:0] = [str(EXAMPLES), str(EXAMPLES / "todo")]

import run  # noqa: E402
import todo  # noqa: E402
from local_service import ADMIN_PASSWORD, local_service  # noqa: E402

from benchmarks.timing import Contender, best, new_texts  # noqa: E402
from caveats import Expires, Macaroon, Note  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx2 as httpx
    from starlette.requests import Request

ADDRESS, PASSWORD = "ada@example.org", "correct horse battery staple"
REQUESTS = 100
PATIENCE = 3.0
"""Seconds after which a cookie that is still taken is said to live on."""
ORIGIN = {"Origin": "http://testserver"}


@dataclass
class Site:
    """Two nodes, and how many round trips they have made to somebody else."""

    name: str
    nodes: list[TestClient]
    made: list[str] = field(default_factory=list)
    """What was asked for, in the order asked."""
    paths: tuple[str, str, str] = ("/sign-in", "/me", "/sign-out")


@dataclass(frozen=True)
class Figures:
    """What came out for one site."""

    name: str
    cookie: int
    """Bytes of `name=value`, as each request carries them."""
    sign_in: int
    """Round trips; without those of the password, which is checked alike by all."""
    request: float
    sign_out: int
    here: float | None
    """Seconds until the old cookie is refused by the node that was asked to sign out; None: it is still taken."""
    elsewhere: float | None


def measure(site: Site) -> Figures:
    """Drive one site."""
    sign_in, me, sign_out = site.paths
    first, second = site.nodes
    site.made.clear()
    answer = first.post(sign_in, json={"address": ADDRESS, "password": PASSWORD}, headers=ORIGIN)
    assert answer.status_code in (200, 201), answer.text
    at_sign_in = len(site.made)
    name, _, value = answer.headers.get_list("set-cookie")[0].partition(";")[0].partition("=")
    first.cookies.clear()
    cookie = {"Cookie": f"{name}={value}", **ORIGIN}
    site.made.clear()
    for number in range(REQUESTS):
        assert site.nodes[number % 2].get(me, headers=cookie).status_code == 200
    for_requests = len(site.made)
    site.made.clear()
    assert first.post(sign_out, headers=cookie).status_code == 204
    first.cookies.clear()
    at_sign_out, signed_out = len(site.made), time.perf_counter()
    here, elsewhere = (_refused(node, me, cookie, signed_out) for node in (first, second))
    size = len(f"{name}={value}")
    return Figures(site.name, size, at_sign_in, for_requests / REQUESTS, at_sign_out, here, elsewhere)


def _refused(node: TestClient, path: str, cookie: dict[str, str], since: float) -> float | None:
    while (waited := time.perf_counter() - since) < PATIENCE:
        if node.get(path, headers=cookie).status_code == 401:
            return waited
        time.sleep(0.005)
    return None


# The sites


def _routes(**endpoints: Callable[[Request], Any]) -> list[Route]:
    methods = {"sign_in": ["POST"], "sign_out": ["POST"], "me": ["GET"]}
    return [
        Route("/" + name.replace("_", "-"), endpoint, methods=methods[name])
        for name, endpoint in endpoints.items()
    ]


@contextmanager
def table(folder: Path) -> Iterator[Site]:
    """A random id in the cookie, and a row for it that all nodes look up."""
    made: list[str] = []
    nodes = []
    for _ in range(2):
        db = sqlite3.connect(folder / "sessions.db", isolation_level=None, check_same_thread=False)
        db.execute("CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, user TEXT NOT NULL)")
        db.set_trace_callback(made.append)
        nodes.append(TestClient(_table_app(db)))
    yield Site("a table of sessions", nodes, made)


def _table_app(db: sqlite3.Connection) -> Starlette:
    async def sign_in(request: Request) -> Response:
        response, chosen = JSONResponse({}), secrets.token_urlsafe(32)
        db.execute("INSERT INTO sessions VALUES (?, ?)", (chosen, (await request.json())["address"]))
        response.set_cookie("session", chosen, httponly=True, samesite="lax")
        return response

    async def me(request: Request) -> Response:
        query = "SELECT user FROM sessions WHERE id = ?"
        row = db.execute(query, (request.cookies.get("session", ""),)).fetchone()
        return JSONResponse({"user": row[0]} if row else {}, 200 if row else 401)

    async def sign_out(request: Request) -> Response:
        db.execute("DELETE FROM sessions WHERE id = ?", (request.cookies["session"],))
        return Response(status_code=204)

    return Starlette(routes=_routes(sign_in=sign_in, me=me, sign_out=sign_out))


@contextmanager
def signed(_: Path) -> Iterator[Site]:
    """Starlette's own sessions: the data in the cookie, signed by itsdangerous."""
    middleware = [Middleware(SessionMiddleware, secret_key=secrets.token_hex(32))]

    async def sign_in(request: Request) -> Response:
        request.session["user"] = (await request.json())["address"]
        return JSONResponse({})

    async def me(request: Request) -> Response:
        return JSONResponse(request.session, 200 if request.session else 401)

    async def sign_out(request: Request) -> Response:
        request.session.clear()
        return Response(status_code=204)

    routes = _routes(sign_in=sign_in, me=me, sign_out=sign_out)
    yield Site(
        "a signed cookie", [TestClient(Starlette(routes=routes, middleware=middleware)) for _ in range(2)]
    )


@contextmanager
def encrypted(_: Path) -> Iterator[Site]:
    """The data in the cookie, encrypted by Fernet of cryptography."""
    box = Fernet(Fernet.generate_key())

    async def sign_in(request: Request) -> Response:
        response, data = JSONResponse({}), json.dumps({"user": (await request.json())["address"]})
        response.set_cookie("session", box.encrypt(data.encode()).decode(), httponly=True, samesite="lax")
        return response

    async def me(request: Request) -> Response:
        try:
            return JSONResponse(json.loads(box.decrypt(request.cookies.get("session", "").encode())))
        except InvalidToken:
            return JSONResponse({}, 401)

    async def sign_out(_: Request) -> Response:
        response = Response(status_code=204)
        response.delete_cookie("session")
        return response

    routes = _routes(sign_in=sign_in, me=me, sign_out=sign_out)
    yield Site("an encrypted cookie", [TestClient(Starlette(routes=routes)) for _ in range(2)])


@contextmanager
def token(folder: Path) -> Iterator[Site]:
    """`examples/todo` with a service of its own."""
    made: list[str] = []

    async def count(request: httpx.Request) -> None:
        made.append(request.url.path)

    with ExitStack() as stack:
        service = stack.enter_context(local_service(folder))
        service.add_user(ADDRESS, PASSWORD)
        told = {
            "TODO_SERVICE": service.url,
            "TODO_URL": "http://testserver",
            "TODO_DATABASE": str(folder / "todo.db"),
            "TODO_STATE": str(folder / "state"),
            **run.credentials(service, folder / "todo.verifier", ADMIN_PASSWORD),
        }
        before = {name: os.environ.get(name) for name in told}
        os.environ.update(told)
        nodes = [stack.enter_context(TestClient(todo.from_environment())) for _ in range(2)]
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        for node in nodes:
            node.app.state.service.event_hooks = {"request": [count]}  # type: ignore[attr-defined]
        paths = ("/api/sign-in", "/api/items", "/api/sign-out")
        yield Site("a token", nodes, made, paths)


SITES = (table, signed, encrypted, token)


# A link to share, and the time of one check


def link_sizes(site: Site) -> tuple[int, int]:
    """Bytes of the token in a link of `examples/todo`, and the round trips that making it took."""
    node = site.nodes[0]
    node.post(site.paths[0], json={"address": ADDRESS, "password": PASSWORD}, headers=ORIGIN)
    site.made.clear()
    base = Macaroon.decode(node.get("/api/sharing").json()["token"])
    link = base.attenuate(Expires.parse("2026-12-04T22:59:59Z"), Note("link 1234567890"))
    return len(link.encode()), len(site.made)


def check_times(folder: Path) -> dict[str, float]:
    """Microseconds of processor time of one check, without any HTTP around it."""
    from itsdangerous import TimestampSigner

    from caveats import Context, Identifier, MasterKey, MasterKeyring, Scope, User, Verifier, new_token_id
    from caveats_client.guards.guard import utc_now

    now = utc_now()
    masters = MasterKeyring([MasterKey("k1", secrets.token_bytes(32))])
    db = sqlite3.connect(folder / "times.db")
    db.execute("CREATE TABLE sessions (id TEXT PRIMARY KEY, user TEXT NOT NULL)")
    ids, texts, signatures, boxes = [], [], [], []
    signer, box = TimestampSigner("secret"), Fernet(Fernet.generate_key())
    for number in range(2000):
        user = f"user{number}@example.org"
        data = json.dumps({"user": user}).encode()
        identifier = Identifier("k1", "todo", new_token_id(now), 3)
        caveats = (User(user), Expires.after(todo.SESSION, now=now), Scope("list:*"))
        root = Macaroon.mint(masters.root_key(identifier), identifier, caveats=caveats)
        texts.append(root.attenuate(Note("session")).encode())
        ids.append(secrets.token_urlsafe(32))
        db.execute("INSERT INTO sessions VALUES (?, ?)", (ids[-1], user))
        signatures.append(signer.sign(base64.b64encode(data)).decode())
        boxes.append(box.encrypt(data).decode())
    db.commit()
    context = Context(now=now, scopes=("list:read",))
    keyring = masters.export("todo")
    known = Verifier(keyring, audience="todo")

    def look_up(text: str) -> object:
        return db.execute("SELECT user FROM sessions WHERE id = ?", (text,)).fetchone()[0]

    def unsign(text: str) -> object:
        return json.loads(base64.b64decode(signer.unsign(text, max_age=10_000)))

    def never_seen() -> Callable[[str], object]:
        verifier = Verifier(keyring, audience="todo")
        return lambda text: verifier.verify(text, context)

    for text in texts:
        known.verify(text, context)
    return best(
        [
            Contender("a table of sessions", lambda: (look_up, new_texts(ids))),
            Contender("a signed cookie", lambda: (unsign, new_texts(signatures))),
            Contender(
                "an encrypted cookie", lambda: (lambda text: json.loads(box.decrypt(text)), new_texts(boxes))
            ),
            Contender("a token", lambda: (lambda text: known.verify(text, context), new_texts(texts))),
            Contender("a token, never seen", lambda: (never_seen(), new_texts(texts))),
        ],
        rounds=5,
    )


def figures(folder: Path) -> tuple[list[Figures], tuple[int, int]]:
    """All four, and what a link of the last one takes."""
    found = []
    for make in SITES:
        place = folder / make.__name__
        place.mkdir()
        with make(place) as site:
            found.append(measure(site))
            link = link_sizes(site) if make is token else (0, 0)
    return found, link


def rows(found: list[Figures], link: tuple[int, int]) -> list[str]:
    """The lines of docs/sessions.md that have figures."""

    def line(name: str, cells: list[object]) -> str:
        return f"| {name} | {' | '.join(map(str, cells))} |"

    after = ["yes" if one.here is not None and one.elsewhere is not None else "no" for one in found]
    return [
        line("bytes of the cookie, name and value", [one.cookie for one in found]),
        line("round trips to sign in", [one.sign_in for one in found]),
        line("round trips for a request", [f"{one.request:g}" for one in found]),
        line("round trips to sign out", [one.sign_out for one in found]),
        line("a copied cookie is refused after signing out", after),
        line("bytes of a link to read one list", ["", "", "", link[0]]),
        line("round trips to make it", ["", "", "", link[1]]),
    ]


def main() -> None:
    """Print the table, and this machine's times."""
    with tempfile.TemporaryDirectory() as name:
        found, link = figures(Path(name))
        names = " | ".join(one.name for one in found)
        print(f"| | {names} |\n|---|{'---|' * len(found)}")
        print("\n".join(rows(found, link)))
        print("\nOn this machine, signing out is known")
        for one in found:
            places = [
                f"{1000 * at:.0f} ms" if at is not None else "never" for at in (one.here, one.elsewhere)
            ]
            print(f"  {one.name:22} here after {places[0]}, at the other node after {places[1]}")
        print("\nA check takes, in processor time and without HTTP or network")
        for contender, time_taken in check_times(Path(name)).items():
            print(f"  {contender:22} {time_taken:6.1f} us")


if __name__ == "__main__":
    main()
