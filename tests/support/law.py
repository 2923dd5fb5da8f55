"""What many tests need: keys, moments, a keyring, minted tokens, examples of every kind, the vectors."""

from __future__ import annotations

import gc
import itertools
import json
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import shake_256
from pathlib import Path
from typing import Any

from caveats import (
    Audience,
    Caveat,
    CaveatsError,
    ClientIp,
    Context,
    Expires,
    Host,
    Identifier,
    Macaroon,
    MasterKey,
    MasterKeyring,
    Method,
    NotBefore,
    Note,
    Parent,
    PrivateKey,
    Renewed,
    Scope,
    ThirdParty,
    User,
    new_token_id,
)
from caveats import (
    Path as PathCaveat,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ROOT_KEY = bytes(range(32))
MASTER = MasterKey("k1", b"m" * 31 + b"\1")
KEYRING = MasterKeyring([MASTER])
TOKEN_ID = "01KAJQ00000000000000000001"
OTHER_TOKEN_ID = "01KAJQ00000000000000000002"

EXAMPLES: dict[type[Caveat], list[Caveat]] = {
    User: [User("alice"), User("bob")],
    Expires: [Expires(NOW + HOUR), Expires(NOW), Expires(NOW - HOUR)],
    NotBefore: [NotBefore(NOW - HOUR), NotBefore(NOW), NotBefore(NOW + HOUR)],
    Scope: [Scope("*"), Scope("photos:read", "photos/42:*"), Scope("photos/*:read"), Scope("notes:write")],
    Audience: [Audience("photos", "thumbs"), Audience("photos"), Audience("notes")],
    Method: [Method("GET", "HEAD"), Method("POST"), Method("GET")],
    PathCaveat: [
        PathCaveat("/albums/42", "/public/*"),
        PathCaveat("/albums/*"),
        PathCaveat("/"),
        PathCaveat("/*"),
    ],
    Host: [
        Host("photos.example", "albums.example"),
        Host("photos.example"),
        Host("10.1.2.3", "xn--ex-mia.example"),
    ],
    ClientIp: [ClientIp("10.0.0.0/8", "2001:db8::/32"), ClientIp("10.1.2.3"), ClientIp("192.0.2.0/24")],
    Note: [Note("for the nightly build"), Note("für Ä=1")],
    Renewed: [Renewed(NOW)],
    Parent: [Parent("k1", OTHER_TOKEN_ID, (b"\xab" * 16,)), Parent("k1", OTHER_TOKEN_ID, ())],
}
ALL_EXAMPLES = [caveat for examples in EXAMPLES.values() for caveat in examples]

CONTEXTS = [
    Context(now=NOW),
    Context(
        now=NOW,
        audience="photos",
        scopes=("photos/42:read",),
        method="GET",
        path="/albums/42",
        host="photos.example",
        client_ip="10.1.2.3",
        user="alice",
    ),
    Context(
        now=NOW - HOUR,
        audience="notes",
        scopes=("notes:write", "photos:read"),
        method="POST",
        path="/public/x",
        host="Albums.Example.:8443",
        client_ip="2001:db8::1",
        user="bob",
    ),
    Context(
        now=NOW + HOUR,
        audience="thumbs",
        scopes=("caveats:admin",),
        method="DELETE",
        path="/public/../x",
        host="[::1]:80",
        client_ip="::ffff:10.0.0.1",
        user="carol",
    ),
    Context(now=NOW, audience="photos", scopes=("photos:read",), method="get", path="/", client_ip="nowhere"),
]


def identifier(
    n: int = 3, *, token_id: str = TOKEN_ID, audience: str = "photos", key_id: str = "k1"
) -> Identifier:
    return Identifier(key_id, audience, token_id, n)


def issue(
    *more: Caveat | bytes,
    user: str = "alice",
    expires: datetime = NOW + HOUR,
    scope: str = "*",
    token_id: str = TOKEN_ID,
    audience: str = "photos",
    keyring: MasterKeyring = KEYRING,
    key_id: str = "k1",
    location: str = "",
) -> Macaroon:
    """A token as the service issues it."""
    caveats = [User(user), Expires(expires), Scope(scope), *more]
    name = identifier(len(caveats), token_id=token_id, audience=audience, key_id=key_id)
    return Macaroon.mint(keyring.root_key(name), name, location=location, caveats=caveats)


def fresh_token_id(now: datetime = NOW) -> str:
    return new_token_id(now)


REQUEST = Context(now=NOW, audience="photos", scopes=("photos:read",))

PARTY_KEY = PrivateKey(b"p" * 32)
PARTY = ThirdParty("https://party.example", PARTY_KEY.public_key)


def counter_random():
    """A source of bytes that look random and are the same in each run."""
    counter = itertools.count()
    return lambda size: shake_256(str(next(counter)).encode()).digest(size)


def outcome(function, *args: Any, **kwargs: Any) -> type[CaveatsError] | None:
    """The class of the one error of our family that comes, or None. Any other exception goes through."""
    try:
        function(*args, **kwargs)
    except CaveatsError as error:
        return type(error)
    return None


VECTORS = Path(__file__).parents[1] / "vectors"


def vectors(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


@contextmanager
def at_most(seconds: float):
    """The body takes no longer, by the thread's own clock, which a busy machine does not move; collections aside."""
    gc.disable()
    start = time.thread_time()
    try:
        yield
        took = time.thread_time() - start
    finally:
        gc.enable()
    assert took < seconds, f"took {took * 1000:.1f} ms"
