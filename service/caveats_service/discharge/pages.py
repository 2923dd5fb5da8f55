"""The pages where people sign in and approve: HTML without scripts, which loads nothing. A part of the console's style sheet stands in them.

Knows the templates, and what each page is about; knows no web framework, no store, and decides nothing. Everything that is put
into a template is escaped, and every unseen character in it (such as U+202E) is spelled out. A folder of the operator's may hold
templates of the same names, which can extend those here as `caveats/base.html`, and `brand.css`, which comes after the style.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from caveats.printable import printable
from caveats_service.console.files import shared_style
from caveats_service.discharge.descriptions import describe
from caveats_service.storage import Decision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from caveats_service.discharge.questions import Question
    from caveats_service.storage import Interaction

_TEMPLATES = (
    *("base.html", "parts.html"),
    *("sign_in.html", "waiting.html", "not_yet.html", "approve.html", "decided.html", "error.html"),
)
_BRAND = "brand.css"
LOOKS_EVERY = 5
"""Seconds after which a page that waits loads itself again, unless it was told not to."""
_CLOSE = "Close this window and begin again where you came from."


class BrandError(Exception):
    """The operator's folder of templates cannot be used. The message says which file, and why."""


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
    remedy: str = ""
    """What to do about it."""
    change_password: bool = False
    """Whether the password has to be changed, by a new one on the same form."""


class Pages:
    """The pages of a service, with the operator's templates where there are some."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: of the operator's templates. Raises `BrandError` if it is none, or if one of them is malformed."""
        own = jinja2.PackageLoader("caveats_service.discharge")
        loaders: list[jinja2.BaseLoader] = [own, jinja2.PrefixLoader({"caveats": own})]
        if folder is not None:
            if not folder.is_dir():
                raise BrandError(f"{folder} is no folder")
            loaders.insert(0, jinja2.FileSystemLoader(folder))
        self._templates = jinja2.Environment(
            loader=jinja2.ChoiceLoader(loaders),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_spelled_out,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self.brand = _brand(folder)
        """The operator's style sheet, which comes after our own; empty without one."""
        style = shared_style() + self.brand
        self._templates.globals["style"] = Markup(style)  # noqa: S704  # our own, and the operator's
        try:
            for name in _TEMPLATES:
                self._templates.get_template(name)
        except (jinja2.TemplateError, OSError, UnicodeDecodeError) as error:
            raise BrandError(f"{folder}: {_first_line(error)}") from error
        self.headers: Mapping[str, str] = MappingProxyType(
            {
                "Cache-Control": "no-store",
                "Content-Security-Policy": (
                    "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; "
                    f"style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'"
                ),
                "Cross-Origin-Opener-Policy": "same-origin",
                # Not `no-referrer`: with that, browsers send `Origin: null` along with the page's own form.
                "Referrer-Policy": "same-origin",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
            }
        )
        """Every page is sent with these."""

    # one method a page; `service`: what the service is called

    def sign_in(self, service: str, interaction: Interaction, question: Question, form: PageForm) -> str:
        """The asker's page before anybody has signed in."""
        return self._page(
            "sign_in.html",
            service,
            form=form,
            at=_at(interaction.client_ip),
            conditions=_conditions(question, None),
            needs_approval=question.needs_approval,
            until=_moment(interaction.expires_at),
        )

    def waiting(
        self,
        service: str,
        interaction: Interaction,
        question: Question,
        approve_url: str,
        form: PageForm,
        *,
        looks: bool,
    ) -> str:
        """The asker's page once they have signed in: where to send the people who approve. `looks`: whether it does so by itself."""
        return self._page(
            "waiting.html",
            service,
            form=form,
            looks=looks,
            asker=interaction.asker,
            approvers=_names(interaction.approvers),
            conditions=_conditions(question, interaction.asker),
            approve_url=approve_url,
            until=_moment(interaction.expires_at),
        )

    def not_yet(self, service: str, *, looks: bool) -> str:
        """The approvers' page before the asker has signed in. `looks`: whether it does so by itself."""
        return self._page("not_yet.html", service, looks=looks)

    def approve(
        self, service: str, interaction: Interaction, question: Question, form: PageForm, *, approved: bool
    ) -> str:
        """The approvers' page. `approved`: the person who looks at it has approved already, and others have to."""
        return self._page(
            "approve.html",
            service,
            form=form,
            approved=approved,
            asker=interaction.asker,
            approvers=_names(interaction.approvers),
            at=_at(interaction.client_ip),
            conditions=_conditions(question, interaction.asker),
            until=_moment(interaction.expires_at),
        )

    def decided(self, service: str, interaction: Interaction, question: Question | None) -> str:
        """After the decision: what was agreed, by whom, until when. `question` None: its ticket cannot be read any more."""
        return self._page(
            "decided.html",
            service,
            granted=interaction.decision is Decision.GRANTED,
            asker=interaction.asker,
            approvers=_names(interaction.approvers),
            conditions=[] if question is None else _conditions(question, interaction.asker),
            decided_at=_moment(interaction.decided_at or interaction.created_at),
            until=_moment(interaction.expires_at),
        )

    def error(self, service: str, heading: str, text: str, remedy: str = "") -> str:
        """A page that says what went wrong and what to do, where the interaction has none to show."""
        return self._page("error.html", service, heading=heading, text=text, remedy=remedy or _CLOSE)

    def _page(self, name: str, service: str, **values: object) -> str:
        return self._templates.get_template(name).render(service=service, **values)


def _brand(folder: Path | None) -> str:
    brand = None if folder is None else folder / _BRAND
    try:
        added = brand.read_text("utf-8") if brand is not None and brand.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise BrandError(f"{brand}: {_first_line(error)}") from error
    if "</style" in added.lower():
        raise BrandError(f"{brand}: a style sheet has no markup")
    return added


def _spelled_out(value: Any) -> Any:
    """What a template shows: markup as it is, and text that somebody else may have chosen without unseen characters."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else printable(value)


def _conditions(question: Question, asker: str | None) -> list[tuple[str, str]]:
    """One pair each: in words, if it has any, and exactly."""
    return [(describe(condition, asker), str(condition)) for condition in question.conditions]


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _at(client_ip: str) -> str:
    return f" at {client_ip}" if client_ip else ""


def _first_line(error: Exception) -> str:
    place = f"{error.name}, line {error.lineno}: " if isinstance(error, jinja2.TemplateSyntaxError) else ""
    return f"{place}{str(error).partition(chr(10))[0]}"
