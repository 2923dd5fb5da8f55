"""The pages where people sign in and approve: plain HTML, no script, and nothing loaded from anywhere.

Knows what to show, judges nothing. Everything that somebody else chose is escaped.
"""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape as escape_markup
from typing import Final

from starlette.responses import HTMLResponse, RedirectResponse, Response

from caveats_service.http.request import NO_STORE

_STYLE: Final = (
    ":root{color-scheme:light dark;--text:#1d2126;--quiet:#59616b;--page:#fff;--field:#868e97;--main:#1a56c4;"
    "--on-main:#fff;--wrong:#b3261e;--shade:#f3f4f6}"
    "@media(prefers-color-scheme:dark){:root{--text:#e4e6e9;--quiet:#a5adb6;--page:#16181b;--field:#767e87;"
    "--main:#8ab4f8;--on-main:#10151c;--wrong:#f2908a;--shade:#23272c}}"
    "*{box-sizing:border-box}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:3em auto;padding:0 1em;color:var(--text);"
    "background:var(--page);overflow-wrap:anywhere}"
    "h1{font-size:1.4em;line-height:1.3}"
    "ul{list-style:none;margin:1em 0;padding:.7em 1em;background:var(--shade);border-radius:6px}"
    "li+li{margin-top:.6em}"
    "code{display:block;font:.85em/1.5 ui-monospace,monospace;color:var(--quiet)}"
    ".address code{color:inherit;font-size:.9em;user-select:all}"
    "label{display:block;margin:.8em 0}"
    "input{font:inherit;color:inherit;background:var(--page);border:1px solid var(--field);border-radius:4px;"
    "padding:.4em .5em;margin-top:.25em;width:100%;max-width:20em;display:block}"
    "button{font:inherit;padding:.5em 1.2em;margin:.6em .6em 0 0;border:1px solid var(--field);border-radius:4px;"
    "color:inherit;background:var(--page);cursor:pointer}"
    "button.main{color:var(--on-main);background:var(--main);border-color:var(--main)}"
    ":focus-visible{outline:3px solid var(--main);outline-offset:2px}"
    ".said{border-left:4px solid var(--wrong);padding-left:.8em}"
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


def escape(text: str) -> str:
    """Text that somebody else chose: no markup in it, and nothing unseen, such as what turns the line around."""
    seen = text if text.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return escape_markup(seen)


def page(title: str, *parts: str, status: int = 200) -> Response:
    """A page of these parts, which are HTML already."""
    body = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>"
    )
    return HTMLResponse(body, status, _HEADERS)


def see(path: str) -> Response:
    """To the page as it is now, so that neither reloading it nor going back sends its form again."""
    return RedirectResponse(path, 303, NO_STORE)


def said(text: str) -> str:
    """What went wrong; nothing if nothing did."""
    return f'<p class="said" role="alert">{escape(text)}</p>' if text else ""


def paragraph(text: str) -> str:
    """A sentence or two."""
    return f"<p>{escape(text)}</p>"


def listed(items: Sequence[tuple[str, str]]) -> str:
    """One item each: words, if there are any, and what they stand for."""
    shown = [f"<li>{escape(words)}<code>{escape(exact)}</code></li>" for words, exact in items]
    return f"<ul>{''.join(shown)}</ul>"


def address(url: str) -> str:
    """An address, to be sent to somebody."""
    return f'<p class="address"><code>{escape(url)}</code></p>'


def form(
    *, signed_in: str | None, allow: str | None, deny: str, username: str = "", again: bool = False
) -> str:
    """Who the person is, by session or by password, and their decision.

    `allow` None: there is only one. `again`: the password is to be typed again.
    """
    who = (
        f"<p>You are signed in as <strong>{escape(signed_in)}</strong>. "
        "Somebody else? Give your name and password.</p>"
        if signed_in
        else ""
    )
    needed = "" if signed_in else " required"
    allowing = f'<button class="main" name="decision" value="allow">{escape(allow)}</button>' if allow else ""
    begin_here = " autofocus" if again else ""
    return (
        '<form method="post" accept-charset="utf-8">'
        f"{who}"
        f'<label>Username <input name="username" value="{escape(username)}" maxlength="64"'
        f' autocomplete="username" autocapitalize="none" spellcheck="false"{needed}></label>'
        '<label>Password <input name="password" type="password" autocomplete="current-password"'
        f' maxlength="1024"{needed}{begin_here}></label>'
        f"{allowing}"
        f'<button name="decision" value="deny">{escape(deny)}</button></form>'
    )
