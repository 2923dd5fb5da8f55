"""What a remote verifier remembers: bounded in tokens, bytes and copies of one token."""

from __future__ import annotations

import tracemalloc

import pytest

from caveats.token import WireMacaroon
from caveats_client.verifiers.accepted import Accepted, AcceptedTokens

LONG_AGO = 1e9


def accepted(token: int, copy: int = 0, *, size: int = 10, revoked: int = 0) -> Accepted:
    identifier = f"1.k1.photos.{token:026}.3".encode()
    wire = WireMacaroon("", identifier, (b"user = alice", f"note = {copy:0{size}}".encode()), bytes(32))
    branches = frozenset(n.to_bytes(16, "big") for n in range(revoked))
    return Accepted(wire, LONG_AGO, branches, asked_at=0.0, judged_at=None)


def filled(cache: AcceptedTokens, *every: Accepted) -> AcceptedTokens:
    for one in every:
        cache.add(one, cache.generation, 0.0)
    return cache


def test_more_tokens_than_fit_push_out_the_oldest() -> None:
    every = [accepted(n) for n in range(30)]
    cache = filled(AcceptedTokens(10, 10**9), *every)
    assert len(cache) == 10
    assert [cache.find(one.wire, 0.0) is not None for one in every] == [False] * 20 + [True] * 10


def test_tokens_and_their_revoked_copies_count_in_bytes() -> None:
    one = accepted(0, revoked=1000)
    assert one.size > 64 * 1000
    cache = filled(AcceptedTokens(1000, 3 * one.size), *[accepted(n, revoked=1000) for n in range(10)])
    assert len(cache) == 3
    assert len(filled(AcceptedTokens(1000, one.size - 1), one)) == 0


def test_copies_of_one_token_are_bounded_so_that_none_is_looked_for_among_thousands() -> None:
    cache = AcceptedTokens(10_000, 10**9, copies=5)
    other, copies = accepted(1), [accepted(0, n) for n in range(1000)]
    filled(cache, other, *copies)
    assert len(cache) == 6
    assert cache.find(other.wire, 0.0) is other
    assert [cache.find(copy.wire, 0.0) is not None for copy in copies[-6:]] == [False] + [True] * 5
    cache.forget(other.wire.identifier)
    cache.forget(copies[0].wire.identifier)
    assert (len(cache), cache._held, cache._by_identifier) == (0, 0, {})


@pytest.mark.slow
def test_a_full_cache_takes_about_the_memory_that_it_may() -> None:
    most = 4 * 1024 * 1024
    tracemalloc.start()
    cache = AcceptedTokens(10_000, most)
    for n in range(10_000):
        filled(cache, accepted(n, revoked=n % 50, size=n % 1000 + 1))
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 1000 < len(cache) < 10_000
    assert taken < 2 * most
