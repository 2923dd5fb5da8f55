"""Structure-aware mutations, judged by us and by an independent reference: no disagreement, no foreign exception.

The reference below shares no code with the library: it reads strict v2 binary, walks the chain with `hmac`, and
opens sealed keys with NaCl. CAVEATS_LAWS=1000 makes it ten million mutations.
"""

from __future__ import annotations

import hmac
import random

import pytest
from hypothesis import settings
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from caveats import Bundle, CaveatsError, Macaroon, authenticate
from tests.support.law import outcome

KEY = b"the root key of the reference"
COUNT = settings().max_examples * 10_000 // 60
"""10,000 mutations in CI."""


class No(Exception):
    """The reference refuses."""


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def varint(data: bytes) -> tuple[int, bytes]:
    value = 0
    for index, byte in enumerate(data[:3]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            if index and not byte:
                raise No("overlong")
            return value, data[index + 1 :]
    raise No("varint")


def section(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    fields: list[tuple[int, bytes]] = []
    while data[:1] != b"\0":
        if not data:
            raise No("cut off")
        kind, (size, rest) = data[0], varint(data[1:])
        if len(rest) < size or kind > 6 or (fields and fields[-1][0] >= kind) or (kind == 1 and not size):
            raise No("field")
        fields.append((kind, rest[:size]))
        data = rest[size:]
    return fields, data[1:]


def reference_read(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes | None]], bytes]:
    """Identifier, caveats (text and vid), signature."""
    if data[:1] != b"\2":
        raise No("version")
    head, data = section(data[1:])
    if [kind for kind, _ in head] not in ([2], [1, 2]):
        raise No("header")
    locations, caveats = [value for kind, value in head if kind == 1], []
    while data[:1] != b"\0":
        fields, data = section(data)
        kinds = [kind for kind, _ in fields]
        if kinds not in ([2], [2, 4], [1, 2, 4]):
            raise No("caveat")
        parts = dict(fields)
        if len(parts.get(4, bytes(72))) != 72 or len(parts[2]) > (4096 if 4 in parts else 1024):
            raise No("vid or size")
        locations.append(parts.get(1, b""))
        caveats.append((parts[2], parts.get(4)))
    if data[:3] != b"\0\x06\x20" or len(data) != 35 or len(caveats) > 64:
        raise No("signature")
    for location in locations:
        try:
            location.decode()
        except UnicodeDecodeError:
            raise No("location") from None
    return head[-1][1], caveats, data[3:]


def reference_accepts(parts: list[bytes]) -> bool:
    """Whether the bundle is authentic: every discharge opened, bound, and used exactly once."""
    try:
        (name, caveats, signature), *discharges = map(reference_read, parts)
        waiting: list[tuple[bytes, bytes]] = []

        def walk(sig: bytes, links: list[tuple[bytes, bytes | None]]) -> bytes:
            for text, vid in links:
                if vid is not None:
                    waiting.append((text, SecretBox(sig).decrypt(vid)))
                    sig = mac(sig, mac(sig, vid) + mac(sig, text))
                else:
                    sig = mac(sig, text)
            return sig

        if walk(mac(mac(b"macaroons-key-generator", KEY), name), caveats) != signature:
            return False
        left = list(discharges)
        while waiting:
            ticket, key = waiting.pop()
            (found,) = [one for one in left if one[0] == ticket]
            left.remove(found)
            bound = mac(
                bytes(32), mac(bytes(32), signature) + mac(bytes(32), walk(mac(key, ticket), found[1]))
            )
            if bound != found[2]:
                return False
        return not left
    except (No, CryptoError, ValueError):
        return False


def build() -> list[list[bytes]]:
    def ask(macaroon, *tickets):
        for number, ticket in enumerate(tickets):
            macaroon = macaroon.with_third_party("l" * number, ticket, ticket, nonce=b"%024d" % number)
        return macaroon

    plain = Macaroon.mint(KEY, b"id", caveats=[b"user = alice", b"x" * 130, b""])
    located = Macaroon.mint(KEY, b"\xff" * 200, location="loc", caveats=[b"a = b"])
    asking = ask(Macaroon.mint(KEY, b"id", caveats=[b"a"]), b"t", b"u").attenuate(b"z")
    inner = ask(Macaroon.mint(b"t", b"t", caveats=[b"b"]), b"w")
    bundle = Bundle.bind(asking, [inner, Macaroon.mint(b"u", b"u"), Macaroon.mint(b"w", b"w", location="w")])
    return [
        [plain.to_bytes()],
        [located.to_bytes()],
        [macaroon.to_bytes() for macaroon in (bundle.macaroon, *bundle.discharges)],
    ]


SEEDS = build()
NEARBY = [bytes([kind]) for kind in range(8)] + [
    b"\x80",
    b"\x81\x00",
    b"\xff",
    b"\x00\x00",
    b"\x01\x00",
    b"\x20",
]


def pieces(data: bytes) -> list[int]:
    """Where fields begin, roughly: mutations that respect the structure get further."""
    return [at for at in range(len(data)) if data[at] in (0, 1, 2, 4, 6)] or [0]


def mutate(parts: list[bytes], source: random.Random) -> list[bytes]:
    parts = list(parts)
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        which = source.randrange(len(parts))
        data = parts[which]
        at, to = sorted((source.choice(pieces(data)), source.choice(pieces(data))))
        match source.randrange(12):
            case 0:
                data = data[:at] + data[to:]
            case 1:
                data = data[:to] + data[at:to] + data[to:]
            case 2:
                data = data[:at] + source.choice(NEARBY) + data[at:]
            case 3:
                data = data[:at] + source.choice(NEARBY) + data[at + 1 :]
            case 4:
                data = (
                    data[: at + 1] + bytes([(data[at + 1] + source.choice((-1, 1))) % 256]) + data[at + 2 :]
                    if at + 1 < len(data)
                    else data
                )
            case 5:
                spot = source.randrange(len(data)) if data else 0
                data = data[:spot] + bytes([source.randrange(256)]) + data[spot + 1 :]
            case 6:
                data = data[:at] + source.choice(source.choice(SEEDS))[at:]
            case 7:
                data = data[:-1]
            case 8:
                data += source.choice(NEARBY)
            case 9:
                other = source.randrange(len(parts))
                parts[which], parts[other] = parts[other], parts[which]
                continue
            case 10:
                if len(parts) > 1:
                    parts.pop(source.randrange(1, len(parts)))
                continue
            case _:
                parts.append(source.choice(source.choice(SEEDS)))
                continue
        parts[which] = data
    return parts


def ours_accepts(parts: list[bytes]) -> bool:
    """True or False, and any exception but our own goes through."""
    try:
        macaroon, *discharges = [Macaroon.decode(encode(part)) for part in parts]
        authenticate(Bundle(macaroon, discharges), KEY)
    except CaveatsError:
        return False
    return True


def encode(part: bytes) -> str:
    """`cav1_` text around any bytes, with the right checksum: what is tested stands behind it."""
    from caveats.token import encode_base64
    from caveats.token.wire import checksum

    body = "cav1_" + encode_base64(part)
    return body + checksum(body.encode()).decode()


def test_the_reference_and_we_accept_the_originals():
    for parts in SEEDS:
        assert reference_accepts(parts)
        assert ours_accepts(parts)
    assert not reference_accepts([])
    assert outcome(lambda: ours_accepts([b""])) is None


@pytest.mark.timeout(0)
def test_no_mutation_is_judged_differently_by_the_reference():
    source = random.Random(20261121)
    accepted = set()
    for _ in range(COUNT):
        seed = source.choice(SEEDS)
        parts = mutate(seed, source)
        ours = ours_accepts(parts)
        assert ours is reference_accepts(parts), [part.hex() for part in parts]
        if ours:
            accepted.add(tuple(parts))
    originals = [{bare(part) for part in seed} for seed in SEEDS]
    for parts in accepted:  # in another order, or with another location, which is a hint: nothing else
        assert {bare(part) for part in parts} in originals


def bare(part: bytes) -> tuple:
    return reference_read(part)[0], tuple(reference_read(part)[1]), reference_read(part)[2]
