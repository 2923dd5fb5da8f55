"""Bytes and text to fields and back: strict, canonical, and cheap to refuse."""

from __future__ import annotations

import pytest

from caveats import (
    DamagedToken,
    LimitExceeded,
    Limits,
    Macaroon,
    MalformedToken,
    Note,
    ThirdPartyCaveat,
    User,
)
from caveats.token import WireMacaroon, decode_base64, encode_base64
from caveats.token.wire import (
    check_location,
    checksum,
    decode_binary,
    decode_text,
    encode_binary,
    encode_text,
)
from tests.support.law import EXAMPLES, PARTY, ROOT_KEY, at_most, counter_random, issue, outcome

SIGNATURE = bytes(range(1, 33))
VID = bytes(72)
TAIL = b"\x00\x06\x20" + SIGNATURE
HEAD = b"\x02\x02\x01i\x00"


def field(kind: int, data: bytes) -> bytes:
    size = len(data)
    return bytes((kind, size)) + data if size < 128 else bytes((kind, size & 127 | 128, size >> 7)) + data


BINARY = [
    ("plain", HEAD + TAIL, None),
    ("located", b"\x02" + field(1, b"loc") + b"\x02\x01i\x00" + TAIL, None),
    ("caveat", HEAD + field(2, b"a = b") + b"\0" + TAIL, None),
    ("empty-caveat", HEAD + field(2, b"") + b"\0" + TAIL, None),
    ("long-caveat", HEAD + field(2, b"x" * 1024) + b"\0" + TAIL, None),
    ("caveat-of-127", HEAD + field(2, b"x" * 127) + b"\0" + TAIL, None),
    ("caveat-of-128", HEAD + field(2, b"x" * 128) + b"\0" + TAIL, None),
    ("third-party", HEAD + field(1, b"l") + field(2, b"t") + field(4, VID) + b"\0" + TAIL, None),
    ("third-party-nowhere", HEAD + field(2, b"t") + field(4, VID) + b"\0" + TAIL, None),
    ("third-then-first", HEAD + field(2, b"t") + field(4, VID) + b"\0" + field(2, b"a") + b"\0" + TAIL, None),
    ("nothing", b"", MalformedToken),
    ("version-byte-only", b"\x02", MalformedToken),
    ("version-1", b"\x01" + HEAD[1:] + TAIL, MalformedToken),
    ("no-signature", HEAD + b"\0", MalformedToken),
    ("signature-31", HEAD + b"\x00\x06\x1f" + SIGNATURE[1:], MalformedToken),
    ("signature-33", HEAD + b"\x00\x06\x21" + SIGNATURE + b"x", MalformedToken),
    ("signature-64", HEAD + b"\x00\x06\x40" + SIGNATURE * 2, MalformedToken),
    ("signature-of-another-type", HEAD + b"\x00\x05\x20" + SIGNATURE, MalformedToken),
    ("no-end-of-caveats", HEAD + b"\x06\x20" + SIGNATURE, MalformedToken),
    ("two-ends-of-caveats", HEAD + b"\0" + TAIL, MalformedToken),
    ("trailing-byte", HEAD + TAIL + b"\0", MalformedToken),
    ("two-signatures", HEAD + TAIL + b"\x06\x20" + SIGNATURE, MalformedToken),
    ("no-identifier", b"\x02" + field(1, b"loc") + b"\0" + TAIL, MalformedToken),
    ("identifier-twice", b"\x02" + field(2, b"i") * 2 + b"\0" + TAIL, MalformedToken),
    ("identifier-before-location", b"\x02" + field(2, b"i") + field(1, b"l") + b"\0" + TAIL, MalformedToken),
    ("unknown-field-in-header", b"\x02" + field(2, b"i") + field(7, b"x") + b"\0" + TAIL, MalformedToken),
    ("vid-in-header", b"\x02" + field(2, b"i") + field(4, VID) + b"\0" + TAIL, MalformedToken),
    ("location-twice", b"\x02" + field(1, b"l") * 2 + field(2, b"i") + b"\0" + TAIL, MalformedToken),
    ("location-not-utf8", b"\x02" + field(1, b"\xff") + field(2, b"i") + b"\0" + TAIL, MalformedToken),
    (
        "location-surrogate",
        b"\x02" + field(1, b"\xed\xa0\x80") + field(2, b"i") + b"\0" + TAIL,
        MalformedToken,
    ),
    ("location-to-the-end", b"\x02" + field(1, b"l" * 40), MalformedToken),
    ("identifier-past-the-end", b"\x02\x02\x7fi\x00" + TAIL, MalformedToken),
    ("identifier-up-to-the-signature", b"\x02\x02\x03i\x00\x00" + b"\x06\x20" + SIGNATURE, MalformedToken),
    ("field-type-overlong", b"\x02\x82\x00\x01i\x00" + TAIL, MalformedToken),
    ("size-overlong", b"\x02\x02\x81\x00i\x00" + TAIL, MalformedToken),
    ("size-overlong-zero", HEAD + b"\x02\x80\x00\x00" + TAIL, MalformedToken),
    ("size-of-four-bytes", HEAD + b"\x02\x81\x80\x80\x01x\x00" + TAIL, MalformedToken),
    ("size-of-2-to-the-63", HEAD + b"\x02" + b"\xff" * 9 + b"\x01\x00" + TAIL, MalformedToken),
    ("long-size-past-the-end", HEAD + b"\x02\xff\x7f" + b"x" * 40 + TAIL, MalformedToken),
    ("size-cut-off", HEAD + b"\x02\xff" + TAIL[:1] + b"\x06\x20" + SIGNATURE, MalformedToken),
    ("vid-empty", HEAD + field(2, b"t") + field(4, b"") + b"\0" + TAIL, MalformedToken),
    ("vid-71", HEAD + field(2, b"t") + field(4, VID[1:]) + b"\0" + TAIL, MalformedToken),
    ("vid-73", HEAD + field(2, b"t") + field(4, VID + b"x") + b"\0" + TAIL, MalformedToken),
    ("vid-twice", HEAD + field(2, b"t") + field(4, VID) * 2 + b"\0" + TAIL, MalformedToken),
    ("vid-before-identifier", HEAD + field(4, VID) + field(2, b"t") + b"\0" + TAIL, MalformedToken),
    ("caveat-of-location-only", HEAD + field(1, b"l") + b"\0" + TAIL, MalformedToken),
    ("first-party-with-location", HEAD + field(1, b"l") + field(2, b"a") + b"\0" + TAIL, MalformedToken),
    ("caveat-with-unknown-field", HEAD + field(2, b"a") + field(3, b"x") + b"\0" + TAIL, MalformedToken),
    ("caveat-identifier-twice", HEAD + field(2, b"a") * 2 + b"\0" + TAIL, MalformedToken),
    ("caveat-without-end", HEAD + field(2, b"a") + b"\x06\x20" + SIGNATURE, MalformedToken),
    ("long-caveat-without-end", HEAD + field(2, b"a" * 200) + b"\x06\x20" + SIGNATURE, MalformedToken),
    ("caveat-into-the-signature", HEAD + b"\x02\x23" + TAIL, MalformedToken),
    ("caveat-too-long", HEAD + field(2, b"x" * 1025) + b"\0" + TAIL, LimitExceeded),
    ("ticket-too-long", HEAD + field(2, b"x" * 4097) + field(4, VID) + b"\0" + TAIL, LimitExceeded),
    ("caveats-65", HEAD + (field(2, b"x") + b"\0") * 65 + TAIL, LimitExceeded),
    ("caveats-64", HEAD + (field(2, b"x") + b"\0") * 64 + TAIL, None),
    ("third-parties-65", HEAD + (field(2, b"x") + field(4, VID) + b"\0") * 65 + TAIL, LimitExceeded),
]


@pytest.mark.parametrize(("data", "error"), [row[1:] for row in BINARY], ids=[row[0] for row in BINARY])
def test_binary_row_is_read_exactly_or_refused(data, error):
    with at_most(0.005):
        assert outcome(decode_binary, data) is error
    if error is None:
        assert encode_binary(decode_binary(data)) == data


LENIENT = [
    ("header", b"\x02\x01\x00" + HEAD[1:] + TAIL),
    ("caveat", HEAD + b"\x01\x00" + field(2, b"t") + field(4, VID) + b"\0" + TAIL),
]


@pytest.mark.parametrize("data", [row[1] for row in LENIENT], ids=[row[0] for row in LENIENT])
def test_an_empty_location_is_read_in_bare_text_only_and_never_written(data):
    assert outcome(decode_binary, data) is MalformedToken
    fields = decode_text(encode_base64(data))
    assert encode_binary(fields) == data.replace(b"\x01\x00", b"", 1)
    assert Macaroon.from_bytes(data).wire == fields
    body = "cav1_" + encode_base64(data)
    assert outcome(decode_text, body + checksum(body.encode()).decode()) is MalformedToken


def test_an_empty_location_on_a_first_party_caveat_is_refused_even_in_bare_text():
    data = HEAD + b"\x01\x00" + field(2, b"a") + b"\0" + TAIL
    assert outcome(decode_text, encode_base64(data)) is MalformedToken


TOKEN = issue().encode()


def with_checksum(body: str) -> str:
    return body + checksum(body.encode()).decode()


TEXT = [
    ("ours", TOKEN, None),
    ("bare", encode_base64(issue().to_bytes()), None),
    ("empty", "", MalformedToken),
    ("prefix-only", "cav1_", DamagedToken),
    ("prefix-and-five", "cav1_00000", DamagedToken),
    ("prefix-and-checksum-of-nothing", with_checksum("cav1_"), MalformedToken),
    ("no-checksum", TOKEN[:-6], DamagedToken),
    ("last-character-lost", TOKEN[:-1], DamagedToken),
    ("first-character-lost", TOKEN[1:], MalformedToken),
    ("character-lost-inside", TOKEN[:50] + TOKEN[51:], DamagedToken),
    ("characters-swapped", TOKEN[:48] + TOKEN[49] + TOKEN[48] + TOKEN[50:], DamagedToken),
    ("checksum-case", TOKEN[:-6] + TOKEN[-6:].swapcase(), DamagedToken),
    ("upper-case-prefix", "CAV1_" + TOKEN[5:], MalformedToken),
    ("leading-space", " " + TOKEN, MalformedToken),
    ("trailing-newline", TOKEN + "\n", DamagedToken),
    ("twice", TOKEN + TOKEN, DamagedToken),
    ("padded", with_checksum(TOKEN[:-6] + "="), MalformedToken),
    (
        "standard-alphabet",
        with_checksum("cav1_" + encode_base64(issue().to_bytes()).replace("-", "+") + "+/"),
        MalformedToken,
    ),
    ("newline-inside", with_checksum(TOKEN[:40] + "\n" + TOKEN[40:-6]), MalformedToken),
    ("nul-inside", with_checksum(TOKEN[:40] + "\0" + TOKEN[40:-6]), MalformedToken),
    ("latin-1", TOKEN[:40] + "é" + TOKEN[40:], MalformedToken),
    ("fullwidth", TOKEN.replace("A", "Ａ", 1), MalformedToken),
    ("surrogate", TOKEN + "\ud800", MalformedToken),
    ("version-2-prefix", "cav2_" + TOKEN[5:], MalformedToken),
    ("too-long", "A" * (16 * 1024 + 1), LimitExceeded),
    ("longest", "A" * (16 * 1024), MalformedToken),
    ("too-long-not-ascii", "é" * (16 * 1024 + 1), LimitExceeded),
]


@pytest.mark.parametrize(("text", "error"), [row[1:] for row in TEXT], ids=[row[0] for row in TEXT])
def test_text_row_is_read_or_refused(text, error):
    with at_most(0.005):
        assert outcome(Macaroon.decode, text) is error


BASE64 = [
    ("", False),
    ("A", False),
    ("AA", True),
    ("AB", False),
    ("Ag", True),
    ("AAA", True),
    ("AAB", False),
    ("AAE", True),
    ("AAAA", True),
    ("AAAAA", False),
    ("-_-_", True),
    ("+/+/", False),
    ("-_-/", False),
    ("AA==", False),
    ("AAA=", False),
    ("====", False),
    ("=", False),
    ("AA A", False),
    ("AA\nA", False),
    ("AA\0A", False),
    ("AAé", False),
    ("ＡＡＡＡ", False),
]


@pytest.mark.parametrize(("text", "accepted"), BASE64, ids=[repr(row[0]) for row in BASE64])
def test_base64_is_url_safe_unpadded_and_without_spare_bits(text, accepted):
    assert outcome(decode_base64, text) is (None if accepted else MalformedToken)
    if accepted:
        assert encode_base64(decode_base64(text)) == text


def test_every_last_character_is_accepted_only_without_spare_bits():
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for head, bits in (("A", 4), ("AA", 2), ("AAA", 0)):
        accepted = [last for last in alphabet if outcome(decode_base64, head + last) is None]
        assert accepted == list(alphabet[:: 2**bits])


def test_the_checksum_is_crc32_in_base62_most_significant_first():
    assert checksum(b"") == b"000000"
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    value = 0xCBF43926  # the check value of CRC-32
    expected = "".join(digits[value // 62**place % 62] for place in range(5, -1, -1))
    assert checksum(b"123456789") == expected.encode()
    assert len({len(checksum(bytes([n]))) for n in range(256)}) == 1


def test_a_three_caveat_token_is_short():
    assert len(issue().encode()) < 260


def test_limits_are_the_callers():
    token = issue(Note("x" * 40))
    data, text = token.to_bytes(), token.encode()
    for limits in (Limits(caveats=3), Limits(predicate=40)):
        assert outcome(decode_binary, data, limits) is LimitExceeded
        assert outcome(Macaroon.decode, text, limits) is LimitExceeded
    assert outcome(Macaroon.decode, text, Limits(token_text=len(text) - 1)) is LimitExceeded
    assert outcome(Macaroon.decode, text, Limits(token_text=len(text), caveats=4, predicate=47)) is None


def test_a_third_party_caveat_and_one_after_it_keep_their_parts():
    """go-macaroon #9: the caveat after a third-party caveat has no vid."""
    macaroon = issue().require_discharge(PARTY, random=counter_random()).attenuate(User("alice"))
    for read in (
        Macaroon.decode(macaroon.encode()),
        Macaroon.decode(encode_base64(macaroon.to_bytes())),
        Macaroon.from_bytes(macaroon.to_bytes()),
    ):
        assert read == macaroon
        assert isinstance(read.wire.caveats[-2], ThirdPartyCaveat)
        assert read.wire.caveats[-1] == b"user = alice"


def test_every_standard_caveat_survives_the_wire():
    for examples in EXAMPLES.values():
        macaroon = Macaroon.mint(ROOT_KEY, b"id", caveats=examples)
        assert Macaroon.decode(macaroon.encode()).unverified_caveats == tuple(examples)


def test_text_and_binary_agree():
    fields = WireMacaroon("loc", b"id", (b"a", ThirdPartyCaveat("", VID, b"t" * 300)), SIGNATURE)
    assert decode_text(encode_text(fields)) == fields == decode_binary(encode_binary(fields))


def test_a_location_that_cannot_be_written_is_refused():
    check_location("https://auth.example/ä")
    assert outcome(check_location, "\ud800") is MalformedToken
    assert outcome(Macaroon.mint, ROOT_KEY, b"id", location="\ud800") is MalformedToken
    with pytest.raises(MalformedToken):
        Macaroon.mint(ROOT_KEY, b"id").with_third_party("\ud800", b"k", b"t", nonce=bytes(24))
