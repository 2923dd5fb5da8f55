"""Whether an answer is about what was asked: a proxy or a pool of connections can mix answers up.

Each function makes a `Call.check`. It compares what the answer says with what was asked and with the token that was
presented, and raises `WrongShape`. Knows no signature: a service that lies is not found out.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from caveats import Expires, MalformedCaveat, Parent, UnknownCaveat, User
from caveats.durations import parse_duration
from caveats.kinds import STANDARD_KINDS, ScopePattern, parse_predicate, parse_scope
from caveats_client.api.members import WrongShape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from caveats import Macaroon
    from caveats_client.api.responses import Issued, RevocationEntry

_EXPIRY = f"{Expires.kind} = ".encode()
_SECOND = timedelta(seconds=1)
"""Times in answers are in whole seconds."""


def matches(**asked: str) -> Callable[[Any, Macaroon | None], None]:
    """The answer has these members. Upper and lower case count as the same: names are stored in lower case."""

    def check(answer: Any, _presented: Macaroon | None) -> None:
        for name, value in asked.items():
            if str(getattr(answer, name)).casefold() != value.casefold():
                raise WrongShape(f"it is about another {name}")

    return check


def issued_as_asked(asked: Mapping[str, Any]) -> Callable[[Issued, Macaroon | None], None]:
    """The new token is for the user who asked, allows no more than was asked, and lives no longer.

    `asked`: the members of the request's body. What it does not say is the service's choice.
    """

    def check(issued: Issued, presented: Macaroon | None) -> None:
        username = asked.get("username", asked.get("user"))
        if username is not None and issued.user.casefold() != username.casefold():
            raise WrongShape("it has a token of another user")
        audience = asked.get("audience")
        if presented is not None:
            _same_user(issued, presented)
            identifier = presented.unverified_identifier
            if identifier is not None:
                audience = audience or identifier.audience
                parents = [
                    caveat.token_id
                    for caveat in issued.token.unverified_caveats
                    if isinstance(caveat, Parent)
                ]
                if identifier.token_id not in parents:
                    raise WrongShape("it has a token that was issued against another one")
        if audience is not None and issued.audience != audience:
            raise WrongShape("it has a token for another audience")
        if asked.get("scope") is not None and not _within(issued.scopes, asked["scope"].split(" ")):
            raise WrongShape("it has a token that allows more than was asked")
        if not _written(asked.get("caveats") or ()) <= _predicates(issued.token):
            raise WrongShape("it has a token without the caveats that were asked")
        if _lives_longer(issued, asked):
            raise WrongShape("it has a token that lives longer than was asked")

    return check


def renewed_as_presented(issued: Issued, presented: Macaroon | None) -> None:
    """The answer has the presented token again, with all its caveats but the issuer's expiry."""
    if presented is None:
        return
    _same_user(issued, presented)
    _same_token(issued, presented)
    kept = {one for one in _predicates(presented) if not one.startswith(_EXPIRY)}
    if not kept <= _predicates(issued.token):
        raise WrongShape("it has another copy of the token")


def revoked_as_presented(entry: RevocationEntry, presented: Macaroon | None) -> None:
    """The revocation is of the presented token."""
    if presented is not None:
        _same_token(entry, presented)


def _same_user(issued: Issued, presented: Macaroon) -> None:
    first = next(iter(presented.unverified_caveats), None)
    if isinstance(first, User) and first.user != issued.user:
        raise WrongShape("it has a token of another user")


def _same_token(answer: Issued | RevocationEntry, presented: Macaroon) -> None:
    identifier = presented.unverified_identifier
    if identifier is not None and identifier.token_id != answer.token_id:
        raise WrongShape("it is about another token")


def _predicates(token: Macaroon) -> set[bytes]:
    """The first-party caveats, as they are written."""
    return {caveat for caveat in token.wire.caveats if isinstance(caveat, bytes)}


def _written(asked: Iterable[str]) -> set[bytes]:
    """The predicates of the standard kinds among those that were asked for, as a service writes them."""
    parsed = (parse_predicate(one.encode("utf-8", "replace"), STANDARD_KINDS) for one in asked)
    return {caveat.predicate for caveat in parsed if not isinstance(caveat, UnknownCaveat)}


def _within(scopes: Sequence[str], wider: Sequence[str]) -> bool:
    try:
        allowed: list[ScopePattern] = [parse_scope(one) for one in wider]
        return all(any(one.covers(parse_scope(scope)) for one in allowed) for scope in scopes)
    except MalformedCaveat:
        return False


def _lives_longer(issued: Issued, asked: Mapping[str, Any]) -> bool:
    try:
        return issued.expires_at - issued.issued_at > parse_duration(asked["expires_in"]) + _SECOND
    except (KeyError, ValueError):  # not said, or what the service itself refuses
        return False
