"""The vectors that the JavaScript client reads and Python made: they are what Python says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.javascript.issued import LOCATION, Question

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.mark.parametrize(
    "row", json.loads((VECTORS / "verifier.json").read_text())["cases"], ids=lambda row: row["id"]
)
def test_a_verifier_s_verdict(row: dict[str, Any]) -> None:
    assert row["location"] == LOCATION
    asked = Question(row["keys"], row["revoked"], row["token"], row["context"])
    assert asked.verdict() == row["verdict"]
