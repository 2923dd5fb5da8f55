"""What is pickled, and what is not. Knows the protocol of `pickle` and `copy`, knows no key.

Errors (`caveats.errors.reduce_error`), tokens, contexts, grants and other values are copied and pickled whole. A pickle is
written to pipes, queues and caches, so nothing that holds a key is ever in one.
"""

from __future__ import annotations

import copyreg
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from caveats.errors import NotPicklable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


T = TypeVar("T")


def refuse_pickle(secret: object, _protocol: object = None) -> NoReturn:
    """The `__reduce_ex__` of what holds a secret. Raises `NotPicklable`."""
    name = type(secret).__name__
    raise NotPicklable(f"a {name} is not pickled or copied: make one in each process, of what it was made of")


def itself(value: T, _memo: object = None) -> T:
    """The `__copy__` and `__deepcopy__` of a value that nobody can change."""
    return value


class Secret:
    """Base class of a value that holds a key. It is never pickled. A copy of it is the value itself."""

    __slots__ = ()
    __reduce_ex__ = refuse_pickle
    __copy__ = itself
    __deepcopy__ = itself


def secret_tuple(kind: type[T]) -> type[T]:
    """Decorates a named tuple that holds a key, as `Secret` is: a named tuple has no base class of its own."""
    for name in ("__reduce_ex__", "__copy__", "__deepcopy__"):
        setattr(kind, name, getattr(Secret, name))
    return kind


class Unpicklable:
    """Base class of what holds keys, locks or connections, and changes. It is neither pickled nor copied."""

    __slots__ = ()
    __reduce_ex__ = refuse_pickle


def _frozen(members: dict[Any, Any]) -> Mapping[Any, Any]:
    return MappingProxyType(members)


def _reduce_mapping(mapping: Mapping[Any, Any]) -> tuple[Callable[..., Any], tuple[dict[Any, Any]]]:
    return _frozen, (dict(mapping),)


copyreg.pickle(MappingProxyType, _reduce_mapping)  # values hold them; Python pickles none
