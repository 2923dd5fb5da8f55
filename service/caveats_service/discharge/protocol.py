"""The bakery protocol: the forms that its clients send, and the JSON that they read.

Knows field names, `Code`s, statuses and versions; knows no web framework, no tickets and no store. A refusal is JSON with
a `Code`, and its status depends on the version: a client of version 0 expects a 407 where later ones expect a 401.
Source: github.com/go-macaroon-bakery/macaroon-bakery, package httpbakery and its subpackages agent and form.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from caveats import MalformedToken
from caveats.token import decode_any_base64
from caveats_service.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

NEWEST = 3
"""The newest version of the protocol that is spoken here."""
BROWSER_WINDOW = "browser-window"
FORM = "form"
AGENT = "agent"
"""The ways to interact; also the kinds of the tokens that each of them ends with."""
FORM_SCHEMA: Mapping[str, Any] = {
    "username": {"description": "username", "type": "string", "mandatory": True, "position": 1},
    "password": {
        "description": "password",
        "type": "string",
        "mandatory": True,
        "secret": True,
        "position": 2,
    },
}
"""The fields that a program without a browser asks its user for."""
_MEDIA_TYPE = "application/x-www-form-urlencoded"
_MOST_FIELDS = 32
_BAD_REQUEST = "bad request"
_PERMISSION_DENIED = "permission denied"
_NOT_FOUND = "not found"
_CODES: Mapping[int, str] = {
    400: _BAD_REQUEST,
    401: _PERMISSION_DENIED,
    403: _PERMISSION_DENIED,
    404: _NOT_FOUND,
    413: _BAD_REQUEST,
    415: _BAD_REQUEST,
}


class UnsupportedForm(InvalidRequest):
    """A body of another media type than `application/x-www-form-urlencoded`."""


# what comes in


@dataclass(frozen=True, slots=True)
class DischargeForm:
    """The form of a request for a discharge. `identifier`, `payload`: the third-party caveat's, see `Question`."""

    identifier: bytes = field(repr=False)
    payload: bytes | None = field(repr=False)
    token_kind: str | None
    token: bytes | None = field(repr=False)


def protocol_version(header: str) -> int:
    """The version in a `Bakery-Protocol-Version` header, at most `NEWEST`; 0 if it is no number."""
    return min(int(header), NEWEST) if header.isascii() and header.isdigit() and len(header) < 6 else 0


def read_discharge_form(body: bytes, content_type: str) -> DischargeForm:
    """The form. Raises `InvalidRequest` if it lacks its ticket or has two, and `UnsupportedForm`."""
    values = _read(body, content_type)
    identifier = _plain_or_base64(values, "id")
    if not identifier:
        raise InvalidRequest("give the ticket as id or id64")
    payload = read_base64(values["caveat64"], "caveat64") if values.get("caveat64") else None
    token, kind = _plain_or_base64(values, "token"), values.get("token-kind")
    if (token is None) != (kind is None):
        raise InvalidRequest("give token and token-kind together")
    token_kind = None if kind is None else kind.decode("utf-8", "replace")
    return DischargeForm(identifier, payload, token_kind, token)


def read_text_fields(body: bytes, content_type: str, *names: str) -> dict[str, str]:
    """Those of these fields that the form has, as text. Raises `InvalidRequest` and `UnsupportedForm`."""
    values = _read(body, content_type)
    try:
        return {name: values[name].decode() for name in names if name in values}
    except UnicodeDecodeError:
        raise InvalidRequest("a form is UTF-8") from None


def _read(body: bytes, content_type: str) -> dict[str, bytes]:
    """The bytes of each field. Latin-1 keeps every byte as it is."""
    if body and content_type.partition(";")[0].strip().lower() != _MEDIA_TYPE:
        raise UnsupportedForm(f"send {_MEDIA_TYPE}")
    try:
        pairs = parse_qsl(
            body.decode("latin-1"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            encoding="latin-1",
            max_num_fields=_MOST_FIELDS,
        )
        values = {name: value.encode("latin-1") for name, value in pairs}
    except ValueError:
        raise InvalidRequest("the body is not a form") from None
    if len(values) != len(pairs):
        raise InvalidRequest("the form has a field twice")
    return values


def _plain_or_base64(values: Mapping[str, bytes], name: str) -> bytes | None:
    plain, encoded = values.get(name), values.get(f"{name}64")
    if plain is not None and encoded is not None:
        raise InvalidRequest(f"send {name} or {name}64, not both")
    return plain if encoded is None else read_base64(encoded, f"{name}64")


def read_base64(text: bytes, name: str) -> bytes:
    """Base64 of any flavour: either alphabet, padded or not. Raises `InvalidRequest`, which names the field."""
    try:
        return decode_any_base64(text.decode("ascii"))
    except (UnicodeDecodeError, MalformedToken):
        raise InvalidRequest(f"{name} must be base64") from None


# what goes out


@dataclass(frozen=True, slots=True)
class BakeryAnswer:
    """The JSON object, status and headers of an answer."""

    members: Mapping[str, Any] = field(repr=False)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def token_answer(token: bytes) -> BakeryAnswer:
    """The answer with the token (32 bytes) to ask again with."""
    return BakeryAnswer({"kind": BROWSER_WINDOW, "token64": b64encode(token).decode("ascii")})


def interaction_required(message: str, info: Mapping[str, Any], version: int) -> BakeryAnswer:
    """The client must interact in one of the ways in `info`, then ask again."""
    return _required("interaction required", message, info, version)


def discharge_required(message: str, info: Mapping[str, Any], version: int) -> BakeryAnswer:
    """The client must discharge the macaroon in `info`, then send it in a cookie."""
    return _required("macaroon discharge required", message, info, version)


def _required(code: str, message: str, info: Mapping[str, Any], version: int) -> BakeryAnswer:
    body = {"Code": code, "Message": message, "Info": dict(info)}
    return BakeryAnswer(body, 401 if version else 407, {"WWW-Authenticate": "Macaroon"})


def error_answer(status: int, code: str, message: str, headers: Mapping[str, str]) -> BakeryAnswer:
    """A problem as bakery clients read it. `code`: the problem's, for a status without a `Code` in the protocol."""
    bakery_code = _CODES.get(status, code)
    status = 401 if bakery_code == _PERMISSION_DENIED else status
    kept = {name: value for name, value in headers.items() if name != "WWW-Authenticate"}
    if status == 401:
        kept["WWW-Authenticate"] = "Macaroon"
    return BakeryAnswer({"Code": bakery_code, "Message": message}, status, kept)
