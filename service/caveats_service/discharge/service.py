"""The service as a third party: what a ticket asks, whether it holds for an asker, and the discharge that says so.

Knows tickets, ours and bakeries', and the keys that open them; knows no HTTP and no store. The same decision gives
the same discharge, byte for byte: it lives from the moment of the decision, and nothing in it is random.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

import caveats
from caveats import (
    BadSignature,
    Bundle,
    Caveat,
    Checkers,
    Context,
    DischargeRefused,
    Failure,
    MalformedTicket,
    PrivateKey,
    ThirdParty,
    UnknownCaveat,
    bakery,
)
from caveats.bakery import (
    V1,
    V2,
    V3,
    BakeryMacaroon,
    BakeryParty,
    BakeryTicket,
    IsAuthenticatedUserId,
    IsMemberOf,
)
from caveats.keys.keyring import hkdf
from caveats.third_party.ticket import Ticket, is_ticket, seal_box
from caveats.token import chain
from caveats.token.wire import decode_base64, encode_base64
from caveats_service.core.usernames import is_username
from caveats_service.discharge.conditions import APPROVALS, GROUPS, ApprovedBy

VERSION: Final = V3
AGENT_LIFE: Final = timedelta(minutes=1)
"""How long an agent has to answer with its key."""
_USERNAME: Final = "username"
_USER_ID: Final = "userid"
"""An account is never renamed or deleted, nor its name given to somebody else: the name is the id as well."""
_AGENT: Final = re.compile(
    r"agent\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})\.([0-9]{1,12})\.([0-9a-f]{32})\.(.{1,64})"
)


@dataclass(frozen=True, slots=True)
class AskerFacts:
    """What is known of the asker: who, their groups, and who else has approved, each with their groups."""

    user: str | None = None
    groups: frozenset[str] = frozenset()
    approvals: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """An opened ticket."""

    ticket: Ticket | BakeryTicket = field(repr=False)
    identifier: bytes = field(repr=False)
    payload: bytes | None = field(repr=False)
    conditions: tuple[Caveat, ...]
    legacy: bool = False
    """Whether the asker is to be taken through the oldest kind of interaction."""

    @property
    def digest(self) -> bytes:
        """Names this very ticket."""
        return sha256(sha256(self.identifier).digest() + sha256(self.payload or b"").digest()).digest()


@dataclass(frozen=True, slots=True)
class ConditionVerdict:
    """Whether the conditions hold, and what could make them hold: a sign-in, or somebody's approval."""

    failures: tuple[Failure, ...]
    sign_in: bool = False
    approval_of: tuple[str, ...] = ()
    """Groups: one person of each of the lists has to approve."""

    @property
    def granted(self) -> bool:
        """Whether all conditions hold."""
        return not self.failures

    @property
    def open(self) -> bool:
        """Whether people can still make them hold."""
        return self.sign_in or bool(self.approval_of)


def _told(condition: Caveat) -> set[str]:
    """What a discharge declares of its asker though nobody wants it declared."""
    match condition:
        case IsMemberOf():
            return set()
        case IsAuthenticatedUserId():
            return {_USER_ID}
        case _:
            return {_USERNAME}


def agent_key(data: bytes) -> bytes:
    """`data` itself if a box can be made for it: not every 32 bytes are such a key. Raises `InvalidKey`."""
    seal_box(b"", ThirdParty(bakery.LOCAL, data).public_key)
    return data


class Discharges:
    """Opens, judges and answers."""

    def __init__(self, key: PrivateKey, checkers: Checkers, life: timedelta) -> None:
        self._key = key
        self._checkers = checkers
        self._agents = chain.pads(hkdf(key.secret, b"caveats/v1/agent-login", 32))
        self.life = life

    @property
    def public_key(self) -> bytes:
        """What tickets are sealed for."""
        return self._key.public_key

    def open(
        self, identifier: bytes, payload: bytes | None, *, locations: frozenset[str], now: datetime
    ) -> Question:
        """What a ticket asks.

        Raises `MalformedTicket` for one that is garbage, cut or for another third party, or that asks what nobody
        here knows; `DischargeRefused` for one of ours that has expired or names another location.
        """
        if payload is None and is_ticket(identifier):
            return self._open_ours(identifier, locations, now)
        ticket = bakery.open_ticket(
            identifier if payload is None else payload, self._key, identifier=identifier
        )
        return Question(ticket, identifier, payload, self._read((ticket.condition,)), legacy=ticket.legacy)

    def _open_ours(self, identifier: bytes, locations: frozenset[str], now: datetime) -> Question:
        ticket = caveats.open_ticket(identifier, self._key)
        if ticket.location.rstrip("/") not in locations:
            raise DischargeRefused("the ticket is for another location")
        if ticket.expires_at is not None and now >= ticket.expires_at:
            raise DischargeRefused("the ticket has expired")
        return Question(ticket, identifier, None, self._read(ticket.conditions))

    def _read(self, conditions: tuple[str, ...]) -> tuple[Caveat, ...]:
        read = tuple(self._checkers.parse(condition.encode()) for condition in conditions)
        for caveat in read:
            if isinstance(caveat, UnknownCaveat):
                raise MalformedTicket(f"the condition is not known here: {caveat.why}")
        if not read:
            raise MalformedTicket("the ticket asks nothing")
        return read

    def judge(
        self, question: Question, facts: AskerFacts, *, now: datetime, client_ip: str | None
    ) -> ConditionVerdict:
        """Whether the conditions hold for this asker now."""
        context = self._context(facts, now, client_ip)
        failures = caveats.unsatisfied(question.conditions, self._checkers, context)
        if not failures:
            return ConditionVerdict(())
        if facts.user is None:
            return ConditionVerdict(failures, sign_in=True)
        failed = [question.conditions[failure.index] for failure in failures]
        if all(isinstance(caveat, ApprovedBy) for caveat in failed):
            return ConditionVerdict(failures, approval_of=tuple(caveat.value for caveat in failed))
        return ConditionVerdict(failures)

    def answer(
        self, question: Question, facts: AskerFacts, *, decided_at: datetime, client_ip: str | None
    ) -> BakeryMacaroon:
        """The discharge, alive from the moment of the decision. Raises `DischargeRefused` where a condition fails."""
        decided_at = decided_at.replace(microsecond=0)
        ticket = question.ticket
        if isinstance(ticket, Ticket):
            macaroon = caveats.discharge(ticket, now=decided_at, user=facts.user, life=self.life)
            return BakeryMacaroon(macaroon, V2)
        context = self._context(facts, decided_at, client_ip)
        tells = {_USERNAME, _USER_ID}.intersection(ticket.declared) | _told(question.conditions[0])
        declared = {} if facts.user is None else dict.fromkeys(sorted(tells), facts.user)
        return bakery.discharge(ticket, self._checkers, context, declared=declared, life=self.life)

    def _context(self, facts: AskerFacts, now: datetime, client_ip: str | None) -> Context:
        extra = {GROUPS: facts.groups, APPROVALS: facts.approvals}
        return Context(now=now, user=facts.user, client_ip=client_ip, extra=extra)

    # agents: a macaroon that only the holder of a key can complete; nothing is kept of it

    def challenge(
        self, username: str, public_key: bytes, digest: bytes, *, nonce: bytes, now: datetime, version: int
    ) -> BakeryMacaroon:
        """What an agent has to discharge with its key to sign in, for one ticket and a short while."""
        expires = int((now + AGENT_LIFE).timestamp())
        text = ".".join(
            ("agent", encode_base64(public_key), encode_base64(digest), str(expires), nonce.hex(), username)
        )
        identifier = text.encode()
        macaroon = caveats.Macaroon.mint(self._agent_key(identifier), identifier)
        party = BakeryParty(bakery.LOCAL, public_key)
        return BakeryMacaroon(macaroon, max(version, V1)).require_discharge(party, bakery.LOCAL_CONDITION)

    def answered(self, bundle: Bundle, digest: bytes, *, now: datetime) -> tuple[str, bytes]:
        """The user and the public key of the agent who completed a challenge. Raises `CaveatsError`."""
        identifier = bundle.macaroon.identifier
        found = _AGENT.fullmatch(identifier.decode("utf-8", "replace"))
        if found is None:
            raise BadSignature("not an agent's token")
        checkers = bakery.first_party_checkers()
        authenticated = caveats.authenticate(bundle, self._agent_key(identifier), kinds=checkers.kinds)
        if caveats.unsatisfied(authenticated.caveats, checkers, Context(now=now)):
            raise BadSignature("the token's caveats refuse")
        if now >= datetime.fromtimestamp(int(found[3]), UTC) or decode_base64(found[2]) != digest:
            raise BadSignature("the token is for another ticket, or came too late")
        username = found[5]
        if not is_username(username):
            raise BadSignature("not an agent's token")
        return username, decode_base64(found[1])

    def _agent_key(self, identifier: bytes) -> bytes:
        return chain.mac(self._agents, identifier)
