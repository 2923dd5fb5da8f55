"""GET /v1/authorize: forward-auth, called by a proxy for every request it lets through. Raw ASGI, for speed.

Knows headers. The original method and URI come in X-Original-*, or, from a trusted proxy, in X-Forwarded-*; if
both are there they must agree, since one pair may be what the client itself sent along.
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from caveats import Grant
from caveats.http import IncomingRequest, Problem, bad_request, context_of, path_text, token_of
from caveats_service.core.issuing import DEFAULT_AUDIENCE
from caveats_service.core.runtime import ServiceRuntime
from caveats_service.http.errors import problem_response
from caveats_service.http.request import SAFE, require_own_site

_ASKED_ABOUT: Final = frozenset(
    (b"x-forwarded-method", b"x-forwarded-uri", b"x-original-method", b"x-original-uri")
)
_BODY: Final = {"type": "http.response.body", "body": b""}
_FIXED: Final = [(b"content-length", b"0"), (b"cache-control", b"no-store")]
_MOST_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 512


class Authorize:
    """The endpoint as an ASGI application."""

    def __init__(self, runtime: ServiceRuntime) -> None:
        self._runtime = runtime
        self._queries: dict[bytes, tuple[tuple[str, ...], str]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """200 with X-Auth-User, X-Auth-Scopes and X-Auth-Token-Id; 401; or 403 with the failures."""
        try:
            if scope["method"] not in ("GET", "HEAD"):
                raise Problem(405, "method_not_allowed", headers={"Allow": "GET, HEAD"})
            grant = await self._grant(scope)
            headers = [
                *_FIXED,
                (b"x-auth-user", grant.user.encode()),
                (b"x-auth-scopes", " ".join(grant.scopes).encode("ascii")),
                (b"x-auth-token-id", grant.token_id.encode("ascii")),
            ]
        except Exception as error:  # noqa: BLE001  # the process edge: everything becomes one of the table's answers
            await problem_response(error)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(_BODY)

    async def _grant(self, scope: Scope) -> Grant:
        runtime, settings, headers = self._runtime, self._runtime.settings, scope["headers"]
        credential = token_of(headers, settings.cookie_name)
        query, client = scope["query_string"], scope["client"]
        scopes, audience = self._queries.get(query) or self._read_query(query)
        peer = client[0] if client else None
        method, path = _original(headers, trusted=settings.proxies.trusts(peer))
        if credential.from_cookie and method not in (None, *SAFE):
            require_own_site(settings, Headers(raw=headers))
        asked = IncomingRequest(method, path, query, headers, peer)
        context = context_of(asked, settings.proxies, now=runtime.now(), audience=audience, scopes=scopes)
        return await runtime.verify(credential.text, context)

    def _read_query(self, query: bytes) -> tuple[tuple[str, ...], str]:
        """The scopes and the audience asked for; a proxy asks for the same few again and again."""
        scopes: list[str] = []
        audience: str | None = None
        try:
            fields = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=64)
        except ValueError:
            raise bad_request("authorize takes at most 64 parameters") from None
        for name, value in fields:
            if name == "scope":
                scopes += [word for word in value.split(" ") if word]
            elif name == "audience" and audience is None:
                audience = value
            else:
                raise bad_request("authorize takes the parameters scope, several times or not, and audience")
        answer = (tuple(scopes), DEFAULT_AUDIENCE if audience is None else audience)
        if len(query) <= _LONGEST_REMEMBERED:
            if len(self._queries) >= _MOST_REMEMBERED:
                self._queries.clear()
            self._queries[query] = answer
        return answer


def _original(headers: Iterable[tuple[bytes, bytes]], *, trusted: bool) -> tuple[str | None, str | None]:
    """The method and the path of the request that the proxy asks about; None for what it does not say.

    Both come from one pair of headers: half of the other may be what the client itself sent along.
    """
    facts = [(name, value) for name, value in headers if name in _ASKED_ABOUT]
    if not facts:
        return None, None
    method = _agreed(facts, b"x-original-method", b"x-forwarded-method")
    uri = _agreed(facts, b"x-original-uri", b"x-forwarded-uri")
    halves = [sum(value is not None for value in pair) for pair in zip(method, uri, strict=True)]
    if 0 not in halves and sum(halves) != 4:
        raise bad_request("X-Original-* and X-Forwarded-*: one pair, or both and whole")
    pair = 0 if halves[0] else 1
    if pair == 1 and not trusted:
        return None, None
    path = uri[pair]
    return method[pair], None if path is None else path.partition("?")[0]


def _agreed(facts: list[tuple[bytes, bytes]], original: bytes, forwarded: bytes) -> list[str | None]:
    """What each of the two headers says, and they and their repetitions must say the same."""
    values: list[str | None] = [None, None]
    for at, wanted in enumerate((original, forwarded)):
        for name, value in facts:
            if name == wanted:
                text = path_text(value)
                if any(other not in (None, text) for other in values):
                    raise bad_request("X-Original-* and X-Forwarded-* contradict each other")
                values[at] = text
    return values
