"""What happens to an account: who may do it, and the change with its audit row, in one function each.

Knows accounts, passwords and rates; knows no HTTP and no tokens. The HTTP routes and the command line call the same
functions, so neither can leave out the check, the audit row or the revocation of what the user holds.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caveats import Scope
from caveats.printable import printable, without_tokens
from caveats_service.core import log
from caveats_service.core.clock import utc_now
from caveats_service.core.errors import (
    BadPassword,
    Busy,
    Forbidden,
    InvalidCredentials,
    NotFound,
    RateLimited,
    RegistrationClosed,
)
from caveats_service.core.usernames import (
    OPERATOR_NAME,
    SERVICE_NAME,
    check_new_username,
    check_username,
    fold_username,
    in_audit,
    is_username,
)
from caveats_service.storage import Idempotency, RevocationRecord, Store, StoreUnavailable, User, UserExists

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from caveats_service.core.passwords import PasswordHasher
    from caveats_service.core.rate_limit import RateLimiter
    from caveats_service.core.revoking import Revoker
    from caveats_service.settings import Settings

ADMIN = "admin"
"""The username of the administrator that the first start makes."""
_LONGEST_COUNTED = 64
"""Characters of a username that guesses are counted by: no account has a longer one."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, proven: `username` stands in the audit row. They may do anything to their own account.

    `administers`: they may also act on the accounts of others.
    """

    username: str
    administers: bool = False

    @property
    def in_audit(self) -> str:
        """The name of the account in an audit row."""
        return in_audit(self.username)

    def may_act_for(self, username: str) -> bool:
        """Whether this is their own account, or they administer."""
        return self.administers or self.username == username


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Somebody who has shown no credential. `address`: what their attempts are counted by."""

    address: str


_NOBODY = "(nobody)"
"""Who acts, in the audit row of a failed sign-in. No account can have this name."""


@dataclass(frozen=True, slots=True)
class _Itself(Actor):
    """Somebody without an account, whose name no new account can have."""

    @property
    def in_audit(self) -> str:
        return self.username


OPERATOR: Actor = _Itself(OPERATOR_NAME, administers=True)
"""Whoever runs commands on the machine itself."""
_SERVICE: Actor = _Itself(SERVICE_NAME, administers=True)


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """The administrator that the first start made. `password`: shown once; None if the settings gave it."""

    username: str
    password: str | None

    def __repr__(self) -> str:
        return f"FirstAdmin({self.username!r})"


class Accounts:
    """The operations on accounts. Each raises `Forbidden` where the actor may not, and then nothing has changed."""

    def __init__(
        self,
        store: Store,
        passwords: PasswordHasher,
        revocations: Revoker,
        rate_limiter: RateLimiter,
        settings: Settings,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._revocations = revocations
        self._rate_limiter = rate_limiter
        self._open_registration = settings.open_registration
        self._now = now

    async def register(
        self,
        username: str,
        password: str,
        *,
        actor: Actor | Anonymous,
        is_admin: bool = False,
        scope: str = "*",
    ) -> User:
        """Add an account: an administrator does, and where registration is open anybody for themselves.

        `scope`: scope patterns with one space between, the most that the user's tokens may have.
        Raises `RegistrationClosed`, `RateLimited`, `BadName`, `BadPassword`, `MalformedCaveat`, `UserExists`, `Busy`.
        """
        if isinstance(actor, Anonymous):
            if not self._open_registration:
                raise RegistrationClosed
            if is_admin:
                raise Forbidden("an administrator makes administrators")
            await self._rate_limiter.register(actor.address)
            username = check_new_username(username)
            by, address = username, actor.address
        else:
            _require_admin(actor)
            username = check_new_username(username)
            by, address = actor.in_audit, ""
        Scope(scope)
        hashed = await self._passwords.hash(password, account=by, address=address)
        return await self._store.users.create(
            username, hashed, now=self._now(), actor=by, is_admin=is_admin, scope=scope
        )

    async def add_first_admin(self, password: str | None) -> FirstAdmin | None:
        """The administrator of a service that has no account yet; None if it has one.

        `password` None: a random one is made. Raises `BadPassword`.
        """
        if await self._store.users.count():
            return None
        chosen = secrets.token_urlsafe(15) if password is None else password
        try:
            await self.register(ADMIN, chosen, actor=_SERVICE, is_admin=True)
        except UserExists:  # another node was faster
            return None
        return FirstAdmin(ADMIN, chosen if password is None else None)

    async def sign_in(self, username: str, password: str, *, address: str) -> User:
        """The user whose password this is. `address`: what failed attempts are counted by.

        An unknown user costs as much as a known one. A failure is logged, and audited as often as `RateLimiter` allows.
        Raises `InvalidCredentials`, `BadPassword`, `RateLimited`, `Busy`.
        """
        try:
            return await self._sign_in(fold_username(username), password, address)
        except (InvalidCredentials, BadPassword):
            await self._tell_of_failure("sign_in_failed", username, address)
            raise
        except RateLimited:
            await self._tell_of_failure("sign_in_throttled", username, address)
            raise

    async def _tell_of_failure(self, event: str, username: str, address: str) -> None:
        """The same for a user that is known and one that is not. A token that stands for the name is cut out."""
        tried = printable(without_tokens(username)[:_LONGEST_COUNTED])
        telling = self._rate_limiter.may_tell(address)
        if telling or event != "sign_in_throttled":  # throttled attempts cost their sender nothing
            log.warning(event, user=tried, address=address)
        if telling:
            with contextlib.suppress(StoreUnavailable):
                await self._store.audit.add(
                    at=self._now(), actor=_NOBODY, action=f"user.{event}", subject=tried, address=address
                )

    async def _sign_in(self, username: str, password: str, address: str) -> User:
        counted = username[:_LONGEST_COUNTED]
        async with self._rate_limiter.attempt(counted, address) as attempt:
            user = await self._store.users.get(username) if is_username(username) else None
            stored = user.password_hash if user is not None and user.is_enabled else None
            try:
                check = await self._passwords.verify(stored, password, account=counted, address=address)
            except BadPassword:  # no password at all, and a guess like any other
                await attempt.failed()
                raise
            if check.corrupt:
                log.error("password_hash_corrupt", user=username)
            if user is None or not check.ok:
                await attempt.failed()
                raise InvalidCredentials
            await attempt.succeeded()
        if check.needs_rehash and stored is not None:
            with contextlib.suppress(Busy, StoreUnavailable):  # the next sign-in will do as well
                fresh = await self._passwords.rehash(password, account=counted, address=address)
                await self._store.users.replace_hash(
                    username, stored, fresh, now=self._now(), actor=in_audit(username)
                )
        return user

    async def set_password(self, username: str, new_password: str, *, actor: Actor) -> None:
        """Set a password. Everything that was issued to the user until now is revoked.

        Raises `BadName`, `BadPassword`, `UnknownUser`, `Busy`.
        """
        username = fold_username(username)
        _require_owner_or_admin(actor, username)
        check_username(username)
        hashed = await self._passwords.hash(new_password, account=username)
        change = await self._store.users.set_password(
            username,
            hashed,
            now=self._now(),
            actor=actor.in_audit,
            revoke_for=self._revocations.longest_life,
        )
        if change.revocation is not None:
            await self._revocations.settle(change.revocation)

    async def disable(self, username: str, *, actor: Actor) -> User:
        """Let nobody sign in as this user. Everything that was issued to the user until now is revoked.

        Raises `BadName`, `UnknownUser`.
        """
        _require_admin(actor)
        username = check_username(username)
        change = await self._store.users.disable(
            username, now=self._now(), actor=actor.in_audit, revoke_for=self._revocations.longest_life
        )
        if change.revocation is not None:
            await self._revocations.settle(change.revocation)
        return change.user

    async def enable(self, username: str, *, actor: Actor) -> User:
        """Let the user sign in again. What was revoked stays revoked. Raises `BadName`, `UnknownUser`."""
        _require_admin(actor)
        username = check_username(username)
        return await self._store.users.enable(username, now=self._now(), actor=actor.in_audit)

    async def set_admin(self, username: str, *, is_admin: bool, actor: Actor) -> User:
        """Make the user an administrator, or an ordinary user. Raises `BadName`, `UnknownUser`."""
        _require_admin(actor)
        username = check_username(username)
        return await self._store.users.set_admin(
            username, is_admin=is_admin, now=self._now(), actor=actor.in_audit
        )

    async def revoke_all(
        self, username: str, *, actor: Actor, once: Idempotency | None = None
    ) -> RevocationRecord:
        """Revoke everything that was issued to the user until now. Raises `BadName`, `NotFound`."""
        username = fold_username(username)
        _require_owner_or_admin(actor, username)
        check_username(username)
        if actor.username != username and await self._store.users.get(username) is None:
            raise NotFound("there is no such user")
        return await self._revocations.revoke_user(username, actor=actor.in_audit, once=once)


def _require_admin(actor: Actor) -> None:
    if not actor.administers:
        raise Forbidden("this is for administrators")


def _require_owner_or_admin(actor: Actor, username: str) -> None:
    if not actor.may_act_for(username):
        _require_admin(actor)
