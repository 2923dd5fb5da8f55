"""Third parties, from the command line: whom to ask, with which agent's key, and how to show that a person is waited for.

Knows the stored logins and the terminal. How discharges are collected stands in `caveats_client.discharge`.
"""

from __future__ import annotations

import getpass
import sys
import webbrowser
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

import httpx2 as httpx
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from caveats import Bundle, Caveat, InvalidKey, MalformedToken, effective
from caveats.bakery import V2, BakeryMacaroon, BakeryParty
from caveats.token import decode_any_base64
from caveats_client.api.errors import safe
from caveats_client.cli.credentials import Credentials
from caveats_client.cli.durations import in_words
from caveats_client.cli.exit_codes import CliError, ExitCode
from caveats_client.cli.output import message
from caveats_client.discharge import runner
from caveats_client.discharge.agent import Agent
from caveats_client.discharge.allowlist import Allowlist
from caveats_client.discharge.protocol import PATIENCE, Interact, collecting, finding
from caveats_client.discharge.required import envelope, lacks_discharges
from caveats_client.transport import checked_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from caveats import Macaroon, Unbound


class Person:
    """Takes a person to an address, in their browser or by telling them, and shows that they are waited for."""

    def __init__(self, *, browser: bool) -> None:
        self._browser = browser
        self._waiting = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.close()

    def visit(self, url: str) -> None:
        """To `url`, which is theirs alone; what shows the waiting ends with the command, or with the next address."""
        self._waiting.close()
        if self._browser and webbrowser.open(url):
            message(f"opened {url} in your browser")
        else:
            message(f"to go on, open {url}")
        message(
            "that address is for you alone: where others have to approve, the page says what to send them"
        )
        host = httpx.URL(url).host
        if not sys.stderr.isatty():
            message(f"waiting for {host}, {in_words(timedelta(seconds=PATIENCE))} at most")
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        progress = Progress(*columns, console=Console(stderr=True), transient=True)
        progress.add_task(f"waiting for {safe(host)} (Ctrl-C to stop)", total=None)
        self._waiting.enter_context(progress)


@dataclass(frozen=True, slots=True)
class Asking:
    """Whom a command may ask, and what it has to show them."""

    url: str | None
    allow: tuple[str, ...]
    allow_private: bool
    allow_http: bool
    agent: Path | None
    browser: bool
    form: bool

    def collect(self, bundle: Bundle) -> Unbound:
        """The discharges that the token needs; from the service that one is signed in to, and from `allow`."""
        login = Credentials.here().load().find(self.url)
        service = self.url or (login.url if login else None)
        reach = Allowlist.to(
            self.allow,
            own=() if service is None else (service,),
            allow_private=self.allow_private,
            allow_http=self.allow_http or (login is not None and login.allow_http),
        )
        bearers = {}
        if login is not None and not lacks_discharges(Bundle.decode(login.token)):
            bearers[httpx.URL(login.url).origin] = login.token
        with Person(browser=self.browser) as person:
            fill = fill_in if self.form else None
            interact = Interact(read_agent(self.agent), fill=fill, visit=person.visit)
            steps = collecting(envelope(bundle), reach, interact, clock=runner.clock, bearers=bearers)
            return runner.run(steps, reach)


def fill_in(schema: Mapping[str, Any]) -> dict[str, str]:
    """Ask the person at the terminal what a third party's form asks; what is secret is typed in unseen."""
    if not sys.stdin.isatty():
        raise CliError(
            ExitCode.USAGE, "there is no terminal to fill in a form at: give the token as an argument"
        )
    places = {name: about.get("position") for name, about in schema.items()}
    answers = {}
    for name in sorted(schema, key=lambda name: place if isinstance(place := places[name], int) else 0):
        about = schema[name]
        label = safe(str(about.get("description") or name)[:80])
        if about.get("secret"):
            answers[name] = getpass.getpass(f"{label}: ", stream=sys.stderr)
        else:
            message(f"{label}: ", label="", end="")
            answers[name] = sys.stdin.readline().rstrip("\r\n")
    return answers


def read_agent(file: Path | None) -> Agent | None:
    """The agent of a key file; the command ends here if it is none."""
    if file is None:
        return None
    try:
        return Agent.parse(file.read_text("utf-8"))
    except OSError as error:
        raise CliError(ExitCode.USAGE, f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise CliError(ExitCode.USAGE, f"{file}: {error}") from error


def find_party(url: str, public_key: str | None, *, allow_http: bool) -> BakeryParty:
    """The third party at `url`: asked for its key, unless that is given."""
    if public_key is None:
        reach = Allowlist.to((), own=(url,), allow_http=allow_http)
        return runner.run(finding(url, reach, clock=runner.clock), reach)
    checked_address(url, allow_http=allow_http)
    try:
        return BakeryParty(url.rstrip("/"), decode_any_base64(public_key))
    except (MalformedToken, InvalidKey):
        raise CliError(ExitCode.USAGE, "a public key is 32 bytes in base64") from None


def require(macaroon: Macaroon, party: BakeryParty, conditions: Sequence[str], *, bakery: bool) -> Macaroon:
    """`macaroon`, good only with discharges by `party`: one for all the conditions, or as a bakery, one for each."""
    if bakery:
        asked = BakeryMacaroon(macaroon, V2)  # whose tickets travel inside the token
        for condition in conditions:
            asked = asked.require_discharge(party, condition)
        return asked.macaroon
    identifier = macaroon.unverified_identifier
    caveats = [caveat for caveat in macaroon.unverified_caveats if isinstance(caveat, Caveat)]
    return macaroon.require_discharge(
        party,
        *conditions,
        audience=identifier.audience if identifier else "",
        expires_at=effective(caveats).expires_at,
    )
