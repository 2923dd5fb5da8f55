"""The head of a request in a WSGI environ (PEP 3333): `guard.judge(request_of(environ), ["photos:read"])`.

Knows the names that servers give to the target of the request line. Knows no framework. A server joins repeated headers
with a comma; `caveats.http` counts the values that were joined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caveats.http import IncomingRequest, path_below, path_text
from caveats.kinds import encoded_path

if TYPE_CHECKING:
    from collections.abc import Mapping

_TARGETS = ("REQUEST_URI", "RAW_URI")
"""Names of the unchanged target of the request line. Apache, uWSGI, waitress and Werkzeug: the first; gunicorn: the second."""


def request_of(environ: Mapping[str, Any], *, decoded_paths: bool = False) -> IncomingRequest:
    """The request in `environ`. `decoded_paths`: use PATH_INFO, encoded again, if the server does not give the unchanged path."""
    path: str | None
    routed: str | None = None
    mount = _text(environ.get("SCRIPT_NAME", ""))
    inside = environ.get("PATH_INFO")
    target = next((environ[name] for name in _TARGETS if environ.get(name)), None)
    if target is not None:
        sent = path_text(_bytes(target).partition(b"?")[0])
        path, mount = (sent, mount) if inside is None else path_below(sent, _text(inside), mount)
    else:
        routed = encoded_path(_bytes(environ.get("SCRIPT_NAME", "") + (inside or "")))
        path, routed = (routed, None) if decoded_paths else (None, routed)
    headers = tuple(
        (name[5:].replace("_", "-").lower().encode("latin-1"), _bytes(value))
        for name, value in environ.items()
        if name.startswith("HTTP_") and isinstance(value, str)
    )
    return IncomingRequest(
        method=environ["REQUEST_METHOD"],
        path=path,
        query=_bytes(environ.get("QUERY_STRING", "")),
        headers=headers,
        peer=environ.get("REMOTE_ADDR") or None,
        mount=mount,
        routed=routed,
    )


def _text(path: str) -> str:
    """A decoded path. Bytes that are not UTF-8 become lone surrogates, which are in no plain path."""
    return _bytes(path).decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    """The bytes that WSGI has as latin-1 text. A character beyond latin-1 becomes a backslash and its number."""
    return text.encode("latin-1", "backslashreplace")
