"""`caveats completion`: the completion script of a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from caveats_client.cli.commands import Command
from caveats_client.cli.output import block


@click.command(cls=Command)
@click.argument(
    "shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]), help="bash, zsh or fish."
)
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    For example:

      caveats completion bash >> ~/.bashrc
      caveats completion zsh > ~/.zfunc/_caveats
      caveats completion fish > ~/.config/fish/completions/caveats.fish
    """
    completion_class = get_completion_class(shell)
    assert completion_class is not None
    program = context.find_root().command
    block(completion_class(program, {}, "caveats", "_CAVEATS_COMPLETE").source().strip())
