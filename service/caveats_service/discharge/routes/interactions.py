"""Interactions: the pages where people sign in and approve, the addresses where programs wait, and how robots sign in.

An asker has a page to sign in at, and an address to wait at. Whoever approves has a page of their own, whose address the
asker's shows: nobody who was sent there can become the asker, whatever they do. A page never acts for another site, and
every decision names the person who made it.
"""

import os
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

from starlette.responses import Response, StreamingResponse

from caveats import CaveatsError, DischargeRefused, MalformedToken
from caveats.bakery import BakeryMacaroon, decode_header
from caveats.token.wire import decode_base64
from caveats_service.core.errors import ServiceError
from caveats_service.core.usernames import is_username
from caveats_service.discharge import pages, secrets
from caveats_service.discharge.conditions import ApprovedBy
from caveats_service.discharge.descriptions import in_words
from caveats_service.discharge.protocol import (
    DischargeRequired,
    answer,
    decoded,
    read_fields,
    spoken,
    version_of,
)
from caveats_service.discharge.routes.discharge import agent_of, discharged, opened, require
from caveats_service.discharge.service import AskerFacts, Question
from caveats_service.http import schemas
from caveats_service.http.errors import TITLES, Problem, bad_request, not_found, problem_of, unavailable
from caveats_service.http.request import NO_STORE, PasswordCredential, RequestContext, TokenCredential, reply
from caveats_service.storage import Decision, Interaction, StoreError

_DIGEST_SIZE: Final = 32
_FIRST: Final = (
    "After that a second person has to approve. This page is for you alone: once you have signed in, it shows "
    "the address to send to them."
)
_LATE: Final = {**NO_STORE, "X-Accel-Buffering": "no"}
_NOT_YET: Final = "Whoever asks has not signed in yet."
_SEND: Final = (
    "Send this address to somebody who may approve; what you have started goes on by itself once they have:"
)
_APPROVED: Final = "You have approved this. Somebody else still has to, at the address of this page."
_GONE: Final = "The time is up, or the address is not whole. Begin again where you came from."


# the pages


async def visit(request: RequestContext) -> Response:
    """The asker's page as it is now; for older programs, where each way to interact is."""
    if "application/json" in request.http.headers.get("accept", ""):
        await _visited(request)
        page = request.http.url.path
        return answer({"interactive": page, "agent": page.replace("/visit/", "/agent-login/")})
    return await _page(request, _visited, _show_asker)


async def decide(request: RequestContext) -> Response:
    """The asker signs in, or gives up."""
    return await _decision(request, _visited, _ask, _show_asker)


async def visit_to_approve(request: RequestContext) -> Response:
    """The approvers' page as it is now."""
    return await _page(request, _sent, _show_approver)


async def approve(request: RequestContext) -> Response:
    """A second person approves or denies."""
    return await _decision(request, _sent, _approve, _show_approver)


@dataclass(frozen=True, slots=True)
class _Tried:
    """What somebody has just tried on a page: who they turned out to be, and what went wrong."""

    username: str = ""
    """As it was typed."""
    person: str | None = None
    problem: Problem | None = None

    @property
    def status(self) -> int:
        """Of the page that answers. Never 401: browsers would ask in a window of their own."""
        return 200 if self.problem is None else _status(self.problem)

    @property
    def wrong(self) -> str:
        """What went wrong, in words."""
        problem = self.problem
        return "" if problem is None else problem.detail or TITLES.get(problem.code, problem.code)

    def form(self, signed_in: str | None, *, allow: str | None, deny: str) -> str:
        """The form, with what can stay of what was typed."""
        again = self.problem is not None and self.problem.code == "invalid_credentials"
        return pages.form(
            signed_in=signed_in,
            allow=allow,
            deny=deny,
            username=self.username if self.problem else "",
            again=again and bool(self.username),
        )


_Find = Callable[[RequestContext], Awaitable[Interaction]]
_Show = Callable[[RequestContext, Interaction, _Tried], Awaitable[Response]]


async def _page(request: RequestContext, find: _Find, show: _Show) -> Response:
    try:
        return await _show(request, await find(request), show, _Tried())
    except Exception as error:  # noqa: BLE001  # for a person, the table's answer is a page as well
        return _sorry(error)


async def _decision(
    request: RequestContext, find: _Find, take: Callable[..., Awaitable[Interaction]], show: _Show
) -> Response:
    """What a person decides on one of the pages, and that page again."""
    try:
        request.require_own_site()
        fields = await read_fields(request, "username", "password", "decision")
        interaction = await find(request)
        tried = _Tried(fields.get("username", ""))
        if interaction.decision is Decision.OPEN:
            if fields.get("decision") not in ("allow", "deny"):
                raise bad_request("the decision is allow or deny")
            try:
                person = await _person(request, fields)
                tried = replace(tried, person=person)
                interaction = await take(request, interaction, person, allow=fields["decision"] == "allow")
            except Exception as error:  # noqa: BLE001  # the page again, as it is by now, with what went wrong
                interaction, tried = await find(request), replace(tried, problem=_of(error))
        if interaction.decision is not Decision.OPEN:
            return pages.see(request.http.url.path)
        return await _show(request, interaction, show, tried)
    except Exception as error:  # noqa: BLE001  # for a person, the table's answer is a page as well
        return _sorry(error)


async def _visited(request: RequestContext) -> Interaction:
    return await _found(request, secrets.visit_hash(request.param("visit")))


async def _sent(request: RequestContext) -> Interaction:
    return await _found(request, secrets.approve_hash(request.param("approve")))


async def _found(request: RequestContext, hashed: bytes) -> Interaction:
    interaction = await request.runtime.store.interactions.find(visit=hashed, now=request.now)
    if interaction is None:
        raise not_found(_GONE)
    return interaction


async def _person(request: RequestContext, fields: dict[str, str]) -> str:
    """Who decides: whoever gives a password, or else whoever has a session here."""
    username = fields.get("username", "")
    if username:
        return (await request.user_of(PasswordCredential(username, fields.get("password", "")))).username
    person = await _signed_in(request)
    if person is None:
        raise Problem(401, "invalid_credentials", "Give your username and your password.")
    return person


async def _signed_in(request: RequestContext) -> str | None:
    """Whose session this browser has, if that stands for their account."""
    try:
        credential = request.credential
        if not isinstance(credential, TokenCredential) or not credential.from_cookie:
            return None
        return (await request.account()).username
    except (Problem, CaveatsError):
        return None


async def _ask(request: RequestContext, interaction: Interaction, person: str, *, allow: bool) -> Interaction:
    """The asker's part. Raises `DischargeRefused` for what is not this person's to do, and then nothing has changed."""
    if interaction.asker not in (None, person):
        raise DischargeRefused(f"{interaction.asker} asks this. Approve at the address that this page shows.")
    if not allow:
        return await _decide(request, interaction, Decision.DENIED, person)
    question = opened(request, interaction.identifier, interaction.payload)
    facts = await _verdict_facts(request, interaction, person, ())
    verdict = await request.runtime.judge(question, facts, client_ip=interaction.client_ip or None)
    if not verdict.open:
        require(verdict)
    elif interaction.asker == person:
        raise DischargeRefused("You ask this yourself: a second person has to approve.")
    interaction = await request.runtime.store.interactions.take_part(
        interaction.visit_hash, person, as_asker=True, now=request.now, actor=person
    )
    if interaction.asker != person:
        raise DischargeRefused("Somebody else has signed in here meanwhile.")
    return await settle(request, interaction, question, person)


async def _approve(
    request: RequestContext, interaction: Interaction, person: str, *, allow: bool
) -> Interaction:
    """A second person's part. Raises `DischargeRefused` as `_ask` does."""
    asker = interaction.asker
    if asker is None:
        raise DischargeRefused(_NOT_YET)
    if asker == person:
        raise DischargeRefused("You ask this yourself: a second person has to approve.")
    question = opened(request, interaction.identifier, interaction.payload)
    failures = []
    for more in ((), (person,)):
        facts = await _verdict_facts(request, interaction, asker, more)
        verdict = await request.runtime.judge(question, facts, client_ip=interaction.client_ip or None)
        failures.append(verdict.failures)
    if len(failures[0]) == len(failures[1]):
        raise DischargeRefused(f"It is not for {person} to approve this.")
    if not allow:
        return await _decide(request, interaction, Decision.DENIED, person)
    interaction = await request.runtime.store.interactions.take_part(
        interaction.visit_hash, person, as_asker=False, now=request.now, actor=person
    )
    return await settle(request, interaction, question, person)


async def settle(
    request: RequestContext, interaction: Interaction, question: Question, person: str
) -> Interaction:
    """Grant it if everything holds by now; whoever comes last sees all the others."""
    assert interaction.asker is not None
    facts = await _verdict_facts(request, interaction, interaction.asker, ())
    if (await request.runtime.judge(question, facts, client_ip=interaction.client_ip or None)).granted:
        return await _decide(request, interaction, Decision.GRANTED, person)
    return interaction


async def _verdict_facts(
    request: RequestContext, interaction: Interaction, asker: str, more: tuple[str, ...]
) -> AskerFacts:
    return await request.runtime.facts(asker, (*interaction.approvers, *more))


async def _decide(
    request: RequestContext, interaction: Interaction, decision: Decision, person: str
) -> Interaction:
    now = request.runtime.now()
    until = now + request.runtime.settings.discharge_lifetime
    decided = await request.runtime.store.interactions.decide(
        interaction.visit_hash, decision, until=until, now=now, actor=person
    )
    request.runtime.waiters.tell(interaction.wait_hash)
    return decided


async def _show(request: RequestContext, interaction: Interaction, show: _Show, tried: _Tried) -> Response:
    match interaction.decision:
        case Decision.GRANTED:
            return pages.page("Done", pages.paragraph("It is agreed. You can close this window."))
        case Decision.DENIED:
            return pages.page("Denied", pages.paragraph("It was denied. You can close this window."))
        case Decision.OPEN:
            return await show(request, interaction, tried)


async def _show_asker(request: RequestContext, interaction: Interaction, tried: _Tried) -> Response:
    question = opened(request, interaction.identifier, interaction.payload)
    asker, signed_in = interaction.asker, await _signed_in(request)
    if asker is None:
        second = any(isinstance(condition, ApprovedBy) for condition in question.conditions)
        return pages.page(
            "Sign in",
            pages.said(tried.wrong),
            pages.paragraph(
                f"A program{_where(interaction)} wants this service to confirm the following about you. Go on only "
                "if you have just started it yourself."
            ),
            _conditions(question, asker),
            pages.paragraph(_FIRST) if second else "",
            tried.form(signed_in, allow="Confirm" if signed_in else "Sign in and confirm", deny="Deny"),
            status=tried.status,
        )
    approving = f"/discharge/approve/{secrets.approve_of(request.param('visit'))}"
    return pages.page(
        "Waiting for approval",
        pages.said(tried.wrong),
        pages.paragraph(f"{asker} asks for somebody's approval of the following."),
        _conditions(question, asker),
        pages.paragraph(_SEND),
        pages.address(request.own_origin + approving),
        tried.form(signed_in, allow=None, deny="Withdraw"),
        status=tried.status,
    )


async def _show_approver(request: RequestContext, interaction: Interaction, tried: _Tried) -> Response:
    if interaction.asker is None:
        return pages.page(
            "Not yet",
            pages.paragraph(f"{_NOT_YET} Load this page again when they have."),
            status=tried.status,
        )
    question = opened(request, interaction.identifier, interaction.payload)
    asker, signed_in = interaction.asker, await _signed_in(request)
    has_approved = (tried.person or signed_in) in interaction.approvers
    return pages.page(
        "Waiting for approval" if has_approved else "Approve",
        pages.said(tried.wrong),
        pages.paragraph(
            _APPROVED
            if has_approved
            else f"{asker}{_where(interaction)} asks for your approval of the following. Approve only if you know "
            f"from {asker} what it is for."
        ),
        _conditions(question, asker),
        tried.form(signed_in, allow="Approve", deny="Deny"),
        status=tried.status,
    )


def _conditions(question: Question, asker: str | None) -> str:
    return pages.listed([(in_words(condition, asker), str(condition)) for condition in question.conditions])


def _where(interaction: Interaction) -> str:
    return f" at {interaction.client_ip}" if interaction.client_ip else ""


def _of(error: Exception) -> Problem:
    """The problem, with words for a person."""
    if isinstance(error, DischargeRefused):
        return Problem(403, "forbidden", str(error))
    return problem_of(error)


def _status(problem: Problem) -> int:
    return 403 if problem.status == 401 else problem.status


def _sorry(error: Exception) -> Response:
    problem = _of(error)
    status = _status(problem)
    title = "Nothing to decide here" if status == 404 else TITLES.get(problem.code, problem.code)
    return pages.page(
        title, pages.paragraph(problem.detail or "Close this window and begin again."), status=status
    )


# where programs wait


@spoken
async def wait_token(request: RequestContext) -> Response:
    """The token to ask again with, once there is a decision."""
    return await _when_decided(request, _token, {Decision.GRANTED, Decision.DENIED})


@spoken
async def wait(request: RequestContext) -> Response:
    """The discharge itself, once there is a decision: the older way."""
    return await _when_decided(request, discharged, {Decision.GRANTED})


_Tell = Callable[[RequestContext, Interaction], Awaitable[Response]]


async def _token(request: RequestContext, interaction: Interaction) -> Response:
    token = secrets.token_of(request.param("wait"))
    return answer({"kind": secrets.KIND, "token64": b64encode(token).decode("ascii")})


async def _when_decided(request: RequestContext, tell: _Tell, told: Collection[Decision]) -> Response:
    """What there is to tell, once there is a decision.

    Proxies cut connections on which nothing comes for a while, and most programs do not ask again. So after a while
    the answer begins, as one that went well, with spaces, which JSON may have in front of it. `told`: the decisions
    that can still be told then.
    """
    interaction = await _waited(request)
    if interaction is not None and interaction.decision is Decision.OPEN:
        every = request.runtime.settings.poll_keepalive.total_seconds()
        pulses = request.runtime.waiters.keepalives(
            interaction.wait_hash, request.throttle_key, request.http.is_disconnected, every
        )
        async for _ in pulses:
            return StreamingResponse(_late(request, pulses, tell, told), 200, _LATE, "application/json")
        interaction = await _waited(request)
    if interaction is None:
        raise not_found("there is no such interaction, or its time is up")
    if interaction.decision is Decision.OPEN:
        raise unavailable()
    if interaction.decision is Decision.DENIED:
        raise DischargeRefused("it was denied")
    return await tell(request, interaction)


async def _late(
    request: RequestContext, pulses: AsyncIterator[None], tell: _Tell, told: Collection[Decision]
) -> AsyncIterator[bytes]:
    """Spaces, and at last what there is to tell. Where that is nothing but an error, nothing: asked again, it is told."""
    yield b" "
    try:
        async for _ in pulses:
            yield b" "
        interaction = await _waited(request)
        if interaction is not None and interaction.decision in told:
            yield bytes((await tell(request, interaction)).body)
    except (Problem, ServiceError, CaveatsError, StoreError):
        return


async def _waited(request: RequestContext) -> Interaction | None:
    hashed = secrets.wait_hash(request.param("wait"))
    return await request.runtime.store.interactions.find(wait=hashed, now=request.runtime.now())


# the form


@spoken
async def form(request: RequestContext) -> Response:
    """What to ask the user, for programs that ask themselves."""
    await _asked(request)
    return answer(
        {
            "schema": {
                "username": {"description": "username", "type": "string", "mandatory": True, "position": 1},
                "password": {
                    "description": "password",
                    "type": "string",
                    "mandatory": True,
                    "secret": True,
                    "position": 2,
                },
            }
        }
    )


@spoken
async def fill_in(request: RequestContext) -> Response:
    """The form, filled in: whoever is right gets the token."""
    request.require_same_site_if_browser()
    body = await request.read(schemas.FillIn)
    interaction = await _asked(request)
    user = await request.user_of(PasswordCredential(body.form.username, body.form.password))
    question = opened(request, interaction.identifier, interaction.payload)
    await sign_in(request, interaction, question, user.username)
    token = secrets.token_of(request.param("wait"))
    return reply(
        schemas.FilledIn(token=schemas.FormToken(kind=secrets.FORM, value=b64encode(token).decode("ascii")))
    )


async def _asked(request: RequestContext) -> Interaction:
    hashed = secrets.wait_hash(request.param("wait"))
    interaction = await request.runtime.store.interactions.find(wait=hashed, now=request.now)
    if interaction is None:
        raise not_found("there is no such interaction, or its time is up")
    return interaction


async def sign_in(
    request: RequestContext, interaction: Interaction, question: Question, username: str
) -> None:
    """Decide it for an asker who has signed in without the page. Raises `DischargeRefused`."""
    facts = await _verdict_facts(request, interaction, username, ())
    require(await request.runtime.judge(question, facts, client_ip=interaction.client_ip or None))
    interaction = await request.runtime.store.interactions.take_part(
        interaction.visit_hash, username, as_asker=True, now=request.now, actor=username
    )
    if interaction.asker == username:
        interaction = await settle(request, interaction, question, username)
    if interaction.asker != username or interaction.decision is not Decision.GRANTED:
        raise DischargeRefused("somebody else has signed in here, or it was denied")


# agents


@spoken
async def agent(request: RequestContext) -> Response:
    """What an agent has to discharge with its key. Whoever is no agent is told no more than that."""
    query = request.http.query_params
    try:
        digest = decode_base64(request.param("ticket"))
    except MalformedToken:
        digest = b""
    if len(digest) != _DIGEST_SIZE:
        raise bad_request("this address comes from a refused discharge")
    macaroon = await _challenge(request, query.get("username", ""), query.get("public-key", ""), digest)
    return answer({"macaroon": macaroon.to_members()})


@spoken
async def agent_login(request: RequestContext) -> Response:
    """The same for older agents: they complete the challenge, send it along in a cookie, and wait."""
    body = await request.read(schemas.AgentLogin)
    interaction = await _visited(request)
    question = opened(request, interaction.identifier, interaction.payload)
    value = request.http.cookies.get(f"macaroon-{secrets.AGENT}")
    if value is None:
        macaroon = await _challenge(request, body.username, body.public_key, question.digest)
        info = {
            "Macaroon": macaroon.to_members(),
            "MacaroonPath": request.http.url.path,
            "CookieNameSuffix": secrets.AGENT,
        }
        raise DischargeRequired("show that you have the key", info)
    username = await agent_of(request, question, lambda: decode_header(value))
    if username != body.username:
        raise DischargeRefused("there is no such agent")
    await sign_in(request, interaction, question, username)
    return answer({"agent_login": True})


async def _challenge(
    request: RequestContext, username: str, public_key: str, digest: bytes
) -> BakeryMacaroon:
    """What a registered agent has to complete. Raises a 400 `Problem`, or `DischargeRefused` for anybody else."""
    key = decoded(public_key.encode("utf-8", "replace"), "the public key")
    found = await request.runtime.store.agents.find(key)
    if found is None or found.username != username or not is_username(username):
        raise DischargeRefused("there is no such agent")
    return request.runtime.discharges.challenge(
        username, key, digest, nonce=os.urandom(16), now=request.now, version=version_of(request)
    )
