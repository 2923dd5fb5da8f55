"""`caveats-service completion`: the completion script of a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from caveats_cli.commands import Command


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print the completion script of a shell: bash, zsh or fish.

    For example:

      caveats-service completion bash >> ~/.bashrc
    """
    completion_class = get_completion_class(shell)
    assert completion_class is not None
    program = context.find_root().command
    script = completion_class(program, {}, "caveats-service", "_CAVEATS_SERVICE_COMPLETE").source()
    click.echo(script.strip())
