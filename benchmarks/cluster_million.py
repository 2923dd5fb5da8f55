"""A million live revocations in PostgreSQL: when a new node and a new verifier are ready, and what they weigh.

`python -m benchmarks.cluster_million FILE [FOLDER]` is the new verifier, in a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from benchmarks.cluster_nodes import Caller, Node, cpu_seconds, database, nodes, resident
from benchmarks.revocations import _noise, _token_id
from benchmarks.sample import AUDIENCE
from benchmarks.table import Bar, Row, Section
from caveats.revocation import prove_reader
from caveats_client.verifiers.local import LocalVerifier

if TYPE_CHECKING:
    from collections.abc import Iterator

_COUNT = 1_000_000
_READY = 10.0
_KINDS = ("token", "branch", "user")


def million() -> Section:
    """Whole tokens, branches and users, a third each; node and verifier share this machine with PostgreSQL."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(database())
        with nodes(url, 1):
            pass  # makes the schema
        asyncio.run(_fill(url))
        begun = time.monotonic()
        node = stack.enter_context(nodes(url, 1))[0]
        node_ready, node_size = time.monotonic() - begun, resident(node.pid)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file, state = folder / "verifier", folder / "state"
        Caller(node).sign_in().register(file)
        spent = cpu_seconds([node.pid])
        first = _in_its_own_process(file, state)
        spent = cpu_seconds([node.pid]) - spent
        again = _in_its_own_process(file, state)
        with LocalVerifier.from_file(file, state_dir=state) as verifier:
            key = verifier._gate.verifier.keyring.keys[-1]  # type: ignore[union-attr]
        size, took = _snapshot(node, prove_reader(key, datetime.now(UTC)))
    section = Section(f"{_COUNT:,} live revocations in PostgreSQL [bytes an entry]")
    bar = Bar(f"< {_READY:g} s", first["ready"] < _READY)
    section.rows = [
        Row("a new verifier is ready", "", f"{first['ready']:.1f} s", bar),
        Row("  processor time, verifier and node", "", f"{first['spent']:.1f} s, {spent:.1f} s"),
        Row("  its memory, more than before", f"{first['memory'] / _COUNT:.0f}", _mb(first["memory"])),
        Row("  the most while it got ready", "", _mb(first["peak"])),
        Row("a verifier that had written its state down", "", f"{again['ready']:.1f} s"),
        Row("  that state", f"{again['state'] / _COUNT:.0f}", _mb(again["state"])),
        Row("the snapshot, compressed", f"{size / _COUNT:.0f}", _mb(size)),
        Row("  all of it from the node", "", f"{took:.1f} s"),
        Row("a new node is ready", "", f"{node_ready:.1f} s"),
        Row("  its memory, all of it", "", _mb(node_size)),
    ]
    return section


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        columns = ["sequence", "kind", "token_id", "branch_id", "username", "issued_up_to"]
        columns += ["expires_at", "created_at", "revoked_by", "reason"]
        await connection.copy_records_to_table("revocations", records=_rows(), columns=columns)
        await connection.execute("UPDATE meta SET revocation_sequence = $1", _COUNT)
        await connection.execute("ANALYZE revocations")
    finally:
        await connection.close()


def _rows() -> Iterator[tuple[Any, ...]]:
    now = int(time.time() * 1000)
    life = timedelta(days=60) // timedelta(milliseconds=1)
    for number in range(_COUNT):
        kind = _KINDS[number % 3]
        token_id = None if kind == "user" else _token_id(number)
        branch_id = _noise(number, 16) if kind == "branch" else None
        user = (f"user{number}@example.org", now) if kind == "user" else (None, None)
        expires_at = now + life + number % (30 * 24 * 60) * 60_000
        yield number + 1, kind, token_id, branch_id, *user, expires_at, now, "admin", ""


def _snapshot(node: Node, proof: str) -> tuple[int, float]:
    """Bytes on the wire, and seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
    headers = {"X-Feed-Proof": proof, "Accept-Encoding": "gzip"}
    begun = time.monotonic()
    connection.request("GET", f"/v1/revocations/feed?audience={AUDIENCE}", headers=headers)
    answer = connection.getresponse()
    size = len(answer.read())
    if answer.status != 200 or answer.headers["content-encoding"] != "gzip":
        raise RuntimeError(f"no snapshot: {answer.status}")
    return size, time.monotonic() - begun


def _in_its_own_process(file: Path, state: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.cluster_million", str(file), str(state)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _become_ready(file: Path, state: Path) -> dict[str, float]:
    pid, before = _self(), resident(_self())
    begun, started = time.monotonic(), time.process_time()
    with LocalVerifier.from_file(file, state_dir=state, start_timeout=120) as verifier:
        ready = time.monotonic() - begun
        known = len(verifier._gate.verifier.revocations)
        if known != _COUNT:
            raise RuntimeError(f"{known} revocations are known")
        memory, peak, spent = resident(pid) - before, _peak() - before, time.process_time() - started
    size = sum(path.stat().st_size for path in state.rglob("*") if path.is_file())
    return {"ready": ready, "spent": spent, "memory": memory, "peak": peak, "state": size}


def _self() -> int:
    return int(Path("/proc/self").readlink().name)


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _mb(size: float) -> str:
    return f"{size / 1e6:.0f} MB"


if __name__ == "__main__":
    print(json.dumps(_become_ready(Path(sys.argv[1]), Path(sys.argv[2]))))
