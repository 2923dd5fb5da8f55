"""Names of accounts and of groups: one spelling each. Knows text only."""

from __future__ import annotations

import re

from caveats_service.core.errors import BadName

_USERNAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


def check_username(name: str) -> str:
    """`name` itself if it can name an account: lower-case ASCII, so that no two of them look alike. 400 if not."""
    if _USERNAME.fullmatch(name) is None:
        raise BadName("a username has 1 to 64 of a-z, 0-9 and . _ @ + -, and begins with a letter or digit")
    return name


def check_group(name: str) -> str:
    """`name` itself if it can name a group: as users are named, and no user has it. 400 if not."""
    if _USERNAME.fullmatch(name) is None:
        raise BadName(
            "a group's name has 1 to 64 of a-z, 0-9 and . _ @ + -, and begins with a letter or digit"
        )
    return name


def is_username(name: str) -> bool:
    """Whether `name` can name an account."""
    return _USERNAME.fullmatch(name) is not None
