"""What is made anew in the child of a fork: gunicorn and multiprocessing fork a process that may be in use already.

A child inherits connections, locks and caches that are not its own: two processes on one connection read each other's
answers, the thread that holds a lock is not in the child, and a cache may be in the middle of a change. The child makes
new ones. It does not close the old ones, which could wait for such a lock, except for locks on files: these it lets go of,
which its parent does not notice. Knows no keys and no HTTP, and opens nothing.
"""

from __future__ import annotations

import os
import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

T = TypeVar("T")

_actions: MutableMapping[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def renewed_after_fork(owner: T, renew: Callable[[T], None]) -> None:
    """Call `renew(owner)` now, and again in every child of this process. `renew` must not wait for anything."""
    renew(owner)
    in_children(owner, renew)


def in_children(owner: T, act: Callable[[T], None]) -> None:
    """Call `act(owner)` in every child of this process for as long as `owner` lives. `act` must not wait for anything."""
    _actions[owner] = act


def _after_fork() -> None:
    with ExitStack() as stack:  # all are called, even if one raises
        for owner, act in list(_actions.items()):
            stack.callback(act, owner)


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has none, and does not fork
    os.register_at_fork(after_in_child=_after_fork)
