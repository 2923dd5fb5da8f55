"""Kill the service again and again, at random moments under load, and look for what was lost.

    python tests/faults/kill9.py --cycles 1000

Each cycle starts the real service on the same SQLite database, lets clients issue labelled tokens, revoke copies
and whole tokens, renew, and rotate keys, and then sends SIGKILL. What a client was told is done must be there after
the restart: every labelled token is listed, every revoked one is refused, every other one is good, every key is
known, and the database is whole. How long each restart took is said at the end. Exits 1 at the first loss.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx

from caveats import Macaroon, Note

SERVICE = Path(sys.executable).with_name("caveats-service")
PASSWORD = "correct horse battery staple"
READY_WITHIN = 2.0
CLIENTS = 4


@dataclass
class Acked:
    """What clients were told is done."""

    labels: set[str] = field(default_factory=set)
    alive: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self.labels) + len(self.dead) + len(self.keys)


class Lost(Exception):
    """An acknowledged effect is gone."""


class Service:
    """One life of the service."""

    def __init__(self, folder: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CAVEATS_")}
        environment |= {
            "CAVEATS_DATA_DIR": str(folder),
            "CAVEATS_PORT": "0",
            "CAVEATS_ADMIN_PASSWORD": PASSWORD,
            "CAVEATS_KEY_PROPAGATION": "1s",
        }
        began = time.monotonic()
        self.process = subprocess.Popen(
            [SERVICE, "serve"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        if "http://" not in self.said:
            raise Lost(f"the service did not start: {self.said}{self.process.stdout.read()}")
        self.url = self.said.split("serving on ", 1)[1].split(",", 1)[0].split(" ", 1)[0]
        self.http = httpx.Client(base_url=self.url, timeout=10)
        until(lambda: self.http.get("/readyz").status_code == 200)
        self.ready_after = time.monotonic() - began

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.http.close()

    def token(self, scope: str) -> str:
        body = {"username": "admin", "password": PASSWORD, "scope": scope, "expires_in": "30d"}
        answer = self.http.post("/v1/tokens", json=body)
        answer.raise_for_status()
        return str(answer.json()["token"])


def until(holds, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.TransportError):
            if holds():
                return
        if time.monotonic() > end:
            raise Lost("the service does not become ready")
        time.sleep(0.01)


def bearer(token: str) -> dict[str, str]:
    return {"X-Auth-Token": token}


def load(url: str, home: str, acked: Acked, chance: random.Random) -> None:
    """One client, until the service is gone. Only what was answered with success counts."""
    with contextlib.suppress(httpx.TransportError), httpx.Client(base_url=url, timeout=10) as http:
        while True:
            deed = chance.random()
            if deed < 0.6:
                body = {"scope": "photos:*", "note": f"made for {chance.random()}"}
                answer = http.post("/v1/tokens", json=body, headers=bearer(home))
                if answer.status_code == 201:
                    with acked.lock:
                        acked.labels.add(answer.json()["token_id"])
                        acked.alive.append(answer.json()["token"])
            elif deed < 0.95:
                revoke(http, acked, chance)
            else:
                answer = http.post("/v1/keys/rotate", headers=bearer(home))
                if answer.status_code == 201:
                    with acked.lock:
                        acked.keys.add(answer.json()["id"])


def revoke(http: httpx.Client, acked: Acked, chance: random.Random) -> None:
    """A narrowed copy of a living token, or the token itself."""
    with acked.lock:
        if not acked.alive:
            return
        token = acked.alive.pop(chance.randrange(len(acked.alive)))
    copy = Macaroon.decode(token).attenuate(Note("a copy")).encode()
    whole = chance.random() < 0.5
    presented = token if whole else copy
    answer = http.post("/v1/revocations", headers=bearer(presented))
    if answer.status_code == 201:
        with acked.lock:
            acked.dead.append(presented)
            if not whole:
                acked.alive.append(token)


def good(http: httpx.Client, token: str) -> bool:
    params = {"scope": "photos:read"}
    return http.get("/v1/authorize", params=params, headers=bearer(token)).status_code == 200


def check(service: Service, home: str, acked: Acked, chance: random.Random, most: int) -> None:
    """Everything that was acknowledged, or a random part of it if there is much."""
    for token_id in some(acked.labels, most, chance):
        if service.http.get(f"/v1/tokens/{token_id}", headers=bearer(home)).status_code != 200:
            raise Lost(f"labelled token {token_id} is not listed")
    for token in some(acked.dead, most, chance):
        if good(service.http, token):
            raise Lost("a revoked token is accepted")
    for token in some(acked.alive, most, chance):
        if not good(service.http, token):
            raise Lost("a living token is refused")
    known = {row["id"] for row in service.http.get("/v1/keys", headers=bearer(home)).json()["keys"]}
    if not acked.keys <= known:
        raise Lost(f"keys {acked.keys - known} are gone")


def some(items, most: int, chance: random.Random) -> list[str]:
    """The newest, which the last crash may have hit, and some of the rest."""
    known = list(items)
    return (
        known if len(known) <= most else known[-most // 2 :] + chance.sample(known[: -most // 2], most // 2)
    )


def whole(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "caveats.db")) as database:
        (answer,) = database.execute("PRAGMA integrity_check").fetchone()
    if answer != "ok":
        raise Lost(f"the database is damaged: {answer}")


def cycle(folder: Path, home: str, acked: Acked, chance: random.Random, most: int) -> float:
    """One life: start, check what should be there, load, kill. Answers the seconds until it was ready."""
    service = Service(folder)
    try:
        check(service, home, acked, chance, most)
        clients = [
            threading.Thread(target=load, args=(service.url, home, acked, random.Random(chance.random())))
            for _ in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        time.sleep(chance.uniform(0.05, 0.6))
    finally:
        service.kill()
    for client in clients:
        client.join()
    whole(folder)
    return service.ready_after


def run(cycles: int, seed: int | None = None, most: int = 200, folder: Path | None = None) -> Acked:
    """All cycles. Raises `Lost`."""
    chance = random.Random(seed)
    acked = Acked()
    with tempfile.TemporaryDirectory() as made:
        folder = folder or Path(made) / "data"
        first = Service(folder)
        home = first.token("* caveats:*")
        first.kill()
        ready = []
        for number in range(1, cycles + 1):
            ready.append(cycle(folder, home, acked, chance, most))
            if number % max(1, cycles // 20) == 0:
                print(
                    f"{number} of {cycles} cycles, {len(acked)} effects acknowledged, none lost", flush=True
                )
        last = Service(folder)
        check(last, home, acked, chance, sys.maxsize if len(acked) < 20_000 else most * 10)
        last.kill()
        late = sum(seconds > READY_WITHIN for seconds in ready)
        print(
            f"ready after {sorted(ready)[len(ready) // 2]:.2f} s (median), {max(ready):.2f} s (most);"
            f" {late} of {len(ready)} later than {READY_WITHIN} s"
        )
    return acked


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cycles", type=int, default=1000, help="how often to kill (default 1000)")
    parser.add_argument("--seed", type=int, default=None, help="for the random moments and deeds")
    asked = parser.parse_args()
    try:
        acked = run(asked.cycles, asked.seed)
    except Lost as loss:
        print(f"LOST: {loss}", file=sys.stderr)
        return 1
    print(
        f"{asked.cycles} kills: {len(acked.labels)} labelled tokens, {len(acked.dead)} revocations and "
        f"{len(acked.keys)} keys acknowledged; nothing lost"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
