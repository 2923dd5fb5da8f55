"""The program `caveats`: tokens from the command line.

Each command is a function in the module of its subject, and one line of the table in `app`. A command reads its
inputs, asks the library or the service, and writes data to standard output and messages to standard error. No command
takes a password from an argument. Commands do not know how requests are sent: the client does that.

To read, in this order: `app` (the table), `commands` (how they are loaded), `parameters`, `exit_codes`; then a command,
such as `inspect`; then what commands share: `inputs`, `service`, `credentials`, `output`, `render`, `durations`,
`third_parties`, `pasted`, `standard_input`, and last `failures` (how each error ends).

This module starts the program and stops it. It imports few modules, so that Ctrl-C works from the start.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from caveats_cli.extras import end_without
from caveats_cli.streams import prepare

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended: 128 plus the signal's number."""


def main() -> NoReturn:
    """Run `caveats` on this process's arguments, and exit."""
    prepare()
    try:
        from caveats_client.cli.app import app  # noqa: PLC0415  # Ctrl-C during the import must end like any other

        app(prog_name="caveats")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as missing:
        end_without(missing, "caveats", "client")
    sys.exit(0)
