"""The conditions of bakeries: written exactly, judged closed, and none of them ever widens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats import Context, Expires, MalformedCaveat, UnknownCaveat, Verifier, standard_checkers, unsatisfied
from caveats.bakery import (
    Allow,
    ClientIpAddr,
    Declared,
    Deny,
    Error,
    IsAuthenticatedUser,
    IsAuthenticatedUserId,
    IsMemberOf,
    Origin,
    TimeBefore,
    expiry_of,
    first_party_checkers,
    third_party_checkers,
)
from caveats.bakery.conditions import FIRST_PARTY, THIRD_PARTY, OldClientIpAddr, OldOrigin
from tests.support.law import HOUR, KEYRING, NOW, REQUEST, issue, outcome

CHECKERS = third_party_checkers(first_party_checkers())
HERE = Context(now=NOW)


def doing(*operations: str) -> Context:
    return Context(now=NOW, extra={"operations": operations})


def coming(client_ip: str | None, *origin: object) -> Context:
    return Context(now=NOW, client_ip=client_ip, extra=dict(zip(["origin"], origin, strict=False)))


def asker(user: str | None, *groups: str) -> Context:
    return Context(now=NOW, user=user, extra={"groups": groups})


READ = [
    ("time-before 2026-11-21T12:00:00Z", TimeBefore("2026-11-21T12:00:00Z")),
    ("time-before 2026-11-21T12:00:00.000000Z", TimeBefore("2026-11-21T12:00:00.000000Z")),
    ("time-before 2026-11-21T12:00:00.123456789Z", TimeBefore("2026-11-21T12:00:00.123456789Z")),
    ("time-before 2026-11-21T14:00:00+02:00", TimeBefore("2026-11-21T14:00:00+02:00")),
    ("time-before", None),
    ("time-before ", None),
    ("time-before 2026-11-21", None),
    ("time-before 2026-11-21T12:00:00", None),
    ("time-before 2026-11-21 12:00:00Z", None),
    ("time-before 2026-11-21T12:00:00z", None),
    ("time-before 2026-11-21T12:00:00.Z", None),
    ("time-before 2026-11-21T12:00:00.1234567890Z", None),
    ("time-before 2026-02-30T12:00:00Z", None),
    ("time-before 2026-11-21T24:00:00Z", None),
    ("time-before 2026-11-21T12:00:60Z", None),
    ("time-before 2026-11-21T12:00:00+99:00", None),
    ("time-before 0001-01-01T00:00:00+14:00", None),
    ("time-before \u0662026-11-21T12:00:00Z", None),
    ("time-before 2026-11-21T12:00:00Z ", None),
    ("time-before  2026-11-21T12:00:00Z", None),
    ("time-before = 2026-11-21T12:00:00Z", None),
    ("declared username alice", Declared("username", "alice")),
    ("declared username ", Declared("username", "")),
    ("declared name Alice  B. = C", Declared("name", "Alice  B. = C")),
    ("declared username", None),
    ("declared", None),
    ("declared  alice", None),
    ("declared username a\nb", None),
    ("allow", Allow()),
    ("allow read", Allow("read")),
    ("allow read write", Allow("read", "write")),
    ("allow read  write", None),
    ("allow read ", None),
    ("allow ", None),
    ("deny", Deny()),
    ("deny read write", Deny("read", "write")),
    ("deny  read", None),
    ("error", Error("")),
    ("error it went = wrong", Error("it went = wrong")),
    ("error a\0b", None),
    ("http:client-ip-addr 10.0.0.1", ClientIpAddr("10.0.0.1")),
    ("http:client-ip-addr 2001:db8::68", ClientIpAddr("2001:db8::68")),
    ("http:client-ip-addr 2001:DB8:0::68", ClientIpAddr("2001:DB8:0::68")),
    ("http:client-ip-addr ::ffff:10.0.0.1", ClientIpAddr("::ffff:10.0.0.1")),
    ("client-ip-addr 10.0.0.1", OldClientIpAddr("10.0.0.1")),
    ("http:client-ip-addr", None),
    ("http:client-ip-addr ", None),
    ("http:client-ip-addr 10.0.0.0/8", None),
    ("http:client-ip-addr 010.0.0.1", None),
    ("http:client-ip-addr 10.0.0.1 ", None),
    ("http:client-ip-addr 10.0.0.1 10.0.0.2", None),
    ("http:client-ip-addr fe80::1%eth0", None),
    ("http:client-ip-addr \u0661\u0660.0.0.1", None),
    ("std:client-ip-addr 10.0.0.1", None),
    ("https:client-ip-addr 10.0.0.1", None),
    ("http:client-ip 10.0.0.1", None),
    ("http:origin https://photos.example", Origin("https://photos.example")),
    ("http:origin null", Origin("null")),
    ("http:origin", Origin("")),
    ("origin https://photos.example", OldOrigin("https://photos.example")),
    ("origin", OldOrigin("")),
    ("http:origin ", None),
    ("http:origin a\nb", None),
    ("is-authenticated-user", IsAuthenticatedUser()),
    ("is-authenticated-user @example.com", IsAuthenticatedUser("example.com")),
    ("is-authenticated-user alice", None),
    ("is-authenticated-user @", None),
    ("is-authenticated-user @a b", None),
    ("is-authenticated-user ", None),
    ("is-authenticated-userid", IsAuthenticatedUserId()),
    ("is-authenticated-userid @example.com", IsAuthenticatedUserId("example.com")),
    ("is-authenticated-userid alice", None),
    ("is-authenticated-userid ", None),
    ("is-authenticated-userids", None),
    ("is-member-of ops", IsMemberOf("ops")),
    ("is-member-of ops dev", IsMemberOf("ops", "dev")),
    ("is-member-of", None),
    ("is-member-of  ops", None),
    (" allow read", None),
    ("Allow read", None),
    ("std:allow read", None),
    ("", None),
    (" ", None),
]


@pytest.mark.parametrize(("text", "expected"), READ, ids=[repr(text) for text, _ in READ])
def test_a_condition_is_read_as_it_is_written(text, expected):
    read = CHECKERS.parse(text.encode())
    assert read == expected if expected is not None else isinstance(read, UnknownCaveat)
    assert read.predicate == text.encode()
    assert str(read) == text or expected is None


JUDGED = [
    (TimeBefore.at(NOW + HOUR), HERE, True),
    (TimeBefore.at(NOW), HERE, False),
    (TimeBefore("2026-11-21T12:00:00.000001Z"), HERE, True),
    (TimeBefore("2026-11-21T12:00:00.000000999Z"), HERE, False),
    (TimeBefore("2026-11-21T13:00:00+02:00"), HERE, False),
    (TimeBefore("2026-11-21T11:00:00-02:00"), HERE, True),
    (Declared("username", "alice"), HERE, True),
    (Allow("read", "write"), doing("read"), True),
    (Allow("read", "write"), doing("read", "write"), True),
    (Allow("read"), doing("read", "write"), False),
    (Allow("read"), doing(), False),
    (Allow("read"), HERE, False),
    (Allow(), doing("read"), False),
    (Allow("read"), Context(now=NOW, extra={"operations": "read"}), False),
    (Allow("read"), Context(now=NOW, extra={"operations": None}), False),
    (Deny("read"), doing("write"), True),
    (Deny("read"), doing("write", "read"), False),
    (Deny("read"), doing(), True),
    (Deny("read"), HERE, False),
    (Deny("r"), Context(now=NOW, extra={"operations": "read"}), False),
    (Error("x"), HERE, False),
    *(
        (kind(written), coming(address), holds)
        for kind in (ClientIpAddr, OldClientIpAddr)
        for written, address, holds in (
            ("10.0.0.1", "10.0.0.1", True),
            ("10.0.0.1", "::ffff:10.0.0.1", True),
            ("::ffff:10.0.0.1", "10.0.0.1", True),
            ("2001:DB8::1", "2001:db8:0::1", True),
            ("10.0.0.1", "10.0.0.2", False),
            ("10.0.0.1", "10.0.0.1%eth0", False),
            ("fe80::1", "fe80::1%eth0", False),
            ("10.0.0.1", "10.0.0.1:80", False),
            ("10.0.0.1", "unknown", False),
            ("10.0.0.1", "", False),
            ("10.0.0.1", None, False),
        )
    ),
    *(
        (kind(written), coming(None, *origin), holds)
        for kind in (Origin, OldOrigin)
        for written, origin, holds in (
            ("https://a.example", ["https://a.example"], True),
            ("https://a.example", [""], True),
            ("https://a.example", ["https://b.example"], False),
            ("https://a.example", ["https://A.example"], False),
            ("https://a.example", ["https://a.example:443"], False),
            ("https://a.example", ["https://a.example.evil"], False),
            ("https://a.example", ["null"], False),
            ("null", ["null"], True),
            ("", [""], True),
            ("", ["https://a.example"], False),
            ("https://a.example", [], False),
            ("", [], False),
            ("", [None], False),
            ("a", [("a",)], False),
        )
    ),
    (IsAuthenticatedUser(), asker("alice"), True),
    (IsAuthenticatedUser(), asker(None), False),
    (IsAuthenticatedUser(), asker(""), False),
    (IsAuthenticatedUser("example.com"), asker("alice@example.com"), True),
    (IsAuthenticatedUser("example.com"), asker("alice"), False),
    (IsAuthenticatedUser("example.com"), asker("alice@evil-example.com"), False),
    (IsAuthenticatedUserId(), asker("alice"), True),
    (IsAuthenticatedUserId(), asker(None), False),
    (IsAuthenticatedUserId("example.com"), asker("alice"), False),
    (IsMemberOf("ops", "dev"), asker("alice", "dev"), True),
    (IsMemberOf("ops"), asker("alice", "dev"), False),
    (IsMemberOf("alice"), asker("alice"), True),
    (IsMemberOf("ops"), asker(None, "ops"), False),
    (IsMemberOf("ops"), Context(now=NOW, user="alice"), False),
    (IsMemberOf("o"), Context(now=NOW, user="alice", extra={"groups": "ops"}), False),
]


@pytest.mark.parametrize(
    ("caveat", "context", "holds"), JUDGED, ids=[f"{index}-{row[0].kind}" for index, row in enumerate(JUDGED)]
)
def test_a_condition_holds_or_says_why_not(caveat, context, holds):
    unmet = CHECKERS.answer(caveat, context)
    assert (unmet is None) is holds
    assert unmet is None or (unmet.reason and unmet.hint)


@pytest.mark.parametrize(
    ("predicates", "end"),
    [
        ([], None),
        ([b"declared user alice", b"note = x", b"\xff"], None),
        ([TimeBefore.at(NOW).predicate], NOW),
        ([TimeBefore.at(NOW).predicate, TimeBefore.at(NOW + HOUR).predicate], NOW),
        ([TimeBefore.at(NOW + HOUR).predicate, Expires(NOW).predicate], NOW),
        ([Expires(NOW + HOUR).predicate, TimeBefore.at(NOW + timedelta(seconds=0.5)).predicate], NOW + timedelta(seconds=0.5)),
    ],
)  # fmt: skip
def test_a_macaroon_expires_with_the_earliest_of_its_times(predicates, end):
    assert expiry_of(predicates) == end


def test_two_declarations_of_one_name_refuse_each_other():
    checkers = first_party_checkers()
    alice, bob, age = Declared("username", "alice"), Declared("username", "bob"), Declared("age", "bob")
    assert unsatisfied([alice, age, alice], checkers, HERE) == ()
    assert len(unsatisfied([alice, age, bob], checkers, HERE)) == 1
    assert len(unsatisfied([Declared("username", ""), alice], checkers, HERE)) == 1


EVERY = list(dict.fromkeys(caveat for caveat, _, _ in JUDGED))
CONTEXTS = [
    HERE,
    doing(),
    doing("read"),
    doing("write", "read"),
    asker("alice", "ops"),
    asker("a@example.com"),
    coming("10.0.0.1", "https://a.example"),
    coming("::ffff:10.0.0.1", ""),
]


@pytest.mark.slow
def test_appending_a_condition_never_turns_a_refusal_into_a_grant():
    for context in CONTEXTS:
        for some in (some for size in range(3) for some in combinations(EVERY, size)):
            refused = bool(unsatisfied(some, CHECKERS, context))
            if refused:
                for added in EVERY:
                    assert unsatisfied([*some, added], CHECKERS, context)
                    assert unsatisfied([added, *some], CHECKERS, context)


@given(
    text=st.text(max_size=40), kind=st.sampled_from([kind.kind for kind, _ in (*FIRST_PARTY, *THIRD_PARTY)])
)
def test_whatever_is_read_is_written_as_it_came(text, kind):
    for predicate in (f"{kind} {text}", f"{kind}{text}", f"{kind} = {text}"):
        raw = predicate.encode("utf-8", "replace")
        assert CHECKERS.parse(raw).predicate == raw


@given(
    moment=st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)),
    hours=st.integers(-23, 23),
)
def test_a_moment_is_written_and_read_in_any_zone(moment, hours):
    here = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    caveat = TimeBefore.at(here)
    assert caveat.moment == here
    assert TimeBefore(here.isoformat()).moment == here
    assert CHECKERS.parse(caveat.predicate) == caveat


def test_what_no_verifier_would_read_is_not_made():
    for make, *arguments in (
        (TimeBefore, "tomorrow"),
        (TimeBefore.at, datetime(2026, 11, 21)),
        (Declared, "", "x"),
        (Declared, "a b", "x"),
        (IsMemberOf,),
        (ClientIpAddr, "10.0.0.0/8"),
        (Allow, "a  b"),
    ):
        assert outcome(make, *arguments) is MalformedCaveat
    with pytest.raises(MalformedCaveat):
        issue().attenuate(Declared("name", "a\nb"))


def test_a_verifier_judges_both_grammars_in_one_token():
    verifier = Verifier(KEYRING, checkers=first_party_checkers(standard_checkers()), audience="photos")
    token = issue().attenuate(TimeBefore.at(NOW + HOUR), Declared("username", "alice"))
    for presented in (token, token.encode(), token.encode()):
        assert verifier.verify(presented, REQUEST).user == "alice"
    assert verifier.failures(token.attenuate(Declared("username", "bob")), REQUEST)
    assert verifier.failures(token.attenuate(TimeBefore.at(NOW)), REQUEST)
    assert Verifier(KEYRING, audience="photos").failures(token, REQUEST)


def test_checkers_are_added_to_a_copy():
    checkers = standard_checkers()
    first_party_checkers(checkers)
    assert "time-before" not in checkers.kinds
    assert set(third_party_checkers().kinds) == {
        "is-authenticated-user",
        "is-authenticated-userid",
        "is-member-of",
    }


def test_a_moment_has_no_parts_of_a_microsecond():
    assert TimeBefore("2026-11-21T12:00:00.0000009Z").moment == datetime(2026, 11, 21, 12, tzinfo=UTC)
