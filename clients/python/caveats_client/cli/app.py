"""The commands of `caveats`. Each one finds its inputs, asks the library or the service, and shows the answer.

`attenuate` and `inspect` work offline. Data goes to standard output, words to standard error, and no password is
ever taken from an argument.
"""

from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text
from typer.completion import (  # type: ignore[attr-defined]  # meant for use, not marked as exported
    completion_init,
    get_completion_script,
)

from caveats import Caveat, effective, repeated
from caveats.durations import parse_duration
from caveats_client.api.errors import NotAuthenticated, safe
from caveats_client.api.responses import Issued, TokenRecord, Verification
from caveats_client.cli import discharge as discharging
from caveats_client.cli import inputs
from caveats_client.cli import inspect as inspecting
from caveats_client.cli.attenuate import Wanted, caveats_for, read_predicate
from caveats_client.cli.credentials import Credentials, Login
from caveats_client.cli.durations import relative
from caveats_client.cli.exit_codes import EXIT_CODES, CliError, Commands, ExitCode
from caveats_client.cli.inspection import lineage
from caveats_client.cli.render import data, data_json, expiry, message, moment, rows, show, table
from caveats_client.cli.verifier import verifier
from caveats_client.client import Client

completion_init()

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Capability tokens: get one, narrow it offline, look inside, verify it, kill a copy.\n\n"
    "Commands take a token as an argument, from standard input (-), from\nCAVEATS_TOKEN, or use the stored login.",
    epilog=EXIT_CODES,
)


def _version(wanted: bool) -> None:
    if wanted:
        data(f"caveats {version('caveats')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    pass


# What the commands have in common

TokenArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="TOKEN",
        help="A token's text, or - for standard input. Without it: what is piped in, CAVEATS_TOKEN, the stored login.",
        show_default=False,
    ),
]
ActAs = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        help="The token to act with, or - for standard input. Without it: CAVEATS_TOKEN, the stored login.",
        show_default=False,
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        envvar="CAVEATS_URL",
        metavar="URL",
        help="The service. Without it: the one last signed in to.",
        show_default=False,
        callback=inputs.plain_url,
    ),
]
AllowHttp = Annotated[
    bool,
    typer.Option(
        "--allow-http",
        envvar="CAVEATS_ALLOW_HTTP",
        help="Let tokens and passwords travel over plain http, where nobody can listen.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PasswordStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the password from standard input, not from the terminal."),
]
Scopes = Annotated[
    list[str] | None,
    typer.Option(
        "--scope", metavar="PATTERNS", help="What it is good for, such as photos/42:read. Repeatable."
    ),
]
Life = Annotated[
    str | None, typer.Option("--expires-in", metavar="TIME", help="How long it lives: 90s, 15m, 8h, 30d.")
]
For = Annotated[
    str | None, typer.Option("--audience", metavar="NAME", help="The app, or group of apps, that it is for.")
]
Label = Annotated[
    str | None,
    typer.Option("--note", metavar="TEXT", help="A label: the token then shows in `caveats tokens`."),
]
Predicates = Annotated[
    list[str] | None,
    typer.Option("--caveat", metavar="'KIND = VALUE'", help="A caveat, written out. Repeatable."),
]


def _life(text: str | None) -> str | None:
    """A length of time, looked at before anything is asked of anybody."""
    if text is not None:
        try:
            parse_duration(text)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--expires-in") from None
    return text


def _joined(patterns: list[str] | None) -> str | None:
    return " ".join(patterns) if patterns else None


# Signing in and out


@app.command(rich_help_panel="Signing in")
def login(
    username: Annotated[
        str | None,
        typer.Argument(
            envvar="CAVEATS_USERNAME", metavar="USERNAME", help="Asked for if left out.", show_default=False
        ),
    ] = None,
    *,
    url: Url = None,
    scope: Scopes = None,
    expires_in: Life = None,
    audience: For = None,
    note: Label = None,
    password_stdin: PasswordStdin = False,
    allow_http: AllowHttp = False,
) -> None:
    """Sign in and keep the token for the commands that follow.

    The password is asked for, or comes from --password-stdin or
    CAVEATS_PASSWORD. The token is kept in a file that only you can read.

    For example:

      caveats login alice --url https://auth.example
      caveats login alice --scope 'photos:*' --expires-in 8h
      pass auth.example | caveats login alice --password-stdin
    """
    _life(expires_in)
    credentials = Credentials.here()
    credentials.load()  # a file that cannot be used is better known before the password is typed
    address = inputs.find_url(url)
    with inputs.client_for(address, allow_http=allow_http) as client:
        if password_stdin and username is None:
            raise typer.BadParameter("with --password-stdin the name is an argument", param_hint="USERNAME")
        username = inputs.username(username)
        password = inputs.password(f"Password of {username}", stdin=password_stdin)
        issued = client.issue_to(
            username, password, scope=_joined(scope), audience=audience, expires_in=expires_in, note=note
        )
        credentials.save(Login(client.url, issued.user, issued.token.encode(), allow_http))
        message(f"signed in to {client.url} as {issued.user}, {_until(issued)}")


@app.command(rich_help_panel="Signing in")
def logout(
    *,
    url: Url = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Do not ask the service to revoke it; only forget it here.")
    ] = False,
    allow_http: AllowHttp = False,
) -> None:
    """Sign out: revoke the stored token, and forget it.

    All that was made of it dies as well.

    For example:

      caveats logout
      caveats logout --forget     (the copies handed out live on)
    """
    credentials = Credentials.here()
    stored = credentials.load().find(url)
    if stored is None:
        raise CliError(ExitCode.NOT_SIGNED_IN, "not signed in")
    if not forget:
        with Client(stored.url, token=stored.token, allow_http=allow_http or stored.allow_http) as client:
            try:
                client.revoke(stored.token)
            except NotAuthenticated:
                message("the token was dead already")
    credentials.forget(stored.url)
    message(f"signed out of {stored.url}" + (": the token lives on until it expires" if forget else ""))


@app.command(rich_help_panel="Signing in")
def whoami(
    token: TokenArgument = None, *, url: Url = None, as_json: Json = False, allow_http: AllowHttp = False
) -> None:
    """Ask the service whose token this is, and whether it is alive.

    For example:

      caveats whoami
      caveats whoami "$TOKEN" --json
    """
    found = inputs.need_token(token, url=url, piped=True)
    with inputs.client_for(url, found, allow_http=allow_http) as client:
        identity = client.whoami()
        if as_json:
            data_json({"url": client.url, **_renamed(identity)})
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


@app.command(rich_help_panel="Signing in")
def register(
    username: Annotated[str, typer.Argument(metavar="USERNAME", help="The new name.", show_default=False)],
    *,
    as_admin: Annotated[
        bool,
        typer.Option(
            "--as-admin", help="Act as the administrator you are signed in as, or that --token is of."
        ),
    ] = False,
    token: ActAs = None,
    url: Url = None,
    password_stdin: PasswordStdin = False,
    allow_http: AllowHttp = False,
) -> None:
    """Make an account.

    Where registration is closed an administrator does it, whose token has the
    scope caveats:admin.

    For example:

      caveats register bob --url https://auth.example
      caveats login admin --scope caveats:admin
      caveats register carol --as-admin
    """
    if token is not None and not as_admin:
        raise typer.BadParameter("goes with --as-admin", param_hint="--token")
    if password_stdin and token == inputs.STANDARD_INPUT:
        raise typer.BadParameter("standard input holds the password or the token", param_hint="--token")
    acting = inputs.need_token(token, url=url) if as_admin else None
    with inputs.client_for(url, acting, allow_http=allow_http) as client:
        password = inputs.password(f"Password for {username}", stdin=password_stdin, twice=True)
        user = client.register(username, password, as_admin=as_admin)
        message(f"made the account {user.username}; sign in: caveats login {user.username}")


@app.command(rich_help_panel="Signing in")
def passwd(
    username: Annotated[
        str | None,
        typer.Argument(metavar="USERNAME", help="Without it: who is signed in.", show_default=False),
    ] = None,
    *,
    url: Url = None,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="Read two lines: the present password, then the new one."),
    ] = False,
    allow_http: AllowHttp = False,
) -> None:
    r"""Change your password. All your tokens die with the old one.

    Both passwords are asked for, or come from --password-stdin, or from
    CAVEATS_PASSWORD and CAVEATS_NEW_PASSWORD.

    For example:

      caveats passwd
      printf '%s\n' "$OLD" "$NEW" | caveats passwd alice --password-stdin
    """
    credentials = Credentials.here()
    stored = credentials.load().find(url)
    name = username or (stored.username if stored else None)
    if name is None:
        raise CliError(ExitCode.USAGE, "which user? Give the name")
    with inputs.client_for(url, allow_http=allow_http) as client:
        present = inputs.password(f"Present password of {name}", stdin=password_stdin)
        new = inputs.password(
            "New password", stdin=password_stdin, variable=inputs.NEW_PASSWORD_VARIABLE, twice=True
        )
        client.change_password(name, present, new)
        message(f"changed the password of {name}; their tokens are dead")
        if stored is not None and stored.username == name:
            credentials.forget(stored.url)
            message(f"sign in again: caveats login {name} --url {client.url}", label="")


# Getting tokens


@app.command(rich_help_panel="Tokens")
def issue(
    *,
    scope: Scopes = None,
    expires_in: Life = None,
    audience: For = None,
    caveat: Predicates = None,
    note: Label = None,
    token: ActAs = None,
    url: Url = None,
    as_json: Json = False,
    allow_http: AllowHttp = False,
) -> None:
    """Get a new token against the one you hold, and print it.

    It allows no more than yours and dies with it. To narrow a copy without
    asking anybody, see `attenuate`.

    For example:

      T=$(caveats issue --scope photos:read --expires-in 1h --note 'nightly build')
      caveats issue --audience photos --caveat 'method = GET HEAD'
    """
    _life(expires_in)
    predicates = [read_predicate(text) for text in caveat or ()]
    found = inputs.need_token(token, url=url)
    with inputs.client_for(url, found, allow_http=allow_http) as client:
        issued = client.issue(
            scope=_joined(scope), audience=audience, expires_in=expires_in, caveats=predicates, note=note
        )
        _print_issued(issued, as_json=as_json)


@app.command(rich_help_panel="Tokens")
def renew(
    token: TokenArgument = None,
    *,
    expires_in: Life = None,
    url: Url = None,
    as_json: Json = False,
    allow_http: AllowHttp = False,
) -> None:
    """Get the same token with a later expiry.

    The stored login is renewed in its place and nothing is printed; of any
    other token, the new text is printed. A token from `issue` lives as long as
    the one it was issued against: renew that, and issue again.

    For example:

      caveats renew
      TOKEN=$(caveats renew "$TOKEN" --expires-in 8h)
    """
    _life(expires_in)
    found = inputs.need_token(token, url=url, piped=True)
    with inputs.client_for(url, found, allow_http=allow_http) as client:
        issued = client.renew(expires_in=expires_in)
        if found.login is None:
            _print_issued(issued, as_json=as_json)
            return
        login = found.login
        Credentials.here().save(Login(login.url, login.username, issued.token.encode(), login.allow_http))
        if as_json:
            data_json(_renamed(issued, without=("token",)))
        message(f"renewed: {_until(issued)}")


@app.command(rich_help_panel="Tokens")
def attenuate(
    token: TokenArgument = None,
    *,
    scope: Scopes = None,
    expires_in: Life = None,
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="When it dies: 2026-12-01T18:00:00Z.")
    ] = None,
    not_before: Annotated[
        str | None, typer.Option("--not-before", metavar="WHEN", help="From when on it is good.")
    ] = None,
    audience: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Which apps may take it. Repeatable.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(metavar="METHOD", help="HTTP methods that it is good for. Repeatable.")
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", help="HTTP paths that it is good for: /a/b, or /a/* for all below. Repeatable."
        ),
    ] = None,
    client_ip: Annotated[
        list[str] | None,
        typer.Option(
            "--client-ip", metavar="NETWORK", help="Who may present it, such as 10.0.0.0/8. Repeatable."
        ),
    ] = None,
    note: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A label for people. Repeatable.")
    ] = None,
    caveat: Predicates = None,
    third_party: Annotated[
        str | None,
        typer.Option(
            "--third-party",
            metavar="URL",
            help="A service that has to agree to what --condition says, before the token is good.",
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'KIND = VALUE'", help="What the third party has to find true. Repeatable: all."
        ),
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(
            "--public-key",
            metavar="BASE64",
            help="The third party's key, so that nobody has to be asked for it.",
        ),
    ] = None,
    bakery: Annotated[
        bool, typer.Option("--bakery", help="The third party is a bakery, and reads only a bakery's tickets.")
    ] = False,
    allow_http: AllowHttp = False,
) -> None:
    """Narrow a token, offline, and print the narrower copy.

    Nobody is asked and the token itself stays as it was; only --third-party
    asks, for a key, unless --public-key gives it. What is added cannot be taken
    away again. A flag given twice allows either value; narrow twice to ask for
    both.

    For example:

      T=$(caveats attenuate --scope photos/42:read --expires-in 10m "$TOKEN")
      caveats issue | caveats attenuate --method GET --path '/albums/*'
      caveats attenuate --caveat 'photos/album = 42' --note 'for the printer'
      caveats attenuate --third-party https://auth.example --condition 'approved-by = ops'
    """
    _life(expires_in)
    if bool(third_party) != bool(condition):
        given, lacking = ("--third-party", "--condition") if third_party else ("--condition", "--third-party")
        raise typer.BadParameter(f"goes with {lacking}", param_hint=given)
    if third_party is None and (public_key is not None or bakery):
        raise typer.BadParameter(
            "goes with --third-party", param_hint="--bakery" if bakery else "--public-key"
        )
    now = inputs.now()
    wanted = Wanted(
        scope=tuple(scope or ()),
        expires_in=None if expires_in is None else parse_duration(expires_in),
        expires=expires,
        not_before=not_before,
        audience=tuple(audience or ()),
        method=tuple(method or ()),
        path=tuple(path or ()),
        client_ip=tuple(client_ip or ()),
        note=tuple(note or ()),
        raw=tuple(caveat or ()),
    )
    added = caveats_for(wanted, now)
    if not added and third_party is None:
        raise CliError(ExitCode.USAGE, "say how to narrow it: --scope, --expires-in, ... (see --help)")
    bundle = inputs.need_token(token, piped=True).bundle
    if bundle.discharges:
        raise CliError(
            ExitCode.USAGE,
            "this token has discharges bound to it, and narrowing would unbind them: narrow it before it is bound",
        )
    narrower = bundle.macaroon.attenuate(*added)
    if third_party is not None:
        party = discharging.find_party(third_party, public_key, allow_http=allow_http)
        narrower = discharging.require(narrower, party, condition or (), bakery=bakery)
    data(narrower.encode())
    _warn(bundle.macaroon.unverified_caveats, added)


def _warn(before: tuple[Any, ...], added: tuple[Caveat, ...]) -> None:
    """Point out what was for nothing: a caveat that adds nothing, or leaves nothing."""
    caveats = [caveat for caveat in before if isinstance(caveat, Caveat)]
    for one in repeated([*caveats, *added]):
        if one.index >= len(caveats):
            message(f"{one.caveat} adds nothing: {one.because}")
    left, was = effective([*caveats, *added]), effective(caveats)
    if was.scopes and not left.scopes:
        message("the scopes have nothing in common with the token's: the copy is good for nothing")
    if left.expires_at is not None and left.expires_at <= inputs.now():
        message("the copy has expired already")


@app.command(rich_help_panel="Tokens")
def discharge(
    token: TokenArgument = None,
    *,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="A third party that may be asked, such as https://idm.example. Repeatable."
        ),
    ] = None,
    allow_private: Annotated[
        bool,
        typer.Option("--allow-private", help="Third parties may be on this machine or in a private network."),
    ] = False,
    agent: Annotated[
        Path | None,
        typer.Option(
            envvar="BAKERY_AGENT_FILE",
            metavar="FILE",
            help="A robot's key file, for third parties that know it.",
            show_default=False,
        ),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address to visit, and open no browser.")
    ] = False,
    form: Annotated[
        bool, typer.Option("--form", help="Answer here, in the terminal, what a third party asks in a form.")
    ] = False,
    url: Url = None,
    as_json: Json = False,
    allow_http: AllowHttp = False,
) -> None:
    """Collect the discharges that a token needs, and print both as one.

    Asks the third parties that the token names: those given with --allow, and
    the service that you are signed in to, which is told who you are. One that
    wants to know who asks is shown in the browser, and waited for. What comes
    out is bound together: narrow a token first, then discharge it.

    For example:

      caveats attenuate --third-party https://auth.example --condition 'signed-in = alice' | caveats discharge
      caveats discharge "$TOKEN" --allow https://idm.example --no-browser
      caveats discharge --allow https://idm.example --agent robot.json - < token.txt
    """
    found = inputs.need_token(token, url=url, piped=True)
    asked = discharging.Asking(
        url, tuple(allow or ()), allow_private, allow_http, agent, browser=not no_browser, form=form
    )
    bundle = asked.collect(found.bundle).bind()
    if as_json:
        data_json({"token": bundle.encode(), "discharges": inspecting.discharges(lineage(bundle))})
        return
    data(bundle.encode())
    if not bundle.discharges:
        message("this token needs no discharge")
    now = inputs.now()
    for one in lineage(bundle).all_third_parties:
        until = "" if one.expires_at is None else f", {relative(one.expires_at, now)} it expires"
        message(f"discharged by {one.location}{until}")


# Looking inside, verifying


@app.command(rich_help_panel="Tokens")
def inspect(token: TokenArgument = None, *, as_json: Json = False) -> None:
    """Lay a token open, offline: its caveats and what they leave.

    Who added which, what is left of it, what was for nothing. Nothing is
    verified: anybody can write a token that reads well. Nothing secret is
    shown either.

    For example:

      caveats inspect
      caveats inspect "$TOKEN" --json | jq .authority
    """
    now = inputs.now()
    opened = lineage(inputs.need_token(token, piped=True).bundle)
    if as_json:
        data_json(inspecting.members(opened, now))
        return
    show(inspecting.tree(opened, now))
    show(Text("\nwhat is left of it", style="bold"))
    show(inspecting.authority(opened, now))
    show(Text(f"\n{inspecting.NOT_VERIFIED}", style="dim"))


@app.command(rich_help_panel="Tokens")
def verify(
    token: TokenArgument = None,
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE", help="What the request is about to do: photos/42:read. Repeatable: all."
        ),
    ] = None,
    audience: Annotated[
        str | None, typer.Option(metavar="NAME", help="The app that asks. Without it: default.")
    ] = None,
    method: Annotated[str | None, typer.Option(metavar="METHOD", help="The request's HTTP method.")] = None,
    path: Annotated[str | None, typer.Option(metavar="PATH", help="The request's path.")] = None,
    client_ip: Annotated[
        str | None, typer.Option("--client-ip", metavar="ADDRESS", help="Where the request comes from.")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Whom the request claims to be.")] = None,
    extra: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A fact for a plug-in's kind. Repeatable.")
    ] = None,
    url: Url = None,
    as_json: Json = False,
    allow_http: AllowHttp = False,
) -> None:
    """Ask the service if a token is good for a request, and why not.

    Exits 0 if it is, 4 if its caveats refuse, 3 if it is not authentic or not alive.

    For example:

      caveats verify "$TOKEN" --scope photos/42:read
      caveats verify --method GET --path /albums/42 --client-ip 10.1.2.3 - < token.txt
    """
    facts = dict(_pair(text) for text in extra or ())
    found = inputs.need_token(token, url=url, piped=True)
    with inputs.client_for(url, found, allow_http=allow_http) as client:
        verification = client.verify(
            found.bundle,
            scope=_joined(scope),
            audience=audience,
            method=method.upper() if method else None,
            path=path,
            client_ip=client_ip,
            user=user,
            extra=facts,
        )
    if as_json:
        data_json(_renamed(verification))
    else:
        _show_verification(verification)
    if not verification.granted:
        raise typer.Exit(ExitCode.REFUSED)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--extra")
    return name, value


def _show_verification(verification: Verification) -> None:
    word, style = ("granted", "bold green") if verification.granted else ("refused", "bold red")
    title = Text(word, style=style)
    title.append(f"  token {verification.token_id} of {verification.user}", style="default")
    show(title)
    for caveat in verification.caveats:
        if caveat.satisfied:
            show(Text(f"  holds    {safe(caveat.predicate)}", style="green"))
        else:
            line = Text("  refuses  ", style="red")
            line.append(f"{safe(caveat.predicate)} (added by the {caveat.added_by})\n")
            line.append(f"           {safe(caveat.reason)}; would pass: {safe(caveat.hint)}")
            show(line)


# Killing and listing


@app.command(rich_help_panel="Tokens")
def revoke(
    token: Annotated[
        str | None,
        typer.Argument(
            metavar="TOKEN",
            help="The copy to kill, or - for standard input. Without it: what is piped in, CAVEATS_TOKEN.",
            show_default=False,
        ),
    ] = None,
    *,
    token_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Kill all copies of the token with this id.")
    ] = None,
    branch_id: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="With --token-id: only this branch (see `verify --json`)."),
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Kill everything issued to this user until now.")
    ] = None,
    act_as: ActAs = None,
    url: Url = None,
    as_json: Json = False,
    allow_http: AllowHttp = False,
) -> None:
    """Kill a copy of a token, with everything that was made of it.

    The token that it came from lives on, and having a copy is all it takes to
    kill it. For more than that, with --token-id or --user, you act with
    --token, CAVEATS_TOKEN or the stored login. To kill the stored login
    itself, see `logout`.

    For example:

      caveats revoke "$NARROW"
      caveats revoke --token-id 01KAJ5M3W8E2RZ6V8Q4T0N9XCD
      caveats revoke --user alice
    """
    by_id = token_id is not None or user is not None
    if (token_id is not None and user is not None) or (by_id and token is not None):
        raise typer.BadParameter("one of a token, --token-id and --user", param_hint="TOKEN")
    if branch_id is not None and token_id is None:
        raise typer.BadParameter("goes with --token-id", param_hint="--branch-id")
    if by_id:
        found = inputs.need_token(act_as, url=url)
    else:
        if act_as is not None:
            raise typer.BadParameter("the copy to kill is the argument itself", param_hint="--token")
        given = inputs.given_token(token, piped=True)
        if given is None:
            raise CliError(ExitCode.USAGE, "which copy? To kill the stored login, use `caveats logout`")
        found = given
    with inputs.client_for(url, found, allow_http=allow_http) as client:
        if user is not None:
            entry = client.revoke_user(user)
            words = f"everything issued to {user} until now is dead"
        elif token_id is not None and branch_id is not None:
            entry = client.revoke_branch(token_id, branch_id)
            words = f"branch {branch_id} of token {token_id} is dead, with all that was made of it"
        elif token_id is not None:
            entry = client.revoke_token(token_id)
            words = f"token {token_id} is dead in all its copies"
        else:
            entry = client.revoke(found.bundle)
            words = f"this copy of token {entry.token_id} is dead, with all that was made of it"
    if as_json:
        data_json(entry)
    message(words)


@app.command(rich_help_panel="Tokens")
def tokens(
    *, token: ActAs = None, url: Url = None, as_json: Json = False, allow_http: AllowHttp = False
) -> None:
    """List your labelled tokens, with their last use.

    Only tokens that were issued with a note are listed: of the others the
    service keeps nothing.

    For example:

      caveats tokens
      caveats tokens --json | jq -r '.[].token_id'
    """
    found = inputs.need_token(token, url=url)
    with inputs.client_for(url, found, allow_http=allow_http) as client:
        records = list(_every_token(client))
    if as_json:
        data_json([_renamed(record) for record in records])
        return
    if not records:
        message("no labelled tokens: `issue` and `login` make one with --note")
        return
    now = inputs.now()
    show(
        table(
            {
                "id": False,
                "note": True,
                "scopes": True,
                "audience": False,
                "expires": False,
                "last used": False,
            },
            (
                (
                    record.token_id,
                    record.note,
                    " ".join(record.scopes),
                    record.audience,
                    relative(record.expires_at, now),
                    relative(record.last_used_at, now) if record.last_used_at else "never",
                )
                for record in records
            ),
        )
    )


def _every_token(client: Client) -> Iterator[TokenRecord]:
    after: str | None = None
    while True:
        page = client.tokens(after=after)
        yield from page.tokens
        if page.next is None or page.next == after:
            return
        after = page.next


# The shell


class Shell(StrEnum):
    """The shells that completion is written for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.command(rich_help_panel="Shell")
def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> None:
    """Print the completion script of a shell.

    For example:

      caveats completion bash >> ~/.bashrc
      caveats completion zsh > ~/.zfunc/_caveats
      caveats completion fish > ~/.config/fish/completions/caveats.fish
    """
    data(get_completion_script(prog_name="caveats", complete_var="_CAVEATS_COMPLETE", shell=shell.value))


# Verifiers

app.add_typer(verifier, name="verifier", rich_help_panel="Verifiers")


# How answers are told


def _until(issued: Issued) -> str:
    return f"until {moment(issued.expires_at)} ({relative(issued.expires_at, inputs.now())})"


def _print_issued(issued: Issued, *, as_json: bool) -> None:
    if as_json:
        data_json({"token": issued.token.encode(), **_renamed(issued, without=("token",))})
        return
    data(issued.token.encode())
    message(f"token {issued.token_id} of {issued.user} for {issued.audience}, {_until(issued)}")


def _renamed(value: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The members of a shape as the service names them: `scope` is one text there."""
    members = {name: getattr(value, name) for name in value.__slots__ if name not in without}
    return {
        ("scope" if name == "scopes" else name): (" ".join(member) if name == "scopes" else member)
        for name, member in members.items()
    }
