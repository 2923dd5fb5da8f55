"""Envelopes, header values and slices: read strictly, written as bakeries read them, nothing lost."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats import Bundle, InvalidKey, LimitExceeded, Limits, Macaroon, MalformedCaveat, MalformedToken, Note
from caveats.bakery import (
    HTTP,
    STANDARD,
    V1,
    V2,
    V3,
    Allow,
    BakeryMacaroon,
    BakeryParty,
    Namespace,
    Origin,
    TimeBefore,
    decode_binaries,
    decode_header,
    encode_binaries,
    encode_header,
    open_ticket,
)
from caveats.token import legacy
from tests.support.law import NOW, PARTY_KEY, ROOT_KEY, at_most, counter_random, issue, outcome

VERSIONS = (V1, V2, V3)
ROOT = Macaroon.mint(ROOT_KEY, b"root", location="https://app.example")


def party(version: int = V3) -> BakeryParty:
    return BakeryParty("https://party.example", PARTY_KEY.public_key, version)


def asking(version: int, spoken: int = V3, **more: object) -> BakeryMacaroon:
    plain = BakeryMacaroon(ROOT, version).attenuate(TimeBefore.at(NOW))
    return plain.require_discharge(party(spoken), "is-authenticated-user", random=counter_random(), **more)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_envelope_survives_its_json(version):
    macaroon = asking(version)
    assert BakeryMacaroon.decode(macaroon.encode()) == macaroon
    assert BakeryMacaroon.from_members(json.loads(macaroon.encode())) == macaroon
    bare = BakeryMacaroon(Macaroon.mint(ROOT_KEY, b"id"), version)
    assert BakeryMacaroon.decode(bare.encode()) == bare
    assert "cdata" not in bare.to_members()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("spoken", VERSIONS)
def test_a_ticket_is_of_the_older_of_two_versions(version, spoken):
    macaroon = asking(version, spoken)
    caveat = macaroon.macaroon.wire.caveats[-1]
    payload = macaroon.payloads.get(caveat.ticket, caveat.ticket)
    ticket = open_ticket(payload, PARTY_KEY, identifier=caveat.ticket)
    assert ticket.version == min(version, spoken)
    assert bool(macaroon.payloads) is (ticket.version == V3)
    assert len(caveat.ticket) == 2 or ticket.version != V3


def test_each_caveat_has_a_name_of_its_own():
    macaroon = asking(V3)
    for _ in range(3):
        macaroon = macaroon.require_discharge(party(), "c", random=counter_random())
    names = [caveat.ticket for caveat in macaroon.macaroon.wire.caveats[1:]]
    assert names == [b"\3\0", b"\3\1", b"\3\2", b"\3\3"] == list(macaroon.payloads)
    without = BakeryMacaroon(
        macaroon.macaroon
    )  # its payloads were lost on the way: the names are still taken
    assert without.require_discharge(party(), "c").macaroon.wire.caveats[-1].ticket == b"\3\4"
    inner = BakeryMacaroon(ROOT, prefix=b"\3\1").require_discharge(party(), "c")
    assert list(inner.payloads) == [b"\3\1\0"]


def test_conditions_are_written_under_the_namespace_and_ours_as_they_are():
    macaroon = BakeryMacaroon(ROOT, namespace=Namespace.parse("std:s"))
    written = macaroon.attenuate(Allow("read"), Note("x"), b"raw").macaroon.wire.caveats
    assert written == (b"s:allow read", b"note = x", b"raw")


GOOD = asking(V3).to_members()
INNER = GOOD["m"]
ROWS = [
    ("good", GOOD, None),
    ("no-namespace", {k: v for k, v in GOOD.items() if k != "ns"}, None),
    ("no-cdata", {k: v for k, v in GOOD.items() if k != "cdata"}, None),
    ("version-2", INNER, None),
    ("version-1", legacy.encode_members(ROOT.wire, 1), None),
    ("list", [], MalformedToken),
    ("null", None, MalformedToken),
    ("empty", {}, MalformedToken),
    ("unknown-member", {**GOOD, "x": 1}, MalformedToken),
    ("no-version", {k: v for k, v in GOOD.items() if k != "v"}, MalformedToken),
    ("version-4", {**GOOD, "v": 4}, MalformedToken),
    ("version-2-in-an-envelope", {**GOOD, "v": 2}, MalformedToken),
    ("version-text", {**GOOD, "v": "3"}, MalformedToken),
    ("version-float", {**GOOD, "v": 3.0}, MalformedToken),
    ("version-true", {**GOOD, "v": True}, MalformedToken),
    ("macaroon-null", {**GOOD, "m": None}, MalformedToken),
    ("macaroon-text", {**GOOD, "m": "x"}, MalformedToken),
    ("macaroon-of-version-1", {**GOOD, "m": legacy.encode_members(ROOT.wire, 1)}, MalformedToken),
    ("macaroon-in-a-macaroon", {**GOOD, "m": GOOD}, MalformedToken),
    ("namespace-number", {**GOOD, "ns": 1}, MalformedToken),
    ("namespace-ill-formed", {**GOOD, "ns": "std"}, MalformedToken),
    ("cdata-list", {**GOOD, "cdata": []}, MalformedToken),
    ("cdata-null", {**GOOD, "cdata": None}, MalformedToken),
    ("cdata-number", {**GOOD, "cdata": {"AwA": 1}}, MalformedToken),
    ("cdata-no-base64", {**GOOD, "cdata": {"AwA": "é"}}, MalformedToken),
    ("cdata-empty", {**GOOD, "cdata": {"AwA": ""}}, MalformedToken),
    ("cdata-one-name-twice", {**GOOD, "cdata": {"AwA": "AAAA", "AwA=": "AAAA"}}, MalformedToken),
    (
        "cdata-too-many",
        {**GOOD, "cdata": {b64encode(bytes([n])).decode(): "AAAA" for n in range(65)}},
        LimitExceeded,
    ),
    ("cdata-too-long", {**GOOD, "cdata": {"AwA": "A" * 8000}}, LimitExceeded),
    ("not-json-at-all", {"m": {"i": "x", "s64": object()}, "v": 3}, MalformedToken),
]


@pytest.mark.parametrize(("members", "error"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_envelope_row(members, error):
    with at_most(0.05):
        assert outcome(BakeryMacaroon.from_members, members) is error


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", MalformedToken),
        ("{", MalformedToken),
        ("[" * 60_000, MalformedToken),
        ('{"v":' + "9" * 5000 + "}", MalformedToken),
        (json.dumps(GOOD)[:-1] + ',"v":3}', MalformedToken),
        (b"{}", MalformedToken),
        ("x" * 70_000, LimitExceeded),
    ],
    ids=["empty", "cut", "deep", "long-number", "member-twice", "bytes", "too-long"],
)
def test_what_is_no_json_of_a_macaroon_is_refused(text, error):
    assert outcome(BakeryMacaroon.decode, text) is error


def flavours(data: bytes) -> list[str]:
    padded = [b64encode(data).decode(), urlsafe_b64encode(data).decode()]
    return [*padded, *(text.rstrip("=") for text in padded)]


def test_payloads_are_read_in_every_base64():
    (name,) = asking(V3).payloads
    payload = asking(V3).payloads[name]
    for name64 in flavours(name):
        for payload64 in flavours(payload):
            read = BakeryMacaroon.from_members({**GOOD, "cdata": {name64: payload64}})
            assert read.payloads == {name: payload}


def test_what_makes_no_sense_is_not_required():
    plain = BakeryMacaroon(ROOT)
    assert outcome(plain.require_discharge, party(), "c", root_key=ROOT_KEY) is MalformedCaveat
    assert outcome(plain.require_discharge, party(), "c", declared=("a",), root_key=b"") is InvalidKey
    for version in VERSIONS:
        long = BakeryMacaroon(ROOT, version)
        assert outcome(long.require_discharge, party(), "x" * 5000) is LimitExceeded


def test_version_1_holds_text_only():
    binary = BakeryMacaroon(Macaroon.mint(ROOT_KEY, b"\xff"), V1)
    assert outcome(binary.encode) is MalformedToken
    assert outcome(encode_header, Bundle(binary.macaroon), V1) is MalformedToken


# Header values


def bundle(count: int = 2) -> Bundle:
    token = issue(Note("ä"))
    for number in range(count):
        token = token.with_third_party("there", b"key", b"ticket %d" % number, nonce=b"%024d" % number)
    answers = [Macaroon.mint(b"key", b"ticket %d" % number) for number in range(count)]
    return Bundle.bind(token, answers)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("count", [0, 1, 16])
def test_a_header_value_is_read_in_every_base64(version, count):
    sent = bundle(count)
    value = encode_header(sent, version)
    assert decode_header(value) == sent
    for text in flavours(b64decode(value)):
        assert decode_header(text) == sent


def value_of(members: object) -> str:
    return b64encode(json.dumps(members).encode()).decode()


JSON = legacy.encode_members(ROOT.wire)
VALUES = [
    ("alone", value_of([JSON]), None),
    ("both-versions", value_of([JSON, legacy.encode_members(ROOT.wire, 1)]), None),
    ("nothing", "", MalformedToken),
    ("no-macaroon", value_of([]), MalformedToken),
    ("no-list", value_of(JSON), MalformedToken),
    ("an-envelope", value_of([GOOD]), MalformedToken),
    ("a-text", value_of(["x"]), MalformedToken),
    ("a-null", value_of([None]), MalformedToken),
    ("two-alphabets", "-" + b64encode(b"\xff\xff").decode(), MalformedToken),
    ("not-utf8", b64encode(b'["\xff"]').decode(), MalformedToken),
    ("not-ascii", "é", MalformedToken),
    ("white-space", " " + value_of([JSON]), MalformedToken),
    ("bytes", value_of([JSON]).encode(), MalformedToken),
    ("too-many", value_of([JSON] * 18), LimitExceeded),
    ("too-long", "A" * 65_540, LimitExceeded),
    ("deep", b64encode(b"[" * 40_000).decode(), MalformedToken),
]


@pytest.mark.parametrize(("value", "error"), [row[1:] for row in VALUES], ids=[row[0] for row in VALUES])
def test_header_row(value, error):
    with at_most(0.05):
        assert outcome(decode_header, value) is error


@given(text=st.text(max_size=200))
def test_any_header_value_is_read_or_refused(text):
    outcome(decode_header, text)
    outcome(decode_header, b64encode(text.encode("utf-8", "replace")).decode())
    outcome(BakeryMacaroon.decode, text)


# Slices of binaries


def test_binaries_are_read_one_after_the_other():
    for count in (0, 1, 3, 16):
        sent = bundle(count)
        assert decode_binaries(encode_binaries(sent)) == sent
        old = b"".join(legacy.encode_v1(each.wire) for each in (sent.macaroon, *sent.discharges))
        assert decode_binaries(old) == sent
    mixed = bundle(1)
    assert decode_binaries(legacy.encode_v1(mixed.macaroon.wire) + mixed.discharges[0].to_bytes()) == mixed


@pytest.mark.parametrize("encode", [encode_binaries, lambda sent: legacy.encode_v1(sent.macaroon.wire)])
def test_every_cut_of_binaries_is_malformed(encode):
    data = encode(bundle(1))
    whole = len(encode(Bundle(bundle(1).macaroon)))
    for size in range(len(data)):
        assert outcome(decode_binaries, data[:size]) is (None if size == whole else MalformedToken), size


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", MalformedToken),
        (b"\2", MalformedToken),
        (b"\2\0", MalformedToken),
        (b"\3", MalformedToken),
        (b"00", MalformedToken),
        (b"0000" * 100, MalformedToken),
        (b"000esignature x", MalformedToken),
        (b"zzzz", MalformedToken),
        ("text", MalformedToken),
        (ROOT.to_bytes() + b"x", MalformedToken),
        (b"\2" * 70_000, LimitExceeded),
        (ROOT.to_bytes() * 18, LimitExceeded),
    ],
    ids=[
        "empty",
        "version",
        "end",
        "other-version",
        "short",
        "zeros",
        "no-signature",
        "no-hex",
        "text",
        "more",
        "long",
        "many",
    ],
)
def test_what_is_no_slice_of_binaries_is_refused(data, error):
    with at_most(0.05):
        assert outcome(decode_binaries, data) is error


@given(data=st.binary(max_size=200), first=st.sampled_from([b"", b"\2", b"\2\2", b"0010"]))
def test_any_binaries_are_read_or_refused(data, first):
    outcome(decode_binaries, first + data)
    outcome(decode_binaries, first + data, Limits(discharges=0))


def test_no_repr_shows_a_signature():
    assert repr(asking(V3)) == "BakeryMacaroon(Macaroon(identifier=b'root', 2 caveats), version=3)"
    assert STANDARD.prefix == ""


def test_a_condition_of_another_schema_gets_no_standard_prefix():
    space = Namespace.parse("http:http std:s")
    made = BakeryMacaroon(ROOT, namespace=space).attenuate(Allow("read"), Origin("x"))
    assert made.macaroon.wire.caveats[-2:] == (b"s:allow read", b"http:origin x")
    assert str(HTTP) == "http:http std:"
