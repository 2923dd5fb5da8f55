"""Third parties on the command line: which may be asked, with which agent's key, and how a person visits their pages.

Knows the stored logins and the terminal. `caveats_client.discharge` collects the discharges.
"""

from __future__ import annotations

import sys
import webbrowser
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

import httpx2 as httpx
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from caveats import Bundle, Caveat, InvalidKey, effective
from caveats.bakery import V2, BakeryMacaroon, BakeryParty
from caveats.keys import key_from_any_base64
from caveats.printable import printable
from caveats_client.api.errors import InteractionRequired, UnusableAddress
from caveats_client.cli.durations import in_words
from caveats_client.cli.exit_codes import CliError, ExitCode
from caveats_client.cli.hints import typed
from caveats_client.cli.output import message, secret
from caveats_client.cli.service import readable_logins
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


class Visitor:
    """Shows an address to the person at the terminal, and shows that the command waits for them."""

    def __init__(self, *, browser: bool) -> None:
        self._browser = browser
        self._waiting = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.close()

    def visit(self, url: str) -> None:
        """Open `url` in the browser, or print it. Only this person may see `url`.

        A line says that the command waits, until it ends or the next address is visited.
        """
        self._waiting.close()
        if self._browser and webbrowser.open(url):
            message(f"opened {url} in your browser")
        else:
            message(f"to go on, open {url}")
        message("do not share that address: if others must approve, the page says what to send them")
        host = httpx.URL(url).host
        if not sys.stderr.isatty():
            message(f"waiting for {host}, {in_words(timedelta(seconds=PATIENCE))} at most")
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        progress = Progress(*columns, console=Console(stderr=True), transient=True)
        progress.add_task(f"waiting for {printable(host)} (Ctrl-C to stop)", total=None)
        self._waiting.enter_context(progress)


@dataclass(frozen=True, slots=True)
class DischargeCollector:
    """Collects discharges: knows which third parties may be asked, and how to show them who asks."""

    url: str | None
    allow: tuple[str, ...]
    allow_private: bool
    allow_http: bool
    agent: Path | None
    browser: bool
    form: bool
    wait: bool
    """Whether a person is waited for also where there is no terminal."""

    def collect(self, bundle: Bundle) -> Unbound:
        """The token with the discharges that it needs, from the service of the stored login and from `allow`."""
        login = readable_logins().find(self.url)
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
        waits = self.wait or sys.stderr.isatty()  # where the address and the progress are shown
        with Visitor(browser=self.browser) as visitor:
            interact = Interact(
                read_agent(self.agent),
                fill=fill_in if self.form else None,
                visit=visitor.visit if waits else None,
            )
            steps = collecting(envelope(bundle), reach, interact, clock=runner.clock, bearers=bearers)
            try:
                return runner.run(steps, reach)
            except UnusableAddress as error:
                if error.unlisted is None:
                    raise
                allowed = (word for party in (*self.allow, error.unlisted) for word in ("--allow", party))
                raise UnusableAddress(
                    f"{error.unlisted} is not on the list of third parties to ask: to ask it: {typed('discharge', *allowed)}"
                ) from error
            except InteractionRequired as error:
                if waits:
                    raise
                raise InteractionRequired(f"{error.detail}; {_NOBODY}", status=error.status) from error


_NOBODY = "there is no terminal, so that nobody is waited for: --wait waits all the same, and an agent's key (--agent) needs nobody"


def fill_in(schema: Mapping[str, Any]) -> dict[str, str]:
    """The values for a third party's form, typed at the terminal. Secrets are not shown."""
    if not sys.stdin.isatty():
        raise CliError(ExitCode.USAGE, "no terminal to fill in a form at: give the token as an argument")
    places = {name: about.get("position") for name, about in schema.items()}
    answers = {}
    for name in sorted(schema, key=lambda name: place if isinstance(place := places[name], int) else 0):
        about = schema[name]
        label = str(about.get("description") or name)[:80]
        if about.get("secret"):
            answers[name] = secret(label)
        else:
            message(f"{label}: ", label="", end="")
            answers[name] = sys.stdin.readline().rstrip("\r\n")
    return answers


def read_agent(file: Path | None) -> Agent | None:
    """The agent in a key file. Raises `CliError` if the file is no agent file."""
    if file is None:
        return None
    try:
        return Agent.parse(file.read_text("utf-8"))
    except OSError as error:
        raise CliError(ExitCode.USAGE, f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise CliError(ExitCode.USAGE, f"{file}: {error}") from error


def find_party(url: str, public_key: str | None, *, allow_http: bool) -> BakeryParty:
    """The third party at `url`, which is asked for its key unless `public_key` (32 bytes in base64) is given."""
    if public_key is None:
        reach = Allowlist.to((), own=(url,), allow_http=allow_http)
        return runner.run(finding(url, reach, clock=runner.clock), reach)
    checked_address(url, allow_http=allow_http)
    try:
        return BakeryParty(url.rstrip("/"), key_from_any_base64(public_key))
    except InvalidKey as error:
        raise CliError(ExitCode.USAGE, f"public key: {error}") from None


def require(macaroon: Macaroon, party: BakeryParty, conditions: Sequence[str], *, bakery: bool) -> Macaroon:
    """`macaroon` with a caveat that `party` must discharge: one for all conditions; for a bakery, one for each."""
    if bakery:
        asked = BakeryMacaroon(macaroon, V2)  # the token contains the bakery's tickets
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
