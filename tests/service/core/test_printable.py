"""Text of strangers, for a terminal, a table or a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats_service.core.printable import printable


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
