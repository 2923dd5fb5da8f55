"""The feed's pages: the service makes them, whoever passes them on can neither forge nor bend one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats import (
    AudienceKey,
    AudienceKeyring,
    BranchRevocation,
    MasterKey,
    MasterKeyring,
    RejectedDelivery,
    Revocation,
    RevocationSet,
    TokenRevocation,
    UserRevocation,
    new_token_id,
)
from caveats.revocation import (
    Page,
    UnknownSeal,
    check_reader,
    entry_of,
    open_rows,
    page_text,
    prove_reader,
    row_of,
    rows_text,
    seal_text,
)

NOW = datetime(2026, 11, 21, 12, 0, 0, 123_000, tzinfo=UTC)
LAST = datetime(2027, 1, 1, tzinfo=UTC)
MASTERS = MasterKeyring([MasterKey("k1", bytes(range(1, 33)))])
OTHERS = MasterKeyring([MasterKey("k1", bytes(range(3, 35)))])
KEY = MASTERS.active.audience_key("photos")
RING = MASTERS.export("photos")
TOKEN, OTHER_TOKEN = new_token_id(NOW), new_token_id(NOW)
ENTRIES: tuple[tuple[int, Revocation], ...] = (
    (8, TokenRevocation(TOKEN, LAST)),
    (9, BranchRevocation(OTHER_TOKEN, b"b" * 16, LAST)),
    (12, UserRevocation("zoë", NOW, LAST)),
)
PAGE = Page(epoch=2, after=7, upto=12, last=12, at=NOW, keys=("k1",), entries=ENTRIES)


def seal_page(page: Page, key: AudienceKey) -> str:
    return seal_text(page_text(page), key)


def open_page(line: str, keyring: AudienceKeyring) -> Page:
    page, rows = open_rows(line, keyring)
    return replace(page, entries=tuple(map(entry_of, rows)))


LINE = seal_page(PAGE, KEY)


def sealed(members: object) -> str:
    return seal_text(json.dumps(members), KEY)


GOOD: dict[str, Any] = json.loads(page_text(PAGE))

moments = st.integers(0, 4_000_000_000_000).map(
    lambda ms: datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)
)
seconds = st.integers(0, 4_000_000_000).map(lambda s: datetime.fromtimestamp(s, UTC))
token_ids = st.binary(min_size=10, max_size=10).map(lambda raw: new_token_id(NOW, lambda _: raw))
users = st.text(min_size=1, max_size=20).filter(
    lambda text: text.isprintable() and text.strip() == text and " = " not in text
)
revocations = st.one_of(
    st.builds(TokenRevocation, token_ids, seconds),
    st.builds(BranchRevocation, token_ids, st.binary(min_size=16, max_size=16), seconds),
    st.builds(UserRevocation, users, moments, seconds),
)


def test_what_was_sealed_is_opened():
    assert open_page(LINE, RING) == PAGE


def test_a_page_and_its_rows_apart_from_it_are_the_same_text():
    rows = [row_of(number, entry) for number, entry in ENTRIES]
    assert rows_text(replace(PAGE, entries=()), rows) == page_text(PAGE)


@given(st.lists(revocations, max_size=20), moments, st.integers(1, 2**50))
def test_every_page_reads_back_as_it_was(entries: list[Revocation], at: datetime, after: int):
    numbered = tuple(enumerate(entries, after + 1))
    page = Page(1, after, after + len(entries), after + len(entries), at, ("k1", "k2"), numbered)
    line = seal_page(page, KEY)
    assert line.isascii()
    assert "\n" not in line
    assert open_page(line, RING) == page


@given(st.lists(revocations, max_size=30))
def test_rows_taken_in_at_once_are_what_entries_are_one_by_one(entries: list[Revocation]):
    one_by_one, at_once, from_rows = RevocationSet(), RevocationSet(), RevocationSet()
    rows = [row_of(number, entry) for number, entry in enumerate(entries, 1)]
    for row in rows:
        number, entry = entry_of(row)
        one_by_one.add(entry, number)
    at_once.add_rows(rows)
    for some in at_once.rows(size=7):
        from_rows.add_rows(json.loads(json.dumps(some)))
    assert (at_once.sequence, len(at_once)) == (one_by_one.sequence, len(one_by_one))
    for entry in entries:
        for found in (at_once, from_rows):
            if isinstance(entry, TokenRevocation):
                assert found.hits_token(entry.token_id)
            elif isinstance(entry, BranchRevocation):
                assert set(found.branches_of(entry.token_id)) == set(one_by_one.branches_of(entry.token_id))
            else:
                for offset in (-1, 0, 1):
                    issued = new_token_id(entry.issued_up_to + timedelta(milliseconds=offset))
                    assert found.hits_user(entry.user, issued) == one_by_one.hits_user(entry.user, issued)
    for day in range(0, 50_000, 5_000):
        at = datetime.fromtimestamp(day * 86_400, UTC)
        counts = set()
        for found in (one_by_one, at_once, from_rows):
            found.prune(at)
            counts.add(len(found))
        assert len(counts) == 1


def test_rows_up_to_a_sequence_are_passed_over():
    taken = RevocationSet()
    taken.add_rows([row_of(number, entry) for number, entry in ENTRIES], after=8)
    assert not taken.hits_token(TOKEN)
    assert taken.branches_of(OTHER_TOKEN)
    assert (len(taken), taken.changes, taken.sequence) == (2, 2, 12)


@given(st.integers(0, len(LINE) - 1), st.integers(1, 127))
def test_any_changed_character_refuses(place: int, change: int):
    damaged = LINE[:place] + chr(ord(LINE[place]) ^ change) + LINE[place + 1 :]
    with pytest.raises(RejectedDelivery):
        open_page(damaged, RING)


@given(st.integers(0, len(LINE) - 1))
def test_any_prefix_refuses(size: int):
    with pytest.raises(RejectedDelivery):
        open_page(LINE[:size], RING)


@pytest.mark.parametrize(
    "text", ["", " ", "k1", "k1 ", "k1  {}", "k1 zz {}", "k1 \u0660 {}", "k1 \ud800 {}", "\x00" * 9]
)
def test_what_is_no_page_is_refused(text: str):
    with pytest.raises(RejectedDelivery):
        open_page(text, RING)


def test_a_page_in_upper_case_hex_is_another_text():
    key_id, mac, text = LINE.split(" ", 2)
    with pytest.raises(RejectedDelivery):
        open_page(f"{key_id} {mac.upper()} {text}", RING)


def test_another_audiences_page_is_refused():
    with pytest.raises(RejectedDelivery):
        open_page(seal_page(PAGE, MASTERS.active.audience_key("thumbs")), RING)


def test_a_page_under_another_masters_key_of_the_same_name_is_refused():
    with pytest.raises(RejectedDelivery) as refused:
        open_page(seal_page(PAGE, OTHERS.active.audience_key("photos")), RING)
    assert not isinstance(refused.value, UnknownSeal)


def test_a_page_under_a_key_that_is_not_here_says_so():
    with pytest.raises(UnknownSeal, match="k2"):
        open_page(seal_page(PAGE, MasterKey("k2", bytes(range(1, 33))).audience_key("photos")), RING)
    with pytest.raises(UnknownSeal):
        open_page(LINE, AudienceKeyring("photos", ()))


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([], id="a list"),
        pytest.param("page", id="text"),
        pytest.param(None, id="nothing"),
        *(pytest.param({k: v for k, v in GOOD.items() if k != name}, id=f"without {name}") for name in GOOD),
        *(
            pytest.param({**GOOD, name: wrong}, id=f"{name}: {wrong!r}")
            for name in ("epoch", "after", "upto", "last", "at")
            for wrong in ("1", 1.0, True, None, -1)
        ),
        pytest.param({**GOOD, "keys": "k1"}, id="keys as text"),
        pytest.param({**GOOD, "keys": [1]}, id="a key id that is none"),
        pytest.param({**GOOD, "entries": {}}, id="entries as an object"),
    ],
)
def test_an_authentic_page_of_another_form_is_refused(members: object):
    with pytest.raises(RejectedDelivery):
        open_rows(sealed(members), RING)


@pytest.mark.parametrize(
    "text",
    ["{", "", "[" * 100_000, '{"epoch": 1' + "0" * 5000 + "}"],
    ids=["cut", "empty", "deep", "long number"],
)
def test_authentic_text_that_is_no_json_is_refused(text: str):
    with pytest.raises(RejectedDelivery):
        open_page(seal_text(text, KEY), RING)


def test_a_newer_service_may_say_more():
    assert open_page(sealed({**GOOD, "more": 1}), RING) == PAGE


def test_the_proof_of_a_reader_holds_for_its_audience_and_for_a_while():
    proof = prove_reader(KEY, NOW)
    assert check_reader(proof, RING, NOW) == KEY.key_id
    for seconds_off in (-300, 300):
        assert check_reader(proof, RING, NOW.replace(microsecond=0) + timedelta(seconds=seconds_off))
    for seconds_off in (-302, 302):
        assert not check_reader(proof, RING, NOW + timedelta(seconds=seconds_off))
    assert not check_reader(proof, MASTERS.export("thumbs"), NOW)
    assert not check_reader(proof, OTHERS.export("photos"), NOW)
    assert not check_reader(proof, AudienceKeyring("photos", ()), NOW)


@pytest.mark.parametrize(
    "proof",
    [
        "",
        "photos",
        "photos k1 1",
        "photos k1 1 2 3",
        "photos k1 -1 00",
        "photos k1 \u0661 00",
        "photos k1 1000000000000000 00",
        f"photos k1 {int(NOW.timestamp())} ",
        f"photos k1 {int(NOW.timestamp())} \udcff",
        f"photos k9 {int(NOW.timestamp())} 00",
    ],
)
def test_what_is_no_proof_proves_nothing(proof: str):
    assert not check_reader(proof, RING, NOW)


@given(st.integers(0, 3), st.integers(1, 100))
def test_a_changed_proof_proves_nothing(part: int, change: int):
    parts = prove_reader(KEY, NOW).split(" ")
    word = parts[part]
    place = change % len(word)
    parts[part] = word[:place] + chr(33 + (ord(word[place]) - 33 + change % 90 + 1) % 94) + word[place + 1 :]
    own = " ".join(parts) == prove_reader(KEY, NOW)
    assert check_reader(" ".join(parts), RING, NOW) == (KEY.key_id if own else None)


def test_a_proof_seals_no_page_and_a_page_proves_no_reader():
    """Both are made with one key, under labels that keep them apart."""
    at = str(int(NOW.timestamp()))
    assert not check_reader(f"photos k1 {at} {seal_text(at, KEY).split(' ')[1]}", RING, NOW)


def test_a_page_without_entries_is_as_good_as_any():
    beat = replace(PAGE, after=12, entries=())
    assert open_page(seal_page(beat, KEY), RING) == beat


@pytest.mark.parametrize("much", ["[]," * 20_000 + "[]", "{}," * 20_000 + "{}"], ids=["lists", "objects"])
def test_a_page_of_more_values_than_any_service_sends_is_refused_unread(much: str):
    text = f'{{"epoch":1,"after":0,"upto":1,"last":1,"at":1,"keys":[],"entries":[{much}]}}'
    key = MasterKeyring([MasterKey("k1", bytes(range(1, 33)))]).export("photos").keys[0]
    with pytest.raises(RejectedDelivery, match="cannot read"):
        open_rows(seal_text(text, key), AudienceKeyring("photos", [key]))
