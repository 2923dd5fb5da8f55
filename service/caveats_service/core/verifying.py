"""Is this token authentic and live, and what do its caveats say? The library's verifier, kept up to date.

Knows the library's verifier, the master keys and the plug-ins' deadline; knows no HTTP. Remembers when labelled tokens
were last used; the caller writes that down from time to time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import caveats
from caveats import (
    Authenticated,
    Checkers,
    Context,
    Failure,
    Grant,
    Identifier,
    Introspection,
    MasterKeyring,
    Refused,
    Revoked,
    UnknownKey,
    UnsatisfiedCaveats,
    Verifier,
    standard_checkers,
)
from caveats.kinds import is_own_scope
from caveats_service.core.errors import Forbidden
from caveats_service.core.issuing import may_be_labelled
from caveats_service.core.plugins import PluginFailure, PluginThreadPool, register_plugins
from caveats_service.storage import Store, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from caveats_service.core.master_keys import MasterKeys
    from caveats_service.settings import Settings

_CHECKER_THREADS = 8
_MOST_USES = 50_000
_STANDARD = frozenset(standard_checkers().kinds.values())
_T = TypeVar("_T")


def load_checkers(names: tuple[str, ...]) -> Checkers:
    """The standard kinds and the plug-ins of these entry points in group `caveats.checkers`.

    An entry point names a callable that takes the `Checkers` and registers its kinds. Raises `SettingsError`.
    """
    checkers = standard_checkers()
    register_plugins(checkers, names, group="caveats.checkers", variable="CAVEATS_CHECKERS")
    return checkers


def new_verifier(checkers: Checkers, settings: Settings) -> Verifier:
    """A verifier of tokens of any audience, without keys as yet.

    Without a location of its own in the settings it accepts any: tokens outlive a change of the public URL.
    """
    return Verifier(MasterKeyring(()), checkers=checkers, audience=None, location=settings.location or None)


class TokenVerifier:
    """Verifies tokens on this node. Its methods raise the library's errors, besides what they say."""

    def __init__(self, verifier: Verifier, master_keys: MasterKeys, store: Store, settings: Settings) -> None:
        self.verifier = verifier
        self.uses: dict[tuple[str, str], datetime] = {}
        """The last use, by audience and token id, of what may be a labelled token, since it was last written down."""
        self._master_keys = master_keys
        self._store = store
        self._deadline = settings.checker_deadline
        self._account_keys_shared = settings.unsafe_share_account_keys
        self._pool = PluginThreadPool(_CHECKER_THREADS, "checker") if settings.checkers else None

    def close(self) -> None:
        """Stop the plug-ins' threads."""
        if self._pool is not None:
            self._pool.close()

    async def authenticate(self, text: str) -> Authenticated:
        """The authentic, live token with its signatures. An unknown key is looked for in the store once."""
        return await self._with_fresh_keys(lambda: self.verifier.authenticate(text))

    async def authenticate_live(self, text: str, context: Context) -> Authenticated:
        """As `authenticate`, and the caveats of its kinds with `liveness` hold. Raises `UnsatisfiedCaveats`.

        Its other caveats are not judged: they are carried into whatever is made of it.
        """
        authenticated = await self.authenticate(text)
        live = [caveat for caveat in authenticated.caveats if caveat.liveness]
        failures = caveats.unsatisfied(live, self.verifier.checkers, context)
        if failures:
            raise UnsatisfiedCaveats(failures)
        if authenticated.identified is not None:
            self.used(authenticated.identified, context.now)
        return authenticated

    async def verify(self, text: str, context: Context) -> Grant:
        """The grant for a token and a request. Raises `Forbidden` for what an app could have made as well."""
        self._refuse_own_scopes(context)
        if self._pool is not None:
            grant = await self._verify_with_plugins(text, context)
        else:
            try:
                grant = self.verifier.verify(text, context)
            except (UnknownKey, Revoked) as refusal:
                if not await self._missing_key_turned_up(refusal):
                    raise
                grant = self.verifier.verify(text, context)
        self.used(grant.identifier, context.now)
        return grant

    async def introspect(
        self, text: str, *, even_revoked: bool = False, even_undischarged: bool = False
    ) -> Introspection:
        """What can be said of the authentic, live token without a request. An unknown key is looked for once."""
        return await self._with_fresh_keys(
            lambda: self.verifier.introspect(
                text, even_revoked=even_revoked, even_undischarged=even_undischarged
            )
        )

    async def failures(self, text: str, context: Context) -> tuple[Introspection, tuple[Failure, ...]]:
        """The authentic, live token, and every caveat that refuses. Raises `Forbidden` as `verify`."""
        self._refuse_own_scopes(context)
        token = await self.introspect(text)
        if self._pool is None or _is_standard(token):
            return token, self.verifier.failures(token, context)
        try:
            return token, await self._in_time(
                self._pool, token, lambda: self.verifier.failures(token, context)
            )
        except UnsatisfiedCaveats as late:
            return token, tuple(late.failures)

    def _refuse_own_scopes(self, context: Context) -> None:
        """No token proves a scope of this service while apps have keys that tokens for accounts are made with."""
        if self._account_keys_shared and any(map(is_own_scope, context.scopes)):
            raise Forbidden(
                "no token administers while CAVEATS_UNSAFE_SHARE_ACCOUNT_KEYS is set: an app could have made it. "
                "Use the password"
            )

    def used(self, identifier: Identifier, now: datetime) -> None:
        """Remember when a token was last used, if it may be a labelled one."""
        if may_be_labelled(identifier) and len(self.uses) < _MOST_USES:
            self.uses[identifier.audience, identifier.token_id] = now

    async def write_uses(self) -> None:
        """Write the last uses to the store. Raises `StoreError`, and then they are lost."""
        uses, self.uses = self.uses, {}
        if uses:
            await self._store.labels.mark_used(uses)

    async def _with_fresh_keys(self, attempt: Callable[[], _T]) -> _T:
        try:
            return attempt()
        except (UnknownKey, Revoked) as refusal:
            if not await self._missing_key_turned_up(refusal):
                raise
        return attempt()

    async def _missing_key_turned_up(self, refusal: Refused) -> bool:
        """Whether the store has the key that this node lacked, the token's own or that of one that it came of."""
        try:
            return refusal.missing_key is not None and await self._master_keys.refresh_for(
                refusal.missing_key
            )
        except StoreError:
            return False

    async def _verify_with_plugins(self, text: str, context: Context) -> Grant:
        token = await self.introspect(text)
        if self._pool is None or _is_standard(token):
            return self.verifier.verify(text, context)
        return await self._in_time(self._pool, token, lambda: self.verifier.verify(text, context))

    async def _in_time(self, pool: PluginThreadPool, token: Introspection, judge: Callable[[], _T]) -> _T:
        """What `judge` returns, run in a thread. Raises `UnsatisfiedCaveats` where a plug-in hangs or breaks off."""
        try:
            return await pool.run(judge, self._deadline)
        except TimeoutError:
            reason = f"its check took longer than {self._deadline:g} s"
        except PluginFailure as failure:
            reason = f"its check failed: {failure}"
        index, culprit = next((i, c) for i, c in enumerate(token.caveats) if type(c) not in _STANDARD)
        raise UnsatisfiedCaveats(
            (
                Failure(
                    index,
                    culprit.kind,
                    str(culprit),
                    token.added_by[index],
                    reason,
                    "another try, if the check is mended",
                ),
            )
        )


def _is_standard(token: Introspection) -> bool:
    """Whether no plug-in has to judge any of its caveats."""
    return all(type(caveat) in _STANDARD for caveat in token.caveats)
