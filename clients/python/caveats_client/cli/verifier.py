"""`verifier init`, `register`, `list` and `revoke`: the registrations of apps that verify tokens themselves.

`init` makes an app's file on the app's machine, and an administrator needs only the public key. If the administrator
has the file, `register` also completes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from caveats import InvalidKey, MalformedToken
from caveats.keys import key_from_text
from caveats.token import decode_base64, encode_base64
from caveats_client.api import calls
from caveats_client.cli import inputs, parameters
from caveats_client.cli.commands import Command
from caveats_client.cli.exit_codes import CliError, ExitCode
from caveats_client.cli.hints import typed
from caveats_client.cli.output import data, data_json, message, moment
from caveats_client.cli.render import Records, show
from caveats_client.cli.service import client_for
from caveats_client.verifiers.registration import Registration, RegistrationError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from caveats_client.client import Client


_token = click.option(
    "--token",
    metavar="TOKEN",
    help="An administrator's token, or - for standard input. Default: CAVEATS_TOKEN, the stored login.",
)


def _client(token: str | None, url: str | None, *, allow_http: bool) -> AbstractContextManager[Client]:
    """The service, with the token that the command acts with."""
    return client_for(url, inputs.need_token(token, url=url), allow_http=allow_http)


@click.command(cls=Command)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path), help="The verifier's file.")
@parameters.as_json
def init(*, file: Path, as_json: bool) -> None:
    """Make a key pair for an app, and print the public key.

    The private key stays in FILE, which only you can read. An existing file is
    never overwritten.

    For example:

      caveats verifier init photos.verifier
    """
    fresh = Registration.generate()
    try:
        fresh.save(file, new=True)
    except RegistrationError as error:
        raise CliError(ExitCode.USAGE, str(error)) from error
    public = encode_base64(fresh.public_key)
    if as_json:
        data_json({"file": str(file), "public_key": public})
        return
    data(public)
    message(
        f"stored the private key in {file}; an administrator registers the app, here for the audience photos:"
    )
    message(f"  {typed('verifier', 'register', str(file), '--audience', 'photos')}", label="")


@click.command(cls=Command)
@click.argument(
    "app",
    metavar="FILE|PUBLIC_KEY",
    help="The verifier's file, which the command completes, or the public key that `init` printed"
    " (after --, if it begins with -).",
)
@click.option("--audience", metavar="NAME", required=True, help="The audience whose tokens the app verifies.")
@click.option("--name", metavar="TEXT", help="Its name in the list. Default: the audience.")
@_token
@parameters.url
@parameters.as_json
@parameters.allow_http
def register(
    *,
    app: str,
    audience: str,
    name: str | None,
    token: str | None,
    url: str | None,
    as_json: bool,
    allow_http: bool,
) -> None:
    """Let an app fetch the keys of an audience. For administrators.

    With these keys an app verifies tokens of the audience offline. It can also
    mint such tokens: register only apps that you trust.

    For example:

      caveats login admin --scope '* caveats:*'
      caveats verifier register photos.verifier --audience photos
      caveats verifier register "$PUBLIC_KEY" --audience photos --name 'photos, eu-1'
    """
    own = _own(app)
    public = own.public_key if own is not None else _public_key(app)
    with _client(token, url, allow_http=allow_http) as client:
        record = client.send(calls.register_verifier(public, audience, audience if name is None else name))
        if own is not None:
            try:
                filled = own.registered(
                    url=client.url,
                    audience=record.audience,
                    verifier_id=record.verifier_id,
                    service_public_key=decode_base64(record.service_public_key),
                )
                filled.save(app)
            except (RegistrationError, MalformedToken) as error:
                raise CliError(
                    ExitCode.UNEXPECTED, f"registered as {record.verifier_id}, but {error}"
                ) from error
    if as_json:
        data_json(record)
    else:
        data(record.verifier_id)
    if own is not None:
        message(f"{app} is complete: LocalVerifier.from_file({app!r})")
    elif not as_json:
        message(f"the app pins the service's public key: {record.service_public_key}", label="")


@click.command("list", cls=Command)
@_token
@parameters.url
@parameters.as_json
@parameters.allow_http
def list_(*, token: str | None, url: str | None, as_json: bool, allow_http: bool) -> None:
    """List the registered verifiers. For administrators.

    For example:

      caveats verifier list
      caveats verifier list --json | jq -r '.[].verifier_id'
    """
    with _client(token, url, allow_http=allow_http) as client:
        records = client.send(calls.list_verifiers())
    if as_json:
        data_json(list(records))
        return
    if not records:
        message("no verifiers are registered")
        return
    columns = {"id": False, "audience": False, "name": True, "registered": False, "revoked": False}
    show(
        Records(
            columns,
            (
                (
                    record.verifier_id,
                    record.audience,
                    record.name,
                    moment(record.created_at),
                    "" if record.revoked_at is None else moment(record.revoked_at),
                )
                for record in records
            ),
        )
    )


@click.command(cls=Command)
@click.argument("verifier_id", metavar="ID", help="The verifier's id, as `list` shows it.")
@_token
@parameters.url
@parameters.allow_http
def revoke(*, verifier_id: str, token: str | None, url: str | None, allow_http: bool) -> None:
    """Stop giving keys to a verifier. For administrators.

    The keys that the verifier has stay valid until they are retired. To make
    them invalid, rotate the keys and retire the old ones.

    For example:

      caveats verifier revoke 01KAJ5M3W8E2RZ6V8Q4T0N9XCD
    """
    if not verifier_id.isalnum():
        raise click.BadParameter("not a verifier's id", param_hint="ID")
    with _client(token, url, allow_http=allow_http) as client:
        client.send(calls.revoke_verifier(verifier_id))
    message(f"verifier {verifier_id} gets no more keys")


def _own(app: str) -> Registration | None:
    """The registration in the file `app`; None if there is no such file."""
    if not Path(app).exists():
        return None
    try:
        return Registration.load(app)
    except RegistrationError as error:
        raise CliError(ExitCode.USAGE, str(error)) from error


def _public_key(text: str) -> bytes:
    try:
        return key_from_text(text)
    except InvalidKey as error:
        raise click.BadParameter(
            f"neither a file nor a public key: it {error}", param_hint="FILE|PUBLIC_KEY"
        ) from None
