"""The conditions that the service judges as a third party: each a kind of caveat, with its check below it.

Tickets hold them, and a `Checkers` judges them, as it does caveats. The facts are those of the asker: `user`, and in
`extra` "groups" (the asker's) and "approvals" (the groups of each person who has approved). The conditions of bakeries
are known as well. Knows no store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from caveats import Caveat, Checkers, Context, MalformedCaveat, Unmet
from caveats.bakery import third_party_checkers
from caveats.kinds import Answer, TextCaveat, WordsCaveat
from caveats_service.core.plugins import register_plugins
from caveats_service.core.usernames import is_username

ANYBODY = "*"
GROUPS = "groups"
APPROVALS = "approvals"


def _groups(value: str) -> tuple[str, ...]:
    """Names of groups, each once, with one space between. Raises `MalformedCaveat`."""
    groups = tuple(value.split(" "))
    if not all(map(is_username, groups)) or len(set(groups)) != len(groups):
        raise MalformedCaveat("groups are listed once each, with one space between")
    return groups


# signed-in


@dataclass(frozen=True, slots=True)
class SignedIn(TextCaveat):
    """The asker is this user; `*` for anybody who has signed in."""

    kind: ClassVar[str] = "signed-in"
    user: str

    def __post_init__(self) -> None:
        if self.user != ANYBODY and not is_username(self.user):
            raise MalformedCaveat("signed-in names a user, or * for anybody")


def check_signed_in(caveat: SignedIn, context: Context) -> Answer:
    """The asker has signed in, and is the user that the condition names."""
    if not context.user:
        return Unmet("nobody has signed in", "an asker who has signed in")
    return caveat.user in (ANYBODY, context.user) or Unmet(
        f"{context.user} has signed in", f"{caveat.user} signing in"
    )


# member-of


@dataclass(frozen=True, slots=True, init=False)
class MemberOf(WordsCaveat):
    """The asker belongs to one of these groups."""

    kind: ClassVar[str] = "member-of"
    groups: tuple[str, ...]

    @classmethod
    def read(cls, value: str) -> tuple[str, ...]:
        """Names of groups."""
        return _groups(value)


def check_member_of(caveat: MemberOf, context: Context) -> Answer:
    """The asker has signed in, and belongs to one of the groups."""
    if not context.user:
        return Unmet("nobody has signed in", "an asker who has signed in")
    return not frozenset(caveat.groups).isdisjoint(context.extra.get(GROUPS, ())) or Unmet(
        f"{context.user} is in none of them", f"a member of {caveat.value}"
    )


# approved-by


@dataclass(frozen=True, slots=True)
class ApprovedBy(Caveat):
    """A second person, of one of these groups and never the asker, has approved. `purpose`: what, in words for people."""

    kind: ClassVar[str] = "approved-by"
    groups: tuple[str, ...]
    purpose: str = ""

    @property
    def value(self) -> str:
        """The groups, and the purpose after a colon."""
        groups = " ".join(self.groups)
        return f"{groups}: {self.purpose}" if self.purpose else groups

    @classmethod
    def parse(cls, value: str) -> Self:
        """`ops dev`, or `ops dev: drop the database`."""
        names, colon, purpose = value.partition(": ")
        if colon and not purpose:
            raise MalformedCaveat(
                "approved-by: write after the colon what is to be approved, or leave the colon out"
            )
        return cls(_groups(names), purpose)


def check_approved_by(caveat: ApprovedBy, context: Context) -> Answer:
    """The asker has signed in, and a second person of the groups has approved."""
    if not context.user:
        return Unmet("nobody has signed in", "an asker who has signed in, and somebody else who approves")
    for approver, groups in context.extra.get(APPROVALS, {}).items():
        if approver != context.user and not groups.isdisjoint(caveat.groups):
            return True
    return Unmet("nobody has approved", f"the approval of a second person of {' '.join(caveat.groups)}")


def load_conditions(names: tuple[str, ...]) -> Checkers:
    """The conditions above, those of bakeries, and those of plug-ins: entry points of group `caveats.conditions`.

    An entry point names a callable that takes the `Checkers` and registers its kinds. Raises `SettingsError`.
    """
    checkers = third_party_checkers()
    checkers.register(SignedIn, check_signed_in)
    checkers.register(MemberOf, check_member_of)
    checkers.register(ApprovedBy, check_approved_by)
    register_plugins(checkers, names, group="caveats.conditions", variable="CAVEATS_CONDITIONS")
    return checkers
