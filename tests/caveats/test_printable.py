"""Text of strangers, for a terminal, a table or a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats.printable import printable, without_tokens


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 💩 [red]", "plain é 💩 [red]"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\r\tc\0", "a\\nb\\r\\tc\\x00"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\u2066\u200b\ufeff", "\\u2066\\u200b\\ufeff"),
        ("\x9b31m\x85\u2028", "\\x9b31m\\x85\\u2028"),
        ("\udcff", "\\udcff"),
    ],
    ids=lambda text: ascii(text)[:16],
)
def test_what_is_not_printed_is_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_everything_that_comes_out_can_be_printed_on_one_line(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a token begins with cav1_, this is none", "a token begins with cav1_, this is none"),
        ("not cav1_AgEF.cav1_bound-Zz, nor this", "not cav1_..., nor this"),
        (f"a bare one: {'A' * 64}!", "a bare one: ...!"),
        ("A" * 63, "A" * 63),
    ],
    ids=["the prefix alone", "a bundle", "base64url", "too short for one"],
)
def test_what_looks_like_a_token_is_cut_out(text: str, shown: str) -> None:
    assert without_tokens(text) == shown
