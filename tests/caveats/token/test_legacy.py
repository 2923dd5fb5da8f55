"""The classic encodings: read strictly, one reading for each spelling, whatever pymacaroons forgives."""

from __future__ import annotations

import json

import pymacaroons
import pytest

from caveats import LimitExceeded, Limits, Macaroon, MalformedToken, Note, ThirdPartyCaveat
from caveats.token import WireMacaroon, encode_base64
from caveats.token.legacy import decode_legacy, decode_v1, encode_v1, is_legacy
from tests.support.law import PARTY, ROOT_KEY, at_most, counter_random, outcome

PLAIN = Macaroon.mint(ROOT_KEY, b"id", location="loc", caveats=[b"a = b"])
WITH_PARTY = PLAIN.require_discharge(PARTY, random=counter_random()).attenuate(b"c = d")
SIGNATURE = PLAIN.wire.signature
J1 = {"location": "loc", "identifier": "id", "caveats": [{"cid": "a = b"}], "signature": SIGNATURE.hex()}
J2 = {"v": 2, "l": "loc", "i": "id", "c": [{"i": "a = b"}], "s64": encode_base64(SIGNATURE)}
VID = encode_base64(bytes(72))


def packets(*pairs: tuple[str, bytes]) -> bytes:
    return b"".join(b"%04x%b %b\n" % (len(k) + len(v) + 6, k.encode(), v) for k, v in pairs)


HEAD = (("location", b"loc"), ("identifier", b"id"))
CID = ("cid", b"a = b")
TAIL = ("signature", SIGNATURE)
V1 = [
    ("plain", packets(*HEAD, CID, TAIL), None),
    ("empty-location", packets(("location", b""), ("identifier", b"id"), TAIL), None),
    ("newline-in-caveat", packets(*HEAD, ("cid", b"a\nb \n"), TAIL), None),
    ("binary-caveat", packets(*HEAD, ("cid", b"\xff\0 \xfe"), TAIL), None),
    ("third-party", packets(*HEAD, ("cid", b"t"), ("vid", bytes(72)), ("cl", b"l"), TAIL), None),
    ("third-party-nowhere", packets(*HEAD, ("cid", b"t"), ("vid", bytes(72)), ("cl", b""), TAIL), None),
    ("two-signatures", packets(*HEAD, CID, TAIL, TAIL), MalformedToken),
    ("two-identifiers", packets(*HEAD, ("identifier", b"id"), TAIL), MalformedToken),
    ("two-locations", packets(HEAD[0], *HEAD, TAIL), MalformedToken),
    ("no-location", packets(HEAD[1], CID, TAIL), MalformedToken),
    ("no-identifier", packets(HEAD[0], CID, TAIL), MalformedToken),
    ("no-signature", packets(*HEAD, CID), MalformedToken),
    ("signature-31", packets(*HEAD, ("signature", SIGNATURE[1:])), MalformedToken),
    ("signature-33", packets(*HEAD, ("signature", SIGNATURE + b"x")), MalformedToken),
    ("after-signature", packets(*HEAD, TAIL, CID), MalformedToken),
    ("vid-empty", packets(*HEAD, CID, ("vid", b""), ("cl", b""), TAIL), MalformedToken),
    ("vid-71", packets(*HEAD, CID, ("vid", bytes(71)), ("cl", b""), TAIL), MalformedToken),
    ("vid-without-cl", packets(*HEAD, CID, ("vid", bytes(72)), TAIL), MalformedToken),
    ("cl-without-vid", packets(*HEAD, CID, ("cl", b"l"), TAIL), MalformedToken),
    ("cl-before-vid", packets(*HEAD, CID, ("cl", b"l"), ("vid", bytes(72)), TAIL), MalformedToken),
    ("vid-first", packets(*HEAD, ("vid", bytes(72)), TAIL), MalformedToken),
    ("unknown-key", packets(*HEAD, ("magic", b"x"), TAIL), MalformedToken),
    ("location-not-utf8", packets(("location", b"\xff"), ("identifier", b"id"), TAIL), MalformedToken),
    ("cl-not-utf8", packets(*HEAD, CID, ("vid", bytes(72)), ("cl", b"\xff"), TAIL), MalformedToken),
    ("upper-case-length", packets(*HEAD, CID, TAIL).replace(b"000e", b"000E"), MalformedToken),
    ("trailing-byte", packets(*HEAD, CID, TAIL) + b"0", MalformedToken),
    ("trailing-length", packets(*HEAD, CID, TAIL) + b"0000", MalformedToken),
    ("zero-length", b"0000" * 4, MalformedToken),
    ("length-below-its-own", b"0003" * 4, MalformedToken),
    ("not-hex", b"0g00" * 4, MalformedToken),
    ("nothing", b"", MalformedToken),
    ("not-a-digit", b"zzzz", MalformedToken),
    ("long-predicate", packets(*HEAD, ("cid", b"x" * 1025), TAIL), LimitExceeded),
    (
        "long-ticket",
        packets(*HEAD, ("cid", b"x" * 4097), ("vid", bytes(72)), ("cl", b""), TAIL),
        LimitExceeded,
    ),
    ("caveats-65", packets(*HEAD, *[CID] * 65, TAIL), LimitExceeded),
    ("over-16-kib", packets(*HEAD, *[("cid", b"x" * 1000)] * 17, TAIL), LimitExceeded),
]


@pytest.mark.parametrize(("data", "error"), [row[1:] for row in V1], ids=[row[0] for row in V1])
def test_v1_row_is_read_exactly_or_refused(data, error):
    with at_most(0.05):
        assert outcome(Macaroon.from_bytes, data) is error
        text_error = outcome(Macaroon.decode, encode_base64(data))
    assert text_error is error
    if error is None:
        assert encode_v1(Macaroon.from_bytes(data).wire) == data


@pytest.mark.parametrize(
    "length", [b"+00e", b"0_0e", b"  0e", b"0x0e", b"000E", b"000f", b"000d", b"ffff", "٠٠٠".encode()]
)
def test_v1_lengths_are_four_lower_case_hex_digits_that_fit(length):
    data = packets(*HEAD, CID, TAIL)
    assert data.startswith(b"0011location loc\n")
    assert outcome(Macaroon.from_bytes, length + data[4:]) is MalformedToken
    caveat = data.index(b"000ecid")
    assert outcome(Macaroon.from_bytes, data[:caveat] + length + data[caveat + 4 :]) is MalformedToken


def without(members, *names):
    return {name: member for name, member in members.items() if name not in names}


def caveat1(**members):
    return {**J1, "caveats": [{"cid": "a = b", **members}]}


def caveat2(**members):
    return {**J2, "c": [{"i": "a = b", **members}]}


SPACED = " ".join(SIGNATURE.hex()[at : at + 2] for at in range(0, 64, 2))
JSON = [
    ("v1", J1, None),
    ("v1-no-caveats", without(J1, "caveats"), None),
    ("v1-empty-caveats", {**J1, "caveats": []}, None),
    ("v1-no-location", without(J1, "location"), None),
    ("v1-third-party", caveat1(vid=VID, cl="l"), None),
    ("v1-third-party-nowhere", caveat1(vid=VID), None),
    ("v1-vid-padded-standard", caveat1(vid=VID.replace("-", "+"), cl="l"), None),
    ("v1-signature-spaced", {**J1, "signature": SPACED}, MalformedToken),
    ("v1-signature-upper", {**J1, "signature": SIGNATURE.hex().upper()}, MalformedToken),
    ("v1-signature-31", {**J1, "signature": SIGNATURE.hex()[2:]}, MalformedToken),
    ("v1-signature-base64", {**J1, "signature": encode_base64(SIGNATURE)}, MalformedToken),
    ("v1-signature-null", {**J1, "signature": None}, MalformedToken),
    ("v1-no-signature", without(J1, "signature"), MalformedToken),
    ("v1-no-identifier", without(J1, "identifier"), MalformedToken),
    ("v1-identifier-null", {**J1, "identifier": None}, MalformedToken),
    ("v1-stated", {**J1, "v": 1}, MalformedToken),
    ("v1-stated-2", {**J1, "v": 2}, MalformedToken),
    ("v1-unknown-member", {**J1, "x": 1}, MalformedToken),
    ("v1-vid-empty", caveat1(vid=""), MalformedToken),
    ("v1-vid-null", caveat1(vid=None), MalformedToken),
    ("v1-cl-empty", caveat1(cl=""), MalformedToken),
    ("v1-cl-without-vid", caveat1(cl="l"), MalformedToken),
    ("v1-vid-short", caveat1(vid="AAAA"), MalformedToken),
    ("v1-cid64", {**J1, "caveats": [{"cid64": "YQ"}]}, MalformedToken),
    ("v1-caveats-null", {**J1, "caveats": None}, MalformedToken),
    ("v1-caveats-object", {**J1, "caveats": {}}, MalformedToken),
    ("v2", J2, None),
    ("v2-unstated", without(J2, "v"), None),
    ("v2-base64-everywhere", {"i64": "aWQ", "l": "loc", "c": [{"i64": "YSA9IGI"}], "s64": J2["s64"]}, None),
    ("v2-no-caveats", without(J2, "c"), None),
    ("v2-padded", {**J2, "s64": J2["s64"] + "="}, None),
    ("v2-third-party", caveat2(v64=VID, l="l"), None),
    ("v2-empty-caveat", {**J2, "c": [{"i": ""}]}, None),
    ("v2-text-version", {**J2, "v": "2"}, MalformedToken),
    ("v2-float-version", {**J2, "v": 2.0}, MalformedToken),
    ("v2-true-version", {**J2, "v": True}, MalformedToken),
    ("v2-null-version", {**J2, "v": None}, MalformedToken),
    ("v2-version-22", {**J2, "v": 22}, MalformedToken),
    ("v2-version-minus-2", {**J2, "v": -2}, MalformedToken),
    ("v2-no-identifier", without(J2, "i"), MalformedToken),
    ("v2-no-signature", without(J2, "s64"), MalformedToken),
    ("v2-both-identifiers", {**J2, "i64": "aWQ"}, MalformedToken),
    ("v2-location-64", {**without(J2, "l"), "l64": "bG9j"}, MalformedToken),
    ("v2-location-null", {**J2, "l": None}, MalformedToken),
    ("v2-location-list", {**J2, "l": []}, MalformedToken),
    ("v2-caveat-location-64", caveat2(v64=VID, l64="bA"), MalformedToken),
    ("v2-vid-empty", caveat2(v64=""), MalformedToken),
    ("v2-vid-text-empty", caveat2(v=""), MalformedToken),
    ("v2-vid-empty-located", caveat2(v64="", l="l"), MalformedToken),
    ("v2-location-empty", caveat2(l=""), MalformedToken),
    ("v2-location-without-vid", caveat2(l="l"), MalformedToken),
    ("v2-vid-null", caveat2(v64=None), MalformedToken),
    ("v2-vid-number", caveat2(v64=72), MalformedToken),
    ("v2-caveat-empty", {**J2, "c": [{}]}, MalformedToken),
    ("v2-caveat-text", {**J2, "c": ["i"]}, MalformedToken),
    ("v2-caveat-list", {**J2, "c": [["i"]]}, MalformedToken),
    ("v2-caveat-null", {**J2, "c": [None]}, MalformedToken),
    ("v2-caveat-unknown-member", caveat2(x=1), MalformedToken),
    ("v2-caveats-object", {**J2, "c": {"i": "x"}}, MalformedToken),
    ("v2-caveats-null", {**J2, "c": None}, MalformedToken),
    ("v2-two-alphabets", {**J2, "s64": "+-" + J2["s64"][2:]}, MalformedToken),
    ("v2-too-much-padding", {**J2, "s64": J2["s64"] + "=="}, MalformedToken),
    ("v2-padding-inside", {**J2, "s64": J2["s64"][:8] + "=" + J2["s64"][8:]}, MalformedToken),
    ("v2-spare-bits", {**J2, "i64": "aWR", "i": "x"}, MalformedToken),
    ("v2-spare-bits-only", {**without(J2, "i"), "i64": "aWR"}, MalformedToken),
    ("v2-space-in-base64", {**J2, "s64": " " + J2["s64"]}, MalformedToken),
    ("v2-surrogate-location", {**J2, "l": "\ud800"}, MalformedToken),
    ("v2-surrogate-caveat", {**J2, "c": [{"i": "\ud800"}]}, MalformedToken),
    ("v2-long-caveat", {**J2, "c": [{"i": "x" * 1025}]}, LimitExceeded),
    ("v2-long-ticket", {**J2, "c": [{"i": "x" * 4097, "v64": VID}]}, LimitExceeded),
    ("v2-caveats-65", {**J2, "c": [{"i": "x"}] * 65}, LimitExceeded),
    ("too-long", {**J2, "l": "x" * (16 * 1024)}, LimitExceeded),
]


@pytest.mark.parametrize(("members", "error"), [row[1:] for row in JSON], ids=[row[0] for row in JSON])
def test_json_row_is_read_or_refused(members, error):
    with at_most(0.05):
        assert outcome(Macaroon.decode, json.dumps(members)) is error


TEXTS = [
    ("open", "{"),
    ("list", "[]"),
    ("trailing", json.dumps(J2) + "x"),
    ("twice", json.dumps(J2) * 2),
    ("nan", '{"i":"a","v":NaN}'),
    ("infinity", '{"i":"a","v":-Infinity}'),
    ("float-overflow", '{"i":"a","v":1e400}'),
    ("big-integer", '{"i":"a","v":' + "9" * 5000 + "}"),
    ("duplicate", '{"v":2,"v":2,"i":"id","s64":"' + J2["s64"] + '"}'),
    ("duplicate-in-caveat", json.dumps(caveat2()).replace('{"i": "a', '{"i": "x", "i": "a')),
    ("deep-list", '{"i":' + "[" * 8000),
    ("deep-object", '{"i":' * 3000),
    ("single-quotes", str(J2)),
    ("bom", "\ufeff" + json.dumps(J2)),
    ("leading-space", " " + json.dumps(J2)),
]


@pytest.mark.parametrize("text", [row[1] for row in TEXTS], ids=[row[0] for row in TEXTS])
def test_json_text_that_is_no_macaroon_is_malformed(text):
    with at_most(0.05):
        assert outcome(Macaroon.decode, text) is MalformedToken


def test_json_at_any_depth_is_malformed():
    """There is a depth at which reading still works and writing does not; nothing foreign may come of it."""
    for depth in range(300, 1100, 7):
        for opened, closed in (("[", "]"), ('{"a":', "}")):
            text = '{"i":"a","x":' + opened * depth + ("1" if closed == "}" else "") + closed * depth + "}"
            assert outcome(Macaroon.decode, text) is MalformedToken


def test_json_that_pymacaroons_writes_is_read():
    for macaroon in (PLAIN, WITH_PARTY):
        written = macaroon.to_pymacaroons().serialize(serializer=pymacaroons.serializers.JsonSerializer())
        assert Macaroon.decode(written) == macaroon


def test_v1_round_trips_third_parties_and_the_caveat_after_one():
    data = encode_v1(WITH_PARTY.wire)
    read = decode_v1(data)
    assert read == WITH_PARTY.wire
    assert isinstance(read.caveats[1], ThirdPartyCaveat)
    assert read.caveats[2] == b"c = d"


def test_pymacaroons_objects_round_trip():
    for macaroon in (PLAIN, WITH_PARTY, Macaroon.mint(ROOT_KEY, b"\xff\0")):
        assert Macaroon.from_pymacaroons(macaroon.to_pymacaroons()) == macaroon


@pytest.mark.parametrize("thing", [None, 1, "x", object(), pymacaroons.Macaroon()])
def test_what_is_no_pymacaroons_macaroon_is_malformed(thing):
    assert outcome(Macaroon.from_pymacaroons, thing) is MalformedToken


def test_a_pymacaroons_first_party_caveat_with_a_location_is_malformed():
    macaroon = PLAIN.to_pymacaroons()
    macaroon.caveats[0].location = "l"
    assert outcome(Macaroon.from_pymacaroons, macaroon) is MalformedToken


def test_a_pymacaroons_object_keeps_the_limits():
    macaroon = PLAIN.to_pymacaroons()
    macaroon.add_first_party_caveat("x" * 1025)
    assert outcome(Macaroon.from_pymacaroons, macaroon) is LimitExceeded


def test_only_what_looks_classic_is_read_as_such():
    assert is_legacy("{}")
    assert is_legacy(encode_base64(encode_v1(PLAIN.wire)))
    assert not is_legacy(PLAIN.encode())
    assert not is_legacy(encode_base64(PLAIN.to_bytes()))


@pytest.mark.parametrize("text", ['{"i":"x"}', encode_base64(encode_v1(PLAIN.wire))], ids=["json", "v1"])
def test_the_size_is_capped_before_anything_is_read(text):
    assert outcome(decode_legacy, text, Limits(token_text=len(text) - 1)) is LimitExceeded


def test_v1_bytes_are_capped_before_anything_is_read():
    assert outcome(decode_v1, b"0" * (16 * 1024 + 1)) is LimitExceeded


def test_a_part_of_over_64_kib_cannot_be_written_as_v1():
    assert outcome(encode_v1, WireMacaroon("x" * 70_000, b"i", (), SIGNATURE)) is LimitExceeded


def test_a_note_in_any_language_travels_through_every_encoding():
    macaroon = Macaroon.mint(ROOT_KEY, b"id", caveats=[Note("für die Übung 写真 🖨")])
    assert Macaroon.from_bytes(encode_v1(macaroon.wire)) == macaroon
    assert Macaroon.from_pymacaroons(macaroon.to_pymacaroons()) == macaroon
