"""The vectors that the JavaScript client reads and Python made: they are what Python says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from caveats.keys import PrivateKey, is_box_key, open_bundle, seal_box
from caveats.revocation import open_rows, prove_reader
from caveats.token import decode_base64
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


def test_the_box_and_the_line_are_what_the_library_reads() -> None:
    vectors = json.loads((VECTORS / "feed.json").read_text())
    registration = vectors["registration"]
    bundle = open_bundle(
        decode_base64(vectors["box"]),
        PrivateKey(decode_base64(registration["private_key"])),
        decode_base64(registration["service_public_key"]),
        verifier_id=registration["verifier_id"],
        audience=registration["audience"],
        now=datetime(2025, 11, 30, tzinfo=UTC),
    )
    (key,) = bundle.keyring.keys
    assert key.secret == decode_base64(vectors["audience_key"])
    assert open_rows(vectors["line"], bundle.keyring)[1] == [
        [1, "t", 1767052800, "01KB5R7M00ABCDEFGHJKMNPQRS"]
    ]
    assert prove_reader(key, datetime.fromtimestamp(1764460800, UTC)) == vectors["proof"]


def test_the_boxes_are_what_nacl_makes() -> None:
    vectors = json.loads((VECTORS / "nacl_box.json").read_text())
    for row in vectors["boxes"]:
        given = {name: bytes.fromhex(value) for name, value in row.items()}
        for secret, public in (("secret", "public"), ("other_secret", "other_public")):
            key = PrivateKey(given[secret])
            assert (
                seal_box(given["plain"], given[public], key, random=lambda _: given["nonce"])[2]
                == given["box"]
            )
    for point in vectors["low_order"]:
        assert not is_box_key(bytes.fromhex(point))


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
