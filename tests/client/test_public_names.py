"""The names of `caveats_client`: all there, and none imported before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import caveats_client


def test_every_public_name_is_there_and_listed() -> None:
    for name in caveats_client.__all__:
        assert getattr(caveats_client, name) is not None
        assert name in dir(caveats_client)
    assert caveats_client.calls.login is not None


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = caveats_client.Nonsense


def test_a_package_that_is_imported_brings_no_http_library() -> None:
    code = "import sys, caveats_client; print('httpx2' in sys.modules, 'caveats' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
