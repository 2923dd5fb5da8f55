"""A verifier that is cut off from all nodes: it goes on for as long as it was told to, refuses then, and comes back."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import timedelta

import httpx2 as httpx
import pytest

from caveats import Context, Revoked, Stale
from caveats_client.guards.guard import utc_now
from caveats_client.verifiers.freshness import Health
from caveats_client.verifiers.local import LocalVerifier
from tests.support.cluster import Cluster, Load, accepted, until
from tests.support.local import Cable
from tests.support.service import bearer, narrow

BOUND = timedelta(seconds=4)


def is_stale(verifier: LocalVerifier, token: str) -> bool:
    try:
        verifier.verify(token, Context(now=utc_now(), scopes=("photos:read",)))
    except Stale:
        return True
    return False


@pytest.mark.parametrize("how", ["cut", "silent"])
def test_a_partitioned_verifier_fails_closed_at_its_bound_and_recovers_unaided(
    two: Cluster, how: str
) -> None:
    """Under load; the other verifier, which follows another node, notices nothing."""
    token = two.issue(0)
    gone = narrow(token, "note = gone")

    def verify() -> None:
        assert accepted(other, token)

    with (
        closing(Cable(httpx.URL(two.nodes[0].url).port or 0)) as cable,
        two.attach(1, max_staleness=BOUND) as other,
        two.attach(0, url=cable.url, max_staleness=BOUND) as partitioned,
        Load(verify, per_second=100) as load,
    ):
        assert accepted(partitioned, token)
        assert accepted(partitioned, gone)
        cable.cut() if how == "cut" else cable.go_silent()
        cut_at = time.monotonic()
        assert (
            two.clients[1].post("/v1/revocations", json={"presented": True}, headers=bearer(gone)).status_code
            == 201
        )
        until(lambda: not accepted(other, gone))
        assert accepted(partitioned, token) or time.monotonic() - cut_at > BOUND.total_seconds() / 2
        until(lambda: is_stale(partitioned, token), BOUND.total_seconds() + 1)
        took = time.monotonic() - cut_at
        assert is_stale(partitioned, gone)
        until(lambda: partitioned.status().health is Health.STALE)
        assert not partitioned.status().ready
        cable.mend()
        mended = time.monotonic()
        until(lambda: accepted(partitioned, token), 15)
        print(
            f"closed {took:.1f} s after it was cut off, open {time.monotonic() - mended:.1f} s after it was not"
        )
        with pytest.raises(Revoked):
            partitioned.verify(gone, Context(now=utc_now(), scopes=("photos:read",)))
    assert load.failures == []
    assert load.done > 100
