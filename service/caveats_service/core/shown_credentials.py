"""What is kept of a credential while people decide, so that it is judged again when they have. No secret is kept.

Knows users, tokens and agents' keys; knows no store. Whether it is still good is the question of
`storage/repositories/credentials`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats_service.core.lineage import lineage
from caveats_service.storage import ShownCredential

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caveats import Introspection
    from caveats_service.storage import User


def shown_password(user: User) -> ShownCredential:
    """A password that was right: good until the account's password is another."""
    return ShownCredential(user.username, password_changed_at=user.password_changed_at)


def shown_token(token: Introspection, own_branches: Iterable[bytes]) -> ShownCredential:
    """A token that stood for the account: good as long as it, and each token that it was issued against.

    `own_branches`: the branch ids (16 bytes each) of its own chain, which a renewal has besides those that stay.
    """
    came_of = lineage(token.identifier, (*token.branches, *own_branches), token.caveats)
    return ShownCredential(
        token.user, lineage=tuple(each.value for each in came_of), expires_at=token.expires_at
    )


def shown_agent_key(username: str, public_key: bytes) -> ShownCredential:
    """The key (32 bytes) of an agent: good until the agent is removed."""
    return ShownCredential(username, agent_key=public_key)
