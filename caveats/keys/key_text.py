"""A key as text, and what is wrong with a text that is none: 32 bytes as 43 characters of base64url.

Knows characters; knows no file and not what the key is for. No message repeats a character of the text.
"""

from __future__ import annotations

from caveats.errors import InvalidKey, MalformedToken
from caveats.token import decode_any_base64, decode_base64

_SIZE = 32
_FORM = f"{_SIZE} bytes as 43 characters of base64url"
_STANDARD = "standard base64 (in base64url + is - and / is _)"
_CHARACTERS = 43
_LONGEST_COUNTED = 100
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_QUOTES = ("'", '"', "`")


def key_from_text(text: str) -> bytes:
    """The 32 bytes in `text`, which is base64url without padding, spaces or spare bits.

    Raises `InvalidKey`, whose message says what is wrong, as in "has padding (=) at its end; a key is ...".
    """
    try:
        key = decode_base64(text)
    except MalformedToken:
        key = b""
    if len(key) != _SIZE:
        raise InvalidKey(f"{key_fault(text)}; a key is {_FORM}")
    return key


def key_from_any_base64(text: str) -> bytes:
    """As `key_from_text`, from base64 of either alphabet, padded or not."""
    try:
        key = decode_any_base64(text)
    except MalformedToken:
        key = b""
    if len(key) != _SIZE:
        bare = text.rstrip("=").replace("+", "-").replace("/", "_")
        raise InvalidKey(f"{key_fault(bare)}; a key is {_SIZE} bytes in base64")
    return key


def key_fault(text: str) -> str:
    """What is wrong with a text that is no key in base64url: the rest of a sentence that begins with "the key"."""
    if not text.strip():
        return "is empty"
    if "\ufeff" in text or "\0" in text or "\ufffe" in text:
        return "is not ASCII: it begins with a byte order mark, or is UTF-16; save it as plain text"
    faults = _around(text)
    key = text.strip().strip("".join(_QUOTES))
    if "=" in key[-2:] and len(key) > 1:
        faults.append("has padding (=) at its end")
        key = key.rstrip("=")
    if "+" in key or "/" in key:
        faults.append(f"is {_STANDARD}")
        key = key.replace("+", "-").replace("/", "_")
    faults += _inside(key)
    return ", ".join(faults) or "is malformed"


def _around(text: str) -> list[str]:
    """What stands around a key that was saved by an editor, or pasted with more than itself."""
    faults = []
    if "\r" in text:
        faults.append("ends its line with CR LF (Windows): save it with LF")
    bare = text.replace("\r\n", "").replace("\r", "")
    if len(bare.strip().splitlines()) > 1:
        faults.append("has more than one line")
    elif bare != bare.strip():
        faults.append("has spaces or a line break around it")
    if bare.strip()[:1] in _QUOTES or bare.strip()[-1:] in _QUOTES:
        faults.append("is in quotes")
    return faults


def _inside(key: str) -> list[str]:
    if not key.isascii():
        return ["is not ASCII"]
    if any(not (character.isalnum() or character in "-_") for character in key):
        return [] if len(key.splitlines()) > 1 else ["has characters that base64url does not have"]
    if len(key) == 2 * _SIZE and _HEXADECIMAL.issuperset(key):
        return ["is hexadecimal"]
    if len(key) > _LONGEST_COUNTED:
        return ["is too long"]
    if len(key) != _CHARACTERS:
        return [f"has {len(key)} characters"]
    try:
        decode_base64(key)
    except MalformedToken:
        return ["was changed in its last character"]
    return []
