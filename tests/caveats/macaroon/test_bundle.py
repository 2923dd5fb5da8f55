"""A macaroon with its discharges, as text: the root first, joined by dots, within limits."""

from __future__ import annotations

import json

import pytest

from caveats import (
    Bundle,
    DamagedToken,
    LimitExceeded,
    Limits,
    Macaroon,
    MalformedToken,
    discharge,
    open_ticket,
)
from caveats.token import encode_base64
from tests.support.law import NOW, PARTY, PARTY_KEY, at_most, counter_random, issue, outcome

ROOT = issue().require_discharge(PARTY, random=counter_random())
ANSWER = discharge(open_ticket(ROOT.wire.caveats[-1].ticket, PARTY_KEY), now=NOW)
BUNDLE = Bundle.bind(ROOT, [ANSWER])
TEXT = BUNDLE.encode()
ONE = issue().encode()


def test_a_bundle_survives_its_text():
    assert Bundle.decode(TEXT) == BUNDLE
    assert Bundle.decode(TEXT).encode() == TEXT
    assert TEXT.split(".")[0] == ROOT.encode()
    assert Bundle.decode(ONE) == Bundle(issue())


ROWS = [
    ("bare-root", encode_base64(ROOT.to_bytes()) + "." + TEXT.split(".")[1], None),
    ("bare-discharge", TEXT.split(".")[0] + "." + encode_base64(BUNDLE.discharges[0].to_bytes()), None),
    ("json-root-alone", json.dumps({"i": "a.b", "l": "x.y", "s64": "A" * 42 + "E"}), None),
    ("nothing", "", MalformedToken),
    ("dot", ".", MalformedToken),
    ("trailing-dot", TEXT + ".", MalformedToken),
    ("leading-dot", "." + TEXT, MalformedToken),
    ("two-dots", TEXT.replace(".", ".."), MalformedToken),
    ("comma", TEXT.replace(".", ","), DamagedToken),
    ("space", TEXT.replace(".", ". "), MalformedToken),
    ("cut-off", TEXT[:-1], DamagedToken),
    ("seventeen-discharges", ONE + ("." + ONE) * 17, LimitExceeded),
    ("thousands-of-dots", "." * 10_000, LimitExceeded),
    ("over-64-kib", "A" * 16_000 + ("." + "A" * 16_000) * 4, LimitExceeded),
    ("one-part-over-16-kib", ONE + "." + "A" * 16_385, LimitExceeded),
]


@pytest.mark.parametrize(("text", "error"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_bundle_row(text, error):
    with at_most(0.005):
        assert outcome(Bundle.decode, text) is error


def test_a_bundle_holds_at_most_sixteen_discharges():
    answers = [Macaroon.mint(b"k", b"%d" % n) for n in range(17)]
    assert len(Bundle(ROOT, answers[:16]).discharges) == 16
    assert outcome(Bundle, ROOT, answers) is LimitExceeded
    assert outcome(Bundle.bind, ROOT, answers) is LimitExceeded
    assert outcome(Bundle, ROOT, answers[:2], Limits(discharges=1)) is LimitExceeded
