"""The released macaroonbakery and we agree, both ways: tickets, tokens, discharges, verdicts, header values."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import nacl.public
import pytest
from macaroonbakery import bakery as theirs
from macaroonbakery import checkers as their_checkers
from macaroonbakery import httpbakery
from macaroonbakery.bakery import _codec as their_codec

from caveats import (
    Bundle,
    CaveatsError,
    Context,
    Macaroon,
    PrivateKey,
    UnsatisfiedCaveats,
    authenticate,
    unsatisfied,
)
from caveats.bakery import (
    LOCAL,
    LOCAL_CONDITION,
    V1,
    V2,
    V3,
    Allow,
    BakeryMacaroon,
    BakeryParty,
    Declared,
    Namespace,
    TimeBefore,
    collect,
    declared_by,
    decode_binaries,
    decode_header,
    discharge,
    encode_header,
    first_party_checkers,
    open_ticket,
    seal_ticket,
    third_party_checkers,
)
from tests.support.law import NOW, PARTY_KEY, outcome

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

VERSIONS = (V1, V2, V3)
GENERATED = 1000
IDM = "https://idm.example"
CONDITION = "is-authenticated-user"
OURS = first_party_checkers()
ALICE = Context(now=NOW, user="alice")


def their_key(key: PrivateKey) -> theirs.PrivateKey:
    return theirs.PrivateKey(nacl.public.PrivateKey(key.secret))


def party(version: int, key: PrivateKey = PARTY_KEY, location: str = IDM) -> BakeryParty:
    return BakeryParty(location, key.public_key, version)


# The codec


def generated(version: int):
    """Conditions, root keys and namespaces, the same in each run."""
    source = random.Random(version)
    letters = "aZ09 =:,@<\\\"'{}\0\t\n\x7fäß€🖨\u2028"
    for _ in range(GENERATED):
        condition = "".join(source.choices(letters, k=source.randrange(1, 200)))
        words = sorted({f"uri{source.randrange(9)}" for _ in range(source.randrange(4))} | {"std"})
        space = Namespace(tuple((word, source.choice(["", "p", "q-r"])) for word in words))
        yield condition, source.randbytes(source.choice([1, 16, 24, 32, 64, 200])) + b"\1", space


@pytest.mark.parametrize("version", VERSIONS)
def test_a_thousand_of_our_tickets_say_the_same_to_macaroonbakery(version):
    key = their_key(PARTY_KEY)
    for condition, caveat_key, space in generated(version):
        data = seal_ticket(party(version), condition, caveat_key, namespace=space)
        read = their_codec.decode_caveat(key, data)
        ours = open_ticket(data, PARTY_KEY)
        assert (read.condition, read.root_key, read.version) == (condition, caveat_key, version)
        assert (ours.written, ours.caveat_key, ours.version) == (condition, caveat_key, version)
        assert str(read.namespace) == str(ours.namespace) == (str(space) if version == V3 else "std:")
        assert read.first_party_public_key.serialize(raw=True) == ours.first_party


@pytest.mark.parametrize("version", VERSIONS)
def test_a_thousand_of_macaroonbakery_s_tickets_say_the_same_to_us(version):
    first = theirs.generate_key()
    info = theirs.ThirdPartyInfo(version=version, public_key=their_key(PARTY_KEY).public_key)
    for condition, caveat_key, space in generated(version):
        namespace = their_checkers.Namespace(dict(space.prefixes))
        data = their_codec.encode_caveat(condition, caveat_key, info, first, namespace)
        read = open_ticket(data, PARTY_KEY)
        assert (read.written, read.caveat_key, read.version) == (condition, caveat_key, version)
        assert read.first_party == first.public_key.serialize(raw=True)
        assert str(read.namespace) == (str(space) if version == V3 else "std:")


# Tokens and discharges


class Identities(theirs.IdentityClient):
    """Whoever is declared as `username`."""

    def identity_from_context(self, ctx):
        return None, None

    def declared_identity(self, ctx, declared):
        if not declared.get("username"):
            raise theirs.IdentityError("no username declared")
        return theirs.SimpleIdentity(declared["username"])


class Asked(theirs.ThirdPartyCaveatChecker):
    """A third party of theirs that says yes to everybody, as alice."""

    def check_third_party_caveat(self, ctx, info):
        if info.condition != CONDITION:
            raise theirs.ThirdPartyCaveatCheckFailed("no")
        return [their_checkers.declared_caveat("username", "alice")]


class FirstParty:
    """A service made of their parts."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.locator = theirs.ThirdPartyStore()
        info = theirs.ThirdPartyInfo(version=version, public_key=their_key(PARTY_KEY).public_key)
        self.locator.add_info(IDM, info)
        self.oven = theirs.Oven(
            key=theirs.generate_key(), location="https://app.example", locator=self.locator
        )
        self.checker = theirs.Checker(
            checker=their_checkers.Checker(),
            authorizer=theirs.ClosedAuthorizer(),
            identity_client=Identities(),
            macaroon_opstore=self.oven,
        )

    @property
    def root_key(self) -> bytes:
        return self.oven.root_keystore_for_ops(None).root_key()[0]

    def mint(self, *conditions: str, op=theirs.LOGIN_OP) -> theirs.Macaroon:
        caveats = [their_checkers.Caveat(condition, location=IDM) for condition in conditions]
        expiry = NOW.replace(tzinfo=None) + timedelta(days=365_000)
        return self.oven.macaroon(self.version, expiry, caveats, [op])

    def user_of(self, bundle: Bundle) -> str:
        """Whom their checker lets in; raises if it lets nobody in."""
        value = encode_header(bundle, self.version)
        macaroons = httpbakery.extract_macaroons({"Macaroons": value})
        info = self.checker.auth(macaroons).allow(their_checkers.AuthContext(), [theirs.LOGIN_OP])
        return info.identity.id()


def collected(macaroon: BakeryMacaroon, life: timedelta = timedelta(days=365_000), **declared: str):
    """With discharges of ours."""
    collecting, answer = collect(macaroon), None
    while True:
        try:
            needed = collecting.send(answer)
        except StopIteration as done:
            return done.value
        data = needed.identifier if needed.payload is None else needed.payload
        ticket = open_ticket(data, PARTY_KEY, identifier=needed.identifier)
        answer = discharge(ticket, third_party_checkers(), ALICE, declared=declared, life=life)


def discharged_by_them(macaroon: BakeryMacaroon, local: PrivateKey | None = None) -> Bundle:
    """With discharges of theirs, collected by their client."""

    def get(caveat, payload):
        return theirs.discharge(
            their_checkers.AuthContext(),
            id=caveat.caveat_id_bytes,
            caveat=payload,
            key=their_key(PARTY_KEY),
            checker=Asked(),
            locator=None,
        )

    key = None if local is None else their_key(local)
    found = theirs.discharge_all(theirs.Macaroon.from_dict(macaroon.to_members()), get, key)
    root, *discharges = (Macaroon.from_pymacaroons(each) for each in found)
    assert root == macaroon.macaroon
    return Bundle(root, discharges)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_their_oven_mints_and_we_discharge_lets_alice_in_there_and_here(version):
    app = FirstParty(version)
    minted = app.mint(CONDITION)
    read = BakeryMacaroon.decode(minted.serialize_json())
    assert read.version == version
    assert BakeryMacaroon.decode(read.encode()) == read
    bundle = collected(read, username="alice").bind()
    assert app.user_of(bundle) == "alice"
    authentic = authenticate(bundle, app.root_key, kinds=OURS.kinds)
    assert unsatisfied(authentic.caveats, OURS, Context(now=NOW)) == ()
    assert Declared("username", "alice") in authentic.caveats


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_wrong_is_wrong_there_and_here(version):
    app = FirstParty(version)
    unbound = collected(BakeryMacaroon.decode(app.mint(CONDITION).serialize_json()), username="alice")
    expired = TimeBefore.at(NOW - timedelta(days=365_0))
    mallory = Declared("username", "mallory")
    cases = [
        Bundle(unbound.macaroon),
        Bundle(unbound.macaroon, unbound.discharges),
        unbound.attenuate(expired).bind(),
        unbound.attenuate(mallory).bind(),
        unbound.attenuate(b"no such condition").bind(),
        unbound.attenuate(b"error x").bind(),
        unbound.attenuate(Allow("nothing")).bind(),
        Bundle.bind(unbound.macaroon, [unbound.discharges[0].attenuate(mallory)]),
        Bundle(unbound.macaroon.attenuate(b"x"), unbound.bind().discharges),
    ]
    for bundle in cases:
        with pytest.raises(Exception):  # noqa: B017  # theirs have no root in common
            app.user_of(bundle)
        assert outcome(judge, bundle, app.root_key) is not None
    assert outcome(judge, unbound.bind(), app.root_key) is None


def judge(bundle: Bundle, root_key: bytes) -> None:
    authentic = authenticate(bundle, root_key, kinds=OURS.kinds)
    failures = unsatisfied(authentic.caveats, OURS, Context(now=NOW, extra={"operations": ("login",)}))
    if failures:
        raise UnsatisfiedCaveats(failures)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_we_mint_and_they_discharge_lets_alice_in_here(version):
    root_key = b"our root key"
    token = BakeryMacaroon(Macaroon.mint(root_key, b"ours"), version).require_discharge(
        party(version), CONDITION, declared=("username",), root_key=root_key
    )
    bundle = discharged_by_them(token)
    authentic = authenticate(bundle, root_key, kinds=OURS.kinds)
    assert unsatisfied(authentic.caveats, OURS, Context(now=NOW)) == ()
    assert declared_by(authentic, party(version), root_key, ("username",)) == {"username": "alice"}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_we_mint_in_the_name_of_their_oven_lets_alice_in_there(version):
    app = FirstParty(version)
    name = app.mint().macaroon.identifier_bytes
    token = BakeryMacaroon(Macaroon.mint(app.root_key, name), version).attenuate(
        TimeBefore.at(NOW + timedelta(days=365_000))
    )
    token = token.require_discharge(party(version), f"need-declared username {CONDITION}")
    assert app.user_of(discharged_by_them(token)) == "alice"
    assert app.user_of(collected(token, username="alice").bind()) == "alice"
    nobody = collected(token).bind()
    with pytest.raises(theirs.PermissionDenied):
        app.user_of(nobody)


@pytest.mark.parametrize("version", VERSIONS)
def test_their_agents_discharge_what_we_ask_of_their_key(version):
    agent, root_key = PrivateKey(b"a" * 32), b"our root key"
    token = BakeryMacaroon(Macaroon.mint(root_key, b"ours"), version).require_discharge(
        party(version, agent, LOCAL), LOCAL_CONDITION
    )
    bundle = discharged_by_them(token, agent)
    assert outcome(authenticate, bundle, root_key) is None
    sent = b"".join(their_binary(each.to_pymacaroons()) for each in (bundle.macaroon, *bundle.discharges))
    assert decode_binaries(sent) == bundle


def their_binary(macaroon) -> bytes:
    from macaroonbakery._utils import b64decode

    return b64decode(macaroon.serialize())


@pytest.mark.parametrize("version", VERSIONS)
def test_we_discharge_what_their_services_ask_of_our_key(version):
    agent = PrivateKey(b"a" * 32)
    app = FirstParty(version)
    minted = app.mint()
    minted.add_caveat(
        theirs.local_third_party_caveat(their_key(agent).public_key, version), app.oven.key, app.locator
    )
    collecting = collect(BakeryMacaroon.decode(minted.serialize_json()), agent)
    with pytest.raises(StopIteration) as done:
        next(collecting)
    assert outcome(authenticate, done.value.value.bind(), app.root_key) is None


# Verdicts


class Clock:
    def utcnow(self) -> datetime:
        return NOW.replace(tzinfo=None)


MOMENTS = [
    "2026-11-21T12:00:00Z",
    "2026-11-21T12:00:00.000001Z",
    "2026-11-21T13:00:00.5Z",
    "2026-11-21T14:00:00+02:00",
]
CONDITIONS = [
    *(f"time-before {moment}" for moment in MOMENTS),
    "time-before",
    "time-before tomorrow",
    "time-before 2026-11-21",
    "allow",
    "allow read",
    "allow read write",
    "allow write",
    "deny",
    "deny read",
    "deny write list",
    "error",
    "error x",
    "declared username alice",
    "declared username",
    "declared username ",
    "no-such-condition",
    " allow read",
    "",
]


@pytest.mark.parametrize("operations", [(), ("read",), ("write",), ("read", "write")])
def test_every_condition_is_judged_alike(operations):
    context = their_checkers.AuthContext()
    context = their_checkers.context_with_clock(context, Clock())
    context = their_checkers.context_with_operations(context, list(operations))
    here = Context(now=NOW, extra={"operations": operations})
    for condition in CONDITIONS:
        declared = their_checkers.infer_declared_from_conditions([condition])
        error = their_checkers.Checker().check_first_party_caveat(
            their_checkers.context_with_declared(context, declared), condition
        )
        ours = unsatisfied([OURS.parse(condition.encode())], OURS, here)
        assert bool(ours) == bool(error), (condition, ours, error)


# What clients present


@pytest.mark.parametrize(("version", "size"), [(V1, 1896), (V2, 1032), (V3, 616)])
def test_the_cookie_that_their_client_stores_is_read_and_has_the_usual_size(version, size, monkeypatch):
    root_key = bytes(range(32))
    name = b"1.k1.default.01KAJQ00000000000000000001.2"
    token = BakeryMacaroon(Macaroon.mint(root_key, name), version).attenuate(
        TimeBefore.at(NOW + timedelta(days=1))
    )
    token = token.require_discharge(party(version), CONDITION, declared=("username",), root_key=root_key)
    client = httpbakery.Client()
    answers = {}

    def acquire(caveat, payload):
        data = caveat.caveat_id_bytes if payload is None else payload
        ticket = open_ticket(data, PARTY_KEY, identifier=caveat.caveat_id_bytes)
        answer = discharge(ticket, third_party_checkers(), ALICE, declared={"username": "alice"})
        answers[answer.macaroon.identifier] = answer.macaroon
        return theirs.Macaroon.from_dict(answer.to_members())

    monkeypatch.setattr(client, "acquire_discharge", acquire)
    info = {"Macaroon": token.to_members(), "MacaroonPath": "/", "CookieNameSuffix": "auth"}
    error = httpbakery.Error.from_dict({"Code": "macaroon discharge required", "Message": "x", "Info": info})
    client.handle_error(error, "http://app.example/x")
    (cookie,) = client.cookies
    assert cookie.name == "macaroon-auth"
    assert cookie.expires == (NOW + timedelta(minutes=5)).timestamp()
    bundle = decode_header(cookie.value)
    assert bundle == Bundle.bind(token.macaroon, answers.values())
    assert outcome(authenticate, bundle, root_key) is None
    assert len(cookie.value) < size * 1.1
    assert len(encode_header(bundle, version)) <= len(cookie.value)
    (read,) = httpbakery.extract_macaroons({"Macaroons": encode_header(bundle, version)})
    assert [Macaroon.from_pymacaroons(each) for each in read] == [bundle.macaroon, *bundle.discharges]


def test_no_garbled_envelope_of_theirs_raises_anything_but_our_errors():
    text = FirstParty(V3).mint(CONDITION).serialize_json()
    source = random.Random(1)
    for _ in range(2000):
        at = source.randrange(len(text))
        garbled = text[:at] + chr(source.randrange(32, 127)) + text[at + source.randrange(2) :]
        try:
            BakeryMacaroon.decode(garbled)
        except CaveatsError:
            continue
