"""Text that somebody else wrote, for a terminal, a table or a log. Knows characters, and no markup. The client has one like it."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""`text` with every character that is not printed as an escape, such as `\x1b`, `\n` and `\u202e`.

    A terminal would obey control characters, a line of a log would end, and what turns the direction of writing would
    show another text than the one that is there.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
