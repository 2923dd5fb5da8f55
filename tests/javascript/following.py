"""The JavaScript client's verifier that follows a service, with the face of `LocalVerifier`, so that one test asks both."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import subprocess
import threading
import time
from concurrent.futures import Future
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import httpx2 as httpx
import uvicorn

import caveats
from caveats import Context, PrivateKey
from caveats.token import encode_base64
from caveats_client.verifiers import feed_client
from caveats_client.verifiers.local import Health
from tests.javascript.issued import CODES
from tests.javascript.peer import CLIENT, NODE
from tests.support.local import Cable

if TYPE_CHECKING:
    from collections.abc import Callable

_ERRORS = {code: getattr(caveats, name) for name, code in CODES.items()}


def _error(code: str, message: str) -> Exception:
    kind = _ERRORS.get(code, {"stale": caveats.Stale}.get(code, ValueError))
    made: Exception = kind.__new__(kind)
    made.args = (message,)
    return made


class MirrorServer:
    """A `Mirror`, which is a transport of httpx, as a server that anybody can ask."""

    def __init__(self, mirror: httpx.AsyncBaseTransport, target: str) -> None:
        self._mirror = mirror
        self._target = target
        config = uvicorn.Config(
            self._app,
            port=0,
            log_level="error",
            access_log=False,
            lifespan="on",
            interface="asgi3",
            loop="asyncio",
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._mirror.aclose()
            await send({"type": "lifespan.shutdown.complete"})
            return
        url = f"{self._target}{scope['path']}?{scope['query_string'].decode()}".removesuffix("?")
        headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
        try:
            response = await self._mirror.handle_async_request(httpx.Request("GET", url, headers=headers))
        except httpx.HTTPError:
            await send({"type": "http.response.start", "status": 502})
            await send({"type": "http.response.body"})
            return
        kept = [
            (name, value)
            for name, value in response.headers.raw
            if name.lower() in {b"content-type", b"retry-after"}
        ]
        await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
        reading = asyncio.ensure_future(self._pass_on(response, send))
        leaving = asyncio.ensure_future(self._left(receive))
        await asyncio.wait((reading, leaving), return_when=asyncio.FIRST_COMPLETED)
        for task in (reading, leaving):
            task.cancel()
        await asyncio.gather(reading, leaving, return_exceptions=True)

    @staticmethod
    async def _left(receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    @staticmethod
    async def _pass_on(response: httpx.Response, send: Any) -> None:
        try:
            async for chunk in response.aiter_bytes():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            await response.aclose()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(5)


class Wire(Cable):
    """A cable that nobody listens at while it is cut: Node's fetch tries for ever where a connection is taken and closed."""

    def cut(self) -> None:
        """Close everything, and take no connection."""
        self._port = self._listener.getsockname()[1]
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def mend(self) -> None:
        """Listen again where it was."""
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self._port))
            threading.Thread(target=self._accept, daemon=True).start()
        super().mend()


class JavaScriptVerifier:
    """`follow` of the JavaScript client, in a process of Node. As `LocalVerifier`; it stores nothing in `state_dir`."""

    def __init__(
        self,
        url: str,
        *,
        audience: str,
        verifier_id: str,
        private_key: PrivateKey | bytes,
        service_public_key: bytes,
        transport: Any = None,
        monotonic: Any = None,
        on_change: Callable[[Any], None] | None = None,
        start_timeout: float = 10.0,
        max_staleness: timedelta = timedelta(seconds=30),
        on_stale: str = "refuse",
        state_dir: Any = None,
        webcrypto: bool = False,
    ) -> None:
        assert NODE is not None
        self._mirror = None if transport is None else MirrorServer(transport, url)
        self._clock = monotonic
        self._told = 0.0
        self._on_change = on_change
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[Any]] = {}
        self._writing = threading.Lock()
        self._process = subprocess.Popen(
            [NODE, str(CLIENT / "test/following.js")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self._closed = False
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        if monotonic is not None:
            threading.Thread(target=self._keep_time, daemon=True).start()
        secret = private_key.secret if isinstance(private_key, PrivateKey) else private_key
        registration = {
            "version": 1,
            "url": url if self._mirror is None else self._mirror.url,
            "audience": audience,
            "verifier_id": verifier_id,
            "private_key": encode_base64(secret),
            "service_public_key": encode_base64(service_public_key),
        }
        options = {
            "startTimeout": start_timeout,
            "maxStaleness": max_staleness.total_seconds(),
            "onStale": on_stale,
            "silence": feed_client.SILENCE * 1000,
            "webcrypto": webcrypto,
        }
        self._ask("follow", registration=registration, options=options)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "changed" in said:
                if self._on_change is not None:
                    self._on_change(_status(said["changed"]))
                continue
            waiting = self._waiting.pop(said["number"])
            if "code" in said:
                waiting.set_exception(_error(said["code"], said["message"]))
            else:
                waiting.set_result(said["answer"])

    def _keep_time(self) -> None:
        while not self._closed:
            self._tell_time()
            time.sleep(0.01)

    def _tell_time(self) -> None:
        if self._clock is not None and self._clock.ahead != self._told:
            self._told = self._clock.ahead
            self._send("ahead", milliseconds=self._told * 1000)

    def _send(self, do: str, **members: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._writing:
            number = next(self._numbers)
            self._waiting[number] = future
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"number": number, "do": do, **members}) + "\n")
            self._process.stdin.flush()
        return future

    def _ask(self, do: str, **members: Any) -> Any:
        self._tell_time()
        return self._send(do, **members).result(60)

    def start(self, timeout: float | None = None) -> Self:
        self._ask("ready", **({} if timeout is None else {"timeout": timeout}))
        return self

    def verify(self, presented: Any, context: Context | None = None) -> Any:
        text = presented if isinstance(presented, str) else presented.encode()
        asked = None
        if context is not None:
            asked = {"now": context.now.isoformat(), "scopes": list(context.scopes)}
        return SimpleNamespace(**self._ask("verify", token=text, **({"context": asked} if asked else {})))

    def status(self) -> Any:
        return _status(self._ask("status"))

    def close(self) -> None:
        """End its work; `end` ends the process."""
        if self._process.poll() is None:
            self._ask("close")

    def end(self) -> None:
        self._closed = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(10) == 0
        self._listening.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        if self._mirror is not None:
            self._mirror.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"JavaScriptVerifier({self.status().health.value})"


def _status(said: dict[str, Any]) -> Any:
    moment = {name: said[name] and datetime.fromisoformat(said[name]) for name in ("freshAt", "keysUntil")}
    staleness = said["staleness"]
    return SimpleNamespace(
        ready=said["ready"],
        health=Health(said["health"]),
        fresh_at=moment["freshAt"],
        staleness=None if staleness is None else timedelta(seconds=staleness),
        epoch=said["epoch"],
        position=said["position"],
        key_ids=tuple(said["keyIds"]),
        keys_until=moment["keysUntil"],
        problem=said["problem"],
    )
