"""HTTP as bakery clients speak it: their forms in, their answers and errors out. Knows no tickets and no store.

Their errors are JSON with a `Code` of theirs, and statuses of theirs: a client of version 0 wants a 407 where later
ones want a 401. What goes wrong otherwise is the problem of the one table, in their shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.responses import JSONResponse, Response

import caveats
from caveats.token.legacy import decode_any_base64
from caveats_service.http.errors import Problem, bad_request, problem_of
from caveats_service.http.request import NO_STORE, Handler, RequestContext

NEWEST: Final = 3
_MOST_FIELDS: Final = 32
_BAD_REQUEST: Final = "bad request"
_PERMISSION_DENIED: Final = "permission denied"
_NOT_FOUND: Final = "not found"
_CODES: Final[Mapping[int, str]] = {
    400: _BAD_REQUEST,
    401: _PERMISSION_DENIED,
    403: _PERMISSION_DENIED,
    404: _NOT_FOUND,
    413: _BAD_REQUEST,
    415: _BAD_REQUEST,
}


@dataclass(frozen=True, slots=True)
class DischargeForm:
    """The form of a request for a discharge."""

    identifier: bytes = field(repr=False)
    payload: bytes | None = field(repr=False)
    token_kind: str | None
    token: bytes | None = field(repr=False)


def version_of(request: RequestContext) -> int:
    """The protocol's version that the client speaks; 0 if it does not say, at most ours."""
    text = request.http.headers.get("bakery-protocol-version", "")
    return min(int(text), NEWEST) if text.isascii() and text.isdigit() and len(text) < 6 else 0


async def read_asked(request: RequestContext) -> DischargeForm:
    """The form. Raises a 400 `Problem` for one that lacks its ticket, or has two."""
    values = await _read_form(request)
    identifier = _either(values, "id")
    if not identifier:
        raise bad_request("id or id64 is the ticket")
    payload = decoded(values["caveat64"], "caveat64") if values.get("caveat64") else None
    token, kind = _either(values, "token"), values.get("token-kind")
    if (token is None) != (kind is None):
        raise bad_request("token and token-kind come together")
    return DischargeForm(
        identifier, payload, None if kind is None else kind.decode("utf-8", "replace"), token
    )


async def read_fields(request: RequestContext, *names: str) -> dict[str, str]:
    """These fields of a form that a page sent, as text. Raises a 400 `Problem`."""
    values = await _read_form(request)
    try:
        return {name: values[name].decode() for name in names if name in values}
    except UnicodeDecodeError:
        raise bad_request("a form is UTF-8") from None


async def _read_form(request: RequestContext) -> dict[str, bytes]:
    """Each field's bytes: latin-1 on the way keeps every one of them."""
    raw = await request.raw()
    media_type = request.http.headers.get("content-type", "").partition(";")[0].strip().lower()
    if raw and media_type != "application/x-www-form-urlencoded":
        raise Problem(415, "unsupported_media_type", "send application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(
            raw.decode("latin-1"),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            encoding="latin-1",
            max_num_fields=_MOST_FIELDS,
        )
        values = {name: value.encode("latin-1") for name, value in pairs}
    except ValueError:
        raise bad_request("the body is not a form") from None
    if len(values) != len(pairs):
        raise bad_request("a field comes twice")
    return values


def _either(values: Mapping[str, bytes], name: str) -> bytes | None:
    plain, encoded = values.get(name), values.get(f"{name}64")
    if plain is not None and encoded is not None:
        raise bad_request(f"send {name} or {name}64, not both")
    return plain if encoded is None else decoded(encoded, f"{name}64")


def decoded(text: bytes, name: str) -> bytes:
    """Base64 of any of the four flavours. Raises a 400 `Problem`."""
    try:
        return decode_any_base64(text.decode("ascii"))
    except (UnicodeDecodeError, caveats.MalformedToken):
        raise bad_request(f"{name} is base64") from None


def answer(
    members: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """JSON with a content type that says exactly `application/json`: one client wants nothing beside it."""
    return JSONResponse(dict(members), status, {**NO_STORE, **(headers or {})})


class InteractionRequired(Exception):
    """Not an error to clients: they open a window, or sign in otherwise, and ask again."""

    code = "interaction required"

    def __init__(self, message: str, info: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.info = dict(info)


class DischargeRequired(InteractionRequired):
    """Nor this: they get the discharge, and send it along in a cookie."""

    code = "macaroon discharge required"


def spoken(handler: Handler) -> Handler:
    """The same endpoint with whatever it raises in the bakery's shape."""

    async def run(request: RequestContext) -> Response:
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001  # the process edge: everything becomes one of the table's answers
            return error_answer(error, version_of(request))

    return run


def error_answer(error: Exception, version: int) -> Response:
    """An error as bakery clients read it."""
    unauthorized = 401 if version else 407
    if isinstance(error, InteractionRequired):
        body = {"Code": error.code, "Message": str(error), "Info": error.info}
        return answer(body, unauthorized, {"WWW-Authenticate": "Macaroon"})
    problem = _problem(error)
    code = _CODES.get(problem.status, problem.code)
    status = 401 if code == _PERMISSION_DENIED else problem.status
    headers = {name: value for name, value in problem.headers.items() if name != "WWW-Authenticate"}
    if status == 401:
        headers["WWW-Authenticate"] = "Macaroon"
    message = problem.detail or problem.code.replace("_", " ")
    return answer({"Code": code, "Message": message}, status, headers)


def _problem(error: Exception) -> Problem:
    match error:
        case caveats.MalformedTicket():
            return bad_request(str(error))
        case caveats.DischargeRefused():
            return Problem(403, "forbidden", str(error))
        case _:
            return problem_of(error)
