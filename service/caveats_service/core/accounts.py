"""What happens to an account: who may do it, and the change with its audit row, in one function each.

Knows accounts, passwords and rates; knows no HTTP and no tokens. The HTTP routes and the command line call the same
functions, so neither can leave out the check, the audit row or the revocation of what the user holds.
"""

from __future__ import annotations

import asyncio
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
    PasswordChangeRequired,
    RateLimited,
    RegistrationClosed,
)
from caveats_service.core.importing import ImportRefused, LineError
from caveats_service.core.usernames import (
    OPERATOR_NAME,
    SERVICE_NAME,
    check_new_username,
    check_username,
    fold_username,
    in_audit,
    is_username,
)
from caveats_service.storage import (
    Idempotency,
    NamesTaken,
    NewUser,
    RevocationRecord,
    Store,
    StoreUnavailable,
    User,
    UserExists,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from caveats_service.core.importing import ImportedAccount
    from caveats_service.core.passwords import PasswordHasher
    from caveats_service.core.rate_limit import RateLimiter
    from caveats_service.core.revoking import Revoker
    from caveats_service.settings import Settings

ADMIN = "admin"
"""The username of the administrator that the first start makes."""
_HASHED_AT_ONCE = 16
"""Passwords of an import that are hashed or wait at a time: fewer than the queue of `PasswordHasher` holds."""
_TAKEN = {
    "user": "a user has this name: --skip-existing leaves such lines out",
    "group": "a group has this name",
    "deleted": "a user had this name and was deleted: it is not given again",
}
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


@dataclass(frozen=True, slots=True)
class ImportDone:
    """The names of the accounts that were added, or would be, and of those that were left out."""

    added: tuple[str, ...]
    skipped: tuple[str, ...]


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
        must_change_password: bool = False,
    ) -> User:
        """Add an account: an administrator does, and where registration is open anybody for themselves.

        `must_change_password`: it signs in to nothing but its own change.
        `scope`: scope patterns with one space between, the most that the user's tokens may have.
        Raises `RegistrationClosed`, `RateLimited`, `BadName`, `BadPassword`, `MalformedCaveat`, `UserExists`, `Busy`.
        """
        if isinstance(actor, Anonymous):
            if not self._open_registration:
                raise RegistrationClosed
            if is_admin:
                raise Forbidden("an administrator makes administrators")
            if must_change_password:
                raise Forbidden("an administrator asks for that")
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
            username,
            hashed,
            now=self._now(),
            actor=by,
            is_admin=is_admin,
            scope=scope,
            must_change_password=must_change_password,
        )

    async def import_all(
        self,
        accounts: Sequence[ImportedAccount],
        *,
        actor: Actor,
        skip_existing: bool = False,
        dry_run: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> ImportDone:
        """Add all of these accounts, or none. `skip_existing`: those whose names users have are left out.

        `dry_run`: look at everything, and change nothing. `progress` is called with how many passwords have been hashed.
        Raises `ImportRefused`, `Busy`.
        """
        _require_admin(actor)
        taken = await self._store.users.taken([account.username for account in accounts])
        skipped = {name for name, why in taken.items() if skip_existing and why == "user"}
        wanted = [account for account in accounts if account.username not in skipped]
        _require_free(wanted, taken)
        done = ImportDone(
            tuple(account.username for account in wanted),
            tuple(account.username for account in accounts if account.username in skipped),
        )
        if dry_run:
            return done
        hashed = await self._hash_all(wanted, progress)
        new = [
            NewUser(
                account.username,
                stored,
                account.is_admin,
                account.scope,
                account.is_disabled,
                account.must_change_password,
            )
            for account, stored in zip(wanted, hashed, strict=True)
        ]
        try:
            await self._store.users.create_all(new, now=self._now(), actor=actor.in_audit)
        except NamesTaken as error:  # since it was looked at
            _require_free(wanted, error.why)
            raise
        return done

    async def _hash_all(
        self, accounts: Sequence[ImportedAccount], progress: Callable[[int], None]
    ) -> list[str]:
        """The hash of each account's password, its own where it came with one."""
        passwords = [(one.username, one.password) for one in accounts if one.password is not None]
        hashed: dict[str, str] = {}
        for at in range(0, len(passwords), _HASHED_AT_ONCE):
            some = passwords[at : at + _HASHED_AT_ONCE]
            made = await asyncio.gather(
                *(self._passwords.hash(password, account=username) for username, password in some)
            )
            hashed |= dict(zip((username for username, _ in some), made, strict=True))
            progress(len(hashed))
        return [account.password_hash or hashed[account.username] for account in accounts]

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

    async def sign_in(
        self, username: str, password: str, *, address: str, to_change_password: bool = False
    ) -> User:
        """The user whose password this is. `address`: what failed attempts are counted by.

        `to_change_password`: for nothing else; only then is a password taken that must be changed. An unknown user costs as
        much as a known one. A failure is logged, and audited as often as `RateLimiter` allows. Raises
        `InvalidCredentials`, `BadPassword`, `RateLimited`, `Busy`, `PasswordChangeRequired`.
        """
        try:
            user = await self._sign_in(fold_username(username), password, address)
        except (InvalidCredentials, BadPassword):
            await self._tell_of_failure("sign_in_failed", username, address)
            raise
        except RateLimited:
            await self._tell_of_failure("sign_in_throttled", username, address)
            raise
        if user.must_change_password and not to_change_password:
            raise PasswordChangeRequired
        return user

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
            stored = user.own_hash if user is not None and user.is_enabled else None
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
        if check.needs_rehash and stored is not None and not user.must_change_password:
            with contextlib.suppress(Busy, StoreUnavailable):  # the next sign-in will do as well
                fresh = await self._passwords.rehash(password, account=counted, address=address)
                await self._store.users.replace_hash(
                    username, stored, fresh, now=self._now(), actor=in_audit(username)
                )
        return user

    async def set_password(
        self, username: str, new_password: str, *, actor: Actor, must_change: bool = False
    ) -> None:
        """Set a password. Everything that was issued to the user until now is revoked.

        `must_change`: it is good for its own change only, which has to be to another one. Raises `BadName`,
        `BadPassword`, `UnknownUser`, `Busy`.
        """
        username = fold_username(username)
        _require_owner_or_admin(actor, username)
        check_username(username)
        if actor.username == username:
            await self._require_another(username, new_password)
        hashed = await self._passwords.hash(new_password, account=username)
        change = await self._store.users.set_password(
            username,
            hashed,
            now=self._now(),
            actor=actor.in_audit,
            revoke_for=self._revocations.longest_life,
            must_change=must_change,
        )
        if change.revocation is not None:
            await self._revocations.settle(change.revocation)

    async def _require_another(self, username: str, new_password: str) -> None:
        """Raises `BadPassword` if this is the very password that the user must change."""
        user = await self._store.users.get(username)
        if user is None or not user.must_change_password:
            return
        if (await self._passwords.verify(user.own_hash, new_password, account=username)).ok:
            raise BadPassword("choose another password than the one that was set for you")

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

    async def delete(self, username: str, *, actor: Actor) -> None:
        """Delete an account with all it had. Its name is never given again, and all that was issued to it is revoked.

        Raises `BadName`, `UnknownUser`, `LastAdministrator`.
        """
        _require_admin(actor)
        username = check_username(username)
        revocation = await self._store.users.delete(
            username, now=self._now(), actor=actor.in_audit, revoke_for=self._revocations.longest_life
        )
        await self._revocations.settle(revocation)

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


def _require_free(accounts: Iterable[ImportedAccount], taken: Mapping[str, str]) -> None:
    """Raises `ImportRefused` if one of these accounts has a name that is taken."""
    errors = [
        LineError(account.line, _TAKEN[taken[account.username]])
        for account in accounts
        if account.username in taken
    ]
    if errors:
        raise ImportRefused(errors)


def _require_admin(actor: Actor) -> None:
    if not actor.administers:
        raise Forbidden("this is for administrators")


def _require_owner_or_admin(actor: Actor, username: str) -> None:
    if not actor.may_act_for(username):
        _require_admin(actor)
