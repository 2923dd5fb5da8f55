"""A child of a fork that lives for as long as a test wants."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def living_child(begin: Callable[[], object]) -> Iterator[None]:
    """A child that has called `begin`, and then waits. In the end it must have exited with 0."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            begin()
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            code = 0
        finally:
            os._exit(code)
    os.close(ready[1])  # so that a child that fails is not waited for
    try:
        os.read(ready[0], 1)
        yield
    finally:
        os.write(go[1], b"x")
        ended = os.waitpid(child, 0)[1]
        for handle in (ready[0], *go):
            os.close(handle)
        assert ended == 0
