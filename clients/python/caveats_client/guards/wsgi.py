"""The request in a WSGI environ. Knows PEP 3333 and how servers name the request line's target; no framework."""

from collections.abc import Mapping
from typing import Any, Final

from caveats.http import IncomingRequest, path_text

_TARGETS: Final = ("REQUEST_URI", "RAW_URI")
"""The target as it came: Apache, uWSGI, waitress and Werkzeug have the first, gunicorn the second."""


def incoming_of(environ: Mapping[str, Any], *, decoded_paths: bool = False) -> IncomingRequest:
    """The request in `environ`. `decoded_paths`: judge PATH_INFO where the server does not tell the path as it came."""
    target = next((environ[name] for name in _TARGETS if environ.get(name)), None)
    if target is not None:
        path = path_text(_bytes(target).partition(b"?")[0])
    elif decoded_paths:
        path = path_text(_bytes(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")))
    else:
        path = None
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
    )


def _bytes(text: str) -> bytes:
    """WSGI's text is bytes in disguise; what a server made of more than that is left recognisable as strange."""
    return text.encode("latin-1", "backslashreplace")
