"""The pages where people sign in and approve: the asker's, and the approvers'.

A page takes no form from another site. An error is a page as well, and never a 401, for which a browser would ask for a
password in a window of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from starlette.responses import RedirectResponse, Response

from caveats import CaveatsError
from caveats.http import PasswordCredential, Problem, TokenCredential, bad_request
from caveats_service.core.errors import ServiceError
from caveats_service.core.shown_credentials import shown_password
from caveats_service.discharge import pages
from caveats_service.discharge.decisions import Decisions
from caveats_service.discharge.pages import PageForm
from caveats_service.discharge.protocol import BakeryAnswer
from caveats_service.discharge.routes.endpoint import bakery_response, host, page_response, read_page_form
from caveats_service.discharge.secrets import approve_secret
from caveats_service.http.credentials import require_account, shown_for_account, user_of
from caveats_service.http.errors import problem_of
from caveats_service.http.request import NO_STORE, RequestContext
from caveats_service.storage import Decision, Interaction, ShownCredential, UnknownInteraction

_GONE = "The time is up, or the address is not whole. Begin again where you came from."


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
    return await _decision(request, _of_visit, Decisions.ask, _asker_page)


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
        retype = problem.code == "invalid_credentials" and bool(self.username)
        return PageForm(signed_in, self.username, retype, problem.detail or _title(problem))


_Find = Callable[[RequestContext], Awaitable[Interaction]]
_Take = Callable[..., Awaitable[Interaction]]
_Show = Callable[[RequestContext, Interaction, _Attempt], Awaitable[str]]


async def _page(request: RequestContext, find: _Find, show: _Show) -> Response:
    """The page of an interaction as it is now."""
    try:
        return await _shown(request, await find(request), show, _Attempt())
    except Exception as error:  # noqa: BLE001  # for a person, the table's answer is a page as well
        return _error_page(error)


async def _decision(request: RequestContext, find: _Find, take: _Take, show: _Show) -> Response:
    """What a person decides on a page (`take`, a method of `Decisions`), and that page again."""
    try:
        request.require_own_site()
        fields = await read_page_form(request)
        interaction = await find(request)
        attempt = _Attempt(fields.get("username", ""))
        if interaction.decision is Decision.OPEN:
            if fields.get("decision") not in ("allow", "deny"):
                raise bad_request("the decision is allow or deny")
            allow = fields["decision"] == "allow"
            try:
                shown = await _person(request, fields)
                attempt = replace(attempt, person=shown.username)
                decisions = request.runtime.decisions
                interaction = await take(
                    decisions,
                    interaction,
                    shown,
                    allow=allow,
                    host=host(request),
                    address=request.client_ip or "",
                )
            except Exception as error:  # noqa: BLE001  # the page again, as it is by now, with what went wrong
                interaction, attempt = await find(request), replace(attempt, problem=problem_of(error))
        if interaction.decision is not Decision.OPEN:
            # To the page as it is now, so that neither reloading it nor going back sends its form again.
            return RedirectResponse(request.own_path, 303, NO_STORE)
        return await _shown(request, interaction, show, attempt)
    except Exception as error:  # noqa: BLE001  # for a person, the table's answer is a page as well
        return _error_page(error)


async def _of_visit(request: RequestContext) -> Interaction:
    return await request.runtime.decisions.of_visit(request.param("visit"))


async def _of_approve(request: RequestContext) -> Interaction:
    return await request.runtime.decisions.of_approve(request.param("approve"))


async def _person(request: RequestContext, fields: dict[str, str]) -> ShownCredential:
    """The password that was given or, without one, the session that the browser has."""
    username = fields.get("username", "")
    if username:
        password = PasswordCredential(username, fields.get("password", ""))
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
    match interaction.decision:
        case Decision.GRANTED:
            return page_response(pages.granted_page())
        case Decision.DENIED:
            return page_response(pages.denied_page())
        case Decision.OPEN:
            return page_response(await show(request, interaction, attempt), attempt.status)


async def _asker_page(request: RequestContext, interaction: Interaction, attempt: _Attempt) -> str:
    question = request.runtime.decisions.question(interaction, host=host(request))
    form = attempt.form(await _signed_in(request))
    if interaction.asker is None:
        return pages.sign_in_page(question, interaction.client_ip, form)
    approve_url = f"{request.own_url}/discharge/approve/{approve_secret(request.param('visit'))}"
    return pages.waiting_page(question, interaction.asker, approve_url, form)


async def _approvers_page(request: RequestContext, interaction: Interaction, attempt: _Attempt) -> str:
    if interaction.asker is None:
        return pages.not_yet_page()
    question = request.runtime.decisions.question(interaction, host=host(request))
    signed_in = await _signed_in(request)
    approved = (attempt.person or signed_in) in interaction.approvers
    return pages.approve_page(
        question, interaction.asker, interaction.client_ip, attempt.form(signed_in), approved=approved
    )


def _error_page(error: Exception) -> Response:
    if isinstance(error, UnknownInteraction):
        return page_response(pages.error_page("Nothing to decide here", _GONE), 404)
    problem = problem_of(error)
    return page_response(pages.error_page(_title(problem), problem.detail), _page_status(problem))


def _title(problem: Problem) -> str:
    return problem.title


def _page_status(problem: Problem) -> int:
    return 403 if problem.status == 401 else problem.status
