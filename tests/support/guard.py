"""What the small apps have in common: the verifier they are given, what they need of a request, how they are served.

An app is started with one line of JSON on its standard input, prints its port, and ends when the input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from caveats import (
    AudienceKeyring,
    Caveat,
    Context,
    Grant,
    RevocationSet,
    Stale,
    TokenRevocation,
    Unmet,
    Verifier,
    standard_checkers,
)
from caveats_client.guards.rules import filled_scopes

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FAR = datetime(2027, 1, 1, tzinfo=UTC)
AUDIENCE = "photos"
TRUSTED = ("127.0.0.2/32",)
PUBLIC = ("/healthz", "/static/*")
STALE = "stale"


def now() -> datetime:
    return NOW


@dataclass(frozen=True, slots=True)
class Tenant(Caveat):
    """A plug-in's kind."""

    kind: ClassVar[str] = "acme/tenant"
    name: str

    @property
    def value(self) -> str:
        return self.name

    @classmethod
    def parse(cls, value: str) -> Self:
        return cls(value)


def check_tenant(caveat: Tenant, context: Context) -> object:
    tenant = context.extra.get("tenant")
    return tenant == caveat.name or Unmet(f"the tenant is {tenant!r}", caveat.name)


def needed(method: str, path: str) -> tuple[str, ...]:
    """What a request needs, for guards that know no routes."""
    if path.startswith("/albums/"):
        return filled_scopes(("albums/{album}:read",), {"album": path.removeprefix("/albums/")})
    return ("photos:read",) if method in ("GET", "HEAD") else ("photos:write",)


def extra(headers: Mapping[str, str]) -> dict[str, Any]:
    return {"tenant": headers.get("x-tenant")}


def seen(grant: Grant, path: str) -> dict[str, Any]:
    """What an app answers with: whom it was told it has before it, and where the request led."""
    return {"user": grant.user, "scopes": list(grant.scopes), "path": path}


class _SometimesStale:
    """The verifier, out of date for one tenant."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def verify(self, text: str, context: Context) -> Grant:
        if context.extra.get("tenant") == STALE:
            error = Stale("nothing heard for 31 s")
            error.retry_after = 7  # type: ignore[attr-defined]
            raise error
        return self._verifier.verify(text, context)


class _Async:
    """The same, with an await in it."""

    def __init__(self, verifier: _SometimesStale) -> None:
        self._verifier = verifier

    async def verify(self, text: str, context: Context) -> Grant:
        await asyncio.sleep(0)
        return self._verifier.verify(text, context)


def verifier_from(told: Mapping[str, Any]) -> Any:
    checkers = standard_checkers()
    checkers.register(Tenant, check_tenant)
    revoked = RevocationSet([TokenRevocation(told["revoked"], FAR)])
    keyring = AudienceKeyring.from_json(told["keyring"])
    verifier = _SometimesStale(Verifier(keyring, checkers=checkers, audience=AUDIENCE, revocations=revoked))
    return _Async(verifier) if "async" in sys.argv else verifier


def verifier() -> Any:
    """The verifier that this process was told to use; watches its input from now on, to end with it."""
    told = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    return verifier_from(told)


def _end_with_input() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)


def serve_asgi(app: Any) -> None:
    import uvicorn

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http="h11" if "h11" in sys.argv else "httptools",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        lifespan="off",
    )
    _say(listening.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listening])


def serve_wsgi(app: Callable[..., Any]) -> None:
    if "wsgiref" in sys.argv:
        from wsgiref.simple_server import make_server

        plain = make_server("127.0.0.1", 0, app)
        _say(plain.server_port)
        plain.serve_forever()
    from werkzeug.serving import WSGIRequestHandler
    from werkzeug.serving import make_server as make_werkzeug

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            pass

    server = make_werkzeug("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    _say(server.server_port)
    server.serve_forever()


def _say(port: int) -> None:
    print(port, flush=True)
