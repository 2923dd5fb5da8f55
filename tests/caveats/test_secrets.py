"""A chain signature and a key are live credentials: no repr, no message and no traceback shows a byte of one."""

from __future__ import annotations

import base64
import itertools
import json
import pickle
import re
import traceback
from dataclasses import replace

import pytest

import caveats
from caveats import (
    BranchRevocation,
    Bundle,
    CaveatsError,
    Checkers,
    Context,
    Discharger,
    Failure,
    Identifier,
    Limits,
    Macaroon,
    MalformedToken,
    MasterKeyring,
    MissingDischarge,
    Note,
    PrivateKey,
    Refused,
    Repeated,
    RevocationSet,
    Scope,
    ThirdParty,
    TokenRevocation,
    Unbound,
    Unmet,
    UnsatisfiedCaveats,
    UserRevocation,
    Verifier,
    WrongAudience,
    authenticate,
    discharge,
    effective,
    open_ticket,
    standard_checkers,
)
from caveats.token import chain
from caveats.token.legacy import encode_v1
from caveats.verification.authenticate import authenticate_wire
from tests.support.law import HOUR, MASTER, NOW, PARTY_KEY, REQUEST, TOKEN_ID, counter_random, issue

KEYS = MasterKeyring([MASTER])
TOKEN = issue(scope="photos:read").require_discharge(
    ThirdParty("https://party.example", PARTY_KEY.public_key), "c", random=counter_random()
)
TICKET = open_ticket(TOKEN.wire.caveats[-1].ticket, PARTY_KEY)
ANSWER = discharge(TICKET, [Note("x")], now=NOW)
BUNDLE = Bundle.bind(TOKEN, [ANSWER])
ROOT_KEY = KEYS.root_key(TOKEN.unverified_identifier)
AUTHENTIC = authenticate(BUNDLE, ROOT_KEY)
VERIFIER = Verifier(KEYS, audience="photos")
GRANT = VERIFIER.verify(BUNDLE.encode(), REQUEST)

SECRETS = [
    MASTER.secret,
    MASTER.audience_key("photos").secret,
    ROOT_KEY,
    chain.derive(ROOT_KEY),
    PARTY_KEY.secret,
    TICKET.caveat_key,
    chain.derive(TICKET.caveat_key),
    ANSWER.wire.signature,
    BUNDLE.discharges[0].wire.signature,
    *AUTHENTIC.signatures,
    bytes(TOKEN.wire.caveats[-1].vid),
]


def escaped(data: bytes) -> str:
    """As `repr` writes it, whichever quotes stand around it."""
    return "".join(repr(bytes([byte]))[2:-1] for byte in data).replace("\\'", "'")


def spellings(secret: bytes) -> list[str]:
    """A piece of a secret as it might be shown: raw, escaped, in hex, in base64 at any offset, as numbers."""
    piece = secret[4:16]
    return [
        escaped(piece),
        piece.hex(),
        piece.hex().upper(),
        piece.hex(":"),
        *(base64.b64encode(secret[offset:])[:12].decode() for offset in range(3)),
        *(base64.urlsafe_b64encode(secret[offset:])[:12].decode() for offset in range(3)),
        str(list(piece))[1:-1],
        str(int.from_bytes(secret, "big")),
    ]


SPELLINGS = list(itertools.chain.from_iterable(map(spellings, SECRETS)))


def shows_a_secret(text: str) -> bool:
    text = text.replace("\\'", "'")
    return any(spelling in text for spelling in SPELLINGS)


def test_the_search_finds_what_it_is_for():
    for secret in SECRETS:
        for shown in (repr(secret), secret.hex(), base64.b64encode(secret).decode(), str(list(secret))):
            assert shows_a_secret(f"x{shown}x")
    assert shows_a_secret(TOKEN.encode())
    assert not shows_a_secret("nothing in here")


PUBLIC = [
    TOKEN,
    BUNDLE,
    Unbound(TOKEN, (ANSWER,)),
    Discharger("https://party.example", (PARTY_KEY,), standard_checkers()),
    ANSWER,
    TICKET,
    AUTHENTIC,
    AUTHENTIC.discharges[0],
    GRANT,
    GRANT.authority,
    VERIFIER.introspect(BUNDLE),
    VERIFIER,
    KEYS,
    KEYS.export("photos"),
    MASTER,
    MASTER.audience_key("photos"),
    PARTY_KEY,
    PrivateKey.generate(),
    TOKEN.wire,
    TOKEN.wire.caveats[-1],
    TOKEN.unverified_identifier,
    TOKEN.unverified_caveats,
    KEYS.root_pads("k1", "photos"),
    standard_checkers(),
    REQUEST,
    RevocationSet(),
    BranchRevocation(TOKEN_ID, AUTHENTIC.branches()[0], NOW),
    TokenRevocation(TOKEN_ID, NOW),
    UserRevocation("alice", NOW, NOW),
    Limits(),
    Failure(0, "k", "p", "holder", "r", "h"),
    Unmet("r", "h"),
    Repeated(0, Note("x"), "b"),
    effective([Scope("*")]),
    Checkers(),
    Identifier("k1", "photos", TOKEN_ID, 1),
    Context(now=NOW),
    authenticate_wire(TOKEN.wire, [BUNDLE.discharges[0].wire], chain.derive(ROOT_KEY), Limits())[1:],
]


@pytest.mark.parametrize("thing", PUBLIC, ids=lambda thing: type(thing).__name__)
def test_no_repr_shows_a_key_or_a_signature(thing):
    for text in (repr(thing), str(thing), f"{thing}", f"{[thing]}"):
        assert not shows_a_secret(text)


def test_every_public_class_with_instances_is_among_the_searched():
    searched = {type(thing) for thing in PUBLIC}
    skipped = {
        caveats.Caveat,
        caveats.KeyState,
        caveats.Keyring,
        caveats.UnknownCaveat,
        caveats.ThirdParty,
        *standard_checkers().kinds.values(),
    }
    public = {getattr(caveats, name) for name in caveats.__all__}
    classes = {one for one in public if isinstance(one, type) and not issubclass(one, Exception)}
    assert classes - searched - skipped == set()


def broken() -> list[tuple[str, object]]:
    """Ways to fail with a real token in hand, each with what it fails in."""
    token = issue(scope="photos:read")
    text, data, v1 = token.encode(), token.to_bytes(), encode_v1(token.wire)
    forged = Macaroon(token.wire._replace(caveats=token.wire.caveats[:-1]))
    other = Verifier(MasterKeyring([]), audience="photos")
    wrong_json = {"identifier": "id", "caveats": [], "signature": token.wire.signature.hex() + "00"}
    classic = token.to_pymacaroons()
    classic.caveats[0].location = "x"
    verify = VERIFIER.verify
    late = Context(now=NOW + 2 * HOUR)
    ways = [
        ("cut", lambda: verify(text[:-1], REQUEST)),
        ("mistyped", lambda: verify(text.swapcase(), REQUEST)),
        ("doubled", lambda: verify(text + text, REQUEST)),
        ("not-ascii", lambda: verify(text + "é", REQUEST)),
        ("forged", lambda: verify(forged, REQUEST)),
        ("unknown-key", lambda: other.verify(text, REQUEST)),
        ("unmet", lambda: verify(token, late)),
        ("wrong-audience", lambda: verify(token, Context(now=NOW, audience="x"))),
        ("missing-discharge", lambda: verify(TOKEN, REQUEST)),
        ("unbound", lambda: verify(Bundle(TOKEN, [ANSWER]), REQUEST)),
        ("superfluous", lambda: verify(Bundle(token, [ANSWER]), REQUEST)),
        ("binary-cut", lambda: Macaroon.from_bytes(data[:-1])),
        ("binary-more", lambda: Macaroon.from_bytes(data + b"x")),
        ("v1-cut", lambda: Macaroon.from_bytes(v1[:-1])),
        ("v1-renamed", lambda: Macaroon.from_bytes(v1.replace(b"signature", b"zignature"))),
        ("v1-not-utf8", lambda: Macaroon.from_bytes(v1.replace(b"000elocation", b"000elocatioX"))),
        (
            "v1-location-not-utf8",
            lambda: Macaroon.from_bytes(b"0012location \xff" + token.wire.signature[:3] + v1[14:]),
        ),
        ("json-cut", lambda: Macaroon.decode(json.dumps(wrong_json)[:-1])),
        ("json-wrong", lambda: Macaroon.decode(json.dumps(wrong_json))),
        ("json-text", lambda: Macaroon.decode("{" + text)),
        ("object", lambda: Macaroon.from_pymacaroons(classic)),
        ("ticket-cut", lambda: open_ticket(TICKET.raw[:-1], PARTY_KEY)),
        ("key-too-long", lambda: caveats.MasterKey("k1", MASTER.secret + b"x")),
        ("key-as-text", lambda: caveats.MasterKey("k1", MASTER.secret.hex())),
        ("private-key-too-long", lambda: PrivateKey(PARTY_KEY.secret + b"x")),
        (
            "keyring-json",
            lambda: caveats.AudienceKeyring.from_json({**KEYS.export("photos").to_json(), "audience": 1}),
        ),
        ("too-many", lambda: token.attenuate(*[b"x"] * 100)),
        ("expired-ticket", lambda: discharge(replace(TICKET, expires_at=NOW), now=NOW)),
    ]
    return [pytest.param(way, id=name) for name, way in ways]


@pytest.mark.parametrize("way", broken())
def test_no_error_shows_a_key_a_signature_or_the_token(way):
    """Neither its message, nor what it holds, nor the traceback with all its causes as a log would print it."""
    try:
        way()
    except CaveatsError as error:
        chained = []
        at: BaseException | None = error
        while at is not None:
            chained.append(at)
            at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
        texts = ["".join(traceback.format_exception(error))]
        for one in chained:
            texts += [str(one), repr(one), repr(one.args), repr(vars(one))]
        text = "\n".join(texts)
    else:
        pytest.fail("nothing went wrong")
    source = re.sub(r'^ +File ".*?$', "", text, flags=re.MULTILINE)
    assert not shows_a_secret(source)
    assert issue(scope="photos:read").encode()[20:60] not in source


def test_a_failure_says_which_caveat_and_never_which_token():
    with pytest.raises(UnsatisfiedCaveats) as caught:
        VERIFIER.verify(issue(scope="a:b"), REQUEST)
    assert "scope = a:b" in str(caught.value)
    assert TOKEN_ID not in str(caught.value)
    assert len(caught.value.failures) == 1


def test_errors_keep_their_evidence():
    assert MissingDischarge("loc", b"t").location == "loc"
    assert WrongAudience("a", "b").expected == "b"
    assert Refused("x").failures == ()
    assert issubclass(MalformedToken, ValueError)
    assert pickle.loads(pickle.dumps(MalformedToken("x"))).args == ("x",)
