"""The examples as their users have them: their folders on the path, a real service beside them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path[:0] = [
    str(EXAMPLES / folder) for folder in ("", "photos", "photos_caveats", "flask_notes", "approvals", "todo")
]

from local_service import LocalService, local_service  # noqa: E402

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="session")
def examples() -> Path:
    return EXAMPLES


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service that knows alice and bob."""
    with local_service(tmp_path_factory.mktemp("service")) as running:
        running.add_user("alice", PASSWORD)
        running.add_user("bob", PASSWORD)
        yield running
