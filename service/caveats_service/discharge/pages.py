"""The pages where people sign in and approve: HTML without scripts, which loads nothing.

Knows the text and the form of each page; knows no web framework, no store, and decides nothing. Everything that somebody
else chose is escaped.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from html import escape as escape_markup
from typing import TYPE_CHECKING

from caveats.printable import printable
from caveats_service.discharge.descriptions import describe

if TYPE_CHECKING:
    from caveats_service.discharge.questions import Question

_STYLE = (
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
HEADERS = {
    "Cache-Control": "no-store",
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
"""Every page is sent with these."""


@dataclass(frozen=True, slots=True)
class PageForm:
    """The form of a page: who the person is, by session or by password, and their decision."""

    signed_in: str | None = None
    """Whose session the browser has."""
    username: str = ""
    """What was typed before."""
    retype: bool = False
    """Whether the password was wrong and is to be typed again."""
    error: str = ""
    """What was wrong with the last attempt."""

    def html(self, *, allow: str | None, deny: str) -> str:
        """The form, with these words on its buttons. `allow` None: without that button."""
        who = (
            f"<p>You are signed in as <strong>{escape(self.signed_in)}</strong>. "
            "Somebody else? Give your name and password.</p>"
            if self.signed_in
            else ""
        )
        needed = "" if self.signed_in else " required"
        allowing = (
            f'<button class="main" name="decision" value="allow">{escape(allow)}</button>' if allow else ""
        )
        begin_here = " autofocus" if self.retype else ""
        return (
            '<form method="post" accept-charset="utf-8">'
            f"{who}"
            f'<label>Username <input name="username" value="{escape(self.username)}" maxlength="64"'
            f' autocomplete="username" autocapitalize="none" spellcheck="false"{needed}></label>'
            '<label>Password <input name="password" type="password" autocomplete="current-password"'
            f' maxlength="1024"{needed}{begin_here}></label>'
            f"{allowing}"
            f'<button name="decision" value="deny">{escape(deny)}</button></form>'
        )


# one function a page


def sign_in_page(question: Question, client_ip: str, form: PageForm) -> str:
    """The asker's page before anybody has signed in. `client_ip`: of the program that asks; may be empty."""
    return page(
        "Sign in",
        _alert(form.error),
        _paragraph(
            f"A program{_at(client_ip)} wants this service to confirm the following about you. Go on only "
            "if you have just started it yourself."
        ),
        _conditions(question, None),
        _paragraph(
            "After that a second person has to approve. This page is for you alone: once you have signed in, it "
            "shows the address to send to them."
        )
        if question.needs_approval
        else "",
        form.html(allow="Confirm" if form.signed_in else "Sign in and confirm", deny="Deny"),
    )


def waiting_page(question: Question, asker: str, approve_url: str, form: PageForm) -> str:
    """The asker's page once they have signed in: where to send the people who approve."""
    return page(
        "Waiting for approval",
        _alert(form.error),
        _paragraph(f"{asker} asks for somebody's approval of the following."),
        _conditions(question, asker),
        _paragraph(
            "Send this address to somebody who may approve; what you have started goes on by itself once they have:"
        ),
        f'<p class="address"><code>{escape(approve_url)}</code></p>',
        form.html(allow=None, deny="Withdraw"),
    )


def not_yet_page() -> str:
    """The approvers' page before the asker has signed in."""
    return page(
        "Not yet",
        _paragraph("The person who asks has not signed in yet. Load this page again when they have."),
    )


def approve_page(question: Question, asker: str, client_ip: str, form: PageForm, *, approved: bool) -> str:
    """The approvers' page. `approved`: the person who looks at it has approved already, and others have to."""
    return page(
        "Waiting for approval" if approved else "Approve",
        _alert(form.error),
        _paragraph(
            "You have approved this. Somebody else still has to, at the address of this page."
            if approved
            else f"{asker}{_at(client_ip)} asks for your approval of the following. Approve only if you know "
            f"from {asker} what it is for."
        ),
        _conditions(question, asker),
        form.html(allow="Approve", deny="Deny"),
    )


def granted_page() -> str:
    """After the decision."""
    return page("Done", _paragraph("It is agreed. You can close this window."))


def denied_page() -> str:
    """After the decision."""
    return page("Denied", _paragraph("It was denied. You can close this window."))


def error_page(title: str, text: str) -> str:
    """A page that says what went wrong, where the interaction has none to show."""
    return page(title, _paragraph(text or "Close this window and begin again."))


# what they are made of


def page(title: str, *parts: str) -> str:
    """A page of these parts, which are HTML already."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>"
    )


def escape(text: str) -> str:
    """Text that somebody else chose, without markup, and with every unseen character (such as U+202E) spelled out."""
    return escape_markup(printable(text))


def _alert(text: str) -> str:
    return f'<p class="said" role="alert">{escape(text)}</p>' if text else ""


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _conditions(question: Question, asker: str | None) -> str:
    """One item each: in words, if it has any, and exactly."""
    items = [
        f"<li>{escape(describe(condition, asker))}<code>{escape(str(condition))}</code></li>"
        for condition in question.conditions
    ]
    return f"<ul>{''.join(items)}</ul>"


def _at(client_ip: str) -> str:
    return f" at {client_ip}" if client_ip else ""
