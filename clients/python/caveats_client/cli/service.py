"""The service that a command calls, and the client for it. Knows the file of logins.

The client and its HTTP library take longer to import than most commands take to run: the functions import them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats_client.cli.credentials import Credentials
from caveats_client.cli.exit_codes import CliError, ExitCode

if TYPE_CHECKING:
    from caveats_client.cli.credentials import Login, Logins
    from caveats_client.cli.inputs import TokenInput
    from caveats_client.client import Client


def plain_url(url: str) -> str:
    """An address in the form under which its login is stored. An invalid one is returned unchanged: the client refuses it."""
    import httpx2 as httpx  # noqa: PLC0415  # see above

    try:
        return str(httpx.URL(url)).rstrip("/")
    except httpx.InvalidURL:
        return url


def find_url(url: str | None, login: Login | None = None, logins: Logins | None = None) -> str:
    """The service's address: `url`, else that of `login`, else that of the last sign-in. Raises `CliError`.

    `logins`: the stored ones, where they have been read already.
    """
    if url is not None:
        return url
    if login is not None:
        return login.url
    current = (Credentials.here().load() if logins is None else logins).find(None)
    if current is None:
        raise CliError(ExitCode.USAGE, "no service chosen: use --url, set CAVEATS_URL, or sign in to one")
    return current.url


def client_for(
    url: str | None,
    found: TokenInput | None = None,
    *,
    allow_http: bool = False,
    logins: Logins | None = None,
) -> Client:
    """A client of the service, with the token that was found, if any. `logins`: as for `find_url`."""
    from caveats_client.client import Client  # noqa: PLC0415  # see above

    login = None if found is None else found.login
    address = find_url(url, login, logins)
    stored = (Credentials.here().usable() if logins is None else logins).find(address)
    allowed = allow_http or (stored is not None and stored.allow_http)
    return Client(address, token=None if found is None else found.bundle, allow_http=allowed)
