"""The service as a third party: its public key, and discharges for tickets that were sealed for it."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.responses import Response

from caveats import Bundle, CaveatsError, DischargeRefused
from caveats.bakery import decode_binaries
from caveats.token.wire import encode_base64
from caveats_service.discharge import secrets
from caveats_service.discharge.conditions import ApprovedBy
from caveats_service.discharge.protocol import DischargeForm, InteractionRequired, answer, read_asked, spoken
from caveats_service.discharge.service import VERSION, AskerFacts, ConditionVerdict, Question
from caveats_service.http.errors import bad_request
from caveats_service.http.request import RequestContext
from caveats_service.storage import Decision, Interaction

_TOLD: Final = "sign in, or have somebody approve, and ask again"


@spoken
async def info(request: RequestContext) -> Response:
    """The public key that tickets are sealed for, and the newest version of the protocol."""
    return answer({"PublicKey": _public_key(request), "Version": VERSION})


@spoken
async def public_key(request: RequestContext) -> Response:
    """The same for older clients."""
    return answer({"PublicKey": _public_key(request)})


def _public_key(request: RequestContext) -> str:
    return b64encode(request.runtime.discharges.public_key).decode("ascii")


@spoken
async def discharge(request: RequestContext) -> Response:
    """A discharge, if what the ticket asks holds for whoever asks; else how it could come to hold."""
    asked = await read_asked(request)
    question = opened(request, asked.identifier, asked.payload)
    if asked.token_kind in (secrets.KIND, secrets.FORM):
        return await _of_interaction(request, question, asked)
    if asked.token_kind == secrets.AGENT:
        facts = await _agent(request, question, asked)
    elif asked.token_kind is not None:
        raise bad_request(f"a token is of kind {secrets.KIND}, {secrets.FORM} or {secrets.AGENT}")
    else:
        facts = await request.runtime.facts(await _caller(request))
    verdict = await request.runtime.judge(question, facts, client_ip=request.client_ip)
    if verdict.open:
        raise await _interaction(request, question, facts, verdict)
    require(verdict)
    macaroon = request.runtime.discharges.answer(
        question, facts, decided_at=request.now, client_ip=request.client_ip
    )
    return answer({"Macaroon": macaroon.to_members()})


def opened(request: RequestContext, identifier: bytes, payload: bytes | None) -> Question:
    """What a ticket asks. Raises `MalformedTicket` or `DischargeRefused`."""
    public_url = request.runtime.settings.public_url
    host = request.http.headers.get("host", "")
    here = {public_url} if public_url else {f"{scheme}://{host}" for scheme in ("http", "https")}
    return request.runtime.discharges.open(identifier, payload, locations=frozenset(here), now=request.now)


def require(verdict: ConditionVerdict) -> None:
    """Raises `DischargeRefused` with every condition that does not hold."""
    if not verdict.granted:
        raise DischargeRefused("; ".join(f"{f.predicate}: {f.reason}" for f in verdict.failures))


async def _caller(request: RequestContext) -> str | None:
    """Who is signed in already: whoever stands for their whole account. A narrower copy was given away for less."""
    return None if request.credential is None else (await request.account()).username


async def _of_interaction(request: RequestContext, question: Question, asked: DischargeForm) -> Response:
    assert asked.token is not None
    token_hash = secrets.token_hash(asked.token)
    interaction = await request.runtime.store.interactions.find(token=token_hash, now=request.now)
    if interaction is None or (interaction.identifier, interaction.payload) != (
        question.identifier,
        question.payload,
    ):
        raise DischargeRefused("the token is for another ticket, or its time is up")
    return await discharged(request, interaction)


async def discharged(request: RequestContext, interaction: Interaction) -> Response:
    """The discharge that was decided on, if it still holds: always the same bytes. Raises `DischargeRefused`."""
    if interaction.decision is not Decision.GRANTED or interaction.decided_at is None:
        raise DischargeRefused("it was denied" if interaction.decided_at else "nobody has decided yet")
    question = opened(request, interaction.identifier, interaction.payload)
    facts = await request.runtime.facts(interaction.asker, interaction.approvers)
    require(await request.runtime.judge(question, facts, client_ip=interaction.client_ip or None))
    macaroon = request.runtime.discharges.answer(
        question, facts, decided_at=interaction.decided_at, client_ip=interaction.client_ip or None
    )
    return answer({"Macaroon": macaroon.to_members()})


async def _agent(request: RequestContext, question: Question, asked: DischargeForm) -> AskerFacts:
    """Who has signed in with a key, which must be theirs still."""
    assert asked.token is not None
    token = asked.token
    return await request.runtime.facts(await agent_of(request, question, lambda: decode_binaries(token)))


async def agent_of(request: RequestContext, question: Question, read: Callable[[], Bundle]) -> str:
    """For whom the agent speaks that completed the challenge for this ticket. Raises `DischargeRefused`."""
    try:
        username, key = request.runtime.discharges.answered(read(), question.digest, now=request.now)
    except CaveatsError as error:
        raise DischargeRefused("the agent's token is not valid") from error
    agent = await request.runtime.store.agents.find(key)
    if agent is None or agent.username != username:
        raise DischargeRefused("there is no such agent")
    return username


async def _interaction(
    request: RequestContext, question: Question, facts: AskerFacts, verdict: ConditionVerdict
) -> InteractionRequired:
    """A new interaction. Its addresses are relative to the third party's location."""
    await request.runtime.rate_limiter.interact(request.throttle_key)
    settings, made = request.runtime.settings, secrets.Secrets.new()
    interaction = Interaction(
        visit_hash=secrets.visit_hash(made.visit),
        wait_hash=secrets.wait_hash(made.wait),
        token_hash=secrets.token_hash(secrets.token_of(made.wait)),
        identifier=question.identifier,
        payload=question.payload,
        client_ip=request.client_ip or "",
        asker=facts.user,
        approvers=(),
        decision=Decision.OPEN,
        created_at=request.now,
        expires_at=request.now + settings.interaction_lifetime,
    )
    await request.runtime.store.interactions.begin(
        interaction, most=settings.max_interactions, now=request.now
    )
    visit = f"discharge/visit/{made.visit}"
    info: dict[str, Any] = {"VisitURL": visit, "WaitURL": f"discharge/wait/{made.wait}"}
    if not question.legacy:
        info["InteractionMethods"] = _methods(question, verdict, made, visit)
    return InteractionRequired(_TOLD, info)


def _methods(
    question: Question, verdict: ConditionVerdict, made: secrets.Secrets, visit: str
) -> Mapping[str, Any]:
    methods: dict[str, Any] = {
        secrets.KIND: {"VisitURL": visit, "WaitTokenURL": f"discharge/wait-token/{made.wait}"}
    }
    if verdict.sign_in:
        digest = encode_base64(question.digest)
        methods[secrets.AGENT] = {"login-url": f"discharge/agent/{digest}"}
        if not any(isinstance(condition, ApprovedBy) for condition in question.conditions):
            methods[secrets.FORM] = {"url": f"discharge/form/{made.wait}"}
    return methods
