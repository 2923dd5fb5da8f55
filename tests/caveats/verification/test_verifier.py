"""Verification: authenticate, then judge. And what a Verifier remembers, which is never more than it may."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar

import pytest

from caveats import (
    Audience,
    BadSignature,
    BranchRevocation,
    Bundle,
    Caveat,
    Checkers,
    DamagedToken,
    Expires,
    Grant,
    InvalidKey,
    KeyState,
    LimitExceeded,
    Limits,
    Macaroon,
    MalformedToken,
    MasterKey,
    MasterKeyring,
    MissingDischarge,
    Note,
    Parent,
    RevocationSet,
    Revoked,
    Scope,
    TokenRevocation,
    UnknownKey,
    UnsatisfiedCaveats,
    User,
    UserRevocation,
    Verifier,
    WrongAudience,
    authenticate,
    discharge,
    effective,
    new_token_id,
    open_ticket,
    renew,
    standard_checkers,
    verify,
)
from caveats.kinds import parse_scope
from caveats.token import chain, encode_base64
from tests.support.law import (
    EXAMPLES,
    HOUR,
    KEYRING,
    MASTER,
    NOW,
    OTHER_TOKEN_ID,
    PARTY,
    PARTY_KEY,
    REQUEST,
    ROOT_KEY,
    TOKEN_ID,
    counter_random,
    fresh_token_id,
    identifier,
    issue,
    outcome,
)

LAST = NOW + HOUR


def verifier(**changes) -> Verifier:
    return Verifier(changes.pop("keyring", KEYRING), **({"audience": "photos"} | changes))


def test_a_grant_says_whose_token_it_is_and_what_is_left_of_it():
    token = issue(scope="photos:*").attenuate(Scope("photos/42:read"), Expires(NOW + HOUR / 2), Note("x"))
    grant = verifier().verify(token.encode(), replace(REQUEST, scopes=("photos/42:read",)))
    assert grant.user == "alice"
    assert grant.token_id == TOKEN_ID
    assert grant.audience == "photos"
    assert grant.scopes == ("photos/42:read",)
    assert grant.expires_at == NOW + HOUR / 2
    assert grant.identifier == identifier()
    assert grant.issued_at == identifier().issued_at
    assert grant.caveats == token.unverified_caveats
    assert grant.authority is grant.authority
    assert repr(grant) == f"Grant(user='alice', token_id='{TOKEN_ID}', scopes=('photos/42:read',))"
    with pytest.raises(AttributeError):
        grant.user = "bob"
    assert grant == Grant(identifier(), "alice", token.unverified_caveats)
    assert grant != Grant(identifier(), "bob", token.unverified_caveats)


@pytest.mark.parametrize(
    "present",
    [
        lambda token: token,
        Bundle,
        Macaroon.encode,
        lambda token: encode_base64(token.to_bytes()),
        lambda token: type("Text", (str,), {})(token.encode()),
    ],
    ids=["macaroon", "bundle", "text", "bare", "text-of-a-subclass"],
)
def test_a_token_is_presented_in_any_form(present):
    checking = verifier()
    for _ in range(3):
        assert checking.verify(present(issue()), REQUEST).user == "alice"


@pytest.mark.parametrize("thing", [None, 7, b"cav1_", [], object(), ["cav1_"]])
def test_what_is_no_token_at_all_is_malformed(thing):
    assert outcome(verifier().verify, thing, REQUEST) is MalformedToken
    assert outcome(verify, thing, ROOT_KEY, standard_checkers(), REQUEST) is MalformedToken


FORGED = Macaroon(issue().wire._replace(signature=b"\1" * 32))
STAGES = [
    ("empty", "", MalformedToken),
    ("damaged", issue().encode()[:-1], DamagedToken),
    ("too-long", "A" * 16_385, LimitExceeded),
    ("another-issuer", Macaroon.mint(ROOT_KEY, b"id"), UnknownKey),
    ("unknown-key", issue(key_id="k9", keyring=MasterKeyring([MasterKey("k9", b"x" * 32)])), UnknownKey),
    ("forged", FORGED, BadSignature),
    ("forged-text", FORGED.encode(), BadSignature),
    ("no-discharge", issue().require_discharge(PARTY, random=counter_random()), MissingDischarge),
    ("another-audience", issue(audience="thumbs"), WrongAudience),
    ("another-location", issue(location="https://evil.example"), MalformedToken),
    ("expired", issue(expires=NOW), UnsatisfiedCaveats),
    ("unknown-caveat", issue(b"vendor/x = 1"), UnsatisfiedCaveats),
    ("no-caveats", Macaroon.mint(KEYRING.root_key(identifier(1)), identifier(1)), BadSignature),
    (
        "first-is-no-user",
        Macaroon.mint(KEYRING.root_key(identifier(1)), identifier(1), caveats=[Note("x")]),
        BadSignature,
    ),
    (
        "n-too-large",
        Macaroon.mint(KEYRING.root_key(identifier(2)), identifier(2), caveats=[User("a")]),
        BadSignature,
    ),
    (
        "n-is-99",
        Macaroon.mint(KEYRING.root_key(identifier(99)), identifier(99), caveats=[User("a"), Note("b")]),
        BadSignature,
    ),
    ("second-user", issue().attenuate(User("bob")), UnsatisfiedCaveats),
    ("good", issue(), None),
]


@pytest.mark.parametrize(("token", "error"), [row[1:] for row in STAGES], ids=[row[0] for row in STAGES])
def test_each_stage_refuses_with_its_own_error(token, error):
    checking = verifier()
    for _ in range(2):
        assert outcome(checking.verify, token, REQUEST) is error
    assert outcome(verifier(cache_entries=0).verify, token, REQUEST) is error


def test_the_user_is_the_first_caveat_and_a_third_party_cannot_stand_before_it():
    name = identifier(1)
    token = Macaroon.mint(KEYRING.root_key(name), name).require_discharge(PARTY, random=counter_random())
    answer = discharge(open_ticket(token.wire.caveats[0].ticket, PARTY_KEY), [User("mallory")], now=NOW)
    token = token.attenuate(User("alice"))
    assert outcome(verifier().verify, Bundle.bind(token, [answer]), REQUEST) is BadSignature


def test_a_user_in_a_discharge_must_agree():
    token = issue().require_discharge(PARTY, random=counter_random())
    ticket = open_ticket(token.wire.caveats[-1].ticket, PARTY_KEY)
    for user, error in (("alice", None), ("bob", UnsatisfiedCaveats)):
        bundle = Bundle.bind(token, [discharge(ticket, [User(user)], now=NOW)])
        assert outcome(verifier().verify, bundle.encode(), REQUEST) is error


def test_a_holder_cannot_change_the_user():
    """The user is authenticated as the issuer's; a second one only ever refuses."""
    token = issue()
    other = (b"user = mallory", *token.wire.caveats[1:])
    assert outcome(verifier().verify, Macaroon(token.wire._replace(caveats=other)), REQUEST) is BadSignature
    assert outcome(verifier().verify, token.attenuate(User("mallory")), REQUEST) is UnsatisfiedCaveats
    same = verifier().verify(token.attenuate(User("alice")), REQUEST)
    assert same.user == "alice"


# audience


@pytest.mark.parametrize(
    ("mine", "asked", "token", "error"),
    [
        ("photos", None, "photos", None),
        ("photos", "photos", "photos", None),
        ("photos", "thumbs", "photos", WrongAudience),
        ("photos", "thumbs", "thumbs", WrongAudience),
        ("photos", None, "thumbs", WrongAudience),
        (None, "photos", "photos", None),
        (None, "thumbs", "photos", WrongAudience),
        (None, None, "photos", WrongAudience),
    ],
)
def test_the_token_the_verifier_and_the_request_agree_on_the_audience(mine, asked, token, error):
    checking, context = verifier(audience=mine), replace(REQUEST, audience=asked)
    presented = issue(audience=token).encode()
    for _ in range(2):
        assert outcome(checking.verify, presented, context) is error
        assert outcome(checking.failures, presented, context) is error


def test_a_wrong_audience_says_which_is_expected():
    with pytest.raises(WrongAudience) as caught:
        verifier().verify(issue(audience="thumbs"), replace(REQUEST, audience=None))
    assert (caught.value.audience, caught.value.expected) == ("thumbs", "photos")
    with pytest.raises(WrongAudience) as caught:
        verifier().verify(issue(), replace(REQUEST, audience="thumbs"))
    assert (caught.value.audience, caught.value.expected) == ("photos", "thumbs")
    with pytest.raises(WrongAudience) as caught:
        verify(
            issue(), KEYRING.root_key(identifier()), standard_checkers(), replace(REQUEST, audience="thumbs")
        )
    assert (caught.value.audience, caught.value.expected) == ("photos", "thumbs")


def test_where_keys_are_of_one_audience_a_token_of_another_is_for_the_wrong_one_and_not_under_an_unknown_key():
    keyring = KEYRING.export("photos")
    with pytest.raises(WrongAudience) as caught:
        verifier(keyring=keyring).verify(issue(audience="thumbs"), replace(REQUEST, audience=None))
    assert (caught.value.audience, caught.value.expected) == ("thumbs", "photos")
    for_any = verifier(keyring=keyring, audience=None)
    assert (
        outcome(for_any.verify, issue(audience="thumbs"), replace(REQUEST, audience="thumbs")) is UnknownKey
    )


def test_an_unknown_key_is_named():
    gone = issue(key_id="k2", keyring=MasterKeyring([MasterKey("k2", b"2" * 32)]))
    for ask in (
        verifier().introspect,
        verifier().authenticate,
        lambda token: verifier().verify(token, REQUEST),
    ):
        with pytest.raises(UnknownKey, match="no key k2 here") as caught:
            ask(gone)
        assert caught.value.missing_key == "k2"
    child = issue(Parent("k7", OTHER_TOKEN_ID, ()))
    with pytest.raises(Revoked, match="under key k7") as refused:
        verifier().verify(child, REQUEST)
    assert refused.value.missing_key == "k7"
    with pytest.raises(UnknownKey, match="not one that this service issues") as caught:
        verifier().verify(Macaroon.mint(ROOT_KEY, b"somebody's"), REQUEST)
    assert caught.value.missing_key is None


def test_a_token_that_nothing_allows_is_refused():
    """A check that does not hold ends the quick way, also where no other holds either."""
    token = issue(user="bob", expires=NOW - HOUR, scope="photos:write")
    context = replace(REQUEST, user="alice", scopes=("photos/42:read",))
    failures = verifier().failures(token, context)
    assert [failure.kind for failure in failures] == ["user", "expires", "scope"]
    assert outcome(verifier().verify, token, context) is UnsatisfiedCaveats
    assert (
        outcome(verify, token, KEYRING.root_key(identifier()), standard_checkers(), context)
        is UnsatisfiedCaveats
    )


def test_failures_say_who_added_the_caveat_for_every_way_to_ask():
    token = issue(scope="photos:write").attenuate(Scope("photos/42:write"))
    context = replace(REQUEST, scopes=("photos/42:read",))
    checking = verifier()
    for presented in (token, token.encode(), checking.introspect(token), checking.introspect(token.encode())):
        failures = checking.failures(presented, context)
        assert [failure.added_by for failure in failures] == ["issuer", "holder"]
    with pytest.raises(UnsatisfiedCaveats) as caught:
        verify(token, KEYRING.root_key(identifier()), standard_checkers(), context)
    assert [failure.added_by for failure in caught.value.failures] == ["issuer", "holder"]


def test_a_token_dies_with_all_that_its_user_had_when_its_parent_was_issued():
    then, later = fresh_token_id(NOW - HOUR), fresh_token_id(NOW)
    child = issue(Parent("k1", then, ()), token_id=later)
    checking = verifier()
    assert checking.verify(child, REQUEST)
    checking.revocations.add(UserRevocation("bob", NOW - HOUR / 2, LAST))
    assert checking.verify(child, REQUEST)
    checking.revocations.add(UserRevocation("alice", NOW - HOUR / 2, LAST))
    assert outcome(checking.verify, child, REQUEST) is Revoked


@pytest.mark.parametrize(
    "form", [Macaroon.encode, lambda token: token, Bundle], ids=["text", "macaroon", "bundle"]
)
@pytest.mark.parametrize("question", ["introspect", "authenticate"])
def test_a_revoked_copy_is_found_in_any_form(question, form):
    copy = issue().attenuate(Note("copy"))
    checking = verifier()
    ask = getattr(checking, question)
    ask(form(copy))
    checking.revocations.add(BranchRevocation(TOKEN_ID, branch(copy), LAST))
    assert outcome(ask, form(copy)) is Revoked
    assert outcome(ask, form(issue())) is None


def test_an_authenticated_token_has_its_discharges():
    asking = issue().require_discharge(PARTY, random=counter_random())
    answer = discharge(open_ticket(asking.wire.caveats[-1].ticket, PARTY_KEY), now=NOW)
    [discharged] = verifier().authenticate(Bundle.bind(asking, [answer])).discharges
    assert discharged.wire.identifier == answer.wire.identifier


def test_a_verifier_fills_in_its_own_audience_for_the_caveats():
    context = replace(REQUEST, audience=None)
    assert verifier().verify(issue(Audience("photos", "x")), context)
    assert outcome(verifier().verify, issue(Audience("x")), context) is UnsatisfiedCaveats


# location


@pytest.mark.parametrize(
    ("mine", "carried", "error"),
    [
        ("", "", None),
        ("https://auth.example", "", None),
        ("https://auth.example", "https://auth.example", None),
        ("", "https://auth.example", MalformedToken),
        ("https://auth.example", "https://auth.example/", MalformedToken),
        ("https://auth.example", "HTTPS://auth.example", MalformedToken),
        (None, "", None),
        (None, "https://auth.example", None),
    ],
)
def test_a_location_is_empty_or_the_configured_one(mine, carried, error):
    assert outcome(verifier(location=mine).verify, issue(location=carried), REQUEST) is error


# explanations


def test_all_failures_are_explained_at_once_with_who_added_them():
    token = issue(expires=NOW).attenuate(Scope("notes:read"), b"vendor/x = 1")
    with pytest.raises(UnsatisfiedCaveats) as caught:
        verifier().verify(token, replace(REQUEST, user="bob"))
    failures = caught.value.failures
    assert [(failure.index, failure.kind, failure.added_by) for failure in failures] == [
        (0, "user", "issuer"),
        (1, "expires", "issuer"),
        (3, "scope", "holder"),
        (4, "unknown", "holder"),
    ]
    assert failures == verifier().failures(token, replace(REQUEST, user="bob"))
    assert str(caught.value).count("would pass") == 4
    assert verifier().failures(issue(), REQUEST) == ()


def test_failures_of_what_is_not_authentic_or_not_live_are_never_told():
    revoked = RevocationSet([TokenRevocation(TOKEN_ID, LAST)])
    assert outcome(verifier().failures, FORGED, REQUEST) is BadSignature
    assert outcome(verifier(revocations=revoked).failures, issue(expires=NOW), REQUEST) is Revoked


def test_nothing_is_judged_before_the_tree_is_authentic_and_live():
    asked = []

    @dataclass(frozen=True)
    class Spy(Caveat):
        kind: ClassVar[str] = "vendor/spy"
        value: str = "x"

        @classmethod
        def parse(cls, value):
            asked.append("parse")
            return cls(value)

    checkers = standard_checkers()
    checkers.register(Spy, lambda caveat, context: asked.append("check") or True)
    token = issue(Spy("x"))
    broken = [
        Macaroon(token.wire._replace(signature=b"\1" * 32)),
        token.require_discharge(PARTY, random=counter_random()),
        Bundle(token, [Macaroon.mint(b"x", b"x")]),
    ]
    for presented in broken:
        assert outcome(verifier(checkers=checkers).verify, presented, REQUEST) is not None
        assert outcome(verify, presented, KEYRING.root_key(identifier(4)), checkers, REQUEST) is not None
    assert asked == []
    revoked = RevocationSet([TokenRevocation(TOKEN_ID, LAST)])
    assert outcome(verifier(checkers=checkers, revocations=revoked).verify, token, REQUEST) is Revoked
    assert "check" not in asked


def test_verify_under_one_root_key():
    checkers, key = standard_checkers(), KEYRING.root_key(identifier())
    assert verify(issue(), key, checkers, REQUEST).user == "alice"
    assert verify(issue(), key, checkers, replace(REQUEST, audience=None)).audience == "photos"
    assert outcome(verify, issue(), key, checkers, replace(REQUEST, audience="thumbs")) is WrongAudience
    assert outcome(verify, issue(), ROOT_KEY, checkers, REQUEST) is BadSignature
    assert outcome(verify, Macaroon.mint(ROOT_KEY, b"id"), ROOT_KEY, checkers, REQUEST) is UnknownKey
    assert outcome(verify, Macaroon.mint(ROOT_KEY, b"id"), key, checkers, REQUEST) is BadSignature
    assert outcome(verify, issue(expires=NOW), key, checkers, REQUEST) is UnsatisfiedCaveats
    for bad in (b"", bytes(32), None, "x"):
        assert outcome(verify, issue(), bad, checkers, REQUEST) is InvalidKey


def test_a_root_key_one_byte_shorter_or_longer_is_another_key():
    token = Macaroon.mint(ROOT_KEY, identifier(1), caveats=[User("alice")])
    for key in (ROOT_KEY[:-1], ROOT_KEY + b"\0", b"\0" + ROOT_KEY):
        assert outcome(verify, token, key, standard_checkers(), REQUEST) is BadSignature


# revocation


def test_a_revocation_is_seen_by_the_very_next_verify_of_a_remembered_token():
    entries = [
        TokenRevocation(TOKEN_ID, LAST),
        BranchRevocation(TOKEN_ID, chain.branch_id(issue().wire.signature), LAST),
        UserRevocation("alice", NOW + HOUR, LAST),
    ]
    for entry in entries:
        checking = verifier()
        text = issue().encode()
        for _ in range(3):
            checking.verify(text, REQUEST)
        checking.revocations.add(entry)
        for _ in range(2):
            assert outcome(checking.verify, text, REQUEST) is Revoked
            assert outcome(checking.authenticate, text) is Revoked


def test_a_feed_that_starts_over_is_seen_all_the_same():
    """After a restored backup the sequence begins again below what has been seen."""
    revocations = RevocationSet()
    revocations.add(TokenRevocation(OTHER_TOKEN_ID, LAST), sequence=900)
    checking = verifier(revocations=revocations)
    text = issue().encode()
    checking.verify(text, REQUEST)
    revocations.add(TokenRevocation(TOKEN_ID, LAST), sequence=1)
    assert outcome(checking.verify, text, REQUEST) is Revoked


def test_another_set_of_revocations_is_asked_from_then_on():
    checking = verifier()
    text = issue().encode()
    checking.revocations.add(TokenRevocation(OTHER_TOKEN_ID, LAST))
    checking.verify(text, REQUEST)
    checking.revocations = RevocationSet([TokenRevocation(TOKEN_ID, LAST)])
    assert outcome(checking.verify, text, REQUEST) is Revoked
    checking.revocations = RevocationSet()
    assert outcome(checking.verify, text, REQUEST) is None


def test_a_revocation_during_authentication_is_seen():
    revocations = RevocationSet()

    class Slow(MasterKeyring):
        def root_pads(self, key_id, audience):
            revocations.add(TokenRevocation(TOKEN_ID, LAST))
            return super().root_pads(key_id, audience)

    checking = verifier(keyring=Slow([MASTER]), revocations=revocations)
    assert outcome(checking.verify, issue().encode(), REQUEST) is Revoked


def test_a_revocation_during_the_look_up_is_seen_by_the_next_verify():
    class Late(RevocationSet):
        def may_hit(self, token_id, user):
            hit = super().may_hit(token_id, user)
            if not self.changes:
                self.add(TokenRevocation(TOKEN_ID, LAST))
            return hit

    checking = verifier(revocations=Late())
    text = issue().encode()
    assert outcome(checking.verify, text, REQUEST) is None
    assert outcome(checking.verify, text, REQUEST) is Revoked


def branch(token: Macaroon) -> bytes:
    return chain.branch_id(token.wire.signature)


def test_a_revoked_branch_takes_its_descendants_along_and_leaves_the_rest():
    token = issue()
    copy, sibling = token.attenuate(Note("copy")), token.attenuate(Note("sibling"))
    child = copy.attenuate(Note("child"))
    checking = verifier(revocations=RevocationSet([BranchRevocation(TOKEN_ID, branch(copy), LAST)]))
    for presented, error in ((token, None), (sibling, None), (copy, Revoked), (child, Revoked)):
        assert outcome(checking.verify, presented, REQUEST) is error
        assert outcome(checking.verify, presented.encode(), REQUEST) is error
    assert checking.introspect(token).branches[-1] == branch(token)


def test_a_branch_is_revoked_in_every_encoding_and_with_every_discharge():
    token = issue().require_discharge(PARTY, random=counter_random())
    answer = discharge(open_ticket(token.wire.caveats[-1].ticket, PARTY_KEY), now=NOW)
    checking = verifier(revocations=RevocationSet([BranchRevocation(TOKEN_ID, branch(token), LAST)]))
    bundle = Bundle.bind(token, [answer])
    bare = ".".join(encode_base64(one.to_bytes()) for one in (bundle.macaroon, *bundle.discharges))
    for presented in (bundle, bundle.encode(), bare):
        assert outcome(checking.verify, presented, REQUEST) is Revoked


def renewed(token: Macaroon, at=NOW + 5 * HOUR) -> Macaroon:
    return renew(verifier().authenticate(token), at, lambda name: chain.derive(KEYRING.root_key(name)))


def test_what_was_renewed_dies_with_the_token_the_branch_and_the_user_it_came_from():
    token = issue()
    copy = token.attenuate(Note("copy"))
    again = renewed(copy)
    twice = renewed(again, NOW + 6 * HOUR).attenuate(Note("more"))
    entries = [
        TokenRevocation(TOKEN_ID, LAST),
        BranchRevocation(TOKEN_ID, branch(copy), LAST),
        BranchRevocation(TOKEN_ID, branch(token), LAST),
        UserRevocation("alice", NOW + HOUR, LAST),
    ]
    for entry in entries:
        checking = verifier(revocations=RevocationSet([entry]))
        for presented in (copy, again, twice):
            assert outcome(checking.verify, presented.encode(), REQUEST) is Revoked


def test_a_renewal_dies_alone_by_its_own_branch_or_with_the_copy_by_the_first():
    token = issue()
    again = renewed(token)
    own = verifier(revocations=RevocationSet([BranchRevocation(TOKEN_ID, branch(again), LAST)]))
    assert outcome(own.verify, again, REQUEST) is Revoked
    assert outcome(own.verify, token, REQUEST) is None
    first = verifier().introspect(again).branches[-1]
    both = verifier(revocations=RevocationSet([BranchRevocation(TOKEN_ID, first, LAST)]))
    assert outcome(both.verify, again, REQUEST) is Revoked
    assert outcome(both.verify, token, REQUEST) is Revoked


def test_another_copy_s_renewal_lives_on():
    token = issue()
    copy, other = token.attenuate(Note("copy")), token.attenuate(Note("other"))
    checking = verifier(revocations=RevocationSet([BranchRevocation(TOKEN_ID, branch(copy), LAST)]))
    assert outcome(checking.verify, renewed(other), REQUEST) is None
    assert outcome(checking.verify, renewed(copy), REQUEST) is Revoked


def test_a_token_issued_against_another_dies_with_it_or_with_the_branch_it_came_from():
    parent = issue(token_id=OTHER_TOKEN_ID)
    copy = parent.attenuate(Note("copy"))
    branches = verifier().authenticate(copy).branches()
    child = issue(Parent("k1", OTHER_TOKEN_ID, branches)).attenuate(Note("narrower"))
    entries = [
        (TokenRevocation(OTHER_TOKEN_ID, LAST), Revoked),
        (BranchRevocation(OTHER_TOKEN_ID, branch(copy), LAST), Revoked),
        (BranchRevocation(OTHER_TOKEN_ID, branch(parent), LAST), Revoked),
        (BranchRevocation(OTHER_TOKEN_ID, b"x" * 16, LAST), None),
        (BranchRevocation(TOKEN_ID, branch(copy), LAST), None),
        (UserRevocation("bob", NOW + HOUR, LAST), None),
    ]
    for entry, error in entries:
        checking = verifier()
        text = child.encode()
        assert outcome(checking.verify, text, REQUEST) is None
        checking.revocations.add(entry)
        assert outcome(checking.verify, text, REQUEST) is error
        assert outcome(checking.verify, text, REQUEST) is error


@pytest.mark.parametrize("question", ["verify", "introspect", "authenticate", "failures"])
def test_a_token_dies_with_the_key_of_any_token_that_it_came_of(question):
    """A parent and a grandparent, in what the issuer wrote; and one that a holder named, who can only say no."""
    masters = [MasterKey(f"k{n}", bytes([n]) * 32, KeyState.VERIFYING) for n in (1, 2, 3)]
    named = [Parent("k2", new_token_id(NOW), ()), Parent("k1", OTHER_TOKEN_ID, (b"x" * 16,))]
    child = issue(*named, key_id="k3", keyring=MasterKeyring(masters))
    later = issue(key_id="k3", keyring=MasterKeyring(masters)).attenuate(named[1])
    for text in (child.encode(), child.attenuate(Note("narrower")).encode(), later.encode()):
        checking = verifier(keyring=MasterKeyring(masters))
        ask = getattr(checking, question)
        arguments = (text, REQUEST) if question in ("verify", "failures") else (text,)
        assert outcome(ask, *arguments) is None
        for keys in (masters[1:], [masters[0], masters[2]], [masters[2]]):
            checking.keyring = MasterKeyring(keys).export("photos")
            dead = text != later.encode() or masters[0] not in keys
            assert outcome(ask, *arguments) is (Revoked if dead else None)
        checking.keyring = MasterKeyring(masters)
        assert outcome(ask, *arguments) is None


def test_a_parent_without_a_key_is_no_parent():
    """Older services wrote no key: whether that one is still here nobody can say."""
    old = issue(f"parent = {OTHER_TOKEN_ID}".encode())
    (failure,) = verifier().failures(old, REQUEST)
    assert failure.predicate == f"parent = {OTHER_TOKEN_ID}"


def test_tokens_not_laid_out_as_issued_ones_have_branches_too():
    """One branch dead, the others alive, whatever the issuer left out."""
    name = identifier(1)
    token = Macaroon.mint(KEYRING.root_key(name), name, caveats=[User("alice")])
    copy = token.attenuate(Note("copy"))
    checking = verifier(revocations=RevocationSet([BranchRevocation(TOKEN_ID, branch(copy), LAST)]))
    assert outcome(checking.verify, token, REQUEST) is None
    assert outcome(checking.verify, copy, REQUEST) is Revoked


def test_a_renewal_whose_key_is_gone_in_between_is_refused():
    """The way back to the first branches needs the key; if it is gone the token has no business either."""
    again = renewed(issue())

    class Once(MasterKeyring):
        asked = 0

        def root_pads(self, key_id, audience):
            self.asked += 1
            return super().root_pads(key_id, audience) if self.asked == 1 else None

    entry = BranchRevocation(TOKEN_ID, b"x" * 16, LAST)
    checking = verifier(keyring=Once([MASTER]), revocations=RevocationSet([entry]))
    assert outcome(checking.verify, again, REQUEST) is UnknownKey


def test_no_list_of_a_token_s_revoked_branches_is_made_to_judge_it():
    """There may be any number of them, and whoever has a copy makes more."""

    class Crowded(RevocationSet):
        def branches_of(self, token_id):
            raise AssertionError("as long as there are branches")

    token = issue()
    copy, sibling = token.attenuate(Note("copy")), token.attenuate(Note("sibling"))
    entries = [BranchRevocation(TOKEN_ID, number.to_bytes(16, "big"), LAST) for number in range(20)]
    checking = verifier(revocations=Crowded([*entries, BranchRevocation(TOKEN_ID, branch(copy), LAST)]))
    for _ in range(2):
        assert outcome(checking.verify, sibling.encode(), REQUEST) is None
        assert outcome(checking.verify, copy.encode(), REQUEST) is Revoked


def test_branch_ids_are_computed_only_for_tokens_with_revoked_branches(monkeypatch):
    computed = []
    original = chain.branch_id
    monkeypatch.setattr(chain, "branch_id", lambda signature: computed.append(1) or original(signature))
    entries = [TokenRevocation(OTHER_TOKEN_ID, LAST), BranchRevocation(OTHER_TOKEN_ID, b"x" * 16, LAST)]
    checking = verifier(revocations=RevocationSet(entries))
    checking.verify(issue(), REQUEST)
    assert computed == []


# what can be said without a request


def counted(monkeypatch, name: str) -> list[int]:
    """Grows by one with every call of `chain.name`."""
    calls: list[int] = []
    original = getattr(chain, name)
    monkeypatch.setattr(chain, name, lambda *given: calls.append(1) or original(*given))
    return calls


def test_introspection_says_what_a_token_holds_and_who_added_it():
    token = issue(Scope("photos:*")).attenuate(Note("narrower"))
    seen = verifier().introspect(token.encode())
    assert (seen.user, seen.token_id, seen.audience) == ("alice", TOKEN_ID, "photos")
    assert seen.caveats == token.unverified_caveats
    assert seen.added_by[-2:] == ("issuer", "holder")
    assert seen.branches == verifier().authenticate(token).branches()
    assert seen.issued_at == identifier().issued_at
    assert seen.authority == effective(seen.caveats)
    assert seen.scopes == seen.authority.scopes
    assert seen.expires_at == seen.authority.expires_at
    assert repr(seen).startswith("Introspection(user='alice', token_id=")
    with pytest.raises(AttributeError):
        seen.user = "bob"


def test_introspection_tells_a_whole_token_from_a_narrowed_one():
    token = issue()
    assert verifier().introspect(token).whole
    assert verifier().introspect(renewed(token)).whole
    assert not verifier().introspect(token.attenuate(Note("x"))).whole
    assert not verifier().introspect(renewed(token.attenuate(Note("x")))).whole


def test_introspection_names_the_branches_that_stay_through_renewals():
    token = issue()
    again = renewed(token)
    assert verifier().introspect(again).branches == verifier().introspect(token).branches


def test_introspecting_and_judging_walks_the_chain_once_seen_or_not(monkeypatch):
    checking, text = verifier(), issue(Note("x")).encode()
    walks = counted(monkeypatch, "extend_all")
    for _ in range(3):
        seen = checking.introspect(text)
        assert checking.failures(seen, REQUEST) == ()
        checking.verify(text, REQUEST)
    assert len(walks) == 1


def test_introspecting_a_token_that_was_verified_before_walks_once_more_and_then_never(monkeypatch):
    checking, text = verifier(), issue().encode()
    checking.verify(text, REQUEST)
    expected = verifier().introspect(text)
    walks = counted(monkeypatch, "extend_all")
    assert [checking.introspect(text) for _ in range(3)] == [expected] * 3
    assert len(walks) == 1


def test_a_token_with_revoked_branches_is_walked_once_too(monkeypatch):
    entry = BranchRevocation(TOKEN_ID, b"x" * 16, LAST)
    checking, token = verifier(revocations=RevocationSet([entry])), issue()
    walks = counted(monkeypatch, "extend_all")
    checking.verify(token, REQUEST)
    checking.verify(token.encode(), REQUEST)
    checking.verify(token.encode(), REQUEST)
    assert len(walks) == 2


def test_a_refusal_is_explained_without_another_walk(monkeypatch):
    checking, text = verifier(), issue().encode()
    checking.verify(text, REQUEST)
    walks = counted(monkeypatch, "extend_all")
    (failure,) = checking.failures(text, replace(REQUEST, user="bob"))
    assert failure.added_by == "issuer"
    assert walks == []


def test_nothing_in_a_grant_walks_the_chain(monkeypatch):
    grant = verifier().verify(issue(), REQUEST)
    for name in ("extend_all", "extend_links", "extend", "mac", "branch_id"):
        monkeypatch.setattr(chain, name, None)
    for name in dir(grant):
        if not name.startswith("__"):
            getattr(grant, name)


def test_introspection_of_a_revoked_token_is_only_for_who_asks_for_it():
    revocations = RevocationSet([TokenRevocation(TOKEN_ID, LAST)])
    checking = verifier(revocations=revocations)
    for token in (issue(), issue().encode()):
        assert outcome(checking.introspect, token) is Revoked
        assert checking.introspect(token, even_revoked=True).token_id == TOKEN_ID
        assert outcome(checking.verify, token, REQUEST) is Revoked


def test_a_revoked_token_is_authenticated_only_for_who_asks_for_it():
    checking = verifier(revocations=RevocationSet([TokenRevocation(TOKEN_ID, LAST)]))
    assert outcome(checking.authenticate, issue()) is Revoked
    assert checking.authenticate(issue(), even_revoked=True).macaroon == issue()


@dataclass(frozen=True)
class Slow(Caveat):
    kind: ClassVar[str] = "vendor/slow"
    value: str = "x"

    @classmethod
    def parse(cls, value):
        return cls(value)


def test_a_check_that_is_a_coroutine_refuses_and_leaves_nothing_unawaited():
    async def check(caveat, context):
        return True

    checkers = standard_checkers()
    checkers.register(Slow, check)
    token = issue(Slow())
    assert outcome(verifier(checkers=checkers).verify, token, REQUEST) is UnsatisfiedCaveats
    assert (
        outcome(verify, token, KEYRING.root_key(token.unverified_identifier), checkers, REQUEST)
        is UnsatisfiedCaveats
    )


def test_a_token_whose_checks_alone_do_not_decide_is_granted_under_its_root_key_too():
    token = issue(Audience("photos"))
    assert (
        verify(token, KEYRING.root_key(token.unverified_identifier), standard_checkers(), REQUEST).audience
        == "photos"
    )


def test_what_was_introspected_is_judged_for_its_audience_only():
    seen = verifier().introspect(issue())
    assert outcome(verifier().failures, seen, replace(REQUEST, audience="thumbs")) is WrongAudience
    assert outcome(verifier(audience=None).failures, seen, replace(REQUEST, audience=None)) is WrongAudience
    for context in (REQUEST, replace(REQUEST, audience=None), replace(REQUEST, audience="photos")):
        assert verifier().failures(seen, context) == ()
    restricted = verifier().introspect(issue(Audience("photos")))
    assert verifier().failures(restricted, replace(REQUEST, audience=None)) == ()


# what is remembered


def remembered(checking: Verifier) -> list[str]:
    return [*checking._cache._young, *checking._cache._old]


def many(count: int) -> list[str]:
    return [issue(token_id=new_token_id(NOW)).encode() for _ in range(count)]


def test_what_is_remembered_is_bounded_in_entries():
    checking = verifier(cache_entries=10)
    for text in many(100):
        checking.verify(text, REQUEST)
        assert len(remembered(checking)) <= 10
        assert text in remembered(checking)


def test_what_is_remembered_is_bounded_in_bytes():
    checking = verifier(cache_bytes=40_000)
    for text in many(100):
        checking.verify(text, REQUEST)
        assert sum(map(len, remembered(checking))) * 4 <= 40_000
    assert remembered(checking)


@pytest.mark.slow
def test_what_is_remembered_of_wordy_tokens_is_bounded_in_bytes_of_memory():
    """A scope of four characters takes some two hundred bytes once it is typed."""
    checking = verifier(cache_bytes=1_000_000)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(40):
            lists = [Scope(*[f"{n}a{number}x{m}:r" for n in range(60)]) for m in range(8)]
            text = issue(*lists, token_id=new_token_id(NOW)).encode()
            assert outcome(checking.verify, text, REQUEST) is UnsatisfiedCaveats
        checking.checkers._clear()
        parse_scope.cache_clear()
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert remembered(checking)
    assert kept < 1_500_000


@pytest.mark.parametrize(
    "bounds", [{"cache_entries": 0}, {"cache_bytes": 0}, {"cache_entries": 1}, {"cache_bytes": 1000}]
)
def test_bounds_too_small_for_one_token_remember_nothing(bounds):
    checking = verifier(**bounds)
    for text in many(3):
        assert outcome(checking.verify, text, REQUEST) is None
    assert remembered(checking) == []


def test_what_was_used_lately_outlives_a_turn():
    checking = verifier(cache_entries=10)
    first, *rest = many(8)
    checking.verify(first, REQUEST)
    for text in rest:
        checking.verify(text, REQUEST)
    assert first in remembered(checking)
    assert checking.verify(first, REQUEST)


def test_a_token_in_use_is_not_forgotten_for_those_that_come_once():
    checking = verifier(cache_entries=10)
    used, *once = many(60)
    checking.verify(used, REQUEST)
    entry = checking._cache.find(used)
    for text in once:
        checking.verify(text, REQUEST)
        checking.verify(used, REQUEST)
        assert checking._cache.find(used) is entry
    assert once[0] not in remembered(checking)


def test_what_is_forgotten_while_it_is_looked_for_does_not_come_back():
    checking = verifier(cache_entries=10)
    used, *rest = many(7)
    for text in (used, *rest):
        checking.verify(text, REQUEST)
    cache, old = checking._cache, checking._cache._old

    class Forgetting(dict):
        def get(self, text, default=None):
            checking._cache.clear()
            return old.get(text)

    cache._old = Forgetting()
    assert cache.find(used)
    assert remembered(checking) == []


def test_what_is_not_authentic_is_not_remembered():
    checking = verifier()
    for _, token, error in STAGES:
        if error in (BadSignature, UnknownKey, MissingDischarge, MalformedToken):
            text = token if isinstance(token, str) else token.encode()
            outcome(checking.verify, text, REQUEST)
    assert remembered(checking) == []


def test_a_remembered_token_is_judged_every_time():
    checking = verifier()
    text = issue().encode()
    assert outcome(checking.verify, text, REQUEST) is None
    assert outcome(checking.verify, text, replace(REQUEST, now=LAST)) is UnsatisfiedCaveats
    assert outcome(checking.verify, text, replace(REQUEST, user="bob")) is UnsatisfiedCaveats
    assert outcome(checking.verify, text, REQUEST) is None


def test_a_new_keyring_forgets_everything():
    checking = verifier()
    text = issue().encode()
    checking.verify(text, REQUEST)
    checking.keyring = MasterKeyring([MasterKey("k2", b"x" * 32)])
    assert checking.keyring.key_ids == ("k2",)
    assert remembered(checking) == []
    assert outcome(checking.verify, text, REQUEST) is UnknownKey
    checking.keyring = KEYRING
    assert outcome(checking.verify, text, REQUEST) is None


@pytest.mark.parametrize("full", [False, True])
def test_a_token_authenticated_while_the_keys_change_is_not_remembered(full):
    """However full the memory is: what the old keys vouched for must not outlive them."""
    retired = MasterKeyring([MasterKey("k2", b"x" * 32)])

    class Changing(MasterKeyring):
        armed = False

        def root_pads(self, key_id, audience):
            found = super().root_pads(key_id, audience)
            if self.armed:
                checking.keyring = retired
            return found

    old = Changing([MASTER])
    checking = verifier(keyring=old, cache_entries=8)
    if full:
        for text in many(4):
            checking.verify(text, REQUEST)
    old.armed = True
    text = issue().encode()
    assert outcome(checking.verify, text, REQUEST) is None  # the old keys were in force when it came
    assert remembered(checking) == []
    assert outcome(checking.verify, text, REQUEST) is UnknownKey


def test_the_checkers_that_are_handed_in_judge_from_the_start():
    assert outcome(verifier(checkers=standard_checkers()).verify, issue(), REQUEST) is None
    assert outcome(verifier(checkers=Checkers()).verify, issue(), REQUEST) is BadSignature  # it knows no user


def test_a_verifier_with_the_keys_of_another_audience_is_refused_when_it_is_made():
    assert outcome(Verifier, KEYRING.export("thumbs"), audience="photos") is InvalidKey
    assert outcome(Verifier, KEYRING.export("photos"), audience="photos") is None
    assert outcome(Verifier, KEYRING.export("photos"), audience=None) is None


def test_a_token_that_no_third_party_has_agreed_to_is_introspected_only_for_who_asks_for_it():
    asking = issue().require_discharge(PARTY, random=counter_random())
    checking = verifier()
    assert outcome(checking.introspect, asking) is MissingDischarge
    token = checking.introspect(asking, even_undischarged=True)
    assert (token.user, token.token_id, token.whole) == ("alice", TOKEN_ID, False)
    assert token.branches == verifier().introspect(issue()).branches + token.branches[-1:]
    assert [each == "issuer" for each in token.added_by] == [True, True, True]
    assert outcome(checking.introspect, asking) is MissingDischarge
    forged = Macaroon.mint(ROOT_KEY, identifier(), caveats=issue().unverified_caveats)
    assert outcome(checking.introspect, forged, even_undischarged=True) is BadSignature


def test_other_checkers_judge_from_then_on():
    checking = verifier()
    text = issue(Note("x")).encode()
    assert outcome(checking.verify, text, REQUEST) is None
    strict = Checkers()
    for kind, example in EXAMPLES.items():
        if kind is not Note:
            strict.register(kind, standard_checkers().check_for(example[0]))
    checking.checkers = strict
    assert checking.checkers is strict
    assert outcome(checking.verify, text, REQUEST) is UnsatisfiedCaveats


def test_a_kind_registered_later_is_judged_for_remembered_tokens_too():
    @dataclass(frozen=True)
    class Plug(Caveat):
        kind: ClassVar[str] = "vendor/plug"
        value: str = "x"

        @classmethod
        def parse(cls, value):
            return cls(value)

    checking = verifier()
    text = issue(Plug("x")).encode()
    assert outcome(checking.verify, text, REQUEST) is UnsatisfiedCaveats
    checking.checkers.register(Plug, lambda caveat, context: True)
    assert outcome(checking.verify, text, REQUEST) is None


def test_limits_are_the_verifier_s():
    assert outcome(verifier(limits=Limits(caveats=3)).verify, issue().encode(), REQUEST) is None
    assert outcome(verifier(limits=Limits(caveats=2)).verify, issue().encode(), REQUEST) is LimitExceeded


def test_limits_hold_under_one_root_key_too():
    for limits, error in ((Limits(caveats=3), None), (Limits(caveats=2), LimitExceeded)):
        key = KEYRING.root_key(identifier())
        judged = outcome(verify, issue().encode(), key, standard_checkers(), REQUEST, limits=limits)
        assert judged is error


def test_the_limits_of_a_bundle_are_the_verifier_s():
    asking = issue().require_discharge(PARTY, random=counter_random())
    answer = discharge(open_ticket(asking.wire.caveats[-1].ticket, PARTY_KEY), now=NOW)
    text = Bundle.bind(asking, [answer]).encode()
    assert outcome(verifier(limits=Limits(bundle_text=len(text))).verify, text, REQUEST) is None
    assert outcome(verifier(limits=Limits(bundle_text=len(text) - 1)).verify, text, REQUEST) is LimitExceeded


def test_the_depth_of_discharges_is_limited_by_the_verifier():
    asking = issue().with_third_party("", b"one", b"one", nonce=bytes(24))
    inner = Macaroon.mint(b"one", b"one").with_third_party("", b"two", b"two", nonce=bytes(24))
    bundle = Bundle.bind(asking, [inner, Macaroon.mint(b"two", b"two")])
    key = KEYRING.root_key(identifier())
    for limits, error in ((Limits(depth=2), None), (Limits(depth=1), LimitExceeded)):
        assert outcome(verifier(limits=limits).verify, bundle, REQUEST) is error
        assert outcome(verify, bundle, key, standard_checkers(), REQUEST, limits=limits) is error


def test_a_check_that_fails_refuses_on_the_quick_way_too():
    @dataclass(frozen=True)
    class Plug(Caveat):
        kind: ClassVar[str] = "vendor/plug"
        value: str = "x"

        @classmethod
        def parse(cls, value):
            return cls(value)

    checkers = standard_checkers()
    checkers.register(Plug, lambda caveat, context: 1 / 0)
    checking = verifier(checkers=checkers)
    for _ in range(2):
        assert outcome(checking.verify, issue(Plug("x")).encode(), REQUEST) is UnsatisfiedCaveats


def test_many_threads_verify_revoke_and_rotate():
    checking = verifier(cache_entries=32)
    texts = many(64)
    dead = [issue(token_id=new_token_id(NOW)) for _ in range(200)]
    errors = []
    done = threading.Event()

    def work():
        try:
            while not done.is_set():
                for text in texts:
                    assert checking.verify(text, REQUEST).user == "alice"
        except BaseException as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    threads = [threading.Thread(target=work) for _ in range(3)]
    try:
        for thread in threads:
            thread.start()
        for number, token in enumerate(dead):
            text = token.encode()
            assert outcome(checking.verify, text, REQUEST) is None
            checking.revocations.add(TokenRevocation(token.unverified_identifier.token_id, LAST))
            assert outcome(checking.verify, text, REQUEST) is Revoked
            if number % 20 == 0:
                checking.keyring = MasterKeyring([MASTER])
                checking.revocations.prune(NOW)
            assert len(remembered(checking)) <= 32 + 2 * len(threads)
    finally:
        done.set()
        sys.setswitchinterval(before)
        for thread in threads:
            thread.join()
    assert not errors


def test_time_passes_between_verifications():
    checking = verifier()
    text = issue().encode()
    for minutes in range(0, 120, 7):
        now = NOW + timedelta(minutes=minutes)
        expected = None if now < LAST else UnsatisfiedCaveats
        assert outcome(checking.verify, text, replace(REQUEST, now=now)) is expected


def test_the_bare_functions_say_that_they_do_not_ask_about_parents_and_a_verifier_asks():
    """They know one root key: the child of a token whose key is gone passes them."""
    token = issue(Parent("k9", OTHER_TOKEN_ID, (b"b" * 16,)), scope="photos:read")
    key = KEYRING.root_key(token.unverified_identifier)
    granted = verify(token, key, standard_checkers(), REQUEST).caveats
    authentic = authenticate(token, key).caveats
    for caveats in (granted, authentic):
        assert [KEYRING.has_key(one.key_id) for one in caveats if isinstance(one, Parent)] == [False]
    for function in (verify, authenticate):
        assert "Keyring.has_key" in (function.__doc__ or "")
    with pytest.raises(Revoked, match="under key k9"):
        Verifier(KEYRING, audience="photos").verify(token, REQUEST)
