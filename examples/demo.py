"""The main job, told live: sign in, narrow offline, share, verify elsewhere, refuse, revoke. Run by `make demo`.

Starts a service and a photo app as processes of their own, in a folder that is gone afterwards. Every step is
checked; the first that does not come out as told ends the demo with exit code 1.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import httpx2 as httpx
from local_service import ADMIN_PASSWORD, LocalService, local_service, process
from rich.console import Console

from caveats import Expires, Macaroon, Method, Note, Scope
from caveats import Path as PathCaveat
from caveats_client import Client, TokenAuth

EXAMPLES = Path(__file__).resolve().parent
sys.path.insert(0, str(EXAMPLES / "photos_caveats"))

from photos_caveats import Album  # noqa: E402  # found there only now

PASSWORD = "correct horse battery staple"
PATIENCE = 5.0
"""Seconds within which a revocation reaches the photo app."""
console = Console(highlight=False, markup=False, soft_wrap=True)


def story(folder: Path, processes: ExitStack) -> None:
    """All of it, from top to bottom."""
    step("A service starts, with a database and keys of its own")
    service_process = processes.enter_context(ExitStack())
    service = service_process.enter_context(local_service(folder))
    service.add_user("alice", PASSWORD)
    client = processes.enter_context(Client(service.url))
    tell(f"{service.url}, and one user: alice")

    step("A photo app starts, in another process: it verifies by itself, with the key of its audience")
    app = processes.enter_context(process(*PHOTO_APP, folder=folder, environment=photo_settings(service)))
    photos = Photos(app, processes.enter_context(httpx.Client(timeout=10)))
    tell(f"{photos.url}, told of revocations by a token that is good for that and nothing else")

    step("alice signs in, once")
    token = client.login("alice", PASSWORD, audience="photos", scope="photos:*", expires_in="1h")
    tell_caveats(token)
    photos.expect(200, "alice", token, "GET", "/albums")

    step("She narrows a copy for the printer. Offline: no key is needed, and nobody is asked")
    soon = Expires.after(timedelta(minutes=10), now=datetime.now(UTC))
    printer = token.attenuate(Scope("photos:read"), Album(42), Method("GET"), soon, Note("for the printer"))
    tell_caveats(printer, since=token)

    step("The printer shows it to the photo app: it works")
    photos.expect(200, "the printer", printer, "GET", "/albums/42")
    photos.expect(200, "the printer", printer, "GET", "/albums/42/2")

    step("The wrong request is refused, and whoever holds the token is told why")
    photos.expect(403, "the printer", printer, "POST", "/albums/42")
    photos.expect(403, "the printer", printer, "GET", "/albums/43")

    step("The printer hands on a narrower copy of its own")
    tray = printer.attenuate(Scope("photos/42/1:read"), Note("for tray 2"))
    photos.expect(200, "tray 2", tray, "GET", "/albums/42/1")
    photos.expect(403, "tray 2", tray, "GET", "/albums/42/2")

    step("alice renews her own token: a later expiry, everything else as it was")
    renewed = client.renew(expires_in="2h").token
    tell_caveats(renewed)
    photos.expect(200, "alice, renewed", renewed, "GET", "/albums")

    step("The printer is sold, so alice revokes its copy. What descends from it dies with it")
    client.revoke(printer)
    tell(f"refused in the photo app {photos.seconds_until_refused(printer):.1f} s later")
    photos.expect(401, "the printer", printer, "GET", "/albums/42")
    photos.expect(401, "tray 2", tray, "GET", "/albums/42/1")

    step("Her own token lives on")
    photos.expect(200, "alice", token, "GET", "/albums")
    photos.expect(200, "alice, renewed", renewed, "GET", "/albums")

    step("A forger takes the printer's caveats off and keeps the signature: not authentic")
    cut = printer.wire._replace(caveats=token.wire.caveats)
    photos.expect(401, "the forger", Macaroon(cut), "GET", "/albums/43")

    step("The service goes away. The photo app goes on verifying, for as long as it was told it may")
    service_process.close()
    photos.expect(200, "alice", token, "GET", "/albums")
    photos.expect(403, "alice", token.attenuate(Method("GET")), "POST", "/albums/42")


PHOTO_APP = (
    *("uvicorn", "--app-dir", str(EXAMPLES / "photos"), "--factory", "photos:from_environment"),
    *("--port", "0"),
)


def photo_settings(service: LocalService) -> dict[str, str]:
    """The photo app's environment: its keys, and a token with which it can read the feed of revocations."""
    with Client(service.url) as client:
        admin = client.login("admin", ADMIN_PASSWORD, scope="caveats:admin", expires_in="1h")
    feed = admin.attenuate(Method("GET"), PathCaveat("/v1/revocations"), Note("for the photo app"))
    return {
        **service.environment,
        "PYTHONPATH": str(EXAMPLES / "photos_caveats"),
        "PHOTOS_KEYS": str(service.export_keys("photos")),
        "PHOTOS_FEED_TOKEN": feed.encode(),
    }


class Photos:
    """The photo app, asked with one token or another."""

    def __init__(self, url: str, http: httpx.Client) -> None:
        self.url = url
        self._http = http

    def ask(self, token: Macaroon, method: str, path: str) -> httpx.Response:
        """What the app answers."""
        body = {"title": "A photo"} if method == "POST" else None
        return self._http.request(method, self.url + path, json=body, auth=TokenAuth(token, self.url))

    def expect(self, status: int, who: str, token: Macaroon, method: str, path: str) -> None:
        """Ask, tell the answer, and end the demo if it is not this status."""
        answer = self.ask(token, method, path)
        body = answer.json()
        outcome = body.get("code", "OK")
        tell(
            f"{who:<14}  {method:<4} {path:<12}  {answer.status_code} {outcome}",
            "green" if status == 200 else "red",
        )
        for failure in body.get("failures", ()):
            tell(f"                {failure['predicate']}  (added by the {failure['added_by']})")
            tell(f"                {failure['reason']}; would pass: {failure['hint']}")
        check(answer.status_code == status, f"this should have been {status}")

    def seconds_until_refused(self, token: Macaroon) -> float:
        """How long it takes until the app has heard that this token is dead."""
        started = time.monotonic()
        while self.ask(token, "GET", "/albums/42").status_code != 401:
            check(time.monotonic() - started < PATIENCE, "the app never heard of it")
            time.sleep(0.02)
        return time.monotonic() - started


def step(title: str) -> None:
    """The next part of the story."""
    console.print(f"\n{title}.", style="bold")


def tell(text: str, style: str = "") -> None:
    """What happens in it."""
    console.print(f"    {text}", style=style)


def tell_caveats(token: Macaroon, since: Macaroon | None = None) -> None:
    """The caveats of a token, or those that it has beyond another's."""
    known = 0 if since is None else len(since.unverified_caveats)
    for caveat in token.unverified_caveats[known:]:
        tell(f"{'+ ' if since else ''}{caveat}")


def check(holds: bool, otherwise: str) -> None:
    """End the demo here unless this holds."""
    if not holds:
        fail(otherwise)


def fail(why: str) -> NoReturn:
    """The story is not true on this machine."""
    console.print(f"\nNot as told: {why}.", style="bold red")
    raise SystemExit(1)


def main() -> None:
    """Tell the story in a folder that goes away."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="caveats-demo-") as folder, ExitStack() as processes:
        story(Path(folder), processes)
    console.print(
        f"\nAll as told, in {time.monotonic() - started:.1f} s. Next: README.md, `make run`.", style="bold"
    )


if __name__ == "__main__":
    main()
