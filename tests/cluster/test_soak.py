"""A short soak: the same programme that `make soak` runs for an hour."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.soak import soak

KINDS = ["failover", "worker killed", "mirror lies", "fork", "app clock"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_under_load_and_faults_no_dead_token_is_granted_and_no_good_one_refused_without_a_cause(
    tmp_path: Path,
) -> None:
    summary = soak(tmp_path, minutes=1.25, seed=15, kinds=KINDS, pause=2, say=False)
    assert summary["violations"] == []
    assert sum(summary["answers"].values()) > 200
    assert len(summary["faults"]) >= 3
