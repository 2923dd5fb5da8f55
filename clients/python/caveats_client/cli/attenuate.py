"""`caveats attenuate`: makes caveats from flags, and a narrower token. Knows the kinds of `caveats.kinds.STANDARD`.

Each kind of that table that a person adds has a flag with its name. A flag given twice adds another value to one caveat
(`--scope a:read --scope b:read` allows both); every note and every predicate is a caveat of its own.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from caveats import Caveat, Expires, MalformedCaveat, UnknownCaveat, effective, repeated
from caveats.durations import parse_duration
from caveats.kinds import (
    STANDARD,
    STANDARD_KINDS,
    MomentCaveat,
    WordsCaveat,
    check_value,
    is_kind,
    parse_moment,
    parse_predicate,
)
from caveats_client.cli import inputs, parameters
from caveats_client.cli.commands import Command
from caveats_client.cli.exit_codes import CliError, ExitCode
from caveats_client.cli.output import data, message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_DATE = len("2026-12-01")
_FLAGS = {row.kind.kind.replace("-", "_"): row for row in STANDARD if row.asks}
"""The kinds that have a flag, by the name of its parameter."""


def caveats_for(
    given: Mapping[str, Sequence[str]],
    now: datetime,
    *,
    expires_in: timedelta | None = None,
    predicates: Iterable[str] = (),
) -> tuple[Caveat, ...]:
    """The caveats to add, in the order of the table; `given` has each flag's values by its parameter's name.

    Raises `MalformedCaveat`.
    """
    caveats: list[Caveat] = []
    for name, row in _FLAGS.items():
        if row.kind is Expires and expires_in is not None:
            caveats.append(Expires.after(expires_in, now=now))
        caveats += _typed(row.kind, given.get(name, ()))
    caveats += map(read_predicate, predicates)
    return tuple(caveats)


def _typed(kind: Any, texts: Sequence[str]) -> Iterable[Caveat]:
    """The caveats of one kind, from the values that a person typed."""
    if issubclass(kind, MomentCaveat):
        return map(kind, map(read_moment, texts))
    if issubclass(kind, WordsCaveat):
        return [kind(*map(kind.typed_by_hand, kind.split(" ".join(texts))))] if texts else ()
    return map(kind, texts)


def read_moment(text: str) -> datetime:
    """A time that a person typed: ISO 8601 with its zone. Raises `MalformedCaveat`."""
    try:
        return parse_moment(text)
    except MalformedCaveat:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedCaveat(f"not a time: {text!r} (expected 2026-12-01T18:00:00Z)") from None
    if len(text) <= _DATE:
        raise MalformedCaveat(f"{text!r} has no time: write {moment:%Y-%m-%d}T00:00:00Z for its begin")
    if moment.tzinfo is None:
        raise MalformedCaveat(f"{text!r} has no time zone: end it with Z, or with an offset such as +02:00")
    return moment


def read_predicate(text: str) -> Caveat:
    """The caveat in `text`. Its kind must be known, unless it is a plug-in's. Raises `MalformedCaveat`."""
    caveat = parse_predicate(text.encode("utf-8", "surrogateescape"), STANDARD_KINDS)
    if not isinstance(caveat, UnknownCaveat):
        return caveat
    kind, equals, value = text.partition(" = ")
    if not equals:
        raise MalformedCaveat(
            f"not a caveat: {text!r} (expected 'kind = value', with one space on each side)"
        )
    if kind in STANDARD_KINDS or not is_kind(kind):
        raise MalformedCaveat(f"{text!r}: {caveat.why}")
    if "/" not in kind:
        similar = get_close_matches(kind, STANDARD_KINDS, n=1)
        hint = f"; did you mean {similar[0]}?" if similar else "; a plug-in's kind begins with its vendor/"
        raise MalformedCaveat(f"there is no kind {kind!r}{hint}")
    check_value(value)
    return caveat


def _kind_flags(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with an option for each kind of `_FLAGS`, in that order."""
    for row in reversed(_FLAGS.values()):
        once = issubclass(row.kind, MomentCaveat)
        words = row.summary if once else f"{row.summary} Repeatable."
        command = click.option(f"--{row.kind.kind}", metavar=row.asks, multiple=not once, help=words)(command)
    return command


@click.command(cls=Command)
@parameters.token
@_kind_flags
@parameters.expires_in
@parameters.predicates
@click.option(
    "--third-party",
    metavar="URL",
    help="A service that must confirm every --condition before the token is valid.",
)
@click.option(
    "--condition",
    metavar="'KIND = VALUE'",
    multiple=True,
    help="What the third party must confirm. Repeatable: all are required.",
)
@click.option(
    "--public-key",
    metavar="BASE64",
    help="The third party's key. Default: the third party is asked for it.",
)
@click.option(
    "--bakery", is_flag=True, help="The third party is a bakery's, and reads only a bakery's tickets."
)
@parameters.allow_http
def attenuate(
    *,
    token: str | None,
    expires_in: str | None,
    predicates: tuple[str, ...],
    third_party: str | None,
    condition: tuple[str, ...],
    public_key: str | None,
    bakery: bool,
    allow_http: bool,
    **kinds: Any,
) -> None:
    """Narrow a token, offline, and print the narrower copy.

    No request is sent, and the token itself does not change. With --third-party
    and no --public-key, that service is asked for its key. A caveat cannot be
    removed again. A flag given twice allows either value; to require both,
    narrow twice.

    For example:

      T=$(caveats attenuate --scope photos/42:read --expires-in 10m "$TOKEN")
      caveats issue | caveats attenuate --method GET --path '/albums/*' -
      caveats attenuate --caveat 'photos/album = 42' --note 'for the printer'
      caveats attenuate --third-party https://auth.example --condition 'approved-by = ops'
    """
    if (third_party is not None) != bool(condition):
        given, lacking = ("--third-party", "--condition") if third_party else ("--condition", "--third-party")
        raise click.BadParameter(f"goes with {lacking}", param_hint=given)
    if third_party is None and (public_key is not None or bakery):
        raise click.BadParameter(
            "goes with --third-party", param_hint="--bakery" if bakery else "--public-key"
        )
    values = {name: (value,) if isinstance(value, str) else value or () for name, value in kinds.items()}
    life = None if expires_in is None else parse_duration(expires_in)
    added = caveats_for(values, inputs.now(), expires_in=life, predicates=predicates)
    if not added and third_party is None:
        raise CliError(
            ExitCode.USAGE,
            "no caveat given: say how to narrow it, with --scope, --expires-in, ... (see --help)",
        )
    bundle = inputs.need_token(token, piped=True, subject=True).bundle
    if bundle.discharges:
        raise CliError(
            ExitCode.USAGE,
            "this token has discharges bound to it, and narrowing makes them invalid: narrow the token first, then discharge it",
        )
    narrower = bundle.macaroon.attenuate(*added)
    if third_party is not None:
        from caveats_client.cli.third_parties import find_party, require  # noqa: PLC0415  # it imports the HTTP library

        party = find_party(third_party, public_key, allow_http=allow_http)
        narrower = require(narrower, party, condition, bakery=bakery)
    data(narrower.encode())
    _warn(bundle.macaroon.unverified_caveats, added)


def _warn(before: tuple[Any, ...], added: tuple[Caveat, ...]) -> None:
    """Report a caveat that changes nothing, and a copy that allows nothing."""
    caveats = [caveat for caveat in before if isinstance(caveat, Caveat)]
    for one in repeated([*caveats, *added]):
        if one.index >= len(caveats):
            message(f"{one.caveat} adds nothing: {one.because}")
    left, was = effective([*caveats, *added]), effective(caveats)
    if was.scopes and not left.scopes:
        message("the scopes have nothing in common with the token's: the copy allows nothing")
    if left.expires_at is not None and left.expires_at <= inputs.now():
        message("the copy has expired already")
