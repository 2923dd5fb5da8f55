"""The vectors that the JavaScript client reads and Python made: they are what Python says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.javascript.issued import LOCATION, Question
from tests.support.hostile_heads import HEADS

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.mark.parametrize(
    "row", json.loads((VECTORS / "verifier.json").read_text())["cases"], ids=lambda row: row["id"]
)
def test_a_verifier_s_verdict(row: dict[str, Any]) -> None:
    assert row["location"] == LOCATION
    asked = Question(row["keys"], row["revoked"], row["token"], row["context"])
    assert asked.verdict() == row["verdict"]


def test_the_hostile_heads_are_those_of_python_s_table() -> None:
    """`python -m tests.javascript.test_vectors` writes them."""
    assert json.loads((VECTORS / "hostile_heads.json").read_text()) == _heads()


def _heads() -> dict[str, Any]:
    """The table that apps are held to, in values that JSON has: of headers each character is a byte."""
    return {
        "about": "Heads of requests to app.example, and the answer of each guard: see tests/support/hostile_heads.py. "
        "`joined`: the answer where a server joins header lines with a comma.",
        "cases": [
            {
                "id": head.id,
                "headers": [
                    [name.decode("latin-1"), value.decode("latin-1")] for name, value in head.headers
                ],
                "path": head.path.decode("latin-1"),
                "query": head.query.decode("latin-1"),
                "peer": head.peer,
                "caveats": list(head.caveats),
                "answer": head.answer._asdict(),
                "joined": (head.answer if head.joined is None else head.joined)._asdict(),
            }
            for head in HEADS
        ],
    }


if __name__ == "__main__":
    (VECTORS / "hostile_heads.json").write_text(json.dumps(_heads(), indent=1) + "\n")
