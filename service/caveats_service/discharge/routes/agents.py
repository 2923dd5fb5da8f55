"""Where agents sign in with a key (bakery interaction `agent`), in the newer way and in the older."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats import DischargeRefused, MalformedToken
from caveats.bakery import BakeryMacaroon, decode_header
from caveats.http import bad_request
from caveats.token import decode_base64
from caveats_service.core.usernames import fold_username
from caveats_service.discharge import protocol
from caveats_service.discharge.protocol import BakeryAnswer
from caveats_service.discharge.routes.endpoint import (
    bakery_endpoint,
    bakery_response,
    host,
    protocol_version,
)
from caveats_service.discharge.routes.schemas import AgentLoginRequest

if TYPE_CHECKING:
    from starlette.responses import Response

    from caveats_service.http.request import RequestContext

_DIGEST_SIZE = 32


@bakery_endpoint
async def agent(request: RequestContext) -> Response:
    """The macaroon that the agent must discharge with its key; a 403 if it is not registered."""
    query = request.http.query_params
    try:
        digest = decode_base64(request.param("ticket"))
    except MalformedToken:
        digest = b""
    if len(digest) != _DIGEST_SIZE:
        raise bad_request("this address comes from a refused discharge")
    macaroon = await _challenge(request, query.get("username", ""), query.get("public-key", ""), digest)
    return bakery_response(BakeryAnswer({"macaroon": macaroon.to_members()}))


@bakery_endpoint
async def agent_login(request: RequestContext) -> Response:
    """The older way: the agent completes the challenge, sends it along in a cookie, and then waits."""
    body = await request.read(AgentLoginRequest)
    decisions = request.runtime.decisions
    interaction = await decisions.of_visit(request.param("visit"))
    question = decisions.question(interaction, host=host(request))
    cookie = request.http.cookies.get(f"macaroon-{protocol.AGENT}")
    if cookie is None:
        macaroon = await _challenge(request, body.username, body.public_key, question.digest)
        info = {
            "Macaroon": macaroon.to_members(),
            "MacaroonPath": request.own_path,
            "CookieNameSuffix": protocol.AGENT,
        }
        return bakery_response(
            protocol.discharge_required("show that you have the key", info, protocol_version(request))
        )
    shown = await request.runtime.discharges.agent_user(question, lambda: decode_header(cookie))
    if shown.username != fold_username(body.username):
        raise DischargeRefused("there is no such agent")
    await decisions.sign_in(interaction, question, shown, address=request.client_ip or "")
    return bakery_response(BakeryAnswer({"agent_login": True}))


async def _challenge(
    request: RequestContext, username: str, public_key: str, digest: bytes
) -> BakeryMacaroon:
    """The challenge for a registered agent. Raises `InvalidRequest`, and `DischargeRefused` if it is not registered."""
    key = protocol.read_base64(public_key.encode("utf-8", "replace"), "the public key")
    return await request.runtime.discharges.challenge(
        fold_username(username), key, digest, version=protocol_version(request)
    )
