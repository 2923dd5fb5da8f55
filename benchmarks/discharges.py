"""Tokens with third-party caveats, beside the two Python libraries that have them. Knows how each presents a bundle."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pymacaroons
from macaroonbakery import bakery, checkers, httpbakery

from benchmarks.cpu import accepts, prove
from benchmarks.peers import Ours, OursUnderAKey, Pymacaroons, PymacaroonsV1
from benchmarks.sample import NOW, Sample, logins
from benchmarks.table import Row, Section, at_least, times
from benchmarks.timing import Contender, best, new_texts
from caveats import Bundle, PrivateKey, ThirdParty, discharge, open_ticket
from caveats.token import encode_base64

if TYPE_CHECKING:
    from benchmarks.peers import Peer

_BATCH = 500
_ROUNDS = 10
_COUNTS = (1, 2, 4)
_TIMES = 3.0
_LOCATION = "https://party.example"
_CAVEAT_KEY = bytes(range(1, 33))
_SOON = NOW + timedelta(minutes=5)
_OPERATION = bakery.Op("photos", "read")


def discharges() -> Section:
    """Text in, decision out: a token of three caveats, and discharges that expire, each by another third party."""
    section = Section(
        "Verify a token (user, expires, scope) with discharges: text in, decision out"
        " [times as fast as the quicker of pymacaroons and macaroonbakery]"
    )
    for count in _COUNTS:
        section.rows += _measured(count)
    return section


def _measured(count: int) -> list[Row]:
    tokens = logins(_BATCH)
    ours = _Ours(count)
    peers: list[Peer] = [_Pymacaroons(count), _Macaroonbakery(count)]
    theirs = [*peers, _PymacaroonsV1(count)]
    texts = {peer: [peer.mint(token) for token in tokens] for peer in (ours, *theirs)}
    for peer, minted in texts.items():
        prove(peer, minted[0], tokens[0])
        without = minted[0].rpartition(".")[0]
        if "." in minted[0] and accepts(peer, without, tokens[0]):
            raise AssertionError(f"{peer.name} does not miss a discharge")

    def presented(peer: Peer, judge: Peer | None = None) -> tuple[Any, Any]:
        arguments = list(zip(new_texts(texts[peer]), tokens, strict=True))
        return (judge or peer).verify, arguments

    for argument in presented(ours)[1]:
        ours.verify(argument)
    never = "caveats, never seen"
    mine = [
        Contender(never, lambda: presented(ours, OursUnderAKey())),
        Contender("  and its key to be found, its text kept", lambda: presented(ours, Ours())),
        Contender("caveats, seen before", partial(presented, ours)),
    ]
    found = best([*mine, *(Contender(peer.name, partial(presented, peer)) for peer in theirs)], _ROUNDS)
    reference = min(found[peer.name] for peer in peers)
    bars = {never: _TIMES}
    with_them = f"{count} discharge{'s' if count > 1 else ''}"
    return [
        Row(
            f"{name}, {with_them}",
            times(reference / cost),
            f"{cost:.1f} us",
            at_least(bars[name], reference / cost) if name in bars else None,
        )
        for name, cost in found.items()
    ]


class _Ours(Ours):
    """Tickets and discharges as they are, sealed boxes; a bundle is tokens joined by dots."""

    name = "caveats"

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def mint(self, sample: Sample) -> str:
        macaroon, answers = sample.mint(), []
        for _ in range(self._count):
            key = PrivateKey.generate()
            macaroon = macaroon.require_discharge(ThirdParty(_LOCATION, key.public_key))
            answers.append(discharge(open_ticket(macaroon.wire.caveats[-1].ticket, key), now=NOW))
        return Bundle.bind(macaroon, answers).encode()


class _Pymacaroons(Pymacaroons):
    """The same tickets, texts joined by dots."""

    def __init__(self, count: int) -> None:
        self._count = count

    def mint(self, sample: Sample) -> str:
        root = self._made(sample.root_key, sample.identifier.encode().decode(), sample.predicates)
        unbound = []
        for _ in range(self._count):
            ticket = self.ticket()
            root.add_third_party_caveat(_LOCATION, _CAVEAT_KEY, ticket)
            unbound.append(self._made(_CAVEAT_KEY, ticket, [f"expires = {_SOON:%Y-%m-%dT%H:%M:%SZ}"]))
        return ".".join(each.serialize() for each in (root, *map(root.prepare_for_request, unbound)))

    def ticket(self) -> Any:
        """What a third party would read, as this format can hold it."""
        party = ThirdParty(_LOCATION, PrivateKey.generate().public_key)
        return party.seal_ticket()[0]

    def _made(self, key: bytes, identifier: bytes | str, predicates: list[str]) -> pymacaroons.Macaroon:
        macaroon = pymacaroons.Macaroon(location="", identifier=identifier, key=key, version=self.version)
        for predicate in predicates:
            macaroon.add_first_party_caveat(predicate)
        return macaroon

    def verify(self, presented: tuple[str, Sample]) -> object:
        text, sample = presented
        root, *bound = map(pymacaroons.Macaroon.deserialize, text.split("."))
        return self.verifier(sample).verify(root, sample.root_key, bound)


class _PymacaroonsV1(_Pymacaroons):
    """Holds text only: the same tickets, written in base64."""

    name = PymacaroonsV1.name
    version = PymacaroonsV1.version

    def ticket(self) -> str:
        return encode_base64(super().ticket())


class _Macaroonbakery(Ours):
    """A header value as its client writes it; its Oven knows the root key. For `time-before` and an operation."""

    name = "macaroonbakery"

    def __init__(self, count: int) -> None:
        self._count = count
        self._locator = bakery.ThirdPartyStore()
        self._party = bakery.generate_key()
        info = bakery.ThirdPartyInfo(version=bakery.LATEST_VERSION, public_key=self._party.public_key)
        self._locator.add_info(_LOCATION, info)
        self._oven = bakery.Oven(key=bakery.generate_key(), location="", locator=self._locator)
        self._checker = bakery.Checker(checker=checkers.Checker(), macaroon_opstore=self._oven)

    def mint(self, sample: Sample) -> str:
        asked = checkers.Caveat("is-authenticated-user", location=_LOCATION)
        allowed = [checkers.declared_caveat("username", sample.user), checkers.allow_caveat(["read"])]
        expires = sample.expires.replace(tzinfo=None)
        macaroon = self._oven.macaroon(
            bakery.LATEST_VERSION, expires, [*allowed, *[asked] * self._count], [_OPERATION]
        )
        client = httpbakery.Client()
        client.acquire_discharge = self._answer
        info = {"Macaroon": macaroon.to_dict(), "MacaroonPath": "/", "CookieNameSuffix": "auth"}
        error = {"Code": httpbakery.ERR_DISCHARGE_REQUIRED, "Message": "discharge", "Info": info}
        client.handle_error(httpbakery.Error.from_dict(error), "https://app.example/")
        (cookie,) = client.cookies
        return str(cookie.value)

    def _answer(self, caveat: Any, payload: bytes) -> bakery.Macaroon:
        name, key = caveat.caveat_id_bytes, self._party
        return bakery.discharge(checkers.AuthContext(), name, payload, key, _Yes(), self._locator)

    def verify(self, presented: tuple[str, Sample]) -> object:
        macaroons = httpbakery.extract_macaroons({"Macaroons": presented[0]})
        return self._checker.auth(macaroons).allow(checkers.AuthContext(), [_OPERATION])


class _Yes(bakery.ThirdPartyCaveatChecker):
    def check_third_party_caveat(self, ctx: Any, info: Any) -> list[checkers.Caveat]:
        return [checkers.time_before_caveat(_SOON.replace(tzinfo=None))]
