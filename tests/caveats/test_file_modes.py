"""A secret's file is for one user, or for the group that a pod's secret volume gives it to."""

from __future__ import annotations

import os

import pytest

from caveats.file_modes import is_readable_by_others

ME, MINE, THEIRS = 12345, 2000, 2001


def status(mode: int, owner: int, group: int) -> os.stat_result:
    return os.stat_result((0o100000 | mode, 0, 0, 1, owner, group, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "owner", "group", "by_others"),
    [
        (0o600, ME, MINE, False),
        (0o400, ME, MINE, False),
        (0o400, 0, 0, False),
        (0o440, 0, MINE, False),
        (0o640, 0, MINE, False),
        (0o440, 0, THEIRS, True),
        (0o440, 0, 0, True),
        (0o440, ME, MINE, True),
        (0o440, 999, MINE, True),
        (0o460, 0, MINE, True),
        (0o450, 0, MINE, True),
        (0o444, 0, MINE, True),
        (0o404, 0, MINE, True),
        (0o402, 0, MINE, True),
        (0o604, ME, MINE, True),
    ],
)
def test_who_can_read_a_file(mode: int, owner: int, group: int, *, by_others: bool) -> None:
    assert is_readable_by_others(status(mode, owner, group), user=ME, groups={MINE}) is by_others


def test_for_root_a_group_is_others() -> None:
    assert is_readable_by_others(status(0o440, 0, MINE), user=0, groups={0, MINE})
