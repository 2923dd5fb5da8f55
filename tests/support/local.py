"""For tests of verifiers: a model of the service's feed, a cable to cut, and the real service with an app registered."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx

from caveats import (
    Context,
    KeyState,
    MasterKey,
    MasterKeyring,
    PrivateKey,
    Revocation,
    Stale,
    TokenRevocation,
    new_token_id,
)
from caveats.keys import KeyBundle, seal_bundle
from caveats.revocation import Page, page_text, row_of, seal_text
from caveats.token import decode_base64, encode_base64
from caveats_client.verifiers.registration import Registration
from caveats_client.verifiers.replica import Instant, Replica, VerifierIdentity
from tests.support.service import ADMIN_PASSWORD, Service, bearer, serving

__all__ = ["ADMIN_PASSWORD", "Service", "bearer", "serving"]

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SERVICE_KEY = PrivateKey(bytes(range(40, 72)))
APP_KEY = PrivateKey(bytes(range(80, 112)))
IDENTITY = VerifierIdentity("01KAJ5M3W8E2RZ6V8Q4T0N9XCD", "photos", APP_KEY, SERVICE_KEY.public_key)
DAY = timedelta(days=1)


def secret(number: int, epoch: int = 1) -> bytes:
    return random.Random(f"{number} {epoch}").randbytes(32)


@dataclass
class Model:
    """What a service says, as values: every page and bundle that it could have made until now."""

    now: datetime = NOW
    epoch: int = 1
    entries: list[tuple[datetime, Revocation]] = field(default_factory=list)
    keys: list[int] = field(default_factory=lambda: [1])
    key_history: list[tuple[datetime, int, tuple[int, ...]]] = field(default_factory=list)
    ticks: float = 100.0

    def __post_init__(self) -> None:
        self._note_keys()

    def _note_keys(self) -> None:
        self.key_history.append((self.now, self.epoch, tuple(self.keys)))

    @property
    def instant(self) -> Instant:
        return Instant(self.now, self.ticks)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.ticks += seconds

    def revoke(self, life: timedelta = DAY) -> Revocation:
        entry = TokenRevocation(new_token_id(self.now), self.now + life)
        self.entries.append((self.now, entry))
        return entry

    def rotate(self) -> None:
        self.keys.append(max(self.keys) + 1)
        self._note_keys()

    def retire(self) -> None:
        if len(self.keys) > 1:
            self.keys.pop(0)
            self._note_keys()

    def restore(self, keep: int) -> None:
        """A backup that held the first `keep` entries is put back."""
        self.entries = self.entries[:keep]
        self.epoch += 1
        self._note_keys()

    @property
    def masters(self) -> MasterKeyring:
        last = max(self.keys)
        return MasterKeyring(
            MasterKey(f"k{n}", secret(n), KeyState.ACTIVE if n == last else KeyState.VERIFYING)
            for n in self.keys
        )

    def page(self, after: int = 0, upto: int | None = None, last: int | None = None) -> Page:
        head = len(self.entries) if last is None else last
        upto = head if upto is None else upto
        live = tuple(
            (number, entry)
            for number, (_, entry) in enumerate(self.entries, 1)
            if after < number <= upto and entry.expires_at > self.now
        )
        return Page(self.epoch, after, upto, head, self.now, tuple(f"k{n}" for n in self.keys), live)

    def line(self, page: Page | None = None) -> str:
        text = page_text(self.page() if page is None else page)
        return seal_text(text, self.masters.active.audience_key("photos"))

    def bundle(self, life: timedelta = DAY, **other: Any) -> bytes:
        made: dict[str, Any] = {
            "verifier_id": IDENTITY.verifier_id,
            "keyring": self.masters.export("photos"),
            "epoch": self.epoch,
            "serial": int(self.now.timestamp() * 1000),
            "not_after": (self.now + life).replace(microsecond=0),
            **other,
        }
        return seal_bundle(KeyBundle(**made), APP_KEY.public_key, SERVICE_KEY)

    def live_at(self, at: datetime) -> set[str]:
        """The ids of what had been revoked before, and could still hit something."""
        return {
            entry.token_id
            for made, entry in self.entries
            if made < at < entry.expires_at and isinstance(entry, TokenRevocation)
        }

    def keys_at(self, at: datetime) -> set[str]:
        """The keys that verified then."""
        return {f"k{n}" for n in [keys for since, _, keys in self.key_history if since <= at][-1]}


def take(replica: Replica, page: Page, instant: Instant, seal: str = "k1") -> Any:
    return replica.take_page(page, [row_of(number, entry) for number, entry in page.entries], instant, seal)


def new_replica(model: Model) -> Replica:
    replica = Replica(IDENTITY)
    replica.take_bundle(model.bundle(), model.instant)
    return replica


def wait_until(holds: Callable[[], bool], within: float = 10.0) -> float:
    """Seconds until it held. Fails after `within`."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within, f"not within {within} s"
        time.sleep(0.002)
    return time.monotonic() - began


@dataclass
class Clock:
    """A clock that only runs forward, as `time.monotonic`, and that a test sets ahead in place of waiting."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead

    def pass_time(self, seconds: float) -> None:
        self.ahead += seconds


def now() -> datetime:
    return datetime.now(UTC)


def context(**facts: Any) -> Context:
    return Context(now=now(), **{"scopes": ("photos/42:read",), **facts})


def outcome(question: Callable[[], object]) -> str:
    try:
        question()
    except Exception as error:
        return type(error).__name__
    return "Grant"


def is_stale(question: Callable[[], object]) -> bool:
    try:
        question()
    except Stale:
        return True
    return False


# The real service


class World:
    """A service, its administrator, and apps that are registered with it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.http = service.client()
        self._admin = self._token(scope="caveats:admin")

    @property
    def url(self) -> str:
        return self.service.url

    def _token(self, **asked: Any) -> str:
        body = {"username": "admin", "password": ADMIN_PASSWORD, **asked}
        reply = self.http.post("/v1/tokens", json=body)
        assert reply.status_code == 201, reply.text
        return str(reply.json()["token"])

    def token(self, audience: str = "photos", **asked: Any) -> str:
        return self._token(audience=audience, **asked)

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        reply = self.http.request(method, path, json=body, headers=bearer(self._admin))
        assert reply.is_success, reply.text
        return reply.json() if reply.content else None

    def register(self, audience: str = "photos") -> Registration:
        own = Registration.generate()
        said = self.admin(
            "POST",
            "/v1/verifiers",
            {"audience": audience, "name": "an app", "public_key": encode_base64(own.public_key)},
        )
        return own.registered(
            url=self.url,
            audience=audience,
            verifier_id=said["verifier_id"],
            service_public_key=decode_base64(said["service_public_key"]),
        )

    def revoke(self, token: str) -> None:
        reply = self.http.post("/v1/revocations", json={"presented": True}, headers=bearer(token))
        assert reply.is_success, reply.text


def options(registration: Registration, url: str | None = None, **more: Any) -> dict[str, Any]:
    """The arguments of a verifier."""
    identity = registration.identity
    return {
        "url": url or registration.url,
        "audience": identity.audience,
        "verifier_id": identity.verifier_id,
        "private_key": identity.private_key,
        "service_public_key": identity.service_public_key,
        **more,
    }


# What is between


class Cable:
    """A TCP proxy that can be cut, or go silent without closing anything."""

    def __init__(self, port: int) -> None:
        self.target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._silent = threading.Event()
        self._refusing = False
        self._closed = False
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            if self._refusing:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._pairs.append((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                while self._silent.is_set() and not self._closed:
                    time.sleep(0.01)
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def cut(self) -> None:
        """Close everything, and let nobody in."""
        self._refusing = True
        self.drop()

    def go_silent(self) -> None:
        """Connections stay open and nothing comes through; new ones are taken, and then nothing either."""
        self._silent.set()

    def mend(self) -> None:
        self._refusing = False
        if self._silent.is_set():
            self.drop()
            self._silent.clear()

    def drop(self) -> None:
        """Close all connections, and let new ones in."""
        pairs, self._pairs = self._pairs, []
        for near, far in pairs:
            for end in (near, far):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed = True
        self._listener.close()
        self.drop()


class Mirror(httpx.AsyncBaseTransport):
    """Between a verifier and the service: passes on, counts, and lies as a test tells it to."""

    def __init__(self, lie: Callable[[httpx.Request, bytes], bytes] | None = None) -> None:
        self._real = httpx.AsyncHTTPTransport()
        self.lie = lie
        self.keys_asked = 0
        self.ways: list[str] = []
        self.pages: list[bytes] = []
        self.refuse: Callable[[httpx.Request], httpx.Response | None] = lambda _: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        is_keys = request.url.path.endswith("/keys")
        streams = request.headers.get("accept") == "text/event-stream"
        if is_keys:
            self.keys_asked += 1
        else:
            self.ways.append("stream" if streams else "poll" if "wait" in request.url.params else "catch up")
        refused = self.refuse(request)
        if refused is not None:
            return refused
        if not is_keys:
            request.headers["accept-encoding"] = "identity"
        response = await self._real.handle_async_request(request)
        if response.status_code != 200:
            return response
        if not streams:
            body = await response.aread()
            return httpx.Response(
                200,
                content=self._told(request, body),
                headers={"content-type": response.headers["content-type"]},
            )

        async def events() -> Any:
            held = b""
            async for chunk in response.aiter_raw():
                held += chunk
                *whole, held = held.split(b"\n\n")
                for event in whole:
                    for line in event.split(b"\n"):
                        if line.startswith(b"data: "):
                            for told in filter(None, self._told(request, line[6:]).split(b"\n")):
                                yield b"event: page\ndata: " + told + b"\n\n"

        return httpx.Response(200, content=events(), headers={"content-type": "text/event-stream"})

    def _told(self, request: httpx.Request, page: bytes) -> bytes:
        """What the verifier hears in place of `page`; `pages` keeps those of the feed that it heard unaltered."""
        if self.lie:
            return self.lie(request, page)
        if not request.url.path.endswith("/keys"):
            self.pages.append(page)
        return page

    async def aclose(self) -> None:
        await self._real.aclose()


@contextlib.contextmanager
def world_in(folder: Path, **given: Any) -> Iterator[World]:
    with serving(folder, **given) as service:
        world = World(service)
        try:
            yield world
        finally:
            world.http.close()
