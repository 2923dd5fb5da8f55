"""A key as people paste and save it: what is wrong is named, and no character of it is repeated."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from caveats import InvalidKey
from caveats.keys import AudienceKeyring, key_from_any_base64, key_from_text

SECRET = bytes([251, 239, 190]) + bytes(range(29))
TEXT = base64.urlsafe_b64encode(SECRET).rstrip(b"=").decode()
STANDARD = base64.b64encode(SECRET).rstrip(b"=").decode()


@given(st.binary(min_size=32, max_size=32))
@example(SECRET)
def test_a_key_in_base64url_is_read(secret: bytes) -> None:
    text = base64.urlsafe_b64encode(secret).decode()
    assert key_from_text(text.rstrip("=")) == secret
    for spelled in (text, text.rstrip("="), base64.b64encode(secret).decode()):
        assert key_from_any_base64(spelled) == secret


FAULTS = {
    "empty": ("", "is empty"),
    "white": (" \n", "is empty"),
    "crlf": (TEXT + "\r\n", "CR LF"),
    "cr": (TEXT + "\r", "CR LF"),
    "newline": (TEXT + "\n", "a line break around it"),
    "space": (" " + TEXT, "spaces"),
    "padded": (TEXT + "=", "has padding"),
    "standard": (STANDARD, "is standard base64"),
    "openssl": (STANDARD + "=", "has padding (=) at its end, is standard base64"),
    "windows": (
        STANDARD + "=\r\n",
        "CR LF (Windows): save it with LF, has padding (=) at its end, is standard base64",
    ),
    "quoted": (f'"{TEXT}"', "is in quotes"),
    "two-lines": (f"{TEXT}\n{TEXT}", "more than one line"),
    "bom": ("\ufeff" + TEXT, "byte order mark"),
    "utf-16": (TEXT.encode("utf-16").decode("latin-1"), "UTF-16"),
    "hexadecimal": (SECRET.hex(), "is hexadecimal"),
    "short": (TEXT[:-1], "has 42 characters"),
    "long": (TEXT + "AA", "has 45 characters"),
    "huge": ("A" * 100_000, "is too long"),
    "spare-bits": (TEXT[:-1] + "9", "in its last character"),
    "other-characters": (TEXT[:-1] + "!", "characters that base64url does not have"),
    "not-ascii": (TEXT[:-1] + "é", "is not ASCII"),
    "surrogate": (TEXT[:-1] + "\udcff", "is not ASCII"),
}


@pytest.mark.parametrize(("text", "fault"), FAULTS.values(), ids=FAULTS)
def test_what_is_wrong_is_named_and_the_key_is_not_shown(text: str, fault: str) -> None:
    with pytest.raises(InvalidKey, match=re.escape(fault)) as refused:
        key_from_text(text)
    said = str(refused.value)
    assert "; a key is 32 bytes as 43 characters of base64url" in said
    assert "\n" not in said
    assert not any(text[at : at + 8] in said for at in range(len(text) - 8))


def test_where_every_base64_is_taken_only_the_rest_is_wrong() -> None:
    with pytest.raises(InvalidKey, match="has 42 characters") as refused:
        key_from_any_base64(STANDARD[:-1] + "=")
    assert "padding" not in str(refused.value)
    with pytest.raises(InvalidKey, match="CR LF"):
        key_from_any_base64(STANDARD + "=\r\n")


@given(st.text(max_size=60))
def test_a_text_is_a_key_or_has_a_fault(text: str) -> None:
    try:
        assert len(key_from_text(text)) == 32
    except InvalidKey as error:
        said = str(error)
    else:
        said = ""
    assert len(said) < 400


def test_a_key_that_was_changed_in_an_exported_keyring_is_named_by_its_fault() -> None:
    row = {"id": "k1", "state": "active", "key": TEXT}
    assert AudienceKeyring.from_json({"audience": "photos", "keys": [row]}).has_key("k1")
    with pytest.raises(InvalidKey, match="not an exported keyring: a key in it has padding") as refused:
        AudienceKeyring.from_json({"audience": "photos", "keys": [{**row, "key": TEXT + "="}]})
    assert TEXT not in str(refused.value)
