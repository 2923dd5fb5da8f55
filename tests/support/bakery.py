"""For tests of collecting: a small HTTP server in a thread, and on it first and third parties made with macaroonbakery."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import nacl.public
from macaroonbakery import bakery, checkers, httpbakery

from caveats import PrivateKey

KEY = PrivateKey(b"third party's key".ljust(32, b"."))
AGENT_KEY = PrivateKey(b"agent's key".ljust(32, b"."))
CONDITION = "is-ok"
OP = bakery.Op(entity="test", action="test")


@dataclass
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: Any
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode("ascii")).items()}


@dataclass
class Site:
    """A server: whoever is at a path answers with status, headers and body, or takes the connection itself."""

    url: str = ""
    places: dict[str, Callable[[Asked], Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def paths(self) -> list[str]:
        return [one.path for one in self.asked]

    def answer(self, asked: Asked) -> Any:
        self.asked.append(asked)
        there = self.places.get(asked.path)
        return (404, {}, b"") if there is None else there(asked)


def said(members: Any, status: int = 200, **headers: str) -> tuple[int, dict[str, str], bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"Content-Type": "application/json", **named}, json.dumps(members).encode()


@contextlib.contextmanager
def site(
    places: dict[str, Callable[[Asked], Any]] | None = None,
    *,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> Iterator[Site]:
    made = Site(places=places if places is not None else {})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
                answer = made.answer(Asked(self.command, parts.path, query, self.headers, body))
                if callable(answer):
                    answer(self)
                    self.close_connection = True
                    return
                status, headers, content = answer
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Server((host, 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    made.url = f"{'https' if tls else 'http'}://{host}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


# macaroonbakery


def their_key(key: PrivateKey) -> bakery.PrivateKey:
    return bakery.PrivateKey(nacl.public.PrivateKey(key.secret))


def soon(life: timedelta = timedelta(hours=1)) -> datetime:
    return datetime.utcnow() + life


class AlwaysYes(bakery.ThirdPartyCaveatChecker):
    def check_third_party_caveat(self, ctx, info):
        if info.condition != CONDITION:
            raise bakery.ThirdPartyCaveatCheckFailed("no")
        return [checkers.declared_caveat("username", "alice")]


@dataclass
class ThirdParty:
    """A third party made with macaroonbakery. `ways`: what it offers to whoever comes without a token."""

    site: Site
    version: int = 3
    ways: tuple[str, ...] = ()
    legacy: bool = False
    decided: threading.Event = field(default_factory=threading.Event)
    polls: int = 0
    lose: int = 0
    """So many polls are answered with 503 first."""

    def __post_init__(self) -> None:
        self.site.places |= {
            "/discharge": self.discharge,
            "/visit": lambda _: said({}),
            "/wait": self.wait,
            "/login": self.login,
            "/form": self.form,
        }
        if self.version == 1:
            self.site.places["/publickey"] = lambda _: said({"PublicKey": self._public})
        else:
            self.site.places["/discharge/info"] = lambda _: said(
                {"PublicKey": self._public, "Version": self.version}
            )

    @property
    def _public(self) -> str:
        return str(their_key(KEY).public_key)

    @property
    def info(self) -> bakery.ThirdPartyInfo:
        return bakery.ThirdPartyInfo(version=self.version, public_key=their_key(KEY).public_key)

    def macaroon(self, form: dict[str, str]) -> dict[str, Any]:
        made = httpbakery.discharge(checkers.AuthContext(), form, their_key(KEY), None, AlwaysYes())
        return {"Macaroon": made.to_dict()}

    def discharge(self, asked: Asked) -> Any:
        form = asked.form
        if self.ways or self.legacy:
            given = form.get("token") or form.get("token64")
            if given is None:
                self._waiting = form
                return said({"Code": "interaction required", "Message": "who?", "Info": self._info()}, 401)
            if form["token-kind"] == "agent":
                if not self._is_agent(given):
                    return said({"Code": "permission denied", "Message": "not that agent"}, 401)
            elif given not in ("it was alice", b64encode(b"it was alice").decode()):
                return said({"Code": "permission denied", "Message": "not that token"}, 401)
        try:
            return said(self.macaroon(form))
        except bakery.ThirdPartyCaveatCheckFailed as error:
            return said({"Code": "permission denied", "Message": str(error)}, 401)

    def _info(self) -> dict[str, Any]:
        if self.legacy:
            return {"VisitURL": "/visit", "WaitURL": f"{self.site.url}/wait"}
        methods = {
            "agent": {"login-url": "/login"},
            "browser-window": {"VisitURL": "visit?w=1", "WaitTokenURL": f"{self.site.url}/wait?w=1"},
            "form": {"url": "/form"},
        }
        return {"InteractionMethods": {name: methods[name] for name in self.ways}}

    def wait(self, asked: Asked) -> Any:
        self.polls += 1
        if self.polls <= self.lose:
            return said({}, 503)
        if not self.decided.wait(20):
            return said({"Code": "bad request", "Message": "too late"}, 400)
        if self.legacy:
            return said(self.macaroon(self._waiting))
        return said({"kind": "alice", "token": "it was alice"})

    def form(self, asked: Asked) -> Any:
        """As Candid's and the Go client have it: a value is base64."""
        if asked.method == "GET":
            secret = {"description": "the password", "secret": True, "position": 2}
            return said({"schema": {"password": secret, "name": {"position": 1}}})
        if json.loads(asked.body) != {"form": {"name": "alice", "password": "wonder"}}:
            return said({"Code": "permission denied", "Message": "no such user"}, 401)
        return said({"token": {"kind": "form", "value": b64encode(b"it was alice").decode()}})

    # agents

    def login(self, asked: Asked) -> Any:
        assert asked.query["username"] == "robot"
        self._bakery = bakery.Bakery(key=their_key(KEY))
        version = min(self.version, httpbakery.request_version(asked.headers))
        made = self._bakery.oven.macaroon(
            version=version,
            expiry=soon(),
            caveats=[bakery.local_third_party_caveat(asked.query["public-key"], version=version)],
            ops=[bakery.Op(entity="agent", action="login")],
        )
        return said({"macaroon": made.to_dict()})

    def _is_agent(self, token64: str) -> bool:
        from caveats.bakery import decode_binaries
        from caveats.token import decode_any_base64

        bundle = decode_binaries(decode_any_base64(token64))
        sent = [one.to_pymacaroons() for one in (bundle.macaroon, *bundle.discharges)]
        try:
            self._bakery.checker.auth([sent]).allow(
                checkers.AuthContext(), [bakery.Op(entity="agent", action="login")]
            )
        except bakery.PermissionDenied:
            return False
        return True


@dataclass
class FirstParty:
    """A first party made with macaroonbakery that wants a discharge of `third` for everything."""

    site: Site
    third: ThirdParty
    version: int = 3
    path: str = "/"
    place: str = "/things"
    life: timedelta = timedelta(hours=1)
    location: str = ""

    def __post_init__(self) -> None:
        store = bakery.ThirdPartyStore()
        self.location = self.location or self.third.site.url
        store.add_info(self.location, self.third.info)
        self.bakery = bakery.Bakery(key=bakery.generate_key(), location=self.site.url, locator=store)
        self.site.places[self.place] = self.things

    def things(self, asked: Asked) -> Any:
        sent = httpbakery.extract_macaroons(asked.headers)
        try:
            self.bakery.checker.auth(sent).allow(checkers.AuthContext(), [OP])
        except bakery.PermissionDenied:
            pass
        else:
            return said({"done": True, "body": asked.body.decode()})
        made = self.bakery.oven.macaroon(
            version=min(self.version, httpbakery.request_version(asked.headers)),
            expiry=soon(self.life),
            caveats=[checkers.Caveat(condition=CONDITION, location=self.location)],
            ops=[OP],
        )
        content, headers = httpbakery.discharge_required_response(made, self.path, "test")
        return 401, headers, content
