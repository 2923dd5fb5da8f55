"""The pages where people sign in and approve: plain HTML, no script, and nothing loaded from anywhere.

Knows what to show, judges nothing. Everything that somebody else chose is escaped.
"""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from typing import Final

from starlette.responses import HTMLResponse, Response

from caveats_service.call import NO_STORE

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:3em auto;padding:0 1em;color:#222;background:#fff}"
    "h1{font-size:1.4em}label{display:block;margin:.6em 0}input{font:inherit;padding:.3em;width:16em;display:block}"
    "button{font:inherit;padding:.4em 1.2em;margin:.8em .6em 0 0}li{font-family:ui-monospace,monospace}"
    ".said{border-left:4px solid #b00;padding-left:.8em}"
)
_HEADERS: Final = {
    **NO_STORE,
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; "
        f"style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    # Not `no-referrer`: with that, browsers send `Origin: null` along with the page's own form.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def page(title: str, *parts: str, status: int = 200) -> Response:
    """A page of these parts, which are HTML already."""
    body = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>"
    )
    return HTMLResponse(body, status, _HEADERS)


def said(text: str) -> str:
    """What went wrong; nothing if nothing did."""
    return f'<p class="said" role="alert">{escape(text)}</p>' if text else ""


def paragraph(text: str) -> str:
    """A sentence or two."""
    return f"<p>{escape(text)}</p>"


def listed(items: Sequence[str]) -> str:
    """One line each."""
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def address(url: str) -> str:
    """An address, to be sent to somebody."""
    return f"<p><code>{escape(url)}</code></p>"


def form(*, signed_in: str | None, allow: str | None, deny: str) -> str:
    """Who the person is, by session or by password, and their decision; `allow` None: there is only one."""
    who = (
        f"<p>You are signed in as <strong>{escape(signed_in)}</strong>. "
        "Somebody else? Give your name and password.</p>"
        if signed_in
        else ""
    )
    needed = "" if signed_in else " required"
    allowing = f'<button name="decision" value="allow">{escape(allow)}</button>' if allow else ""
    return (
        '<form method="post" accept-charset="utf-8">'
        f"{who}"
        f'<label>Username <input name="username" autocomplete="username" maxlength="64"{needed}></label>'
        '<label>Password <input name="password" type="password" autocomplete="current-password"'
        f' maxlength="1024"{needed}></label>'
        f"{allowing}"
        f'<button name="decision" value="deny">{escape(deny)}</button></form>'
    )
