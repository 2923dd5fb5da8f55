"""Run the application under uvicorn: one process, or several on one machine. Knows uvicorn, knows no routes."""

import asyncio
import os
import resource
import signal
import socket
import sys
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from uvicorn.supervisors import Multiprocess

from caveats_service.app import create_app
from caveats_service.runtime import ServiceRuntime
from caveats_service.server.header_limit import HeadLimitedProtocol
from caveats_service.server.logging import configure
from caveats_service.settings import PREFIX, Settings

_QUIET: Final = f"{PREFIX}QUIET_START"
"""Set for the workers: their parent has said where the service is."""


def options(settings: Settings) -> dict[str, Any]:
    """How uvicorn is set up: no access log (it would keep paths and queries), no guesses about proxies."""
    return {
        "host": settings.host,
        "port": settings.port,
        "http": HeadLimitedProtocol,
        "h11_max_incomplete_event_size": settings.max_header_bytes,  # httptools has no such limit: see header_limit.py
        "ws": "none",
        "loop": "uvloop",
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "log_config": None,
        "lifespan": "on",
        "timeout_keep_alive": 30,
        "timeout_graceful_shutdown": 10,
    }


def serve(settings: Settings, workers: int = 1) -> None:
    """Serve until stopped. Settings of several workers travel in the environment.

    Raises `SealKeyError`, `StoreError` or `SettingsError` before anything is served.
    """
    configure(settings)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash writes no key from memory to a disk
    if workers == 1:
        app = create_app(settings, on_start=_leave_when_told)
        server = _Server(uvicorn.Config(app, **options(settings)))
        server.run()
        if not server.started:
            raise SystemExit(1)
        return
    asyncio.run(_prepare(settings))
    _say_where(settings, workers, settings.port)
    os.environ |= {_QUIET: "1"}
    for name in settings.model_fields_set & {"host", "port", "data_dir"}:
        os.environ[f"{PREFIX}{name.upper()}"] = str(getattr(settings, name))
    config = uvicorn.Config(
        "caveats_service.server.uvicorn:worker", factory=True, workers=workers, **options(settings)
    )
    _Workers(config, [config.bind_socket()]).run()


def worker() -> Starlette:
    """The application of one worker process."""
    quiet = os.environ.pop(_QUIET, None)
    settings = Settings.load()
    if quiet:
        os.environ[_QUIET] = quiet
    configure(settings)
    return create_app(settings, on_start=_leave_when_told)


def _leave_when_told(runtime: ServiceRuntime) -> None:
    """Let those go who listen to the feed as soon as the process is told to stop.

    uvicorn waits for all answers to end before it stops the application, and theirs never do.
    """
    loop = asyncio.get_running_loop()

    def leaving(number: signal.Signals) -> None:
        before = signal.getsignal(number)

        def leave(received: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(runtime.take_leave)
            if callable(before):
                before(received, frame)

        signal.signal(number, leave)

    for number in (signal.SIGINT, signal.SIGTERM):
        leaving(number)


class _Workers(Multiprocess):
    """Takes no connection that nobody would answer: while this process had the socket open, the kernel would."""

    def terminate_all(self) -> None:
        for one in self.sockets:
            one.close()
        super().terminate_all()


async def _prepare(settings: Settings) -> None:
    """What the first start makes is made once, and what would stop every worker is said once."""
    runtime = ServiceRuntime(settings)
    await runtime.start()
    _show_admin(runtime)
    await runtime.stop()


class _Server(uvicorn.Server):
    """Says where it is once it can be reached there, and the first time who the admin is."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        app: Any = self.config.app
        runtime: ServiceRuntime = app.state.runtime
        await runtime.start()  # here, where what it raises is not a traceback in the log
        await super().startup(sockets)
        if self.started:
            port = next(
                (s.sockets[0].getsockname()[1] for s in self.servers if s.sockets), runtime.settings.port
            )
            _say_where(runtime.settings, 1, port)
            _show_admin(runtime)


def _say_where(settings: Settings, workers: int, port: int) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else host  # noqa: S104  a display, not a bind
    many = f" ({workers} workers)" if workers > 1 else ""
    print(f"Caveats is serving on http://{shown}:{port}{many}, data in {settings.data_dir}", flush=True)


def _show_admin(runtime: ServiceRuntime) -> None:
    first = runtime.first_admin
    if first is None:
        return
    lines = [f"  Admin:    {first.username}"]
    if first.password is not None:
        lines.append(f"  Password: {first.password}   (shown this once; change it with `caveats passwd`)")
    print("\n".join(lines), flush=True)
    sys.stdout.flush()
