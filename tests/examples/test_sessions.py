"""docs/sessions.md says what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import sessions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sessions.md"


def test_the_page_has_the_figures_that_come_out(tmp_path: Path) -> None:
    found, link = sessions.figures(tmp_path)
    text = PAGE.read_text("utf-8")
    for row in sessions.rows(found, link):
        assert f"\n{row}\n" in text
    *_, token = found
    assert token.here is not None
    assert token.elsewhere is not None, "the other node has heard of it"
