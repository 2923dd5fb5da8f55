"""Random tokens of every kind, with and without discharges, well formed and not, from a seed. Knows both parties' keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from caveats import Bundle, Identifier, Macaroon, new_token_id
from caveats.kinds import write_moment

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ROOT_KEY = bytes(range(1, 33))
_RESOURCES = (
    "photos",
    "photos/42",
    "photos/42/1",
    "photos/4",
    "notes",
    "caveats",
    "caveats/feed",
    "a",
    "a/b",
)
_ACTIONS = ("read", "write", "*", "list")
_PATHS = (
    "/",
    "/*",
    "/albums/42",
    "/albums/*",
    "/public/*",
    "/a/b/c",
    "/a/b/",
    "/fotos/K%C3%A4se%20brot",
    "/fotos/Käse brot",
    "/fotos/*",
    "/x;y/z",
    "/\u00e4",
    "/a\u0308",
)
_BAD_PATHS = (
    "/a//b",
    "/a/../b",
    "/a/..;x/b",
    "/a/..%20/b",
    "/a/..%CC%81/b",
    "/a/..%E2%80%8B/b",
    "/a\\b",
    "/a/*/b",
    "/a%2Fb",
    "/%61",
    "/a%00",
    "/a%2520b",
    "/%E4",
    "/%C0%AF",
    "/a%C2%A0b",
    "/a%20/b",
    "/%EF%BC%8E%EF%BC%8E/b",
    "albums",
    "/ a",
    "/a%",
    "/..",
    "/.",
    "/. ./b",
    "/\u2024\u2024/a",
    "/a/\U000e0001",
    "",
    "*",
)
_HOSTS = ("photos.example", "albums.example", "xn--bcher-kva.example", "10.0.0.1", "a-b.c")
_BAD_HOSTS = (
    "Photos.Example",
    "photos.example.",
    "photos.example:8443",
    "*.example",
    "[2001:db8::1]",
    "-a.b",
    "a..b",
)
_NETWORKS = (
    "10.0.0.0/8",
    "10.1.0.0/16",
    "192.0.2.7",
    "2001:db8::/32",
    "::1",
    "::",
    "0.0.0.0/0",
    "2001:db8:0:1::/64",
    "::ffff:0:0:0/96",
    "1::2:0:0:3",
)
_BAD_NETWORKS = (
    "10.0.0.1/8",
    "::ffff:10.0.0.0/104",
    "::ffff:a00:0/104",
    "fe80::1%eth0",
    "010.0.0.1",
    "10.0.0.0/255.0.0.0",
    "10.0.0.0/08",
    "2001:DB8::/32",
    "2001:db8:0:0::/64",
    "1:2:3:4:5:6:7::",
    "::1.2.3.4",
    "nope",
    "ffff",
    "ffff/8",
    "1.2.3",
    "0x1.2.3.4",
    "300.1.1.1",
    "1.2.3.4/33",
    "::/129",
    "1.2.3.4/",
    "10.0.0.0/8/8",
    ":",
    ":::",
    "1::2::3",
)
TEXTS = (
    "alice",
    "bob",
    "for the printer",
    "Käse",
    "日本",
    "a'b",
    'a"b',
    "a'b\"c",
    "\U0001f600",
    "x\u200by",
    "o\\p",
)
_SPOILERS = (
    "\x00",
    "\n",
    "\x1b[31m",
    "\x7f",
    "\x85",
    "\u2028",
    "\u2029",
    " ",
    "  ",
    "\xa0",
    "\u3000",
    "\ufeff",
    "\u00ad",
    " = ",
    "\u0301",
    "\ue000",
    "\U000e0001",
    "%",
    "\\",
    "'",
    '"',
)


def _some(random: Random, words: tuple[str, ...], most: int = 3) -> str:
    count = random.randint(1, most)
    return " ".join(random.choices(words, k=count) if random.random() < 0.05 else random.sample(words, count))


def _moment(random: Random) -> str:
    good = write_moment(NOW + timedelta(seconds=random.randint(-(10**6), 10**6)))
    bad = (
        "2026-12-01",
        "2026-02-30T00:00:00Z",
        "2026-12-01T00:00:00+00:00",
        "0000-01-01T00:00:00Z",
        "2026-12-01T24:00:00Z",
        "9999-12-31T23:59:59Z",
        "2026-06-31T00:00:60Z",
    )
    return random.choice(bad) if random.random() < 0.1 else good


def _scope(random: Random) -> str:
    words = []
    for _ in range(random.randint(1, 4)):
        below = "/*" if random.random() < 0.3 else ""
        words.append(f"{random.choice(_RESOURCES)}{below}:{random.choice(_ACTIONS)}")
    if random.random() < 0.15:
        words.append(
            random.choice(
                ("*", "photos", "a/../b:c", "photos:", ":read", "photos/:read", "x:y:z", "ph*:read")
            )
        )
    return " ".join(words)


def _parent(random: Random) -> str:
    branches = [random.randbytes(16).hex() for _ in range(random.randint(0, 3))]
    if branches and random.random() < 0.2:
        branches[-1] = random.choice((branches[0], branches[-1].upper() + "A", "zz"))
    key_id = random.choice(("k1", "k12", "k0", "x1"))
    return " ".join((key_id, random.choice((token_id(random), "01KAJQ", "")), *branches))


def token_id(random: Random) -> str:
    first = NOW - timedelta(seconds=random.randint(0, 10**7))
    made = new_token_id(first, random.randbytes)
    return "7ZZZZZZZZZ" + made[10:] if random.random() < 0.02 else made


_VALUES: dict[str, Callable[[Random], str]] = {
    "user": lambda random: random.choice(TEXTS),
    "scope": _scope,
    "expires": _moment,
    "not-before": _moment,
    "audience": lambda random: _some(
        random, ("photos", "thumbs", "notes", "a-1", "Photos", "9a", "x" * 33)[: random.choice((4, 4, 7))]
    ),
    "method": lambda random: _some(
        random, ("GET", "HEAD", "PUT", "POST", "get", "M-SEARCH", "A1")[: random.choice((4, 4, 7))]
    ),
    "path": lambda random: _some(random, _PATHS + (_BAD_PATHS if random.random() < 0.3 else ())),
    "host": lambda random: _some(random, _HOSTS + (_BAD_HOSTS if random.random() < 0.2 else ())),
    "client-ip": lambda random: _some(random, _NETWORKS + (_BAD_NETWORKS if random.random() < 0.3 else ())),
    "note": lambda random: random.choice(TEXTS),
    "renewed": _moment,
    "parent": _parent,
    "photos/album": lambda random: str(random.randint(0, 99)),
    "album": lambda random: "42",
    "constructor": lambda random: "1",
    "time-before": _moment,
}

_OFTEN = ("scope", "expires", "not-before", "audience", "method", "path", "host", "client-ip")


def predicate(random: Random) -> bytes:
    """A predicate of any kind: mostly in its grammar, else spoiled a little, seldom any bytes at all."""
    kind = random.choice(_OFTEN if random.random() < 0.6 else tuple(_VALUES))
    text = f"{kind} = {_VALUES[kind](random)}"
    chance = random.random()
    if chance < 0.08:
        at = random.choice((len(kind) + 3, len(text), random.randint(0, len(text))))
        text = text[:at] + random.choice(_SPOILERS) + text[at:]
    elif chance < 0.1:
        text = text.replace(" = ", random.choice(("=", " =", " ", " == ")), 1)
    elif chance < 0.12:
        return random.randbytes(random.randint(0, 40))
    raw = text.encode("utf-8", "surrogatepass")
    if chance > 0.98:
        at = random.randint(0, len(raw))
        raw = raw[:at] + bytes((random.randint(128, 255),)) + raw[at:]
    return raw[:1024]


def _ending(random: Random) -> bytes:
    """A caveat of a discharge: often an expiry, ours or a bakery's."""
    if random.random() < 0.5:
        return predicate(random)
    moment = _moment(random)
    if random.random() < 0.5:
        return f"expires = {moment}".encode()
    fraction = random.choice(("", ".5", ".123456789", ".1234567890", "."))
    zone = random.choice(("Z", "+02:00", "-05:30", "+24:00", "z"))
    return f"time-before {moment.removesuffix('Z')}{fraction}{zone}".encode()


def token(random: Random) -> tuple[Macaroon, list[Macaroon]]:
    """A macaroon under `ROOT_KEY`, and its discharges, unbound: some may be missing, and one may be superfluous."""
    issued = random.randint(1, 4)
    ours = random.random() < 0.9
    audience = random.choice(("photos", "notes"))
    identifier = Identifier(random.choice(("k1", "k20")), audience, token_id(random), issued).encode()
    if not ours:
        identifier = random.choice(
            (b"id", "Käse".encode(), b"\xff\x00\xe4", b"1.k1.photos.X.1", bytes(range(40)))
        )
    location = random.choice(("", "", "https://auth.example", "Ort: ä"))
    macaroon = Macaroon.mint(ROOT_KEY, identifier, location=location)
    waiting: list[Macaroon] = []
    known: list[bytes] = []
    macaroon = extended(random, macaroon, predicate, 8, 0.1, waiting, known)
    discharges = []
    while waiting:
        one = waiting.pop()
        if random.random() < 0.85:
            one = extended(random, one, _ending, 3, 0.15 if len(known) < 8 else 0, waiting, known)
            discharges.append(one)
    if discharges and random.random() < 0.05:
        discharges.append(Macaroon.mint(b"stray", b"stray"))
    random.shuffle(discharges)
    return macaroon, discharges


def extended(  # noqa: PLR0917  # how to extend it, then what is collected on the way
    random: Random,
    macaroon: Macaroon,
    make: Callable[[Random], bytes],
    most: int,
    sealed: float,
    waiting: list[Macaroon],
    known: list[bytes],
) -> Macaroon:
    for _ in range(random.randint(0, most)):
        if random.random() >= sealed:
            macaroon = macaroon.attenuate(make(random))
            continue
        key = random.randbytes(24)
        ticket = random.choice((b"\x43\x01", b"e", b"\2", b"\3", b"x")) + random.randbytes(20)
        if known and random.random() < 0.1:
            ticket = random.choice(known)
        known.append(ticket)
        where = random.choice(("https://auth.example", "", "bakery"))
        macaroon = macaroon.with_third_party(where, key, ticket, nonce=random.randbytes(24))
        waiting.append(Macaroon.mint(key, ticket, location=where))
    return macaroon


def bundle(random: Random) -> Bundle:
    """A token with its discharges, bound to it."""
    macaroon, discharges = token(random)
    return Bundle.bind(macaroon, discharges)


# Requests, and how to narrow


def context(random: Random) -> dict[str, Any]:
    """The facts of a request, by their names in JavaScript; each may be missing, and some are malformed."""
    facts: dict[str, Any] = {
        "audience": random.choice(("photos", "notes", "thumbs")),
        "scopes": _scope(random).split(" ")[: random.randint(0, 2)],
        "method": random.choice(("GET", "HEAD", "PUT", "POST", "get")),
        "path": random.choice(_PATHS + _BAD_PATHS).replace("*", "x").replace(" ", "%20"),
        "host": random.choice((*_HOSTS, *_BAD_HOSTS, "PHOTOS.example.:443")),
        "clientIp": random.choice(
            ("10.1.2.3", "192.0.2.7", "2001:db8::1", "::ffff:10.9.9.9", "::1", "fe80::1%eth0", "x")
        ),
        "user": random.choice(TEXTS),
    }
    kept = {name: fact for name, fact in facts.items() if random.random() < 0.85}
    return {**kept, "now": write_moment(NOW + timedelta(seconds=random.randint(-(10**6), 10**6)))}


_TYPED: dict[str, tuple[str, Callable[[Random], Any]]] = {
    "scope": ("scope", lambda random: _scope(random).split(" ")),
    "notBefore": ("not_before", _moment),
    "audience": ("audience", lambda random: _words(random, "audience")),
    "method": ("method", lambda random: [word.lower() for word in _words(random, "method")]),
    "path": ("path", lambda random: random.sample(_PATHS + _BAD_PATHS[:4], random.randint(1, 3))),
    "host": ("host", lambda random: [f"{word.title()}." for word in random.sample(_HOSTS, 2)]),
    "clientIp": ("client_ip", lambda random: _words(random, "client-ip")),
    "note": ("note", lambda random: random.sample(TEXTS + _SPOILERS[:6], 2)),
}


def _words(random: Random, kind: str) -> list[str]:
    return _VALUES[kind](random).split(" ")


def narrowing(random: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """How to narrow a token: as `attenuate` of JavaScript takes it, and as the command line's flags give it."""
    names = [name for name in _TYPED if random.random() < 0.3] or ["scope"]
    typed = {name: _TYPED[name][1](random) for name in names}
    flags = {_TYPED[name][0]: [given] if isinstance(given, str) else given for name, given in typed.items()}
    if random.random() < 0.5:
        seconds = random.randint(0, 10**6)
        return {**typed, "expiresIn": seconds}, {**flags, "expires_in": seconds}
    return typed, flags
