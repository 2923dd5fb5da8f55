"""Verification: authenticate, then judge. `verify` under one root key, `Verifier` under a keyring.

Knows keys, checkers and revocations; what it remembers is only that a text was authentic. No I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from caveats.errors import (
    BadSignature,
    Failure,
    MalformedToken,
    Revoked,
    UnknownKey,
    UnsatisfiedCaveats,
    WrongAudience,
)
from caveats.kinds import Authority, Checkers, Parent, User, effective, standard_checkers, unsatisfied
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.macaroon.bundle import Bundle, decode_fields
from caveats.macaroon.macaroon import Macaroon
from caveats.revocation.revocation_set import RevocationSet
from caveats.token import chain, wire
from caveats.token.identifier import Identifier, parse_identifier
from caveats.verification.authenticate import Authenticated, authenticate_fields
from caveats.verification.renewal import first_branches

if TYPE_CHECKING:
    from datetime import datetime

    from caveats.context import Context
    from caveats.keys.keyring import Keyring
    from caveats.kinds import Caveat
    from caveats.token.wire import WireMacaroon


_NOT_OURS = "the identifier is not one that this service issues"


class Grant:
    """The decision yes, and what it rests on. Frozen."""

    __slots__ = ("_known",)
    _known: _Known

    def __init__(self, known: _Known) -> None:
        _know(self, known)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a grant is frozen")

    @property
    def authenticated(self) -> Authenticated:
        """The token, vouched for."""
        return self._known.authenticated

    @property
    def authority(self) -> Authority:
        """What is left of the token after all its caveats."""
        known = self._known
        if known.authority is None:
            known.authority = effective(known.caveats)
        return known.authority

    @property
    def identifier(self) -> Identifier:
        """The token's identifier: key id, audience, token id."""
        return self._known.identifier

    @property
    def user(self) -> str:
        """Whose token it is: the issuer's word, which no holder can change."""
        return self._known.user

    @property
    def token_id(self) -> str:
        """The token's id."""
        return self._known.identifier.token_id

    @property
    def audience(self) -> str:
        """The audience that the token was issued for."""
        return self._known.identifier.audience

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scope patterns that are left."""
        return self.authority.scopes

    @property
    def expires_at(self) -> datetime | None:
        """The earliest expiry; None if the token has none, which no token of the service is."""
        return self.authority.expires_at

    @property
    def issued_at(self) -> datetime:
        """When the token was first issued."""
        return self._known.identifier.issued_at

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """Every caveat that held."""
        return self._known.caveats

    def __repr__(self) -> str:
        return f"Grant(user={self.user!r}, token_id={self.token_id!r}, scopes={self.scopes!r})"


_know = vars(Grant)["_known"].__set__  # the one way into a frozen value


def verify(
    bundle: str | Bundle | Macaroon,
    root_key: bytes,
    checkers: Checkers,
    context: Context,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> Grant:
    """The grant for one of our tokens, as text or decoded, under its root key. Knows nothing of revocation.

    Raises what `authenticate` raises, `MalformedToken` for a text that is no token, `UnknownKey` for an
    identifier that is not ours, `WrongAudience`, or `UnsatisfiedCaveats` with every caveat that said no.
    """
    derived_key = chain.derive(chain.check_root_key(root_key))
    fields, discharges = _fields(bundle, limits)
    identifier = parse_identifier(fields.identifier)
    known = _Known(bundle, fields, discharges, identifier, derived_key, limits, checkers)
    identifier = known.identifier
    if context.audience is not None and context.audience != identifier.audience:
        raise WrongAudience(identifier.audience, context.audience)
    known.judge(checkers, context)
    return Grant(known)


class _Known:
    """A token once found authentic, and how to judge it. What else is in it is read again for whoever asks."""

    __slots__ = (
        "authority",
        "branches",
        "caveats",
        "changes",
        "derived_key",
        "identifier",
        "limits",
        "presented",
        "questions",
        "size",
        "user",
    )

    def __init__(  # noqa: PLR0917  # by place, which is quicker: every verification comes by here
        self,
        presented: str | Bundle | Macaroon,
        fields: WireMacaroon,
        discharges: Sequence[WireMacaroon],
        identifier: Identifier | None,
        derived_key: bytes,
        limits: Limits,
        checkers: Checkers,
    ) -> None:
        """Authenticates first. Raises as `authenticate`, `UnknownKey` or `BadSignature` for what no issuer of ours signs."""
        _, predicates, _ = authenticate_fields(fields, discharges, derived_key, limits)
        if identifier is None:
            raise UnknownKey(_NOT_OURS)
        self.caveats, self.questions = caveats, _ = checkers.parse_all(predicates)
        chained = fields.caveats
        if not chained or type(chained[0]) is not bytes or type(caveats[0]) is not User:
            raise BadSignature("the issuer named no user in the first caveat")
        if identifier.issuer_caveats > len(chained):
            raise BadSignature("the identifier counts more issuer's caveats than there are")
        self.user = caveats[0].user
        self.presented = presented
        self.identifier = identifier
        self.derived_key = derived_key
        self.limits = limits
        self.size = _size(presented, predicates) if type(presented) is str else 0
        self.changes = -1
        self.branches: tuple[bytes, ...] | None = None
        self.authority: Authority | None = None

    @property
    def authenticated(self) -> Authenticated:
        """The token, vouched for."""
        fields, discharges = _fields(self.presented, self.limits)
        signatures, _, discharged = authenticate_fields(fields, discharges, self.derived_key, self.limits)
        return Authenticated(fields, self.identifier, self.caveats, signatures, discharged)

    def judge(self, checkers: Checkers, context: Context) -> None:
        """Return if every caveat holds. Raises `UnsatisfiedCaveats`."""
        if self.questions is not None:
            try:
                for check, caveat in self.questions:
                    answer = check(caveat, context)
                    if answer is not True:
                        break
                else:
                    return
                if isinstance(answer, Coroutine):
                    answer.close()
            except Exception:  # noqa: BLE001, S110  # foreign code: `failures` makes a refusal of what it raises
                pass
        failures = self.failures(checkers, context)
        if failures:
            raise UnsatisfiedCaveats(failures)

    def failures(self, checkers: Checkers, context: Context) -> tuple[Failure, ...]:
        """Every caveat that says no, explained."""
        return unsatisfied(self.caveats, checkers, context, self.authenticated.added_by)


class Verifier:
    """Verifies tokens of one audience (or, as the service does, of any) under a keyring.

    Remembers which texts were authentic, within bounds; whether a token is live and what its caveats say
    is asked every time. Safe to use from many threads.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        checkers: Checkers | None = None,
        audience: str | None = "default",
        revocations: RevocationSet | None = None,
        location: str = "",
        limits: Limits = DEFAULT_LIMITS,
        cache_entries: int = 10_000,
        cache_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        """`audience` None: each context names its own. `location`: the only one that tokens may carry, besides none.

        `cache_entries` and `cache_bytes` bound what is remembered; 0 remembers nothing.
        """
        self._checkers = standard_checkers() if checkers is None else checkers
        self._revocations = RevocationSet() if revocations is None else revocations
        self.audience = audience
        self.location = location
        self.limits = limits
        self._keyring = keyring
        self._half_entries = cache_entries // 2
        self._half_bytes = cache_bytes // 2
        self._remembering = Lock()
        self._forget()

    @property
    def keyring(self) -> Keyring:
        """The keys. Assign a new keyring when they change: everything remembered is forgotten."""
        return self._keyring

    @keyring.setter
    def keyring(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._forget()

    @property
    def checkers(self) -> Checkers:
        """The checkers. Assigning others forgets everything remembered."""
        return self._checkers

    @checkers.setter
    def checkers(self, checkers: Checkers) -> None:
        self._checkers = checkers
        self._forget()

    @property
    def revocations(self) -> RevocationSet:
        """What is revoked. Assigning another set forgets everything remembered."""
        return self._revocations

    @revocations.setter
    def revocations(self, revocations: RevocationSet) -> None:
        self._revocations = revocations
        self._forget()

    def verify(self, presented: str | Bundle | Macaroon, context: Context) -> Grant:
        """The grant for this token and this request, or why not.

        Raises `MalformedToken`, `LimitExceeded`, `UnknownKey`, `BadSignature`, `MissingDischarge`,
        `UnusedDischarge`, `Revoked`, `WrongAudience`, or `UnsatisfiedCaveats` with `.failures`.
        """
        grant = self._unjudged(presented)
        known = grant._known  # noqa: SLF001  of this module
        audience = self.audience if context.audience is None else context.audience
        if known.identifier.audience != audience or (self.audience is not None and self.audience != audience):
            raise self._wrong_audience(known, context)
        if context.audience is None and known.questions is None:
            context = replace(context, audience=audience)
        known.judge(self._checkers, context)
        return grant

    def authenticate(
        self, presented: str | Bundle | Macaroon, *, even_revoked: bool = False
    ) -> Authenticated:
        """The authentic, live token, its caveats not judged. Raises as `verify`, but for `UnsatisfiedCaveats`.

        `even_revoked`: for whoever only wants to say of a token that it is revoked, once more.
        """
        return (self._admit(presented) if even_revoked else self._unjudged(presented)).authenticated

    def failures(self, presented: str | Bundle | Macaroon, context: Context) -> tuple[Failure, ...]:
        """Every caveat that says no to this request; empty where `verify` grants. Raises as `verify` otherwise."""
        try:
            self.verify(presented, context)
        except UnsatisfiedCaveats as refusal:
            return tuple(refusal.failures)
        return ()

    def branches(self, authenticated: Authenticated) -> tuple[bytes, ...]:
        """The branch ids of an authentic token that stay with it through renewals; the last is this copy's."""
        return first_branches(authenticated, self._derived_key)

    def _unjudged(self, presented: str | Bundle | Macaroon) -> Grant:
        """What will be the grant if the caveats hold: authentic, and live. One object for each text remembered."""
        if type(presented) is not str:
            grant = self._admit(presented)
        else:
            young = self._young
            found = young.get(presented) or self._old.get(presented)
            if found is None:
                found = self._admit(presented)
                self._remember(young, presented, found)
            grant = found
        known = grant._known  # noqa: SLF001  of this module
        revocations = self._revocations
        changes = revocations.changes  # read before the look-up: what comes in between is seen next time
        if known.changes != changes:
            if known.questions is None or revocations.may_hit(known.identifier.token_id, known.user):
                self._check_live(known, revocations)
            known.changes = changes
        return grant

    def _admit(self, presented: str | Bundle | Macaroon) -> Grant:
        fields, discharges = _fields(presented, self.limits)
        if fields.location and fields.location != self.location:
            raise MalformedToken("the token carries the location of another service")
        identifier = parse_identifier(fields.identifier)
        if identifier is None:
            raise UnknownKey(_NOT_OURS)
        pads = self._keyring.root_pads(identifier.key_id, identifier.audience)
        if pads is None:
            if self.audience is not None and identifier.audience != self.audience:
                raise WrongAudience(identifier.audience, self.audience)
            raise UnknownKey(f"no key {identifier.key_id} here")
        derived_key = chain.derive_from(pads, fields.identifier)
        known = _Known(presented, fields, discharges, identifier, derived_key, self.limits, self._checkers)
        return Grant(known)

    def _wrong_audience(self, known: _Known, context: Context) -> WrongAudience:
        """The first of the two, verifier and context, that names another audience than the token."""
        named, here = known.identifier.audience, self.audience
        return WrongAudience(named, here if here not in (None, named) else context.audience or "")

    def _check_live(self, known: _Known, revocations: RevocationSet) -> None:
        token_id = known.identifier.token_id
        if revocations.hits_token(token_id) or revocations.hits_user(known.user, token_id):
            raise Revoked("the token has been revoked")
        revoked = revocations.branches_of(token_id)
        if revoked:
            if known.branches is None:
                authenticated = known.authenticated
                known.branches = authenticated.branches() + self.branches(authenticated)
            if not set(revoked).isdisjoint(known.branches):
                raise Revoked("this copy of the token has been revoked")
        for parent in known.caveats:
            if type(parent) is Parent and (
                revocations.hits_token(parent.token_id)
                or revocations.hits_user(known.user, parent.token_id)
                or not set(revocations.branches_of(parent.token_id)).isdisjoint(parent.branches)
            ):
                raise Revoked("the token that this one was issued against has been revoked")

    def _derived_key(self, identifier: Identifier) -> bytes:
        pads = self._keyring.root_pads(identifier.key_id, identifier.audience)
        if pads is None:
            raise UnknownKey(f"no key {identifier.key_id} here")
        return chain.derive_from(pads, identifier.encode())

    # What is remembered, in two halves: when the young one is full it becomes the old one, and the old one goes.

    def _forget(self) -> None:
        with self._remembering:
            self._young: dict[str, Grant] = {}
            self._old: dict[str, Grant] = {}
            self._young_bytes = 0

    def _remember(self, young: dict[str, Grant], text: str, grant: Grant) -> None:
        """Into `young` as it was before authentication, or not at all: the keys may have changed meanwhile."""
        size = grant._known.size  # noqa: SLF001  of this module
        if size > self._half_bytes or not self._half_entries:
            return
        with self._remembering:
            if young is not self._young:
                return
            if len(young) >= self._half_entries or self._young_bytes + size > self._half_bytes:
                self._old, self._young, self._young_bytes = young, {}, 0
            self._young[text] = grant
            self._young_bytes += size


def _size(text: str, predicates: Sequence[bytes]) -> int:
    """What it takes to remember this text and its typed caveats, roughly, in bytes."""
    size = len(text) * 4 + 1024
    if len(text) > 512:  # where there is room for long lists of words
        size += 256 * b"".join(predicates).count(b" ")
    return size


def _fields(
    presented: str | Bundle | Macaroon, limits: Limits
) -> tuple[WireMacaroon, Sequence[WireMacaroon]]:
    """The fields of the macaroon and of its discharges, by the shortest way."""
    if isinstance(presented, str):
        if presented.startswith(wire.PREFIX) and wire.SEPARATOR not in presented:
            return wire.decode_text(presented, limits), ()
        return decode_fields(presented, limits)
    if isinstance(presented, Macaroon):
        return presented.wire, ()
    if isinstance(presented, Bundle):
        return presented.macaroon.wire, [discharge.wire for discharge in presented.discharges]
    raise MalformedToken("a token is text, a macaroon or a bundle")
