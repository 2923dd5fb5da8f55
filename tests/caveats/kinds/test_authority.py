"""Effective authority: what is left of a token; and which caveats take nothing away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats import (
    Audience,
    Authority,
    Caveat,
    ClientIp,
    Context,
    Expires,
    Host,
    Method,
    NotBefore,
    Note,
    Parent,
    Path,
    Renewed,
    Scope,
    UnknownCaveat,
    User,
    effective,
    repeated,
    standard_checkers,
    unsatisfied,
)
from caveats.kinds import parse_scope
from tests.support.law import ALL_EXAMPLES, CONTEXTS, HOUR, NOW, OTHER_TOKEN_ID


def test_nothing_restricts_an_empty_chain():
    authority = effective([])
    assert authority.scopes == ("*",)
    assert (authority.user, authority.expires_at, authority.not_before, authority.audiences) == (None,) * 4
    assert (authority.methods, authority.paths, authority.client_ips, authority.notes) == (None, (), (), ())
    assert authority.others == ()


def test_the_most_restrictive_counts():
    unknown = UnknownCaveat(b"x = y")
    authority = effective(
        [
            User("alice"),
            Expires(NOW + HOUR),
            Expires(NOW),
            Expires(NOW + 2 * HOUR),
            NotBefore(NOW - HOUR),
            NotBefore(NOW - 2 * HOUR),
            Scope("photos:*", "notes:read"),
            Scope("photos/42:read", "albums:read"),
            Audience("a", "b", "c"),
            Audience("c", "b"),
            Method("GET", "POST"),
            Method("POST"),
            Path("/a/*"),
            Path("/a/b"),
            ClientIp("10.0.0.0/8"),
            ClientIp("10.0.0.1", "::1"),
            Note("one"),
            Note("two"),
            Renewed(NOW),
            Parent("k1", OTHER_TOKEN_ID, ()),
            unknown,
        ]
    )
    assert authority.user == "alice"
    assert authority.expires_at == NOW
    assert authority.not_before == NOW - HOUR
    assert authority.scopes == ("photos/42:read",)
    assert authority.scope_patterns == (parse_scope("photos/42:read"),)
    assert authority.audiences == ("b", "c")
    assert authority.methods == ("POST",)
    assert authority.paths == (("/a/*",), ("/a/b",))
    assert authority.client_ips == (("10.0.0.0/8",), ("10.0.0.1", "::1"))
    assert authority.notes == ("one", "two")
    assert authority.others == (unknown,)


def test_the_first_user_counts_and_scopes_that_exclude_each_other_leave_none():
    authority = effective(
        [User("alice"), User("bob"), Scope("a:r"), Scope("b:r"), Audience("a"), Audience("b")]
    )
    assert authority.user == "alice"
    assert authority.scopes == ()
    assert authority.audiences == ()


def test_everything_leaves_out_the_service_s_own_namespace():
    assert effective([Scope("*"), Scope("caveats:admin")]).scopes == ()


@given(st.lists(st.sampled_from(ALL_EXAMPLES), max_size=5), st.sampled_from(CONTEXTS))
def test_authority_is_never_overstated(caveats, context):
    """Whatever satisfies every caveat lies within what is said to be left."""
    if unsatisfied(caveats, standard_checkers(), context):
        return
    authority = effective(caveats)
    assert authority.expires_at is None or context.now < authority.expires_at
    assert authority.not_before is None or context.now >= authority.not_before
    assert authority.audiences is None or context.audience in authority.audiences
    assert authority.methods is None or context.method in authority.methods
    for scope in context.scopes:
        if any(isinstance(caveat, Scope) for caveat in caveats):
            assert any(pattern.covers(parse_scope(scope)) for pattern in authority.scope_patterns)


@dataclass(frozen=True)
class Plug(Caveat):
    kind: ClassVar[str] = "vendor/plug"
    value: str = "x"


@dataclass(frozen=True)
class Ends(Plug):
    """A plug-in's kind that answers with whatever authority it is made with."""

    kind: ClassVar[str] = "vendor/ends"
    answer: object = None

    def narrow(self, authority):
        return self.answer(authority)


EARLIER = NOW - HOUR


@pytest.mark.parametrize(
    ("change", "name", "left"),
    [
        ({"expires_at": EARLIER}, "expires_at", EARLIER),
        ({"not_before": NOW}, "not_before", NOW),
        ({"scope_limit": (parse_scope("a/b:r"),)}, "scopes", ("a/b:r",)),
        ({"lists": {"method": (("GET",),), "path": (("/a",),)}}, "paths", (("/a",),)),
        ({"lists": {"method": (("GET", "PUT"),), "vendor/x": (("1",),)}}, "methods", ("GET", "PUT")),
    ],
)
def test_a_plug_in_s_kind_may_narrow(change, name, left):
    authority = effective([*BEFORE, Ends(answer=lambda authority: replace(authority, **change))])
    assert getattr(authority, name) == left
    assert authority.others == ()


BEFORE = [User("alice"), Expires(NOW), NotBefore(EARLIER), Scope("a:r"), Method("GET", "PUT")]


def fails(authority):
    raise RuntimeError


@pytest.mark.parametrize(
    "answer",
    [
        lambda authority: replace(authority, user="bob"),
        lambda authority: replace(authority, user=None),
        lambda authority: replace(authority, expires_at=NOW + HOUR),
        lambda authority: replace(authority, expires_at=None),
        lambda authority: replace(authority, not_before=EARLIER - HOUR),
        lambda authority: replace(authority, not_before=None),
        lambda authority: replace(authority, scope_limit=(parse_scope("a:r"), parse_scope("b:r"))),
        lambda authority: replace(authority, scope_limit=None),
        lambda authority: replace(authority, lists={}),
        lambda authority: replace(authority, lists={"method": (("GET", "PUT", "POST"),)}),
        lambda authority: None,
        fails,
    ],
)
def test_a_plug_in_s_kind_that_widens_or_fails_leaves_all_as_it_was(answer):
    before, bad = effective(BEFORE), Ends(answer=answer)
    assert effective([*BEFORE, bad]) == replace(before, others=(bad,))


def test_an_authority_can_be_hashed_and_compared():
    assert len({effective(BEFORE), effective(BEFORE), effective([])}) == 2


REPEATED = [
    (Expires(NOW), Expires(NOW + HOUR), "earlier expiry"),
    (Expires(NOW), Expires(NOW), "earlier expiry"),
    (Expires(NOW), Expires(NOW - HOUR), None),
    (NotBefore(NOW), NotBefore(NOW - HOUR), "later start"),
    (NotBefore(NOW), NotBefore(NOW + HOUR), None),
    (Scope("a:r"), Scope("a:*"), "no wider"),
    (Scope("a:r"), Scope("*"), "no wider"),
    (Scope("a:r"), Scope("a:r", "b:r"), "no wider"),
    (Scope("a:*"), Scope("a:r"), None),
    (Scope("*"), Scope("*"), "no wider"),
    (Audience("a"), Audience("a", "b"), "no wider"),
    (Audience("a", "b"), Audience("a"), None),
    (Method("GET"), Method("GET", "PUT"), "no wider"),
    (Method("GET", "PUT"), Method("GET"), None),
    (Path("/a/b"), Path("/a/*"), "no wider"),
    (Path("/a/*"), Path("/a/*", "/b"), "no wider"),
    (Path("/a/*"), Path("/a/b"), None),
    (ClientIp("::1"), ClientIp("::1", "::2"), "no wider"),
    (ClientIp("::1", "::2"), ClientIp("::1"), None),
    (User("alice"), User("alice"), "the same"),
    (User("alice"), User("bob"), None),
    (Note("x"), Note("x"), None),
    (Renewed(NOW), Renewed(NOW), None),
    (Parent("k1", OTHER_TOKEN_ID, ()), Parent("k1", OTHER_TOKEN_ID, ()), None),
    (UnknownCaveat(b"x"), UnknownCaveat(b"x"), None),
    (Host("a.example"), Host("a.example", "b.example"), "no wider"),
    (Host("a.example", "b.example"), Host("a.example"), None),
    (Plug("x"), Plug("x"), "the same"),
    (Plug("x"), Plug("y"), None),
    (Expires(NOW), Scope("*"), None),
    (Note("x"), Expires(NOW), None),
]


@pytest.mark.parametrize(("first", "second", "because"), REPEATED, ids=[f"{a}, {b}" for a, b, _ in REPEATED])
def test_a_caveat_that_takes_nothing_away_is_pointed_out(first, second, because):
    found = repeated([first, second])
    if because is None:
        assert found == ()
    else:
        (one,) = found
        assert (one.index, one.caveat) == (1, second)
        assert because in one.because


@given(st.lists(st.sampled_from(ALL_EXAMPLES), max_size=6), st.sampled_from(CONTEXTS))
def test_leaving_out_what_is_repeated_changes_no_decision(caveats, context):
    left = [
        caveat for index, caveat in enumerate(caveats) if index not in {r.index for r in repeated(caveats)}
    ]
    checkers = standard_checkers()
    assert bool(unsatisfied(left, checkers, context)) is bool(unsatisfied(caveats, checkers, context))


def test_a_scope_after_too_many_patterns_to_keep_is_never_called_repeated():
    """What is kept of an intersection is cut at 256 patterns: one that lies beyond may be what a caveat takes."""
    left = Scope(*[f"a/{n}:*" for n in range(100)])
    right = Scope(*[f"a:x{n}" for n in range(100)])
    kept = effective([left, right]).scopes
    assert len(kept) == 256
    assert repeated([left, right, Scope(*kept)]) == ()
    beyond = next(f"a/{n}:x{m}" for n in range(100) for m in range(100) if f"a/{n}:x{m}" not in kept)
    needed = Context(now=NOW, scopes=(beyond,))
    assert not unsatisfied([left, right], standard_checkers(), needed)
    assert unsatisfied([left, right, Scope(*kept)], standard_checkers(), needed)


def test_a_copy_of_an_authority_has_no_field_of_another_name() -> None:
    authority = Authority(user="alice")
    assert authority.changed(notes=("a",)) == replace(authority, notes=("a",))
    with pytest.raises(TypeError, match="notez"):
        authority.changed(notez=("a",))
