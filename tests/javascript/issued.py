"""Random questions to an app's verifier, from a seed: keys, revocations, a token that was issued, a request. Knows all keys."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self

from caveats import (
    AudienceKeyring,
    Bundle,
    Caveat,
    CaveatsError,
    Context,
    Expires,
    Identifier,
    KeyState,
    Macaroon,
    MalformedCaveat,
    MasterKey,
    MasterKeyring,
    Parent,
    RevocationSet,
    Unmet,
    UnsatisfiedCaveats,
    Verifier,
    authenticate,
    renew,
)
from caveats.kinds import standard_checkers, write_moment
from caveats.token import branch_id, encode_base64
from tests.javascript import tokens
from tests.javascript.tokens import NOW

if TYPE_CHECKING:
    from random import Random

MASTERS = MasterKeyring(
    MasterKey(f"k{number}", bytes(range(number, 32 + number)), state)
    for number, state in ((1, KeyState.VERIFYING), (2, KeyState.ACTIVE), (3, KeyState.VERIFYING))
)
LOCATION = "https://auth.example"
_DAY = 86_400
CODES = {
    "BadSignature": "bad_signature",
    "BindingMismatch": "binding_mismatch",
    "DamagedToken": "damaged_token",
    "LimitExceeded": "limit_exceeded",
    "MalformedToken": "malformed_token",
    "MissingDischarge": "missing_discharge",
    "Revoked": "revoked",
    "UnknownKey": "unknown_key",
    "UnsatisfiedCaveats": "unsatisfied_caveats",
    "UnusedDischarge": "unused_discharge",
    "WrongAudience": "wrong_audience",
}
"""The code of each error in JavaScript."""


@dataclass(frozen=True, slots=True)
class Album(Caveat):
    """A plug-in's kind, which `peer.js` has too."""

    kind: ClassVar[str] = "photos/album"
    number: str

    @property
    def value(self) -> str:
        return self.number

    @classmethod
    def parse(cls, value: str) -> Self:
        if not value.isascii() or not value.isdigit() or len(value) > 2:
            raise MalformedCaveat("the number of an album")
        return cls(value)


def _check_album(caveat: Album, context: Context) -> object:
    album = context.extra.get("photos/album")
    return album == caveat.number or Unmet("the request is about another album", f"album {caveat.number}")


@dataclass(frozen=True)
class Question:
    """What a verifier has, and what it is asked, as values that JSON has."""

    keys: dict[str, Any]
    revoked: list[list[Any]]
    token: str
    context: dict[str, Any]

    def members(self) -> dict[str, Any]:
        """As `peer.js` takes it."""
        return {
            "keys": self.keys,
            "revoked": self.revoked,
            "token": self.token,
            "context": self.context,
            "location": LOCATION,
        }

    def verdict(self) -> dict[str, Any]:
        """What Python says: the grant, or the code, the words and the failures of a refusal."""
        checkers = standard_checkers()
        checkers.register(Album, _check_album)
        revocations = RevocationSet()
        revocations.add_rows(self.revoked)
        verifier = Verifier(
            AudienceKeyring.from_json(self.keys),
            checkers=checkers,
            audience="photos",
            location=LOCATION,
            revocations=revocations,
        )
        facts = {
            {"clientIp": "client_ip"}.get(name, name): fact
            for name, fact in self.context.items()
            if name != "now"
        }
        try:
            grant = verifier.verify(
                self.token, Context(now=datetime.fromisoformat(self.context["now"]), **facts)
            )
        except CaveatsError as error:
            failures = [
                {
                    "index": one.index,
                    "kind": one.kind,
                    "predicate": one.predicate,
                    "addedBy": one.added_by,
                    "reason": one.reason,
                    "hint": one.hint,
                }
                for one in (error.failures if isinstance(error, UnsatisfiedCaveats) else ())
            ]
            return {"code": CODES[type(error).__name__], "message": str(error), "failures": failures}
        identifier = grant.identifier
        return {
            "user": grant.user,
            "tokenId": grant.token_id,
            "audience": grant.audience,
            "keyId": identifier.key_id,
            "scopes": list(grant.scopes),
            "issuedAt": round(grant.issued_at.timestamp() * 1000),
            "expiresAt": None if grant.expires_at is None else write_moment(grant.expires_at),
            "caveats": list(map(str, grant.caveats)),
        }


def question(random: Random) -> Question:
    """A question that a verifier answers in any of the ways in which it can."""
    exported = ["k1", "k2"] if random.random() < 0.9 else [random.choice(("k1", "k2"))]
    keys = MASTERS.export("photos").to_json()
    keys["keys"] = [row for row in keys["keys"] if row["id"] in exported]  # type: ignore[attr-defined]
    if random.random() < 0.1:
        retired = {
            "id": "k3",
            "state": "retired",
            "key": encode_base64(MASTERS.export("photos").keys[2].secret),
        }
        keys["keys"].append(retired)  # type: ignore[attr-defined]
    text, revoked = _token(random)
    asked = _request(random)
    return Question(keys, revoked, text, asked)


def _request(random: Random) -> dict[str, Any]:
    facts = tokens.context(random)
    if random.random() < 0.8:
        facts["audience"] = "photos"
    elif random.random() < 0.5:
        facts.pop("audience", None)
    if random.random() < 0.5:
        facts["extra"] = {"photos/album": str(random.randint(0, 3))}
    if random.random() < 0.7:
        facts |= {"scopes": ["photos/42:read"], "method": "GET", "now": write_moment(NOW)}
        facts.pop("user", None)
    return facts


def _predicate(random: Random) -> bytes:
    chance = random.random()
    if chance < 0.35:
        return random.choice(
            (
                b"scope = photos:read photos/42:*",
                b"method = GET HEAD",
                b"note = for the printer",
                b"scope = *",
            )
        )
    if chance < 0.5:
        return f"photos/album = {random.choice(('0', '1', '2', 'x', '123'))}".encode()
    return tokens.predicate(random)


def _token(random: Random) -> tuple[str, list[list[Any]]]:
    """The text of a token, and what is revoked: often something of this token."""
    issued, parents = _issued(random)
    audience = "notes" if random.random() < 0.03 else "photos"
    key_id = random.choice(("k1", "k2", "k2", "k2", "k3") if random.random() < 0.3 else ("k2",))
    count = len(issued) if random.random() < 0.97 else random.randint(1, 9)
    token_id = tokens.token_id(random)
    identifier = Identifier(key_id, audience, token_id, count)
    location = random.choice(
        ("", "", LOCATION, LOCATION, "https://other.example" if random.random() < 0.1 else "")
    )
    macaroon = Macaroon.mint(MASTERS.root_key(identifier), identifier, location=location).attenuate(*issued)
    waiting: list[Macaroon] = []
    known: list[bytes] = []
    macaroon = tokens.extended(random, macaroon, _predicate, 3, 0.15, waiting, known)
    discharges = []
    while waiting:
        one = waiting.pop()
        if random.random() < 0.95:
            discharges.append(tokens.extended(random, one, _predicate, 2, 0.1, waiting, known))
    branches = [branch_id(signature).hex() for signature in _signatures(macaroon)]
    if random.random() < 0.2 and count == len(issued):
        try:
            authentic = authenticate(Bundle.bind(macaroon, discharges), MASTERS.root_key(identifier))
            macaroon = renew(authentic, NOW + timedelta(days=2), _derived_key)
        except CaveatsError:
            pass
        if random.random() < 0.5:
            macaroon = macaroon.attenuate(_predicate(random))
        branches += [branch_id(signature).hex() for signature in _signatures(macaroon)]
    bundle = Bundle.bind(macaroon, discharges)
    user = issued[0].decode("utf-8", "replace").partition(" = ")[2].replace(" = ", "") or "nobody"
    revoked = _revoked(random, user, token_id, branches, parents)
    return _text(random, bundle), [[at, *row] for at, row in enumerate(revoked, 1)]


def _signatures(macaroon: Macaroon) -> list[bytes]:
    """Of a chain under one of our keys, whatever is in it."""
    version, key_id, audience, token_id, count = macaroon.wire.identifier.decode().split(".")
    assert version == "1"
    derived_key = _derived_key(Identifier(key_id, audience, token_id, int(count)))
    signatures = [_hmac(derived_key, macaroon.wire.identifier)]
    for caveat in macaroon.wire.caveats:
        before = signatures[-1]
        link = (
            caveat if isinstance(caveat, bytes) else _hmac(before, caveat.vid) + _hmac(before, caveat.ticket)
        )
        signatures.append(_hmac(before, link))
    return signatures


def _derived_key(identifier: Identifier) -> bytes:
    return _hmac(b"macaroons-key-generator", MASTERS.root_key(identifier))


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _issued(random: Random) -> tuple[list[bytes], list[Parent]]:
    life = random.randint(1, _DAY) if random.random() < 0.9 else -random.randint(0, _DAY)
    user = random.choice(tokens.TEXTS)
    issued = [
        f"user = {user}".encode(),
        Expires(NOW + timedelta(seconds=life)).predicate,
        random.choice(
            (b"scope = *", b"scope = photos:*", b"scope = photos:read notes:*", b"scope = notes:read")
        ),
    ]
    if random.random() < 0.03:
        issued[0] = random.choice((b"user = ", b"note = x", b"user = a = b", b"\xff"))
    parents = []
    for _ in range(random.randint(1, 2) if random.random() < 0.25 else 0):
        key_id = "k9" if random.random() < 0.1 else "k2"
        branches = tuple(random.randbytes(16) for _ in range(random.randint(0, 3)))
        parents.append(Parent(key_id, tokens.token_id(random), branches))
        issued.append(parents[-1].predicate)
    if random.random() < 0.3:
        issued.append(_predicate(random))
    return issued, parents


def _revoked(
    random: Random, user: str, token_id: str, branches: list[str], parents: list[Parent]
) -> list[list[Any]]:
    """Rows without their sequence: of others, and sometimes one that hits the token, or nearly."""
    until = int(NOW.timestamp()) + _DAY
    rows: list[list[Any]] = [["t", until, tokens.token_id(random)] for _ in range(random.randint(0, 3))]
    if random.random() < 0.5:
        return rows
    issued_at = int(NOW.timestamp() * 1000) - random.choice((0, 10**7, 10**10))
    rows += random.choice(
        (
            [["t", until, token_id]],
            [["b", until, token_id, random.choice(branches)]],
            [["b", until, token_id, branches[-1]], ["b", until, token_id, random.randbytes(16).hex()]],
            [["b", until, token_id, random.randbytes(16).hex()]],
            [["u", until, user, issued_at]],
            [["u", until, f"{user}x", issued_at]],
            *(
                choice
                for parent in parents
                for choice in (
                    [["t", until, parent.token_id]],
                    [
                        ["b", until, parent.token_id, one.hex()]
                        for one in (*parent.branches, random.randbytes(16))[:1]
                    ],
                )
            ),
        )
    )
    return rows


def _text(random: Random, bundle: Bundle) -> str:
    chance = random.random()
    if chance < 0.03:
        signature = bytes((bundle.macaroon.wire.signature[0] ^ 1, *bundle.macaroon.wire.signature[1:]))
        bundle = Bundle(Macaroon(bundle.macaroon.wire._replace(signature=signature)), bundle.discharges)
    elif chance < 0.06 and bundle.discharges:
        bundle = Bundle(bundle.macaroon.attenuate(b"note = later"), bundle.discharges)
    elif chance < 0.08 and bundle.discharges:
        bundle = Bundle(bundle.macaroon, (*bundle.discharges, Macaroon.mint(b"stray", b"stray")))
    text = bundle.encode()
    if chance > 0.98:
        return text[:-2]
    if chance > 0.96 and not bundle.discharges:
        return text[len("cav1_") : -6]
    return text
