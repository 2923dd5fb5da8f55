"""`issue`, `renew`, `revoke`, `tokens`: tokens of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from caveats_client.api import calls
from caveats_client.cli import inputs, parameters
from caveats_client.cli.attenuate import read_predicate
from caveats_client.cli.commands import Command
from caveats_client.cli.credentials import Credentials, Login
from caveats_client.cli.durations import in_words, relative
from caveats_client.cli.exit_codes import CliError, ExitCode
from caveats_client.cli.hints import expiry_of
from caveats_client.cli.output import data_json, message, print_issued, renamed, until
from caveats_client.cli.pasted import read_token_id
from caveats_client.cli.render import Records, show
from caveats_client.cli.service import client_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from caveats_client.api.responses import TokenRecord
    from caveats_client.client import Client


@click.command(cls=Command)
@parameters.scope
@parameters.expires_in
@parameters.audience
@parameters.predicates
@parameters.note
@parameters.acting_token
@parameters.url
@parameters.as_json
@parameters.allow_http
def issue(
    *,
    scope: tuple[str, ...],
    expires_in: str | None,
    audience: str | None,
    predicates: tuple[str, ...],
    note: str | None,
    token: str | None,
    url: str | None,
    as_json: bool,
    allow_http: bool,
) -> None:
    """Issue a new token against the one you have, and print it.

    The new token allows no more than yours, and is revoked together with it. To narrow
    a copy offline, see `attenuate`.

    For example:

      T=$(caveats issue --scope photos:read --expires-in 1h --note 'nightly build')
      caveats issue --audience photos --caveat 'method = GET HEAD'
    """
    caveats = [read_predicate(text) for text in predicates]
    found = inputs.need_token(token, url=url)
    with client_for(url, found, allow_http=allow_http) as client:
        issued = client.issue(
            scope=parameters.joined(scope),
            audience=audience,
            expires_in=expires_in,
            caveats=caveats,
            note=note,
        )
        print_issued(issued, inputs.now(), as_json=as_json)


@click.command(cls=Command)
@parameters.token
@parameters.expires_in
@parameters.url
@parameters.as_json
@parameters.allow_http
def renew(
    *, token: str | None, expires_in: str | None, url: str | None, as_json: bool, allow_http: bool
) -> None:
    """Get the same token with a later expiry.

    A stored login is replaced by the new token, and nothing is printed. For any
    other token, the new text is printed. A token from `issue` expires with the
    one it was issued against: renew that one, and issue again.

    For example:

      caveats renew
      TOKEN=$(caveats renew "$TOKEN" --expires-in 8h)
    """
    found = inputs.need_token(token, url=url, piped=True)
    if found.login is not None:
        Credentials.here().prepare()
    with client_for(url, found, allow_http=allow_http) as client:
        issued = client.renew(expires_in=expires_in)
        is_later = issued.expires_at > expiry_of(found.bundle)
        if found.login is None:
            print_issued(issued, inputs.now(), as_json=as_json)
            if not is_later:
                message(_NO_LATER)
            return
        login = found.login
        inputs.store(Login(login.url, login.username, issued.token.encode(), login.allow_http))
        if as_json:
            data_json(renamed(issued, without=("token",)))
        message(f"{'renewed' if is_later else _NO_LATER}: {until(issued, inputs.now())}")


_NO_LATER = (
    "it ends no later than before: an expiry that a holder added, or the longest life of a token, stands"
)


@click.command(cls=Command)
@parameters.token_argument(
    "copy", "The copy to revoke, or - for standard input. Default: CAVEATS_TOKEN, what is piped in."
)
@click.option("--token-id", metavar="ID", help="Revoke all copies of the token with this id.")
@click.option(
    "--branch-id", metavar="HEX", help="With --token-id: revoke this branch only (see `verify --json`)."
)
@click.option("--user", metavar="NAME", help="Revoke every token that was issued to this user until now.")
@parameters.acting_token
@parameters.url
@parameters.as_json
@parameters.allow_http
def revoke(
    *,
    copy: str | None,
    token_id: str | None,
    branch_id: str | None,
    user: str | None,
    token: str | None,
    url: str | None,
    as_json: bool,
    allow_http: bool,
) -> None:
    """Revoke a copy of a token, and all tokens made from it.

    The token that the copy was made from stays valid. Who has a copy may
    revoke it. --token-id and --user revoke more: for these you act with
    --token, CAVEATS_TOKEN or the stored login. To revoke the stored login
    itself, see `logout`.

    For example:

      caveats revoke "$NARROW"
      caveats revoke --token-id 01KAJ5M3W8E2RZ6V8Q4T0N9XCD
      caveats revoke --user alice
    """
    by_id = token_id is not None or user is not None
    if (token_id is not None and user is not None) or (by_id and copy is not None):
        raise click.BadParameter("give only one of these: a token, --token-id, --user", param_hint="TOKEN")
    if branch_id is not None and token_id is None:
        raise click.BadParameter("goes with --token-id", param_hint="--branch-id")
    if token_id is not None:
        try:
            token_id = read_token_id(token_id)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--token-id") from None
    if by_id:
        found = inputs.need_token(token, url=url)
    else:
        if token is not None:
            raise click.BadParameter("the copy to revoke is the argument itself", param_hint="--token")
        given = inputs.given_token(copy, piped=True)
        if given is None:
            raise CliError(
                ExitCode.USAGE,
                "no copy given: give its text; to revoke the stored login, use `caveats logout`",
            )
        found = given
    with client_for(url, found, allow_http=allow_http) as client:
        if user is not None:
            entry = client.send(calls.revoke_user(user))
            words = f"revoked every token that was issued to {user} until now"
        elif token_id is not None and branch_id is not None:
            entry = client.send(calls.revoke_branch(token_id, branch_id))
            words = f"revoked branch {branch_id} of token {token_id}, and all tokens made from it"
        elif token_id is not None:
            entry = client.revoke_token(token_id)
            words = f"revoked all copies of token {token_id}"
        else:
            entry = client.revoke(found.bundle)
            words = f"revoked this copy of token {entry.token_id}, and all tokens made from it"
    if entry.already is not None:
        words = f"nothing to revoke: dead already ({entry.already})"
    if as_json:
        data_json(entry)
    message(words)


@click.command(cls=Command)
@click.option("--user", metavar="NAME", help="List the tokens of this user, as an administrator.")
@parameters.acting_token
@parameters.url
@parameters.as_json
@parameters.allow_http
def tokens(*, user: str | None, token: str | None, url: str | None, as_json: bool, allow_http: bool) -> None:
    """List your labelled tokens: what is left of them, and their last use.

    Only tokens that were issued with a note are listed: the service stores
    nothing about others. The last use is the last time that the service
    verified the token: apps that verify by themselves do not report it.

    An administrator lists those of a user with --user, and revokes with
    `revoke --token-id` or `revoke --user`.

    For example:

      caveats tokens
      caveats tokens --user bob
      caveats tokens --json | jq -r '.[].token_id'
    """
    found = inputs.need_token(token, url=url)
    with client_for(url, found, allow_http=allow_http) as client:
        records = list(_every_token(client, user))
    if as_json:
        data_json([renamed(record) for record in records])
        return
    if not records:
        message(
            "no labelled tokens: to make one, caveats issue --note 'what it is for'"
            if user is None
            else f"{user} has no labelled tokens"
        )
        return
    now = inputs.now()
    show(
        Records(
            {
                "id": False,
                "note": True,
                "scopes": True,
                "audience": False,
                "left": False,
                "last used": False,
            },
            (
                (
                    record.token_id,
                    record.note,
                    " ".join(record.scopes),
                    record.audience,
                    _left(record, now),
                    _last_use(record, now),
                )
                for record in records
            ),
        )
    )


_REVOKED_BY = {
    "id": "by its id",
    "copy": "as a copy",
    "user": "with all of the user's",
    "key": "with its key",
    "parent": "with its parent",
}
"""What ended a token before its time, in words."""


def _left(record: TokenRecord, now: datetime) -> str:
    """How long a token lives from now, or since when it does not, and why."""
    if record.status == "revoked":
        when = "" if record.revoked_at is None else f" {relative(record.revoked_at, now)}"
        how = _REVOKED_BY.get(record.revoked_by or "", "")
        return f"revoked{when}{how and ', '}{how}"
    if record.expires_at <= now:
        return f"expired {relative(record.expires_at, now)}"
    left = in_words(record.expires_at - now)
    copies = record.revoked_copies
    return f"{left}, {copies} narrower {'copy' if copies == 1 else 'copies'} revoked" if copies else left


def _last_use(record: TokenRecord, now: datetime) -> str:
    """As far as the service knows: what apps verify by themselves, nobody reports."""
    if record.last_used_at is None:
        return "not at the service" if record.unreported_use else "never"
    return relative(record.last_used_at, now)


def _every_token(client: Client, user: str | None) -> Iterator[TokenRecord]:
    after: str | None = None
    while True:
        page = client.send(
            calls.list_tokens(after=after) if user is None else calls.list_user_tokens(user, after=after)
        )
        yield from page.tokens
        if page.next is None or page.next == after:
            return
        after = page.next
