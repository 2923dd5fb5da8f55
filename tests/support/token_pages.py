"""The console's pages about one token, Inspect, Narrow and Try: a token to paste there, and what they say of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from caveats import (
    Bundle,
    Caveat,
    Expires,
    Identifier,
    Macaroon,
    PrivateKey,
    Scope,
    ThirdPartyCaveat,
    User,
    discharge,
    new_token_id,
    open_ticket,
)

if TYPE_CHECKING:
    from tests.support.console import Visit

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ROOT_KEY = b"a root key that the service has not"
FIELD = "Token"
"""The label of the field that a token is pasted into."""


def macaroon(*caveats: Caveat | bytes) -> Macaroon:
    """A token as the service issues it to alice, until 18:00, and what holders added."""
    issued = (User("alice"), Expires(NOW + timedelta(hours=6)), Scope("photos:*", "notes:read"))
    identifier = Identifier("k1", "default", new_token_id(NOW - timedelta(hours=2)), len(issued))
    return Macaroon.mint(ROOT_KEY, identifier.encode()).attenuate(*issued, *caveats)


def bundle_of(asked: Macaroon, key: PrivateKey) -> Bundle:
    caveat = asked.unverified_caveats[-1]
    assert isinstance(caveat, ThirdPartyCaveat)
    return Bundle.bind(asked, [discharge(open_ticket(caveat.ticket, key), now=NOW)])


async def paste(visit: Visit, text: str) -> None:
    await visit.page.get_by_label(FIELD, exact=True).fill(text)


async def sentence(visit: Visit) -> str:
    return await visit.page.locator(".sentence").inner_text()
