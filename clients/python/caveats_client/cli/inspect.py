"""`inspect`: shows the content of a token, as JSON for programs, and with `tree` for people. Knows no keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from caveats.kinds import STANDARD_KINDS, OneOf
from caveats_client.cli import inputs, parameters
from caveats_client.cli.commands import Command
from caveats_client.cli.inspection import Inspection, inspection_of
from caveats_client.cli.output import data, data_json, iso, jsonable
from caveats_client.cli.render import show, styled

if TYPE_CHECKING:
    from datetime import datetime

    from caveats import Authority


@click.command(cls=Command)
@parameters.token
@parameters.as_json
def inspect(*, token: str | None, as_json: bool) -> None:
    """Show a token's caveats, offline, and what they allow.

    Shows who added each caveat, what all of them allow together, and which of
    them change nothing. Nothing is verified: anybody can write a token that
    looks valid. Nothing secret is shown.

    For example:

      caveats inspect
      caveats inspect "$TOKEN" --json | jq .authority
    """
    now = inputs.now()
    opened = inspection_of(inputs.need_token(token, piped=True).bundle)
    if as_json:
        data_json(members(opened, now))
        return
    from caveats_client.cli import tree  # noqa: PLC0415  # it imports rich, which JSON needs not

    show(tree.tree(opened, now))
    data("")
    show(styled("what it allows", "bold"))
    show(tree.authority(opened, now))
    data("")
    show(styled(tree.NOT_VERIFIED, "dim"))


def discharges(inspection: Inspection) -> list[dict[str, Any]]:
    """Every third-party caveat, and its discharge, as members for JSON."""
    return [
        {
            "location": link.location,
            "added_by": link.added_by,
            "ticket": link.format,
            "discharged": link.discharge is not None,
            "discharge": link.number,
            "expires_at": jsonable(link.expires_at),
        }
        for link in inspection.third_parties
    ]


def _lists(left: Authority) -> dict[str, Any]:
    """The words that each kind with lists allows: one list if they can be intersected, else one for each caveat."""
    return {
        f"{name.replace('-', '_')}s": jsonable(
            left.words_of(name) if kind.intersected else left.lists.get(name, ())
        )
        for name, kind in STANDARD_KINDS.items()
        if issubclass(kind, OneOf)
    }


def members(inspection: Inspection, now: datetime) -> dict[str, Any]:
    """The whole inspection, as members for JSON."""
    identifier, left = inspection.identifier, inspection.authority
    return {
        "verified": False,
        "token_id": identifier.token_id if identifier else None,
        "key_id": identifier.key_id if identifier else None,
        "audience": identifier.audience if identifier else None,
        "issued_at": iso(identifier.issued_at) if identifier else None,
        "identifier": inspection.raw_identifier.decode("utf-8", "backslashreplace"),
        "location": inspection.chain.location,
        "caveats": [
            {
                "index": link.index,
                "kind": link.caveat.kind,
                "predicate": str(link.caveat),
                "added_by": link.added_by,
                "redundant": link.redundant,
                "unknown": link.unknown,
            }
            for link in inspection.links
        ],
        "third_parties": discharges(inspection),
        "stray_discharges": inspection.stray_discharges,
        "authority": {
            "user": left.user,
            "scopes": list(left.scopes),
            "expires_at": jsonable(left.expires_at),
            "expires_in": None if left.expires_at is None else int((left.expires_at - now).total_seconds()),
            "expired": inspection.is_expired(now),
            "not_before": jsonable(left.not_before),
            **_lists(left),
            "audiences": jsonable(inspection.audiences),
            "notes": jsonable(left.notes),
            "others": [str(caveat) for caveat in left.others],
        },
    }
