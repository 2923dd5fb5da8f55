"""Reads the answers of third parties as hostile input: returns values, or raises an error of `ClientError`'s family.

Knows the bakery's bodies and error codes. Sends nothing and has no state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from caveats import CaveatsError
from caveats.bakery import BakeryMacaroon
from caveats_client.api.errors import BadDischarge, ClientError, Forbidden
from caveats_client.api.messages import Reply, problem

if TYPE_CHECKING:
    from caveats_client.discharge.allowlist import Place

Members: TypeAlias = Mapping[str, Any]

DISCHARGE_REQUIRED = "macaroon discharge required"
INTERACTION_REQUIRED = "interaction required"
_PERMISSION_DENIED = "permission denied"


def members_of(reply: Reply) -> Members | None:
    """The members of a JSON object; None for any other body."""
    try:
        members = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    return members if isinstance(members, dict) else None


def info_of(reply: Reply, code: str) -> Members | None:
    """The `Info` of the bakery's error `code`; None if the reply is not that error."""
    members = members_of(reply) if reply.status in (401, 407) else None
    if members is None or _either(members, "Code") != code:
        return None
    info = _either(members, "Info")
    return info if isinstance(info, dict) else {}


def success(place: Place, reply: Reply) -> Members:
    """The members of a successful answer. Raises a `ClientError` for any other answer."""
    members = members_of(reply)
    if 200 <= reply.status < 300:
        if members is None:
            raise BadDischarge(f"{place.shown} answers with something other than JSON", status=reply.status)
        return members
    raise _refusal(place, reply, members or {})


def macaroon_in(place: Place, members: Members, name: str) -> BakeryMacaroon:
    """The macaroon in the member `name`. Raises `BadDischarge`."""
    try:
        return BakeryMacaroon.from_members(members.get(name))
    except CaveatsError as error:
        raise BadDischarge(f"{place.shown} answers with what is no macaroon") from error


def token_in(place: Place, members: Members) -> Mapping[str, str]:
    """The token that a sign-in gave, as fields of the next request for the discharge. Raises `BadDischarge`."""
    kind = members.get("kind")
    for name in ("token", "token64"):
        value = members.get(name)
        if isinstance(value, str) and isinstance(kind, str) and _is_utf8(value + kind):
            return {name: value, "token-kind": kind}
    raise BadDischarge(f"{place.shown} gives no token for having signed in")


def sibling(place: Place, reference: object) -> Place:
    """The URL that an answer names. Raises `BadDischarge` for another origin."""
    found = place.sibling(reference) if isinstance(reference, str) else None
    if found is None:
        raise BadDischarge(f"{place.shown} leads to another site, which is not followed")
    return found


def _refusal(place: Place, reply: Reply, members: Members) -> ClientError:
    """The error for a third party's reply, with the reply's own message."""
    if reply.status < 400:
        return BadDischarge(
            f"{place.shown} answers with a redirect, which is not followed", status=reply.status
        )
    said = _either(members, "Message")
    words = f": {said[:1000]}" if isinstance(said, str) and said else ""
    if _either(members, "Code") == _PERMISSION_DENIED:
        return Forbidden(f"{place.shown} does not agree{words}", status=reply.status)
    error = problem(reply, coded=isinstance(_either(members, "Code"), str))
    detail = words or f": {error.detail}"
    kind = BadDischarge if reply.status in (404, 405) or reply.status == 500 else type(error)
    told = kind(f"{place.shown} gives no discharge{detail}", code=error.code, status=reply.status)
    for name in ("failures", "retry_after"):
        if hasattr(error, name) and hasattr(told, name):
            setattr(told, name, getattr(error, name))
    return told


def _either(members: Members, name: str) -> Any:
    """The member `name`. Some third parties write the name in lower case."""
    return members.get(name, members.get(name.lower()))


def _is_utf8(text: str) -> bool:
    """Whether `text` can be encoded in UTF-8. A lone surrogate cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
