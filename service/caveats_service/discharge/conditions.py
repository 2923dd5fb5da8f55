"""The conditions that the service answers for as a third party: each a kind of caveat, and right below it its check.

They stand in tickets and are judged about the asker, by the same `Checkers` as caveats. Facts come from the
context: `user`, and in `extra` "groups" (the asker's) and "approvals" (who has approved, each with their groups).
What bakeries ask is known as well.
"""

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import ClassVar, Final, Self

from caveats import Caveat, Checkers, Context, MalformedCaveat
from caveats.bakery import third_party_checkers
from caveats.kinds import Answer, TextCaveat, Unmet, WordsCaveat
from caveats_service.core.usernames import is_username
from caveats_service.settings import SettingsError

ANYBODY: Final = "*"
GROUPS: Final = "groups"
APPROVALS: Final = "approvals"


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
    """Somebody is signed in, and it is whom the condition names."""
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
    """Somebody is signed in, and one of the groups is theirs."""
    if not context.user:
        return Unmet("nobody has signed in", "an asker who has signed in")
    return not frozenset(caveat.groups).isdisjoint(context.extra.get(GROUPS, ())) or Unmet(
        f"{context.user} is in none of them", f"a member of {caveat.value}"
    )


# approved-by


@dataclass(frozen=True, slots=True)
class ApprovedBy(Caveat):
    """A second person, of one of these groups, has approved; never the asker. `purpose` says what, to those who approve."""

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
            raise MalformedCaveat("after the colon it says what is to be approved")
        return cls(_groups(names), purpose)


def check_approved_by(caveat: ApprovedBy, context: Context) -> Answer:
    """The asker is known, and somebody else of the groups has approved."""
    if not context.user:
        return Unmet("nobody has signed in", "an asker who has signed in, and somebody else who approves")
    for approver, groups in context.extra.get(APPROVALS, {}).items():
        if approver != context.user and not groups.isdisjoint(caveat.groups):
            return True
    return Unmet("nobody has approved", f"the approval of a second person of {' '.join(caveat.groups)}")


def load_conditions(names: tuple[str, ...]) -> Checkers:
    """The conditions above, those of bakeries, and the plug-ins of these entry points in group `caveats.conditions`.

    An entry point names a callable that takes the `Checkers` and registers its kinds. Raises `SettingsError`.
    """
    checkers = third_party_checkers()
    checkers.register(SignedIn, check_signed_in)
    checkers.register(MemberOf, check_member_of)
    checkers.register(ApprovedBy, check_approved_by)
    register_plugins(checkers, names, group="caveats.conditions", variable="CAVEATS_CONDITIONS")
    return checkers


def register_plugins(checkers: Checkers, names: tuple[str, ...], *, group: str, variable: str) -> None:
    """Let these entry points register their kinds. Raises `SettingsError`."""
    for name in names:
        found = [point for point in entry_points(group=group) if point.name == name]
        if len(found) != 1:
            raise SettingsError(f"{variable}: {len(found)} entry points are called {name!r} in {group}")
        try:
            found[0].load()(checkers)
        except Exception as error:
            raise SettingsError(
                f"{variable}: {name!r} does not load: {type(error).__name__}: {error}"
            ) from error
