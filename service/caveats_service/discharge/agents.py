"""Agents: programs that sign in with an X25519 key, by completing a macaroon that only the key's holder can complete.

A challenge is not stored: its user, key, ticket and end are in the macaroon's identifier, under an HMAC key that follows
from the service's own. Knows keys and macaroons; knows no store, no HTTP and no clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import caveats
from caveats import BadSignature, Bundle, Context, PrivateKey, bakery
from caveats.bakery import V1, BakeryMacaroon, BakeryParty
from caveats.keys import check_box_key, hkdf, key_from_any_base64
from caveats.token import decode_base64, encode_base64, mac, pads
from caveats_service.core.usernames import is_username

AGENT_LIFE = timedelta(minutes=1)
"""How long an agent has to complete its challenge."""
_IDENTIFIER = re.compile(
    r"agent\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})\.([0-9]{1,12})\.([0-9a-f]{32})\.(.{1,64})"
)
"""Public key, ticket digest, end in seconds since 1970, nonce, username."""


def read_agent_key(text: str) -> bytes:
    """An agent's X25519 public key, 32 bytes, from base64 of any flavour. Raises `InvalidKey`."""
    key = key_from_any_base64(text)
    check_box_key(key)
    return key


class AgentChallenges:
    """Makes challenges, and reads the completed ones."""

    def __init__(self, key: PrivateKey) -> None:
        self._pads = pads(hkdf(key.secret, b"caveats/v1/agent-login", 32))

    def challenge(
        self, username: str, public_key: bytes, digest: bytes, *, nonce: bytes, now: datetime, version: int
    ) -> BakeryMacaroon:
        """A macaroon that the holder of a key has to discharge, for one ticket and `AGENT_LIFE`.

        `public_key`: 32 bytes. `digest`: the question's, 32 bytes. `nonce`: 16 random bytes. `version`: of the bakery
        protocol that the agent speaks.
        """
        expires = int((now + AGENT_LIFE).timestamp())
        text = ".".join(
            ("agent", encode_base64(public_key), encode_base64(digest), str(expires), nonce.hex(), username)
        )
        identifier = text.encode()
        macaroon = caveats.Macaroon.mint(self._root_key(identifier), identifier)
        party = BakeryParty(bakery.LOCAL, public_key)
        return BakeryMacaroon(macaroon, max(version, V1)).require_discharge(party, bakery.LOCAL_CONDITION)

    def completed(self, bundle: Bundle, digest: bytes, *, now: datetime) -> tuple[str, bytes]:
        """The username and the public key (32 bytes) of the agent that completed a challenge for this ticket.

        Raises `CaveatsError`.
        """
        identifier = bundle.macaroon.identifier
        found = _IDENTIFIER.fullmatch(identifier.decode("utf-8", "replace"))
        if found is None:
            raise BadSignature("not an agent's token")
        checkers = bakery.first_party_checkers()
        authenticated = caveats.authenticate(bundle, self._root_key(identifier), kinds=checkers.kinds)
        if caveats.unsatisfied(authenticated.caveats, checkers, Context(now=now)):
            raise BadSignature("the token's caveats refuse")
        if now >= datetime.fromtimestamp(int(found[3]), UTC) or decode_base64(found[2]) != digest:
            raise BadSignature("the token is for another ticket, or came too late")
        username = found[5]
        if not is_username(username):
            raise BadSignature("not an agent's token")
        return username, decode_base64(found[1])

    def _root_key(self, identifier: bytes) -> bytes:
        return mac(self._pads, identifier)
