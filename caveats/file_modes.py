"""Who can read a file with a secret, by its owner, its group and its mode. Knows numbers; opens nothing."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Collection

_ROOT = 0


def is_readable_by_others(status: os.stat_result, *, user: int, groups: Collection[int]) -> bool:
    """Whether others than this process's user can use the file. `user`, `groups`: the effective ids of this process.

    A group may read, and no more, where root owns the file and the group is one of this process's own: so Kubernetes
    mounts a secret for a pod with `fsGroup`, root:group and mode 0440. A file that is the user's own is for the user
    alone: `chmod 600` makes it so.
    """
    mode = stat.S_IMODE(status.st_mode)
    is_mounted = user != _ROOT == status.st_uid and status.st_gid in groups and status.st_gid != _ROOT
    return bool(mode & (0o037 if is_mounted else 0o077))
