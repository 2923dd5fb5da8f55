"""What counts as a token in this package, and its text. Knows no addresses."""

from __future__ import annotations

from typing import TypeAlias

from caveats import Bundle, Macaroon

Token: TypeAlias = str | Macaroon | Bundle
"""A token in any form that an app has it in: text, macaroon, or bundle with discharges."""


def token_text(token: Token) -> str:
    """The canonical text of `token`, fit for a header. Raises `caveats.MalformedToken` or `LimitExceeded`."""
    return (Bundle.decode(token) if isinstance(token, str) else token).encode()
