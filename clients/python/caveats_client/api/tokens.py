"""The forms of a token that this package accepts, and its text. Knows no addresses."""

from __future__ import annotations

from typing import TypeAlias

from caveats import Bundle, Macaroon

Token: TypeAlias = str | Macaroon | Bundle
"""A token as text, as a macaroon, or as a bundle with its discharges."""


def token_text(token: Token) -> str:
    """The canonical text of `token`, fit for a header. Raises `caveats.MalformedToken` or `LimitExceeded`."""
    return (Bundle.decode(token) if isinstance(token, str) else token).encode()
