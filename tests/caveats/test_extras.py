"""A package that is missing is named with the extra that adds it."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

import caveats
from caveats.extras import MissingExtra, needs


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.inside"])
def test_what_is_missing_is_named_with_its_extra(module: str) -> None:
    with pytest.raises(ImportError) as caught, needs("flask"):
        __import__(module)
    assert isinstance(caught.value, MissingExtra)
    assert str(caught.value) == "no_such_package is not installed: pip install 'caveats[flask]'"
    assert caught.value.name == "no_such_package"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_the_innermost_extra_counts() -> None:
    with pytest.raises(MissingExtra, match=r"caveats\[flask\]"), needs("client"), needs("flask"):
        import no_such_package  # noqa: F401


@pytest.mark.parametrize("module", ["caveats.no_such_module", "caveats_client.no_such", "caveats_service.no"])
def test_a_part_of_ours_is_in_no_extra(module: str) -> None:
    with pytest.raises(ModuleNotFoundError) as caught, needs("client"):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    assert not isinstance(caught.value, MissingExtra)


def test_other_errors_pass() -> None:
    with pytest.raises(ImportError, match="cannot import name"), needs("client"):
        from sys import no_such_name  # noqa: F401
    with pytest.raises(ZeroDivisionError), needs("client"):
        1 // 0  # noqa: B018
    with needs("client"):
        pass


def test_the_version_is_the_distributions() -> None:
    assert caveats.__version__ == importlib.metadata.version("caveats")
    with pytest.raises(AttributeError, match="'caveats' has no attribute 'nope'"):
        caveats.nope  # noqa: B018


def test_the_version_is_read_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "__version__" not in vars(caveats)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"the version of {name}")
    assert caveats.__version__ == "the version of caveats"
    assert sys.modules["caveats"] is caveats
