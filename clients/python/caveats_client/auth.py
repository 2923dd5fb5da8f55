"""A token on its way out: to which address it may go, and the httpx auth class that puts it there.

Knows origins and headers. Opens nothing: one generator serves the sync and the async client.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias

import httpx2 as httpx

from caveats import Bundle, Macaroon
from caveats_client.errors import UnusableAddress

if TYPE_CHECKING:
    from collections.abc import Generator

Token: TypeAlias = str | Macaroon | Bundle
"""A token as an app has it at hand."""


def token_text(token: Token) -> str:
    """The canonical text of `token`, fit for a header. Raises `caveats.MalformedToken` or `LimitExceeded`."""
    return (Bundle.decode(token) if isinstance(token, str) else token).encode()


class TokenAuth(httpx.Auth):
    """Attaches a token, as `Authorization: Bearer`, to requests for one origin and to no others.

        httpx.get(url, auth=TokenAuth(narrow, "https://photos.example"))

    The origin is compared exactly: scheme, host and port. Requests for another one, wherever a redirect or a
    relative link leads, go out without the token. Plain http is refused except to this machine itself;
    `allow_http` is for networks where nobody listens.
    """

    def __init__(self, token: Token, origin: str | httpx.URL, *, allow_http: bool = False) -> None:
        """`origin` may be any address there. Raises `UnusableAddress`, `caveats.MalformedToken`."""
        self._origin = checked_address(origin, allow_http=allow_http).origin
        self._header = f"Bearer {token_text(token)}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The request, with the token if it goes to the token's origin."""
        if request.url.is_absolute_url and request.url.origin == self._origin:
            request.headers["Authorization"] = self._header
        yield request

    def __repr__(self) -> str:
        origin = self._origin
        return f"TokenAuth({origin.scheme}://{origin.host}:{origin.port})"


def checked_address(address: str | httpx.URL, *, allow_http: bool = False) -> httpx.URL:
    """`address`, if a token may be sent there. Raises `UnusableAddress`."""
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, TypeError) as error:
        raise UnusableAddress("not an address: expected https://host") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise UnusableAddress(f"{_shown(url)} is not the address of a service: expected https://host")
    if url.userinfo:
        raise UnusableAddress(
            "an address with a user name or a password in it ends up in logs: leave them out"
        )
    if url.scheme == "http" and not (allow_http or is_loopback(url)):
        raise UnusableAddress(
            f"{_shown(url)} is plain http: everyone on the way could read the token. Use https; "
            "where nobody can listen, allow it (allow_http, --allow-http)"
        )
    return url


def is_loopback(url: httpx.URL) -> bool:
    """Whether `url` leads to this machine itself."""
    if url.host == "localhost":
        return True
    try:
        return ip_address(url.host).is_loopback
    except ValueError:
        return False


def _shown(url: httpx.URL) -> str:
    """The address without anything private in it."""
    if url.host:
        return f"{url.scheme}://{url.netloc.decode('ascii')}"
    return "this" if "@" in str(url) else repr(str(url)[:80])
