from __future__ import annotations

from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from caveats import (
    Audience,
    Bundle,
    Expires,
    Macaroon,
    Note,
    Path,
    PrivateKey,
    Scope,
    ThirdParty,
    User,
    authenticate,
    discharge,
    open_ticket,
)
from caveats_client.cli.inspection import (
    DISCHARGER,
    HOLDER,
    ISSUER,
    UNKNOWN,
    Link,
    ThirdPartyLink,
    inspection_of,
)
from caveats_client.cli.tree import authority, tree

KEY = PrivateKey.generate()
PARTY = ThirdParty("https://approve.example", KEY.public_key)


def discharged(macaroon: Macaroon, now: datetime, *caveats: Any) -> Macaroon:
    """The discharge of the last third-party caveat of `macaroon`, unbound."""
    caveat = macaroon.unverified_caveats[-1]
    return discharge(open_ticket(caveat.ticket, KEY), caveats, now=now)  # type: ignore[union-attr]


def test_issuers_and_holders_caveats_are_told_apart(mint: Any) -> None:
    opened = inspection_of(mint(Note("issued so")).attenuate(Note("held")))
    assert [(link.index, link.added_by) for link in opened.links] == [
        (0, ISSUER),
        (1, ISSUER),
        (2, ISSUER),
        (3, ISSUER),
        (4, HOLDER),
    ]


def test_of_a_foreign_macaroon_nobody_can_tell() -> None:
    opened = inspection_of(Macaroon.mint(b"k", b"theirs", caveats=[Note("x"), b"account = 7"]))
    assert opened.identifier is None
    assert [link.added_by for link in opened.links] == [UNKNOWN, UNKNOWN]
    assert opened.links[1].unknown == "no caveat of this kind is known here"
    assert opened.audiences is None


def test_caveats_for_nothing_say_because_of_what(mint: Any, now: datetime) -> None:
    narrow = mint(now=now).attenuate(
        Scope("photos:read"), Expires.after(timedelta(days=9), now=now), Scope("*")
    )
    because = {link.index: link.redundant for link in inspection_of(narrow).links}
    assert because[3] is None
    assert because[4] == "an earlier expiry stands before it"
    assert because[5] == "the scopes before it are no wider"


def test_the_authority_is_what_all_of_them_leave(mint: Any, now: datetime) -> None:
    narrow = mint(now=now).attenuate(Scope("photos/42:*"), Scope("photos:read"))
    opened = inspection_of(narrow)
    assert opened.authority.scopes == ("photos/42:read",)
    assert opened.authority.user == "alice"
    assert not opened.is_expired(now)
    assert opened.is_expired(now + timedelta(hours=8))


@pytest.mark.parametrize(
    ("caveats", "audiences"),
    [((), ("photos",)), ((Audience("photos thumbs"),), ("photos",)), ((Audience("thumbs"),), ())],
)
def test_only_the_app_that_it_was_issued_for_can_take_it(mint: Any, caveats: Any, audiences: Any) -> None:
    assert inspection_of(mint(audience="photos").attenuate(*caveats)).audiences == audiences


def test_a_third_party_caveat_is_shown_where_it_stands(token: Macaroon) -> None:
    opened = inspection_of(token.attenuate(Note("a")).require_discharge(PARTY, "x = y").attenuate(Note("b")))
    places = [
        link.location if isinstance(link, ThirdPartyLink) else link.index for link in opened.chain.links
    ]
    assert places == [0, 1, 2, 3, "https://approve.example", 4]
    assert opened.third_parties[0].discharge is None
    assert opened.third_parties[0].added_by == HOLDER


def test_discharges_hang_where_they_are_asked_for_and_count_as_a_verifier_counts(now: datetime) -> None:
    """The same order and numbers as `Authenticated.caveats`, nested discharges included."""
    root = Macaroon.mint(b"k", b"i", caveats=[User("alice")]).require_discharge(PARTY, "one = 1")
    first = discharged(root, now, Note("one")).require_discharge(PARTY, "inner = 1")
    inner = discharged(first, now, Note("inner"))
    both = root.require_discharge(PARTY, "two = 2")
    second = discharged(both, now, Note("two"))
    bundle = Bundle.bind(both.attenuate(Note("end")), [second, inner, first])
    opened = inspection_of(bundle)
    judged = authenticate(bundle, b"k").caveats
    assert tuple(link.caveat for link in opened.links) == judged
    assert [link.index for link in opened.links] == list(range(len(judged)))
    assert [link.added_by for link in opened.links[2:]] == [DISCHARGER] * 6  # each begins with its expiry
    outer = opened.third_parties[0].discharge
    assert outer is not None
    assert [link.caveat for link in outer.links if isinstance(link, Link)][1:] == [Note("one")]
    assert opened.stray_discharges == 0
    assert opened.authority.notes == tuple(str(c.text) for c in judged if isinstance(c, Note))


def test_discharges_that_nobody_asks_for_are_counted(token: Macaroon, now: datetime) -> None:
    stray = discharged(token.require_discharge(PARTY, "x = y"), now)
    assert inspection_of(Bundle.bind(token, [stray])).stray_discharges == 1
    asked = token.require_discharge(PARTY, "x = y")
    fitting = discharged(asked, now)
    assert inspection_of(Bundle.bind(asked, [fitting, fitting])).stray_discharges == 1


def test_a_discharge_that_asks_for_itself_ends() -> None:
    macaroon = Macaroon.mint(b"k", b"i").with_third_party("loc", b"r", b"ticket", nonce=b"n" * 24)
    loop = Macaroon.mint(b"r", b"ticket").with_third_party("loc", b"r", b"ticket", nonce=b"m" * 24)
    opened = inspection_of(Bundle.bind(macaroon, [loop]))
    inner = opened.third_parties[0].discharge
    assert inner is not None
    assert isinstance(inner.links[0], ThirdPartyLink)
    assert inner.links[0].discharge is None


@pytest.mark.parametrize("written", ["/fotos/Käse brot", "/fotos/K%C3%A4se%20brot"])
def test_a_path_is_shown_as_it_is_read(written: str, mint: Any, now: datetime) -> None:
    opened = inspection_of(mint().attenuate(Path(written, "/a b/*")))
    assert opened.authority.paths == (("/fotos/K%C3%A4se%20brot", "/a%20b/*"),)
    console = Console(width=120, color_system=None, file=StringIO())
    console.print(tree(opened, now), authority(opened, now))
    shown = console.file.getvalue()
    assert shown.count("/fotos/Käse brot /a b/*") == 2, shown
    assert f"path = {written} /a b/*" in shown
