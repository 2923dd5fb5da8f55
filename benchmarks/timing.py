"""Time small operations side by side. Knows clocks and batches, knows no tokens."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import thread_time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

Fresh = Callable[[], tuple[Callable[[Any], object], Sequence[Any]]]
"""Makes, untimed, what a batch starts from: the operation, and the arguments to call it with."""


@dataclass(frozen=True)
class Contender:
    """One thing to time."""

    name: str
    fresh: Fresh


def best(contenders: Iterable[Contender], rounds: int) -> dict[str, float]:
    """Microseconds of processor time an operation of each contender, in its best batch.

    Contenders take turns, a batch each a round, so that whatever else the machine does hits all of them;
    the best batch is the one that it hit least. The collector stays on, as it would be in a service.
    """
    field = list(contenders)
    fastest = dict.fromkeys((contender.name for contender in field), float("inf"))
    for _ in range(rounds):
        for contender in field:
            fastest[contender.name] = min(fastest[contender.name], _batch(contender))
    return fastest


def _batch(contender: Contender) -> float:
    operation, arguments = contender.fresh()
    gc.collect()
    gc.freeze()  # what stands before the batch is not for the collector to walk during it
    started = thread_time()
    for argument in arguments:
        operation(argument)
    ended = thread_time()
    gc.unfreeze()
    return (ended - started) / len(arguments) * 1e6


def new_texts(texts: Iterable[Any]) -> list[Any]:
    """The same texts in new objects, as requests bring them: neither hashed nor compared before."""
    return [text.encode().decode() if isinstance(text, str) else text for text in texts]
