"""Text that somebody else wrote, for a terminal, a table or a log: a service, a user, a token. Knows characters, no markup."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"cav1_[\w.-]{4,}|[A-Za-z0-9_-]{64,}", re.ASCII)


def without_tokens(text: str) -> str:
    """`text`, with everything that looks like a token cut out of it."""
    return _TOKEN.sub(lambda found: "cav1_..." if found[0].startswith("cav1_") else "...", text)


def printable(text: str) -> str:
    r"""`text` with every character that is not printed as an escape, such as `\x1b`, `\n` and `\u202e`.

    A terminal would obey control characters, a line of a log would end, and what turns the direction of writing would
    show another text than the one that is there.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
