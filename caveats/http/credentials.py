"""Which credential a request carries: a token or a password, exactly one, in a header, never in the URL.

Where an app says so, a token may also be the password of Basic, for programs that speak nothing else, or a subprotocol of a
WebSocket, for browsers, which send no other header. Knows the fields of a request's head. Verifies no token and no password.
Sources: RFC 9110 (fields, authentication), 6750 (bearer tokens), 7617 (Basic), 6265 (cookies), 6455 (WebSocket).
"""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

from caveats.http.problems import (
    Problem,
    bad_request,
    credential_required,
    invalid_credentials,
    invalid_token,
    two_credentials,
)
from caveats.http.request import WHITE_SPACE
from caveats.pickling import Secret
from caveats.token.wire import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from caveats.http.request import Headers


@dataclass(frozen=True, slots=True)
class PasswordCredential(Secret):
    """A username and a password."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenCredential:
    """The text of a token. `from_cookie`, `from_basic`: it came in the session cookie, or as the password of Basic.

    A browser sends either unasked.
    """

    text: str = field(repr=False)
    from_cookie: bool = False
    from_basic: bool = False


Credential: TypeAlias = PasswordCredential | TokenCredential
_LONGEST_BASIC = 6_000
"""Characters of base64, at most, for a username and a password."""
_LONGEST_BASIC_TOKEN = 90_000
"""The same for a bundle of 65,536 characters as the password."""
WEBSOCKET_PROTOCOL = "caveats"
"""The subprotocol that a browser names beside its token, so that the server has one to choose."""
_JOINED = re.compile(r"(?:\A|,)[ \t]*(?:bearer|basic)(?:[ \t,]|\Z)", re.IGNORECASE)
"""In an `Authorization` with a comma: several lines were joined by a server or proxy (RFC 9110, section 5.3).

A token and the base64 of Basic hold no comma. The parameters of other schemes do.
"""


def token_of(
    headers: Headers, cookie_name: str = "", *, basic: bool = False, subprotocol: bool = False
) -> TokenCredential:
    """The one token in these headers.

    `cookie_name`: the name of the session cookie; empty for a server that takes no cookies. `basic`: a password of Basic
    that begins as tokens of this format do is the token, whatever the username. `subprotocol`: so is a value in
    `Sec-WebSocket-Protocol` that begins so. Raises `Problem`: 400 for two credentials, 401 for none, for a password, for another
    scheme and for a token that is not ASCII.
    """
    read_basic = _token_in_basic if basic else None
    found = _only_credential(headers, cookie_name, read_basic, subprotocol=subprotocol)
    if not isinstance(found, TokenCredential):
        raise credential_required()
    return found


def without_token(protocols: Iterable[str]) -> list[str]:
    """The subprotocols of a WebSocket's handshake that are no token: an app may choose one of them."""
    return [protocol for protocol in protocols if not protocol.startswith(PREFIX)]


def credential_of(headers: Headers, cookie_name: str = "") -> Credential | None:
    """The one credential in these headers: a token, or a username and password (Basic). None if there is none.

    `cookie_name`: as for `token_of`. Raises `Problem`: 400 for two credentials, 401 for another scheme and for a
    credential that cannot be read.
    """
    return _only_credential(headers, cookie_name, _password)


def _only_credential(
    headers: Headers,
    cookie_name: str,
    read_basic: Callable[[str], Credential] | None,
    *,
    subprotocol: bool = False,
) -> Credential | None:
    """The credential, or None. `read_basic`: reads that of Basic, if one is taken. Counts all credentials before it reads one.

    An empty `Authorization` or `X-Auth-Token` counts as a credential. An empty session cookie does not: signing out
    leaves one behind.
    """
    found: tuple[bytes, str] | None = None
    for name, value in headers:
        if name == b"authorization" or name == b"x-auth-token":  # noqa: PLR1714  # twice as fast as `in` a tuple
            text = value.decode("latin-1")
        elif name == b"cookie" and cookie_name:
            text = _session_cookie(value.decode("latin-1"), cookie_name)
            if not text:
                continue
        elif subprotocol and name == b"sec-websocket-protocol":
            tokens = [
                word for word in _stripped(value.decode("latin-1").split(",")) if word.startswith(PREFIX)
            ]
            if not tokens:
                continue
            if len(tokens) > 1:
                raise two_credentials()
            text = tokens[0]
        else:
            continue
        if found is not None:
            raise two_credentials()
        found = name, text
    if found is None:
        return None
    name, text = found
    if name == b"cookie":
        return _token(text, from_cookie=True)
    if name == b"sec-websocket-protocol":
        return _token(text)
    if "," in text and (name == b"x-auth-token" or _JOINED.search(text)):
        raise two_credentials()
    text = text.strip(WHITE_SPACE)
    if name == b"x-auth-token":
        return _token(text)
    scheme, _, text = text.partition(" ")
    scheme, text = scheme.lower(), text.lstrip(" ")
    if scheme == "bearer" and text:
        return _token(text)
    if scheme == "basic" and text and read_basic is not None:
        return read_basic(text)
    raise credential_required()


def _session_cookie(text: str, name: str) -> str:
    """The value of the session cookie in a `Cookie` header; empty if there is none.

    Raises `Problem` for a second session cookie, which a sibling domain may have set. A comma does not separate
    cookies, but it joins header lines: a cookie after a comma is counted, and its value is never used.
    """
    wanted = f"{name}="
    if wanted not in text:
        return ""
    found = [cookie for cookie in _stripped(text.split(";")) if cookie.startswith(wanted)]
    if not found:
        return ""
    if sum(cookie.startswith(wanted) for cookie in _stripped(re.split("[;,]", text))) > 1:
        raise two_credentials("the session cookie came twice")
    return found[0].removeprefix(wanted)


def _stripped(parts: Iterable[str]) -> list[str]:
    return [part.strip(WHITE_SPACE) for part in parts]


def _token(text: str, *, from_cookie: bool = False) -> TokenCredential:
    if not text.isascii():
        raise invalid_token()
    return TokenCredential(text, from_cookie)


def _token_in_basic(encoded: str) -> TokenCredential:
    """The token that stands for the password. Raises `Problem`: 401 for a password, and for what cannot be read."""
    try:
        password = _password(encoded, _LONGEST_BASIC_TOKEN).password
    except Problem:
        raise credential_required() from None
    if not password.startswith(PREFIX):
        raise credential_required()
    if not password.isascii():
        raise invalid_token()
    return TokenCredential(password, from_basic=True)


def _password(encoded: str, longest: int = _LONGEST_BASIC) -> PasswordCredential:
    """RFC 7617: base64 of `username:password` in UTF-8."""
    if len(encoded) > longest:
        raise invalid_credentials()
    try:
        username, colon, password = b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except ValueError:  # not base64, not ASCII or not UTF-8
        raise invalid_credentials() from None
    if not colon:
        raise invalid_credentials()
    return PasswordCredential(username, password)


# No credential in a URL

_SECRET_MEMBERS = ("access_token", "token", "password")
_IN_THE_URL = "a credential goes into a header or the body, never into a URL, which logs keep"


def check_url(raw_path: bytes, raw_query: bytes, referers: Iterable[bytes] = ()) -> None:
    """Raises a 400 `Problem` for a credential in a URL, and for NUL in a path.

    A credential is a token of this format (`cav1_`) anywhere in the path, the query or a referer, or a member
    `access_token`, `token` or `password` of the query. Percent-encoding is decoded once, as servers do.
    `referers`: the values of the `Referer` headers.
    """
    path, query = unquote(raw_path.decode("latin-1")), raw_query.decode("latin-1")
    if PREFIX in path:
        raise bad_request(_IN_THE_URL)
    if "\0" in path:
        raise bad_request("a path has no NUL")
    if query and (_holds_token(query) or _names_secret(query)):
        raise bad_request(_IN_THE_URL)
    for referer in referers:
        if _holds_token(referer.decode("latin-1")):
            raise bad_request(_IN_THE_URL)


def _holds_token(text: str) -> bool:
    return PREFIX in text or PREFIX in unquote(text)


def _names_secret(query: str) -> bool:
    """Whether the name of a member is one of `_SECRET_MEMBERS`. `&` separates members; for some servers also `;`."""
    if "%" not in query and "token" not in query and "password" not in query:
        return False
    names = (member.partition("=")[0] for member in query.replace(";", "&").split("&"))
    return any(unquote(name) in _SECRET_MEMBERS for name in names)
