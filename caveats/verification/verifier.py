"""Verification: authenticate, then judge. `verify` under one root key, `Verifier` under a keyring.

Knows keys, checkers and revocations. No I/O, no clock, but for the one warning of `missing_keys`. What is remembered of a
token is that it was authentic; whether it is live and what its caveats say is asked every time.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from caveats.errors import (
    BadSignature,
    InvalidKey,
    MalformedToken,
    Revoked,
    UnknownKey,
    UnsatisfiedCaveats,
    WrongAudience,
)
from caveats.kinds.checkers import Checkers, standard_checkers, unsatisfied
from caveats.kinds.standard import Parent, Renewed, User
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.macaroon.bundle import Bundle, decode_bundle
from caveats.macaroon.macaroon import Macaroon
from caveats.pickling import Unpicklable
from caveats.revocation.revocation_set import RevocationSet
from caveats.token import chain
from caveats.token.identifier import Identifier, parse_identifier
from caveats.token.wire import PREFIX, SEPARATOR, decode_text
from caveats.verification.authenticate import (
    Authenticated,
    added_by,
    authenticate_root,
    authenticate_wire,
    first_party,
)
from caveats.verification.cache import Entry, VerificationCache
from caveats.verification.grant import Grant, Introspection
from caveats.verification.missing_keys import MissingKeyLog
from caveats.verification.renewal import first_branches

if TYPE_CHECKING:
    from caveats.context import Context
    from caveats.errors import Failure
    from caveats.keys.keyring import Keyring
    from caveats.kinds.checkers import Question
    from caveats.token.chain import Pads
    from caveats.token.wire import WireMacaroon
    from caveats.verification.authenticate import Discharged

_NOT_OURS = "the identifier is not one that this service issues"


def verify(
    presented: str | Bundle | Macaroon,
    root_key: bytes,
    checkers: Checkers,
    context: Context,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> Grant:
    """The grant for one of our tokens, as text or decoded, under its root key. Knows nothing of revocation.

    Does not ask about the tokens that this one was issued against: a child of a token whose key was retired, or that was
    revoked, is granted. A `Verifier` asks. The caller of this function has to, for each `Parent` in `Grant.caveats`: refuse
    if `Keyring.has_key(parent.key_id)` is False, or if a revocation hits `parent.token_id` or one of `parent.branches`.

    Raises what `authenticate` raises, `MalformedToken` for a text that is no token, `UnknownKey` for an identifier that
    is not ours, `WrongAudience`, or `UnsatisfiedCaveats` with every caveat that refuses.
    """
    derived_key = chain.derive(chain.check_root_key(root_key))
    macaroon, discharges = _decoded(presented, limits)
    identifier = parse_identifier(macaroon.identifier)
    grant, checks, _, _ = _authenticated(macaroon, discharges, identifier, derived_key, checkers, limits)
    if context.audience is not None and context.audience != grant.audience:
        raise WrongAudience(grant.audience, context.audience)
    if not _all_hold(checks, context):
        who = added_by(macaroon, grant.identifier.issuer_caveats, len(grant.caveats))
        failures = unsatisfied(grant.caveats, checkers, context, who)
        if failures:
            raise UnsatisfiedCaveats(failures)
    return grant


class Verifier(Unpicklable):
    """Verifies tokens of one audience (or, as the service does, of any) under a keyring.

    Remembers which texts were authentic, within bounds. Safe to use from many threads.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        checkers: Checkers | None = None,
        audience: str | None = "default",
        revocations: RevocationSet | None = None,
        location: str | None = "",
        limits: Limits = DEFAULT_LIMITS,
        cache_entries: int = 10_000,
        cache_bytes: int = 16 * 1024 * 1024,
        log_missing_keys: bool = True,
    ) -> None:
        """`audience` None: each context names its own.

        `location`: the only one that tokens may carry, besides none; None: any, since it is a hint and nothing more.
        `cache_entries` and `cache_bytes` bound what is remembered; 0 remembers nothing.
        `log_missing_keys`: warn in the log if tokens are under a newer key than those of an `AudienceKeyring`; False if a
        missing key is fetched.
        Raises `InvalidKey` if the keyring is one audience's, and `audience` another.
        """
        own = getattr(keyring, "audience", None)
        if own is not None and audience not in (None, own):
            raise InvalidKey(f"this keyring has the keys of audience {own!r}, and none of {audience!r}")
        self._checkers = standard_checkers() if checkers is None else checkers
        self._revocations = RevocationSet() if revocations is None else revocations
        self.audience = audience
        self.location = location
        self.limits = limits
        self._keyring = keyring
        self._cache = VerificationCache(cache_entries, cache_bytes)
        self._missing_keys = MissingKeyLog() if log_missing_keys else None

    @property
    def keyring(self) -> Keyring:
        """The keys. Assign a new keyring when they change: everything remembered is forgotten."""
        return self._keyring

    @keyring.setter
    def keyring(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._cache.clear()

    @property
    def checkers(self) -> Checkers:
        """The checkers. Assigning others forgets everything remembered."""
        return self._checkers

    @checkers.setter
    def checkers(self, checkers: Checkers) -> None:
        self._checkers = checkers
        self._cache.clear()

    @property
    def revocations(self) -> RevocationSet:
        """What is revoked. Assigning another set forgets everything remembered."""
        return self._revocations

    @revocations.setter
    def revocations(self, revocations: RevocationSet) -> None:
        self._revocations = revocations
        self._cache.clear()

    def verify(self, presented: str | Bundle | Macaroon, context: Context) -> Grant:
        """The grant for this token and this request, or why not.

        Raises `MalformedToken`, `LimitExceeded`, `UnknownKey`, `BadSignature`, `MissingDischarge`,
        `UnusedDischarge`, `Revoked`, `WrongAudience`, or `UnsatisfiedCaveats` with `.failures`.
        """
        entry = self._find(presented)
        self._check_live(entry, presented)
        grant = entry.grant
        audience = self._audience(grant.identifier, context)
        if _all_hold(entry.checks, context):
            return grant
        if context.audience is None:
            context = replace(context, audience=audience)
        failures = unsatisfied(grant.caveats, self._checkers, context, self._added_by(entry, presented))
        if failures:
            raise UnsatisfiedCaveats(failures)
        return grant

    def introspect(
        self,
        presented: str | Bundle | Macaroon,
        *,
        even_revoked: bool = False,
        even_undischarged: bool = False,
    ) -> Introspection:
        """What can be said of the authentic, live token without a request.

        Walks the chain once, and not at all for a text that was introspected before. `even_revoked`: also for a
        revoked token, which its holder may revoke once more. `even_undischarged`: its discharges are not looked at, so
        that whoever finds it may revoke it; decide nothing else by the answer. Raises as `verify`,
        `UnsatisfiedCaveats` excepted.
        """
        if even_undischarged:
            token, entry = self._authenticate(presented, root_only=True)
            self._add_branches(entry, token)
            entry.added_by = token.added_by
        else:
            entry = self._find(presented, with_branches=True)
        if not even_revoked:
            self._check_live(entry, presented)
        if entry.introspection is None:
            grant = entry.grant
            entry.introspection = Introspection(
                grant.identifier,
                grant.user,
                grant.caveats,
                added_by=self._added_by(entry, presented),
                branches=entry.branches,
                whole=len(entry.own_branches) == grant.identifier.issuer_caveats + 1,
            )
        return entry.introspection

    def failures(
        self, presented: str | Bundle | Macaroon | Introspection, context: Context
    ) -> tuple[Failure, ...]:
        """Every caveat that refuses this request; empty where `verify` grants. Raises as `verify` otherwise.

        What has been introspected is only judged: no chain is walked, and liveness is not asked again.
        """
        if isinstance(presented, Introspection):
            audience = self._audience(presented.identifier, context)
            if context.audience is None:
                context = replace(context, audience=audience)
            return unsatisfied(presented.caveats, self._checkers, context, presented.added_by)
        try:
            self.verify(presented, context)
        except UnsatisfiedCaveats as refusal:
            return tuple(refusal.failures)
        return ()

    def authenticate(
        self, presented: str | Bundle | Macaroon, *, even_revoked: bool = False
    ) -> Authenticated:
        """The authentic, live token with its signatures and discharges, its caveats not judged. Walks the chain once.

        Raises as `verify`, `UnsatisfiedCaveats` excepted. `even_revoked`: as `introspect`.
        """
        token, entry = self._authenticate(presented)
        if not even_revoked:
            self._check_live(entry, presented)
        return token

    def _find(self, presented: str | Bundle | Macaroon, *, with_branches: bool = False) -> Entry:
        """The entry of an authentic token: remembered, or made by one walk of the chain."""
        text = presented if type(presented) is str else None
        entry = None if text is None else self._cache.find(text)
        if entry is None:
            generation = self._cache.generation
            token, entry = self._authenticate(presented)
            if text is not None:
                self._cache.add(text, entry, _size(text, token), generation)
        elif with_branches and not entry.branches:
            token, _ = self._authenticate(presented)
        if with_branches and not entry.branches:
            self._add_branches(entry, token)
            entry.added_by = token.added_by
        return entry

    def _add_branches(self, entry: Entry, token: Authenticated) -> None:
        entry.own_branches = entry.branches = token.branches()
        if Renewed in map(type, entry.grant.caveats):
            entry.branches = first_branches(token, self._derived_key)

    def _added_by(self, entry: Entry, presented: str | Bundle | Macaroon) -> tuple[str, ...]:
        if not entry.added_by:
            macaroon, _ = _decoded(presented, self.limits)
            grant = entry.grant
            entry.added_by = added_by(macaroon, grant.identifier.issuer_caveats, len(grant.caveats))
        return entry.added_by

    def _authenticate(
        self, presented: str | Bundle | Macaroon, *, root_only: bool = False
    ) -> tuple[Authenticated, Entry]:
        """One of our tokens, by one walk of the chain. `root_only`: without its discharges."""
        macaroon, discharges = _decoded(presented, self.limits)
        if macaroon.location and self.location not in (None, macaroon.location):
            raise MalformedToken("the token carries the location of another service")
        identifier = parse_identifier(macaroon.identifier)
        if identifier is None:
            raise UnknownKey(_NOT_OURS)
        derived_key = chain.derive_from(self._pads(identifier), macaroon.identifier)
        grant, checks, signatures, discharged = _authenticated(
            macaroon, None if root_only else discharges, identifier, derived_key, self._checkers, self.limits
        )
        if checks is None:  # there may be a parent
            self._check_parents_keys(grant)
        token = Authenticated(macaroon, identifier, grant.caveats, signatures, discharged)
        entry = Entry(grant, checks)
        if self._revocations.branch_count(identifier.token_id):  # while the signatures are at hand
            self._add_branches(entry, token)
        return token, entry

    def _check_parents_keys(self, grant: Grant) -> None:
        """Raises `Revoked` if a token that this one came of, in any generation, was under a key that is gone.

        The answer is remembered as long as the keyring: another keyring forgets everything.
        """
        for parent in grant.caveats:
            if type(parent) is Parent and not self._keyring.has_key(parent.key_id):
                raise Revoked(
                    f"the token was issued against one under key {parent.key_id}, which is not here",
                    parent.key_id,
                )

    def _audience(self, identifier: Identifier, context: Context) -> str:
        """The audience of token, verifier and context. Raises `WrongAudience` if they name different ones."""
        named, here, asked = identifier.audience, self.audience, context.audience
        if here not in (None, named):
            raise WrongAudience(named, here or "")
        if asked != named and (asked is not None or here is None):
            raise WrongAudience(named, asked or "")
        return named

    def _check_live(self, entry: Entry, presented: str | Bundle | Macaroon) -> None:
        """Raises `Revoked`. Looks only if something was revoked since the last look."""
        revocations, grant = self._revocations, entry.grant
        changes = revocations.changes  # read before the look-up: what comes in between is seen next time
        if entry.live_at == changes:
            return
        if entry.checks is None or revocations.may_hit(grant.identifier.token_id, grant.user):
            self._look_up(entry, presented, revocations)  # `checks` is None where there may be a parent
        entry.live_at = changes

    def _look_up(self, entry: Entry, presented: str | Bundle | Macaroon, revocations: RevocationSet) -> None:
        user, token_id = entry.grant.user, entry.grant.identifier.token_id
        if revocations.hits_token(token_id) or revocations.hits_user(user, token_id):
            raise Revoked("the token has been revoked")
        if revocations.branch_count(token_id):
            if not entry.branches:
                self._add_branches(entry, self._authenticate(presented)[0])
            if revocations.hits_branch(token_id, (*entry.own_branches, *entry.branches)):
                raise Revoked("this copy of the token has been revoked")
        for parent in entry.grant.caveats:
            if type(parent) is Parent and (
                revocations.hits_token(parent.token_id)
                or revocations.hits_user(user, parent.token_id)
                or revocations.hits_branch(parent.token_id, parent.branches)
            ):
                raise Revoked("the token that this one was issued against has been revoked")

    def _pads(self, identifier: Identifier) -> Pads:
        """The HMAC key that derives this token's root key. Raises `WrongAudience`, `UnknownKey`."""
        pads = self._keyring.root_pads(identifier.key_id, identifier.audience)
        if pads is None:
            if self.audience is not None and identifier.audience != self.audience:
                raise WrongAudience(identifier.audience, self.audience)
            if self._missing_keys is not None:
                self._missing_keys.notice(identifier.key_id, self._keyring)
            raise UnknownKey(f"no key {identifier.key_id} here", identifier.key_id)
        return pads

    def _derived_key(self, identifier: Identifier) -> bytes:
        return chain.derive_from(self._pads(identifier), identifier.encode())


def _authenticated(  # noqa: PLR0917  # what a token is, then what judges it
    macaroon: WireMacaroon,
    discharges: Sequence[WireMacaroon] | None,
    identifier: Identifier | None,
    derived_key: bytes,
    checkers: Checkers,
    limits: Limits,
) -> tuple[Grant, Sequence[Question] | None, list[bytes], tuple[Discharged, ...]]:
    """The grant of one of our tokens, should its caveats hold; their checks; the chain's signatures; the discharges.

    Authenticates by one walk of the chain. `discharges` None: only the macaroon itself. Raises as `authenticate`;
    `UnknownKey` or `BadSignature` for what no issuer of ours signs.
    """
    discharged: tuple[Discharged, ...] = ()
    if discharges is None:
        signatures, predicates = authenticate_root(macaroon, derived_key)
    else:
        signatures, predicates, discharged = authenticate_wire(macaroon, discharges, derived_key, limits)
    if identifier is None:
        raise UnknownKey(_NOT_OURS)
    caveats, checks = checkers.parse_all(predicates)
    chained = macaroon.caveats
    if not chained or type(chained[0]) is not bytes or type(caveats[0]) is not User:
        raise BadSignature("the issuer named no user in the first caveat")
    if identifier.issuer_caveats > len(chained):
        raise BadSignature("the identifier counts more issuer's caveats than there are")
    return Grant(identifier, caveats[0].user, caveats), checks, signatures, discharged


def _all_hold(checks: Sequence[Question] | None, context: Context) -> bool:
    """Whether every check answers True. False also where the checks do not decide: `unsatisfied` does then."""
    if checks is None:
        return False
    try:
        for check, caveat in checks:
            answer = check(caveat, context)
            if answer is not True:
                break
        else:
            return True
        if isinstance(answer, Coroutine):
            answer.close()
    except Exception:  # noqa: BLE001, S110  # foreign code: `unsatisfied` makes a refusal of what it raises
        pass
    return False


def _size(text: str, token: Authenticated) -> int:
    """What it takes to remember this text and its typed caveats, roughly, in bytes."""
    size = len(text) * 4 + 1024
    if len(text) > 512:  # where there is room for long lists of words
        macaroons = (token.wire, *(discharge.wire for discharge in token.discharges))
        size += 256 * sum(predicate.count(b" ") for each in macaroons for predicate in first_party(each))
    return size


def _decoded(
    presented: str | Bundle | Macaroon, limits: Limits
) -> tuple[WireMacaroon, Sequence[WireMacaroon]]:
    """The macaroon and its discharges. Raises `MalformedToken`, `LimitExceeded`."""
    if isinstance(presented, str):
        if presented.startswith(PREFIX) and SEPARATOR not in presented:  # nearly always
            return decode_text(presented, limits), ()
        return decode_bundle(presented, limits)
    if isinstance(presented, Macaroon):
        return presented.wire, ()
    if isinstance(presented, Bundle):
        return presented.macaroon.wire, [discharge.wire for discharge in presented.discharges]
    raise MalformedToken("a token is text, a macaroon or a bundle")
