"""What is made anew in the child of a fork: gunicorn and multiprocessing fork a process that may be in use already.

A child inherits connections, locks and caches that are not its own: two processes on one connection read each other's
answers, the thread that holds a lock is not in the child, and a cache may be in the middle of a change. The child makes
new ones. It does not close the old ones, which could wait for such a lock. Knows no HTTP.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

T = TypeVar("T")

_renewals: MutableMapping[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def renewed_after_fork(owner: T, renew: Callable[[T], None]) -> None:
    """Call `renew(owner)` now, and again in every child of this process. `renew` must not wait for anything."""
    renew(owner)
    _renewals[owner] = renew


def _after_fork() -> None:
    for owner, renew in list(_renewals.items()):
        renew(owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
