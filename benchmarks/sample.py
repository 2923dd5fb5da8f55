"""The tokens that every library is asked to judge: who, until when, for what; and one request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from caveats import (
    AudienceKey,
    AudienceKeyring,
    Context,
    Expires,
    Identifier,
    Macaroon,
    MasterKey,
    MasterKeyring,
    Scope,
    User,
    new_token_id,
)

AUDIENCE = "photos"
NEEDED = "photos/42:read"
NOW = datetime.now(UTC).replace(microsecond=0)
CONTEXT = Context(NOW, scopes=(NEEDED,))

KEYRING: AudienceKeyring = MasterKeyring([MasterKey("k1", bytes(range(32)))]).export(AUDIENCE)
_KEY = KEYRING.keys[0]


@dataclass(frozen=True)
class Sample:
    """What one token says, in plain values; each library writes it its own way."""

    identifier: Identifier
    root_key: bytes
    user: str
    rest: tuple[datetime | str, ...]
    """After the user: an expiry is a time, a scope is its text."""

    @property
    def expires(self) -> datetime:
        """The first expiry."""
        return next(value for value in self.rest if isinstance(value, datetime))

    @property
    def scope(self) -> str:
        """The first scope."""
        return next(value for value in self.rest if isinstance(value, str))

    @property
    def predicates(self) -> list[str]:
        """The caveats as text."""
        return [
            f"user = {self.user}",
            *(
                f"scope = {value}" if isinstance(value, str) else f"expires = {value:%Y-%m-%dT%H:%M:%SZ}"
                for value in self.rest
            ),
        ]

    def mint(self) -> Macaroon:
        """Our macaroon of it."""
        rest = (Scope(value) if isinstance(value, str) else Expires(value) for value in self.rest)
        return Macaroon.mint(self.root_key, self.identifier, caveats=(User(self.user), *rest))


def samples(count: int, *, caveats: int = 3, alike: bool = False, key: AudienceKey = _KEY) -> list[Sample]:
    """`count` tokens: a user, then expiries and scopes in turn. No two have a caveat in common unless `alike`."""
    return [_sample(0 if alike else number, caveats, key) for number in range(count)]


def logins(count: int) -> list[Sample]:
    """`count` tokens as one app hands them out: every user and every expiry is another, the scope is what it asks for."""
    return [
        _made(f"user{number:05}", (NOW + timedelta(hours=8, seconds=number), "photos:read"), _KEY)
        for number in range(count)
    ]


def example() -> Sample:
    """The token whose length is compared."""
    return _made("alice", (NOW + timedelta(hours=8), "photos:read"), _KEY)


def _sample(number: int, caveats: int, key: AudienceKey) -> Sample:
    rest: list[datetime | str] = []
    for turn in range(caveats - 1):
        expiry = NOW + timedelta(hours=8, days=turn, seconds=number)
        rest.append(f"photos:read albums/{number:05}:write" if turn % 2 else expiry)
    return _made(f"user{number:05}", tuple(rest), key)


def _made(user: str, rest: tuple[datetime | str, ...], key: AudienceKey) -> Sample:
    identifier = Identifier(key.key_id, key.audience, new_token_id(NOW), len(rest) + 1)
    return Sample(identifier, key.root_key(identifier.encode()), user, rest)
