"""Replies that can be asked for again: a request sent twice under one Idempotency-Key is done once.

Knows the seal and how a request is told from another; knows no SQL and no HTTP. What is kept of a request is an HMAC
of it, since it may hold a password; what is kept of the reply is sealed, since it may hold a token.
"""

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel

from caveats import PrivateKey
from caveats.keys import hkdf
from caveats.token import mac, pads
from caveats_service.core.errors import InvalidRequest
from caveats_service.storage import Idempotency, Revocation
from caveats_service.storage.encryption import SealKey, seal, unseal

_KEPT: Final = timedelta(hours=24)
_KEY: Final = re.compile(r"[A-Za-z0-9._:~+/=-]{8,128}")
_PURPOSE: Final = "reply"


class Replies:
    """Makes and opens what is remembered. Every node of a service makes and opens alike."""

    def __init__(self, seal_key: SealKey, box_key: PrivateKey) -> None:
        self._seal_key = seal_key
        self._digests = pads(hkdf(box_key.secret, b"caveats/v1/idempotency", 32))

    def once(
        self,
        key: str | None,
        *,
        caller: str,
        what: str,
        body: BaseModel,
        reply: Callable[[Revocation | None], BaseModel],
        now: datetime,
    ) -> Idempotency | None:
        """What the store needs to do this once; None without a key. Raises `InvalidRequest` for an unusable key."""
        if key is None:
            return None
        if _KEY.fullmatch(key) is None:
            raise InvalidRequest("an Idempotency-Key has 8 to 128 letters, digits and . _ : ~ + / = -")
        asked = json.dumps([what, body.model_dump(mode="json")], sort_keys=True)
        return Idempotency(
            caller=caller,
            key=key,
            digest=mac(self._digests, asked.encode()),
            expires_at=now + _KEPT,
            seal_reply=lambda done: self._seal(caller, key, reply(done)),
        )

    def _seal(self, caller: str, key: str, reply: BaseModel) -> bytes:
        return seal(
            self._seal_key,
            reply.model_dump_json().encode(),
            row_id=0,
            key_id=f"{caller}/{key}",
            purpose=_PURPOSE,
        )

    def open(self, once: Idempotency, sealed: bytes) -> dict[str, object]:
        """The reply that was given the first time."""
        plain = unseal(self._seal_key, sealed, row_id=0, key_id=f"{once.caller}/{once.key}", purpose=_PURPOSE)
        reply: dict[str, object] = json.loads(plain)
        return reply
