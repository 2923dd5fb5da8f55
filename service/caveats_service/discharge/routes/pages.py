"""The pages where people sign in and approve: the asker's, and the approvers'.

A page takes no form from another site. An error is a page as well, and never a 401, for which a browser would ask for a
password in a window of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.responses import RedirectResponse, Response

from caveats import CaveatsError
from caveats.http import PasswordCredential, Problem, TokenCredential, bad_request
from caveats_service.core.errors import ServiceError
from caveats_service.core.shown_credentials import shown_password
from caveats_service.discharge.decisions import Decisions
from caveats_service.discharge.pages import LOOKS_EVERY, PageForm
from caveats_service.discharge.protocol import BakeryAnswer
from caveats_service.discharge.routes.endpoint import bakery_response, host, page_response, read_page_form
from caveats_service.discharge.secrets import approve_secret
from caveats_service.http.credentials import (
    owner_who_changes_password,
    require_account,
    shown_for_account,
    user_of,
)
from caveats_service.http.errors import problem_of
from caveats_service.http.request import NO_STORE, RequestContext
from caveats_service.storage import Decision, Interaction, ShownCredential, UnknownInteraction

if TYPE_CHECKING:
    from caveats_service.discharge.questions import Question

_BEGIN_AGAIN = "Begin again where you came from."
_CHANGE = "An administrator has set this password, and it has to be changed before it signs in to anything."
_GONE = f"The time is up, or the address is not whole. {_BEGIN_AGAIN}"
_NOTHING = "Nothing was decided."
_REMEDY_OF_CHANGE = f"{_NOTHING} Type the password that you were given, and a new one of your own."
_REMEDIES = {
    "invalid_credentials": f"{_NOTHING} Type both again. An administrator can set another password.",
    "rate_limited": f"{_NOTHING} Wait a minute, then try again.",
    "unavailable": f"{_NOTHING} Try again in a moment; if it stays so, tell whoever runs this service.",
    "internal": f"{_NOTHING} Try again; if it stays so, tell whoever runs this service.",
    "cross_site": "A form counts only from the page itself: load the page again at its address, and decide there.",
    "bad_request": f"{_NOTHING} Load the page again at its address, and decide there.",
    "forbidden": f"{_NOTHING} If somebody else is to do this, they sign in here with their name and password.",
}
"""What to do after each problem, by its code."""


async def visit(request: RequestContext) -> Response:
    """The asker's page as it is now; for older programs, the address of each way to interact."""
    if "application/json" in request.http.headers.get("accept", ""):
        await _of_visit(request)
        page = request.own_path
        return bakery_response(
            BakeryAnswer(
                {"interactive": page, "agent": page.replace("/discharge/visit/", "/discharge/agent-login/")}
            )
        )
    return await _page(request, _of_visit, _asker_page)


async def decide(request: RequestContext) -> Response:
    """The asker confirms, or gives up."""
    return await _decision(request, _of_visit, Decisions.ask, _asker_page, withdraw=Decisions.withdraw)


async def visit_to_approve(request: RequestContext) -> Response:
    """The approvers' page as it is now."""
    return await _page(request, _of_approve, _approvers_page)


async def approve(request: RequestContext) -> Response:
    """A second person approves or denies."""
    return await _decision(request, _of_approve, Decisions.approve, _approvers_page)


# the way of a request for a page


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt to decide on a page: who made it, and what went wrong."""

    username: str = ""
    """As it was typed."""
    changing: bool = False
    """Whether a new password was given as well."""
    person: str | None = None
    problem: Problem | None = None

    @property
    def status(self) -> int:
        """The status of the page that answers."""
        return 200 if self.problem is None else _page_status(self.problem)

    def form(self, signed_in: str | None) -> PageForm:
        """The form for the next attempt, with the username that was typed."""
        problem = self.problem
        if problem is None:
            return PageForm(signed_in)
        if problem.code == "password_change_required" or self.changing:
            words = _CHANGE if not self.changing else problem.detail or problem.title
            return PageForm(
                signed_in,
                self.username,
                retype=True,
                change_password=True,
                error=words,
                remedy=_REMEDY_OF_CHANGE,
            )
        retype = problem.code == "invalid_credentials" and bool(self.username)
        return PageForm(signed_in, self.username, retype, problem.detail or problem.title, _remedy(problem))


_Find = Callable[[RequestContext], Awaitable[Interaction]]
_Take = Callable[..., Awaitable[Interaction]]
_Withdraw = Callable[..., Awaitable[Interaction]]
_Show = Callable[[RequestContext, Interaction, _Attempt], Awaitable[tuple[str, int | None]]]
"""A page, and in how many seconds it looks again; None for one that waits for whoever reads it."""


async def _page(request: RequestContext, find: _Find, show: _Show) -> Response:
    """The page of an interaction as it is now."""
    try:
        return await _shown(request, await find(request), show, _Attempt())
    except Exception as error:  # noqa: BLE001  # for a person, the table's answer is a page as well
        return _error_page(request, error)


async def _decision(
    request: RequestContext, find: _Find, take: _Take, show: _Show, *, withdraw: _Withdraw | None = None
) -> Response:
    """What a person decides on a page (`take`, a method of `Decisions`), and that page again.

    `withdraw`: what "deny" without a name does on a page whose asker has signed in; its address is the asker's alone.
    """
    try:
        request.require_own_site()
        fields = await read_page_form(request)
        interaction = await find(request)
        attempt = _Attempt(fields.get("username", ""), changing=bool(fields.get("new_password")))
        if interaction.decision is Decision.OPEN:
            if fields.get("decision") not in ("allow", "deny"):
                raise bad_request("the decision is allow or deny")
            allow = fields["decision"] == "allow"
            decisions = request.runtime.decisions
            where = {"host": host(request), "address": request.client_ip or ""}
            try:
                if withdraw and interaction.asker is not None and not allow and not attempt.username:
                    interaction = await withdraw(decisions, interaction, **where)
                else:
                    shown = await _person(request, fields)
                    attempt = replace(attempt, person=shown.username, changing=False)
                    interaction = await take(decisions, interaction, shown, allow=allow, **where)
            except Exception as error:  # noqa: BLE001  # the page again, as it is by now, with what went wrong
                interaction, attempt = await find(request), replace(attempt, problem=problem_of(error))
        if interaction.decision is not Decision.OPEN:
            # To the page as it is now, so that neither reloading it nor going back sends its form again.
            return RedirectResponse(request.own_path, 303, NO_STORE)
        return await _shown(request, interaction, show, attempt)
    except Exception as error:  # noqa: BLE001  # for a person, the table's answer is a page as well
        return _error_page(request, error)


async def _of_visit(request: RequestContext) -> Interaction:
    return await request.runtime.decisions.of_visit(request.param("visit"))


async def _of_approve(request: RequestContext) -> Interaction:
    return await request.runtime.decisions.of_approve(request.param("approve"))


async def _person(request: RequestContext, fields: dict[str, str]) -> ShownCredential:
    """The password that was given or, without one, the session that the browser has."""
    username = fields.get("username", "")
    if username:
        password = PasswordCredential(username, fields.get("password", ""))
        new_password = fields.get("new_password", "")
        if new_password:
            owner = await owner_who_changes_password(request, password)
            await request.runtime.accounts.set_password(owner.username, new_password, actor=owner)
            password = PasswordCredential(username, new_password)
        return shown_password(await user_of(request, password))
    if await _signed_in(request) is None:
        raise Problem(401, "invalid_credentials", "Give your username and your password.")
    return await shown_for_account(request)


async def _signed_in(request: RequestContext) -> str | None:
    """The user whose session this browser has, if it stands for their whole account."""
    try:
        credential = request.credential
        if not isinstance(credential, TokenCredential) or not credential.from_cookie:
            return None
        return (await require_account(request)).username
    except (Problem, ServiceError, CaveatsError):
        return None


# what is on them


async def _shown(
    request: RequestContext, interaction: Interaction, show: _Show, attempt: _Attempt
) -> Response:
    if interaction.decision is Decision.OPEN:
        html, again_after = await show(request, interaction, attempt)
        return page_response(request, html, attempt.status, again_after=again_after)
    try:
        question = _question(request, interaction)
    except CaveatsError:  # the key of its ticket is gone
        question = None
    return page_response(request, request.runtime.pages.decided(_service(request), interaction, question))


def _looks(request: RequestContext) -> bool:
    """Whether a page that waits loads itself again: `?still` says that it does not."""
    return "still" not in request.http.query_params


async def _asker_page(
    request: RequestContext, interaction: Interaction, attempt: _Attempt
) -> tuple[str, int | None]:
    pages, question = request.runtime.pages, _question(request, interaction)
    form = attempt.form(await _signed_in(request))
    if interaction.asker is None:
        return pages.sign_in(_service(request), interaction, question, form), None
    approve_url = f"{request.own_url}/discharge/approve/{approve_secret(request.param('visit'))}"
    looks = _looks(request)
    page = pages.waiting(_service(request), interaction, question, approve_url, form, looks=looks)
    return page, LOOKS_EVERY if looks else None


async def _approvers_page(
    request: RequestContext, interaction: Interaction, attempt: _Attempt
) -> tuple[str, int | None]:
    pages = request.runtime.pages
    if interaction.asker is None:
        looks = _looks(request)
        return pages.not_yet(_service(request), looks=looks), LOOKS_EVERY if looks else None
    question = _question(request, interaction)
    signed_in = await _signed_in(request)
    approved = (attempt.person or signed_in) in interaction.approvers
    form = attempt.form(signed_in)
    return pages.approve(_service(request), interaction, question, form, approved=approved), None


def _question(request: RequestContext, interaction: Interaction) -> Question:
    return request.runtime.decisions.question(interaction, host=host(request))


def _service(request: RequestContext) -> str:
    """What the service is called on its pages."""
    return request.runtime.settings.service_name or urlsplit(request.own_url).netloc


def _error_page(request: RequestContext, error: Exception) -> Response:
    pages, service = request.runtime.pages, _service(request)
    if isinstance(error, UnknownInteraction):
        return page_response(request, pages.error(service, "Nothing to decide here", _GONE, _NOTHING), 404)
    problem = problem_of(error)
    page = pages.error(service, problem.title, problem.detail, _remedy(problem))
    return page_response(request, page, _page_status(problem))


def _remedy(problem: Problem) -> str:
    return _REMEDIES.get(problem.code, f"{_NOTHING} {_BEGIN_AGAIN}")


def _page_status(problem: Problem) -> int:
    return 403 if problem.status == 401 else problem.status
