"""Every library's way to do the same three jobs: mint a token, narrow it, judge it. Knows no clock.

The peers are spared what is not theirs to do: they are handed each token's root key, which our verifier
derives, and pymacaroons is told the user that it is to expect, which our verifier reads out of the token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING, Any

import biscuit_auth
import itsdangerous
import jwt
import pymacaroons
from joserfc import jwt as jose
from joserfc.jwk import OctKey

from benchmarks import libmacaroons
from benchmarks.sample import CONTEXT, KEYRING, NEEDED, NOW, Sample
from caveats import Expires, Macaroon, Verifier

if TYPE_CHECKING:
    import ctypes

_KEY = bytes(range(32))
_SOONER = f"expires = {NOW:%Y-%m-%dT%H:%M:%SZ}"


class Peer(ABC):
    """One library. A token is whatever text goes over the wire."""

    name: str
    narrows = True
    """Whether a holder can narrow a token."""
    only_judges = False
    """Whether it mints and narrows just as another peer does."""

    @abstractmethod
    def mint(self, sample: Sample) -> Any:
        """Values in, text out."""

    @abstractmethod
    def verify(self, presented: tuple[Any, Sample]) -> object:
        """Text in, decision out: true, or else false or an exception. The sample is what is known beforehand."""

    def attenuate(self, text: Any) -> Any:
        """Text in, text with one caveat more out."""
        raise NotImplementedError


def peers() -> list[Peer]:
    """Everybody to compare with that is installed here, pymacaroons first."""
    library = libmacaroons.load()
    in_c: list[Peer] = [] if library is None else [Libmacaroons(library), LibmacaroonsExact(library)]
    return [Pymacaroons(), PymacaroonsV1(), *in_c, PyJwt(), Joserfc(), Itsdangerous(), Biscuit()]


def covers(scope: str, needed: str = NEEDED) -> bool:
    """Whether a scope covers the request: `resource:action`, and a resource covers what is below it."""
    resource, _, action = needed.rpartition(":")
    for pattern in scope.split(" "):
        over, _, allowed = pattern.rpartition(":")
        if allowed in ("*", action) and (resource == over or resource.startswith(over + "/")):
            return True
    return False


class Ours(Peer):
    name = "caveats"

    def __init__(self) -> None:
        self._verifier = Verifier(KEYRING, audience=KEYRING.audience)

    def mint(self, sample: Sample) -> str:
        return sample.mint().encode()

    def verify(self, presented: tuple[str, Sample]) -> object:
        return self._verifier.verify(presented[0], CONTEXT)

    def attenuate(self, text: str) -> str:
        return Macaroon.decode(text).attenuate(Expires(NOW)).encode()


class Pymacaroons(Peer):
    """The same binary format as ours."""

    name = "pymacaroons"
    version = pymacaroons.MACAROON_V2

    def mint(self, sample: Sample) -> str:
        macaroon = pymacaroons.Macaroon(
            location="",
            identifier=sample.identifier.encode().decode(),
            key=sample.root_key,
            version=self.version,
        )
        for predicate in sample.predicates:
            macaroon.add_first_party_caveat(predicate)
        return str(macaroon.serialize())

    def verify(self, presented: tuple[str, Sample]) -> object:
        text, sample = presented
        return self.verifier(sample).verify(pymacaroons.Macaroon.deserialize(text), sample.root_key)

    def verifier(self, sample: Sample) -> pymacaroons.Verifier:
        """What judges a token; good for one."""
        verifier = pymacaroons.Verifier()
        verifier.satisfy_exact(f"user = {sample.user}")
        verifier.satisfy_general(_expires)
        verifier.satisfy_general(_scope)
        return verifier

    def attenuate(self, text: str) -> str:
        macaroon = pymacaroons.Macaroon.deserialize(text)
        macaroon.add_first_party_caveat(_SOONER)
        return str(macaroon.serialize())


class PymacaroonsV1(Pymacaroons):
    """The older format: longer, and pymacaroons reads it faster."""

    name = "pymacaroons, format 1"
    version = pymacaroons.MACAROON_V1


def _expires(predicate: str) -> bool:
    return predicate.startswith("expires = ") and datetime.fromisoformat(predicate[10:]) > NOW


def _scope(predicate: str) -> bool:
    return predicate.startswith("scope = ") and covers(predicate[8:])


class Libmacaroons(Peer):
    """As Pymacaroons, with the same two checks in Python. Format 1, the only one of the release in Debian."""

    name = "libmacaroons (C)"

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def mint(self, sample: Sample) -> bytes:
        predicates = [predicate.encode() for predicate in sample.predicates]
        return libmacaroons.mint(self._library, sample.root_key, sample.identifier.encode(), predicates)

    def verify(self, presented: tuple[bytes, Sample]) -> object:
        text, sample = presented
        exact = [f"user = {sample.user}".encode()]
        return libmacaroons.verify(
            self._library, text, sample.root_key, exact, (_expires_bytes, _scope_bytes)
        )

    def attenuate(self, text: bytes) -> bytes:
        return libmacaroons.attenuate(self._library, text, _SOONER.encode())


class LibmacaroonsExact(Libmacaroons):
    """Only compares: it is told every predicate beforehand, so nothing is parsed or judged."""

    name = "libmacaroons (C), comparing only"
    only_judges = True

    def verify(self, presented: tuple[bytes, Sample]) -> object:
        text, sample = presented
        exact = [predicate.encode() for predicate in sample.predicates]
        return libmacaroons.verify(self._library, text, sample.root_key, exact)


def _expires_bytes(predicate: bytes) -> bool:
    return _expires(predicate.decode(errors="replace"))


def _scope_bytes(predicate: bytes) -> bool:
    return _scope(predicate.decode(errors="replace"))


def _claims(sample: Sample) -> dict[str, Any]:
    identifier = sample.identifier
    expires = int(sample.expires.timestamp())
    return {"sub": sample.user, "exp": expires, "scope": sample.scope, "jti": identifier.token_id}


class PyJwt(Peer):
    name = "PyJWT HS256"
    narrows = False

    def mint(self, sample: Sample) -> str:
        return jwt.encode(_claims(sample), _KEY, algorithm="HS256")

    def verify(self, presented: tuple[str, Sample]) -> object:
        claims = jwt.decode(presented[0], _KEY, algorithms=["HS256"], options={"require": ["exp", "sub"]})
        return covers(claims["scope"])


class Joserfc(Peer):
    name = "joserfc HS256"
    narrows = False

    def __init__(self) -> None:
        self._key = OctKey.import_key(_KEY)
        self._claims = jose.JWTClaimsRegistry(exp={"essential": True}, sub={"essential": True})

    def mint(self, sample: Sample) -> str:
        return jose.encode({"alg": "HS256"}, _claims(sample), self._key)

    def verify(self, presented: tuple[str, Sample]) -> object:
        claims = jose.decode(presented[0], self._key, algorithms=["HS256"]).claims
        self._claims.validate(claims)
        return covers(claims["scope"])


class Itsdangerous(Peer):
    """Dates the token itself; how old it may be is the verifier's to say."""

    name = "itsdangerous"
    narrows = False

    def __init__(self) -> None:
        self._serializer = itsdangerous.URLSafeTimedSerializer(_KEY, salt="benchmark")

    def mint(self, sample: Sample) -> str:
        members = {"user": sample.user, "scope": sample.scope, "id": sample.identifier.token_id}
        return str(self._serializer.dumps(members))

    def verify(self, presented: tuple[str, Sample]) -> object:
        return covers(self._serializer.loads(presented[0], max_age=8 * 3600)["scope"])


class Biscuit(Peer):
    """Ed25519 where everything else here is an HMAC: whoever verifies cannot mint."""

    name = "biscuit-python (Ed25519)"

    def __init__(self) -> None:
        keys = biscuit_auth.KeyPair()
        self._private, self._public = keys.private_key, keys.public_key

    def mint(self, sample: Sample) -> str:
        resources = {pattern.partition(":")[0] for pattern in sample.scope.split(" ")}
        builder = biscuit_auth.BiscuitBuilder(
            "user({user}); id({id}); check if time($now), $now < {expires};"
            " check if need($resource, $action), {resources}.contains($resource), $action == {action}",
            {
                "user": sample.user,
                "id": sample.identifier.token_id,
                "expires": sample.expires,
                "resources": resources,
                "action": "read",
            },
        )
        return builder.build(self._private).to_base64()

    def verify(self, presented: tuple[str, Sample]) -> object:
        token = biscuit_auth.Biscuit.from_base64(presented[0], self._public)
        builder = biscuit_auth.AuthorizerBuilder(
            'time({now}); need("photos", "read"); allow if user($user)', {"now": NOW}
        )
        return builder.build(token).authorize() == 0

    def attenuate(self, text: str) -> str:
        token = biscuit_auth.Biscuit.from_base64(text, self._public)
        block = biscuit_auth.BlockBuilder("check if time($now), $now < {expires}", {"expires": NOW})
        return token.append(block).to_base64()
