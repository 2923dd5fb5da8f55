"""Every row of tests/vectors, as its README says: decode, authenticate, then ask for every predicate.

Rows to be refused raise exactly one error of our family, of the class that the row names, within 50 ms.

A bare token is base64url without padding here and nothing else (DESIGN, section 5). The rows that other projects
published in the standard alphabet or with padding are therefore transliterated first, by `to_base64url`: what is
proved of them is the macaroon, not that spelling. That the spelling itself is refused is proved, too.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import ClassVar

import pytest

from caveats import (
    BadSignature,
    Bundle,
    Caveat,
    CaveatsError,
    Checkers,
    Context,
    LimitExceeded,
    Macaroon,
    MalformedToken,
    MissingDischarge,
    ThirdPartyCaveat,
    UnknownKey,
    UnsatisfiedCaveats,
    UnusedDischarge,
    authenticate,
    unsatisfied,
)
from caveats.token import chain, legacy, wire
from tests.support.law import NOW, at_most, outcome, vectors

CLASSES: dict[str, tuple[type[CaveatsError], ...]] = {
    "malformed": (MalformedToken, LimitExceeded),
    "malformed (canonical mode)": (MalformedToken,),
    "bad_signature": (BadSignature,),
    "unknown_key|bad_signature": (BadSignature, UnknownKey),
    "bad_signature|unused_discharge": (BadSignature, UnusedDischarge),
    "unknown_caveat": (UnsatisfiedCaveats,),
    "caveat_unmet": (UnsatisfiedCaveats,),
    "missing_discharge": (MissingDischarge,),
    "unused_discharge": (UnusedDischarge,),
    "discharge_reused": (UnusedDischarge,),
    "limit": (LimitExceeded,),
}


def judge(token: str, discharges: list[str], root_key: bytes, satisfied: list[str]) -> None:
    """Decode, authenticate, and ask that every first-party predicate is one of `satisfied`, byte for byte."""
    bundle = Bundle(Macaroon.decode(token), [Macaroon.decode(discharge) for discharge in discharges])
    failures = unsatisfied(
        authenticate(bundle, root_key, kinds={}).caveats, exactly(satisfied), Context(now=NOW)
    )
    if failures:
        raise UnsatisfiedCaveats(failures)


@dataclass(frozen=True)
class Exact(Caveat):
    """Any predicate at all, read as itself."""

    kind: ClassVar[str] = "exact"
    raw: bytes

    @property
    def value(self) -> str:
        return self.raw.decode("latin-1")

    @property
    def predicate(self) -> bytes:
        return self.raw


def exactly(satisfied: list[str]) -> Checkers:
    """Checkers whose one kind holds when its predicate is one of `satisfied`."""
    wanted = {predicate.encode() for predicate in satisfied}

    class ExactCheckers(Checkers):
        def parse(self, predicate: bytes) -> Caveat:
            return Exact(predicate)

    checkers = ExactCheckers()
    checkers.register(Exact, lambda caveat, context: caveat.raw in wanted)
    return checkers


def to_base64url(text: str) -> str:
    return text.replace("+", "-").replace("/", "_").rstrip("=")


def rows(name, *path):
    found = vectors(name)
    for step in path:
        found = found[step]
    return [pytest.param(row, id=str(row.get("id") or row.get("name") or row.get("why"))) for row in found]


# adversarial.json


@pytest.mark.parametrize("row", rows("adversarial.json", "cases"))
def test_adversarial_row_is_judged_as_listed(row):
    arguments = row["token"], row["discharges"], bytes.fromhex(row["root_key_hex"]), row["satisfied"]
    with at_most(0.05):
        error = outcome(judge, *arguments)
    if row["required"] == "accept":
        assert error is None
    else:
        assert error is not None
        assert issubclass(error, CLASSES[row["error_class"]])


# interop_macaroons.json

INTEROP = {row["name"]: row for row in vectors("interop_macaroons.json")["macaroons"]}


def mint(row) -> list[Macaroon]:
    """The macaroon of a row after each step."""
    steps = [
        Macaroon.mint(
            bytes.fromhex(row["root_key_hex"]), bytes.fromhex(row["identifier_hex"]), location=row["location"]
        )
    ]
    for caveat in row["caveats"]:
        cid = bytes.fromhex(caveat["cid_hex"])
        if "vid_hex" in caveat:
            step = steps[-1].with_third_party(
                caveat["location"],
                caveat["caveat_root_key_utf8"].encode(),
                cid,
                nonce=bytes.fromhex(caveat["nonce_hex"]),
            )
            assert step.wire.caveats[-1].vid.hex() == caveat["vid_hex"]
        else:
            step = steps[-1].attenuate(cid)
        steps.append(step)
    return steps


@pytest.mark.parametrize("row", INTEROP.values(), ids=INTEROP)
def test_interop_macaroon_has_the_listed_signature_after_every_caveat(row):
    steps = mint(row)
    assert [step.wire.signature.hex() for step in steps] == row["signature_chain_hex"]
    assert steps[-1].wire.signature.hex() == row["signature_hex"]
    assert row.get("expected_published") in (None, row["signature_hex"])


@pytest.mark.parametrize("row", INTEROP.values(), ids=INTEROP)
def test_interop_macaroon_has_the_listed_bytes_in_every_encoding(row):
    macaroon = mint(row)[-1]
    assert wire.encode_base64(macaroon.to_bytes()) == row["v2_b64url"]
    assert wire.encode_base64(legacy.encode_v1(macaroon.wire)) == row["v1_b64url"]
    for text in (row["v1_b64url"], row["v2_b64url"], json.dumps(row["v2_json"]), macaroon.encode()):
        assert Macaroon.decode(text) == macaroon
    assert Macaroon.from_bytes(wire.decode_base64(row["v1_b64url"])) == macaroon
    assert Macaroon.from_bytes(wire.decode_base64(row["v2_b64url"])) == macaroon


@pytest.mark.parametrize("row", INTEROP.values(), ids=INTEROP)
def test_interop_macaroon_is_authentic_under_its_key_only(row):
    macaroon, key = mint(row)[-1], bytes.fromhex(row["root_key_hex"])
    needs_discharge = any("vid_hex" in caveat for caveat in row["caveats"])
    assert outcome(authenticate, macaroon, key) is (MissingDischarge if needs_discharge else None)
    assert outcome(authenticate, macaroon, key + b"\0") is BadSignature


@pytest.mark.parametrize("row", rows("interop_macaroons.json", "discharges"))
def test_interop_discharge_binds_to_the_listed_signature(row):
    parent = INTEROP[row["root"]]
    root = Macaroon.decode(parent["v2_b64url"])
    unbound = Macaroon.decode(row["discharge_unbound_v2"])
    bound = Macaroon.decode(row["discharge_bound_v2"])
    assert (unbound.wire.signature.hex(), bound.wire.signature.hex()) == (
        row["unbound_sig"],
        row["bound_sig"],
    )
    assert root.bind(unbound) == bound == Macaroon.decode(row["discharge_bound_v1"])
    key = bytes.fromhex(parent["root_key_hex"])
    for token in (parent["v1_b64url"], parent["v2_b64url"], json.dumps(parent["v2_json"])):
        for discharge, accepted in (
            (row["discharge_bound_v2"], row["accept_bound"]),
            (row["discharge_bound_v1"], row["accept_bound"]),
            (row["discharge_unbound_v2"], row["accept_unbound"]),
        ):
            error = outcome(judge, token, [discharge], key, row["satisfied"])
            assert (error is None) is accepted
            assert accepted or issubclass(error, BadSignature)
        assert (
            outcome(judge, token, [row["discharge_bound_v2"]], key, row["satisfied"][:1])
            is UnsatisfiedCaveats
        )


# published_tokens.json

PUBLISHED = vectors("published_tokens.json")


def spelled(token: str) -> str:
    return token if token.startswith("{") else to_base64url(token)


@pytest.mark.parametrize("encoding", ["json_v1", "binary_v1", "json_v2", "binary_v2"])
def test_go_generated_token_with_its_discharge_is_accepted_in_every_encoding(encoding):
    published = PUBLISHED["go_generated"]
    tokens, key = published["tokens"], published["root_key"].encode()
    token, discharge = spelled(tokens[encoding]), spelled(tokens[f"{encoding}_discharge"])
    judge(token, [discharge], key, published["satisfied"])
    assert outcome(judge, token, [discharge], key, []) is UnsatisfiedCaveats
    assert outcome(judge, token, [discharge], key + b"x", published["satisfied"]) is BadSignature
    assert outcome(judge, token, [], key, published["satisfied"]) is MissingDischarge


def test_go_generated_encodings_are_one_macaroon():
    tokens = PUBLISHED["go_generated"]["tokens"]
    for end in ("", "_discharge"):
        read = {
            Macaroon.decode(spelled(tokens[name + end]))
            for name in ("json_v1", "binary_v1", "json_v2", "binary_v2")
        }
        assert len(read) == 1


@pytest.mark.parametrize("row", rows("published_tokens.json", "libmacaroons_verification", "cases"))
def test_libmacaroons_verification_case_is_judged_as_listed(row):
    token, *discharges = map(spelled, row["tokens"])
    error = outcome(judge, token, discharges, row["root_key"].encode(), row["exact"])
    assert (error is None) is row["authorized"]
    assert error in (None, UnsatisfiedCaveats, BadSignature)


@pytest.mark.parametrize("row", rows("published_tokens.json", "libmacaroons_serialization", "cases"))
def test_libmacaroons_serializations_are_one_macaroon_byte_for_byte(row):
    v1, v2 = to_base64url(row["v1"]), to_base64url(row["v2"])
    macaroon = Macaroon.decode(v1)
    assert Macaroon.decode(v2) == Macaroon.decode(row["v2j"]) == macaroon
    assert wire.encode_base64(macaroon.to_bytes()) == v2
    assert wire.encode_base64(legacy.encode_v1(macaroon.wire)) == v1


@pytest.mark.parametrize(
    "text",
    [
        text
        for text in [
            *PUBLISHED["go_generated"]["tokens"].values(),
            *(row["v2"] for row in PUBLISHED["libmacaroons_serialization"]["cases"]),
        ]
        if not text.startswith("{") and text != to_base64url(text)
    ],
)
def test_padding_and_the_standard_alphabet_are_refused(text):
    assert outcome(Macaroon.decode, text) is MalformedToken
    assert outcome(Macaroon.decode, to_base64url(text)) is None


# verify_scenarios.json

SCENARIOS = [
    pytest.param(scenario, case, id=f"{scenario['name']}-{number}")
    for scenario in vectors("verify_scenarios.json")["scenarios"]
    for number, case in enumerate(scenario["cases"])
]


@pytest.mark.parametrize(("scenario", "case"), SCENARIOS)
def test_scenario_is_judged_as_listed(scenario, case):
    """The whole tree is authenticated before any caveat is judged, so a superfluous discharge is named first."""
    discharges = scenario["discharges_v2"]
    error = outcome(judge, scenario["root_v2"], discharges, scenario["root_key"].encode(), case["satisfied"])
    if case["outcome"] == "accept":
        assert error is None
    else:
        allowed = CLASSES[case["reason_class"]]
        if case["reason_class"] == "caveat_unmet" and scenario["name"] == "two discharges for one caveat":
            allowed = (UnusedDischarge,)
        assert error in allowed


# parser_cases.json

PARSER = vectors("parser_cases.json")
SIGNATURE = bytes(range(1, 33))


def v1_token(packets: bytes) -> bytes:
    return b"000elocation \n0011identifier i\n" + packets + b"002fsignature " + SIGNATURE + b"\n"


@pytest.mark.parametrize("row", rows("parser_cases.json", "v1_packets"))
def test_v1_packet_row(row):
    """The packet stands among the caveats: all are refused, since no macaroon has a field of the names in the rows.

    Packets that the row accepts are refused for their name alone: the same bytes named `cid` are read.
    """
    packet = bytes.fromhex(row["hex"])
    if packet:
        with at_most(0.05):
            assert outcome(Macaroon.from_bytes, v1_token(packet)) is MalformedToken
    if row["accept"]:
        data = row["data"].encode()
        renamed = b"%04xcid %b\n" % (len(data) + 9, data)
        assert Macaroon.from_bytes(v1_token(renamed)).wire.caveats == (data,)


def test_v1_packet_of_the_largest_size_is_written_and_one_byte_more_is_refused():
    largest = 0xFFFF - len("0000cid \n")
    assert largest == 65526
    fields = wire.WireMacaroon("", b"i", (b"x" * largest,), SIGNATURE)
    assert b"ffffcid xxx" in legacy.encode_v1(fields)
    assert outcome(legacy.encode_v1, fields._replace(caveats=(b"x" * (largest + 1),))) is LimitExceeded


def test_v1_packet_of_the_largest_size_is_over_the_limit_on_the_way_in():
    packet = b"ffffcid " + b"x" * 65526 + b"\n"
    with at_most(0.005):
        assert outcome(Macaroon.from_bytes, v1_token(packet)) is LimitExceeded


def v2_token(section: bytes) -> bytes:
    return b"\x02\x02\x01i\x00" + section + b"\x00\x06\x20" + SIGNATURE


@pytest.mark.parametrize("row", rows("parser_cases.json", "v2_sections"))
def test_v2_section_row(row):
    """The section stands where a caveat does. Field 7 is fine for a section reader, and no field of a macaroon."""
    section = bytes.fromhex(row["hex"])
    error = outcome(Macaroon.from_bytes, v2_token(section))
    if row["why"] == "one":
        assert error is None
    else:  # an empty section ends the caveats, and then another end follows
        assert error is MalformedToken


@pytest.mark.parametrize("row", rows("parser_cases.json", "v2_packets"))
def test_v2_packet_row(row):
    packet = bytes.fromhex(row["hex"])
    readable = row["accept"] and packet != b"\0"
    if packet:  # as a caveat's only packet; an empty one is the valid macaroon without it
        assert outcome(Macaroon.from_bytes, v2_token(packet + b"\0")) is (
            None if readable else MalformedToken
        )
    if not row["accept"]:  # as the end of the input
        assert outcome(Macaroon.from_bytes, b"\x02\x02\x01i\x00" + packet) is MalformedToken


@pytest.mark.parametrize("row", PARSER["varint"], ids=lambda row: row["value"])
def test_varint_row(row):
    """Sizes are the only varints: written as listed, and read back as far as the limits go."""
    size, text = int(row["value"]), bytes.fromhex(row["hex"])
    if size <= 16385:
        section = b"\x02" + text + b"x" * size + b"\0"
        fields = wire.WireMacaroon("", b"i", (b"x" * size,), SIGNATURE)
        assert wire.encode_binary(fields) == v2_token(section)
        assert outcome(Macaroon.from_bytes, v2_token(section)) is (None if size <= 1024 else LimitExceeded)
        large = wire.Limits(token_text=1 << 20, predicate=1 << 20)
        assert Macaroon.from_bytes(v2_token(section), large).wire == fields
    else:
        assert outcome(Macaroon.from_bytes, v2_token(b"\x02" + text + b"x\0")) is MalformedToken


@pytest.mark.parametrize("row", PARSER["base64"], ids=lambda row: row["input"] or "empty")
def test_base64_row(row):
    """Inside JSON every listed spelling is read; as the text of a token only base64url without padding."""
    if row["accept"] and row["output"]:
        members = {"i64": row["input"], "s64": base64.b64encode(SIGNATURE).decode()}
        assert Macaroon.decode(json.dumps(members)).identifier == row["output"].encode()
        assert wire.decode_base64(to_base64url(row["input"])) == row["output"].encode()
    strict = bool(row["input"]) and row["input"] == to_base64url(row["input"])
    assert outcome(wire.decode_base64, row["input"]) is (None if strict else MalformedToken)
    if not row["accept"]:
        members = {"i64": row["input"], "s64": base64.b64encode(SIGNATURE).decode()}
        assert outcome(Macaroon.decode, json.dumps(members)) is MalformedToken


@pytest.mark.parametrize("row", rows("parser_cases.json", "json_reject"))
def test_json_row_is_malformed(row):
    with at_most(0.05):
        assert outcome(Macaroon.decode, row["json"]) is MalformedToken


def test_equivalent_json_encodings_are_one_macaroon():
    read = {Macaroon.decode(text) for text in PARSER["json_equivalent_2p3p"]}
    assert read == {Macaroon.decode(INTEROP["third-party-zero-nonce"]["v2_b64url"])}


# bakery_caveat_codec.json: the bakery's own tickets travel through as any bytes do


@pytest.mark.parametrize(
    "row", vectors("bakery_caveat_codec.json")["cases"], ids=lambda row: f"v{row['version']}"
)
def test_bakery_ticket_travels_unchanged(row):
    ticket = row["caveat"].encode()
    caveat_key = base64.b64decode(row["root_key_b64"])
    macaroon = Macaroon.mint(b"root", b"id").with_third_party("bakery", caveat_key, ticket, nonce=b"n" * 24)
    read = Macaroon.decode(macaroon.encode())
    assert read == macaroon
    assert isinstance(read.wire.caveats[0], ThirdPartyCaveat)
    discharge = Macaroon.mint(caveat_key, ticket)
    judge(macaroon.encode(), [macaroon.bind(discharge).encode()], b"root", [])
    assert chain.unseal(
        Macaroon.mint(b"root", b"id").wire.signature, read.wire.caveats[0].vid
    ) == chain.derive(caveat_key)
