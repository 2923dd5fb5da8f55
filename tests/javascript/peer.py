"""The JavaScript client as a process that answers: `clients/javascript/test/peer.js`. Knows lines of JSON, no token."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT = Path(__file__).parents[2] / "clients/javascript"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(
    NODE is None, reason="there is no node: the tests of the JavaScript client need Node 20 or newer"
)


class Peer:
    """Asks the client, one question at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, do: str, **members: Any) -> dict[str, Any]:
        """Its answer: the member `answer`, or the `code` and `message` of its error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps({'do': do, **members})}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def peer() -> Iterator[Peer]:
    """A process of Node with the client in it."""
    assert NODE is not None
    command = [NODE, str(CLIENT / "test/peer.js")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        yield Peer(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0
