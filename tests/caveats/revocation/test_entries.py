"""Entries: what each may hold, and their rows, which read back as the entries that they were made of."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from caveats import (
    BranchRevocation,
    MalformedCaveat,
    Revocation,
    RevocationSet,
    TokenRevocation,
    UserRevocation,
)
from caveats.revocation import entry_of, row_of
from caveats.revocation.entries import LAST_SECOND
from tests.support.law import HOUR, NOW, TOKEN_ID, outcome

LAST = NOW + HOUR
BRANCH = b"b" * 16

NOT_MADE = [
    ("token-id-lower", lambda: TokenRevocation(TOKEN_ID.lower(), LAST)),
    ("token-id-none", lambda: TokenRevocation(None, LAST)),
    ("token-id-short", lambda: BranchRevocation("x", BRANCH, LAST)),
    ("branch-short", lambda: BranchRevocation(TOKEN_ID, b"x", LAST)),
    ("branch-hex", lambda: BranchRevocation(TOKEN_ID, "62" * 8, LAST)),
    ("branch-17", lambda: BranchRevocation(TOKEN_ID, b"x" * 17, LAST)),
    ("user-empty", lambda: UserRevocation("", NOW, LAST)),
    ("user-none", lambda: UserRevocation(None, NOW, LAST)),
    ("naive-token", lambda: TokenRevocation(TOKEN_ID, datetime(2026, 1, 1))),
    ("naive-branch", lambda: BranchRevocation(TOKEN_ID, BRANCH, datetime(2026, 1, 1))),
    ("naive-user", lambda: UserRevocation("alice", datetime(2026, 1, 1), LAST)),
    ("naive-user-expiry", lambda: UserRevocation("alice", NOW, datetime(2026, 1, 1))),
    ("expiry-none", lambda: TokenRevocation(TOKEN_ID, None)),
    ("expiry-number", lambda: TokenRevocation(TOKEN_ID, 1_800_000_000)),
]


@pytest.mark.parametrize("make", [row[1] for row in NOT_MADE], ids=[row[0] for row in NOT_MADE])
def test_an_entry_that_could_hit_nothing_is_refused(make):
    assert outcome(make) is MalformedCaveat


SECOND = int(LAST.timestamp())
LAST_MOMENT = LAST_SECOND * 1000 + 999
"""The last millisecond of the year 9999."""


@pytest.mark.parametrize(
    ("entry", "row"),
    [
        (TokenRevocation(TOKEN_ID, LAST), [7, "t", SECOND, TOKEN_ID]),
        (BranchRevocation(TOKEN_ID, BRANCH, LAST), [7, "b", SECOND, TOKEN_ID, "62" * 16]),
        (UserRevocation("zoë", NOW, LAST), [7, "u", SECOND, "zoë", int(NOW.timestamp() * 1000)]),
    ],
    ids=["token", "branch", "user"],
)
def test_a_row_has_all_of_its_entry(entry: Revocation, row: list[Any]):
    assert row_of(7, entry) == row
    assert entry_of(row) == (7, entry)


def test_the_expiry_of_a_row_is_rounded_up_to_the_second():
    assert row_of(7, TokenRevocation(TOKEN_ID, LAST - timedelta(milliseconds=1)))[2] == SECOND


@pytest.mark.parametrize(
    "row",
    [
        [0, "t", 0, TOKEN_ID],
        [0, "t", LAST_SECOND, TOKEN_ID],
        [0, "u", SECOND, "alice", 0],
        [0, "u", SECOND, "alice", LAST_MOMENT],
    ],
)
def test_the_first_and_the_last_moment_can_be_written(row: Any):
    sequence, entry = entry_of(row)
    assert row_of(sequence, entry) == row
    revoked = RevocationSet()
    revoked.add_rows([row])
    assert len(revoked) == 1


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(None, id="nothing"),
        pytest.param(7, id="a number"),
        pytest.param([], id="empty"),
        pytest.param([1, "t", SECOND], id="no target"),
        pytest.param(["1", "t", SECOND, TOKEN_ID], id="sequence as text"),
        pytest.param([True, "t", SECOND, TOKEN_ID], id="sequence as a truth value"),
        pytest.param([-1, "t", SECOND, TOKEN_ID], id="negative sequence"),
        pytest.param([1, "t", 1.5, TOKEN_ID], id="half a second"),
        pytest.param([1, "t", -1, TOKEN_ID], id="before all time"),
        pytest.param([1, "t", LAST_SECOND + 1, TOKEN_ID], id="after the year 9999"),
        pytest.param([1, "x", SECOND, TOKEN_ID], id="another kind"),
        pytest.param([1, ["t"], SECOND, TOKEN_ID], id="a kind that is a list"),
        pytest.param([1, "t", SECOND, TOKEN_ID.lower()], id="lower case"),
        pytest.param([1, "t", SECOND, 7], id="a token id that is a number"),
        pytest.param([1, "t", SECOND, TOKEN_ID, ""], id="one too many"),
        pytest.param([1, "b", SECOND, TOKEN_ID], id="no branch"),
        pytest.param([1, "b", SECOND, TOKEN_ID, "62" * 15], id="a short branch"),
        pytest.param([1, "b", SECOND, TOKEN_ID, "62" * 17], id="a long branch"),
        pytest.param([1, "b", SECOND, TOKEN_ID, "zz" * 16], id="a branch that is no hex"),
        pytest.param([1, "b", SECOND, TOKEN_ID, "6B" * 16], id="a branch in upper case"),
        pytest.param([1, "b", SECOND, TOKEN_ID, 7], id="a branch that is a number"),
        pytest.param([1, "b", SECOND, "x", "62" * 16], id="a branch of no token"),
        pytest.param([1, "u", SECOND, "alice"], id="no moment"),
        pytest.param([1, "u", SECOND, "alice", "1"], id="a moment as text"),
        pytest.param([1, "u", SECOND, "alice", -1], id="a moment before all time"),
        pytest.param([1, "u", SECOND, "alice", 10**18], id="a moment after all time"),
        pytest.param([1, "u", SECOND, "alice", LAST_MOMENT + 1], id="a moment after the year 9999"),
        pytest.param([1, "u", SECOND, 7, 1], id="a user that is a number"),
        pytest.param([1, "u", SECOND, "", 1], id="nobody"),
        pytest.param([1, "u", SECOND, "a\nb", 1], id="a user with a line break"),
        pytest.param([1, "u", SECOND, "alice", 1, 2], id="two moments"),
    ],
)
def test_a_row_of_another_form_is_refused_in_both_ways(row: Any):
    with pytest.raises(MalformedCaveat):
        entry_of(row)
    with pytest.raises(MalformedCaveat):
        RevocationSet().add_rows([row])
