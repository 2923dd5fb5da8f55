"""Which scope covers which, and what two caveats leave together."""

from __future__ import annotations

import tracemalloc
from itertools import combinations_with_replacement, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats import Context, MalformedCaveat, Scope, effective, standard_checkers
from caveats.kinds import ScopePattern, parse_address, parse_scope
from caveats.kinds.scopes import MOST_PATTERNS, intersect, is_own_scope, reduce_patterns
from tests.support.law import NOW, at_most

COVERS = [
    ("photos:read", "photos:read", True),
    ("photos:read", "photos/42:read", True),
    ("photos:read", "photos/42/raw:read", True),
    ("photos:read", "photosX:read", False),
    ("photos:read", "photo:read", False),
    ("photos:read", "Photos:read", False),
    ("photos:read", "photos:write", False),
    ("photos:read", "photos:*", False),
    ("photos:read", "photos/*:read", True),
    ("photos:read", "*", False),
    ("photos/42:read", "photos:read", False),
    ("photos/42:read", "photos/420:read", False),
    ("photos/42:read", "photos/*:read", False),
    ("photos:*", "photos/42:write", True),
    ("photos:*", "photos:*", True),
    ("photos/*:read", "photos/42:read", True),
    ("photos/*:read", "photos/42/raw:read", True),
    ("photos/*:read", "photos/*:read", True),
    ("photos/*:read", "photos/42/*:read", True),
    ("photos/*:read", "photos:read", False),
    ("photos/*:read", "photosX/42:read", False),
    ("photos/*:*", "photos/42:read", True),
    ("*", "photos:read", True),
    ("*", "photos/42:*", True),
    ("*", "*", True),
    ("*", "caveats:admin", False),
    ("*", "caveats/users:read", False),
    ("*", "caveats/*:read", False),
    ("*", "caveatsX:read", True),
    ("*", "x/caveats:read", True),
    ("caveats:*", "caveats/users:read", True),
    ("caveats:*", "*", False),
    ("a.b:read", "a.b/c:read", True),
    ("a.b:read", "a-b:read", False),
]


@pytest.mark.parametrize(("wide", "narrow", "covered"), COVERS, ids=[f"{a}-{b}" for a, b, _ in COVERS])
def test_covering_row(wide, narrow, covered):
    assert parse_scope(wide).covers(parse_scope(narrow)) is covered
    held = standard_checkers().answer(Scope(wide), Context(now=NOW, scopes=(narrow,))) is None
    assert held is covered


@pytest.mark.parametrize(
    ("patterns", "needed", "granted"),
    [
        ("photos:read notes:write", ("photos:read", "notes:write"), True),
        ("photos:read notes:write", ("photos:read", "notes:read"), False),
        ("photos:read notes:write", ("notes:write",), True),
        ("photos:read", (), False),
        ("photos:*", (), False),
        ("*", (), True),
        ("photos:read *", (), True),
        ("*", ("",), False),
        ("*", ("photos",), False),
        ("*", ("photos:read", "not a scope"), False),
        ("photos:read", ("photos/../secret:read",), False),
        ("photos:read", ("photos/./x:read",), False),
        ("photos:read", ("photos//x:read",), False),
        ("photos:read", ("photos/42:read\n",), False),
    ],
)
def test_a_request_needs_all_its_scopes_covered(patterns, needed, granted):
    held = standard_checkers().answer(Scope(patterns), Context(now=NOW, scopes=needed)) is None
    assert held is granted


resources = st.lists(st.sampled_from(["a", "b", "caveats"]), min_size=1, max_size=3).map("/".join)
patterns = st.one_of(
    st.just(parse_scope("*")),
    st.builds(ScopePattern, resources, st.booleans(), st.sampled_from(["r", "w", "*"])),
)
several = st.lists(patterns, min_size=1, max_size=5)


def allowed(held, needed) -> bool:
    return any(pattern.covers(needed) for pattern in held)


@given(left=several, right=several, needed=patterns)
def test_an_intersection_allows_what_both_sides_allow(left, right, needed):
    both = allowed(left, needed) and allowed(right, needed)
    assert not allowed(intersect(left, right), needed) or both
    if needed.resource and needed.action != "*" and not needed.below_only:
        assert allowed(intersect(left, right), needed) is both


@given(held=several, needed=patterns)
def test_reducing_changes_nothing_that_is_allowed(held, needed):
    reduced = reduce_patterns(held)
    assert allowed(reduced, needed) is allowed(held, needed)
    assert reduce_patterns(reduced) == reduced
    assert set(reduced) <= set(held)


@given(one=patterns, other=patterns, third=patterns)
def test_covering_is_an_order(one, other, third):
    assert one.covers(one)
    if one.covers(other) and other.covers(third):
        assert one.covers(third)


@given(pattern=patterns)
def test_a_pattern_reads_back_as_it_is_written(pattern):
    assert parse_scope(str(pattern)) == pattern


def test_an_intersection_is_bounded_and_understated():
    left = [ScopePattern(f"a/{n}", False, "*") for n in range(300)]
    right = [ScopePattern("a", False, f"x{n}") for n in range(300)]
    both = intersect(left, right)
    assert len(both) == MOST_PATTERNS
    assert all(allowed(left, pattern) and allowed(right, pattern) for pattern in both)


def test_a_scope_of_any_length_is_judged_at_once_and_a_long_one_not_remembered():
    longest = "a/" * 510 + "a:r"
    assert len(longest) == 1023
    assert parse_scope(longest).action == "r"
    before = parse_scope.cache_info().currsize
    checkers = standard_checkers()
    for long in ("a" * 1_000_000, "a/" * 500_000 + "a:r"):
        with at_most(0.02):  # most of it to write the scope into the answer
            assert checkers.answer(Scope("*"), Context(now=NOW, scopes=(long,))) is not None
    assert parse_scope.cache_info().currsize == before


INTERSECTIONS = [
    ("a:r", "a:r", "a:r"),
    ("a:r", "a:w", ""),
    ("a:r", "b:r", ""),
    ("a:r", "a/b:r", "a/b:r"),
    ("a:*", "a/b:r", "a/b:r"),
    ("a:r", "a/b:*", "a/b:r"),
    ("a:r", "a/*:*", "a/*:r"),
    ("a/*:r", "a:r", "a/*:r"),
    ("a/*:r", "a/b:r", "a/b:r"),
    ("a/b/*:r", "a/*:r", "a/b/*:r"),
    ("a:r a:w", "a:*", "a:r a:w"),
    ("a/1:* a/2:*", "a:r a:w", "a/1:r a/1:w a/2:r a/2:w"),
    ("*", "a:r", "a:r"),
    ("*", "*", "*"),
    ("*", "caveats:r", ""),
    ("* caveats:r", "caveats:*", "caveats:r"),
    ("a:r b:w", "b:* a/1:*", "a/1:r b:w"),
]


@pytest.mark.parametrize(
    ("left", "right", "both"), INTERSECTIONS, ids=[f"{a}-{b}" for a, b, _ in INTERSECTIONS]
)
def test_intersection_row(left, right, both):
    one, other = ([parse_scope(word) for word in words.split(" ")] for words in (left, right))
    assert " ".join(map(str, intersect(one, other))) == both
    assert intersect(other, one) == intersect(one, other)


def test_the_authority_of_the_wordiest_token_is_worked_out_in_no_time():
    """Scopes that hold each other's actions apart make a product; 16 KiB of them must not be a way to keep us busy."""
    grid = [Scope(*[f"a/{n}:*" for n in range(120)], *[f"a:x{n}" for n in range(20)])] * 15
    turns = [Scope(*[f"a/{n}:*" for n in range(120)]), Scope(*[f"a:x{n}" for n in range(160)])] * 7
    for caveats in (grid, turns):
        with at_most(1):
            effective(caveats)


def test_a_pattern_that_another_covers_is_left_out():
    held = [
        parse_scope(word)
        for word in ("photos/42:read", "photos:read", "photos:*", "caveats:x", "*", "photos/*:*")
    ]
    assert list(map(str, reduce_patterns(held))) == ["*", "caveats:x"]
    assert list(map(str, reduce_patterns(held[:3]))) == ["photos:*"]


SMALL = [
    ScopePattern(resource, below_only, action)
    for resource, below_only, action in product(("a", "a/b", "a/b/c", "ab"), (False, True), ("r", "*"))
]
PAIRS = list(combinations_with_replacement(SMALL, 2))
ASKED = [
    parse_scope(f"{resource}:{action}") for resource in ("a", "a/b", "a/b/c", "a/x", "ab") for action in "rw"
]


def _allowed(patterns):
    return {asked for asked in ASKED if any(pattern.covers(asked) for pattern in patterns)}


@pytest.mark.parametrize("left", PAIRS, ids=lambda some: " ".join(map(str, some)))
def test_two_lists_together_allow_exactly_what_both_allow(left):
    for right in PAIRS:
        assert _allowed(intersect(left, right)) == _allowed(left) & _allowed(right)


def test_of_any_three_patterns_those_stay_that_no_other_covers():
    for some in product(SMALL, repeat=3):
        kept = reduce_patterns(some)
        assert set(kept) == {
            one for one in some if not any(other != one and other.covers(one) for other in some)
        }, some


def test_patterns_are_sorted_by_their_text():
    patterns = [parse_scope("a:w"), parse_scope("a/*:r")]
    assert list(map(str, reduce_patterns(patterns))) == ["a/*:r", "a:w"]


@pytest.mark.slow
def test_parsed_scopes_and_addresses_are_remembered_within_bounds() -> None:
    """Whoever asks chooses them: what is remembered is short, and so many."""
    parse_scope.cache_clear()
    tracemalloc.start()
    for n in range(5000):
        parse_scope(f"{n:05}".ljust(1019, "a") + ":read")
        parse_address(f"2001:db8:{n:x}::{n:x}")
        with pytest.raises(MalformedCaveat):
            parse_scope(f"{n:05}".ljust(1020, "a") + ":read")
        assert parse_address(f"{n:05}".ljust(46, "1")) is None
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert parse_scope.cache_info().currsize == parse_scope.cache_info().maxsize == 4096
    assert taken < 12_000_000
    parse_scope.cache_clear()


@pytest.mark.parametrize(
    ("scope", "own"),
    [
        ("caveats:admin", True),
        ("caveats/keys:rotate", True),
        ("caveats:*", True),
        ("caveatsX:admin", False),
        ("photos/caveats:read", False),
        ("photos:caveats", False),
        ("*", False),
    ],
)
def test_what_is_about_the_service_itself(scope, own):
    assert is_own_scope(scope) is own
