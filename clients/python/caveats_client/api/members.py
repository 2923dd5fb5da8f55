"""Reads members of JSON objects, and whole objects as dataclasses. Knows JSON types; knows no HTTP and no endpoint.

A reader returns the member in its Python type and raises `WrongShape` if the member is missing or has another type.
Members that a dataclass has no field for are ignored, so that an older client understands a newer service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache, partial
from typing import Annotated, Any, NamedTuple, Self, TypeVar, get_args, get_origin, get_type_hints

from caveats import CaveatsError, Macaroon
from caveats.token import decode_any_base64, decode_base64

Members = Mapping[str, Any]
T = TypeVar("T")


class WrongShape(ValueError):
    """A member is missing or has another type. The message names the member, and never shows its value."""


# One member


def member(members: object, name: str, kind: type[T]) -> T:
    """The member `name`, which is of type `kind`."""
    value = members.get(name) if isinstance(members, Mapping) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise WrongShape(f"no {name}, or not as expected")
    return value


def optional(members: Members, name: str, read: Callable[[Members, str], T]) -> T | None:
    """The member `name`, read by `read`; None if it is missing or null."""
    return None if members.get(name) is None else read(members, name)


def text(members: Members, name: str) -> str:
    """The member `name`, a text."""
    return member(members, name, str)


def number(members: Members, name: str) -> int:
    """The member `name`, a whole number."""
    return member(members, name, int)


def flag(members: Members, name: str) -> bool:
    """The member `name`, true or false."""
    return member(members, name, bool)


def moment(members: Members, name: str) -> datetime:
    """The member `name`, a time in ISO 8601 with its zone."""
    try:
        value = datetime.fromisoformat(text(members, name))
    except ValueError:
        raise WrongShape(f"{name} is not a time") from None
    if value.tzinfo is None:
        raise WrongShape(f"{name} has no time zone")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise WrongShape(f"{name} is before the year 1 or after the year 9999") from None


def binary(members: Members, name: str, decode: Callable[[str], bytes] = decode_base64) -> bytes:
    """The member `name`, bytes in base64; by default base64url without padding."""
    try:
        return decode(text(members, name))
    except (CaveatsError, ValueError):
        raise WrongShape(f"{name} is not base64") from None


def scopes(members: Members, name: str) -> tuple[str, ...]:
    """The member `name`, scope patterns with spaces between them."""
    return tuple(text(members, name).split())


def rows(members: Members, name: str, read: Callable[[Members], T]) -> tuple[T, ...]:
    """The member `name`, a list of objects, each read by `read`."""
    return tuple(read(member({"row": row}, "row", dict)) for row in member(members, name, list))


def rows_of(name: str, read: Callable[[Members], T]) -> Callable[[Members], tuple[T, ...]]:
    """A reader of the member `name` alone: a list of objects, each read by `read`."""
    return lambda members: rows(members, name, read)


def only(name: str, read: Callable[[Members, str], T]) -> Callable[[Members], T]:
    """A reader of the member `name` alone."""
    return lambda members: read(members, name)


def texts(members: Members, name: str) -> tuple[str, ...]:
    """The member `name`, a list of texts."""
    return tuple(member({name: each}, name, str) for each in member(members, name, list))


def text_or_empty(members: Members, name: str) -> str:
    """The member `name`, a text; empty if it is missing or null."""
    return optional(members, name, text) or ""


def number_or_zero(members: Members, name: str) -> int:
    """The member `name`, a whole number; 0 if it is missing or null, as from an older service."""
    return optional(members, name, number) or 0


def flag_or_false(members: Members, name: str) -> bool:
    """The member `name`, true or false; False if it is missing or null, as from an older service."""
    return optional(members, name, flag) or False


def token(members: Members, name: str) -> Macaroon:
    """The member `name`, a token."""
    try:
        return Macaroon.decode(text(members, name))
    except CaveatsError:
        raise WrongShape(f"{name} is not a token") from None


def any_base64(members: Members, name: str) -> bytes:
    """The member `name`, bytes in base64 of either alphabet, padded or not: bakeries write all of these."""
    return binary(members, name, decode_any_base64)


# One body


class Member(NamedTuple):
    """The reader of a field whose type does not say it, and the member's name if it differs from the field's."""

    read: Callable[[Members, str], Any]
    name: str | None = None


Scopes = Annotated[tuple[str, ...], Member(scopes, "scope")]
TextOrEmpty = Annotated[str, Member(text_or_empty)]
NumberOrZero = Annotated[int, Member(number_or_zero)]
FlagOrFalse = Annotated[bool, Member(flag_or_false)]
_BY_TYPE: dict[Any, Callable[[Members, str], Any]] = {
    str: text,
    int: number,
    bool: flag,
    bytes: binary,
    datetime: moment,
    Macaroon: token,
    tuple[str, ...]: texts,
}


class Body:
    """A dataclass that is read from the members of a JSON object, each field by its type."""

    __slots__ = ()

    @classmethod
    def read(cls, members: Members) -> Self:
        """The value. Raises `WrongShape`."""
        return cls(*(read(members, name) for name, read in _fields(cls)))  # type: ignore[arg-type]  # a class is hashable


@cache
def _fields(body: type[Body]) -> tuple[tuple[str, Callable[[Members, str], Any]], ...]:
    """The member's name and the reader of each field."""
    hints = get_type_hints(body, include_extras=True)
    found = [(each.name, _member(hints[each.name])) for each in fields(body)]  # type: ignore[arg-type]
    return tuple((member.name or name, member.read) for name, member in found)


def _member(kind: Any) -> Member:
    if kind in _BY_TYPE:
        return Member(_BY_TYPE[kind])
    arguments = get_args(kind)
    if get_origin(kind) is Annotated:
        return next(each for each in arguments if isinstance(each, Member))
    if get_origin(kind) is tuple:
        return Member(partial(rows, read=arguments[0].read))
    return Member(partial(optional, read=_member(arguments[0]).read))  # `X | None`
