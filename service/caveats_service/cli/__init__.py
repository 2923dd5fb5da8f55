"""The console script `caveats-service`: what an operator does on the machine itself.

Knows the core and the store; knows no HTTP. `serve` alone starts the server. Each command is a function in the module of
its subject, and one line of the table in `app`; it is imported when it runs.

Reading order: `app` (the table), `commands` (how they are loaded), `store` (how a command reaches the store, and its exit
code), `output` (what is printed); then the subjects: `users`, `groups`, `agents`, `keys`, `database`, `damage`, `audit`,
`settings`, `serve`, `completion`; and `streams`, the standard streams.
"""

from __future__ import annotations

import sys

from caveats_cli.extras import end_without
from caveats_cli.streams import prepare

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and SIGINT's number."""


def main() -> None:
    """The console script."""
    prepare()
    try:
        from caveats_service.cli.app import app  # noqa: PLC0415  # Ctrl-C during the import must end like any other

        app(prog_name="caveats-service")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as missing:
        end_without(missing, "caveats-service", "service")
