"""The service that a command calls, and the client for it. Knows the file of logins.

The client and its HTTP library take longer to import than most commands take to run: the functions import them.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from caveats_client.api.errors import ClientError
from caveats_client.cli import inputs, parameters
from caveats_client.cli.credentials import Credentials, CredentialsError, Logins
from caveats_client.cli.exit_codes import CliError, ExitCode
from caveats_client.cli.hints import explained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caveats_client.cli.credentials import Login
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
        raise CliError(
            ExitCode.USAGE,
            "no service chosen: give its address with --url, or set CAVEATS_URL, or sign in to one",
        )
    return current.url


def choose_url(url: str | None, logins: Logins) -> str:
    """As `find_url`; where no service is chosen, it is asked for at the terminal. Raises `CliError`."""
    if url is not None:
        return url
    current = logins.find(None)
    return parameters.address(inputs.address()) if current is None else current.url


@contextmanager
def client_for(
    url: str | None,
    found: TokenInput | None = None,
    *,
    allow_http: bool = False,
    logins: Logins | None = None,
) -> Iterator[Client]:
    """A client of the service, with the token that was found, if any. `logins`: as for `find_url`.

    What the token tells of a refusal is added to the error's message.
    """
    from caveats_client.client import Client  # noqa: PLC0415  # see above

    login = None if found is None else found.login
    address = find_url(url, login, logins)
    stored = (readable_logins() if logins is None else logins).find(address)
    allowed = allow_http or (stored is not None and stored.allow_http)
    token = None if found is None else found.bundle
    with Client(address, token=token, allow_http=allowed) as client:
        try:
            yield client
        except ClientError as error:
            raise explained(error, found, client.url, inputs.now(), allow_http=allow_http) from error


def readable_logins() -> Logins:
    """The stored logins; none if they cannot be read. For commands that have their address and their token already."""
    try:
        return Credentials.here().usable()
    except CredentialsError:
        return Logins()
