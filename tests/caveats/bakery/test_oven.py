"""Identifiers of an Oven: one form each, and anything else is malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from law_support import outcome

from caveats import MalformedToken
from caveats.bakery import OvenIdentifier

LOGIN = OvenIdentifier(b"n" * 16, b"0", (("login", ("login",)),))
IDENTIFIERS = st.builds(
    OvenIdentifier,
    st.binary(max_size=20),
    st.binary(max_size=300),
    st.lists(
        st.tuples(st.text(max_size=10), st.lists(st.text(max_size=200), max_size=3).map(tuple)), max_size=3
    ).map(tuple),
)


@given(identifier=IDENTIFIERS)
def test_what_is_written_is_read(identifier):
    for version in (1, 2, 3):
        assert OvenIdentifier.parse(identifier.encode(version)) == identifier


def test_the_form_is_this():
    assert LOGIN.encode() == b"\3\x0a\x10" + b"n" * 16 + b"\x12\x010\x1a\x0e\x0a\5login\x12\5login"
    assert LOGIN.encode(1)[:2] == b"Aw"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\2" + LOGIN.encode()[1:],
        LOGIN.encode()[:-1],
        LOGIN.encode() + b"\0",
        LOGIN.encode() + b"\x22\0",
        LOGIN.encode() + b"\x0a\1n",
        b"\3\x0a",
        b"\3\x0a\xff\xff\xff\xff",
        b"\3\x0a\x81\0n",
        b"\3\x08\1",
        b"\3\x0a\0",
        b"\3\x1a\4\x0a\2\xff\xff",
        b"\3\x12\1n\x0a\1n",
        b"A\xff",
        b"A",
        b"Aw=",
        b"1.k1.photos.01KAJQ00000000000000000001.3",
    ],
)
def test_anything_else_is_malformed(data):
    assert outcome(OvenIdentifier.parse, data) is MalformedToken


@given(data=st.binary(max_size=60), first=st.sampled_from([b"", b"\3", b"\3\x0a", b"A"]))
def test_whatever_is_read_is_written_as_it_came(data, first):
    if outcome(OvenIdentifier.parse, first + data) is None:
        version = 1 if (first + data)[:1] == b"A" else 3
        assert OvenIdentifier.parse(first + data).encode(version) == first + data
