"""The extras of this distribution: which one to install where a package is missing.

Knows no package. Imports nothing but the standard library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


_OURS = ("caveats", "caveats_cli", "caveats_client", "caveats_service")


class MissingExtra(ModuleNotFoundError):
    """A package is not installed. The message says which extra of `caveats` adds it; `name` is the package."""


class needs:  # noqa: N801  # it reads as a statement
    """Imports of packages that an extra adds: `with needs("flask"): from flask import Flask`. Raises `MissingExtra`."""

    def __init__(self, extra: str) -> None:
        self._extra = extra

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ModuleNotFoundError) and not isinstance(error, MissingExtra):
            package = (error.name or "").partition(".")[0]
            if package not in _OURS:  # a part of ours that is missing is in no extra
                raise MissingExtra(
                    f"{package} is not installed: pip install 'caveats[{self._extra}]'", name=package
                ) from error
