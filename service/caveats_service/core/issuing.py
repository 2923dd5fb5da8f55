"""Issuing: what a caller may have, and the token that is minted for it.

Knows the layout of issued tokens (user, expires, scope, then the rest), and in `TokenIssuer` the master keys and the
store; knows no HTTP. The policy is pure: bounds and a request in, the caveats to mint out. What a token is asked to do
beyond its bounds is refused, except that a life is cut to what is left.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from caveats import (
    DEFAULT_LIMITS,
    Authenticated,
    Caveat,
    Checkers,
    Expires,
    Identifier,
    Introspection,
    LimitExceeded,
    Macaroon,
    MalformedCaveat,
    Note,
    Parent,
    Renewed,
    Revoked,
    Scope,
    UnknownCaveat,
    User,
    authenticate,
    effective,
    new_token_id,
    renew,
)
from caveats.durations import format_duration
from caveats.kinds import ScopePattern, check_value, is_own_scope, parse_scope
from caveats.token import derive, is_audience, issue_time
from caveats_service.core.errors import CeilingReached, Forbidden, InvalidCredentials, InvalidRequest
from caveats_service.core.lineage import lineage
from caveats_service.core.usernames import in_audit
from caveats_service.storage import ISSUED_WITHIN, Idempotency, LabelledToken, Store, UnknownUser
from caveats_service.storage import User as Account

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caveats_service.core.master_keys import MasterKeys
    from caveats_service.settings import Settings

DEFAULT_AUDIENCE = "default"
"""The audience of tokens for accounts. Nobody but the service has its keys."""
DEFAULT_SCOPE = "*"
_EXPIRES_AT = 1
"""The place of the issuer's expiry among the caveats of an issued token."""
_BRANCHES_IN_ONE_CAVEAT = 28
_FOREIGN = UnknownCaveat(b"").why
_MILLISECOND = timedelta(milliseconds=1)
_END_OF_TIME = datetime.max.replace(tzinfo=UTC, microsecond=0)


def require_shareable(audience: str, settings: Settings) -> None:
    """Raises `Forbidden` for the keys of an audience that no app may have: whoever has them is every account."""
    if audience == DEFAULT_AUDIENCE and not settings.unsafe_share_account_keys:
        raise Forbidden(
            f"the keys of audience {audience} make tokens of every account: give the app an audience of its own, or "
            "set CAVEATS_UNSAFE_SHARE_ACCOUNT_KEYS=true"
        )


def location_of(audience: str, settings: Settings) -> str:
    """The location to write into a token: the configured one, or the service's public URL.

    Not the URL where an app has the keys: its verifier refuses a location that it was not told of.
    """
    if settings.location or audience != DEFAULT_AUDIENCE or settings.unsafe_share_account_keys:
        return settings.location
    return settings.public_url or ""


@dataclass(frozen=True, slots=True)
class IssueRequest:
    """The token that a caller asks for. A member that is None follows from the bounds."""

    scope: str | None = None
    audience: str | None = None
    lifetime: timedelta | None = None
    caveats: tuple[str, ...] = ()
    note: str | None = None
    unit: str = ""
    """The unit in which the lifetime was written, for the message about the longest one."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that a caller may be issued: user, scopes, latest expiry, audience."""

    user: str
    scopes: tuple[ScopePattern, ...]
    default_scope: str
    expires_at: datetime | None = None
    audience: str | None = None
    """The only audience; None for any."""
    inherited: tuple[Caveat, ...] = ()
    """Caveats that go into the new token as they are."""
    user_proven: bool = True
    """Whether the service itself knows who the user is, or an app may have written the name."""
    account: Account | None = None
    """The account as it was when its password was checked; None where a token was shown."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A token that may be minted, caveat by caveat."""

    user: str
    audience: str
    caveats: tuple[Caveat, ...]
    scope: str
    label: str | None
    """The note under which its user finds the token in their list; None for one that is not listed."""
    account: Account | None = None
    """As in `Bounds`."""


@dataclass(frozen=True, slots=True)
class Lives:
    """The lives of tokens: unless asked otherwise, at most, and at most with all renewals."""

    default: timedelta
    longest: timedelta
    total: timedelta

    def check(self, lifetime: timedelta | None, unit: str) -> None:
        """Raises `InvalidRequest` for a lifetime that nobody may ask for; the message has the longest in `unit`."""
        if lifetime is not None and not timedelta(0) < lifetime <= self.longest:
            longest = format_duration(self.longest, unit) + ("" if unit else " seconds")
            raise InvalidRequest(f"expires_in is more than 0 and at most {longest}")


def bounds_of_user(user: str, scope: str, *, is_admin: bool) -> Bounds:
    """The bounds of a user who has shown their password."""
    patterns = tuple(map(parse_scope, scope.split(" ")))
    if is_admin:
        patterns += (parse_scope("caveats:*"),)
    default = DEFAULT_SCOPE if DEFAULT_SCOPE in scope.split(" ") else scope
    return Bounds(user, patterns, default)


def bounds_of_token(authenticated: Authenticated, branches: Sequence[bytes], *, any_audience: bool) -> Bounds:
    """The bounds of what is issued against a token: no more than it allows, and it dies when that token does.

    `branches`: its branch ids that stay through renewals, 16 bytes each. The new token names all of them, those of a
    renewal's own chain, and the key; it dies with any of these. Raises `Forbidden`.
    """
    identified = authenticated.identified
    assert identified is not None
    authority = effective(authenticated.caveats)
    if any(isinstance(caveat, User) and caveat.user != authority.user for caveat in authenticated.caveats):
        raise Forbidden("the token's users contradict each other")
    inherited = [caveat for caveat in authenticated.caveats if caveat.inherited]
    every = tuple(dict.fromkeys((*branches, *authenticated.branches())))
    parents = [
        Parent(identified.key_id, identified.token_id, every[at : at + _BRANCHES_IN_ONE_CAVEAT])
        for at in range(0, len(every), _BRANCHES_IN_ONE_CAVEAT)
    ]
    return Bounds(
        user=authority.user or "",
        scopes=authority.scope_patterns,
        default_scope=" ".join(authority.scopes),
        expires_at=authority.expires_at,
        audience=None if any_audience else identified.audience,
        inherited=(*dict.fromkeys(inherited), *parents),
        user_proven=identified.audience == DEFAULT_AUDIENCE,
    )


def plan(asked: IssueRequest, bounds: Bounds, lives: Lives, checkers: Checkers, *, now: datetime) -> Plan:
    """The token to mint. Raises `InvalidRequest` for what nobody can have, `Forbidden` for what this caller cannot."""
    audience = asked.audience or bounds.audience or DEFAULT_AUDIENCE
    if not is_audience(audience):
        raise InvalidRequest("an audience reads a-z, then a-z, 0-9 and -, at most 32 characters")
    if bounds.audience is not None and audience != bounds.audience:
        raise Forbidden(f"a token for audience {bounds.audience!r} cannot be had for {audience!r}")
    if asked.scope is None and not bounds.default_scope:
        raise Forbidden("the credential's caveats leave no scope to hand on")
    scope = _scope(bounds.default_scope if asked.scope is None else asked.scope, bounds)
    lives.check(asked.lifetime, asked.unit)
    expires_at = now + (asked.lifetime or lives.default)
    if bounds.expires_at is not None:
        expires_at = min(expires_at, bounds.expires_at)
    caveats: list[Caveat] = [User(bounds.user), Expires(expires_at), scope]
    caveats += [_asked_caveat(predicate, checkers) for predicate in asked.caveats]
    caveats += bounds.inherited
    if asked.note is not None:
        caveats.append(Note(asked.note))
    label = asked.note if bounds.user_proven else None  # an app writes into nobody's list
    return Plan(bounds.user, audience, tuple(caveats), scope.value, label, bounds.account)


def actor_of(token: Introspection) -> str:
    """Who acts with a token, for the audit: its user or, where an app may have written the name, the audience.

    A username has no space, so neither can be taken for the other.
    """
    if token.audience == DEFAULT_AUDIENCE:
        return in_audit(token.user)
    return f"a token of audience {token.audience}"


def may_be_labelled(identifier: Identifier) -> bool:
    """False for almost every token without a label: it has no more than user, expires and scope, and a label is a note."""
    return identifier.issuer_caveats > 3


def final_expiry(token: Introspection) -> datetime | None:
    """When this copy, all made from it and all their renewals have expired; None where no caveat says so.

    A renewal moves the issuer's first expiry and no other, and what was issued against another token is not renewed.
    Discharges do not count: others may be had.
    """
    own = [
        (place, caveat)
        for place, (caveat, who) in enumerate(zip(token.caveats, token.added_by, strict=True))
        if who != "discharger"
    ]
    moved = None if any(isinstance(caveat, Parent) for _, caveat in own) else _EXPIRES_AT
    return min((c.at for place, c in own if isinstance(c, Expires) and place != moved), default=None)


def _scope(text: str, bounds: Bounds) -> Scope:
    scope = Scope(text)
    for pattern in scope.patterns:
        if not any(allowed.covers(pattern) for allowed in bounds.scopes):
            allowed_text = " ".join(map(str, bounds.scopes))
            who = (
                "; only administrators may have it, and only where they ask for it"
                if is_own_scope(str(pattern))
                else ""
            )
            raise Forbidden(f"the scope {pattern} is beyond what you may have: {allowed_text}{who}")
    return scope


def _asked_caveat(predicate: str, checkers: Checkers) -> Caveat:
    """A caveat that the caller asks for. A plug-in's kind need not be known here, a kind without a prefix has to be."""
    caveat = checkers.parse(predicate.encode("utf-8", "replace"))
    if isinstance(caveat, UnknownCaveat):
        name, _, value = predicate.partition(" = ")
        if "/" not in name or caveat.why != _FOREIGN:
            raise InvalidRequest(f"caveat {predicate!r}: {caveat.why}")
        check_value(value)
    if caveat.issuer_only:
        raise InvalidRequest(f"a {caveat.kind} caveat is the service's own to write")
    return caveat


def renewal_expiry(
    authenticated: Authenticated, lifetime: timedelta | None, lives: Lives, *, now: datetime, unit: str = ""
) -> datetime:
    """The expiry of a renewal: as long again as the first life, or as asked, up to the ceiling.

    The ceiling is `lives.total` after the first issue. `unit`: as in `IssueRequest`. Raises `InvalidRequest`, `Forbidden` or `CeilingReached`.
    """
    identified = authenticated.identified
    assert identified is not None
    if any(isinstance(caveat, Parent) for caveat in authenticated.caveats):
        raise Forbidden("this token was issued against another one: renew that, and ask again")
    present = next((c.at for c in authenticated.caveats if isinstance(c, Expires)), None)
    if present is None:
        raise MalformedCaveat("a token without an expiry needs no renewal")
    lives.check(lifetime, unit)
    issued_at = issue_time(identified.token_id)
    first = next((c.first_expiry for c in authenticated.caveats if isinstance(c, Renewed)), present)
    again = lifetime or min(max(first - issued_at, timedelta(0)), lives.longest)
    ceiling = issued_at + min(lives.total, _END_OF_TIME - issued_at)
    expires_at = min(now + again, ceiling)
    if expires_at <= present:
        if present >= ceiling.replace(microsecond=0):
            raise CeilingReached(
                f"no token lives longer than {format_duration(lives.total)} after its first issue"
            )
        return present
    return expires_at


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token that was minted or renewed, and what all its caveats together allow."""

    macaroon: Macaroon = field(repr=False)
    identifier: Identifier
    user: str
    scope: str
    expires_at: datetime

    @classmethod
    def of(cls, macaroon: Macaroon, identifier: Identifier, caveats: Sequence[Caveat]) -> Self:
        """The token with these caveats. Raises `Forbidden` for one that names no user or no expiry."""
        authority = effective(caveats)
        if authority.user is None or authority.expires_at is None:
            raise Forbidden("not a token of this service")
        return cls(macaroon, identifier, authority.user, " ".join(authority.scopes), authority.expires_at)


class TokenIssuer:
    """Mints and renews tokens under the active master key.

    The store knows how late tokens were issued before the first of them exists: a revocation of all that a user has
    reaches them whatever becomes of the clocks. It is written once a second at most.
    """

    def __init__(
        self, store: Store, master_keys: MasterKeys, settings: Settings, *, epoch: Callable[[], int] = int
    ) -> None:
        """`epoch`: of the feed. In another one, the store may have lost what was written down."""
        self._store = store
        self._master_keys = master_keys
        self._settings = settings
        self._most_labels = settings.max_labels
        self._longest_life = settings.longest_life
        self._epoch = epoch
        self._noted: tuple[int, datetime] | None = None
        self._noting: asyncio.Task[None] | None = None

    async def issue(
        self,
        planned: Plan,
        *,
        actor: str,
        now: datetime,
        once: Idempotency | None = None,
        for_account: bool = True,
        by_client: bool = False,
    ) -> IssuedToken:
        """Mint what was planned. A labelled token is written down first; no other leaves a trace.

        `now`: a time from before the account is read here, so that what is revoked after that hits the new token as
        well. The id has a later time than what has been revoked before: it is no part of that. `for_account`: whether
        the credential stands for the whole account; others may label half as many. `by_client`: the actor is an issuing client, and
        the audit says what it was given. With `once`, the reply is kept in
        the same transaction. Raises `AlreadyDone` if this request has been answered before, `IdempotencyConflict`,
        `InvalidRequest` for a token that would be too long, and `InvalidCredentials` or `Revoked` if the account is
        disabled, or has changed since its password was checked.
        """
        await self._note_issue(now, now)
        account = await self.open_account(planned.user, planned.account)
        if account.revoked_up_to is not None and now <= account.revoked_up_to:
            clock, now = now, account.revoked_up_to + _MILLISECOND
            await self._note_issue(now, clock)
        keyring, active = self._master_keys.keyring, self._master_keys.active
        identifier = Identifier(active.key_id, planned.audience, new_token_id(now), len(planned.caveats))
        root_key = keyring.root_key(identifier)
        macaroon = _within_limits(
            lambda: Macaroon.mint(
                root_key,
                identifier,
                location=location_of(planned.audience, self._settings),
                caveats=planned.caveats,
            )
        )
        issued = IssuedToken.of(macaroon, identifier, planned.caveats)
        if by_client:  # before the token exists: none goes out that is not written down
            await self._store.audit.add(
                at=now,
                actor=actor,
                action="token.issue",
                subject=identifier.token_id,
                user=planned.user,
                scope=planned.scope,
                audience=planned.audience,
            )
        if planned.label is not None:
            label = LabelledToken(
                identifier.token_id,
                planned.user,
                planned.label,
                issued.scope,
                planned.audience,
                now,
                issued.expires_at,
                lineage=lineage(identifier, authenticate(macaroon, root_key).branches(), planned.caveats),
            )
            most = self._most_labels if for_account else self._most_labels // 2
            try:
                await self._store.labels.add(label, most=most, now=now, actor=actor, once=once, result=issued)
            except UnknownUser:  # deleted since it was read above
                raise (
                    Revoked("the account is not open") if planned.account is None else InvalidCredentials
                ) from None
        elif once is not None:
            await self._store.replies.remember(once, issued, now=now)
        return issued

    async def open_account(self, username: str, before: Account | None = None) -> Account:
        """The account, read at the moment at which something takes effect in its name.

        `before`: as it was when its password was checked. Raises `InvalidCredentials` if it is disabled by now, has
        another password or has had everything revoked; without `before`, `Revoked` if it is disabled or unknown.
        """
        account = await self._store.users.get(username)
        if account is None or not account.is_enabled:
            raise Revoked("the account is not open") if before is None else InvalidCredentials
        if before is not None and (account.password_changed_at, account.revoked_up_to) != (
            before.password_changed_at,
            before.revoked_up_to,
        ):
            raise InvalidCredentials
        return account

    async def renew(
        self, authenticated: Authenticated, expires_at: datetime, *, now: datetime
    ) -> IssuedToken:
        """The same token with a later expiry; what holders added stays. Its label, if it has one, has the later expiry too.

        Raises `InvalidRequest` for one that would be too long, `Forbidden` for one that the service did not issue, and
        `Revoked` if the account is disabled.
        """
        identifier = authenticated.identified
        assert identifier is not None
        macaroon = _within_limits(lambda: renew(authenticated, expires_at, self._derived_key))
        caveats = list(authenticated.caveats)
        caveats[_EXPIRES_AT] = Expires(expires_at)
        renewed = IssuedToken.of(macaroon, identifier, caveats)
        await self._note_issue(min(now, issue_time(identifier.token_id)), now)  # an app can write any time
        await self.open_account(renewed.user)
        if may_be_labelled(identifier):
            await self._store.labels.extend(
                identifier.token_id,
                audience=identifier.audience,
                username=renewed.user,
                expires_at=renewed.expires_at,
            )
        return renewed

    async def _note_issue(self, at: datetime, now: datetime) -> None:
        """Return once the store knows that a token of that time may exist. Callers share what is written.

        `now`: by this node's clock. Raises `StoreUnavailable`.
        """
        while self._noted is None or self._noted[0] != self._epoch() or at > self._noted[1] + ISSUED_WITHIN:
            if self._noting is None or self._noting.done():
                self._noting = asyncio.create_task(self._write_issue(max(now, at - ISSUED_WITHIN)))
                self._noting.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.shield(self._noting)

    async def _write_issue(self, at: datetime) -> None:
        epoch = self._epoch()
        if self._noted is not None:
            at = max(at, self._noted[1])  # a database that took over may not have it
        await self._store.instance.note_issue(self._longest_life, at)
        self._noted = (epoch, at)

    def _derived_key(self, identifier: Identifier) -> bytes:
        return derive(self._master_keys.keyring.root_key(identifier))


def _within_limits(make: Callable[[], Macaroon]) -> Macaroon:
    """The macaroon, if it is one that is taken again. Raises `InvalidRequest`."""
    most = DEFAULT_LIMITS.token_text
    try:
        macaroon = make()
    except LimitExceeded as error:
        raise InvalidRequest(str(error)) from None
    if len(macaroon.encode()) > most:
        raise InvalidRequest(f"a token has at most {most} characters")
    return macaroon
