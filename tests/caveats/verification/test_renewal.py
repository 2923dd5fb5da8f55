"""Renewal: the same token, later; what holders added stays, byte for byte, and so does the way back."""

from __future__ import annotations

import pytest

from caveats import (
    Bundle,
    Expires,
    LimitExceeded,
    Macaroon,
    MalformedCaveat,
    Note,
    Renewed,
    Scope,
    ThirdPartyCaveat,
    User,
    Verifier,
    authenticate,
    discharge,
    open_ticket,
    renew,
)
from caveats.token import chain
from caveats.verification import first_branches
from tests.support.law import (
    HOUR,
    KEYRING,
    NOW,
    PARTY,
    PARTY_KEY,
    REQUEST,
    ROOT_KEY,
    counter_random,
    identifier,
    issue,
    outcome,
)

LATER = NOW + 5 * HOUR


def derived_key(name):
    return chain.derive(KEYRING.root_key(name))


def authentic(macaroon, answers=()):
    name = macaroon.unverified_identifier
    return authenticate(Bundle.bind(macaroon, answers), KEYRING.root_key(name))


def renewed(macaroon, answers=(), at=LATER) -> Macaroon:
    return renew(authentic(macaroon, answers), at, derived_key)


def test_a_renewal_is_the_same_token_with_a_later_expiry():
    token = issue(Note("issuer's")).attenuate(Note("holder's"), b"vendor/x = 1", b"\xff")
    again = renewed(token)
    assert again.unverified_identifier == identifier(5)
    assert [str(caveat) for caveat in again.unverified_caveats] == [
        "user = alice",
        f"expires = {Expires(LATER).value}",
        "scope = *",
        "note = issuer's",
        f"renewed = {Expires(NOW + HOUR).value}",
        "note = holder's",
        "vendor/x = 1",
        "\\xff",
    ]
    assert again.wire.caveats[5:] == token.wire.caveats[4:]
    assert again.location == token.location
    assert authentic(again)


def test_a_renewal_of_a_renewal_remembers_the_first_expiry():
    token = issue().attenuate(Note("x"))
    twice = renewed(renewed(token), at=LATER + HOUR)
    assert twice == renewed(token, at=LATER + HOUR)
    assert [caveat for caveat in twice.unverified_caveats if isinstance(caveat, Renewed)] == [
        Renewed(NOW + HOUR)
    ]


def test_a_third_party_caveat_is_sealed_anew_and_its_discharge_still_fits():
    token = (
        issue().attenuate(Note("x")).require_discharge(PARTY, random=counter_random()).attenuate(Note("y"))
    )
    old = token.wire.caveats[4]
    answer = discharge(open_ticket(old.ticket, PARTY_KEY), now=NOW, life=LATER - NOW)
    again = renewed(token, [answer])
    new = again.wire.caveats[5]
    assert isinstance(new, ThirdPartyCaveat)
    assert (new.location, new.ticket) == (old.location, old.ticket)
    assert new.vid != old.vid
    assert (
        Verifier(KEYRING, audience="photos").verify(Bundle.bind(again, [answer]), REQUEST).expires_at == LATER
    )
    assert authentic(renewed(again, [answer]), [answer])


def test_a_discharge_s_caveats_are_not_taken_into_the_renewal():
    token = issue().require_discharge(PARTY, random=counter_random())
    answer = discharge(open_ticket(token.wire.caveats[-1].ticket, PARTY_KEY), [Note("discharger's")], now=NOW)
    assert b"note = discharger's" not in renewed(token, [answer]).wire.caveats


def test_the_first_branches_stay_through_renewals():
    token = issue(Note("a")).attenuate(Note("b"), Note("c"))
    first = first_branches(authentic(token), derived_key)
    assert first == authentic(token).branches()
    for again in (renewed(token), renewed(renewed(token), at=LATER + HOUR)):
        assert first_branches(authentic(again), derived_key) == first
        assert not set(authentic(again).branches()) & set(first)


def test_a_copy_and_its_original_share_the_first_branches_up_to_where_they_part():
    token = issue()
    copy, other = token.attenuate(Note("copy")), token.attenuate(Note("other"))
    branches = [first_branches(authentic(renewed(one)), derived_key) for one in (token, copy, other)]
    assert branches[1][:4] == branches[2][:4] == branches[0]
    assert branches[1][4] != branches[2][4]


FOREIGN = [
    ("another-issuer", Macaroon.mint(ROOT_KEY, b"id", caveats=[User("alice"), Expires(NOW)])),
    ("user-only", Macaroon.mint(ROOT_KEY, identifier(1), caveats=[User("alice")])),
    ("no-expiry", Macaroon.mint(ROOT_KEY, identifier(2), caveats=[User("alice"), Scope("*")])),
    ("too-few", Macaroon.mint(ROOT_KEY, identifier(3), caveats=[User("alice"), Expires(NOW)])),
]


@pytest.mark.parametrize("macaroon", [row[1] for row in FOREIGN], ids=[row[0] for row in FOREIGN])
def test_what_is_not_laid_out_as_issued_tokens_are_is_not_renewed_but_has_branches(macaroon):
    vouched = authenticate(macaroon, ROOT_KEY)
    assert outcome(renew, vouched, LATER, derived_key) is MalformedCaveat
    assert first_branches(vouched, derived_key) == vouched.branches()


def test_a_third_party_among_the_issuer_s_caveats_is_not_renewed():
    macaroon = Macaroon.mint(
        ROOT_KEY, identifier(3), caveats=[User("alice"), Expires(NOW)]
    ).require_discharge(PARTY, random=counter_random())
    answer = discharge(open_ticket(macaroon.wire.caveats[-1].ticket, PARTY_KEY), now=NOW)
    vouched = authenticate(Bundle.bind(macaroon, [answer]), ROOT_KEY)
    assert outcome(renew, vouched, LATER, derived_key) is MalformedCaveat
    assert first_branches(vouched, derived_key) == vouched.branches()


def test_a_renewal_keeps_the_limits():
    full = issue().attenuate(*[Note("x")] * 61)
    assert outcome(renewed, full) is LimitExceeded
    almost = issue().attenuate(*[Note("x")] * 60)
    assert outcome(renewed, renewed(almost)) is None
