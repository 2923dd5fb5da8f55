"""Conditions in words, for the people who sign in and approve. Knows conditions, no HTML.

Only conditions that come with the service have words; of a plug-in's, a person reads the condition itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats.bakery import IsAuthenticatedUser, IsMemberOf
from caveats_service.discharge.conditions import ANYBODY, ApprovedBy, MemberOf, SignedIn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caveats import Caveat


def describe(condition: Caveat, asker: str | None) -> str:
    """What has to hold of `asker`; None for the reader ("You ..."). Empty for a condition of a plug-in."""
    who, has, is_, belongs = (asker, "has", "is", "belongs") if asker else ("You", "have", "are", "belong")
    match condition:
        case SignedIn(user=user) if user != ANYBODY:
            return f"{who} {is_} {user}"
        case SignedIn() | IsAuthenticatedUser(domain=""):
            return f"{who} {has} signed in"
        case IsAuthenticatedUser(domain=domain):
            return f"{who} {has} a name that ends in @{domain}"
        case MemberOf(groups=groups) | IsMemberOf(groups=groups):
            return f"{who} {belongs} to {_any_of(groups)}"
        case ApprovedBy(groups=groups, purpose=purpose):
            return f"A second person, of {_any_of(groups)}, approves{purpose and f': {purpose}'}"
        case _:
            return ""


def _any_of(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
