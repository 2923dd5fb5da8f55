"""Names of accounts and of groups: one spelling each. Knows text only.

An account is named by lower-case ASCII, so that no two names look alike: letters as telephones capitalise them are the
same name. Whoever takes a name from outside folds or checks it here, and goes on with the answer.
"""

from __future__ import annotations

import re

from caveats_service.core.errors import BadName

OPERATOR_NAME = "operator"
"""Whoever runs commands on the machine itself, in the audit."""
SERVICE_NAME = "service"
"""What the service does by itself, in the audit."""
_RESERVED = frozenset({OPERATOR_NAME, SERVICE_NAME, "system", "nobody", "anonymous"})
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ADDRESS = re.compile(rf"(?=.{{3,64}}\Z){_ATOM}(?:\.{_ATOM})*@[a-z0-9-]+(?:\.[a-z0-9-]+)*")
"""A mail address without quotes (RFC 5321, section 4.1.2: Dot-string @ Domain)."""


def fold_username(name: str) -> str:
    """`name` in lower case, in which it is stored, shown and compared. Text beyond ASCII, which names nobody, is left alone."""
    return name.lower() if name.isascii() else name


def check_username(name: str) -> str:
    """The name of an account, in lower case. Raises `BadName`, a 400, if it cannot name one."""
    folded = fold_username(name)
    if not is_username(folded):
        raise BadName(
            "a username has 1 to 64 of a-z, 0-9 and . _ @ + -, and begins with a letter or digit, "
            "or is a mail address of at most 64 characters"
        )
    return folded


def check_new_username(name: str) -> str:
    """As `check_username`, for an account that is made now. Raises `BadName` for a name that the audit uses for itself."""
    folded = check_username(name)
    if folded in _RESERVED:
        raise BadName(
            f"no account is called {', '.join(sorted(_RESERVED))}: the audit uses these names for itself"
        )
    return folded


def in_audit(username: str) -> str:
    """How the audit names an account: an older one with a name of the audit's own is told apart by a space."""
    return f"user {username}" if username in _RESERVED else username


def check_group(name: str) -> str:
    """`name` itself if it can name a group: as users are named, and no user has it. 400 if not."""
    if _PLAIN.fullmatch(name) is None:
        raise BadName(
            "a group's name has 1 to 64 of a-z, 0-9 and . _ @ + -, and begins with a letter or digit"
        )
    return name


def is_username(name: str) -> bool:
    """Whether `name` names an account, or could: in lower case only."""
    return _PLAIN.fullmatch(name) is not None or _ADDRESS.fullmatch(name) is not None
