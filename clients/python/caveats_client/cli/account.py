"""`login`, `logout`, `whoami`, `register`, `passwd`: who a person is to the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from caveats_client.api import calls
from caveats_client.api.errors import Forbidden, NotAuthenticated
from caveats_client.cli import inputs, parameters
from caveats_client.cli.commands import Command
from caveats_client.cli.credentials import Credentials, Login, Logins
from caveats_client.cli.exit_codes import CliError, ExitCode
from caveats_client.cli.hints import sign_in
from caveats_client.cli.output import data_json, message, print_issued, renamed, until
from caveats_client.cli.render import expiry, rows, show
from caveats_client.cli.service import choose_url, client_for

if TYPE_CHECKING:
    from caveats_client.api.responses import Issued


@click.command(cls=Command)
@click.argument(
    "username", metavar="[USERNAME]", required=False, envvar="CAVEATS_USERNAME", help="Asked for if left out."
)
@parameters.url
@parameters.scope
@parameters.expires_in
@parameters.audience
@parameters.note
@parameters.password_stdin
@click.option("--print", "prints", is_flag=True, help="Print the token, and store nothing.")
@parameters.as_json
@parameters.allow_http
def login(
    *,
    username: str | None,
    url: str | None,
    scope: tuple[str, ...],
    expires_in: str | None,
    audience: str | None,
    note: str | None,
    password_stdin: bool,
    prints: bool,
    as_json: bool,
    allow_http: bool,
) -> None:
    """Sign in, and store the token for the commands that follow.

    The password is asked for, or read from standard input with
    --password-stdin, or taken from CAVEATS_PASSWORD. One that an administrator
    has set for you is changed on the way: you are asked for a new one, or it is
    taken from CAVEATS_NEW_PASSWORD. The token is stored in a file that only you
    can read; if that file is damaged, it is set aside. There is one login for
    each service: a new one takes the place of the one before. With --print the
    token goes to standard output, and the stored login stays.

    For example:

      caveats login alice --url https://auth.example
      caveats login alice --scope 'photos:*' --expires-in 8h
      pass auth.example | caveats login alice --password-stdin
      ADMIN=$(caveats login admin --scope caveats:admin --print)
    """
    credentials = Credentials.here()
    logins = credentials.usable()
    if not prints:
        credentials.prepare()  # a file that cannot be used is reported before the person types a password
    if password_stdin and username is None:
        raise click.BadParameter("with --password-stdin the name is an argument", param_hint="USERNAME")
    username = inputs.username(username)
    with client_for(choose_url(url, logins), allow_http=allow_http, logins=logins) as client:
        password = inputs.password(f"Password of {username} at {client.url}", stdin=password_stdin)

        def sign_in(password: str) -> Issued:
            return client.send(
                calls.login(
                    username,
                    password,
                    scope=parameters.joined(scope),
                    audience=audience,
                    expires_in=expires_in,
                    note=note,
                )
            )

        try:
            issued = sign_in(password)
        except Forbidden as refusal:
            if refusal.code != "password_change_required" or not inputs.can_ask_for_new_password():
                raise
            message("an administrator has set this password: choose a new one to sign in")
            new = inputs.new_password(client.url, stdin=False)
            client.change_password(username, password, new)
            issued = sign_in(new)
        if prints:
            print_issued(issued, inputs.now(), as_json=as_json)
            return
        before = logins.find(client.url)
        inputs.store(Login(client.url, issued.user, issued.token.encode(), allow_http))
        if as_json:
            data_json(renamed(issued, without=("token",)))
        replaced = (
            "" if before is None or before.username == issued.user else f", in place of {before.username}"
        )
        message(f"signed in to {client.url} as {issued.user}{replaced}, {until(issued, inputs.now())}")


@click.command(cls=Command)
@parameters.url
@click.option(
    "--forget", is_flag=True, help="Only remove the token here; do not ask the service to revoke it."
)
@parameters.allow_http
def logout(*, url: str | None, forget: bool, allow_http: bool) -> None:
    """Sign out: revoke the stored token, and remove it.

    All tokens that were made from it are revoked too.

    For example:

      caveats logout
      caveats logout --forget     (the token and its copies stay valid)
    """
    credentials = Credentials.here()
    before = credentials.load()
    stored = before.find(url)
    if stored is None:
        where = "" if url is None else f" to {url}"
        raise CliError(ExitCode.NOT_SIGNED_IN, f"not signed in{where}{_still(before)}")
    credentials.prepare()
    if not forget:
        with client_for(stored.url, inputs.stored_token(stored), allow_http=allow_http) as client:
            try:
                client.revoke(stored.token)
            except NotAuthenticated:
                message("the token was no longer valid")
    credentials.forget(stored.url)
    message(f"signed out of {stored.url}" + (": the token stays valid until it expires" if forget else ""))
    left = credentials.load()
    if left.by_url:
        message(_still(left).removeprefix("; "), label="")


def _still(logins: Logins) -> str:
    """Which logins there are, and which of them is the current one; empty without any."""
    if not logins.by_url:
        return ""
    if logins.current is not None:
        return f"; the current service is {logins.current}"
    return f"; no service is the current one now; still signed in to {' '.join(logins.by_url)}: choose with --url"


@click.command(cls=Command)
@parameters.token
@parameters.url
@parameters.as_json
@parameters.allow_http
def whoami(*, token: str | None, url: str | None, as_json: bool, allow_http: bool) -> None:
    """Ask the service whose token this is, and if it is valid.

    For example:

      caveats whoami
      caveats whoami "$TOKEN" --json
    """
    found = inputs.need_token(token, url=url, piped=True)
    with client_for(url, found, allow_http=allow_http) as client:
        identity = client.whoami()
        if as_json:
            data_json({"url": client.url, **renamed(identity)})
            return
        show(
            rows(
                [
                    ("user", identity.user),
                    ("service", client.url),
                    ("token", identity.token_id),
                    ("audience", identity.audience),
                    ("scopes", " ".join(identity.scopes) or "none"),
                    ("expires", expiry(identity.expires_at, inputs.now())),
                ]
            )
        )


@click.command(cls=Command)
@click.argument("username", metavar="USERNAME", help="The new name.")
@click.option(
    "--as-admin",
    is_flag=True,
    help="Act as an administrator: with --token, or with the stored login.",
)
@parameters.acting_token
@parameters.url
@parameters.password_stdin
@parameters.allow_http
def register(
    *,
    username: str,
    as_admin: bool,
    token: str | None,
    url: str | None,
    password_stdin: bool,
    allow_http: bool,
) -> None:
    """Create an account.

    Where registration is closed, an administrator creates it, with a token of
    the scope caveats:admin.

    For example:

      caveats register bob --url https://auth.example
      caveats login admin --scope '* caveats:*'
      caveats register carol --as-admin
    """
    if token is not None and not as_admin:
        raise click.BadParameter("goes with --as-admin", param_hint="--token")
    if password_stdin and token == inputs.STANDARD_INPUT:
        raise click.BadParameter("standard input holds the password or the token", param_hint="--token")
    acting = inputs.need_token(token, url=url) if as_admin else None
    if acting is None or acting.login is None:
        url = choose_url(url, Credentials.here().usable())
    with client_for(url, acting, allow_http=allow_http) as client:
        password = inputs.password(
            f"Password for {username} at {client.url}", stdin=password_stdin, twice=True
        )
        user = client.register(username, password, as_admin=as_admin)
        login = sign_in(client.url, user.username, allow_http=allow_http)
        message(f"created the account {user.username}; to sign in: {login}")


@click.command(cls=Command)
@click.argument("username", metavar="[USERNAME]", required=False, help="Default: who is signed in.")
@parameters.url
@click.option(
    "--password-stdin",
    is_flag=True,
    help="Read two lines of standard input: the present password and the new one.",
)
@parameters.allow_http
def passwd(*, username: str | None, url: str | None, password_stdin: bool, allow_http: bool) -> None:
    r"""Change your password, which revokes all your tokens.

    Both passwords are asked for, or read from standard input with
    --password-stdin, or taken from CAVEATS_PASSWORD and CAVEATS_NEW_PASSWORD.

    For example:

      caveats passwd
      caveats passwd alice --url https://auth.example
      printf '%s\n' "$OLD" "$NEW" | caveats passwd alice --password-stdin
    """
    credentials = Credentials.here()
    logins = credentials.load()
    stored = logins.find(url)
    if stored is not None:
        credentials.prepare()
    name = username or (stored.username if stored else None) or inputs.username(None)
    with client_for(choose_url(url, logins), allow_http=allow_http, logins=logins) as client:
        present = inputs.password(f"Present password of {name} at {client.url}", stdin=password_stdin)
        new = inputs.new_password(client.url, stdin=password_stdin)
        client.change_password(name, present, new)
        message(f"changed the password of {name}; their tokens are revoked")
        if stored is not None and stored.username == name:
            credentials.forget(stored.url)
        message(f"to sign in again: {sign_in(client.url, name, allow_http=allow_http)}", label="")
