"""The form of username and password, for programs that ask their users themselves (bakery interaction `form`)."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from caveats.http import PasswordCredential
from caveats_service.core.shown_credentials import shown_password
from caveats_service.discharge import protocol
from caveats_service.discharge.protocol import BakeryAnswer
from caveats_service.discharge.routes.endpoint import bakery_endpoint, bakery_response, host
from caveats_service.discharge.routes.schemas import FillInRequest, FillInResponse, FormToken
from caveats_service.discharge.secrets import wait_token
from caveats_service.http.credentials import user_of
from caveats_service.http.request import RequestContext, reply

if TYPE_CHECKING:
    from starlette.responses import Response


@bakery_endpoint
async def form(request: RequestContext) -> Response:
    """The fields that the program asks its user for."""
    await request.runtime.decisions.of_wait(request.param("wait"))
    return bakery_response(BakeryAnswer({"schema": protocol.FORM_SCHEMA}))


@bakery_endpoint
async def fill_in(request: RequestContext) -> Response:
    """The filled-in form: the token for it, if username and password are right."""
    request.require_same_site_if_browser()
    body = await request.read(FillInRequest)
    decisions = request.runtime.decisions
    interaction = await decisions.of_wait(request.param("wait"))
    user = await user_of(request, PasswordCredential(body.form.username, body.form.password))
    question = decisions.question(interaction, host=host(request))
    address = request.client_ip or ""
    await decisions.sign_in(interaction, question, shown_password(user), address=address)
    token = b64encode(wait_token(request.param("wait"))).decode("ascii")
    return reply(FillInResponse(token=FormToken(kind=protocol.FORM, value=token)))
