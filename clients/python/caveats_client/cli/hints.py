"""What a person can type next: commands for messages, and why a token was not accepted as far as the token itself tells.

Knows tokens, errors and the stored logins; asks nobody. A command that a message names works when it is pasted, in a POSIX
shell, as it is.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from caveats import Bundle, Caveat, CaveatsError, ThirdPartyCaveat, effective
from caveats_client.api.errors import Forbidden, NotAuthenticated, Unavailable
from caveats_client.cli.credentials import Credentials, CredentialsError
from caveats_client.cli.durations import relative
from caveats_client.cli.output import moment

if TYPE_CHECKING:
    from caveats_client.api.errors import ClientError
    from caveats_client.cli.inputs import TokenInput

_NOT_LIVE = ("invalid_token", "discharge_required")
_OWN_SCOPE = "caveats:"


def typed(*words: str) -> str:
    """A command, quoted for a shell."""
    return shlex.join(("caveats", *words))


def sign_in(url: str, username: str = "", *, scope: str = "", allow_http: bool = False) -> str:
    """The command that signs in to the service at `url`."""
    name = (username,) if username else ()
    wanted = ("--scope", scope) if scope else ()
    return typed("login", *name, "--url", url, *wanted, *(("--allow-http",) if allow_http else ()))


def explained(
    error: ClientError, found: TokenInput | None, url: str, now: datetime, *, allow_http: bool
) -> ClientError:
    """The error with what the token tells of it in its message, and what to type. `url`: the service that was asked.

    Of a service that is away it is not waited for the answer that a stored login has expired.
    """
    stored = found is not None and found.login is not None
    if found is not None and stored and isinstance(error, Unavailable) and expiry_of(found.bundle) <= now:
        error = NotAuthenticated(error.detail, code=_NOT_LIVE[0])
    words = _words(error, found, url, now, allow_http=allow_http)
    if words is not None:
        error.detail = words
        error.args = (words,)
    return error


def _words(
    error: ClientError, found: TokenInput | None, url: str, now: datetime, *, allow_http: bool
) -> str | None:
    if found is None:
        return None
    bundle = found.bundle
    user = found.login.username if found.login is not None else ""
    if isinstance(error, Forbidden) and _lacks_own_scope(error):
        had = effective(_caveats(bundle))
        scope = " ".join(dict.fromkeys((*had.scopes, "caveats:*"))) if had.scopes else "caveats:*"
        login = sign_in(url, user or had.user or "", scope=scope, allow_http=allow_http)
        return f"{error.detail}; an administrator gets that scope with: {login}"
    if not isinstance(error, NotAuthenticated) or error.code not in _NOT_LIVE:
        return None
    what = "the token" if found.login is None else f"the stored login at {url}"
    login = sign_in(url, user, allow_http=allow_http)
    expired = expiry_of(bundle)
    if expired <= now:
        return f"{what} has expired {relative(expired, now)} ({moment(expired)}); to get another: {login}"
    if other := _other_service(bundle, found, url):
        return f"{what} is one of {other}: {url} does not accept it"
    if missing := _undischarged(bundle):
        parties = " and ".join(missing)
        collect = typed("discharge", *(word for party in missing for word in ("--allow", party)))
        return f"{what} needs a discharge from {parties}; to collect it: {collect}"
    why = (
        "it was revoked, or its key is retired"
        if found.login is not None
        else "it was revoked, or never valid here"
    )
    return f"{what} is not accepted and has not expired: {why}; to get another: {login}"


def expiry_of(bundle: Bundle) -> datetime:
    """When the token expires; the end of time if it does not say."""
    return effective(_caveats(bundle)).expires_at or datetime.max.replace(tzinfo=UTC)


def _caveats(bundle: Bundle) -> list[Caveat]:
    return [caveat for caveat in bundle.macaroon.unverified_caveats if isinstance(caveat, Caveat)]


def _lacks_own_scope(error: Forbidden) -> bool:
    """Whether the service wants a scope of its own, which tokens have only if they were asked for with it."""
    if error.failures:
        return all(failure.kind == "scope" and _OWN_SCOPE in failure.reason for failure in error.failures)
    return f"needs the scope {_OWN_SCOPE}" in error.detail


def _undischarged(bundle: Bundle) -> list[str]:
    """Where the discharges are to be had that the token lacks."""
    present = {discharge.identifier for discharge in bundle.discharges}
    return [
        caveat.location
        for caveat in bundle.macaroon.unverified_caveats
        if isinstance(caveat, ThirdPartyCaveat) and caveat.ticket not in present and caveat.location
    ]


def _other_service(bundle: Bundle, found: TokenInput, url: str) -> str | None:
    """The service that the token is of, if it is another: as it says itself, or as a stored login of that service does."""
    if found.login is not None:
        return None
    location = bundle.macaroon.location
    if location.startswith(("http://", "https://")) and urlsplit(location).netloc != urlsplit(url).netloc:
        return location
    try:
        logins = Credentials.here().usable().by_url.values()
    except CredentialsError:
        return None
    for login in logins:
        try:
            same = Bundle.decode(login.token).macaroon.identifier == bundle.macaroon.identifier
        except CaveatsError:
            continue
        if same and login.url != url:
            return login.url
    return None
