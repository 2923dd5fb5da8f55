"""First parties, askers and people at a browser, for tests of the service as a third party."""

from __future__ import annotations

import json
import re
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2 as httpx
import nacl.public
import uvicorn
from macaroonbakery import bakery as theirs
from macaroonbakery import checkers as their_checkers
from macaroonbakery import httpbakery

from caveats import Macaroon, ThirdParty
from caveats.bakery import BakeryMacaroon, BakeryParty, seal_ticket
from caveats_client.guards.discharge_guard import DischargeGuard as Guard
from caveats_client.guards.discharge_guard import DischargeMiddleware
from tests.support.service import CLIENT, Service, User

KEY = b"caveat root key of 24 by"
SECRET = bytes(range(32))
"""Of a guarded app."""
BAKERY_3 = {"Bakery-Protocol-Version": "3"}


def public_key(service: Service) -> bytes:
    with service.client() as http:
        return b64decode(http.get("/discharge/info").json()["PublicKey"])


def party(service: Service, version: int = 3) -> BakeryParty:
    return BakeryParty(service.url, public_key(service), version)


def ticket(service: Service, condition: str, version: int = 2) -> bytes:
    return seal_ticket(party(service, version), condition, KEY)


def ours(service: Service, *conditions: str, **given: Any) -> bytes:
    location = given.pop("location", service.url)
    party = ThirdParty(location, public_key(service))
    return party.seal_ticket(conditions, caveat_key=KEY + KEY[:8], **given)[0]


def ask(
    service: Service, identifier: bytes, headers: dict[str, str] | None = None, **fields: str
) -> httpx.Response:
    """POST /discharge as a client of version 3 does."""
    with service.client() as http:
        form = {"id64": b64encode(identifier).decode(), **fields}
        return http.post("/discharge", data=form, headers={**BAKERY_3, **(headers or {})})


def macaroon(answer: httpx.Response) -> Macaroon:
    assert answer.status_code == 200, answer.text
    return BakeryMacaroon.from_members(answer.json()["Macaroon"]).macaroon


def predicates(answer: httpx.Response) -> list[str]:
    return [predicate.decode() for predicate in macaroon(answer).wire.caveats]  # type: ignore[union-attr]


def info(answer: httpx.Response) -> dict[str, Any]:
    """Of an answer that asks for interaction."""
    assert (answer.status_code, answer.json()["Code"]) == (401, "interaction required"), answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["www-authenticate"] == "Macaroon"
    found: dict[str, Any] = answer.json()["Info"]
    return found


def denied(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["Code"]


class Browser:
    """A person in front of a page: reads it, fills in its form, keeps no cookies but those given."""

    def __init__(self, service: Service, cookie: str = "") -> None:
        self.service = service
        self.headers = {"Cookie": cookie} if cookie else {}

    def read(self, url: str) -> httpx.Response:
        with self.service.client() as http:
            return http.get(self._here(url), headers={**self.headers, "Accept": "text/html"})

    def decide(
        self,
        url: str,
        user: User | None,
        decision: str = "allow",
        fields: dict[str, str] | None = None,
        **headers: str,
    ) -> httpx.Response:
        fields = {"decision": decision, **(fields or {})}
        if user is not None:
            fields |= {"username": user.username, "password": user.password}
        with self.service.client() as http:
            return http.post(
                self._here(url),
                data=fields,
                headers={"Origin": self.service.url, **self.headers, **headers},
                follow_redirects=True,
            )

    def _here(self, url: str) -> str:
        return url if url.startswith("http") else f"/{url}"


def waited(service: Service, path: str, **given: Any) -> httpx.Response:
    with httpx.Client(base_url=service.url, **{**CLIENT, **given}) as http:
        return http.get(f"/{path}")


def token_fields(answer: httpx.Response) -> dict[str, str]:
    """What to ask again with."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return {"token64": body["token64"], "token-kind": body["kind"]}


def heading(answer: httpx.Response) -> str:
    found = re.search(r"<h1>(.*?)</h1>", answer.text)
    assert found, answer.text
    return found[1]


def sent_to(page: httpx.Response) -> str:
    """The address that the asker's page says to send to whoever approves."""
    assert heading(page) == "Waiting for approval", page.text
    found = re.search(r"<code>(http.*?)</code>", page.text)
    assert found, page.text
    return found[1]


class FirstParty:
    """A service that trusts the third party, made with macaroonbakery and over HTTP, as its users make one."""

    def __init__(self, service: Service, condition: str, version: int, location: str = "") -> None:
        """`location`: where the third party is for others, such as a proxy's address."""
        location = location or service.url
        locator = theirs.ThirdPartyStore()
        key = theirs.PublicKey(nacl.public.PublicKey(public_key(service)))
        locator.add_info(location, theirs.ThirdPartyInfo(version=version, public_key=key))
        bakery = theirs.Bakery(location="first", locator=locator, key=theirs.generate_key())
        op = theirs.Op("app", "read")
        granted: list[list[str]] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                presented = httpbakery.extract_macaroons(self.headers)
                try:
                    bakery.checker.auth(presented).allow(their_checkers.AuthContext(), [op])
                    granted.append(
                        [
                            caveat.caveat_id.decode() if type(caveat.caveat_id) is bytes else caveat.caveat_id
                            for macaroons in presented
                            for one in macaroons
                            for caveat in one.first_party_caveats()
                        ]
                    )
                    self._answer(200, b"{}", {"Content-Type": "application/json"})
                except (theirs.PermissionDenied, theirs.VerificationError, theirs.DischargeRequiredError):
                    until = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
                    caveat = their_checkers.Caveat(location=location, condition=condition)
                    minted = bakery.oven.macaroon(version, until, [caveat], [op])
                    content, headers = httpbakery.discharge_required_response(minted, "/", "auth")
                    self._answer(401, content, headers)

            def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.granted = granted
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> FirstParty:
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


async def _app(scope: Any, receive: Any, send: Any) -> None:
    agreed = scope["state"].get("agreed")
    said = {"user": agreed.user, "declared": dict(agreed.declared)} if agreed else {}
    body = json.dumps(said).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def guarded(
    service: Service,
    condition: str = "is-authenticated-user",
    version: int = 3,
    *,
    strips: bytes = b"",
    **given: Any,
) -> Iterator[str]:
    """The address of an app behind a guard. `strips`: a header that does not get through to it."""
    first_party = Guard(SECRET, party(service, version), condition, **given)
    guard = DischargeMiddleware(_app, first_party, public=("/healthz",))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != strips]
        await guard({**scope, "headers": headers}, receive, send)

    server = uvicorn.Server(
        uvicorn.Config(
            app, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=1, proxy_headers=False
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        threading.Event().wait(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
