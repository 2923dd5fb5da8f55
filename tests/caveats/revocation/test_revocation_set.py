"""Revocations: a token, a branch, a user; constant-time answers, and pruning never drops a live entry."""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats import (
    BranchRevocation,
    MalformedCaveat,
    RevocationSet,
    TokenRevocation,
    UserRevocation,
    new_token_id,
)
from caveats.revocation import entry_of, row_of
from caveats.token.identifier import milliseconds, ulid_time
from tests.support.law import HOUR, NOW, OTHER_TOKEN_ID, TOKEN_ID

LAST = NOW + HOUR
BRANCH, OTHER_BRANCH = b"b" * 16, b"c" * 16


def test_a_token_revocation_hits_its_token():
    revoked = RevocationSet([TokenRevocation(TOKEN_ID, LAST)])
    assert revoked.hits_token(TOKEN_ID)
    assert not revoked.hits_token(OTHER_TOKEN_ID)
    assert revoked.may_hit(TOKEN_ID, "alice")
    assert not revoked.may_hit(OTHER_TOKEN_ID, "alice")


def test_a_branch_revocation_names_the_branches_of_its_token():
    revoked = RevocationSet(
        [
            BranchRevocation(TOKEN_ID, BRANCH, LAST),
            BranchRevocation(TOKEN_ID, OTHER_BRANCH, LAST),
            BranchRevocation(TOKEN_ID, BRANCH, LAST),
        ]
    )
    assert set(revoked.branches_of(TOKEN_ID)) == {BRANCH, OTHER_BRANCH}
    assert revoked.branches_of(OTHER_TOKEN_ID) == ()
    assert not revoked.hits_token(TOKEN_ID)
    assert revoked.may_hit(TOKEN_ID, "alice")
    assert len(revoked) == 2


def test_a_user_revocation_hits_what_was_issued_up_to_its_moment():
    revoked = RevocationSet([UserRevocation("alice", NOW, LAST)])
    ids = {offset: new_token_id(NOW + timedelta(milliseconds=offset)) for offset in (-1000, 0, 1, 1000)}
    assert [revoked.hits_user("alice", token_id) for token_id in ids.values()] == [True, True, False, False]
    assert not revoked.hits_user("bob", ids[-1000])
    assert revoked.may_hit(TOKEN_ID, "alice")


def test_of_two_user_revocations_the_wider_counts_in_either_order():
    entries = [UserRevocation("alice", NOW, LAST + HOUR), UserRevocation("alice", NOW + HOUR, LAST)]
    for ordered in (entries, entries[::-1]):
        revoked = RevocationSet(ordered)
        assert revoked.hits_user("alice", new_token_id(NOW + HOUR))
        revoked.prune(LAST)
        assert revoked.hits_user("alice", new_token_id(NOW + HOUR))


def test_revoking_twice_is_revoking_once_and_the_later_expiry_counts():
    for make in (
        lambda until: TokenRevocation(TOKEN_ID, until),
        lambda until: BranchRevocation(TOKEN_ID, BRANCH, until),
        lambda until: UserRevocation("alice", NOW, until),
    ):
        for untils in ((LAST, LAST + HOUR), (LAST + HOUR, LAST)):
            revoked = RevocationSet(map(make, untils))
            assert len(revoked) == 1
            assert revoked.prune(LAST + HOUR / 2) == 0
            assert revoked.prune(LAST + HOUR) == 1


BREATH = 0.0001
"""Seconds between two rounds of a thread that asks: without it those that add may wait for the lock for ever."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FAR = [
    datetime.min,
    datetime(1960, 1, 1),
    datetime(1970, 1, 1),
    datetime(1970, 1, 1, 1),
    datetime(9999, 12, 31, 23),
    datetime.max,
]


@pytest.mark.parametrize("moment", [moment.replace(tzinfo=UTC) for moment in FAR], ids=str)
def test_any_moment_can_be_kept(moment):
    revoked = RevocationSet(
        [
            TokenRevocation(TOKEN_ID, moment),
            BranchRevocation(TOKEN_ID, BRANCH, moment),
            BranchRevocation(TOKEN_ID, OTHER_BRANCH, moment),
            UserRevocation("alice", moment, moment),
        ]
    )
    assert len(revoked) == 4
    assert revoked.hits_user("alice", "0" * 26)
    gone = revoked.prune(EPOCH)
    assert gone == (4 if moment <= EPOCH else 0)
    assert gone + revoked.prune(NOW) == (4 if moment < NOW else 0)


moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 3)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(expiry=moments, now=moments)
def test_prune_never_drops_a_live_entry_and_drops_a_dead_one_within_the_hour(expiry, now):
    revoked = RevocationSet(
        [
            TokenRevocation(TOKEN_ID, expiry),
            BranchRevocation(TOKEN_ID, BRANCH, expiry),
            UserRevocation("alice", NOW, expiry),
        ]
    )
    gone = revoked.prune(now)
    if now < expiry:
        assert gone == 0
        assert revoked.hits_token(TOKEN_ID)
        assert revoked.branches_of(TOKEN_ID) == (BRANCH,)
        assert revoked.hits_user("alice", TOKEN_ID)
    if now >= expiry + HOUR:
        assert gone == 3
        assert not revoked.may_hit(TOKEN_ID, "alice")


def test_pruning_keeps_the_live_branches_of_a_token():
    revoked = RevocationSet(
        [BranchRevocation(TOKEN_ID, BRANCH, NOW), BranchRevocation(TOKEN_ID, OTHER_BRANCH, LAST)]
    )
    assert revoked.prune(NOW) == 1
    assert revoked.branches_of(TOKEN_ID) == (OTHER_BRANCH,)


@pytest.mark.parametrize("live", [1, 7, 8, 9, 20])
def test_a_set_that_was_pruned_is_as_one_that_never_knew_the_dead(live):
    """In its answers, its memory and its cost: up to eight branches are one byte string, more are a dict."""
    entries = [BranchRevocation(TOKEN_ID, bytes([n]) * 16, LAST + HOUR) for n in range(live)]
    pruned = RevocationSet(
        [*entries, *(BranchRevocation(TOKEN_ID, bytes([n]) * 16, NOW) for n in range(50, 70))]
    )
    assert pruned.prune(NOW) == 20
    [known] = pruned._branches.values()
    assert isinstance(known, bytes) == (live <= 8)
    assert pruned._branches == RevocationSet(entries)._branches


def test_the_sequence_is_the_feed_s_and_changes_count_every_entry():
    revoked = RevocationSet()
    assert (revoked.sequence, revoked.changes) == (0, 0)
    revoked.add(TokenRevocation(TOKEN_ID, LAST), sequence=7)
    revoked.add(TokenRevocation(OTHER_TOKEN_ID, LAST), sequence=5)
    assert (revoked.sequence, revoked.changes) == (7, 2)
    revoked.add(UserRevocation("alice", NOW, LAST))
    assert (revoked.sequence, revoked.changes) == (8, 3)
    assert repr(revoked) == "RevocationSet(3 entries, sequence 8)"


def test_a_million_entries_take_about_a_hundred_bytes_each():
    """Counted on 20,000; one in ten is of a branch."""
    count = 20_000
    moment = NOW
    revoked = RevocationSet()
    for number in range(count):
        token_id = ulid_time(milliseconds(moment)) + f"{number:016d}"
        if number % 10:
            revoked.add(TokenRevocation(token_id, LAST))
        else:
            revoked.add(BranchRevocation(token_id, BRANCH, LAST))
    tables = (revoked._tokens, revoked._branches, revoked._users)
    kept = sum(sys.getsizeof(table) for table in tables)
    kept += sum(sys.getsizeof(key) for table in tables for key in table)
    kept += sum(sys.getsizeof(records) for records in revoked._branches.values())
    kept += sum({id(hour): sys.getsizeof(hour) for hour in revoked._tokens.values()}.values())
    assert len(revoked) == count
    assert kept / count < 150


def test_the_branches_of_one_token_take_about_a_hundred_bytes_each():
    count = 20_000
    revoked = RevocationSet()
    for number in range(count):
        revoked.add(BranchRevocation(TOKEN_ID, number.to_bytes(16, "big"), LAST + number * HOUR / 100))
    (known,) = revoked._branches.values()
    assert isinstance(known, dict)
    kept = sys.getsizeof(known) + sum(map(sys.getsizeof, known))
    kept += sum({id(hour): sys.getsizeof(hour) for hour in known.values()}.values())
    assert len(revoked) == count
    assert kept / count < 150


def steps(work):
    """How many calls and returns of functions `work` takes: a measure of its cost that no other process disturbs."""
    taken = 0

    def count(frame, event, argument):
        nonlocal taken
        taken += 1

    gc.disable()  # hypothesis has functions called when it runs
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return taken


def test_the_cost_of_a_branch_does_not_depend_on_how_many_branches_its_token_has():
    def branch(number):
        return BranchRevocation(TOKEN_ID, number.to_bytes(16, "big"), LAST)

    revoked, costs = RevocationSet(), []
    for count in (100, 5_000):
        for number in range(revoked.branch_count(TOKEN_ID), count):
            revoked.add(branch(number))
        rows = [row_of(count + n, branch(count + n)) for n in range(10)]
        costs.append(
            [
                steps(lambda: revoked.add(branch(0))),
                steps(lambda rows=rows: revoked.add_rows(rows)),
                steps(lambda: revoked.hits_branch(TOKEN_ID, (BRANCH, OTHER_BRANCH))),
                steps(lambda: revoked.branch_count(TOKEN_ID)),
                steps(lambda: revoked.may_hit(TOKEN_ID, "alice")),
            ]
        )
    assert costs[0] == costs[1]


changes = st.lists(
    st.tuples(st.integers(0, 25), st.integers(0, 5), st.sampled_from([TOKEN_ID, OTHER_TOKEN_ID])), max_size=60
)


@given(changes, st.integers(0, 5))
def test_few_branches_and_many_follow_the_same_law(entries, pruned):
    """A dict of sets and the latest hour is the model."""
    revoked, model = RevocationSet(), {}
    for number, hours, token_id in entries:
        branch_id = number.to_bytes(16, "big")
        revoked.add(BranchRevocation(token_id, branch_id, NOW + hours * HOUR))
        model[token_id, branch_id] = max(hours, model.get((token_id, branch_id), 0))
    for hour in (None, pruned):
        if hour is not None:
            gone = {key for key, last in model.items() if last <= hour}
            assert revoked.prune(NOW + hour * HOUR) == len(gone)
            model = {key: last for key, last in model.items() if key not in gone}
        again = RevocationSet()
        for rows in revoked.rows(7):
            again.add_rows(rows)
        for found in (revoked, again):
            assert len(found) == len(model)
            for token_id in (TOKEN_ID, OTHER_TOKEN_ID):
                branches = {branch_id for name, branch_id in model if name == token_id}
                assert set(found.branches_of(token_id)) == branches
                assert found.branch_count(token_id) == len(branches)
                for number in range(26):
                    branch_id = number.to_bytes(16, "big")
                    assert found.hits_branch(token_id, (BRANCH, branch_id)) == (branch_id in branches)


def test_it_can_be_counted_while_others_add_and_the_collector_calls_somebody_back():
    """The collector may run in the middle of a copy, its callbacks are Python, and then other threads get their turn."""
    revoked, done = RevocationSet(), threading.Event()

    def add():
        for number in range(20_000):
            if done.is_set():
                break
            revoked.add(BranchRevocation(f"01KAJQ{number:020d}", bytes(16), LAST))

    def give_way(phase, info):
        time.sleep(0)

    adding, thresholds = threading.Thread(target=add), gc.get_threshold()
    adding.start()
    gc.callbacks.append(give_way)
    gc.set_threshold(1)
    try:
        counts = [len(revoked) for _ in range(50)]
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(give_way)
        done.set()
        adding.join()
    assert counts == sorted(counts)


def test_many_threads_add_prune_and_ask():
    revoked = RevocationSet()
    errors = []
    done = threading.Event()

    def add(offset):
        for number in range(500):
            token_id = f"01KAJQ{offset:04d}{number:016d}"
            revoked.add(TokenRevocation(token_id, LAST))
            revoked.add(BranchRevocation(token_id, number.to_bytes(16, "big"), NOW - HOUR))
            revoked.add(UserRevocation(f"user-{offset}-{number}", NOW, LAST))

    def ask():
        while not done.wait(BREATH):
            len(revoked)
            repr(revoked)
            revoked.may_hit(TOKEN_ID, "user-1-1")
            revoked.branches_of(TOKEN_ID)
            revoked.hits_branch(TOKEN_ID, (BRANCH,))
            revoked.hits_user("user-1-1", TOKEN_ID)

    def prune():
        while not done.wait(BREATH):
            revoked.prune(NOW)

    def guarded(work, *arguments):
        def run():
            try:
                work(*arguments)
            except BaseException as error:
                errors.append(error)

        return threading.Thread(target=run)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        adding = [guarded(add, offset) for offset in range(3)]
        others = [guarded(ask), guarded(prune)]
        for thread in adding + others:
            thread.start()
        for thread in adding:
            thread.join()
        done.set()
        for thread in others:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not errors
    revoked.prune(NOW)
    assert len(revoked) == 3000
    assert revoked.changes == 4500
    assert all(revoked.hits_token(f"01KAJQ{o:04d}{n:016d}") for o in range(3) for n in range(500))


def test_what_is_known_can_be_written_down_and_taken_in_again():
    """Without sequences, and with expiries to the hour: it hits the same, and nothing ends early."""
    revoked = RevocationSet(
        [
            TokenRevocation(TOKEN_ID, LAST),
            BranchRevocation(OTHER_TOKEN_ID, BRANCH, LAST + HOUR / 2),
            BranchRevocation(OTHER_TOKEN_ID, OTHER_BRANCH, datetime.max.replace(tzinfo=UTC)),
            UserRevocation("alice", NOW, datetime.max.replace(tzinfo=UTC)),
            UserRevocation("bob", datetime.max.replace(tzinfo=UTC), LAST),
            UserRevocation("carol", datetime.min.replace(tzinfo=UTC), LAST),
            TokenRevocation(new_token_id(NOW), datetime.max.replace(tzinfo=UTC)),
        ]
    )
    pages = list(revoked.rows(2))
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    assert {row[0] for page in pages for row in page} == {0}
    again = RevocationSet()
    for page in pages:
        again.add_rows(json.loads(json.dumps(page)))
    assert (again._tokens, again._branches, again._users) == (
        revoked._tokens,
        revoked._branches,
        revoked._users,
    )
    assert list(again.rows()) == [[row for page in pages for row in page]]
    assert list(RevocationSet().rows()) == []


def test_rows_that_are_none_stop_where_they_stand():
    revoked = RevocationSet()
    good = row_of(1, TokenRevocation(TOKEN_ID, LAST))
    with pytest.raises(MalformedCaveat):
        revoked.add_rows([good, [2, "x"], row_of(3, TokenRevocation(OTHER_TOKEN_ID, LAST))])
    assert revoked.hits_token(TOKEN_ID)
    assert not revoked.hits_token(OTHER_TOKEN_ID)


def test_rows_by_the_thousand_are_taken_in_all():
    revoked = RevocationSet()
    rows = [row_of(n, TokenRevocation(f"01KAJQ0000{n:016d}", LAST)) for n in range(1, 1202)]
    revoked.add_rows(rows)
    assert (len(revoked), revoked.sequence, revoked.changes) == (1201, 1201, 1201)


def test_many_branches_of_one_token_are_written_down_and_forgotten_as_few_are():
    hours = {number.to_bytes(16, "big"): NOW + HOUR * (1 + number % 2) for number in range(20)}
    many = RevocationSet(BranchRevocation(TOKEN_ID, branch, until) for branch, until in hours.items())
    [rows] = many.rows()
    assert {row[4] for row in rows} == {branch.hex() for branch in hours}
    again = RevocationSet()
    again.add_rows(rows)
    assert sorted(again.branches_of(TOKEN_ID)) == sorted(hours)
    assert many.prune(NOW + HOUR) == 10
    assert sorted(many.branches_of(TOKEN_ID)) == sorted(b for b, until in hours.items() if until > NOW + HOUR)


def test_what_is_written_down_is_what_was_known_at_the_beginning():
    """Pages of rows are read while others revoke: many branches are a dict, which must not grow meanwhile."""
    revoked = RevocationSet(BranchRevocation(TOKEN_ID, bytes([n]) * 16, LAST) for n in range(20))
    pages = revoked.rows(5)
    rows = next(pages)
    for n in range(20, 40):
        revoked.add(BranchRevocation(TOKEN_ID, bytes([n]) * 16, LAST))
    rows += [row for page in pages for row in page]
    assert {row[4] for row in rows} == {(bytes([n]) * 16).hex() for n in range(20)}
    assert revoked.branch_count(TOKEN_ID) == 40


@pytest.mark.parametrize("branches", [1, 12], ids=["few branches", "many branches"])
def test_what_another_set_lacks_is_given_as_rows(branches):
    """By what is revoked, and for how long: an entry that is forgotten earlier does not stand for a later one."""
    entries = [
        TokenRevocation(OTHER_TOKEN_ID, LAST),
        UserRevocation("alice", NOW, LAST),
        *(BranchRevocation(TOKEN_ID, bytes([n]) * 16, LAST) for n in range(branches)),
    ]
    whole = RevocationSet(entries)
    assert list(whole.rows_missing_from(RevocationSet(entries))) == []
    assert list(whole.rows_missing_from(RevocationSet())) == [row for rows in whole.rows() for row in rows]
    for left_out in entries:
        rest = RevocationSet([entry for entry in entries if entry != left_out])
        (row,) = whole.rows_missing_from(rest)
        assert replace(entry_of(row)[1], expires_at=LAST) == left_out
        rest.add(replace(left_out, expires_at=LAST - 2 * HOUR))
        assert list(whole.rows_missing_from(rest)) == [row]
        rest.add(replace(left_out, expires_at=LAST + 2 * HOUR))
        assert list(whole.rows_missing_from(rest)) == []


def test_an_earlier_time_of_a_user_does_not_stand_for_a_later_one():
    later = RevocationSet([UserRevocation("alice", NOW, LAST)])
    earlier = RevocationSet([UserRevocation("alice", NOW - timedelta(milliseconds=1), LAST)])
    assert len(list(later.rows_missing_from(earlier))) == 1
    assert list(earlier.rows_missing_from(later)) == []
