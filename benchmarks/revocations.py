"""A million revocations in memory: what they weigh, and what asking them costs. Each set in its own process."""

from __future__ import annotations

import base64
import gc
import json
import os
import random
import subprocess
import sys
from datetime import timedelta
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.sample import NOW
from benchmarks.table import Bar, Row, Section
from benchmarks.timing import new_texts
from caveats import BranchRevocation, Revocation, RevocationSet, TokenRevocation, UserRevocation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_COUNT = 1_000_000
_ASKED = 50_000
_ROUNDS = 5
_MEGABYTES, _MICROSECONDS = 150, 1.0
_MIXES: dict[str, tuple[type[Revocation], ...]] = {
    "tokens": (TokenRevocation,),
    "mixed": (TokenRevocation, BranchRevocation, UserRevocation),
}
_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ")


def revocations() -> Section:
    """Memory and look-up time of a set of whole tokens, and of one of tokens, branches and users."""
    section = Section(f"{_COUNT:,} revocations in one set: growth of the process, look-ups [bytes an entry]")
    for mix, kinds in _MIXES.items():
        run = subprocess.run(
            [sys.executable, "-m", "benchmarks.revocations", mix], check=True, stdout=subprocess.PIPE
        )
        found = json.loads(run.stdout)
        memory = found.pop("memory")
        bar = Bar(f"< {_MEGABYTES} MB", memory < _MEGABYTES * 1e6)
        what = "whole tokens" if len(kinds) == 1 else "tokens, branches and users, a third each"
        section.rows.append(Row(what, f"{memory / _COUNT:.0f}", f"{memory / 1e6:.0f} MB", bar))
        for question, cost in found.items():
            bar = Bar(f"< {_MICROSECONDS:g} us", cost < _MICROSECONDS)
            section.rows.append(Row(f"  {question}", "", f"{cost:.3f} us", bar))
    return section


def _measure(mix: str) -> dict[str, float]:
    gc.collect()
    before = _resident()
    revoked = RevocationSet(_entries(_MIXES[mix]))
    gc.collect()
    memory = _resident() - before
    if len(revoked) != _COUNT:
        raise AssertionError("entries were lost")
    step = len(_MIXES[mix])
    known = [_token_id(number) for number in random.sample(range(0, _COUNT, step), _ASKED)]
    unknown = [_token_id(number) for number in range(_COUNT, _COUNT + _ASKED)]
    return {
        "memory": memory,
        "asked about a live token": _asked(lambda token_id: revoked.may_hit(token_id, "alice"), unknown),
        "asked about a revoked token": _asked(revoked.hits_token, known),
    }


def _asked(question: Callable[[str], bool], token_ids: list[str]) -> float:
    """Microseconds a question, in the best of some rounds; the loop around it is counted in."""
    fastest = float("inf")
    for _ in range(_ROUNDS):
        texts = new_texts(token_ids)
        started = perf_counter()
        for text in texts:
            question(text)
        fastest = min(fastest, perf_counter() - started)
    return fastest / len(token_ids) * 1e6


def _entries(kinds: tuple[type[Revocation], ...]) -> Iterator[Revocation]:
    for number in range(_COUNT):
        kind, expires_at = kinds[number % len(kinds)], NOW + timedelta(minutes=number % (30 * 24 * 60))
        if kind is TokenRevocation:
            yield TokenRevocation(_token_id(number), expires_at)
        elif kind is BranchRevocation:
            yield BranchRevocation(_token_id(number), _noise(number, 16), expires_at)
        else:
            yield UserRevocation(f"user{number}@example.org", NOW, expires_at)


def _token_id(number: int) -> str:
    """The same for the same number, and otherwise as good as random."""
    return "01M7YK5N20" + base64.b32encode(_noise(number, 10)).translate(_CROCKFORD).decode()


def _noise(number: int, size: int) -> bytes:
    return blake2b(number.to_bytes(8, "big"), digest_size=size).digest()


def _resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1])))
