"""Run the application under uvicorn: in one process, or in several that share a port. Knows uvicorn, knows no routes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from typing import TYPE_CHECKING, Any

import uvicorn

from caveats_service.app import create_app
from caveats_service.core import log
from caveats_service.runtime import ServiceRuntime
from caveats_service.server import listening
from caveats_service.server.announcing import announce, print_admin
from caveats_service.server.draining import ServiceServer
from caveats_service.server.header_limit import HeadLimitedProtocol
from caveats_service.server.logging import configure
from caveats_service.server.open_files import raise_limit
from caveats_service.server.workers import ENDING, Workers
from caveats_service.setting_types import is_service_link
from caveats_service.settings import PREFIX, QUIET_START, Settings, unknown_variables

if TYPE_CHECKING:
    import socket
    from types import FrameType

    from starlette.applications import Starlette

    from caveats_service.core.accounts import FirstAdmin

_QUIET = f"{PREFIX}{QUIET_START}"


def options(settings: Settings) -> dict[str, Any]:
    """Settings of uvicorn: no access log, since it would keep paths and queries, and no guesses about proxies."""
    return {
        "host": settings.host,
        "port": settings.port,
        "http": HeadLimitedProtocol,
        "h11_max_incomplete_event_size": settings.max_header_bytes,  # httptools has no such limit: see header_limit.py
        "ws": "none",
        "loop": "auto",  # uvloop where it is installed
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "log_config": None,
        "lifespan": "on",
        "timeout_keep_alive": int(settings.keep_alive_timeout.total_seconds()),
        "timeout_graceful_shutdown": 10,
    }


def serve(settings: Settings, workers: int = 1) -> None:
    """Serve until the process is told to stop. Several workers get their settings through the environment.

    The port is bound before anything is made. Raises `SealKeyError`, `StoreError` or `SettingsError` before the first
    request is served.
    """
    configure(settings)
    for variable, _ in unknown_variables():
        if not is_service_link(variable, os.environ[variable]):
            log.warning("unknown_setting", variable=variable)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash writes no key from memory to a disk
    raise_limit()
    with listening.told(settings.host, settings.port):
        sockets = listening.bind(settings.host, settings.port)
    try:
        well = (
            _serve_alone(settings, sockets) if workers == 1 else _serve_together(settings, sockets, workers)
        )
    finally:
        listening.close(sockets)
    if not well:
        raise SystemExit(1)


def _serve_alone(settings: Settings, sockets: list[socket.socket]) -> bool:
    """Serve in this process. False if it has ended by itself."""
    # After the stop uvicorn raises what it was told to stop with: both are a `KeyboardInterrupt` then, and exit code 0.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup has asked for that
        signal.signal(signal.SIGHUP, lambda _number, _frame: signal.raise_signal(signal.SIGTERM))
    app = create_app(settings)
    runtime: ServiceRuntime = app.state.runtime
    port = sockets[0].getsockname()[1]

    def say(_server: ServiceServer) -> None:
        announce(settings, port, runtime.first_admin)

    server = ServiceServer(uvicorn.Config(app, **options(settings)), ready=say)
    try:
        with contextlib.suppress(KeyboardInterrupt):  # told to stop
            server.run(sockets)
    except SystemExit:  # uvicorn's own, whose number says nothing
        return False
    finally:
        if not server.started:  # no later start shows it
            print_admin(runtime.first_admin)
    return (server.started or server.should_exit) and runtime.ended_work is None


def _serve_together(settings: Settings, sockets: list[socket.socket], workers: int) -> bool:
    """Serve in so many processes. False if none could be started."""
    os.environ |= {_QUIET: "1"}
    for name in settings.model_fields_set & {"host", "port", "data_dir"}:
        os.environ[f"{PREFIX}{name.upper()}"] = str(getattr(settings, name))
    config = uvicorn.Config(
        "caveats_service.server.uvicorn:worker", factory=True, workers=workers, **options(settings)
    )
    port = sockets[0].getsockname()[1]
    first: list[FirstAdmin | None] = []

    def say() -> None:
        announce(settings, port, first.pop(), workers=workers)

    signals = _noted_signals()  # the administrator's password is shown before they end the service
    first.append(asyncio.run(_prepare(settings, sockets, config.backlog)))
    try:
        return Workers(config, sockets, ready=say, signals=signals).run()
    finally:
        if first:  # no worker has served, and no later start shows it
            print_admin(first.pop())


def _noted_signals() -> list[int]:
    """The signals that have told the service to end, from now on. A second one raises `KeyboardInterrupt`."""
    told: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        if len(told) > 1:
            raise KeyboardInterrupt

    for number in ENDING:
        signal.signal(number, note)
    return told


def worker() -> Starlette:
    """The application of one worker process."""
    quiet = os.environ.pop(_QUIET, None)
    settings = Settings.load()
    if quiet:
        os.environ[_QUIET] = quiet
    configure(settings)
    return create_app(settings)


async def _prepare(settings: Settings, sockets: list[socket.socket], backlog: int) -> FirstAdmin | None:
    """Listen, and make in one process what the first start makes. Raises here what would stop every worker.

    Returns the administrator, if this was the first start.
    """
    runtime = ServiceRuntime(settings)
    await runtime.start(before_admin=lambda: listening.listen(sockets, backlog))
    await runtime.stop()
    return runtime.first_admin
