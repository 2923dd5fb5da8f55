"""Against pymacaroons, both ways: ours reads theirs, theirs reads ours, and every signature is the same."""

from __future__ import annotations

import pymacaroons
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from caveats import (
    BadSignature,
    Bundle,
    Context,
    Macaroon,
    MissingDischarge,
    Note,
    UnsatisfiedCaveats,
    Verifier,
    authenticate,
    discharge,
    open_ticket,
)
from caveats.token import encode_base64
from caveats.token.legacy import encode_v1
from tests.support.law import KEYRING, NOW, PARTY, PARTY_KEY, REQUEST, identifier, issue, outcome

VERSIONS = [pymacaroons.MACAROON_V1, pymacaroons.MACAROON_V2]
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda text: text.strip("\0")
)  # a key is not all zero
steps = st.lists(texts | st.tuples(texts, texts, texts), max_size=5)


def theirs(key: str, name: str, location: str, version: int, caveats) -> pymacaroons.Macaroon:
    macaroon = pymacaroons.Macaroon(location=location, identifier=name, key=key, version=version)
    for caveat in caveats:
        add_theirs(macaroon, caveat)
    return macaroon


def add_theirs(macaroon, caveat) -> None:
    if isinstance(caveat, tuple):
        macaroon.add_third_party_caveat(*caveat)
    else:
        macaroon.add_first_party_caveat(caveat)


@given(texts, texts, texts, st.sampled_from(VERSIONS), steps)
def test_signatures_are_equal_after_each_step(key, name, location, version, caveats):
    ours = Macaroon.mint(key.encode(), name.encode(), location=location)
    other = pymacaroons.Macaroon(location=location, identifier=name, key=key, version=version)
    assert ours.wire.signature.hex() == other.signature
    for caveat in caveats:
        add_theirs(other, caveat)
        if isinstance(caveat, tuple):
            nonce = other.caveats[-1].verification_key_id[:24]
            ours = ours.with_third_party(caveat[0], caveat[1].encode(), caveat[2].encode(), nonce=nonce)
        else:
            ours = ours.attenuate(caveat.encode())
        assert ours.wire.signature.hex() == other.signature
        assert Macaroon.from_pymacaroons(other) == ours


@given(texts, texts, st.sampled_from(["", "loc", "http://ä/"]), st.sampled_from(VERSIONS), steps)
def test_ours_reads_theirs_in_every_encoding(key, name, location, version, caveats):
    """But for the v1 binary of other than ASCII: pymacaroons counts its characters there, and cannot read it either."""
    assume(version == pymacaroons.MACAROON_V2 or (name + location).isascii())
    other = theirs(key, name, location, version, caveats)
    ours = Macaroon.from_pymacaroons(other)
    assert Macaroon.decode(other.serialize()) == ours
    assert Macaroon.decode(other.serialize(serializer=pymacaroons.serializers.JsonSerializer())) == ours


@given(texts, texts, st.sampled_from(["", "loc", "http://ä/"]), steps)
def test_theirs_reads_ours_in_every_encoding(key, name, location, caveats):
    ours = Macaroon.from_pymacaroons(theirs(key, name, location, pymacaroons.MACAROON_V2, caveats))
    for text in (encode_base64(ours.to_bytes()), encode_base64(encode_v1(ours.wire))):
        read = pymacaroons.Macaroon.deserialize(text)
        assert read.signature == ours.wire.signature.hex()
        assert read.identifier_bytes == name.encode()
        assert [caveat.caveat_id_bytes for caveat in read.caveats] == [
            caveat if isinstance(caveat, bytes) else caveat.ticket for caveat in ours.wire.caveats
        ]
    assert ours.to_pymacaroons().signature == ours.wire.signature.hex()


@given(st.lists(texts, max_size=4))
def test_both_verify_what_either_minted(predicates):
    key, name = b"a key", b"a name"
    ours = Macaroon.mint(key, name, caveats=[predicate.encode() for predicate in predicates])
    checking = pymacaroons.Verifier()
    for predicate in predicates:
        checking.satisfy_exact(predicate)
    assert checking.verify(ours.to_pymacaroons(), key)
    minted = theirs("a key", "a name", "", pymacaroons.MACAROON_V2, predicates)
    assert authenticate(Macaroon.decode(minted.serialize()), key).wire == ours.wire


@pytest.mark.parametrize("version", ["v1", "v2", "object", "json"])
def test_a_holder_with_only_pymacaroons_narrows_our_token_and_presents_it(version):
    verifier = Verifier(KEYRING, audience="photos")
    token = issue()
    held = {
        "v1": lambda: pymacaroons.Macaroon.deserialize(encode_base64(encode_v1(token.wire))),
        "v2": lambda: pymacaroons.Macaroon.deserialize(encode_base64(token.to_bytes())),
        "object": token.to_pymacaroons,
        "json": lambda: pymacaroons.Macaroon.deserialize(
            token.to_pymacaroons().serialize(serializer=pymacaroons.serializers.JsonSerializer()),
            serializer=pymacaroons.serializers.JsonSerializer(),
        ),
    }[version]()
    held.add_first_party_caveat("scope = photos:read")
    held.add_first_party_caveat("note = für später")
    for text in (held.serialize(), held.serialize(serializer=pymacaroons.serializers.JsonSerializer())):
        grant = verifier.verify(text, REQUEST)
        assert grant.scopes == ("photos:read",)
        assert grant.caveats[-1] == Note("für später")
        refused = Context(now=NOW, scopes=("photos:write",))
        assert outcome(verifier.verify, text, refused) is UnsatisfiedCaveats
    held.add_first_party_caveat("whatever I like")
    assert outcome(verifier.verify, held.serialize(), REQUEST) is UnsatisfiedCaveats


def test_a_holder_with_only_pymacaroons_adds_a_third_party_and_presents_its_discharge():
    verifier = Verifier(KEYRING, audience="photos")
    held = pymacaroons.Macaroon.deserialize(encode_base64(issue().to_bytes()))
    held.add_third_party_caveat("https://there", "a caveat key", "a ticket")
    held.add_first_party_caveat("note = after it")
    answer = pymacaroons.Macaroon(
        location="https://there", key="a caveat key", identifier="a ticket", version=pymacaroons.MACAROON_V2
    )
    answer.add_first_party_caveat("expires = 2026-12-01T00:00:00Z")
    bound = held.prepare_for_request(answer)
    assert verifier.verify(f"{held.serialize()}.{bound.serialize()}", REQUEST).user == "alice"
    assert outcome(verifier.verify, held.serialize(), REQUEST) is MissingDischarge
    late = Context(now=NOW.replace(year=2027), scopes=("a:b",))
    assert outcome(verifier.verify, f"{held.serialize()}.{bound.serialize()}", late) is UnsatisfiedCaveats
    assert issubclass(
        outcome(verifier.verify, f"{held.serialize()}.{answer.serialize()}", REQUEST), BadSignature
    )


def test_our_bundle_verifies_under_pymacaroons():
    token = issue().require_discharge(PARTY, "is a member").attenuate(Note("after it"))
    answer = discharge(open_ticket(token.wire.caveats[3].ticket, PARTY_KEY), [Note("from there")], now=NOW)
    bundle = Bundle.bind(token, [answer])
    checking = pymacaroons.Verifier()
    checking.satisfy_general(lambda predicate: True)
    discharges = [one.to_pymacaroons() for one in bundle.discharges]
    assert checking.verify(token.to_pymacaroons(), KEYRING.root_key(identifier(3)), discharges)
