"""A bakery's tickets: what is sealed opens, the recorded ones open, and whatever else arrives is malformed."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_box

from caveats import InvalidKey, Limits, MalformedCaveat, MalformedTicket, MalformedToken, PrivateKey
from caveats.bakery import STANDARD, V1, V2, V3, BakeryParty, Namespace, open_ticket, seal_ticket
from caveats.bakery.tickets import need_declared
from caveats.token import decode_any_base64
from tests.support.law import PARTY_KEY, at_most, counter_random, outcome, vectors

VERSIONS = (V1, V2, V3)
FIRST = PrivateKey(b"f" * 32)
CAVEAT_KEY = bytes(range(24))
VECTORS = vectors("bakery_caveat_codec.json")


def party(version: int, key: PrivateKey = PARTY_KEY) -> BakeryParty:
    return BakeryParty("https://party.example", key.public_key, version)


def sealed(version: int, condition: str = "is-authenticated-user", **more: object) -> bytes:
    return seal_ticket(party(version), condition, CAVEAT_KEY, random=counter_random(), **more)


@pytest.mark.parametrize("row", VECTORS["cases"], ids=lambda row: f"version-{row['version']}")
def test_a_recorded_ticket_opens_as_listed(row):
    key = PrivateKey(b64decode(VECTORS["third_party_private_key_b64"]))
    first = PrivateKey(b64decode(VECTORS["first_party_private_key_b64"]))
    data = row["caveat"].encode() if row["version"] == V1 else decode_any_base64(row["caveat"])
    ticket = open_ticket(data, PARTY_KEY, key)
    assert (ticket.version, ticket.condition) == (row["version"], row["condition"])
    assert ticket.caveat_key == b64decode(row["root_key_b64"])
    assert ticket.first_party == first.public_key
    assert ticket.identifier == ticket.payload == data
    assert ticket.namespace == STANDARD
    assert outcome(open_ticket, data, PARTY_KEY) is MalformedTicket


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("condition", ["", "is-authenticated-user", "ä = 🖨", "a\0b\n", '"\\{}', "x" * 900])
def test_what_is_sealed_opens(version, condition):
    ticket = open_ticket(sealed(version, condition, first_party=FIRST), PARTY_KEY)
    assert (ticket.version, ticket.written, ticket.caveat_key) == (version, condition, CAVEAT_KEY)
    assert ticket.first_party == FIRST.public_key
    assert ticket.namespace == STANDARD


def test_a_ticket_of_version_3_carries_its_namespace_and_the_others_have_the_standard_one():
    space = Namespace.parse("http:http std:s x:y:z")
    assert space.prefix == "s"
    read = [open_ticket(sealed(version, namespace=space), PARTY_KEY).namespace for version in VERSIONS]
    assert read == [STANDARD, STANDARD, space]


def test_each_ticket_has_a_key_of_its_own_unless_one_is_given():
    one, two = (open_ticket(seal_ticket(party(V3), "c", CAVEAT_KEY), PARTY_KEY) for _ in range(2))
    assert one.first_party != two.first_party


def test_a_ticket_that_travelled_apart_has_the_name_in_its_caveat():
    data = sealed(V3)
    assert open_ticket(data, PARTY_KEY, identifier=b"\x03\0").identifier == b"\x03\0"
    assert open_ticket(data, PARTY_KEY).identifier == data
    assert outcome(open_ticket, b"\x03\0", PARTY_KEY) is MalformedTicket
    assert outcome(open_ticket, data, PARTY_KEY, identifier=b"x" * 5000) is MalformedTicket
    assert outcome(open_ticket, data, PARTY_KEY, identifier=b"\xff") is None
    assert outcome(open_ticket, sealed(V1), PARTY_KEY, identifier=b"\xff") is MalformedTicket


@pytest.mark.parametrize("version", VERSIONS)
def test_every_prefix_of_a_ticket_is_malformed(version):
    data = sealed(version)
    for size in range(len(data)):
        if data[size:] == b"=" * (len(data) - size):  # base64 may come unpadded
            continue
        assert outcome(open_ticket, data[:size], PARTY_KEY) is MalformedTicket


@pytest.mark.parametrize("version", VERSIONS)
def test_every_changed_byte_of_a_ticket_is_malformed(version):
    data = sealed(version)
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert outcome(open_ticket, changed, PARTY_KEY) is MalformedTicket


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ticket_for_another_party_or_over_the_limit_is_malformed(version):
    data = sealed(version)
    assert outcome(open_ticket, data, PrivateKey(b"q" * 32)) is MalformedTicket
    assert outcome(open_ticket, data) is MalformedTicket
    assert outcome(open_ticket, data, PARTY_KEY, limits=Limits(ticket=len(data) - 1)) is MalformedTicket
    assert outcome(open_ticket, data, PARTY_KEY, limits=Limits(ticket=len(data))) is None


@given(garbage=st.binary(max_size=300), first=st.sampled_from([b"", b"e", b"\x02", b"\x03", b"\x04"]))
def test_garbage_is_a_malformed_ticket(garbage, first):
    assert outcome(open_ticket, first + garbage, PARTY_KEY) is MalformedTicket


@given(text=st.text(max_size=100))
def test_base64_of_anything_is_a_malformed_ticket(text):
    assert outcome(open_ticket, b64encode(b'{"' + text.encode()), PARTY_KEY) is MalformedTicket


@pytest.mark.parametrize("flavour", [b64encode, urlsafe_b64encode])
@pytest.mark.parametrize("padded", [True, False])
def test_version_1_is_read_in_every_base64(flavour, padded):
    data = flavour(b64decode(sealed(V1)))
    assert open_ticket(data if padded else data.rstrip(b"="), PARTY_KEY).version == V1


# What a box may hold: anybody can make one.


def boxed(plain: bytes, version: int) -> bytes:
    nonce = b"n" * 24
    box = crypto_box(plain, nonce, PARTY_KEY.public_key, FIRST.secret)
    if version == V1:
        return outer(Id=b64encode(box).decode())
    return bytes([version]) + PARTY_KEY.public_key[:4] + FIRST.public_key + nonce + box


def outer(**changes: object) -> bytes:
    members = {
        "ThirdPartyPublicKey": b64encode(PARTY_KEY.public_key).decode(),
        "FirstPartyPublicKey": b64encode(FIRST.public_key).decode(),
        "Nonce": b64encode(b"n" * 24).decode(),
        "Id": b64encode(crypto_box(INNER, b"n" * 24, PARTY_KEY.public_key, FIRST.secret)).decode(),
        **changes,
    }
    return b64encode(json.dumps({k: v for k, v in members.items() if v is not ...}).encode())


KEY64 = b64encode(CAVEAT_KEY).decode()
INNER = json.dumps({"RootKey": KEY64, "Condition": "c"}).encode()


def inner(**changes: object) -> bytes:
    members = {"RootKey": KEY64, "Condition": "c", **changes}
    return json.dumps({k: v for k, v in members.items() if v is not ...}).encode()


K24 = b"\x18" + CAVEAT_KEY
HOSTILE = [
    ("v1-good", boxed(inner(), V1), None),
    ("v1-good-outer", outer(), None),
    ("v1-no-json", boxed(b"x", V1), MalformedTicket),
    ("v1-not-utf8", boxed(b"\xff", V1), MalformedTicket),
    ("v1-null", boxed(b"null", V1), MalformedTicket),
    ("v1-list", boxed(b"[]", V1), MalformedTicket),
    ("v1-deep", boxed(b"[" * 900, V1), MalformedTicket),
    ("v1-no-key", boxed(inner(RootKey=...), V1), MalformedTicket),
    ("v1-no-condition", boxed(inner(Condition=...), V1), MalformedTicket),
    ("v1-condition-number", boxed(inner(Condition=1), V1), MalformedTicket),
    ("v1-condition-null", boxed(inner(Condition=None), V1), MalformedTicket),
    ("v1-condition-half-a-character", boxed(inner(Condition="\ud800"), V1), MalformedTicket),
    ("v1-key-number", boxed(inner(RootKey=7), V1), MalformedTicket),
    ("v1-key-empty", boxed(inner(RootKey=""), V1), MalformedTicket),
    ("v1-key-no-base64", boxed(inner(RootKey="é"), V1), MalformedTicket),
    ("v1-key-zero", boxed(inner(RootKey="AAAA"), V1), MalformedTicket),
    ("v1-more", boxed(inner(More="x"), V1), MalformedTicket),
    ("v1-twice", boxed(INNER[:-1] + b',"Condition":"d"}', V1), MalformedTicket),
    ("v1-outer-more", outer(More="x"), MalformedTicket),
    ("v1-outer-number", outer(Nonce=1), MalformedTicket),
    ("v1-outer-nonce-short", outer(Nonce="AAAA"), MalformedTicket),
    ("v1-outer-no-id", outer(Id=...), MalformedTicket),
    ("v1-outer-id-empty", outer(Id=""), MalformedTicket),
    ("v1-outer-id-short", outer(Id="AAAA"), MalformedTicket),
    ("v1-outer-first-short", outer(FirstPartyPublicKey="AAAA"), MalformedTicket),
    ("v1-outer-first-zero", outer(FirstPartyPublicKey=b64encode(bytes(32)).decode()), MalformedTicket),
    ("v1-outer-third-other", outer(ThirdPartyPublicKey=b64encode(b"x" * 32).decode()), MalformedTicket),
    ("v1-outer-not-utf8", b64encode(b'{"\xff'), MalformedTicket),
    ("v1-outer-not-ascii", "e\u00e9".encode(), MalformedTicket),
    ("v2-good", boxed(b"\x02" + K24 + b"c", V2), None),
    ("v2-no-condition", boxed(b"\x02" + K24, V2), None),
    ("v2-empty", boxed(b"", V2), MalformedTicket),
    ("v2-only-version", boxed(b"\x02", V2), MalformedTicket),
    ("v2-version-3-inside", boxed(b"\x03" + K24 + b"\0c", V2), MalformedTicket),
    ("v2-key-empty", boxed(b"\x02\0c", V2), MalformedTicket),
    ("v2-key-zero", boxed(b"\x02\x04\0\0\0\0c", V2), MalformedTicket),
    ("v2-key-past-the-end", boxed(b"\x02\x20" + CAVEAT_KEY, V2), MalformedTicket),
    ("v2-length-not-shortest", boxed(b"\x02\x98\0" + CAVEAT_KEY + b"c", V2), MalformedTicket),
    ("v2-length-cut", boxed(b"\x02\x98", V2), MalformedTicket),
    ("v2-length-of-ten-bytes", boxed(b"\x02" + b"\xff" * 9 + b"\1" + CAVEAT_KEY, V2), MalformedTicket),
    ("v2-length-huge", boxed(b"\x02\xff\xff\x7f" + CAVEAT_KEY, V2), MalformedTicket),
    ("v2-condition-not-utf8", boxed(b"\x02" + K24 + b"\xff", V2), MalformedTicket),
    ("v3-good", boxed(b"\x03" + K24 + b"\4std:c", V3), None),
    ("v3-no-namespace", boxed(b"\x03" + K24 + b"\0c", V3), None),
    ("v3-namespace-cut", boxed(b"\x03" + K24 + b"\x09std:", V3), MalformedTicket),
    ("v3-namespace-missing", boxed(b"\x03" + K24, V3), MalformedTicket),
    ("v3-namespace-not-utf8", boxed(b"\x03" + K24 + b"\1\xffc", V3), MalformedTicket),
    ("v3-namespace-no-colon", boxed(b"\x03" + K24 + b"\3stdc", V3), MalformedTicket),
    ("v3-namespace-twice", boxed(b"\x03" + K24 + b"\x09std: std:c", V3), MalformedTicket),
    ("v3-version-2-inside", boxed(b"\x02" + K24 + b"c", V3), MalformedTicket),
]


@pytest.mark.parametrize(("data", "error"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_what_a_box_holds_is_read_like_any_hostile_input(data, error):
    with at_most(0.05):
        assert outcome(open_ticket, data, PARTY_KEY) is error


# need-declared, and `<`


@pytest.mark.parametrize(
    ("written", "names", "condition", "legacy"),
    [
        ("is-authenticated-user", (), "is-authenticated-user", False),
        ("<is-authenticated-user", (), "is-authenticated-user", True),
        ("need-declared username is-authenticated-user", ("username",), "is-authenticated-user", False),
        ("need-declared a,b is-member-of x y", ("a", "b"), "is-member-of x y", False),
        ("need-declared a <c", ("a",), "c", True),
        ("need-declared a need-declared b c", ("a",), "need-declared b c", False),
        ("need-declareda b", (), "need-declareda b", False),
    ],
)
def test_what_is_asked_stands_inside_what_a_bakery_wraps_around_it(written, names, condition, legacy):
    ticket = open_ticket(sealed(V3, written), PARTY_KEY)
    assert (ticket.declared, ticket.condition, ticket.legacy) == (names, condition, legacy)


@pytest.mark.parametrize(
    "written",
    [
        "need-declared",
        "need-declared ",
        "need-declared a",
        "need-declared a ",
        "need-declared , c",
        "need-declared  c",
        "need-declared a\tb c",
        f"need-declared {'a' * 257} c",
        f"need-declared {','.join(map(str, range(33)))} c",
    ],
)
def test_a_need_declared_that_lacks_a_part_or_asks_too_much_is_malformed(written):
    ticket = open_ticket(sealed(V3, written), PARTY_KEY)
    for part in ("declared", "condition", "legacy"):
        with pytest.raises(MalformedTicket):
            getattr(ticket, part)


def test_names_to_be_declared_are_words():
    assert need_declared("c", ()) == "c"
    assert need_declared("c", ("a", "b")) == "need-declared a,b c"
    for names in (("",), ("a b",), ("a,b",), ("a\n",), ("a" * 257,), tuple(map(str, range(33)))):
        with pytest.raises(MalformedCaveat):
            need_declared("c", names)


def test_what_cannot_be_sealed_is_refused():
    assert outcome(BakeryParty, "https://x", PARTY_KEY.public_key, 4) is MalformedCaveat
    assert outcome(BakeryParty, "", PARTY_KEY.public_key) is MalformedCaveat
    assert outcome(BakeryParty, "https://x", b"") is InvalidKey
    for version in VERSIONS:
        assert outcome(sealed, version, "\ud800") is MalformedCaveat


@pytest.mark.parametrize(
    ("text", "prefixes"),
    [
        ("", ()),
        ("std:", (("std", ""),)),
        ("http:http std:", (("http", "http"), ("std", ""))),
        ("https://x/y:p", (("https://x/y", "p"),)),
        ("std", None),
        (":x", None),
        ("std: ", None),
        (" std:", None),
        ("std:  x:", None),
        ("std: http:", None),
        ("std: std:x", None),
        ("s\ttd:", None),
    ],
)
def test_a_namespace_has_one_form(text, prefixes):
    if prefixes is None:
        assert outcome(Namespace.parse, text) is MalformedToken
    else:
        assert Namespace.parse(text).prefixes == prefixes
        assert str(Namespace.parse(text)) == text


def test_a_prefix_holds_no_colon():
    assert outcome(Namespace, (("x", "a:b"),)) is MalformedToken


def test_no_repr_shows_a_key():
    assert (
        repr(open_ticket(sealed(V3), PARTY_KEY))
        == "BakeryTicket(version=3, condition='is-authenticated-user')"
    )
