"""A request that is sent twice under one `Idempotency-Key` is done once, and answered twice with the same reply.

Knows requests and the seal; knows no SQL. `@idempotent` goes around a handler that returns its result and not yet a
response. The reply is written in the transaction of the operation itself, so there is no operation without its reply
and no reply without its operation. Of a request an HMAC is kept, since it may hold a password; the reply is sealed,
since it may hold a token.
"""

from __future__ import annotations

import functools
import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from caveats.http import TokenCredential
from caveats.keys import hkdf
from caveats.token import mac, pads
from caveats_service.core.errors import InvalidRequest, RateLimited
from caveats_service.http.credentials import require_room
from caveats_service.http.request import Handler, RequestContext, json_reply, reply, to_json
from caveats_service.storage import AlreadyDone, Idempotency, IdempotencyConflict
from caveats_service.storage.encryption import SealKeyError, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pydantic import BaseModel
    from starlette.responses import Response

HEADER = "Idempotency-Key"
_KEPT = timedelta(hours=24)
_KEY = re.compile(r"[A-Za-z0-9._:~+/=-]{8,128}")
_PURPOSE = "reply"
_DIGEST_LABEL = b"caveats/v1/idempotency"
_Result = TypeVar("_Result")


class Once:
    """What makes an operation of this request happen once; the wrapper makes it, the handler hands it on."""

    def __init__(self, request: RequestContext, render: Callable[[Any], object]) -> None:
        self._request = request
        self._render = render
        self._made: Idempotency | None = None

    def by(self, caller: str, body: BaseModel, *, must_go_on: bool = False) -> Idempotency | None:
        """What the store needs to do this once for `caller` (a username); None if the request has no key.

        What one copy of a token was answered is for that copy: a narrower one with the same key does not get it.
        Raises `InvalidRequest` for a key that cannot be used, and `RateLimited` where too many replies are kept; with
        `must_go_on`, for what may be done twice, it is None then.
        """
        request = self._request
        key = request.http.headers.get(HEADER)
        if key is None:
            return None
        if _KEY.fullmatch(key) is None:
            raise InvalidRequest("an Idempotency-Key has 8 to 128 letters, digits and . _ : ~ + / = -")
        try:
            require_room(request, caller)
        except RateLimited:
            if must_go_on:
                return None
            raise
        if isinstance(request.credential, TokenCredential):
            verifier = request.runtime.tokens.verifier
            branches = verifier.introspect(request.credential.text).branches
            caller = f"{caller}/{branches[-1].hex()}"
        self._made = Idempotency(
            caller=caller,
            key=key,
            digest=self._digest(body),
            expires_at=request.now + _KEPT,
            seal_reply=lambda result: self._seal(caller, key, self._render(result)),
        )
        return self._made

    def _digest(self, body: BaseModel) -> bytes:
        """An HMAC (32 bytes) of what is asked for; the same on every node."""
        http = self._request.http
        asked = json.dumps([f"{http.method} {http.url.path}", body.model_dump(mode="json")], sort_keys=True)
        key = hkdf(self._request.runtime.service_keys.box.secret, _DIGEST_LABEL, 32)
        return mac(pads(key), asked.encode())

    def _seal(self, caller: str, key: str, body: object) -> bytes:
        return seal(
            self._request.runtime.service_keys.seal,
            to_json(body),
            row_id=0,
            key_id=f"{caller}/{key}",
            purpose=_PURPOSE,
        )

    def again(self, done: AlreadyDone) -> bytes:
        """The reply (JSON) that was given the first time. Raises `IdempotencyConflict` if it is damaged."""
        assert self._made is not None
        try:
            return unseal(
                self._request.runtime.service_keys.seal,
                done.sealed_reply,
                row_id=0,
                key_id=f"{self._made.caller}/{self._made.key}",
                purpose=_PURPOSE,
            )
        except SealKeyError:
            raise IdempotencyConflict(
                "this was done, and its reply is damaged: ask under another key"
            ) from None


def idempotent(
    render: Callable[[_Result], object],
) -> Callable[[Callable[[RequestContext, Once], Awaitable[_Result]]], Handler]:
    """Make a handler of one that returns its result; `render` makes the body of the answer, a 201, of it."""

    def wrap(handler: Callable[[RequestContext, Once], Awaitable[_Result]]) -> Handler:
        @functools.wraps(handler)
        async def run(request: RequestContext) -> Response:
            once = Once(request, render)
            try:
                return reply(render(await handler(request, once)), 201)
            except AlreadyDone as done:
                return json_reply(once.again(done), 201)

        return run

    return wrap
