"""The console script `caveats-service`: what an operator does on the machine itself.

Knows the core and the store; knows no HTTP. `serve` alone starts the server. Help is printed without importing any of
these: a command imports what it needs when it runs.

Reading order: `app` (the list of commands, `serve`, `settings`), `store` (how a command reaches the store, and its exit
code), `output` (what is printed), `users`, `groups`, `agents`, `keys`, `database`, `audit`.
"""

import sys
from typing import Final

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells have it: 128 and SIGINT's number."""


def main() -> None:
    """The console script."""
    try:
        from caveats_service.cli.app import app  # noqa: PLC0415  takes a while, in which Ctrl-C is heard already

        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
