"""The completion script of a shell."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import (  # type: ignore[attr-defined]  # meant for use, not marked as exported
    get_completion_script,
)

from caveats_client.cli.render import data


class Shell(StrEnum):
    """The shells that completion is written for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> None:
    """Print the completion script of a shell.

    For example:

      caveats completion bash >> ~/.bashrc
      caveats completion zsh > ~/.zfunc/_caveats
      caveats completion fish > ~/.config/fish/completions/caveats.fish
    """
    data(get_completion_script(prog_name="caveats", complete_var="_CAVEATS_COMPLETE", shell=shell.value))
