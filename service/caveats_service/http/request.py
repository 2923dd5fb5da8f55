"""One HTTP request: its head, its credential, its body; and how a handler becomes an endpoint.

Knows requests and limits; knows no route. Who the credential proves is the question of `credentials`. A cookie is a
credential that browsers send by themselves: with one, or with a password that a browser remembers, a method that
changes something must come from a page of this service.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from caveats import UnsatisfiedCaveats
from caveats.http import (
    Credential,
    IncomingRequest,
    PasswordCredential,
    Problem,
    TokenCredential,
    bad_request,
    context_of,
    credential_of,
    origins_of,
)
from caveats.kinds import parse_address
from caveats_service.core import log
from caveats_service.core.request_counts import Outcome
from caveats_service.http.errors import problem_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from caveats import Context
    from caveats_service.runtime import ServiceRuntime
    from caveats_service.storage import User

NO_STORE = {"Cache-Control": "no-store"}
_REFUSALS = frozenset({401, 403, 407, 429})
"""Statuses of a no. 407 is the 401 of bakery clients of version 0."""
SAFE = ("GET", "HEAD", "OPTIONS")
_Model = TypeVar("_Model", bound=BaseModel)
_Body = TypeVar("_Body")
Handler = Callable[["RequestContext"], Awaitable[Response]]


class RequestContext:
    """One request, the service that answers it and the time that it counts from: what every handler is given."""

    def __init__(self, http: Request, runtime: ServiceRuntime) -> None:
        self.http = http
        self.runtime = runtime
        self.now = runtime.now()
        """When the request was whole: its head and, once that is read, its body. All is judged by this time."""
        self.body = b""
        """The bytes of the body, once it was read."""
        self.refused = False
        """Whether the answer is a no though its status is a 200: a verdict."""
        self.proven: tuple[PasswordCredential, User] | None = None
        """The password that was looked at already, with its user."""

    @cached_property
    def head(self) -> IncomingRequest:
        """The request's head as it came in."""
        return IncomingRequest.from_asgi(self.http.scope)

    @cached_property
    def client_ip(self) -> str | None:
        """The client's address, through trusted proxies only."""
        self.tell_of_proxy()
        return self.runtime.settings.proxies.client_address(self.head)

    def tell_of_proxy(self) -> None:
        """Log the address of a proxy that is not trusted, once, and only of the first few."""
        peer = self.runtime.settings.unknown_proxies.to_tell(self.head)
        if peer is not None:
            log.warning(
                "proxy_not_trusted", peer=peer, do="if it is your proxy, name it in CAVEATS_TRUSTED_PROXIES"
            )

    @property
    def throttle_key(self) -> str:
        """The address that guesses are counted by: an IPv6 client has at least a /64 to itself.

        The peer's where the client's is not known: a client behind a trusted proxy that sends headers which are odd, or
        contradict the proxy's, is counted as the proxy, and chooses no address.
        """
        text = self.client_ip or self.head.peer or "unknown"
        address = parse_address(text)
        if address is None:
            return text
        return str(address) if address.version == 4 else address.exploded[:19]

    def param(self, name: str) -> str:
        """A path parameter."""
        return str(self.http.path_params[name])

    def number(self, name: str, default: int, most: int) -> int:
        """A query parameter that is a whole number, 0 to `most`."""
        text = self.http.query_params.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 18) or int(text) > most:
            raise bad_request(f"{name} is a whole number from 0 to {most}")
        return int(text)

    def page(self) -> tuple[str, int]:
        """Where a listing goes on (`?after=`, "" at first) and how many rows it has (`?limit=`, 1 to 1000)."""
        return self.http.query_params.get("after", ""), max(1, self.number("limit", 100, 1000))

    async def read(self, model: type[_Model]) -> _Model:
        """The body as `model`; none at all is as good as `{}`. Raises `Problem`: 400, 408, 413, 415."""
        return await self._read(model.model_validate)

    async def read_as(self, adapter: TypeAdapter[_Body]) -> _Body:
        """As `read`, for a body of several shapes."""
        return await self._read(adapter.validate_python)

    async def _read(self, validate: Callable[[Any], _Body]) -> _Body:
        raw = self.body = await self.raw()
        if raw:
            media_type = self.http.headers.get("content-type", "").partition(";")[0].strip().lower()
            if media_type != "application/json":
                raise Problem(415, "unsupported_media_type")
        try:
            return validate(_strict_json(raw) if raw else {})
        except ValidationError as error:
            raise bad_request(_explain(error)) from None

    async def raw(self) -> bytes:
        """The body's bytes. The request counts from now on. Raises a 400, 408 or 413 `Problem`."""
        settings = self.runtime.settings
        announced = announced_size(self.http.scope["headers"])
        if announced is not None and announced > settings.max_body_bytes:
            raise _too_large(settings.max_body_bytes)
        try:
            async with asyncio.timeout(settings.body_timeout):
                body = await self._whole_body(settings.max_body_bytes)
        except TimeoutError:
            raise Problem(
                408, "body_timeout", f"a body comes within {settings.body_timeout:g} seconds"
            ) from None
        if not body and announced != 0:
            raise bad_request("the request announces a body and has none: it was lost on the way")
        self.now = self.runtime.now()
        return body

    async def _whole_body(self, most: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await self.http.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(chunk)
            if size > most:
                raise _too_large(most)
            chunks.append(chunk)
        return b"".join(chunks)

    # its credential

    @cached_property
    def credential(self) -> Credential | None:
        """The credential in the headers, not looked at yet. Raises `Problem`: 400 for two, 403 across sites."""
        credential = credential_of(self.head.headers, self.runtime.settings.cookie_name)
        if self.http.method in SAFE:
            return credential
        if isinstance(credential, TokenCredential) and credential.from_cookie:
            self.require_own_site()
        elif isinstance(credential, PasswordCredential):  # browsers remember Basic, and send it along as well
            self.require_same_site_if_browser()
        return credential

    @property
    def own_url(self) -> str:
        """Where this service is: as it is configured or, while it is not, as the request has it."""
        here = self.http.url
        return self.runtime.settings.public_url or f"{here.scheme}://{self.own_host or here.netloc}"

    @property
    def own_path(self) -> str:
        """The path of this request as browsers have it, whether or not the proxy takes the public path away."""
        path, public_path = self.http.url.path, self.runtime.settings.public_path
        return public_path + path.removeprefix(self.http.scope.get("root_path", "")) if public_path else path

    @property
    def own_host(self) -> str | None:
        """The host that the request was made to, through trusted proxies; None if it is not known."""
        return self.runtime.settings.proxies.host(self.head)

    def require_own_site(self) -> None:
        """Refuse a request that a page of another site sent, or may have sent. Raises a 403 `Problem`."""
        settings, headers = self.runtime.settings, self.http.headers
        origin = headers.get("origin")
        own = {settings.public_origin} if settings.public_url else origins_of(self.own_host)
        if origin is None or (origin not in own and origin not in settings.allowed_origins):
            self.tell_of_proxy()
            raise Problem(403, "cross_site", "" if settings.public_url else self._proxy_hint)
        if headers.get("sec-fetch-site") == "cross-site" and origin not in settings.allowed_origins:
            raise Problem(403, "cross_site")

    @property
    def _proxy_hint(self) -> str:
        return self.runtime.settings.unknown_proxies.hint(self.head)

    def explained(self, error: Exception) -> Exception:
        """The error, with a hint where the facts are not those of the client, because its proxy is not trusted."""
        if not isinstance(error, UnsatisfiedCaveats):
            return error
        self.tell_of_proxy()
        return self.runtime.settings.unknown_proxies.explained(error, self.head)

    def require_same_site_if_browser(self) -> None:
        """The same for browsers only: a program, which sends no Origin, may go on."""
        if "origin" in self.http.headers or "sec-fetch-site" in self.http.headers:
            self.require_own_site()

    def context(self, *scopes: str, audience: str | None = None) -> Context:
        """The facts of this request, for a token that is presented to this service itself."""
        return context_of(
            self.head, self.runtime.settings.proxies, now=self.now, audience=audience, scopes=scopes
        )


def announced_size(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """The bytes of the body that these headers announce (RFC 9112, section 6): 0 for none, None for some number."""
    size = 0
    for name, value in headers:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            if not value.isdigit():
                return None
            size = max(size, int(value[:18]))
    return size


def _too_large(most: int) -> Problem:
    return Problem(413, "too_large", f"a body has at most {most} bytes")


def endpoint(handler: Handler, runtime: ServiceRuntime, *, counted: bool = True) -> ASGIApp:
    """The endpoint as an ASGI app: run the handler, answer with its response or with the problem of its error.

    `counted`: whether its requests are among those that `runtime.request_counts` counts.
    """

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        request = RequestContext(Request(scope, receive, send), runtime)
        try:
            response = await handler(request)
        except Exception as error:  # noqa: BLE001  # the process edge: everything becomes one of the table's answers
            response = problem_response(request.explained(error))
        if counted:
            runtime.request_counts.add(_outcome(request, response.status_code), request.now)
        await response(scope, receive, send)

    return run


def _outcome(request: RequestContext, status: int) -> Outcome:
    if status >= 500:
        return Outcome.FAILED
    return Outcome.REFUSED if request.refused or status in _REFUSALS else Outcome.ANSWERED


def to_json(body: object) -> bytes:
    """The JSON of an answer's body, one of `schemas`."""
    kind = type(body)
    write = _WRITERS.get(kind)
    if write is None:
        write = _WRITERS[kind] = TypeAdapter(kind).serializer.to_json
    return write(body)


_WRITERS: dict[type, Callable[[object], bytes]] = {}
"""What writes the bodies of each class: to make one takes a millisecond."""


def reply(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A body as JSON, never to be stored by anybody on the way."""
    return json_reply(to_json(body), status, headers)


def json_reply(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """As `reply`, of a body that is JSON already."""
    return Response(body, status, {**NO_STORE, **(headers or {})}, "application/json")


def _strict_json(raw: bytes) -> Any:
    """JSON as RFC 8259 has it: UTF-8, no repeated members, no NaN. Raises `Problem`."""
    try:
        value = _JSON.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise bad_request("the body is not JSON (UTF-8, no member twice)") from None
    if not isinstance(value, dict):
        raise bad_request("the body is a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member appears twice")
    return members


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)


def _explain(error: ValidationError) -> str:
    """What is wrong where, without repeating the input: it may hold a password or a token."""
    lines = []
    for one in error.errors(include_input=False, include_url=False, include_context=False)[:5]:
        where = ".".join(str(part) for part in one["loc"])
        lines.append(f"{where[:100]}: {one['msg']}" if where else str(one["msg"]))
    return "; ".join(lines)
