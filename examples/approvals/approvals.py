"""An app with one dangerous endpoint, which wants a second person's approval.

    caveats-service groups set ops bob
    APPROVALS_SERVICE=https://auth.example APPROVALS_SECRET=... uvicorn --factory approvals:from_environment

    GET  /status          for anybody
    POST /drop-database   needs somebody of the group ops to approve, each time, and never the one who asks

Whoever calls it gets a 401 that says whom to ask: clients of the bakery's protocol, such as the `macaroonbakery` package,
then do the rest by themselves. Whoever approves reads what. An approval is good for five minutes
(`CAVEATS_DISCHARGE_LIFETIME` at the service), and for one call. APPROVALS_SECRET is 64 hex digits of this app's own.
"""

from __future__ import annotations

import os
from base64 import b64decode
from typing import TYPE_CHECKING

import httpx2 as httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from caveats.bakery import BakeryParty
from caveats_client.guards.discharge_guard import Agreement, DischargeGuard, DischargeMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request

GROUP = "ops"
PURPOSE = "drop the database"


def from_environment() -> Starlette:
    """The app, for the service that APPROVALS_SERVICE names. Its public key is fetched once."""
    service = os.environ["APPROVALS_SERVICE"].rstrip("/")
    known = httpx.get(f"{service}/discharge/info").raise_for_status().json()
    party = BakeryParty(service, b64decode(known["PublicKey"]))
    return create_app(party, bytes.fromhex(os.environ["APPROVALS_SECRET"]))


def create_app(party: BakeryParty, secret: bytes) -> Starlette:
    """The app. `party` is whom it believes that somebody has approved."""
    used: set[str] = set()  # several nodes would keep this where all of them see it

    def is_first_use(agreed: Agreement) -> bool:
        if agreed.agreement_id in used:
            return False
        used.add(agreed.agreement_id)
        return True

    condition = f"approved-by = {GROUP}: {PURPOSE}"
    first_party = DischargeGuard(secret, party, condition, name="drop-database", accept=is_first_use)
    return Starlette(
        routes=[
            Route("/status", status),
            Route("/drop-database", drop_database, methods=["POST"]),
        ],
        middleware=[Middleware(DischargeMiddleware, first_party, public=("/status",))],
    )


async def status(request: Request) -> Response:
    """All is well."""
    return JSONResponse({"status": "the database is there"})


async def drop_database(request: Request) -> Response:
    """Gets this far only with an approval; who asked is what the third party says, not the caller."""
    return JSONResponse({"dropped": True, "asked_by": request.state.agreed.user})
