"""A to-do list with accounts and links to share, and without a table of sessions: `make todo`.

A sign-in is a token in a cookie. The service hashes the passwords and issues the tokens; this app verifies them by itself, at every
request and in every process, with the keys of its audience (`LocalVerifier`), and hears of a revocation within a second.

    /                /links        pages for who is signed in; others are sent to /sign-in, and come back
    /shared#TOKEN                  somebody else's list, by a link
    POST   /api/accounts           {address, password}      make an account, and sign in
    POST   /api/sign-in            {address, password}      the cookie
    POST   /api/sign-out           list:read                revokes the token that is presented
    GET    /api/items              list:read
    POST   /api/items              list:write               {text}
    PATCH  /api/items/1            list:write               {done}
    DELETE /api/items/1            list:write
    GET    /api/sharing            list:share               a token that the page may narrow to a link
    GET    /api/links              list:share
    POST   /api/links              list:share               {name, until, branch}
    DELETE /api/links/1            list:share               revokes that link, and no other

A script sends `Authorization: Bearer TOKEN` to the same addresses. Reading order: `todo`, `store`, `static/links.js`, `run`.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool as in_thread
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from store import Store, TooMany

from caveats import CaveatsError, Expires, Grant, Macaroon, MalformedCaveat, Note, Scope
from caveats.http import PROBLEMS, IncomingRequest, Problem, bad_request, find_problem, unavailable
from caveats_client.guards.guard import Guard
from caveats_client.verifiers.local import AsyncLocalVerifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.types import ASGIApp, Lifespan, Message, Receive, Send
    from starlette.types import Scope as ASGIScope

    from caveats_client.guards.guard import Verifies

STATIC = Path(__file__).parent / "static"
JAVASCRIPT = Path(__file__).parents[2] / "clients" / "javascript" / "src"
"""The JavaScript client as it is. In a project of your own: `node_modules/caveats/src`."""
SESSION = timedelta(days=30)
"""How long a sign-in lasts; `CAVEATS_MAX_LIFETIME` of the service is the most that it can be."""
LONGEST_LINK = timedelta(days=14)
LARGEST_BODY = 16 * 1024
_BRANCH = re.compile("[0-9a-f]{32}", re.ASCII)
_PROBLEMS = {**PROBLEMS, TooMany: (409, "conflict")}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Served-By": f"process {os.getpid()}",  # so that one can see that any process answers
    "X-Content-Type-Options": "nosniff",
}


def create_app(
    verifier: Verifies,
    service: httpx.AsyncClient,
    store: Store,
    *,
    own_token: str,
    https: bool,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """The app. `service`: asked for accounts, sign-ins and revocations, and for nothing else.

    `own_token`: the app's own, which revokes links. `https`: whether browsers reach the app over https.
    """
    app = Starlette(
        routes=[
            Route("/", page("index.html", "list:read")),
            Route("/links", page("links.html", "list:share")),
            Route("/sign-in", page("sign-in.html")),
            Route("/register", page("sign-in.html")),
            Route("/shared", page("shared.html")),
            Mount("/static", StaticFiles(directory=STATIC)),
            Mount("/caveats", StaticFiles(directory=JAVASCRIPT)),
            Route("/api/accounts", register, methods=["POST"]),
            Route("/api/sign-in", sign_in, methods=["POST"]),
            Route("/api/sign-out", sign_out, methods=["POST"]),
            Route("/api/items", items, methods=["GET"]),
            Route("/api/items", add_item, methods=["POST"]),
            Route("/api/items/{number:int}", tick_item, methods=["PATCH"]),
            Route("/api/items/{number:int}", delete_item, methods=["DELETE"]),
            Route("/api/sharing", sharing, methods=["GET"]),
            Route("/api/links", links, methods=["GET"]),
            Route("/api/links", add_link, methods=["POST"]),
            Route("/api/links/{number:int}", revoke_link, methods=["DELETE"]),
        ],
        middleware=[Middleware(Headers)],
        exception_handlers=dict.fromkeys((Problem, CaveatsError, TooMany, HTTPException), refused),
        lifespan=lifespan,
    )
    state = app.state
    state.service, state.store, state.own_token, state.https = service, store, own_token, https
    # The prefixes make browsers refuse a cookie of these names that another host, or a page over plain http, has set.
    state.session_cookie = "__Host-todo-session" if https else "todo-session"
    state.links_cookie = "__Secure-todo-links" if https else "todo-links"
    state.guard = Guard(verifier, audience="todo", cookie=state.session_cookie)
    return app


def from_environment() -> Starlette:
    """The app as `run.py` starts it, in each process."""
    verifier = AsyncLocalVerifier.from_file(
        os.environ["TODO_VERIFIER"], url=os.environ["TODO_SERVICE"], state_dir=os.environ["TODO_STATE"]
    )
    service = httpx.AsyncClient(base_url=os.environ["TODO_SERVICE"], timeout=15)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with verifier, service:
            yield

    return create_app(
        verifier,
        service,
        Store(Path(os.environ["TODO_DATABASE"])),
        own_token=os.environ["TODO_TOKEN"],
        https=os.environ["TODO_URL"].startswith("https:"),
        lifespan=lifespan,
    )


async def admit(request: Request, *scopes: str) -> Grant:
    """The grant for this request, by its cookie or its Bearer token; decided here. Raises `Problem`.

    With a cookie, what may change something needs an `Origin` of this app's own: a page elsewhere cannot do it.
    """
    guard: Guard = request.app.state.guard
    return await guard.judge_async(IncomingRequest.from_asgi(request.scope), scopes)


# Pages


def page(file: str, scope: str | None = None) -> Any:
    """The endpoint of a page. Who may not see it yet is sent to sign in, and told to come back."""

    async def show(request: Request) -> Response:
        try:
            if scope is not None:
                await admit(request, scope)
        except Problem as problem:
            if problem.status != 401:
                raise
            return RedirectResponse(f"/sign-in?next={request.url.path}", 303)
        return FileResponse(STATIC / file)

    return show


# Accounts and sign-ins: what the service is asked for


async def register(request: Request) -> Response:
    """Make an account, where the service has `CAVEATS_OPEN_REGISTRATION`; then sign in."""
    given = await read(request, address=str, password=str)
    body = {"username": given["address"], "password": given["password"]}
    await ask(request, "POST", "/v1/users", body)
    return await signed_in(request, given, 201)


async def sign_in(request: Request) -> Response:
    """A token for an address and a password, in a cookie."""
    return await signed_in(request, await read(request, address=str, password=str), 200)


async def signed_in(request: Request, given: dict[str, Any], status: int) -> Response:
    """The answer with both cookies. Nothing about them is kept here.

    The browser gets two copies of one token, each narrowed, so that either can be revoked alone: one is the session, which signing
    out kills; the other is what links are made of, which may read the list and live on.
    """
    body = {
        "username": given["address"],
        "password": given["password"],
        "audience": "todo",
        "scope": "list:*",
        "expires_in": f"{SESSION.days}d",
    }
    answer = await ask(request, "POST", "/v1/tokens", body)
    token, state = Macaroon.decode(answer["token"]), request.app.state
    response = JSONResponse({"user": answer["user"], "until": answer["expires_at"]}, status)
    for name, copy, path in (
        (state.session_cookie, token.attenuate(Note("session")), "/"),
        (state.links_cookie, token.attenuate(Scope("list:read")), "/api/sharing"),
    ):
        response.set_cookie(
            name,
            copy.encode(),
            max_age=int(SESSION.total_seconds()),
            path=path,
            secure=state.https,
            httponly=True,
            samesite="lax",
        )
    return response


async def sign_out(request: Request) -> Response:
    """Revoke the copy that is presented: a session, a link, a script's token. Whoever holds a copy may end it."""
    await admit(request, "list:read")
    state = request.app.state
    text = request.cookies.get(state.session_cookie) or request.headers.get("x-auth-token")
    text = text or request.headers["authorization"].partition(" ")[2].strip()
    await ask(request, "POST", "/v1/revocations", {"presented": True}, token=text)
    response = Response(status_code=204)
    for name, path in ((state.session_cookie, "/"), (state.links_cookie, "/api/sharing")):
        response.delete_cookie(name, path, secure=state.https, httponly=True, samesite="lax")
    return response


async def ask(
    request: Request, method: str, path: str, body: dict[str, Any], *, token: str | None = None
) -> dict[str, Any]:
    """The service's answer. Raises `Problem`, as the service said it.

    The service counts new accounts and failed sign-ins by address. It believes this app's `X-Forwarded-For`: see `CAVEATS_TRUSTED_PROXIES` in run.py.
    """
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    if request.client is not None:
        headers["X-Forwarded-For"] = request.client.host
    try:
        answer = await request.app.state.service.request(method, path, json=body, headers=headers)
        said = answer.json() if answer.content else {}
    except (httpx.HTTPError, ValueError):
        raise unavailable() from None
    if answer.is_success:
        return dict(said)
    if token == request.app.state.own_token and answer.status_code == 401:
        raise unavailable(60, "this app cannot revoke now: its own token has ended")
    again = {"Retry-After": answer.headers["retry-after"]} if "retry-after" in answer.headers else {}
    raise Problem(answer.status_code, said.get("code", "unavailable"), said.get("detail", ""), headers=again)


# The list: nobody is asked


async def items(request: Request) -> Response:
    """Everything on the list of the token's user, whoever holds the token."""
    grant = await admit(request, "list:read")
    found = await in_thread(request.app.state.store.items, grant.user)
    return JSONResponse({"owner": grant.user, "items": found})


async def add_item(request: Request) -> Response:
    """One more item."""
    grant = await admit(request, "list:write")
    text = short((await read(request, text=str))["text"], "text", 300)
    number = await in_thread(request.app.state.store.add_item, grant.user, text)
    return JSONResponse({"id": number, "text": text, "done": False}, 201)


async def tick_item(request: Request) -> Response:
    """Done, or not done after all."""
    grant = await admit(request, "list:write")
    done, number = (await read(request, done=bool))["done"], request.path_params["number"]
    if not await in_thread(request.app.state.store.tick, grant.user, number, done=done):
        raise Problem(404, "not_found")
    return Response(status_code=204)


async def delete_item(request: Request) -> Response:
    """One item less."""
    grant, number = await admit(request, "list:write"), request.path_params["number"]
    if not await in_thread(request.app.state.store.delete_item, grant.user, number):
        raise Problem(404, "not_found")
    return Response(status_code=204)


# Links


async def sharing(request: Request) -> Response:
    """A token that scripts of the page may have, to narrow it to links: it can read the list, for two weeks, and nothing else.

    The session stays out of their reach. A script that was smuggled into the page could take this one away, and read the list.
    """
    await admit(request, "list:share")
    text = request.cookies.get(request.app.state.links_cookie)
    if text is None:
        raise bad_request("links are made in a browser; a script narrows its own token: caveats attenuate")
    end = Expires.after(LONGEST_LINK, now=datetime.now(UTC))
    return JSONResponse({"token": Macaroon.decode(text).attenuate(end).encode()})


async def links(request: Request) -> Response:
    """The links that have not ended. Their tokens are not here: the page made them, and showed them once."""
    grant = await admit(request, "list:share")
    found = await in_thread(request.app.state.store.links, grant.user, moment(datetime.now(UTC)))
    shown = [{name: row[name] for name in ("id", "name", "until", "revoked")} for row in found]
    return JSONResponse({"links": shown})


async def add_link(request: Request) -> Response:
    """Write down a link, so that it can be revoked: for whom, until when, and the branch id of its token."""
    grant = await admit(request, "list:share")
    given = await read(request, name=str, until=str, branch=str)
    now = datetime.now(UTC)
    try:
        until = Expires.parse(given["until"]).at
    except MalformedCaveat as error:
        raise bad_request(f"until: {error}") from None
    if not now < until <= now + LONGEST_LINK + timedelta(minutes=1) or not _BRANCH.fullmatch(given["branch"]):
        raise bad_request(f"a link ends within {LONGEST_LINK.days} days, and its branch is 32 hex digits")
    link = {
        "name": short(given["name"], "name", 60),
        "until": given["until"],
        "token_id": grant.token_id,
        "branch": given["branch"],
    }
    number = await in_thread(request.app.state.store.add_link, grant.user, link, moment(now))
    return JSONResponse({"id": number}, 201)


async def revoke_link(request: Request) -> Response:
    """Revoke one link. The token id is that of the session that made it, so it can only be the owner's own."""
    grant = await admit(request, "list:share")
    state, number = request.app.state, request.path_params["number"]
    link = await in_thread(state.store.link, grant.user, number)
    if link is None:
        raise Problem(404, "not_found")
    branch = {"token_id": link["token_id"], "branch_id": link["branch"]}
    await ask(request, "POST", "/v1/revocations", branch, token=state.own_token)
    await in_thread(state.store.mark_revoked, grant.user, number)
    return Response(status_code=204)


# Requests in, answers out


async def read(request: Request, **members: type) -> dict[str, Any]:
    """The members of a JSON body, each of its type. Raises `Problem`.

    Only `application/json` is read, which a form on another site cannot send.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "unsupported_media_type")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise Problem(413, "too_large")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    fits = isinstance(given, dict) and all(type(given.get(name)) is kind for name, kind in members.items())
    if not fits:
        raise bad_request("expected a JSON object with " + ", ".join(members))
    return given


def short(text: str, name: str, longest: int) -> str:
    """The text, trimmed. Raises `Problem` if nothing is left or too much, and for control characters and lone surrogates."""
    text = text.strip()
    if not 0 < len(text) <= longest or any(unicodedata.category(one) in ("Cc", "Cs") for one in text):
        raise bad_request(f"{name} is one line of 1 to {longest} characters")
    return text


def moment(at: datetime) -> str:
    """A time as in tokens, `2026-12-01T18:00:00Z`."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


async def refused(request: Request, error: Exception) -> Response:
    """A problem (RFC 9457), in the form of the service's own."""
    if isinstance(error, HTTPException):
        codes = {404: "not_found", 405: "method_not_allowed"}
        error = Problem(error.status_code, codes.get(error.status_code, "bad_request"), headers=error.headers)
    problem = find_problem(error, _PROBLEMS) or Problem(500, "internal")
    return Response(problem.body, problem.status, problem.headers)


class Headers:
    """Middleware: the headers of every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Add them on the way out."""
        path = scope.get("path", "")
        caching = "no-cache" if path.startswith(("/static/", "/caveats/")) else "no-store"
        added = [(b"cache-control", caching.encode())]
        added += [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [row for row in message["headers"] if row[0].lower() != b"cache-control"]
                message = {**message, "headers": [*kept, *added]}
            await send(message)

        await self._app(scope, receive, with_headers)
