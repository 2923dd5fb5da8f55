"""The public key, and discharges for tickets that were sealed for it."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from caveats.bakery import BakeryMacaroon, decode_binaries
from caveats.http import bad_request
from caveats.token import encode_base64
from caveats_service.discharge import protocol
from caveats_service.discharge.protocol import BakeryAnswer, DischargeForm
from caveats_service.discharge.routes.endpoint import (
    bakery_endpoint,
    bakery_response,
    host,
    open_question,
    protocol_version,
    read_discharge_form,
)
from caveats_service.http.credentials import shown_for_account

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from caveats_service.discharge.questions import ConditionVerdict, Question
    from caveats_service.discharge.secrets import InteractionSecrets
    from caveats_service.http.request import RequestContext
    from caveats_service.storage import ShownCredential

_KINDS = f"{protocol.BROWSER_WINDOW}, {protocol.FORM} or {protocol.AGENT}"


@bakery_endpoint
async def info(request: RequestContext) -> Response:
    """The public key that tickets are sealed for, and the newest version of the protocol."""
    return bakery_response(BakeryAnswer({"PublicKey": _public_key(request), "Version": protocol.NEWEST}))


@bakery_endpoint
async def public_key(request: RequestContext) -> Response:
    """The public key, for older clients."""
    return bakery_response(BakeryAnswer({"PublicKey": _public_key(request)}))


def _public_key(request: RequestContext) -> str:
    return b64encode(request.runtime.discharges.public_key).decode("ascii")


@bakery_endpoint
async def discharge(request: RequestContext) -> Response:
    """A discharge if the ticket's conditions hold for the caller; else the ways to make them hold."""
    form = await read_discharge_form(request)
    question = open_question(request, form.identifier, form.payload)
    discharges = request.runtime.discharges
    match form.token_kind:
        case None:
            asker = None if request.credential is None else await shown_for_account(request)
        case protocol.AGENT:
            asker = await _agent(request, question, form)
        case protocol.BROWSER_WINDOW | protocol.FORM:
            return await _decided(request, question, form)
        case _:
            raise bad_request(f"a token is of kind {_KINDS}")
    facts = await discharges.facts(None if asker is None else asker.username)
    verdict = await discharges.judge(question, facts, client_ip=request.client_ip)
    if verdict.open:
        return await _interaction(request, question, asker, verdict)
    verdict.require()
    return discharge_response(
        discharges.discharge(question, facts, decided_at=request.now, client_ip=request.client_ip)
    )


def discharge_response(macaroon: BakeryMacaroon) -> Response:
    """The discharge."""
    return bakery_response(BakeryAnswer({"Macaroon": macaroon.to_members()}))


async def _agent(request: RequestContext, question: Question, form: DischargeForm) -> ShownCredential:
    """What the agent has shown that has completed a challenge."""
    token = form.token
    assert token is not None
    return await request.runtime.discharges.agent_user(question, lambda: decode_binaries(token))


async def _decided(request: RequestContext, question: Question, form: DischargeForm) -> Response:
    """The discharge that people have decided on."""
    assert form.token is not None
    decisions = request.runtime.decisions
    interaction = await decisions.of_token(form.token, question)
    return discharge_response(await decisions.discharge(interaction, host=host(request)))


async def _interaction(
    request: RequestContext, question: Question, asker: ShownCredential | None, verdict: ConditionVerdict
) -> Response:
    """A new interaction. Its addresses are relative to the third party's location."""
    await request.runtime.rate_limiter.interact(request.throttle_key)
    made = await request.runtime.decisions.begin(question, asker=asker, client_ip=request.client_ip)
    info: dict[str, Any] = {
        "VisitURL": f"discharge/visit/{made.visit}",
        "WaitURL": f"discharge/wait/{made.wait}",
    }
    if not question.legacy:
        info["InteractionMethods"] = _methods(question, verdict, made)
    return bakery_response(
        protocol.interaction_required(
            "sign in, or have somebody approve, and ask again", info, protocol_version(request)
        )
    )


def _methods(question: Question, verdict: ConditionVerdict, made: InteractionSecrets) -> Mapping[str, Any]:
    """The ways to interact, each with its addresses."""
    methods: dict[str, Any] = {
        protocol.BROWSER_WINDOW: {
            "VisitURL": f"discharge/visit/{made.visit}",
            "WaitTokenURL": f"discharge/wait-token/{made.wait}",
        }
    }
    if verdict.sign_in:
        methods[protocol.AGENT] = {"login-url": f"discharge/agent/{encode_base64(question.digest)}"}
        if not question.needs_approval:
            methods[protocol.FORM] = {"url": f"discharge/form/{made.wait}"}
    return methods
