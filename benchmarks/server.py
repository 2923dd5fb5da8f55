"""The two servers that are compared, on the service's own settings: itself, and Starlette with nothing behind it.

`python -m benchmarks.server service|bare PORT FOLDER`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.sample import AUDIENCE
from caveats_service.app import create_app
from caveats_service.server.logging import configure
from caveats_service.server.uvicorn import options
from caveats_service.settings import Settings

if TYPE_CHECKING:
    from starlette.requests import Request

    from caveats_service.runtime import ServiceRuntime

KEYS = "keys.json"


def _bare() -> Starlette:
    async def authorize(_: Request) -> Response:
        return JSONResponse({"granted": True})

    async def verify(request: Request) -> Response:
        await request.json()
        return JSONResponse({"granted": True})

    return Starlette(
        routes=[Route("/v1/authorize", authorize), Route("/v1/verify", verify, methods=["POST"])]
    )


def _service(settings: Settings, folder: Path) -> Starlette:
    """The service; it leaves the keys of one audience in the folder, so that tokens can be minted outside."""

    def export(node: ServiceRuntime) -> None:
        (folder / KEYS).write_text(json.dumps(node.master_keys.keyring.export(AUDIENCE).to_json()))

    return create_app(settings, on_start=export)


def main() -> None:
    kind, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    settings = Settings.load(port=port, data_dir=folder / "data", log_level="warning")
    configure(settings)
    app = _service(settings, folder) if kind == "service" else _bare()
    uvicorn.run(app, **options(settings))


if __name__ == "__main__":
    main()
