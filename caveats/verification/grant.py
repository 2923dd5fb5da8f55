"""What a verifier answers: `Grant` for a token and a request, `Introspection` for a token alone. Values, no keys.

Both rest on an authentic token. Neither holds a signature or computes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from caveats.kinds.authority import effective

if TYPE_CHECKING:
    from datetime import datetime

    from caveats.kinds.authority import Authority
    from caveats.kinds.base import Caveat
    from caveats.token.identifier import Identifier


@dataclass(frozen=True, repr=False)
class _Judged:
    """What a grant and an introspection have in common: the token of ours, its user and its typed caveats."""

    identifier: Identifier
    """Key id, audience, token id, and how many caveats the issuer added."""
    user: str
    """Whose token it is: the issuer's word, which no holder can change."""
    caveats: tuple[Caveat, ...]
    """The first-party caveats, typed: the macaroon's in chain order, then its discharges'."""

    @property
    def token_id(self) -> str:
        """The token's id, a ULID."""
        return self.identifier.token_id

    @property
    def audience(self) -> str:
        """The audience that the token was issued for."""
        return self.identifier.audience

    @cached_property
    def issued_at(self) -> datetime:
        """When the token was first issued, UTC."""
        return self.identifier.issued_at

    @cached_property
    def authority(self) -> Authority:
        """What all caveats together leave. Worked out when first asked for."""
        return effective(self.caveats)

    @cached_property
    def scopes(self) -> tuple[str, ...]:
        """The scope patterns that are left."""
        return self.authority.scopes

    @property
    def expires_at(self) -> datetime | None:
        """The earliest expiry; None if the token has none. Every token of the service has one."""
        return self.authority.expires_at


@dataclass(frozen=True, repr=False, init=False)
class Grant(_Judged):
    """The decision yes, and what it rests on: every caveat held."""

    def __init__(self, identifier: Identifier, user: str, caveats: tuple[Caveat, ...]) -> None:
        # By the instance's dict: what a frozen dataclass does by itself takes 3 % of a token never seen.
        fields = self.__dict__
        fields["identifier"] = identifier
        fields["user"] = user
        fields["caveats"] = caveats

    def __repr__(self) -> str:
        return f"Grant(user={self.user!r}, token_id={self.token_id!r}, scopes={self.scopes!r})"


@dataclass(frozen=True, repr=False, kw_only=True)
class Introspection(_Judged):
    """An authentic, live token of ours, no request judged: its state and contents, as RFC 7662 speaks of them."""

    added_by: tuple[str, ...]
    """For each of `caveats` who added it: `issuer`, `holder` or `discharger`."""
    branches: tuple[bytes, ...]
    """The branch ids (16 bytes each) that stay with the token through renewals, the whole token's first, this copy's
    last. No secret."""
    whole: bool
    """Whether no holder has narrowed the token: it is the copy that the issuer gave away."""

    def __repr__(self) -> str:
        return f"Introspection(user={self.user!r}, token_id={self.token_id!r}, caveats={self.caveats!r})"
