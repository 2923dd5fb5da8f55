"""libmacaroons, the C reference implementation, through ctypes. Debian ships it as the package libmacaroons0."""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CHECK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t, use_errno=False
)
_pointer, _text, _size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
_SIGNATURES = {
    "macaroon_create": (_pointer, [_text, _size, _text, _size, _text, _size, _pointer]),
    "macaroon_add_first_party_caveat": (_pointer, [_pointer, _text, _size, _pointer]),
    "macaroon_serialize_size_hint": (_size, [_pointer]),
    "macaroon_serialize": (ctypes.c_int, [_pointer, _text, _size, _pointer]),
    "macaroon_deserialize": (_pointer, [_text, _pointer]),
    "macaroon_destroy": (None, [_pointer]),
    "macaroon_verifier_create": (_pointer, []),
    "macaroon_verifier_destroy": (None, [_pointer]),
    "macaroon_verifier_satisfy_exact": (ctypes.c_int, [_pointer, _text, _size, _pointer]),
    "macaroon_verifier_satisfy_general": (ctypes.c_int, [_pointer, _CHECK, _pointer, _pointer]),
    "macaroon_verify": (ctypes.c_int, [_pointer, _pointer, _text, _size, _pointer, _size, _pointer]),
}


@cache
def load() -> ctypes.CDLL | None:
    """The library, or None if it is not installed."""
    name = ctypes.util.find_library("macaroons")
    if name is None:
        return None
    library = ctypes.CDLL(name)
    for function, (result, arguments) in _SIGNATURES.items():
        getattr(library, function).restype = result
        getattr(library, function).argtypes = arguments
    return library


def mint(library: ctypes.CDLL, root_key: bytes, identifier: bytes, predicates: Sequence[bytes]) -> bytes:
    """The text of a macaroon."""
    error = ctypes.byref(ctypes.c_int())
    macaroon = library.macaroon_create(b"", 0, root_key, len(root_key), identifier, len(identifier), error)
    return _narrowed(library, macaroon, predicates)


def attenuate(library: ctypes.CDLL, text: bytes, predicate: bytes) -> bytes:
    """The text of the macaroon in `text` with one caveat more."""
    macaroon = library.macaroon_deserialize(text, ctypes.byref(ctypes.c_int()))
    return _narrowed(library, macaroon, (predicate,))


def _narrowed(library: ctypes.CDLL, macaroon: int, predicates: Sequence[bytes]) -> bytes:
    error = ctypes.byref(ctypes.c_int())
    for predicate in predicates:
        wider = macaroon
        macaroon = library.macaroon_add_first_party_caveat(wider, predicate, len(predicate), error)
        library.macaroon_destroy(wider)
    size = library.macaroon_serialize_size_hint(macaroon)
    text = ctypes.create_string_buffer(size)
    library.macaroon_serialize(macaroon, text, size, error)
    library.macaroon_destroy(macaroon)
    return text.value


def verify(
    library: ctypes.CDLL,
    text: bytes,
    root_key: bytes,
    exact: Sequence[bytes],
    general: Sequence[Callable[[bytes], bool]] = (),
) -> bool:
    """Whether the macaroon holds: `exact` are predicates to accept as they are, `general` judge the others."""
    error = ctypes.byref(ctypes.c_int())
    macaroon = library.macaroon_deserialize(text, error)
    if not macaroon:
        return False
    verifier = library.macaroon_verifier_create()
    for predicate in exact:
        library.macaroon_verifier_satisfy_exact(verifier, predicate, len(predicate), error)
    callbacks = [_callback(check) for check in general]
    for callback in callbacks:
        library.macaroon_verifier_satisfy_general(verifier, callback, None, error)
    refused: int = library.macaroon_verify(verifier, macaroon, root_key, len(root_key), None, 0, error)
    library.macaroon_verifier_destroy(verifier)
    library.macaroon_destroy(macaroon)
    return refused == 0


@cache
def _callback(check: Callable[[bytes], bool]) -> object:
    def answer(_: object, predicate: Any, size: int) -> int:
        try:
            return 0 if check(predicate[:size]) else -1
        except ValueError:  # it is asked about altered predicates too, and an exception would be printed
            return -1

    return _CHECK(answer)
