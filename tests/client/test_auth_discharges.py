"""TokenAuth against first parties made with macaroonbakery, and against first parties that lie."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2 as httpx
import pytest

from caveats import Bundle, Expires, Macaroon, Method, Refused, authenticate, discharge, open_ticket
from caveats import ThirdParty as Party
from caveats.bakery import BakeryMacaroon, BakeryParty, TimeBefore
from caveats.token import decode_any_base64
from caveats_client import Agent, BadDischarge, Client, Interact, TokenAuth, Unavailable, UnusableAddress
from tests.support.bakery import AGENT_KEY, KEY, Asked, FirstParty, Site, ThirdParty, said, site

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ROOT_KEY = b"a root key"
CHALLENGE = {"WWW-Authenticate": "Macaroon", "Content-Type": "application/json"}


@pytest.fixture
def app() -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.fixture
def idm() -> Iterator[Site]:
    with site() as made:
        yield made


def get(auth: httpx.Auth, *urls: str, awaiting: bool = False, **how: Any) -> list[httpx.Response]:
    """The answers to requests with one client, sync or async."""
    if not awaiting:
        with httpx.Client(auth=auth, trust_env=False, follow_redirects="follow" in how) as client:
            return [client.request(how.get("method", "GET"), url, content=how.get("content")) for url in urls]

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(auth=auth, trust_env=False, follow_redirects="follow" in how) as client:
            return [
                await client.request(how.get("method", "GET"), url, content=how.get("content"))
                for url in urls
            ]

    return asyncio.run(run())


def nearby(idm: Site, **more: Any) -> dict[str, Any]:
    return {"allow": [idm.url], "allow_private": True, **more}


both = pytest.mark.parametrize("awaiting", [False, True], ids=["sync", "async"])
of_each_version = pytest.mark.parametrize("version", [1, 2, 3])


# A first party that answers the bakery way


@both
@of_each_version
def test_a_macaroonbakery_first_party_gets_its_macaroon_discharged(
    app: Site, idm: Site, awaiting: bool, version: int
) -> None:
    FirstParty(app, ThirdParty(idm, version), version)
    auth = TokenAuth(None, app.url, **nearby(idm))
    answers = get(auth, f"{app.url}/things", f"{app.url}/things", awaiting=awaiting)
    assert [answer.json()["done"] for answer in answers] == [True, True]
    assert len(app.asked) == 3, "the second request presents what the first one was given"
    assert idm.paths() == ["/discharge"]


@both
def test_what_was_posted_goes_again(app: Site, idm: Site, awaiting: bool) -> None:
    FirstParty(app, ThirdParty(idm))
    auth = TokenAuth(None, app.url, **nearby(idm))
    [answer] = get(auth, f"{app.url}/things", awaiting=awaiting, method="POST", content=b"hello")
    assert answer.json()["body"] == "hello"


def test_a_body_that_is_gone_does_not_go_again_and_the_next_request_passes(app: Site, idm: Site) -> None:
    FirstParty(app, ThirdParty(idm))
    auth = TokenAuth(None, app.url, **nearby(idm))
    with httpx.Client(auth=auth, trust_env=False) as client:
        refused = client.post(f"{app.url}/things", content=iter([b"hello"]), headers={"Content-Length": "5"})
        assert refused.status_code == 401
        assert refused.json()["Code"] == "macaroon discharge required"
        assert client.get(f"{app.url}/things").json()["done"]


@both
def test_an_agent_signs_in_on_the_way(app: Site, idm: Site, awaiting: bool) -> None:
    FirstParty(app, ThirdParty(idm, ways=("agent",)))
    interact = Interact(Agent(AGENT_KEY, {idm.url: "robot"}))
    auth = TokenAuth(None, app.url, **nearby(idm, interact=interact))
    assert get(auth, f"{app.url}/things", awaiting=awaiting)[0].json()["done"]


@both
def test_a_person_signs_in_on_the_way(app: Site, idm: Site, awaiting: bool) -> None:
    third = ThirdParty(idm, ways=("browser-window",))
    FirstParty(app, third)
    interact = Interact(visit=lambda url: threading.Timer(0.05, third.decided.set).start())
    auth = TokenAuth(None, app.url, **nearby(idm, interact=interact))
    assert get(auth, f"{app.url}/things", awaiting=awaiting)[0].json()["done"]


def test_what_the_first_party_gave_is_narrowed_before_it_is_bound(app: Site, idm: Site) -> None:
    FirstParty(app, ThirdParty(idm))
    now = datetime.now(UTC)
    alive = TokenAuth(
        None, app.url, **nearby(idm), narrow=lambda _: [TimeBefore.at(now + timedelta(minutes=1))]
    )
    assert get(alive, f"{app.url}/things")[0].json()["done"]
    dead = TokenAuth(
        None, app.url, **nearby(idm), narrow=lambda _: [TimeBefore.at(now - timedelta(minutes=1))]
    )
    assert get(dead, f"{app.url}/things")[0].status_code == 401


def test_a_third_party_that_is_not_on_the_list_is_not_asked(app: Site, idm: Site) -> None:
    FirstParty(app, ThirdParty(idm))
    with pytest.raises(UnusableAddress, match="not on the list"):
        get(TokenAuth(None, app.url), f"{app.url}/things")
    with pytest.raises(UnusableAddress, match="private network"):
        get(TokenAuth(None, app.url, allow=[idm.url]), f"{app.url}/things")
    assert not idm.asked


@both
def test_after_two_rounds_the_answer_is_the_answer(app: Site, idm: Site, awaiting: bool) -> None:
    first = FirstParty(app, ThirdParty(idm), life=timedelta(seconds=-10))
    auth = TokenAuth(None, app.url, **nearby(idm))
    [answer] = get(auth, f"{app.url}/things", awaiting=awaiting)
    assert answer.status_code == 401
    assert len(app.asked) == 3
    assert len(idm.asked) == 2
    first.life = timedelta(hours=1)
    assert get(auth, f"{app.url}/things", awaiting=awaiting)[0].json()["done"]


@both
def test_each_path_has_its_own_macaroon(app: Site, idm: Site, awaiting: bool) -> None:
    third = ThirdParty(idm)
    FirstParty(app, third, path="/a/", place="/a/things")
    FirstParty(app, third, path="../b", place="/b/things")
    auth = TokenAuth(None, app.url, **nearby(idm))
    urls = [f"{app.url}/{name}/things" for name in "abab"]
    assert all(answer.json()["done"] for answer in get(auth, *urls, awaiting=awaiting))
    assert len(app.asked) == 6
    assert get(auth, f"{app.url}/ab")[0].status_code == 404
    assert "cookie" not in app.asked[-1].headers


def test_only_the_token_s_own_origin_is_spoken_to_the_bakery_way(app: Site, idm: Site) -> None:
    FirstParty(app, ThirdParty(idm))
    [answer] = get(TokenAuth(None, "https://photos.example", **nearby(idm)), f"{app.url}/things")
    assert answer.status_code == 401
    assert not idm.asked
    assert "bakery-protocol-version" not in app.asked[0].headers


def required(app: Site, idm: Site, **info: Any) -> Callable[[Asked], Any]:
    made = BakeryMacaroon(Macaroon.mint(ROOT_KEY, b"root")).require_discharge(
        BakeryParty(idm.url, KEY.public_key), "is-ok"
    )
    body = {"Macaroon": made.to_members(), **info}
    return lambda _: said(
        {"Code": "macaroon discharge required", "Info": body}, 401, WWW_Authenticate="Macaroon"
    )


@both
@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/",
        "//evil.example/",
        "http://127.0.0.1:1/",
        "http:\\\\evil.example",
        "https:/x",
        "/other",
        "http://[::1",
        7,
    ],
)
def test_106_a_macaroon_for_another_site_or_path_is_refused(
    app: Site, idm: Site, awaiting: bool, path: Any
) -> None:
    app.places["/things"] = required(app, idm, MacaroonPath=path)
    with pytest.raises(BadDischarge):
        get(TokenAuth(None, app.url, **nearby(idm)), f"{app.url}/things", awaiting=awaiting)
    assert not idm.asked
    assert len(app.asked) == 1


@pytest.mark.parametrize("suffix", ["a=b", "a; Domain=evil.example", "a\r\nX: 1", "ä", "x" * 65, 7])
def test_106_a_cookie_s_name_that_is_none_is_refused(app: Site, idm: Site, suffix: Any) -> None:
    app.places["/things"] = required(app, idm, CookieNameSuffix=suffix)
    with pytest.raises(BadDischarge):
        get(TokenAuth(None, app.url, **nearby(idm)), f"{app.url}/things")
    assert not idm.asked


@both
def test_106_a_redirect_to_another_site_takes_nothing_along_and_gets_nothing(
    app: Site, idm: Site, awaiting: bool
) -> None:
    FirstParty(app, ThirdParty(idm))
    with site() as evil:
        evil.places["/"] = required(evil, idm)
        auth = TokenAuth(Macaroon.mint(ROOT_KEY, b"plain"), app.url, **nearby(idm))
        assert get(auth, f"{app.url}/things", awaiting=awaiting)[0].json()["done"]
        app.places["/away"] = lambda _: (302, {"Location": f"{evil.url}/"}, b"")
        idm.asked.clear()
        [answer] = get(auth, f"{app.url}/away", awaiting=awaiting, follow=True)
        assert answer.status_code == 401
        assert "cookie" in app.asked[-1].headers
        assert not {"cookie", "authorization"} & {name.lower() for name in evil.asked[0].headers}
        assert len(evil.asked) == 1
        assert not idm.asked


@both
def test_a_redirect_that_stays_at_home_is_presented_what_is_at_hand(
    app: Site, idm: Site, awaiting: bool
) -> None:
    FirstParty(app, ThirdParty(idm))
    app.places["/from"] = lambda _: (302, {"Location": "/things"}, b"")
    auth = TokenAuth(None, app.url, **nearby(idm))
    answers = get(auth, f"{app.url}/from", f"{app.url}/from", awaiting=awaiting, follow=True)
    assert [answer.json()["done"] for answer in answers] == [True, True]
    assert len(idm.asked) == 1


def test_the_app_s_own_cookies_stay(app: Site, idm: Site) -> None:
    FirstParty(app, ThirdParty(idm))
    auth = TokenAuth(None, app.url, **nearby(idm))
    with httpx.Client(auth=auth, trust_env=False, cookies={"theme": "dark"}) as client:
        assert client.get(f"{app.url}/things").json()["done"]
        assert list(client.cookies) == ["theme"]
    assert app.asked[-1].headers["cookie"].startswith("theme=dark; macaroon-test=")


def test_106_cookies_that_a_third_party_sets_are_not_kept(app: Site, idm: Site) -> None:
    third = ThirdParty(idm)

    def setting(asked: Asked) -> Any:
        status, headers, body = third.discharge(asked)
        return status, {**headers, "Set-Cookie": "macaroon-auth=x; Domain=127.0.0.1; Path=/"}, body

    idm.places["/discharge"] = setting
    FirstParty(app, third)
    auth = TokenAuth(None, app.url, **nearby(idm))
    get(auth, f"{app.url}/things")
    assert all("cookie" not in asked.headers for asked in idm.asked)
    assert all(asked.headers.get("cookie", "").count("macaroon-auth") == 0 for asked in app.asked)


@both
@pytest.mark.parametrize(
    "answer",
    [
        said({"Code": "macaroon discharge required", "Info": {}}, 401, WWW_Authenticate="Macaroon"),
        said({"Code": "macaroon discharge required"}, 407),
        said({"Code": "macaroon discharge required", "Info": {"Macaroon": "x"}}, 407),
        (401, CHALLENGE, b" " * 70000),
        (401, {**CHALLENGE, "Content-Encoding": "gzip"}, gzip.compress(b" " * 60_000_000)),
        (401, {**CHALLENGE, "Content-Encoding": "gzip"}, b"no gzip"),
    ],
    ids=["no macaroon", "no info", "nonsense", "too large", "too large once unpacked", "cannot be unpacked"],
)
def test_105_a_first_party_that_asks_for_nonsense_is_a_typed_error(
    app: Site, awaiting: bool, answer: Any
) -> None:
    app.places["/things"] = lambda _: answer
    with pytest.raises(BadDischarge):
        get(TokenAuth(None, app.url), f"{app.url}/things", awaiting=awaiting)


@both
def test_a_proxy_may_pack_what_a_first_party_asks(app: Site, idm: Site, awaiting: bool) -> None:
    FirstParty(app, ThirdParty(idm))
    plain = app.places["/things"]

    def packed(asked: Asked) -> Any:
        status, headers, body = plain(asked)
        return status, {**headers, "Content-Encoding": "gzip"}, gzip.compress(body)

    app.places["/things"] = packed
    [answer] = get(TokenAuth(None, app.url, **nearby(idm)), f"{app.url}/things", awaiting=awaiting)
    assert answer.json()["done"]


@both
@pytest.mark.parametrize(
    "answer",
    [
        (401, {**CHALLENGE, "Content-Encoding": "x-unknown"}, b'{"Code":"macaroon discharge required"}'),
        said({"Code": "macaroon discharge required"}, 401),
        said({"Code": "macaroon discharge required"}, 401, WWW_Authenticate="Bearer"),
        said({"Code": "macaroon discharge required"}, 403, WWW_Authenticate="Macaroon"),
        said({"Code": "something else"}, 401, WWW_Authenticate="Macaroon"),
        (401, {"WWW-Authenticate": "Macaroon", "Content-Type": "application/json"}, b"<html>"),
        (401, {"WWW-Authenticate": "Macaroon"}, b"{}"),
    ],
)
def test_any_other_refusal_is_handed_on(app: Site, awaiting: bool, answer: Any) -> None:
    app.places["/things"] = lambda _: answer
    [got] = get(TokenAuth(None, app.url), f"{app.url}/things", awaiting=awaiting)
    assert (got.status_code, got.content) == (answer[0], answer[2])


# A token that needs discharges


class Ours:
    """A third party in our own format, and an app that takes bundles as bearer tokens."""

    def __init__(self, app: Site, idm: Site) -> None:
        self.life = timedelta(minutes=5)
        self.closed = False
        self.seen: list[Bundle] = []
        self.party = Party(idm.url, KEY.public_key)
        idm.places["/discharge"] = self.discharge
        app.places["/things"] = self.things

    def token(self) -> Macaroon:
        return Macaroon.mint(ROOT_KEY, b"root").require_discharge(self.party, "signed-in = alice")

    def discharge(self, asked: Asked) -> Any:
        ticket = open_ticket(decode_any_base64(asked.form["id64"]), KEY)
        made = discharge(ticket, now=datetime.now(UTC), life=self.life)
        return said({"Macaroon": BakeryMacaroon(made, 2).to_members()})

    def things(self, asked: Asked) -> Any:
        bundle = Bundle.decode(asked.headers["authorization"].removeprefix("Bearer "))
        self.seen.append(bundle)
        try:
            authenticate(bundle, ROOT_KEY)
        except Refused:
            return said({}, 401)
        return said({}, 401 if self.closed else 200)


@both
def test_a_token_with_third_parties_is_discharged_once_and_sent_as_a_bundle(
    app: Site, idm: Site, awaiting: bool
) -> None:
    ours = Ours(app, idm)
    auth = TokenAuth(ours.token(), app.url, **nearby(idm))
    answers = get(auth, f"{app.url}/things", f"{app.url}/things", awaiting=awaiting)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert idm.paths() == ["/discharge"]
    assert all("authorization" not in asked.headers for asked in idm.asked)


def test_unbound_discharges_are_kept_and_bound_anew_for_each_narrower_token(app: Site, idm: Site) -> None:
    ours = Ours(app, idm)
    auth = TokenAuth(ours.token(), app.url, **nearby(idm), narrow=lambda request: [Method(request.method)])
    with httpx.Client(auth=auth, trust_env=False) as client:
        assert client.get(f"{app.url}/things").status_code == 200
        assert client.post(f"{app.url}/things").status_code == 200
    assert [bundle.macaroon.unverified_caveats[-1] for bundle in ours.seen] == [Method("GET"), Method("POST")]
    assert len(idm.asked) == 1


@both
def test_what_has_expired_is_collected_again(app: Site, idm: Site, awaiting: bool) -> None:
    ours = Ours(app, idm)
    ours.life = timedelta(seconds=0)
    auth = TokenAuth(ours.token(), app.url, **nearby(idm))
    get(auth, f"{app.url}/things", f"{app.url}/things", awaiting=awaiting)
    assert len(idm.asked) == 2


@both
def test_what_is_refused_after_it_was_good_is_collected_again_once(
    app: Site, idm: Site, awaiting: bool
) -> None:
    ours = Ours(app, idm)
    auth = TokenAuth(ours.token(), app.url, **nearby(idm))
    get(auth, f"{app.url}/things", awaiting=awaiting)
    ours.closed = True
    answers = get(auth, *[f"{app.url}/things"] * 3, awaiting=awaiting)
    assert [answer.status_code for answer in answers] == [401] * 3
    assert len(idm.asked) == 2
    ours.closed = False
    assert get(auth, f"{app.url}/things", awaiting=awaiting)[0].status_code == 200
    assert len(idm.asked) == 2


def test_a_bundle_that_is_bound_already_goes_out_as_it_is(app: Site, idm: Site) -> None:
    ours = Ours(app, idm)
    with Client("https://auth.example") as client:
        bundle = client.discharge(ours.token(), **nearby(idm))
    assert get(TokenAuth(bundle, app.url), f"{app.url}/things")[0].status_code == 200
    assert ours.seen == [bundle]


def test_36_an_expired_discharge_is_not_presented(app: Site, idm: Site) -> None:
    """Catalogue B2: the verifier refuses it; the client does not even send it a second time."""
    ours = Ours(app, idm)
    ours.life = timedelta(seconds=0)
    auth = TokenAuth(ours.token(), app.url, **nearby(idm))
    get(auth, f"{app.url}/things")
    ours.life = timedelta(minutes=5)
    get(auth, f"{app.url}/things")
    [end] = [one for one in ours.seen[-1].discharges[0].unverified_caveats if isinstance(one, Expires)]
    assert end.at > datetime.now(UTC)


def test_both_credentials_are_never_sent_at_once(app: Site, idm: Site) -> None:
    FirstParty(app, ThirdParty(idm))
    auth = TokenAuth(Macaroon.mint(ROOT_KEY, b"plain"), app.url, **nearby(idm))
    assert get(auth, f"{app.url}/things")[0].json()["done"]
    assert [("authorization" in a.headers, "cookie" in a.headers) for a in app.asked] == [
        (True, False),
        (False, True),
    ]


def test_many_requests_at_once_make_one_collection(app: Site, idm: Site) -> None:
    ours = Ours(app, idm)
    auth = TokenAuth(ours.token(), app.url, **nearby(idm))

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
            return await asyncio.gather(*[client.get(f"{app.url}/things") for _ in range(5)])

    assert [answer.status_code for answer in asyncio.run(run())] == [200] * 5
    assert len(idm.asked) == 1
    auth = TokenAuth(ours.token(), app.url, **nearby(idm))
    got: list[int] = []
    threads = [
        threading.Thread(target=lambda: got.append(get(auth, f"{app.url}/things")[0].status_code))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [200] * 5
    assert len(idm.asked) == 2


def test_many_requests_at_once_share_the_error_too_and_the_next_one_asks_again(app: Site, idm: Site) -> None:
    ours = Ours(app, idm)
    places = dict(idm.places)
    idm.places.update(dict.fromkeys(places, lambda _: (503, {"Retry-After": "7"}, b"busy")))
    auth = TokenAuth(ours.token(), app.url, **nearby(idm))

    async def run() -> list[object]:
        async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
            asked = [client.get(f"{app.url}/things") for _ in range(5)]
            return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(run())
    assert [(type(each), each.retry_after) for each in found] == [(Unavailable, 7)] * 5  # type: ignore[attr-defined]
    assert len(idm.asked) == 1
    idm.places.update(places)
    assert get(auth, f"{app.url}/things")[0].status_code == 200
