"""Issuing clients: sites whose users are signed in there already, and who hand them tokens of this service. The grant `caveats:issue`.

Knows who may be issued what by which client; knows no HTTP. A client proves itself by a secret, and is held to named users
and groups, to audiences, to a scope and to a life. It never issues for a closed account, never beyond what the account may
have, and never a scope of the service itself, an administrator's included. All that a client has issued names its lineage as
its parent, and dies at every verifier once that is revoked: with the client's removal.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from caveats import MalformedCaveat, Parent, Scope, effective, new_token_id
from caveats.kinds import is_own_scope
from caveats.token import is_audience, is_token_id
from caveats_service.core import log
from caveats_service.core.clock import utc_now
from caveats_service.core.errors import Forbidden, InvalidCredentials, InvalidRequest
from caveats_service.core.issuing import DEFAULT_AUDIENCE, DEFAULT_SCOPE, Bounds
from caveats_service.core.usernames import check_group, check_username, is_username
from caveats_service.storage import IssuingClient, UnknownClient, UnknownGroup, UnknownUser

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caveats_service.core.accounts import Actor
    from caveats_service.core.master_keys import MasterKeys
    from caveats_service.core.revoking import Revoker
    from caveats_service.settings import Settings
    from caveats_service.storage import Store

_ALPHABET = string.ascii_letters + string.digits
_SECRET_LENGTH = 43
"""Letters and digits, 256 bits: programs encode anything else in several ways."""
_LAST = datetime.max.replace(tzinfo=UTC, microsecond=0)
_MOST = 1000
"""Users, groups or audiences of a client."""
_NOT_YOURS = "not one of the users that this client issues for, or their account is closed"


@dataclass(frozen=True, slots=True)
class NewClient:
    """A client that was just added. `secret`: shown this once."""

    client: IssuingClient
    secret: str = field(repr=False)


class IssuingClients:
    """The operations on issuing clients."""

    def __init__(
        self, store: Store, revocations: Revoker, settings: Settings, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._store = store
        self._revocations = revocations
        self._longest = settings.max_lifetime
        self._now = now

    async def add(
        self,
        name: str,
        *,
        users: Sequence[str],
        groups: Sequence[str],
        audiences: Sequence[str],
        scope: str,
        longest_life: timedelta,
        actor: Actor,
    ) -> NewClient:
        """Add a client that issues for these users and the members of these groups, whoever they are at that time.

        Raises `Forbidden`, `InvalidRequest` for bounds that none may have, `UnknownUser`, `UnknownGroup`, `ClientExists`.
        """
        _require_admin(actor)
        users = tuple(dict.fromkeys(map(check_username, users)))
        groups = tuple(dict.fromkeys(map(check_group, groups)))
        audiences = tuple(dict.fromkeys(audiences))
        self._check_bounds(users, groups, audiences, scope, longest_life)
        for user in users:
            if await self._store.users.get(user) is None:
                raise UnknownUser(f"there is no user {user}")
        for group in groups:
            if await self._store.groups.get(group) is None:
                raise UnknownGroup(f"there is no group {group}")
        now = self._now()
        secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
        client = IssuingClient(
            client_id=new_token_id(now),
            name=check_group(name),
            secret_hash=_hash(secret),
            # Of the last moment that an id can have: a revocation of all that a user has, which reaches back to the ids of
            # parents, hits what a client issued before it and not all that it will ever issue.
            lineage=new_token_id(_LAST),
            users=users,
            groups=groups,
            audiences=audiences,
            scope=scope,
            longest_life=int(longest_life.total_seconds()),
            created_at=now,
            created_by=actor.in_audit,
        )
        await self._store.clients.add(client, now=now, actor=actor.in_audit)
        return NewClient(client, secret)

    def _check_bounds(
        self,
        users: Sequence[str],
        groups: Sequence[str],
        audiences: Sequence[str],
        scope: str,
        longest_life: timedelta,
    ) -> None:
        if not users and not groups:
            raise InvalidRequest("name the users or the groups that the client issues for")
        if max(len(users), len(groups), len(audiences)) > _MOST:
            raise InvalidRequest(f"a client has at most {_MOST} users, groups and audiences")
        if not audiences or not all(map(is_audience, audiences)):
            raise InvalidRequest("name the audiences: a-z, then a-z, 0-9 and -, at most 32 characters each")
        try:
            patterns = Scope(scope).patterns
        except MalformedCaveat as error:
            raise InvalidRequest(str(error)) from None
        if any(is_own_scope(str(pattern)) for pattern in patterns):
            raise InvalidRequest("no client issues scopes of the service itself")
        if DEFAULT_AUDIENCE in audiences and DEFAULT_SCOPE in scope.split(" "):
            raise InvalidRequest(
                f"the scope {DEFAULT_SCOPE} in the audience {DEFAULT_AUDIENCE} is the whole account: name scopes, or "
                "give the client's apps an audience of their own"
            )
        if not timedelta(seconds=1) <= longest_life <= self._longest:
            raise InvalidRequest(
                f"the life of a client's tokens is 1 to {int(self._longest.total_seconds())} seconds"
            )

    async def remove(self, client_id: str, *, actor: Actor) -> IssuingClient:
        """Remove a client. All that it has issued is revoked first. Raises `Forbidden`, `UnknownClient`."""
        _require_admin(actor)
        client = await self._store.clients.get(client_id) if is_token_id(client_id) else None
        if client is None:
            raise UnknownClient(f"there is no client {client_id}")
        await self._revocations.revoke_token(client.lineage, actor=actor.in_audit)
        return await self._store.clients.remove(client_id, now=self._now(), actor=actor.in_audit)

    async def authenticate(self, client_id: str, secret: str, *, address: str) -> IssuingClient:
        """The client whose secret this is. Raises `InvalidCredentials`."""
        client = await self._store.clients.get(client_id) if is_token_id(client_id) else None
        stored = bytes(32) if client is None else client.secret_hash
        if not hmac.compare_digest(stored, _hash(secret)) or client is None:
            known = client_id if client is not None else "unknown"
            log.warning("client_sign_in_failed", client=known, address=address)
            raise InvalidCredentials
        return client

    async def bounds(
        self, client: IssuingClient, username: str, audience: str | None, master_keys: MasterKeys
    ) -> Bounds:
        """The most that the client may issue for this user. `audience`: the one asked for.

        Raises `Forbidden`, in the same words for a user who is not the client's, is unknown, disabled or deleted.
        """
        username = check_username(username)
        account = await self._store.users.get(username)
        if account is None or not account.is_enabled or not await self._is_named(client, username):
            raise Forbidden(_NOT_YOURS)
        if audience is None and len(client.audiences) > 1:
            raise InvalidRequest(f"name the audience: {' '.join(client.audiences)}")
        audience = audience or client.audiences[0]
        if audience not in client.audiences:
            raise Forbidden(f"this client issues for the audiences {' '.join(client.audiences)}")
        patterns = tuple(
            pattern
            for pattern in effective((Scope(account.scope), Scope(client.scope))).scope_patterns
            if not is_own_scope(str(pattern))
        )
        if audience == DEFAULT_AUDIENCE:
            patterns = tuple(pattern for pattern in patterns if str(pattern) != DEFAULT_SCOPE)
        if not patterns:
            raise Forbidden("the user may have none of the scopes that this client issues")
        key_id = master_keys.active.key_id
        return Bounds(
            user=username,
            scopes=patterns,
            default_scope=" ".join(map(str, patterns)),
            expires_at=self._now() + timedelta(seconds=client.longest_life),
            audience=audience,
            inherited=(Parent(key_id, client.lineage, ()),),
        )

    async def _is_named(self, client: IssuingClient, username: str) -> bool:
        if username in client.users:
            return True
        if not client.groups or not is_username(username):
            return False
        groups = await self._store.groups.of(username)
        return bool(groups.get(username, frozenset()) & set(client.groups))


def client_actor(client: IssuingClient) -> str:
    """Who acts with a client's secret, for the audit. A username has no space, so it can be taken for none."""
    return f"client {client.name}"


def _hash(secret: str) -> bytes:
    """What is kept of a secret, 32 bytes. It has 256 bits by chance: nothing slower is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _require_admin(actor: Actor) -> None:
    if not actor.administers:
        raise Forbidden("this is for administrators")
