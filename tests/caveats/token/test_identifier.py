"""`1.<key id>.<audience>.<token id>.<n>`: read exactly, or not ours."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from random import seed

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ulid import ULID

from caveats import Identifier, new_token_id
from caveats.token import is_audience, is_key_id, is_token_id, issue_time, parse_identifier
from caveats.token.identifier import from_milliseconds, milliseconds, ulid_time
from tests.support.law import NOW, PARTY, TOKEN_ID, issue

ROWS = [
    ("ours", f"1.k1.photos.{TOKEN_ID}.3", Identifier("k1", "photos", TOKEN_ID, 3)),
    ("longest", f"1.k999999999.{'a' * 32}.{TOKEN_ID}.99", Identifier("k999999999", "a" * 32, TOKEN_ID, 99)),
    ("nothing", "", None),
    ("version-2", f"2.k1.photos.{TOKEN_ID}.3", None),
    ("version-01", f"01.k1.photos.{TOKEN_ID}.3", None),
    ("no-version", f"k1.photos.{TOKEN_ID}.3", None),
    ("key-0", f"1.k0.photos.{TOKEN_ID}.3", None),
    ("key-01", f"1.k01.photos.{TOKEN_ID}.3", None),
    ("audience-upper", f"1.k1.Photos.{TOKEN_ID}.3", None),
    ("audience-empty", f"1.k1..{TOKEN_ID}.3", None),
    ("audience-33", f"1.k1.{'a' * 33}.{TOKEN_ID}.3", None),
    ("audience-dot", f"1.k1.a.b.{TOKEN_ID}.3", None),
    ("token-id-lower", f"1.k1.photos.{TOKEN_ID.lower()}.3", None),
    ("token-id-25", f"1.k1.photos.{TOKEN_ID[1:]}.3", None),
    ("token-id-27", f"1.k1.photos.{TOKEN_ID}0.3", None),
    ("token-id-overflow", f"1.k1.photos.8{TOKEN_ID[1:]}.3", None),
    ("token-id-letter-i", f"1.k1.photos.{TOKEN_ID[:-1]}I.3", None),
    ("token-id-letter-u", f"1.k1.photos.{TOKEN_ID[:-1]}U.3", None),
    ("n-0", f"1.k1.photos.{TOKEN_ID}.0", None),
    ("n-03", f"1.k1.photos.{TOKEN_ID}.03", None),
    ("n-100", f"1.k1.photos.{TOKEN_ID}.100", None),
    ("n-minus", f"1.k1.photos.{TOKEN_ID}.-3", None),
    ("n-plus", f"1.k1.photos.{TOKEN_ID}.+3", None),
    ("n-arabic", f"1.k1.photos.{TOKEN_ID}.٣", None),
    ("n-missing", f"1.k1.photos.{TOKEN_ID}.", None),
    ("trailing-newline", f"1.k1.photos.{TOKEN_ID}.3\n", None),
    ("leading-space", f" 1.k1.photos.{TOKEN_ID}.3", None),
    ("trailing-nul", f"1.k1.photos.{TOKEN_ID}.3\0", None),
]


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_identifier_row(text, expected):
    assert parse_identifier(text.encode()) == expected
    if expected is not None:
        assert expected.encode() == text.encode()


def test_bytes_that_are_no_text_are_not_ours():
    assert parse_identifier(b"\xff" * 40) is None


def test_the_time_in_a_token_id_sorts_as_the_time_does():
    earlier, later = new_token_id(NOW), new_token_id(NOW + timedelta(milliseconds=1))
    assert earlier[:10] < later[:10]


def test_a_token_id_carries_its_issue_time():
    assert Identifier("k1", "photos", new_token_id(NOW), 1).issued_at == NOW
    precise = NOW.replace(microsecond=123_999)
    assert issue_time(new_token_id(precise)) == NOW.replace(microsecond=123_000)
    assert new_token_id(precise).startswith(ulid_time(milliseconds(precise)))


def test_a_token_id_has_the_time_it_was_given_whatever_was_given_before():
    """User revocations compare these times: a generator that only counts upwards would falsify them."""
    for moment in (NOW, NOW - timedelta(days=9), NOW + timedelta(days=9), NOW):
        assert issue_time(new_token_id(moment)) == moment


def test_token_ids_of_one_moment_do_not_follow_from_each_other():
    ids = [new_token_id(NOW) for _ in range(64)]
    assert len({token_id[10:20] for token_id in ids}) == 64
    assert new_token_id(NOW, bytes) == ulid_time(milliseconds(NOW)) + "0" * 16


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks only where there are forks")
def test_workers_forked_in_one_millisecond_make_different_ids_and_nonces(tmp_path):
    """Catalogue row 63: a million ids of one millisecond by eight workers, and thousands of third-party caveats."""
    seed(7)
    token = issue()

    def work(number):
        seed(7)  # whoever seeds the generator that everybody knows changes nothing
        ids = [new_token_id(NOW) for _ in range(125_000)]
        vids = [token.require_discharge(PARTY).wire.caveats[-1].vid for _ in range(1000)]
        (tmp_path / f"{number}.ids").write_text("".join(ids))
        (tmp_path / f"{number}.nonces").write_bytes(b"".join(vid[:24] for vid in vids))

    children = []
    for number in range(8):
        child = os.fork()
        if child == 0:
            work(number)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    for kind, size, count in (("ids", 26, 1_000_000), ("nonces", 24, 8000)):
        data = b"".join((tmp_path / f"{number}.{kind}").read_bytes() for number in range(8))
        assert len({data[at : at + size] for at in range(0, len(data), size)}) == count


def test_times_beyond_all_calendars_are_the_ends_of_ours():
    assert issue_time("7" + "Z" * 25) == datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)
    assert issue_time("0" * 26) == datetime(1970, 1, 1, tzinfo=UTC)
    assert milliseconds(datetime(1960, 1, 1, tzinfo=UTC)) == 0
    assert ulid_time(0) == "0" * 10
    assert ulid_time(2**48 - 1) == "7" + "Z" * 9


@given(st.integers(0, 2**48 - 1))
def test_the_time_in_a_token_id_is_read_and_written_as_ulids_write_it(count):
    theirs = str(ULID.from_bytes(count.to_bytes(6, "big") + bytes(10)))
    assert ulid_time(count) == theirs[:10]
    assert issue_time(theirs) == from_milliseconds(count)


def test_the_small_grammars():
    assert is_audience("a-1")
    assert not is_audience("-a")
    assert is_key_id("k10")
    assert not is_key_id("k10\n")
    assert is_token_id(TOKEN_ID)
    assert not is_token_id(TOKEN_ID + "\n")
