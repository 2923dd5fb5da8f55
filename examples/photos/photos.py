"""A photo app that judges tokens by itself, with the key of its own audience and no call to the service.

    caveats-service keys export --audience photos --output photos.keys
    pip install examples/photos_caveats
    PHOTOS_KEYS=photos.keys uvicorn --app-dir examples/photos --factory photos:from_environment --port 8081

    GET  /albums                 the albums           needs scope photos:read
    GET  /albums/42              photos of an album   needs scope photos/42:read
    GET  /albums/42/1            one photo            needs scope photos/42/1:read
    POST /albums/42 {"title":}   add one              needs scope photos/42:write

Refusals read as the service's own do. To learn of revocations, see `following`.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from following import Follower, load_keys
from photos_caveats import ALBUM, Album, check_album
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from caveats import (
    AudienceKeyring,
    CaveatsError,
    Context,
    DamagedToken,
    Expires,
    Grant,
    UnsatisfiedCaveats,
    Verifier,
    WrongAudience,
    standard_checkers,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


def create_app(keyring: AudienceKeyring, follower: Follower | None = None) -> Starlette:
    """The app. With a follower, it refuses everything while it may have missed a revocation."""
    checkers = standard_checkers()
    checkers.register(Album, check_album)
    verifier = Verifier(keyring, checkers=checkers, audience=keyring.audience)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if follower is None:
            yield
            return
        async with follower.following(verifier):
            yield

    app = Starlette(
        routes=[
            Route("/albums", albums, methods=["GET"]),
            Route("/albums/{album:int}", photos, methods=["GET"]),
            Route("/albums/{album:int}", add_photo, methods=["POST"]),
            Route("/albums/{album:int}/{photo:int}", one_photo, methods=["GET"]),
        ],
        exception_handlers={CaveatsError: refused, HTTPException: problem_of},
        lifespan=lifespan,
    )
    app.state.verifier, app.state.follower = verifier, follower
    app.state.albums = {42: {1: "Harbour at dawn", 2: "The printer"}, 43: {1: "Somebody else's cat"}}
    return app


def from_environment() -> Starlette:
    """The app as the environment describes it. Without PHOTOS_FEED_TOKEN it never hears of revocations."""
    keys = Path(os.environ["PHOTOS_KEYS"])
    follower = None
    if "PHOTOS_FEED_TOKEN" in os.environ:
        follower = Follower(
            os.environ["CAVEATS_URL"],
            os.environ["PHOTOS_FEED_TOKEN"],
            keys,
            renewed=keys.with_suffix(".token"),
            # Where nobody can listen, as between two containers of one machine.
            allow_http="PHOTOS_ALLOW_HTTP" in os.environ and os.environ["PHOTOS_ALLOW_HTTP"] == "true",
        )
    return create_app(load_keys(keys), follower)


# The endpoints. Each asks for its grant first.


async def albums(request: Request) -> Response:
    """The numbers of all albums."""
    admit(request, "photos:read")
    return JSONResponse({"albums": sorted(request.app.state.albums)})


async def photos(request: Request) -> Response:
    """The photos of one album."""
    album = request.path_params["album"]
    grant = admit(request, f"photos/{album}:read", album)
    return JSONResponse({"album": album, "photos": _album(request), "for": grant.user})


async def one_photo(request: Request) -> Response:
    """One photo."""
    album, photo = request.path_params["album"], request.path_params["photo"]
    grant = admit(request, f"photos/{album}/{photo}:read", album)
    found = _album(request)
    if photo not in found:
        raise HTTPException(404, "not_found")
    return JSONResponse({"album": album, "photo": photo, "title": found[photo], "for": grant.user})


async def add_photo(request: Request) -> Response:
    """One more photo; the grant says whose doing it is."""
    album = request.path_params["album"]
    grant = admit(request, f"photos/{album}:write", album)
    found = _album(request)
    try:
        title = (await request.json())["title"]
    except (ValueError, KeyError, TypeError):
        title = None
    if not isinstance(title, str):
        raise HTTPException(400, "bad_request")
    number = max(found, default=0) + 1
    found[number] = title
    return JSONResponse({"album": album, "photo": number, "title": title, "by": grant.user}, 201)


def _album(request: Request) -> dict[int, str]:
    album: dict[int, str] | None = request.app.state.albums.get(request.path_params["album"])
    if album is None:
        raise HTTPException(404, "not_found")
    return album


# The door: the facts of a request, and the verdict on the token that came with it.


def admit(request: Request, scope: str, album: int | None = None) -> Grant:
    """The grant for this request. Raises the library's refusals, which `refused` answers."""
    follower: Follower | None = request.app.state.follower
    if follower is not None and not follower.is_current:
        raise HTTPException(503, "unavailable", {"Retry-After": "1"})
    context = Context(
        now=datetime.now(UTC),
        scopes=(scope,),
        method=request.method,
        path=request.scope["raw_path"].decode("latin-1"),
        client_ip=request.client.host if request.client else None,
        extra={} if album is None else {ALBUM: str(album)},
    )
    verifier: Verifier = request.app.state.verifier
    return verifier.verify(token_of(request), context)


def token_of(request: Request) -> str:
    """The one token in the headers: `Authorization: Bearer`, or `X-Auth-Token`."""
    found = request.headers.getlist("x-auth-token")
    for value in request.headers.getlist("authorization"):
        scheme, _, rest = value.partition(" ")
        if scheme.lower() != "bearer":
            raise HTTPException(401, "credential_required", {"WWW-Authenticate": "Bearer"})
        found.append(rest.strip())
    if len(found) > 1:
        raise HTTPException(400, "two_credentials")
    if not found:
        raise HTTPException(401, "credential_required", {"WWW-Authenticate": "Bearer"})
    return found[0]


async def refused(request: Request, error: Exception) -> Response:
    """One answer for every token that is not authentic or not alive; the whole reason for one that is."""
    match error:
        case UnsatisfiedCaveats() if all(failure.kind != Expires.kind for failure in error.failures):
            failures = [asdict(failure) for failure in error.failures]
            return problem(403, "caveats_unsatisfied", {"failures": failures})
        case WrongAudience():
            return problem(403, "wrong_audience")
        case DamagedToken():
            code = "damaged_token"
        case _:
            code = "invalid_token"
    return problem(401, code, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


async def problem_of(request: Request, error: Exception) -> Response:
    """What else can go wrong, in the same form."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, error.detail)
    return problem(error.status_code, code, headers=dict(error.headers or {}))


def problem(
    status: int, code: str, more: dict[str, object] | None = None, headers: dict[str, str] | None = None
) -> Response:
    """A problem+json answer (RFC 9457)."""
    body = {"type": f"urn:caveats:problem:{code}", "status": status, "code": code, **(more or {})}
    return JSONResponse(body, status, headers, media_type="application/problem+json")
