"""A command at a terminal of its own, with what a person types there."""

from __future__ import annotations

import os
import pty
import subprocess
import time


def at_terminal(command: list[str], environment: dict[str, str], *typed: tuple[str, str]) -> tuple[str, int]:
    """All that the command shows, and its exit code. `typed`: what is waited for, and what is typed then."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    shown, waiting, deadline = "", list(typed), time.monotonic() + 60
    seen = 0
    try:
        while time.monotonic() < deadline:
            ended = running.poll() is not None
            try:
                shown += os.read(ours, 65536).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:  # nobody has the terminal open any more
                break
            if waiting and (at := shown.find(waiting[0][0], seen)) >= 0:
                seen = at + len(waiting[0][0])
                os.write(ours, waiting.pop(0)[1].encode())
            elif ended:
                break
        return shown, running.wait(max(1, deadline - time.monotonic()))
    finally:
        running.kill()
        running.wait()
        os.close(ours)
