"""What users of the library write, which must type-check."""

# ruff: noqa: ARG005, INP001, TC003  # as users write it, and this is no package

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Self, assert_type

import httpx
import httpx2

import caveats
from caveats import (
    AudienceKeyring,
    Authority,
    Bundle,
    Caveat,
    Checkers,
    Context,
    Expires,
    Failure,
    Grant,
    Identifier,
    Introspection,
    Keyring,
    Macaroon,
    MalformedCaveat,
    MasterKey,
    MasterKeyring,
    Note,
    PrivateKey,
    Refused,
    Revocation,
    RevocationSet,
    Scope,
    ThirdParty,
    ThirdPartyCaveat,
    TokenRevocation,
    Unmet,
    UnsatisfiedCaveats,
    User,
    Verifier,
    standard_checkers,
)
from caveats.testing import check_kind
from caveats_client import Client, TokenAuth


@dataclass(frozen=True, slots=True)
class Album(Caveat):
    """A plug-in kind."""

    kind: ClassVar[str] = "photos/album"
    number: int

    @property
    def value(self) -> str:
        """The number."""
        return str(self.number)

    @classmethod
    def parse(cls, value: str) -> Self:
        """A number."""
        if not value.isdecimal():
            raise MalformedCaveat("an album is a number")
        return cls(int(value))


def check_album(caveat: Album, context: Context) -> bool | Unmet:
    """The request is about this album."""
    if "album" not in context.extra:
        return Unmet("the request names no album", f"album {caveat.number}")
    return context.extra["album"] == caveat.number or Unmet("another album", f"album {caveat.number}")


def test_album(now: datetime) -> None:
    """A plug-in author's test."""
    checkers = standard_checkers()
    checkers.register(Album, check_album)
    checkers.register(Note, lambda caveat, context: caveat.text != "no")
    contexts = [Context(now=now, extra={"album": 42})]
    check_kind(checkers, Album, caveats=[Album(42)], malformed=["x"], contexts=contexts)


def issue(keys: MasterKeyring, user: str, now: datetime) -> Macaroon:
    """Mint, as an issuer does."""
    name = Identifier(keys.active.key_id, "photos", caveats.new_token_id(now), 3)
    three = [User(user), Expires.after(timedelta(hours=8), now=now), Scope("photos:*")]
    return Macaroon.mint(keys.root_key(name), name, caveats=three)


def narrow(token: Macaroon, now: datetime) -> str:
    """Narrow, as a holder does."""
    narrower = token.attenuate(
        Scope("photos/42:read"), Expires.after(timedelta(minutes=10), now=now), Note("x")
    )
    narrower = narrower.attenuate(b"vendor/kind = value")
    for caveat in narrower.unverified_caveats:
        assert_type(caveat, Caveat | ThirdPartyCaveat)
    return assert_type(narrower.encode(), str)


def share(token: Macaroon, party: ThirdParty, key: PrivateKey, now: datetime) -> str:
    """Ask for a discharge and bind it."""
    asking = token.require_discharge(party, "is a member", expires_at=now)
    for caveat in asking.wire.caveats:
        if isinstance(caveat, ThirdPartyCaveat):
            ticket = caveats.open_ticket(caveat.ticket, key)
            return Bundle.bind(asking, [caveats.discharge(ticket, [Note("yes")], now=now)]).encode()
    raise AssertionError


def serve(verifier: Verifier, text: str) -> tuple[str, Sequence[Failure]]:
    """Verify, as an app does."""
    context = Context(now=datetime.now(UTC), scopes=("photos:read",), method="GET", path="/photos/42")
    try:
        grant = verifier.verify(text, context)
    except UnsatisfiedCaveats as refusal:
        return "", refusal.failures
    except Refused:
        return "", ()
    assert_type(grant, Grant)
    assert_type(grant.user, str)
    assert_type(grant.scopes, tuple[str, ...])
    assert_type(grant.expires_at, datetime | None)
    assert_type(grant.authority, Authority)
    assert_type(verifier.introspect(text), Introspection)
    return grant.user, []


def verifiers(master: MasterKey, members: dict[str, object]) -> list[Verifier]:
    """Any keyring will do."""
    rings: list[Keyring] = [MasterKeyring([master]), AudienceKeyring.from_json(members)]
    entries: list[Revocation] = [TokenRevocation("0" * 26, datetime.now(UTC))]
    made = [Verifier(ring, audience="photos", revocations=RevocationSet(entries)) for ring in rings]
    made[0].keyring = rings[1]
    made[0].checkers = Checkers()
    return made


def send(token: Macaroon) -> list[int]:
    """The requests of an app, with either httpx, and a client of the service over a transport of either."""
    auth, other = (
        TokenAuth(token, "https://photos.example"),
        TokenAuth(token, httpx.URL("https://photos.example")),
    )
    transports = [httpx.MockTransport(lambda _: httpx.Response(200)), httpx.HTTPTransport()]
    clients = [Client("https://auth.example", transport=each) for each in transports]
    clients.append(Client("https://auth.example", transport=httpx2.HTTPTransport()))
    with httpx.Client(auth=auth) as ordinary, httpx2.Client(auth=other) as http:
        return [ordinary.get("/").status_code, http.get("/", auth=auth).status_code, len(clients)]
