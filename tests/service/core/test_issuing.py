"""Issuing, pure: whatever is asked for and whatever the bounds are, what is planned never goes beyond them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from caveats import (
    Authenticated,
    Caveat,
    Checkers,
    Context,
    Expires,
    Identifier,
    Introspection,
    Macaroon,
    MalformedCaveat,
    Parent,
    Scope,
    TokenRevocation,
    User,
    authenticate,
    effective,
    new_token_id,
    renew,
    standard_checkers,
    unsatisfied,
)
from caveats.kinds import parse_scope
from caveats.token import derive
from caveats.verification import first_branches
from caveats_service.core.errors import CeilingReached, Forbidden, InvalidRequest, ServiceError
from caveats_service.core.issuing import (
    Bounds,
    IssueRequest,
    Lives,
    bounds_of_token,
    bounds_of_user,
    final_expiry,
    plan,
    renewal_expiry,
)
from caveats_service.core.revoking import reasons

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LIVES = Lives(default=8 * HOUR, longest=30 * DAY, total=90 * DAY)
KEY = b"k" * 32
CHECKERS = standard_checkers()


def token(
    *added: str, scope: str = "*", expires_at: datetime = NOW + DAY, audience: str = "default"
) -> Authenticated:
    """An authentic token of alice's, as issued, with what holders added."""
    caveats = [User("alice"), Expires(expires_at), Scope(scope)]
    identifier = Identifier("k1", audience, new_token_id(NOW), len(caveats))
    macaroon = Macaroon.mint(KEY, identifier, caveats=caveats)
    return authenticate(macaroon.attenuate(*[one.encode() for one in added]), KEY)


def bounds(*added: str, any_audience: bool = True, **said: object) -> Bounds:
    authenticated = token(*added, **said)  # type: ignore[arg-type]
    return bounds_of_token(authenticated, authenticated.branches(), any_audience=any_audience)


# tables


@pytest.mark.parametrize(
    ("scope", "is_admin", "asked", "allowed"),
    [
        ("*", False, "*", True),
        ("*", False, "photos:read docs:*", True),
        ("*", False, "caveats:admin", False),
        ("*", False, "caveats/keys:read", False),
        ("*", True, "caveats:admin", True),
        ("*", True, "* caveats:*", True),
        ("photos:*", True, "docs:read", False),
        ("photos:*", True, "photos/1:read caveats:admin", True),
        ("photos:*", False, "photos/1:read", True),
        ("photos:*", False, "photosX:read", False),
        ("photos/*:read", False, "photos:read", False),
        ("photos/*:read", False, "photos/1:read", True),
        ("caveats:*", False, "caveats:admin", True),
    ],
)
def test_a_user_has_their_own_scopes_and_an_administrator_the_services_as_well(
    scope: str, asked: str, *, is_admin: bool, allowed: bool
) -> None:
    limits = bounds_of_user("alice", scope, is_admin=is_admin)
    if allowed:
        assert plan(IssueRequest(scope=asked), limits, LIVES, CHECKERS, now=NOW).scope == asked
    else:
        with pytest.raises(Forbidden):
            plan(IssueRequest(scope=asked), limits, LIVES, CHECKERS, now=NOW)


@pytest.mark.parametrize(
    ("left", "asked", "expected"),
    [
        (timedelta(days=1), None, 8 * HOUR),
        (timedelta(hours=2), None, 2 * HOUR),
        (timedelta(hours=2), HOUR, HOUR),
        (timedelta(hours=2), 3 * HOUR, 2 * HOUR),
        (None, 30 * DAY, 30 * DAY),
        (None, None, 8 * HOUR),
    ],
)
def test_a_life_is_cut_to_what_is_left(
    left: timedelta | None, asked: timedelta | None, expected: timedelta
) -> None:
    limits = Bounds("alice", (parse_scope("*"),), "*", expires_at=None if left is None else NOW + left)
    planned = plan(IssueRequest(lifetime=asked), limits, LIVES, CHECKERS, now=NOW)
    assert effective(planned.caveats).expires_at == NOW + expected


@pytest.mark.parametrize("asked", [timedelta(0), timedelta(seconds=-1), 30 * DAY + timedelta(seconds=1)])
def test_a_life_beyond_what_anybody_has_is_refused_rather_than_cut(asked: timedelta) -> None:
    with pytest.raises(InvalidRequest):
        plan(IssueRequest(lifetime=asked), bounds_of_user("a", "*", is_admin=False), LIVES, CHECKERS, now=NOW)


def test_an_issued_token_is_laid_out_user_expires_scope_then_the_rest() -> None:
    asked = IssueRequest(caveats=("method = GET",), note="n", audience="photos")
    planned = plan(asked, bounds("path = /a"), LIVES, CHECKERS, now=NOW)
    assert [c.kind for c in planned.caveats] == [
        "user",
        "expires",
        "scope",
        "method",
        "path",
        "parent",
        "note",
    ]


def test_a_parent_is_named_with_every_branch_that_it_lies_on() -> None:
    authenticated = token("note = a", "note = b")
    found = bounds_of_token(authenticated, authenticated.branches(), any_audience=True).inherited
    (parent,) = [c for c in found if isinstance(c, Parent)]
    assert parent.branches == authenticated.branches()


@pytest.mark.parametrize("added", [(), ("note = a",), ("note = a", "note = b")])
def test_a_parent_that_is_a_renewal_is_named_as_the_token_that_it_was_and_as_it_is(
    added: tuple[str, ...],
) -> None:
    first = token(*added)
    renewed = authenticate(renew(first, NOW + 2 * DAY, lambda _: derive(KEY)), KEY)
    branches = first_branches(renewed, lambda _: derive(KEY))
    (parent,) = [
        c for c in bounds_of_token(renewed, branches, any_audience=True).inherited if isinstance(c, Parent)
    ]
    assert parent.branches == tuple(dict.fromkeys((*first.branches(), *renewed.branches())))


def test_many_branches_are_spread_over_caveats_that_fit() -> None:
    authenticated = token(*[f"note = {n}" for n in range(60)])
    parents = [
        c
        for c in bounds_of_token(authenticated, authenticated.branches(), any_audience=True).inherited
        if isinstance(c, Parent)
    ]
    assert all(len(c.predicate) <= 1024 for c in parents)
    assert [b for c in parents for b in c.branches] == list(authenticated.branches())


@pytest.mark.parametrize(
    ("audience", "any_audience", "asked", "expected"),
    [
        ("default", True, None, "default"),
        ("default", True, "photos", "photos"),
        ("photos", False, None, "photos"),
        ("photos", False, "photos", "photos"),
        ("photos", False, "default", None),
        ("default", False, "photos", None),
    ],
)
def test_an_audience_is_kept_unless_the_token_stands_for_the_account(
    audience: str, asked: str | None, expected: str | None, *, any_audience: bool
) -> None:
    limits = bounds(audience=audience, any_audience=any_audience)
    if expected is None:
        with pytest.raises(Forbidden, match="cannot be had"):
            plan(IssueRequest(audience=asked), limits, LIVES, CHECKERS, now=NOW)
    else:
        assert plan(IssueRequest(audience=asked), limits, LIVES, CHECKERS, now=NOW).audience == expected


# renewals


@pytest.mark.parametrize(
    ("first_life", "age", "asked", "expected"),
    [
        pytest.param(HOUR, HOUR / 2, None, HOUR / 2 + HOUR, id="as long again"),
        pytest.param(HOUR, HOUR / 2, 2 * HOUR, HOUR / 2 + 2 * HOUR, id="as asked"),
        pytest.param(DAY, HOUR, HOUR, DAY, id="never shorter"),
        pytest.param(30 * DAY, 29 * DAY, None, 59 * DAY, id="thirty days again"),
        pytest.param(89 * DAY, 80 * DAY, None, 90 * DAY, id="up to the ceiling"),
        pytest.param(90 * DAY, 80 * DAY, None, None, id="at the ceiling"),
        pytest.param(HOUR, HOUR / 2, 31 * DAY, None, id="beyond any life"),
        pytest.param(HOUR, HOUR / 2, timedelta(0), None, id="no life"),
    ],
)
def test_a_renewals_expiry(
    first_life: timedelta, age: timedelta, asked: timedelta | None, expected: timedelta | None
) -> None:
    authenticated = token(expires_at=NOW + first_life)
    if expected is None:
        with pytest.raises((CeilingReached, InvalidRequest)):
            renewal_expiry(authenticated, asked, LIVES, now=NOW + age)
    else:
        assert renewal_expiry(authenticated, asked, LIVES, now=NOW + age) == NOW + expected


# laws

_WORDS = st.sampled_from(["photos", "docs", "caveats", "photos/1", "photos/1/a", "caveats/x"])
_PATTERNS = st.one_of(
    st.just("*"),
    st.builds(
        lambda w, below, action: f"{w}{below}:{action}",
        _WORDS,
        st.sampled_from(["", "/*"]),
        st.sampled_from(["read", "write", "*"]),
    ),
)
_SCOPES = st.lists(_PATTERNS, min_size=1, max_size=3, unique=True).map(" ".join)
_MOMENTS = st.integers(-5, 200).map(lambda h: NOW + h * HOUR)
_CAVEATS = st.one_of(
    _SCOPES.map(lambda s: f"scope = {s}"),
    _MOMENTS.map(lambda m: f"expires = {m:%Y-%m-%dT%H:%M:%SZ}"),
    _MOMENTS.map(lambda m: f"not-before = {m:%Y-%m-%dT%H:%M:%SZ}"),
    st.sampled_from(["GET", "POST", "GET POST"]).map(lambda m: f"method = {m}"),
    st.sampled_from(["/a", "/a/*", "/a/b"]).map(lambda p: f"path = {p}"),
    st.sampled_from(["10.0.0.0/8", "10.1.0.0/16"]).map(lambda n: f"client-ip = {n}"),
    st.sampled_from(["default", "photos", "default photos"]).map(lambda a: f"audience = {a}"),
    st.sampled_from(["alice", "bob"]).map(lambda u: f"user = {u}"),
    st.sampled_from(["note = n", "acme/x = 1", "mystery = 1", "renewed = 2030-01-01T00:00:00Z", "garbage"]),
)
_HOLDERS = st.lists(_CAVEATS, max_size=5)
_ASKED = st.builds(
    IssueRequest,
    scope=st.none() | _SCOPES,
    audience=st.none() | st.sampled_from(["default", "photos"]),
    lifetime=st.none() | st.integers(1, 720).map(lambda h: h * HOUR),
    caveats=st.lists(_CAVEATS, max_size=3).map(tuple),
    note=st.none() | st.just("n"),
)
_REQUESTS = st.builds(
    Context,
    now=_MOMENTS,
    audience=st.sampled_from(["default", "photos"]),
    scopes=st.lists(_PATTERNS, max_size=2, unique=True).map(tuple),
    method=st.none() | st.sampled_from(["GET", "POST"]),
    path=st.none() | st.sampled_from(["/a", "/a/b", "/c"]),
    client_ip=st.none() | st.sampled_from(["10.1.0.1", "10.2.0.1", "192.0.2.1"]),
    user=st.none() | st.sampled_from(["alice", "bob"]),
)


def holds(caveats: object, context: Context, checkers: Checkers = CHECKERS) -> bool:
    return not unsatisfied(caveats, checkers, context)  # type: ignore[arg-type]


@pytest.mark.slow
@given(first=_SCOPES, holders=_HOLDERS, asked=_ASKED, requests=st.lists(_REQUESTS, min_size=5, max_size=20))
@settings(max_examples=settings().max_examples * 3)
def test_whatever_a_new_token_grants_the_one_it_was_issued_against_would_have_granted(
    first: str, holders: list[str], asked: IssueRequest, requests: list[Context]
) -> None:
    parent = token(*holders, scope=first)
    try:
        limits = bounds_of_token(parent, parent.branches(), any_audience=True)
        planned = plan(asked, limits, LIVES, CHECKERS, now=NOW)
    except (ServiceError, MalformedCaveat):
        assume(False)
    for request in requests:
        if holds(planned.caveats, request):
            assert holds(parent.caveats, request)


@pytest.mark.slow
@given(first=_SCOPES, holders=_HOLDERS, asked=_ASKED)
@settings(max_examples=settings().max_examples * 3)
def test_the_effective_authority_of_what_is_issued_lies_within_the_bounds(
    first: str, holders: list[str], asked: IssueRequest
) -> None:
    parent = token(*holders, scope=first)
    try:
        limits = bounds_of_token(parent, parent.branches(), any_audience=False)
        planned = plan(asked, limits, LIVES, CHECKERS, now=NOW)
    except (ServiceError, MalformedCaveat):
        assume(False)
    mine, theirs = effective(planned.caveats), effective(parent.caveats)
    assert mine.user == theirs.user == "alice"
    assert planned.audience == "default"
    assert mine.expires_at is not None
    assert theirs.expires_at is not None
    assert mine.expires_at <= theirs.expires_at
    assert mine.expires_at <= NOW + LIVES.longest
    assert all(any(w.covers(n) for w in theirs.scope_patterns) for n in mine.scope_patterns)
    if theirs.methods is not None:
        assert mine.methods is not None
        assert set(mine.methods) <= set(theirs.methods)
    if theirs.audiences is not None:
        assert mine.audiences is not None
        assert set(mine.audiences) <= set(theirs.audiences)
    assert set(theirs.paths) <= set(mine.paths)
    assert set(theirs.client_ips) <= set(mine.client_ips)
    assert set(theirs.others) <= set(mine.others)
    assert any(isinstance(c, Parent) for c in planned.caveats)


@pytest.mark.slow
@given(scope=_SCOPES, asked=_ASKED, is_admin=st.booleans())
@settings(max_examples=settings().max_examples * 3)
def test_a_password_gives_no_more_than_the_account_has(
    scope: str, asked: IssueRequest, *, is_admin: bool
) -> None:
    limits = bounds_of_user("alice", scope, is_admin=is_admin)
    try:
        planned = plan(asked, limits, LIVES, CHECKERS, now=NOW)
    except (ServiceError, MalformedCaveat):
        assume(False)
    mine = effective(planned.caveats)
    allowed = [parse_scope(s) for s in scope.split(" ")] + ([parse_scope("caveats:*")] if is_admin else [])
    assert all(any(w.covers(n) for w in allowed) for n in mine.scope_patterns)
    assert planned.caveats[0] == User("alice")
    assert sum(isinstance(c, User) for c in planned.caveats) == 1


@pytest.mark.slow
@given(holders=_HOLDERS, hours=st.integers(0, 23), requests=st.lists(_REQUESTS, min_size=5, max_size=20))
@settings(max_examples=settings().max_examples * 3)
def test_a_renewal_grants_nothing_but_time(holders: list[str], hours: int, requests: list[Context]) -> None:
    first = token(*holders)
    try:
        until = renewal_expiry(first, None, LIVES, now=NOW + hours * HOUR)
    except (ServiceError, MalformedCaveat):
        assume(False)
    renewed = authenticate(renew(first, until, lambda _: derive(KEY)), KEY)
    issuers = first.caveats[1]
    assert isinstance(issuers, Expires)
    for request in requests:
        if holds(renewed.caveats, request) and request.now < issuers.at:
            assert holds(first.caveats, request)
    assert until <= NOW + LIVES.total
    added = list(renewed.wire.caveats[4:])
    assert added == list(first.wire.caveats[3:])


FIRST, EARLY, LATE = (Expires(NOW + n * HOUR) for n in (1, 2, 3))
PARENT = Parent("k1", new_token_id(NOW), (bytes(16),))


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        pytest.param([], None, id="a renewal moves the issuer's expiry"),
        pytest.param([("holder", LATE), ("holder", EARLY)], EARLY, id="the earliest of holders'"),
        pytest.param([("issuer", LATE), ("holder", Scope("a:b"))], LATE, id="a ceiling of the issuer's"),
        pytest.param([("issuer", PARENT)], FIRST, id="no renewal of what has a parent"),
        pytest.param([("discharger", EARLY)], None, id="a discharge can be had again"),
        pytest.param([("discharger", PARENT)], None, id="a third party's parent is none of the token's"),
    ],
)
def test_a_copy_has_expired_for_good_when_no_renewal_and_no_discharge_helps(
    added: list[tuple[str, Caveat]], expected: Expires | None
) -> None:
    issued: list[tuple[str, Caveat]] = [("issuer", User("alice")), ("issuer", FIRST), ("issuer", Scope("*"))]
    who, typed = zip(*issued, *added, strict=True)
    identifier = Identifier("k1", "default", new_token_id(NOW), 3)
    judged = Introspection(identifier, "alice", typed, added_by=who, branches=(), whole=False)
    assert final_expiry(judged) == (None if expected is None else expected.at)


@pytest.mark.parametrize(("who", "dies"), [("issuer", True), ("discharger", False)])
def test_a_third_partys_word_makes_no_token_dead_already(who: str, *, dies: bool) -> None:
    """With another discharge it would live on, and its revocation would not have been written."""
    identifier = Identifier("k1", "default", new_token_id(NOW), 3)
    caveats, added_by = (User("alice"), FIRST, PARENT), ("issuer", "issuer", who)
    judged = Introspection(identifier, "alice", caveats, added_by=added_by, branches=(), whole=True)
    assert (TokenRevocation(PARENT.token_id, NOW) in reasons(judged, NOW)) is dies
