"""`discharge`: collect the discharges that a token needs."""

from __future__ import annotations

from pathlib import Path

import click

from caveats_client.cli import inputs, parameters
from caveats_client.cli.commands import Command
from caveats_client.cli.durations import relative
from caveats_client.cli.inspect import discharges
from caveats_client.cli.inspection import inspection_of
from caveats_client.cli.output import data, data_json, message


@click.command(cls=Command)
@parameters.token
@click.option(
    "--allow",
    metavar="ORIGIN",
    multiple=True,
    callback=parameters.addresses,
    help="A third party that may be asked, such as https://idm.example. Repeatable.",
)
@click.option(
    "--allow-private", is_flag=True, help="Allow third parties on this machine and in private networks."
)
@click.option(
    "--agent",
    type=click.Path(path_type=Path),
    envvar="BAKERY_AGENT_FILE",
    show_envvar=True,
    metavar="FILE",
    help="A key file, to sign in as an agent at third parties that know it.",
)
@click.option("--no-browser", is_flag=True, help="Print the address to visit instead of opening a browser.")
@click.option(
    "--wait",
    is_flag=True,
    help="Wait for a person also where there is no terminal: for five minutes at most.",
)
@click.option("--form", is_flag=True, help="Fill in a third party's form in the terminal.")
@parameters.url
@parameters.as_json
@parameters.allow_http
def discharge(
    *,
    token: str | None,
    allow: tuple[str, ...],
    allow_private: bool,
    agent: Path | None,
    no_browser: bool,
    wait: bool,
    form: bool,
    url: str | None,
    as_json: bool,
    allow_http: bool,
) -> None:
    """Collect the discharges that a token needs, and print it with them.

    Asks the third parties that the token names, if they are allowed: those given
    with --allow, and the service that you are signed in to, which learns who you
    are. If a third party wants to know who asks, its page is opened in your
    browser, and the command waits. Without a terminal it does not wait, unless
    --wait says so, and ends with exit code 3. The discharges are bound to the
    token: narrow it first, then discharge it.

    For example:

      caveats attenuate --third-party https://auth.example --condition 'signed-in = alice' | caveats discharge -
      caveats discharge "$TOKEN" --allow https://idm.example --no-browser
      caveats discharge --allow https://idm.example --agent robot.json - < token.txt
    """
    found = inputs.need_token(token, url=url, piped=True, subject=True)
    from caveats_client.cli.third_parties import DischargeCollector  # noqa: PLC0415  # it imports the HTTP library

    asked = DischargeCollector(
        url,
        allow,
        allow_private,
        allow_http,
        agent,
        browser=not no_browser,
        form=form,
        wait=wait,
    )
    bundle = asked.collect(found.bundle).bind()
    if as_json:
        data_json({"token": bundle.encode(), "discharges": discharges(inspection_of(bundle))})
        return
    data(bundle.encode())
    if not bundle.discharges:
        message("this token needs no discharge")
    now = inputs.now()
    for one in inspection_of(bundle).third_parties:
        until = "" if one.expires_at is None else f", {relative(one.expires_at, now)} it expires"
        message(f"discharged by {one.location}{until}")
