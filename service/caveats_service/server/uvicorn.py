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
from caveats_service.server.draining import ServiceServer
from caveats_service.server.header_limit import HeadLimitedProtocol
from caveats_service.server.logging import configure
from caveats_service.server.open_files import raise_limit
from caveats_service.server.workers import Workers, listen
from caveats_service.setting_types import is_service_link
from caveats_service.settings import PREFIX, QUIET_START, Settings, SettingsError, unknown_variables

if TYPE_CHECKING:
    from starlette.applications import Starlette

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

    Raises `SealKeyError`, `StoreError` or `SettingsError` before the first request is served.
    """
    configure(settings)
    for variable, _ in unknown_variables():
        if not is_service_link(variable, os.environ[variable]):
            log.warning("unknown_setting", variable=variable)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash writes no key from memory to a disk
    raise_limit()
    if workers == 1:
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup has asked for that
            signal.signal(signal.SIGHUP, lambda _number, _frame: signal.raise_signal(signal.SIGTERM))
        app = create_app(settings)
        server = ServiceServer(uvicorn.Config(app, **options(settings)), ready=_print_start)
        with contextlib.suppress(KeyboardInterrupt):  # told to stop
            server.run()
        if not (server.started or server.should_exit) or app.state.runtime.ended_work is not None:
            raise SystemExit(1)
        return
    asyncio.run(_prepare(settings))
    os.environ |= {_QUIET: "1"}
    for name in settings.model_fields_set & {"host", "port", "data_dir"}:
        os.environ[f"{PREFIX}{name.upper()}"] = str(getattr(settings, name))
    config = uvicorn.Config(
        "caveats_service.server.uvicorn:worker", factory=True, workers=workers, **options(settings)
    )
    try:
        sockets = listen(settings.host, settings.port, workers, config.backlog)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on port {settings.port} of {settings.host}: {error.strerror}"
        ) from None
    _print_address(settings, workers, sockets[0].getsockname()[1])
    if not Workers(config, sockets).run():
        raise SystemExit(1)


def worker() -> Starlette:
    """The application of one worker process."""
    quiet = os.environ.pop(_QUIET, None)
    settings = Settings.load()
    if quiet:
        os.environ[_QUIET] = quiet
    configure(settings)
    return create_app(settings)


async def _prepare(settings: Settings) -> None:
    """Make in one process what the first start makes, and raise here what would stop every worker."""
    runtime = ServiceRuntime(settings)
    await runtime.start()
    _print_admin(runtime)
    await runtime.stop()


def _print_start(server: ServiceServer) -> None:
    """Print the address, now that requests are accepted there, and after a first start the admin."""
    settings = server.runtime.settings
    port = next((s.sockets[0].getsockname()[1] for s in server.servers if s.sockets), settings.port)
    _print_address(settings, 1, port)
    _print_admin(server.runtime)


def _print_address(settings: Settings, workers: int, port: int) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else host  # noqa: S104  # a display, not a bind
    many = f" ({workers} workers)" if workers > 1 else ""
    _print(f"Caveats is serving on http://{shown}:{port}{many}, data in {settings.data_shown}")


def _print_admin(runtime: ServiceRuntime) -> None:
    first = runtime.first_admin
    if first is None:
        return
    lines = [f"  Admin:    {first.username}"]
    if first.password is not None:
        lines.append(f"  Password: {first.password}   (shown this once; change it with `caveats passwd`)")
    _print("\n".join(lines))


def _print(text: str) -> None:
    """Print it. A reader that is gone, a full disk and a closed output stop no service."""
    try:
        print(text, flush=True)
    except OSError as error:
        log.warning("standard_output_not_written", error=error.strerror)
