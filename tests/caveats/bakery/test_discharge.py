"""A bakery's discharges: minted for what holds, collected with their tickets, believed only of whom one trusts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from caveats import (
    BadSignature,
    Bundle,
    Context,
    DischargeRefused,
    LimitExceeded,
    Macaroon,
    MalformedTicket,
    Note,
    PrivateKey,
    Unbound,
    UnusedDischarge,
    authenticate,
    unsatisfied,
)
from caveats.bakery import (
    LOCAL,
    LOCAL_CONDITION,
    V1,
    V2,
    V3,
    BakeryMacaroon,
    BakeryParty,
    Declared,
    Namespace,
    Needed,
    TimeBefore,
    collect,
    declared_by,
    discharge,
    discharge_local,
    first_party_checkers,
    open_ticket,
    third_party_checkers,
)
from caveats.token import chain
from tests.support.law import NOW, PARTY_KEY, ROOT_KEY, counter_random, outcome

VERSIONS = (V1, V2, V3)
OTHER_KEY = PrivateKey(b"q" * 32)
CHECKERS = third_party_checkers()
ALICE = Context(now=NOW, user="alice", extra={"groups": ("ops",)})
FIRST = first_party_checkers()


def party(
    version: int = V3, key: PrivateKey = PARTY_KEY, location: str = "https://idm.example"
) -> BakeryParty:
    return BakeryParty(location, key.public_key, version)


def root(version: int = V3, identifier: bytes = b"root") -> BakeryMacaroon:
    return BakeryMacaroon(Macaroon.mint(ROOT_KEY, identifier), version)


def opened(macaroon: BakeryMacaroon, key: PrivateKey = PARTY_KEY):
    """The ticket of the last caveat."""
    name = macaroon.macaroon.wire.caveats[-1].ticket
    return open_ticket(macaroon.payloads.get(name, name), key, identifier=name)


def ticket(condition: str, version: int = V3, **more: object):
    return opened(root(version).require_discharge(party(version), condition, random=counter_random(), **more))


def said(macaroon: BakeryMacaroon) -> list[str]:
    return [caveat.decode() for caveat in macaroon.macaroon.wire.caveats]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_holds_is_discharged_in_the_version_of_its_ticket(version):
    token = root(version).require_discharge(party(version), "is-authenticated-user", random=counter_random())
    answer = discharge(opened(token), CHECKERS, ALICE, declared={"username": "alice"}, caveats=[Note("x")])
    assert answer.version == version
    assert said(answer) == ["declared username alice", "time-before 2026-11-21T12:05:00Z", "note = x"]
    assert BakeryMacaroon.decode(answer.encode()).macaroon == answer.macaroon
    authentic = authenticate(Bundle.bind(token.macaroon, [answer.macaroon]), ROOT_KEY, kinds=FIRST.kinds)
    assert authentic.caveats[0] == Declared("username", "alice")


@pytest.mark.parametrize(
    ("condition", "context", "error"),
    [
        ("is-authenticated-user", ALICE, None),
        ("<is-authenticated-user", ALICE, None),
        ("need-declared username is-authenticated-user", ALICE, None),
        ("is-member-of dev ops", ALICE, None),
        ("is-authenticated-user", Context(now=NOW), DischargeRefused),
        ("is-member-of dev", ALICE, DischargeRefused),
        ("is-authenticated-user @example.com", ALICE, DischargeRefused),
        ("frobnicate", ALICE, DischargeRefused),
        ("allow read", ALICE, DischargeRefused),
        ("true", ALICE, DischargeRefused),
        (" is-authenticated-user", ALICE, DischargeRefused),
        ("", ALICE, DischargeRefused),
        ("need-declared a need-declared b is-authenticated-user", ALICE, DischargeRefused),
        ("need-declared username", ALICE, MalformedTicket),
    ],
)
def test_a_discharge_is_minted_only_for_what_holds(condition, context, error):
    assert outcome(discharge, ticket(condition), CHECKERS, context) is error


def test_a_refusal_explains_the_condition():
    with pytest.raises(DischargeRefused) as caught:
        discharge(ticket("is-member-of dev"), CHECKERS, ALICE)
    (failure,) = caught.value.failures
    assert failure.predicate == "is-member-of dev"


def test_what_needs_to_be_declared_is_declared_if_only_as_nothing():
    asked = ticket("need-declared username,email is-authenticated-user")
    answer = discharge(asked, CHECKERS, ALICE, declared={"username": "alice", "age": "7"})
    assert said(answer)[:3] == ["declared username alice", "declared age 7", "declared email "]


def test_what_is_declared_is_written_under_the_first_party_s_namespace():
    token = BakeryMacaroon(Macaroon.mint(ROOT_KEY, b"root"), namespace=Namespace.parse("std:s"))
    token = token.require_discharge(party(), "is-authenticated-user")
    answer = discharge(opened(token), CHECKERS, ALICE, declared={"username": "alice"})
    assert said(answer) == ["s:declared username alice", "s:time-before 2026-11-21T12:05:00Z"]


def test_a_discharge_lives_as_long_as_it_is_told():
    answer = discharge(ticket("is-authenticated-user"), CHECKERS, ALICE, life=timedelta(hours=1))
    assert said(answer) == [str(TimeBefore.at(NOW + timedelta(hours=1)))]


# Collecting


def run(macaroon: BakeryMacaroon, ask, key: PrivateKey | None = None) -> Unbound:
    collecting, answer = collect(macaroon, key), None
    while True:
        try:
            needed = collecting.send(answer)
        except StopIteration as done:
            return done.value
        answer = ask(needed)


def answering(
    key: PrivateKey = PARTY_KEY, further: BakeryParty | None = None, asked: list[Needed] | None = None
):
    def ask(needed: Needed) -> BakeryMacaroon:
        if asked is not None:
            asked.append(needed)
        data = needed.identifier if needed.payload is None else needed.payload
        try:
            ticket = open_ticket(data, key, identifier=needed.identifier)
        except MalformedTicket:
            return discharge(open_ticket(data, OTHER_KEY, identifier=needed.identifier), CHECKERS, ALICE)
        answer = discharge(ticket, CHECKERS, ALICE, declared={"username": "alice"})
        if further is not None:
            answer = answer.require_discharge(further, "is-member-of ops")
        return BakeryMacaroon.decode(answer.encode())

    return ask


@pytest.mark.parametrize("version", VERSIONS)
def test_discharges_that_need_discharges_are_collected_with_their_tickets(version):
    token = root(version).require_discharge(party(version), "is-authenticated-user")
    asked: list[Needed] = []
    further = party(version, OTHER_KEY, "https://groups.example")
    found = run(token, answering(further=further, asked=asked))
    assert [needed.location for needed in asked] == ["https://idm.example", "https://groups.example"]
    assert all((needed.payload is not None) is (version == V3) for needed in asked)
    authentic = authenticate(found.bind(), ROOT_KEY)
    assert unsatisfied(authentic.caveats, FIRST, Context(now=NOW)) == ()


def test_the_tickets_of_a_tree_have_names_of_their_own():
    token = root().require_discharge(party(), "is-authenticated-user")
    token = token.require_discharge(party(), "is-member-of ops")
    asked: list[Needed] = []
    run(token, answering(further=party(key=OTHER_KEY), asked=asked))
    assert [needed.identifier for needed in asked] == [b"\3\0", b"\3\0\0", b"\3\1", b"\3\1\0"]


def test_an_answer_cannot_replace_the_ticket_of_another_caveat():
    token = (
        root()
        .require_discharge(party(), "is-authenticated-user")
        .require_discharge(party(), "is-member-of ops")
    )
    asked: list[Needed] = []

    def ask(needed: Needed) -> BakeryMacaroon:
        answer = answering(asked=asked)(needed)
        return BakeryMacaroon(answer.macaroon, payloads={b"\3\1": b"another"})

    run(token, ask)
    assert [needed.payload for needed in asked] == list(token.payloads.values())


def test_answers_that_ask_for_ever_more_end():
    token = root().require_discharge(party(), "is-authenticated-user")

    def ask(needed: Needed) -> BakeryMacaroon:
        answer = answering()(needed)
        return BakeryMacaroon(answer.macaroon, prefix=needed.identifier).require_discharge(
            party(), "is-member-of ops"
        )

    assert outcome(run, token, ask) is LimitExceeded
    assert outcome(run, token, lambda needed: None) is UnusedDischarge
    assert outcome(run, token, lambda needed: root()) is UnusedDischarge


@pytest.mark.parametrize("version", VERSIONS)
def test_a_holder_discharges_what_is_asked_of_its_key(version):
    agent = PrivateKey(b"a" * 32)
    token = root(version).require_discharge(party(version, agent, LOCAL), LOCAL_CONDITION)
    token = token.require_discharge(party(version), "is-authenticated-user")
    found = run(token, answering(), agent)
    assert authenticate(found.bind(), ROOT_KEY).third_parties == ("", "")
    assert outcome(run, token, answering(), OTHER_KEY) is MalformedTicket
    asked: list[str] = []
    assert outcome(run, token, lambda needed: asked.append(needed.location)) is UnusedDischarge
    assert asked == [LOCAL]


def test_a_holder_says_nothing_else_with_its_key():
    token = root().require_discharge(party(key=PARTY_KEY, location=LOCAL), "is-authenticated-user")
    name = token.macaroon.wire.caveats[0].ticket
    assert outcome(discharge_local, name, token.payloads[name], PARTY_KEY) is DischargeRefused
    assert outcome(discharge_local, name, None, PARTY_KEY) is MalformedTicket


# Whom to believe

NAMES = ("username",)


def believed(token: BakeryMacaroon, *answers: BakeryMacaroon, names=NAMES, key=PARTY_KEY, root_key=ROOT_KEY):
    bundle = Bundle.bind(token.macaroon, [answer.macaroon for answer in answers])
    return dict(declared_by(authenticate(bundle, ROOT_KEY), party(key=key), root_key, names))


def trusting(
    version: int = V3, names=NAMES, spoken: BakeryParty | None = None, token: BakeryMacaroon | None = None
):
    return (token or root(version)).require_discharge(
        spoken or party(version), "is-authenticated-user", declared=names, root_key=ROOT_KEY
    )


def answer_to(token: BakeryMacaroon, key: PrivateKey = PARTY_KEY, **declared: str) -> BakeryMacaroon:
    return discharge(opened(token, key), CHECKERS, ALICE, declared=declared)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_party_that_the_issuer_named_says_who_the_user_is(version):
    token = trusting(version)
    assert believed(token, answer_to(token, username="alice")) == {"username": "alice"}
    assert believed(token, answer_to(token, username="alice", age="7")) == {"username": "alice"}
    assert believed(token.attenuate(Note("x")), answer_to(token, username="alice")) == {"username": "alice"}


def test_several_names_are_believed_together():
    token = trusting(names=("username", "email"))
    answer = answer_to(token, username="alice")
    assert believed(token, answer, names=("username", "email")) == {"username": "alice"}
    assert believed(token, answer, names=("username",)) == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_holder_appends_is_not_believed(version):
    token = trusting(version)
    silent, speaking = answer_to(token), answer_to(token, username="alice")
    mallory = Declared("username", "mallory")
    assert believed(token, silent) == {}
    assert believed(token, silent.attenuate(mallory)) == {}
    assert believed(token, speaking.attenuate(mallory)) == {}
    assert believed(token.attenuate(mallory), silent) == {}
    for narrowed in (speaking.attenuate(mallory), silent.attenuate(mallory)):
        bundle = Bundle.bind(token.macaroon, [narrowed.macaroon])
        assert unsatisfied(authenticate(bundle, ROOT_KEY).caveats, FIRST, Context(now=NOW))


def test_a_party_that_was_not_named_says_nothing():
    token = trusting()
    both = token.require_discharge(
        party(key=OTHER_KEY, location="https://idm.example"), "is-authenticated-user"
    )
    answers = [answer_to(token), answer_to(both, OTHER_KEY, username="mallory")]
    assert believed(both, *answers) == {}
    assert believed(both, *answers, key=OTHER_KEY) == {}


def test_a_discharge_that_a_holder_asked_for_is_not_believed():
    """The holder makes the ticket, knows its key, and says of itself what it likes."""
    token = root()
    for guess in (
        b"k" * 24,
        chain.caveat_key(b"a guess", b"declared username\0" + PARTY_KEY.public_key + b"n" * 24 + b"root"),
    ):
        asked = BakeryMacaroon(
            token.macaroon.with_third_party("https://idm.example", guess, b"t", nonce=b"n" * 24)
        )
        forged = BakeryMacaroon(Macaroon.mint(guess, b"t", caveats=[Declared("username", "mallory")]))
        assert believed(asked, forged) == {}
    plain = token.require_discharge(party(), "need-declared username is-authenticated-user")
    assert believed(plain, answer_to(plain, username="alice")) == {}


def test_what_was_required_for_one_token_is_believed_of_that_one_only():
    tokens = [trusting(token=root(identifier=name)) for name in (b"one", b"two")]
    assert len({opened(token).caveat_key for token in tokens}) == 2
    assert believed(tokens[0], answer_to(tokens[0], username="alice"), root_key=b"another") == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_answer_to_an_easier_question_is_none_under_the_name_of_a_harder_one(version):
    """Whoever asks says what the discharge is called. Two caveats of one party, both believed, share no key."""
    token = trusting(version).require_discharge(
        party(version), "is-member-of board", declared=NAMES, root_key=ROOT_KEY
    )
    easy, hard = (caveat.ticket for caveat in token.macaroon.wire.caveats)
    answers = []
    for name in (easy, hard):
        asked = open_ticket(token.payloads.get(easy, easy), PARTY_KEY, identifier=name)
        answers.append(discharge(asked, CHECKERS, ALICE, declared={"username": "alice"}).macaroon)
    assert [answer.identifier for answer in answers] == [easy, hard]
    assert outcome(authenticate, Bundle.bind(token.macaroon, answers), ROOT_KEY) is BadSignature
