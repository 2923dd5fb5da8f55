"""Which macaroon has to be discharged: the caller's token, or the macaroon that a first party's answer contains.

Knows bundles, and the two forms of the answer: the bakery's `macaroon discharge required`, and this project's problem
`discharge_required`. Sends nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caveats import Bundle, CaveatsError, ThirdPartyCaveat
from caveats.bakery import V2, BakeryMacaroon
from caveats_client.api.errors import BadDischarge
from caveats_client.discharge.answers import DISCHARGE_REQUIRED, info_of, macaroon_in, members_of, sibling

if TYPE_CHECKING:
    from caveats_client.api.messages import Reply
    from caveats_client.api.tokens import Token
    from caveats_client.discharge.allowlist import Place

_PROBLEM = "discharge_required"
_SUFFIX = re.compile(r"[A-Za-z0-9._-]{1,64}")


def envelope(token: Token | BakeryMacaroon) -> BakeryMacaroon:
    """`token` as `protocol.collecting` takes it, without the discharges that are bound to it: they are collected again."""
    if isinstance(token, BakeryMacaroon):
        return token
    bundle = Bundle.decode(token) if isinstance(token, str) else token
    return BakeryMacaroon(bundle.macaroon if isinstance(bundle, Bundle) else bundle, V2)


def has_third_parties(bundle: Bundle) -> bool:
    """Whether `bundle` has a third-party caveat."""
    return any(isinstance(caveat, ThirdPartyCaveat) for caveat in bundle.macaroon.wire.caveats)


def lacks_discharges(bundle: Bundle) -> bool:
    """Whether `bundle` has a third-party caveat and no discharge at all."""
    return not bundle.discharges and has_third_parties(bundle)


@dataclass(frozen=True, slots=True)
class Required:
    """What a first party asks for: this macaroon with its discharges, on these paths, in this cookie."""

    macaroon: BakeryMacaroon
    path: str
    """The macaroon is presented at this path and below."""
    cookie: str
    """The cookie's name; empty if the macaroon is sent as a bearer token."""


def required(place: Place, reply: Reply) -> Required | None:
    """What the first party at `place` asks for in `reply`; None if it asks for no macaroon.

    Raises `BadDischarge` if the reply is malformed, or names another site.
    """
    members = info_of(reply, DISCHARGE_REQUIRED)
    if members is None:
        return _required_by_problem(place, reply)
    macaroon = macaroon_in(place, members, "Macaroon")
    said = members.get("MacaroonPath")
    suffix = members.get("CookieNameSuffix") or "auth"
    if not isinstance(suffix, str) or _SUFFIX.fullmatch(suffix) is None:
        raise BadDischarge(f"{place.shown} wants a cookie whose name is none")
    return Required(macaroon, sibling(place, said).path if said else place.path, f"macaroon-{suffix}")


def _required_by_problem(place: Place, reply: Reply) -> Required | None:
    """The token in the problem `discharge_required`; None if it has none."""
    members = members_of(reply) if wants_discharges(reply) else None
    if members is None or "token" not in members:
        return None
    text, path = members["token"], members.get("path")
    try:
        bundle = Bundle.decode(text)
    except CaveatsError as error:
        raise BadDischarge(f"{place.shown} answers with what is no token") from error
    return Required(envelope(bundle), sibling(place, path).path if path else place.path, "")


def wants_discharges(reply: Reply) -> bool:
    """Whether `reply` is the problem `discharge_required`."""
    members = members_of(reply) if reply.status == 401 else None
    return members is not None and members.get("code") == _PROBLEM
