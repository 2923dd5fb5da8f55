"""kill -9 the service, again and again, in the middle of its work, and look for what was lost.

    python tests/faults/kill9.py --cycles 1000

Each cycle starts the real service, lets several clients issue, label, renew, narrow, revoke and rotate, kills it at
a random moment, and checks the file and, after the next start, that everything acknowledged is there: what was
revoked is refused, what was issued lives, what was labelled is listed, keys are one active and none lost, the store
is whole, and the service ready within two seconds. Ends with 1 and says what was lost, if anything was.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import select
import signal
import sqlite3
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx

from caveats import Macaroon

ADMIN, PASSWORD = "admin", "admin's password"
CLIENTS = 4
READY_WITHIN = 2.0
REMEMBERED = 300
HTTP: dict[str, Any] = {"timeout": 30, "trust_env": False, "verify": ssl.create_default_context()}
COMMAND = [sys.executable, "-c", "from caveats_service.cli import main; main()", "serve"]


class Lost(AssertionError):
    """Something that was acknowledged is not there."""


@dataclass
class Acked:
    """What the clients were told has happened."""

    live: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    effects: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, **effects: str) -> None:
        with self.lock:
            self.effects += 1
            for where, what in effects.items():
                known = getattr(self, where)
                if isinstance(known, set):
                    known.add(what)
                else:
                    known.append(what)
                    del known[:-REMEMBERED]

    def died(self, *tokens: str) -> None:
        """Revoked and acknowledged. Whoever might have been hit is not held to be alive any more."""
        with self.lock:
            self.effects += 1
            gone = set(tokens)
            self.live = [token for token in self.live if token not in gone]
            self.dead = (self.dead + list(tokens))[-REMEMBERED:]

    def in_doubt(self, token: str) -> None:
        """About to be revoked: from now on neither alive nor dead, until the answer is there."""
        with self.lock:
            self.live = [known for known in self.live if known != token]


class Service:
    """The real command on one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it; answers after how many seconds it was ready, the interpreter's own start included."""
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("CAVEATS_")}
        ours = {
            "CAVEATS_DATA_DIR": str(self.folder / "data"),
            "CAVEATS_PORT": "0",
            "CAVEATS_ADMIN_PASSWORD": PASSWORD,
            "CAVEATS_LOGIN_LIMIT_ACCOUNT": "100000/minute",
            "CAVEATS_REVOKE_LIMIT_TOKEN": "100000/minute",
            "CAVEATS_REVOKE_LIMIT_ADDRESS": "100000/minute",
            "CAVEATS_KEY_PROPAGATION": "1s",
            "CAVEATS_LOG_LEVEL": "error",
        }
        begin = time.monotonic()
        self.popen = subprocess.Popen(
            COMMAND, env={**kept, **ours}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self.popen.stdout is not None
        said = b""
        while (found := re.search(rb"serving on (http://\S+?:\d+)", said)) is None:
            ready, _, _ = select.select([self.popen.stdout], [], [], 30)
            chunk = os.read(self.popen.stdout.fileno(), 65536) if ready else b""
            if not chunk:
                raise Lost(f"the service does not start again: {said.decode(errors='replace')}")
            said += chunk
        self.url = found[1].decode()
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz", **{**HTTP, "timeout": 5}).status_code == 200:
                    return time.monotonic() - begin
            if time.monotonic() - begin > 30:
                raise Lost("the service is not ready after 30 s")
            time.sleep(0.01)

    def kill(self) -> None:
        assert self.popen is not None
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(30)
        assert self.popen.stdout is not None
        self.popen.stdout.close()


def narrow(token: str, note: str) -> str:
    return Macaroon.decode(token).attenuate(f"note = {note}".encode()).encode()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def work(service: Service, acked: Acked, admin: str, seed: int, stop: threading.Event) -> None:
    """One client: does this and that until the service is gone. Only what was answered counts."""
    chance = random.Random(seed)
    mine: list[str] = []
    with contextlib.suppress(httpx.TransportError), httpx.Client(base_url=service.url, **HTTP) as http:
        while not stop.is_set():
            what = chance.choice(["issue", "label", "renew", "copy", "token", "id", "child", "rotate"])
            token = chance.choice(mine) if mine else ""
            if what == "issue" or (not token and what != "label"):
                answer = http.post("/v1/tokens", json={}, headers=bearer(admin))
                if answer.status_code == 201:
                    mine.append(answer.json()["token"])
                    acked.note(live=mine[-1])
            elif what == "label":
                answer = http.post("/v1/tokens", json={"note": f"n{seed}"}, headers=bearer(admin))
                if answer.status_code == 201:
                    mine.append(answer.json()["token"])
                    acked.note(live=mine[-1], labels=answer.json()["token_id"])
            elif what == "renew":
                answer = http.post("/v1/tokens/renew", headers=bearer(admin))
                if answer.status_code == 200:
                    acked.note()
            elif what == "child":
                answer = http.post("/v1/tokens", json={"expires_in": 3600}, headers=bearer(token))
                if answer.status_code == 201:
                    acked.note()
            elif what == "copy":
                copy = narrow(token, f"copy {chance.random()}")
                if (
                    http.post("/v1/revocations", json={"presented": True}, headers=bearer(copy)).status_code
                    == 201
                ):
                    acked.died(copy)
            elif what == "token":
                mine.remove(token)
                acked.in_doubt(token)
                if (
                    http.post("/v1/revocations", json={"presented": True}, headers=bearer(token)).status_code
                    == 201
                ):
                    acked.died(token, narrow(token, "a copy"))
            elif what == "id":
                mine.remove(token)
                acked.in_doubt(token)
                identifier = Macaroon.decode(token).unverified_identifier
                assert identifier is not None
                body = {"token_id": identifier.token_id}
                if http.post("/v1/revocations", json=body, headers=bearer(admin)).status_code == 201:
                    acked.died(token)
            elif chance.random() < 0.2:
                answer = http.post(
                    "/v1/keys/rotate", json={"now": chance.random() < 0.5}, headers=bearer(admin)
                )
                if answer.status_code == 201:
                    acked.note(keys=answer.json()["id"])


def check_file(folder: Path) -> None:
    """The file as the crash left it."""
    with contextlib.closing(sqlite3.connect(folder / "data" / "caveats.db")) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchall()
        if found != [("ok",)]:
            raise Lost(f"the database is damaged: {found}")
        states = [state for (state,) in connection.execute("SELECT state FROM master_keys")]
        if states.count("active") != 1 or states.count("published") > 1:
            raise Lost(f"master keys are {states}")
        sequences = [n for (n,) in connection.execute("SELECT sequence FROM revocations ORDER BY sequence")]
        if sequences and sequences != list(range(sequences[0], sequences[-1] + 1)):
            raise Lost("the feed has a gap")


def check_acked(service: Service, acked: Acked, admin: str) -> None:
    """Everything that was acknowledged, asked of the service that came after the crash."""
    with httpx.Client(base_url=service.url, **HTTP) as http:
        for wanted, tokens in ((True, acked.live), (False, acked.dead)):
            for at in range(0, len(tokens), 50):
                some = tokens[at : at + 50]
                body: dict[str, Any] = {"tokens": [{"token": token} for token in some]}
                results = http.post("/v1/verify", json=body).json()["results"]
                wrong = sum(result["granted"] is not wanted for result in results)
                if wrong:
                    kind = "issued and are refused" if wanted else "revoked and are granted"
                    raise Lost(f"{wrong} of {len(some)} tokens were {kind}")
        listed: set[str] = set()
        after: str | None = None
        while True:
            query = {"limit": "1000", **({"after": after} if after else {})}
            page = http.get("/v1/tokens", params=query, headers=bearer(admin)).json()
            listed |= {row["token_id"] for row in page["tokens"]}
            after = page["next"]
            if after is None:
                break
        if missing := set(acked.labels) - listed:
            raise Lost(f"{len(missing)} labelled tokens are not listed")
        keys = {row["id"] for row in http.get("/v1/keys", headers=bearer(admin)).json()["keys"]}
        if missing := acked.keys - keys:
            raise Lost(f"master keys {missing} are gone")


def cycles(
    folder: Path, count: int, *, seed: int, most: float, strict: bool = False, say: bool = True
) -> dict[str, Any]:
    """So many kills; the summary. Raises `Lost`, if `strict` also when more than one start in twenty is late."""
    chance = random.Random(seed)
    acked = Acked()
    service = Service(folder)
    starts: list[float] = []
    admin = ""
    begin = time.monotonic()
    for cycle in range(count + 1):
        ready = service.start()
        try:
            starts.append(ready)
            if strict and sum(each > READY_WITHIN for each in starts) > 1 + len(starts) / 20:
                raise Lost(f"the service was ready only after {max(starts):.1f} s")
            if not admin:
                body = {"username": ADMIN, "password": PASSWORD, "scope": "* caveats:*", "expires_in": "30d"}
                admin = httpx.post(f"{service.url}/v1/tokens", json=body, **HTTP).json()["token"]
            check_acked(service, acked, admin)
            if cycle == count:
                break
            stop = threading.Event()
            clients = [
                threading.Thread(target=work, args=(service, acked, admin, chance.getrandbits(64), stop))
                for _ in range(CLIENTS)
            ]
            for client in clients:
                client.start()
            time.sleep(chance.uniform(0.02, most))
        finally:
            service.kill()
        stop.set()
        for client in clients:
            client.join()
        check_file(folder)
        if say and (cycle + 1) % max(1, min(25, count // 10)) == 0:
            print(
                f"{cycle + 1} of {count} cycles, {acked.effects} effects acknowledged, none lost", flush=True
            )
    return {
        "cycles": count,
        "effects": acked.effects,
        "lost": 0,
        "ready_s": {"median": round(statistics.median(starts), 3), "slowest": round(max(starts), 3)},
        "later_than_2_s": sum(each > READY_WITHIN for each in starts),
        "minutes": round((time.monotonic() - begin) / 60, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cycles", type=int, default=25)
    parser.add_argument("--seed", type=int, default=None, help="to have the same moments again")
    parser.add_argument("--most", type=float, default=0.6, help="longest life of a service (seconds)")
    parser.add_argument(
        "--strict", action="store_true", help="fail too when starts take over 2 s (idle machine)"
    )
    given = parser.parse_args()
    seed = int.from_bytes(os.urandom(4), "big") if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="kill9-") as folder:
        try:
            summary = cycles(Path(folder), given.cycles, seed=seed, most=given.most, strict=given.strict)
        except Lost as lost:
            print(f"LOST: {lost}", file=sys.stderr)
            sys.exit(1)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
