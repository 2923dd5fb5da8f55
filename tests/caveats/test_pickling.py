"""The library's own part of `tests/test_pickling.py`, which walks the classes of all packages."""

from __future__ import annotations

import copy
import pickle
from types import MappingProxyType

import pytest

from caveats import (
    Context,
    DischargeRefused,
    Failure,
    MissingDischarge,
    Revoked,
    Scope,
    UnknownKey,
    UnsatisfiedCaveats,
    Verifier,
    WrongAudience,
    effective,
)
from caveats.errors import NotPicklable
from tests.support.law import KEYRING, MASTER, NOW

FAILURE = Failure(1, "scope", "scope = a:b", "holder", "the request needs a:c", "a:b")


@pytest.mark.parametrize(
    "error",
    [
        UnsatisfiedCaveats([FAILURE, FAILURE]),
        MissingDischarge("https://party.example", b"ticket"),
        WrongAudience("a", "b"),
        UnknownKey("no key k2 here", "k2"),
        Revoked("gone", "k1"),
        DischargeRefused("no", [FAILURE]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refusal_is_pickled_and_copied_with_its_words_and_its_evidence(error):
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))


def test_a_key_is_never_pickled_and_its_copy_is_the_key():
    with pytest.raises(NotPicklable, match="a MasterKey is not pickled"):
        pickle.dumps({"k": MASTER})
    pads = KEYRING.root_pads("k1", "photos")
    for secret in (MASTER, KEYRING, pads):
        assert copy.copy(secret) is secret
        assert copy.deepcopy(secret) is secret


def test_a_verifier_is_neither_pickled_nor_copied():
    """Two verifiers with one cache and two keyrings would each believe what the other has authenticated."""
    verifier = Verifier(KEYRING)
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(
            NotPicklable, match="a Verifier is not pickled or copied: make one in each process"
        ):
            way(verifier)


def test_a_value_with_a_read_only_mapping_is_pickled():
    """Python pickles no `MappingProxyType` by itself."""
    authority = effective([Scope("photos:read")])
    for other in (pickle.loads(pickle.dumps(authority)), copy.deepcopy(authority)):
        assert other == authority
        assert type(other.lists) is type(authority.lists) is MappingProxyType


def test_a_context_is_pickled_with_its_facts_for_plug_ins():
    for context in (Context(NOW), Context(NOW, "photos", ("a:b",), extra={"photos/album": "42"})):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(context, protocol)) == context
        assert copy.deepcopy(context) == context
