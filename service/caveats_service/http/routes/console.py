"""The console's files over HTTP: for anyone, since what they show is asked for at /v1 with a credential of its own.

Programs that ask for JSON at `/` are told what this service is, as before there was a console.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from caveats_service.http.errors import not_found
from caveats_service.http.request import NO_STORE, RequestContext

if TYPE_CHECKING:
    from caveats_service.console.files import ConsoleFile


async def index(request: RequestContext) -> Response:
    """The console for a browser, which asks for HTML; what this service is for everybody else."""
    if "text/html" in request.http.headers.get("accept", ""):
        return _sent(request, request.runtime.console.index())
    about = {
        "service": "Caveats",
        "version": version("caveats"),
        "what": "issues, verifies and revokes capability tokens",
        "try": {"sign in": "POST /v1/tokens", "verify": "POST /v1/verify", "is it ready": "GET /readyz"},
    }
    return JSONResponse(about, headers={**NO_STORE, "Vary": "Accept"})


async def file(request: RequestContext) -> Response:
    """A document, style sheet or module of the console."""
    found = request.runtime.console.find(request.param("file"))
    if found is None:
        raise not_found()
    return _sent(request, found)


def _sent(request: RequestContext, file: ConsoleFile) -> Response:
    """The file, compressed if the browser takes that; a 304 if it has it already."""
    headers = {**file.headers, "ETag": file.etag}
    if file.etag in [tag.strip() for tag in request.http.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    if file.compressed is not None and "gzip" in request.http.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(file.compressed, 200, headers, file.media_type)
    return Response(file.content, 200, headers, file.media_type)
