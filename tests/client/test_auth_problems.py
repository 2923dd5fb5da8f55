"""TokenAuth against first parties that ask for discharges in a problem: the real guard and the real gate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2 as httpx
import pytest

from caveats import (
    Bundle,
    Expires,
    Identifier,
    Macaroon,
    MasterKey,
    MasterKeyring,
    Scope,
    ThirdParty,
    User,
    Verifier,
    discharge,
    new_token_id,
    open_ticket,
)
from caveats.bakery import BakeryMacaroon, BakeryParty
from caveats.http import IncomingRequest, Problem
from caveats.token import decode_any_base64
from caveats_client import BadDischarge, Client, Forbidden, Interact, TokenAuth, UnusableAddress
from caveats_client.auth import MOST_PATHS
from caveats_client.discharge.required import Required, envelope
from caveats_client.guards.discharge_guard import DischargeGuard
from caveats_client.guards.guard import Guard
from tests.support.bakery import KEY, Asked, Site, said, site

KEYRING = MasterKeyring([MasterKey("k1", bytes(range(1, 33)))])
both = pytest.mark.parametrize("awaiting", [False, True], ids=["sync", "async"])


@pytest.fixture
def app() -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.fixture
def idm() -> Iterator[Site]:
    with site() as made:
        yield made


class Idm:
    """A third party in our format that agrees with everything. `asks_more`: its discharges need another by itself."""

    def __init__(self, idm: Site) -> None:
        self.party = ThirdParty(idm.url, KEY.public_key)
        self.asks_more = self.denies = self.wants_to_know = False
        idm.places |= {"/discharge": self.discharge, "/wait": self.wait, "/visit": lambda _: said({})}

    def discharge(self, asked: Asked) -> Any:
        ticket = open_ticket(decode_any_base64(asked.form["id64"]), KEY)
        if self.denies:
            return said({"Code": "permission denied", "Message": "no"}, 401)
        if self.wants_to_know and "token" not in asked.form:
            window = {"VisitURL": "/visit", "WaitTokenURL": "/wait"}
            info = {"InteractionMethods": {"browser-window": window}}
            return said({"Code": "interaction required", "Info": info}, 401)
        made = discharge(ticket, now=datetime.now(UTC), user="alice")
        if self.asks_more:
            made = made.require_discharge(self.party, "signed-in = *")
        return said({"Macaroon": BakeryMacaroon(made, 2).to_members()})

    def wait(self, asked: Asked) -> Any:
        return said({"kind": "browser-window", "token": "it was alice"})


def incoming(asked: Asked) -> IncomingRequest:
    """As an app sees it behind a proxy that lets no header through that it does not know."""
    known = {"authorization", "cookie", "host"}
    headers = [(name.lower(), value) for name, value in asked.headers.items() if name.lower() in known]
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return IncomingRequest(asked.method, asked.path, b"", raw, "127.0.0.1")


def refused(refusal: Problem) -> Any:
    return refusal.status, refusal.headers, refusal.body


def guard(app: Site, idm: Idm, *places: str, **given: Any) -> None:
    """A guard at each of these places, that wants somebody to be signed in."""
    party = BakeryParty(idm.party.location, idm.party.public_key)
    first_party = DischargeGuard(bytes(range(32)), party, "signed-in = *", **given)

    def answer(asked: Asked) -> Any:
        try:
            agreed = first_party.judge(incoming(asked))
        except Problem as refusal:
            return refused(refusal)
        return said({"user": agreed.user, "body": asked.body.decode()})

    app.places |= dict.fromkeys(places or ("/things",), answer)


def gate(app: Site) -> None:
    """A gate of the audience photos."""
    made = Guard(Verifier(KEYRING, audience="photos"))

    def answer(asked: Asked) -> Any:
        try:
            return said({"user": made.judge(incoming(asked)).user})
        except Problem as refusal:
            return refused(refusal)

    app.places["/things"] = answer


def token() -> Macaroon:
    now = datetime.now(UTC).replace(microsecond=0)
    issued = (User("alice"), Expires(now + timedelta(hours=1)), Scope("*"))
    identifier = Identifier("k1", "photos", new_token_id(now), 3)
    return Macaroon.mint(KEYRING.root_key(identifier), identifier, caveats=issued)


def get(auth: httpx.Auth, *urls: str, awaiting: bool = False, **how: Any) -> list[httpx.Response]:
    """The answers to requests with one client, sync or async."""
    body = how.get("content")
    if not awaiting:
        with httpx.Client(auth=auth, trust_env=False, follow_redirects=True) as client:
            return [client.request("POST" if body else "GET", url, content=body) for url in urls]

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(auth=auth, trust_env=False, follow_redirects=True) as client:
            return [await client.request("POST" if body else "GET", url, content=body) for url in urls]

    return asyncio.run(run())


def nearby(idm: Site, **more: Any) -> dict[str, Any]:
    return {"allow": [idm.url], "allow_private": True, **more}


def asks(**members: Any) -> Any:
    """A problem that asks for a discharge."""
    body = json.dumps({"status": 401, "code": "discharge_required", **members}).encode()
    return 401, {"Content-Type": "application/problem+json", "WWW-Authenticate": "Bearer"}, body


# The guard: it gives the token to complete


@both
def test_a_guard_s_problem_is_acted_on_and_its_token_presented_as_a_bundle(
    app: Site, idm: Site, awaiting: bool
) -> None:
    guard(app, Idm(idm), "/things", "/others")
    auth = TokenAuth(None, app.url, **nearby(idm))
    answers = get(auth, f"{app.url}/things", f"{app.url}/others", awaiting=awaiting)
    assert [answer.json()["user"] for answer in answers] == ["alice", "alice"]
    assert len(app.asked) == 3, "one collection is enough for all that the guard guards"
    assert idm.paths() == ["/discharge"]
    assert not {"authorization", "cookie"} & {name.lower() for name in idm.asked[0].headers}
    [presented] = {asked.headers["authorization"] for asked in app.asked[1:]}
    assert len(Bundle.decode(presented.removeprefix("Bearer ")).discharges) == 1


@both
def test_what_was_posted_goes_again_with_the_bundle_instead_of_the_caller_s_token(
    app: Site, idm: Site, awaiting: bool
) -> None:
    guard(app, Idm(idm))
    own = token()
    auth = TokenAuth(own, app.url, **nearby(idm))
    [answer] = get(auth, f"{app.url}/things", awaiting=awaiting, content=b"hello")
    assert answer.json() == {"user": "alice", "body": "hello"}
    assert app.asked[0].headers["authorization"] == f"Bearer {own.encode()}"
    assert own.encode() not in app.asked[1].headers["authorization"]
    assert len(app.asked[1].headers.get_all("authorization")) == 1


@both
def test_a_person_signs_in_on_the_way(app: Site, idm: Site, awaiting: bool) -> None:
    third = Idm(idm)
    third.wants_to_know = True
    guard(app, third)
    visited: list[str] = []
    auth = TokenAuth(None, app.url, **nearby(idm, interact=Interact(visit=visited.append)))
    assert get(auth, f"{app.url}/things", awaiting=awaiting)[0].json()["user"] == "alice"
    assert visited == [f"{idm.url}/visit"]


@both
def test_a_third_party_that_is_not_on_the_list_is_not_asked(app: Site, idm: Site, awaiting: bool) -> None:
    guard(app, Idm(idm))
    with pytest.raises(UnusableAddress, match="not on the list"):
        get(TokenAuth(None, app.url), f"{app.url}/things", awaiting=awaiting)
    with pytest.raises(UnusableAddress, match="private network"):
        get(TokenAuth(None, app.url, allow=[idm.url]), f"{app.url}/things", awaiting=awaiting)
    assert not idm.asked
    assert len(app.asked) == 2


@both
def test_103_ever_new_caveats_end_within_the_bounds(app: Site, idm: Site, awaiting: bool) -> None:
    third = Idm(idm)
    third.asks_more = True
    guard(app, third)
    with pytest.raises(BadDischarge):
        get(TokenAuth(None, app.url, **nearby(idm)), f"{app.url}/things", awaiting=awaiting)
    assert len(idm.asked) <= 16
    assert len(app.asked) == 1


@both
def test_after_two_rounds_the_answer_is_the_answer(app: Site, idm: Site, awaiting: bool) -> None:
    guard(app, Idm(idm))
    judged = app.places["/things"]
    app.places["/things"] = lambda asked: judged(replace(asked, headers={}))  # and finds nothing presented
    [answer] = get(TokenAuth(None, app.url, **nearby(idm)), f"{app.url}/things", awaiting=awaiting)
    assert (answer.status_code, answer.json()["code"]) == (401, "discharge_required")
    assert (len(app.asked), len(idm.asked)) == (3, 2)


def test_whoever_is_denied_is_told(app: Site, idm: Site) -> None:
    third = Idm(idm)
    third.denies = True
    guard(app, third)
    with pytest.raises(Forbidden, match="does not agree: no"):
        get(TokenAuth(None, app.url, **nearby(idm)), f"{app.url}/things")


def test_what_the_guard_gave_is_narrowed_before_it_is_bound(app: Site, idm: Site) -> None:
    guard(app, Idm(idm), "/things", "/others")
    auth = TokenAuth(None, app.url, **nearby(idm, narrow=lambda request: [b"path = /things"]))
    answers = get(auth, f"{app.url}/things", f"{app.url}/others")
    assert [answer.status_code for answer in answers] == [200, 401]


@both
@pytest.mark.parametrize(
    "path", ["https://evil.example/", "//evil.example/", "http:\\\\evil.example", "/other", "http://[::1", 7]
)
def test_106_a_problem_s_token_for_another_site_or_path_is_refused(
    app: Site, idm: Site, awaiting: bool, path: Any
) -> None:
    given = Macaroon.mint(b"a root key", b"x").require_discharge(Idm(idm).party, "signed-in = *").encode()
    app.places["/things"] = lambda _: asks(token=given, path=path)
    with pytest.raises(BadDischarge):
        get(TokenAuth(None, app.url, **nearby(idm)), f"{app.url}/things", awaiting=awaiting)
    assert not idm.asked
    assert len(app.asked) == 1


def test_a_problem_without_a_path_is_for_the_path_that_was_asked(app: Site, idm: Site) -> None:
    given = Macaroon.mint(b"a root key", b"x").require_discharge(Idm(idm).party, "signed-in = *").encode()

    def answer(asked: Asked) -> Any:
        return said({}) if "authorization" in asked.headers else asks(token=given)

    app.places |= {"/things": answer, "/things/1": answer, "/others": answer}
    auth = TokenAuth(None, app.url, **nearby(idm))
    urls = [f"{app.url}/{path}" for path in ("things", "things/1", "others")]
    assert [answer.status_code for answer in get(auth, *urls)] == [200] * 3
    assert app.paths() == ["/things", "/things", "/things/1", "/others", "/others"]


@both
@pytest.mark.parametrize("given", ["", "x", "cav1_AAAA", 7, None, ["x"]])
def test_105_a_problem_s_token_that_is_none_is_a_typed_error(
    app: Site, idm: Site, awaiting: bool, given: Any
) -> None:
    app.places["/things"] = lambda _: asks(token=given)
    with pytest.raises(BadDischarge):
        get(TokenAuth(None, app.url, **nearby(idm)), f"{app.url}/things", awaiting=awaiting)


def test_105_a_problem_that_is_too_large_is_a_typed_error(app: Site) -> None:
    app.places["/things"] = lambda _: asks(token="x" * 70_000)
    with pytest.raises(BadDischarge, match="more than"):
        get(TokenAuth(None, app.url), f"{app.url}/things")


def test_104_another_origin_s_problem_is_handed_on_and_gets_nothing(app: Site, idm: Site) -> None:
    guard(app, Idm(idm))
    with site() as evil:
        evil.places["/"] = app.places["/things"]
        app.places["/away"] = lambda _: (302, {"Location": f"{evil.url}/"}, b"")
        auth = TokenAuth(token(), app.url, **nearby(idm))
        answers = get(auth, f"{app.url}/things", f"{app.url}/away", f"{evil.url}/")
        assert [answer.status_code for answer in answers] == [200, 401, 401]
        assert not any("authorization" in asked.headers for asked in evil.asked)
        assert len(evil.asked) == 2
    assert len(idm.asked) == 1


@both
@pytest.mark.parametrize(
    "answer",
    [
        asks(location="https://idm.example", ticket="AAAA"),
        (403, *asks(token="x")[1:]),
        (401, {"Content-Type": "application/problem+json"}, b'{"code": "invalid_token", "token": "x"}'),
        (401, {"Content-Type": "application/problem+json"}, b"<html>"),
        (401, {"Content-Type": "application/problem+json"}, b"[]"),
        (401, {"Content-Type": "application/json"}, asks(token="x")[2]),
    ],
    ids=["nothing to complete", "403", "another code", "no JSON", "no object", "no problem"],
)
def test_any_other_refusal_is_handed_on(app: Site, awaiting: bool, answer: Any) -> None:
    app.places["/things"] = lambda _: answer
    for own in (None, token()):
        [got] = get(TokenAuth(own, app.url), f"{app.url}/things", awaiting=awaiting)
        assert (got.status_code, got.content) == (answer[0], answer[2])
    assert len(app.asked) == 2


# The gate: it says what the caller's own token lacks


@both
def test_a_gate_is_not_asked_in_vain_where_the_token_shows_what_it_needs(
    app: Site, idm: Site, awaiting: bool
) -> None:
    gate(app)
    own = token().require_discharge(Idm(idm).party, "signed-in = *")
    auth = TokenAuth(own, app.url, **nearby(idm))
    assert get(auth, f"{app.url}/things", awaiting=awaiting)[0].json() == {"user": "alice"}
    assert (len(app.asked), len(idm.asked)) == (1, 1)


@both
def test_what_a_gate_says_is_missing_is_collected_with_all_the_others(
    app: Site, idm: Site, awaiting: bool
) -> None:
    """A bundle with one discharge of two went out as it came; it is collected anew, once, and kept."""
    gate(app)
    third = Idm(idm)
    half = token().require_discharge(third.party, "signed-in = *")
    whole = half.require_discharge(third.party, "member-of = ops")
    with Client("https://auth.example") as client:
        only = client.collect(half, **nearby(idm)).discharges
    idm.asked.clear()
    auth = TokenAuth(Bundle.bind(whole, only), app.url, **nearby(idm))
    answers = get(auth, f"{app.url}/things", f"{app.url}/things", awaiting=awaiting)
    assert [answer.json() for answer in answers] == [{"user": "alice"}] * 2
    assert (len(app.asked), len(idm.asked)) == (3, 2)


def test_of_many_requests_that_lack_a_discharge_at_once_each_goes_again(app: Site, idm: Site) -> None:
    gate(app)
    third = Idm(idm)
    half = token().require_discharge(third.party, "signed-in = *")
    with Client("https://auth.example") as client:
        only = client.collect(half, **nearby(idm)).discharges
    idm.asked.clear()
    whole = half.require_discharge(third.party, "member-of = ops")
    auth = TokenAuth(Bundle.bind(whole, only), app.url, **nearby(idm))

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
            return await asyncio.gather(*[client.get(f"{app.url}/things") for _ in range(5)])

    assert [answer.status_code for answer in asyncio.run(run())] == [200] * 5
    assert len(idm.asked) == 2


def test_what_is_refused_though_all_was_collected_is_the_answer(app: Site, idm: Site) -> None:
    third = Idm(idm)
    own = token().require_discharge(third.party, "signed-in = *")
    app.places["/things"] = lambda _: asks(location=idm.url, ticket="AAAA")
    [answer] = get(TokenAuth(own, app.url, **nearby(idm)), f"{app.url}/things")
    assert answer.json()["code"] == "discharge_required"
    assert (len(app.asked), len(idm.asked)) == (1, 1)


def test_what_an_origin_gives_for_ever_new_paths_is_bounded() -> None:
    auth = TokenAuth(None, origin="https://photos.example")
    given = envelope(Macaroon.mint(b"k" * 32, b"for one path"))
    for n in range(3 * MOST_PATHS):
        request = httpx.Request("GET", f"https://photos.example/albums/{n}")
        auth._take(Required(given, f"/albums/{n}", "macaroon-x"), request, was_redirected=False)
    assert list(auth._given) == [f"/albums/{n}" for n in range(2 * MOST_PATHS, 3 * MOST_PATHS)]
