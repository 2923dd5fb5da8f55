"""Pages of the revocation feed: whoever holds the audience key can tell that one is genuine, whole and fresh."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from law_support import HOUR, KEYRING, MASTER, NOW, OTHER_TOKEN_ID, TOKEN_ID, outcome

from caveats import (
    AudienceKeyring,
    BranchRevocation,
    MasterKey,
    MasterKeyring,
    RejectedDelivery,
    RevocationSet,
    TokenRevocation,
    UserRevocation,
    new_token_id,
)
from caveats.feed import (
    Page,
    UnknownSeal,
    check_reader,
    open_page,
    open_rows,
    page_text,
    prove_reader,
    seal_page,
    seal_text,
)
from caveats.revocation import entry_of

KEYS = KEYRING.export("photos")
KEY = MASTER.audience_key("photos")
ENTRIES = (
    (3, TokenRevocation(TOKEN_ID, NOW + HOUR)),
    (5, BranchRevocation(OTHER_TOKEN_ID, b"b" * 16, NOW + HOUR)),
    (6, UserRevocation("älice='x'", NOW, NOW + HOUR)),
)
PAGE = Page(epoch=2, after=2, upto=6, last=9, at=NOW, keys=("k1", "k2"), entries=ENTRIES)
LINE = seal_page(PAGE, KEY)
NOT_OURS = (RejectedDelivery, UnknownSeal)


def test_a_page_survives_the_way():
    assert open_page(LINE, KEYS) == PAGE
    assert open_page(seal_page(replace(PAGE, entries=()), KEY), KEYS).entries == ()
    assert LINE.isascii()
    assert "\n" not in LINE


def test_the_text_of_a_page_is_one_and_its_seal_is_the_audience_s():
    other = MASTER.audience_key("thumbs")
    assert seal_text(page_text(PAGE), KEY) == LINE
    assert LINE.split(" ", 2)[2] == seal_page(PAGE, other).split(" ", 2)[2]
    assert outcome(open_page, seal_page(PAGE, other), KEYS) in NOT_OURS
    assert outcome(open_page, LINE, KEYRING.export("thumbs")) in NOT_OURS


def test_another_master_key_s_page_is_rejected():
    forged = seal_page(PAGE, MasterKey("k1", b"x" * 32).audience_key("photos"))
    assert outcome(open_page, forged, KEYS) in NOT_OURS
    assert outcome(open_page, LINE, MasterKeyring([MasterKey("k2", b"x" * 32)]).export("photos")) in NOT_OURS
    assert outcome(open_page, LINE, AudienceKeyring("photos", [])) in NOT_OURS


def test_any_changed_character_is_rejected():
    for at in range(len(LINE)):
        for other in "0aA \n":
            changed = LINE[:at] + other + LINE[at + 1 :]
            if changed != LINE:
                assert outcome(open_page, changed, KEYS) in NOT_OURS, at


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        "k1",
        "k1 ",
        "k1  ",
        "k1 zz {}",
        "k1 é {}",
        "k1 00 \ud800",
        LINE[:-1],
        LINE + " ",
        " " + LINE,
        "k" * 10_000,
    ],
)
def test_what_is_no_page_is_rejected(line):
    assert outcome(open_page, line, KEYS) in NOT_OURS


MEMBERS = json.loads(page_text(PAGE))
NEWER = [
    ("list", "[]"),
    ("null", "null"),
    ("no-json", "{"),
    ("deep", "[" * 100_000),
    *[(f"no-{name}", json.dumps({k: v for k, v in MEMBERS.items() if k != name})) for name in MEMBERS],
    *[
        (name, json.dumps({**MEMBERS, **change}))
        for name, change in {
            "at-text": {"at": "now"},
            "at-null": {"at": None},
            "at-negative": {"at": -1},
            "at-float": {"at": 1.5},
            "epoch-true": {"epoch": True},
            "upto-text": {"upto": "6"},
            "keys-text": {"keys": "k1"},
            "keys-ill": {"keys": ["k0"]},
            "keys-null": {"keys": None},
            "entries-null": {"entries": None},
            "entry-null": {"entries": [None]},
            "entry-empty": {"entries": [[]]},
            "entry-short": {"entries": [[1, "t", 0]]},
            "entry-unknown": {"entries": [[1, "x", 0, TOKEN_ID]]},
            "entry-no-token-id": {"entries": [[1, "t", 0, "x"]]},
            "entry-branch-no-hex": {"entries": [[1, "b", 0, TOKEN_ID, "zz"]]},
            "entry-branch-short": {"entries": [[1, "b", 0, TOKEN_ID, "00"]]},
            "entry-user-empty": {"entries": [[1, "u", 0, "", 0]]},
            "entry-expires-text": {"entries": [[1, "t", "x", TOKEN_ID]]},
            "entry-expires-huge": {"entries": [[1, "t", 10**30, TOKEN_ID]]},
            "entry-expires-beyond": {"entries": [[1, "t", 10**12, TOKEN_ID]]},
            "entry-up-to-huge": {"entries": [[1, "u", 0, "x", 10**30]]},
            "entry-up-to-negative": {"entries": [[1, "u", 0, "x", -1]]},
            "entry-up-to-text": {"entries": [[1, "u", 0, "x", "0"]]},
            "entry-user-null": {"entries": [[1, "u", 0, None, 0]]},
            "entry-long": {"entries": [[1, "t", 0, TOKEN_ID, None]]},
            "entry-longer": {"entries": [[1, "b", 0, TOKEN_ID, "00" * 16, 1]]},
            "entry-sequence-text": {"entries": [["1", "t", 0, TOKEN_ID]]},
            "entry-sequence-negative": {"entries": [[-1, "t", 0, TOKEN_ID]]},
            "entry-sequence-true": {"entries": [[True, "t", 0, TOKEN_ID]]},
            "entry-branch-upper": {"entries": [[1, "b", 0, TOKEN_ID, "AB" * 16]]},
            "entry-object": {"entries": [{"a": 1, "b": 2, "c": 3, "d": 4}]},
        }.items()
    ],
]


@pytest.mark.parametrize("text", [row[1] for row in NEWER], ids=[row[0] for row in NEWER])
def test_an_authentic_page_of_another_version_is_rejected(text):
    assert outcome(open_page, seal_text(text, KEY), KEYS) in NOT_OURS


def test_the_entries_of_a_page_are_read_apart_into_a_set():
    page, rows = open_rows(LINE, KEYS)
    assert page == replace(PAGE, entries=())
    assert [entry_of(row) for row in rows] == list(ENTRIES)
    taken = RevocationSet()
    taken.add_rows(rows)
    assert (len(taken), taken.sequence, taken.changes) == (3, 6, 3)
    later = RevocationSet()
    later.add_rows(rows, after=5)
    assert (len(later), later.sequence) == (1, 6)


def test_a_key_that_the_reader_lacks_is_named():
    with pytest.raises(UnknownSeal, match="'k9'"):
        open_page("k9" + LINE[2:], KEYS)


moments = st.datetimes().map(lambda moment: moment.replace(tzinfo=UTC))


@given(expires=moments, up_to=moments, offset=st.integers(-2, 2))
def test_what_is_revoked_here_is_revoked_there(expires, up_to, offset):
    """The rounding on the way neither lets an entry end early nor moves the moment that users are revoked up to."""
    entries = (
        (1, TokenRevocation(TOKEN_ID, expires)),
        (2, BranchRevocation(TOKEN_ID, b"b" * 16, expires)),
        (3, UserRevocation("alice", up_to, expires)),
    )
    arrived = open_page(seal_page(replace(PAGE, entries=entries), KEY), KEYS).entries
    assert [sequence for sequence, _ in arrived] == [1, 2, 3]
    last = datetime.max.replace(tzinfo=UTC, microsecond=0)
    for _, entry in arrived:
        assert entry.expires_at >= min(max(expires, datetime(1970, 1, 1, tzinfo=UTC)), last)
        assert entry.expires_at - max(expires, datetime(1970, 1, 1, tzinfo=UTC)) < timedelta(seconds=1)
    here, there = RevocationSet(entry for _, entry in entries), RevocationSet(entry for _, entry in arrived)
    near = NOW if up_to.year in (1, 9999) else up_to + timedelta(milliseconds=offset)
    token_id = new_token_id(near)
    assert here.hits_user("alice", token_id) is there.hits_user("alice", token_id)


# whoever reads the feed shows that it may


def test_a_reader_proves_that_it_holds_the_audience_key():
    proof = prove_reader(KEY, NOW)
    assert check_reader(proof, KEYS, NOW)
    assert check_reader(proof, KEYS, NOW + timedelta(seconds=300))
    assert check_reader(proof, KEYS, NOW - timedelta(seconds=300))
    assert KEY.secret.hex() not in proof


PROOF = prove_reader(KEY, NOW)
REFUSED = [
    ("nothing", ""),
    ("spaces", "   "),
    ("too-late", prove_reader(KEY, NOW - timedelta(seconds=301))),
    ("too-early", prove_reader(KEY, NOW + timedelta(seconds=301))),
    ("another-audience", prove_reader(MASTER.audience_key("thumbs"), NOW)),
    ("another-audience-s-name", "thumbs" + PROOF[6:]),
    ("another-key", prove_reader(MasterKey("k1", b"x" * 32).audience_key("photos"), NOW)),
    ("unknown-key", PROOF.replace(" k1 ", " k2 ")),
    ("no-key", PROOF.replace(" k1 ", "  ")),
    ("another-minute", PROOF.replace(str(int(NOW.timestamp())), str(int(NOW.timestamp()) + 1))),
    ("arabic-digits", PROOF.replace(str(int(NOW.timestamp())), "١٧")),
    ("superscript", PROOF.replace(str(int(NOW.timestamp())), "²")),
    ("signed", PROOF.replace(str(int(NOW.timestamp())), "+" + str(int(NOW.timestamp())))),
    ("endless", PROOF.replace(str(int(NOW.timestamp())), "9" * 5000)),
    ("cut", PROOF[:-1]),
    ("more", PROOF + "0"),
    ("five-parts", PROOF + " x"),
    ("mac-not-ascii", PROOF[:-1] + "é"),
    ("mac-surrogate", PROOF[:-1] + "\ud800"),
    ("mac-upper", PROOF[:-64] + PROOF[-64:].upper()),
]


@pytest.mark.parametrize("proof", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_proof_that_is_none_is_refused(proof):
    assert check_reader(proof, KEYS, NOW) is False
