"""The head of a request, and the answer to one that is refused: the same for the service and for every guard.

    request = IncomingRequest("GET", "/photos/42", b"", headers, peer="192.0.2.7")
    check_url(raw_path, request.query)                   # no credential in the URL, which logs keep
    credential = token_of(request.headers)               # exactly one, in a header
    context = context_of(request, TrustedProxies(("10.0.0.0/8",)), now=now, scopes=("photos/42:read",))
    verifier.verify(credential.text, context)            # raises the library's errors
    find_problem(error)                                  # status, code, challenge and body for each of them

Knows HTTP's words and the library's errors. Knows no framework, no route and no setting; opens nothing.
Reading order: `request` (the head as it came in), `credentials` (which credential it carries), `proxies` (who the client
is, and the facts to judge by), `problems` (what a refusal looks like).
"""

from __future__ import annotations

from caveats.http.credentials import (
    WEBSOCKET_PROTOCOL,
    Credential,
    PasswordCredential,
    TokenCredential,
    check_url,
    credential_of,
    token_of,
    without_token,
)
from caveats.http.problems import (
    PROBLEMS,
    TITLES,
    Problem,
    Row,
    bad_request,
    credential_required,
    cross_site,
    damaged_token,
    find_problem,
    invalid_credentials,
    invalid_token,
    offering_basic,
    two_credentials,
    unavailable,
    unavailable_as_told,
)
from caveats.http.proxies import DEFAULT_PORTS, UNIX, TrustedProxies, UnknownProxies, context_of, origins_of
from caveats.http.request import (
    Headers,
    IncomingRequest,
    opens_websocket,
    path_below,
    path_text,
    served_path,
    with_mount,
)

__all__ = [
    "DEFAULT_PORTS",
    "PROBLEMS",
    "TITLES",
    "UNIX",
    "WEBSOCKET_PROTOCOL",
    "Credential",
    "Headers",
    "IncomingRequest",
    "PasswordCredential",
    "Problem",
    "Row",
    "TokenCredential",
    "TrustedProxies",
    "UnknownProxies",
    "bad_request",
    "check_url",
    "context_of",
    "credential_of",
    "credential_required",
    "cross_site",
    "damaged_token",
    "find_problem",
    "invalid_credentials",
    "invalid_token",
    "offering_basic",
    "opens_websocket",
    "origins_of",
    "path_below",
    "path_text",
    "served_path",
    "token_of",
    "two_credentials",
    "unavailable",
    "unavailable_as_told",
    "with_mount",
    "without_token",
]
