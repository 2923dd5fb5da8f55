"""A macaroon with its discharges: unbound as a holder keeps them, bound as they travel in one header.

Knows text, judges nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from caveats.errors import LimitExceeded, MalformedToken
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.macaroon.macaroon import Macaroon
from caveats.token import legacy
from caveats.token.wire import SEPARATOR, WireMacaroon

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caveats.kinds.base import Caveat


@dataclass(frozen=True, slots=True, init=False)
class Bundle:
    """A macaroon and the discharges bound to it, in any order."""

    macaroon: Macaroon
    discharges: tuple[Macaroon, ...]

    def __init__(
        self, macaroon: Macaroon, discharges: Iterable[Macaroon] = (), limits: Limits = DEFAULT_LIMITS
    ) -> None:
        """`discharges` must be bound; `Bundle.bind` takes unbound ones. Raises `LimitExceeded`."""
        bound = tuple(discharges)
        if len(bound) > limits.discharges:
            raise LimitExceeded(f"a bundle has at most {limits.discharges} discharges")
        object.__setattr__(self, "macaroon", macaroon)
        object.__setattr__(self, "discharges", bound)

    @classmethod
    def bind(
        cls, macaroon: Macaroon, discharges: Iterable[Macaroon], limits: Limits = DEFAULT_LIMITS
    ) -> Bundle:
        """`macaroon` with `discharges`, which this binds to it. Raises `LimitExceeded`.

        A bound discharge is for this macaroon only: to narrow the macaroon later, keep the unbound ones.
        """
        return cls(macaroon, (macaroon.bind(discharge) for discharge in discharges), limits)

    @classmethod
    def decode(cls, text: str, limits: Limits = DEFAULT_LIMITS) -> Bundle:
        """The bundle in `text`: tokens joined by `.`, the root first. Raises `MalformedToken`, `LimitExceeded`."""
        root, discharges = decode_bundle(text, limits)
        return cls(Macaroon(root), map(Macaroon, discharges), limits)

    def encode(self) -> str:
        """The text for a header: the root first, then the discharges."""
        return SEPARATOR.join(macaroon.encode() for macaroon in (self.macaroon, *self.discharges))


def decode_bundle(text: str, limits: Limits = DEFAULT_LIMITS) -> tuple[WireMacaroon, list[WireMacaroon]]:
    """The macaroon and its discharges in `text`. Raises as `Bundle.decode`."""
    if type(text) is not str:
        raise MalformedToken("a bundle is text")
    if len(text) > limits.bundle_text:
        raise LimitExceeded(f"a bundle has at most {limits.bundle_text} characters")
    if text.startswith("{"):  # in JSON a dot separates nothing
        return legacy.decode_text(text, limits), []
    if text.count(SEPARATOR) > limits.discharges:
        raise LimitExceeded(f"a bundle has at most {limits.discharges} discharges")
    root, *discharges = [legacy.decode_text(part, limits) for part in text.split(SEPARATOR)]
    return root, discharges


@dataclass(frozen=True, slots=True)
class Unbound:
    """A macaroon with unbound discharges, as a holder keeps it: it can be narrowed, and is bound each time it is sent."""

    macaroon: Macaroon
    discharges: tuple[Macaroon, ...] = ()

    def attenuate(self, *caveats: Caveat | bytes, limits: Limits = DEFAULT_LIMITS) -> Unbound:
        """The same discharges with a macaroon narrowed by `caveats`. Raises as `Macaroon.attenuate`."""
        return Unbound(self.macaroon.attenuate(*caveats, limits=limits), self.discharges)

    def bind(self, limits: Limits = DEFAULT_LIMITS) -> Bundle:
        """The bundle to send. Raises `LimitExceeded`."""
        return Bundle.bind(self.macaroon, self.discharges, limits)
