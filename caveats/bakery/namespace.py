"""Namespaces: the prefix that a macaroon writes before the conditions of each schema. Knows text only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from caveats.errors import MalformedToken

_STANDARD_URI = "std"


@dataclass(frozen=True, slots=True)
class Namespace:
    """Schema URIs with their prefixes, sorted by URI. As text: `std: http:http`. Raises `MalformedToken`."""

    prefixes: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        uris = [uri for uri, _ in self.prefixes]
        if uris != sorted(set(uris)):
            raise MalformedToken("a namespace must list each URI once, sorted")
        for uri, prefix in self.prefixes:
            if not uri or not _is_word(uri) or not _is_word(prefix) or ":" in prefix:
                raise MalformedToken(
                    "a URI or prefix of a namespace must have no space, and a prefix no colon"
                )

    @classmethod
    def parse(cls, text: str) -> Self:
        """The namespace of this text: `uri:prefix`, one space between. Raises `MalformedToken`."""
        if not text:
            return cls()
        pairs = []
        for word in text.split(" "):
            uri, colon, prefix = word.rpartition(":")
            if not colon:
                raise MalformedToken("a namespace reads uri:prefix")
            pairs.append((uri, prefix))
        return cls(tuple(pairs))

    @property
    def prefix(self) -> str:
        """The prefix of the standard conditions, to be followed by a colon. Empty in all known namespaces."""
        return dict(self.prefixes).get(_STANDARD_URI, "")

    def __str__(self) -> str:
        return " ".join(f"{uri}:{prefix}" for uri, prefix in self.prefixes)


def _is_word(text: str) -> bool:
    return text.isprintable() and " " not in text


STANDARD = Namespace(((_STANDARD_URI, ""),))
"""The namespace of most macaroons: the standard conditions, without a prefix."""

HTTP = Namespace((("http", "http"), (_STANDARD_URI, "")))
"""The standard conditions, and those about HTTP requests under the prefix `http`: `http:origin ...`."""
