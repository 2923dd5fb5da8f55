"""What the third party's endpoints share: bakery forms out of a request, bakery answers and pages into a response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse, JSONResponse, Response

from caveats_service.discharge import protocol
from caveats_service.http.errors import problem_of
from caveats_service.http.request import NO_STORE, Handler, RequestContext

if TYPE_CHECKING:
    from caveats_service.discharge.protocol import BakeryAnswer, DischargeForm
    from caveats_service.discharge.questions import Question


def bakery_endpoint(handler: Handler) -> Handler:
    """The same endpoint, whose errors bakery clients can read."""

    async def run(request: RequestContext) -> Response:
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001  # the process edge: everything becomes one of the table's answers
            problem = problem_of(error)
            message = problem.detail or problem.code.replace("_", " ")
            return bakery_response(
                protocol.error_answer(problem.status, problem.code, message, problem.extra_headers)
            )

    return run


def bakery_response(answer: BakeryAnswer) -> Response:
    """JSON with a content type that is exactly `application/json`: one client accepts nothing beside it."""
    return JSONResponse(dict(answer.members), answer.status, {**NO_STORE, **answer.headers})


def page_response(
    request: RequestContext, html: str, status: int = 200, *, again_after: int | None = None
) -> Response:
    """A page. `again_after`: seconds until the browser loads it anew; None: never by itself."""
    again = {} if again_after is None else {"Refresh": str(again_after)}
    return HTMLResponse(html, status, {**request.runtime.pages.headers, **again})


def protocol_version(request: RequestContext) -> int:
    """The version of the bakery protocol that the client speaks; 0 if it does not say."""
    return protocol.protocol_version(request.http.headers.get("bakery-protocol-version", ""))


async def read_discharge_form(request: RequestContext) -> DischargeForm:
    """The form of a request for a discharge. Raises `InvalidRequest`, or a 413 `Problem`."""
    return protocol.read_discharge_form(await request.raw(), _content_type(request))


async def read_page_form(request: RequestContext) -> dict[str, str]:
    """The fields of a page's form. Raises as `read_discharge_form`."""
    return protocol.read_text_fields(
        await request.raw(), _content_type(request), "username", "password", "new_password", "decision"
    )


def _content_type(request: RequestContext) -> str:
    return request.http.headers.get("content-type", "")


def host(request: RequestContext) -> str:
    """The host that the request was made to; empty if it is not known."""
    return request.own_host or ""


def open_question(request: RequestContext, identifier: bytes, payload: bytes | None) -> Question:
    """The question in a ticket that came with this request. Raises `MalformedTicket` or `DischargeRefused`."""
    return request.runtime.discharges.open(identifier, payload, host=host(request))
