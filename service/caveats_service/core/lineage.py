"""What a token came of, in a form that can be kept: it names keys, ids and branches, and holds no secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats import Parent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caveats import Caveat, Identifier


def lineage(
    identifier: Identifier, branches: Iterable[bytes], caveats: Iterable[Caveat]
) -> tuple[Parent, ...]:
    """The token itself with its branch ids (16 bytes each), then each token that it was issued against."""
    own = Parent(identifier.key_id, identifier.token_id, tuple(dict.fromkeys(branches)))
    return (own, *(caveat for caveat in caveats if isinstance(caveat, Parent)))
