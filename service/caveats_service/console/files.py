"""The console's files: what is in each, what type it has, and under which policy the browser shows it.

Knows files and header values; knows no web framework and no person. A file is looked for by a name without dots but for
its ending, so none outside the folder can be named. It is read again when it has changed. Modules are sent without their comments.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent
STYLE = "style.css"
_FOR_THE_CONSOLE = "/* For the console alone"
"""Where the part of the style sheet ends that other pages have as well."""
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FILE = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*\.(css|js|svg)", re.ASCII)
_DOCUMENT = re.compile(r"[a-z]+(?:-[a-z]+)*", re.ASCII)
_FRAME = "page"
"""The name of the template that the documents extend: no document itself."""
_OFFLINE = frozenset({"inspect"})
"""Documents that may ask nobody for anything: what is typed there goes nowhere, and the browser sees to it."""
_COMMENT = re.compile(rb"^[ \t]*(?://.*|/\*(?:[^*]|\*(?!/))*\*/[ \t]*)$", re.MULTILINE)
_SMALL = 600
"""Bytes below which compressing saves nothing."""
_NOTHING = (
    *("accelerometer", "browsing-topics", "camera", "display-capture", "geolocation", "gyroscope", "hid"),
    *("magnetometer", "microphone", "midi", "payment", "serial", "usb", "xr-spatial-tracking"),
)
"""Features of a browser that no page here uses."""


@dataclass(frozen=True, slots=True)
class ConsoleFile:
    """A file as it is sent."""

    content: bytes
    compressed: bytes | None
    """The same in gzip; None where that is not worth it."""
    media_type: str
    etag: str
    """Weak: the same for both forms."""
    headers: Mapping[str, str]
    """What it is sent with, besides type and tag."""


def shared_style() -> str:
    """The part of the style sheet that the pages have as well where people sign in and approve."""
    return (FOLDER / STYLE).read_text("utf-8").partition(_FOR_THE_CONSOLE)[0]


class ConsoleFiles:
    """The files of the console, under the name and the look that the operator gave the service."""

    def __init__(
        self,
        *,
        service: str,
        public_path: str,
        brand: str = "",
        open_registration: bool = False,
        folder: Path = FOLDER,
    ) -> None:
        """`service`: what it is called; empty for Caveats. `public_path`: the path below which browsers reach it, or "".

        `brand`: the operator's style sheet, which comes after the console's. `open_registration`: whether anybody can make an account.
        """
        self._folder = folder
        self._brand = brand.encode()
        self._service = service or "Caveats"
        self._public_path = public_path
        self._open_registration = open_registration
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folder),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._read: dict[str, tuple[tuple[int, int], ConsoleFile]] = {}

    def find(self, name: str) -> ConsoleFile | None:
        """The file of this name, such as `style.css` or `client/index.js`, or the document, such as `inspect`."""
        if _DOCUMENT.fullmatch(name) and name not in (_FRAME, "index"):
            return self._document(name, root="../")
        found = _FILE.fullmatch(name)
        if found is None:
            return None
        path = self._folder / name
        try:
            stat = path.stat()
            version = (stat.st_mtime_ns, stat.st_size)
            known = self._read.get(name)
            if known is not None and known[0] == version:
                return known[1]
            content = path.read_bytes()
            if name == STYLE:
                content += self._brand
            elif found[1] == "js":
                content = _without_comments(content)
        except OSError:
            return None
        file = _file(content, _TYPES[found[1]], _HEADERS)
        self._read[name] = (version, file)
        return file

    def index(self) -> ConsoleFile:
        """The document at `/`."""
        index = self._document("index", root="./")
        assert index is not None
        return index

    def _document(self, name: str, *, root: str) -> ConsoleFile | None:
        """`root`: from this document's address to the service's; as a path of the host where that is known."""
        try:
            template = self._templates.get_template(f"{name}.html")
        except jinja2.TemplateNotFound:
            return None
        html = template.render(
            service=self._service,
            root=f"{self._public_path}/" if self._public_path else root,
            open_registration=self._open_registration,
        )
        return _file(html.encode(), "text/html", _headers_of_document(offline=name in _OFFLINE))


def _without_comments(module: bytes) -> bytes:
    """A module without the comments that begin a line: a third of what is sent. Its lines keep their numbers.

    No text of more than one line in a module has a line that begins with `//` or `/*`.
    """
    return _COMMENT.sub(lambda found: b"\n" * found[0].count(b"\n"), module)


def _file(content: bytes, media_type: str, headers: Mapping[str, str]) -> ConsoleFile:
    compressed = gzip.compress(content, 9, mtime=0) if len(content) >= _SMALL else None
    etag = f'W/"{sha256(content).hexdigest()[:24]}"'
    return ConsoleFile(content, compressed, f"{media_type}; charset=utf-8", etag, headers)


_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-cache",  # kept, and asked for again each time: by its tag, which costs no bytes
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


def _headers_of_document(*, offline: bool) -> Mapping[str, str]:
    """`offline`: no script of this document reaches anybody, and no form and no image do either."""
    policy = {
        "default-src": "'none'",
        "base-uri": "'none'",
        "connect-src": "'none'" if offline else "'self'",
        "form-action": "'none'" if offline else "'self'",
        "frame-ancestors": "'none'",
        "img-src": "data:" if offline else "'self' data:",
        "require-trusted-types-for": "'script'",
        "script-src": "'self'",
        "style-src": "'self'",
        "trusted-types": "'none'",
    }
    return {
        **_HEADERS,
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": ", ".join(f"{feature}=()" for feature in _NOTHING),
        "Vary": "Accept, Accept-Encoding",
        "X-Frame-Options": "DENY",
    }
