"""The mirror of the soak: passes the feed on to a verifier, and lies as a file tells it to.

    python -m tests.faults.soak_mirror --port 8002 --orders FILE --registration FILE UPSTREAM...

The file of orders holds one of `LIES`, or `honest`. It holds the verifier's registration as well: `stolen` forges with the
audience's own keys.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import random
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

import httpx2 as httpx

from caveats.keys import open_bundle
from caveats.revocation import Page, page_text, seal_text
from caveats.token import decode_base64
from caveats_client.verifiers.registration import Registration

LIES = ("old", "cut", "forged", "packed", "slow", "busy", "huge", "page", "silent", "stolen")
_HEAD = "HTTP/1.1 {}\r\nConnection: close\r\nContent-Type: {}\r\n{}\r\n"
_EVENTS, _LINES = "text/event-stream", "application/x-ndjson"


class Mirror:
    """Answers one verifier."""

    def __init__(self, upstreams: list[str], orders: Path, registration: Path) -> None:
        self._upstreams = upstreams
        self._orders = orders
        self._registration = registration
        self._heard: deque[bytes] = deque(maxlen=2000)
        self._bomb = gzip.compress(gzip.compress(b"\n" * (200 << 20), 9), 9)
        self._zeros = gzip.compress(b"\n" * (64 << 20), 9)

    @property
    def order(self) -> str:
        """What to do now."""
        return self._orders.read_text().strip() or "honest"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one answer."""
        try:
            async with asyncio.timeout(10):
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            target = lines[0].split(" ")[1]
            fields = [line.partition(": ") for line in lines[1:] if line]
            headers = {name.lower(): value for name, _, value in fields}
            await self._tell(target, headers, writer)
        except (OSError, httpx.HTTPError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            with contextlib.suppress(OSError):
                writer.close()

    async def _tell(self, target: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        order = self.order
        streams = headers.get("accept") == _EVENTS
        kind = _EVENTS if streams else _LINES
        lie = getattr(self, f"_{order}", None)
        if lie is not None:
            await lie(writer, kind)
            return
        for upstream in self._upstreams:
            try:
                await self._pass_on(upstream + target, headers, writer, streams=streams, order=order)
                return
            except httpx.ConnectError:
                continue
        writer.write(_HEAD.format("502 Bad Gateway", "text/html", "").encode() + b"<h1>Bad Gateway</h1>")

    async def _pass_on(
        self, url: str, headers: dict[str, str], writer: asyncio.StreamWriter, *, streams: bool, order: str
    ) -> None:
        """The service's own answer, until other orders come."""
        sent = {
            name: value
            for name, value in headers.items()
            if name not in ("host", "connection", "accept-encoding")
        }
        sent["accept-encoding"] = "identity"
        limits = httpx.Timeout(5, read=40)
        async with (
            httpx.AsyncClient(timeout=limits, trust_env=False) as http,
            http.stream("GET", url, headers=sent) as got,
        ):
            kind = got.headers.get("content-type", "text/plain")
            retry = got.headers.get("retry-after")
            more = "" if retry is None else f"Retry-After: {retry}\r\n"
            writer.write(_HEAD.format(f"{got.status_code} Passed", kind, more).encode())
            async for chunk in got.aiter_raw():
                self._remember(chunk)
                if self.order != order:
                    return
                for part in self._changed(chunk, order):
                    writer.write(part)
                    await writer.drain()
                    if order == "slow":
                        await asyncio.sleep(0.25)
                if order == "cut" and random.random() < 0.5:
                    return

    def _remember(self, chunk: bytes) -> None:
        self._heard.extend(
            line.removeprefix(b"data: ") for line in chunk.split(b"\n") if line.startswith((b"data: k", b"k"))
        )

    def _changed(self, chunk: bytes, order: str) -> list[bytes]:
        if order == "cut":
            return [chunk[: random.randrange(len(chunk) + 1)]]
        if order == "forged":
            place = random.randrange(len(chunk) or 1)
            return [chunk[:place] + bytes([random.randrange(33, 126)]) + chunk[place + 1 :]]
        if order == "slow":
            return [chunk[at : at + 64] for at in range(0, len(chunk), 64)]
        return [chunk]

    async def _pour(self, writer: asyncio.StreamWriter, parts: list[bytes], order: str, pause: float) -> None:
        """These again and again, for as long as the orders are the same."""
        while self.order == order and not writer.is_closing():
            for part in parts:
                writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    async def _old(self, writer: asyncio.StreamWriter, kind: str) -> None:
        """Old pages, repeated without end."""
        writer.write(_HEAD.format("200 OK", kind, "").encode())
        lines = random.sample(list(self._heard), min(50, len(self._heard)))
        if kind == _EVENTS:
            lines = [b"event: page\ndata: " + line + b"\n" for line in lines]
        await self._pour(writer, [line + b"\n" for line in lines] or [b"\n"], "old", 0.01)

    async def _packed(self, writer: asyncio.StreamWriter, kind: str) -> None:
        """Encodings that were not asked for, and packed twice."""
        encoding, body = random.choice(
            [("gzip", self._bomb), ("gzip, gzip", self._bomb), ("br", b"\x00" * 99), ("gzip", b"no")]
        )
        writer.write(_HEAD.format("200 OK", kind, f"Content-Encoding: {encoding}\r\n").encode() + body)
        await writer.drain()

    async def _huge(self, writer: asyncio.StreamWriter, kind: str) -> None:
        """More than anybody can read, in lines or in one."""
        writer.write(
            _HEAD.format("200 OK", kind, "" if kind == _EVENTS else "Content-Encoding: gzip\r\n").encode()
        )
        if kind != _EVENTS:
            writer.write(self._zeros)
            await writer.drain()
            return
        await self._pour(writer, [b"data: " + b"x" * 65536], "huge", 0.01)

    async def _busy(self, writer: asyncio.StreamWriter, kind: str) -> None:
        """Asks to wait for longer than the bound."""
        writer.write(
            _HEAD.format("503 Service Unavailable", "text/html", "Retry-After: 30\r\n").encode() + b"<p>busy"
        )
        await writer.drain()

    async def _page(self, writer: asyncio.StreamWriter, kind: str) -> None:
        """What proxies say by themselves."""
        status = random.choice(
            ["200 OK", "401 Unauthorized", "403 Forbidden", "404 Not Found", "421 Misdirected Request"]
        )
        writer.write(
            _HEAD.format(status, "text/html", 'WWW-Authenticate: Basic realm="x"\r\n').encode()
            + b"<p>sign in"
        )
        await writer.drain()

    async def _silent(self, writer: asyncio.StreamWriter, kind: str) -> None:
        """Nothing."""
        writer.write(_HEAD.format("200 OK", kind, "").encode())
        await self._pour(writer, [], "silent", 0.5)

    async def _stolen(self, writer: asyncio.StreamWriter, kind: str) -> None:
        """Pages with a huge epoch, or the key k999999, sealed with the audience's own key, which somebody stole."""
        own = Registration.load(self._registration)
        identity = own.identity
        found = None
        for upstream in self._upstreams:
            with contextlib.suppress(httpx.HTTPError, KeyError):
                async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
                    got = await http.get(f"{upstream}/v1/verifiers/{identity.verifier_id}/keys")
                found = open_bundle(
                    decode_base64(got.json()["box"]),
                    identity.private_key,
                    identity.service_public_key,
                    verifier_id=identity.verifier_id,
                    audience=identity.audience,
                    now=datetime.now(UTC),
                )
                break
        if found is None:
            return
        writer.write(_HEAD.format("200 OK", kind, "").encode())
        keys = found.keyring.keys
        ids = tuple(key.key_id for key in keys)
        now = datetime.now(UTC)
        forged = random.choice(
            [
                Page(2**53, 0, 0, 0, now, ids),
                Page(found.epoch, 2**52, 2**52, 2**52, now, (*ids, "k999999")),
                Page(2**40, 0, 0, 0, now, ("k999999",)),
            ]
        )
        line = seal_text(page_text(forged), keys[-1]).encode()
        event = b"event: page\ndata: " + line + b"\n\n" if kind == _EVENTS else line + b"\n"
        await self._pour(writer, [event], "stolen", 0.5)


async def run(port: int, mirror: Mirror) -> None:
    server = await asyncio.start_server(mirror.answer, "127.0.0.1", port)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--orders", type=Path, required=True)
    parser.add_argument("--registration", type=Path, required=True)
    parser.add_argument("upstreams", nargs="+")
    given = parser.parse_args()
    asyncio.run(run(given.port, Mirror(given.upstreams, given.orders, given.registration)))


if __name__ == "__main__":
    main()
