"""Discharges are collected from real third parties, and from hostile ones nothing worse than a typed error comes."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import httpx2 as httpx
import pytest

from caveats import Bundle, Macaroon, Note, authenticate
from caveats import ThirdParty as Party
from caveats.bakery import BakeryMacaroon, BakeryParty, first_party_checkers
from caveats_client import (
    Agent,
    AsyncClient,
    BadDischarge,
    Client,
    ClientError,
    Forbidden,
    Interact,
    InteractionRequired,
    Unavailable,
    UnusableAddress,
)
from caveats_client.discharge import protocol, runner
from caveats_client.discharge.allowlist import Place
from caveats_client.discharge.protocol import Send, Visit
from tests.support.bakery import AGENT_KEY, CONDITION, KEY, Asked, Site, ThirdParty, said, site

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ROOT_KEY = b"a root key"
SERVICE = "https://auth.example"  # nobody asks it anything here
KINDS = first_party_checkers().kinds
VERSIONS = (1, 2, 3)
SECRET = b64encode(AGENT_KEY.secret).decode()


@pytest.fixture
def there() -> Iterator[Site]:
    with site() as made:
        yield made


def discharge(token: Any, *, client: type = Client, **how: Any) -> Bundle:
    """`Client.discharge`, or that of the async one."""
    if client is AsyncClient:

        async def run() -> Bundle:
            async with AsyncClient(SERVICE) as made:
                return await made.discharge(token, **how)

        return asyncio.run(run())
    with Client(SERVICE) as made:
        return made.discharge(token, **how)


def root(version: int, *locations: str, condition: str = CONDITION) -> BakeryMacaroon:
    token = BakeryMacaroon(Macaroon.mint(ROOT_KEY, b"root"), version)
    for location in locations:
        token = token.require_discharge(BakeryParty(location, KEY.public_key, version), condition)
    return token


def is_good(bundle: Bundle) -> bool:
    return bool(authenticate(bundle, ROOT_KEY, kinds=KINDS))


def nearby(place: Site, **more: Any) -> dict[str, Any]:
    return {"allow": [place.url], "allow_private": True, "interact": Interact(), **more}


both = pytest.mark.parametrize("client", [Client, AsyncClient], ids=["sync", "async"])
of_each_version = pytest.mark.parametrize("version", VERSIONS)


# What works


@both
@of_each_version
def test_a_macaroonbakery_third_party_discharges(there: Site, client: type, version: int) -> None:
    ThirdParty(there, version)
    bundle = discharge(root(version, there.url), client=client, **nearby(there))
    assert is_good(bundle)
    asked = there.asked[0]
    assert asked.headers["bakery-protocol-version"] == "3"
    assert asked.headers["host"] == f"127.0.0.1:{there.port}"
    assert asked.headers["authorization"] is None


@both
@of_each_version
def test_an_agent_shows_its_key(there: Site, client: type, version: int) -> None:
    ThirdParty(there, version, ways=("agent", "browser-window"))
    agent = Agent(AGENT_KEY, {there.url: "robot"})
    how = nearby(there, interact=Interact(agent, visit=pytest.fail))
    assert is_good(discharge(root(version, there.url), client=client, **how))
    assert there.paths() == ["/discharge", "/login", "/discharge"]


@both
@of_each_version
@pytest.mark.parametrize("legacy", [False, True], ids=["browser-window", "the oldest way"])
def test_a_person_is_taken_to_the_browser(there: Site, client: type, version: int, legacy: bool) -> None:
    third = ThirdParty(there, version, ways=("browser-window",), legacy=legacy)
    seen: list[str] = []

    def visit(url: str) -> None:
        seen.append(url)
        threading.Timer(0.1, third.decided.set).start()

    how = nearby(there, interact=Interact(visit=visit))
    assert is_good(discharge(root(version, there.url), client=client, **how))
    assert seen == [f"{there.url}/visit" + ("" if legacy else "?w=1")]


@both
def test_where_an_asker_waits_is_in_no_log_and_no_repr(
    there: Site, client: type, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever knows that address can have the discharge. httpx tells its log every address that it asks."""
    caplog.set_level("INFO")
    third = ThirdParty(there, ways=("browser-window",))
    how = nearby(there, interact=Interact(visit=lambda url: third.decided.set()))
    assert is_good(discharge(root(3, there.url), client=client, **how))
    assert "/wait" in [asked.path for asked in there.asked]
    assert "HTTP Request" in caplog.text
    assert "/wait" not in caplog.text
    step = Send("GET", Place(httpx.URL(f"{there.url}/wait/secret")), {}, None, 0.0)
    assert "secret" not in repr((step, Visit(f"{there.url}/visit/secret", print)))


@both
@of_each_version
def test_a_form_is_filled_in(there: Site, client: type, version: int) -> None:
    ThirdParty(there, version, ways=("form", "browser-window"))
    shown: list[Any] = []

    def fill(schema: Any) -> dict[str, str]:
        shown.append(schema)
        return {"name": "alice", "password": "wonder"}

    how = nearby(there, interact=Interact(fill=fill, visit=pytest.fail))
    assert is_good(discharge(root(version, there.url), client=client, **how))
    assert shown[0].keys() == {"name", "password"}
    assert there.paths() == ["/discharge", "/form", "/form", "/discharge"]
    with pytest.raises(Forbidden, match="no such user"):
        discharge(root(version, there.url), **nearby(there, interact=Interact(fill=lambda _: {})))


@pytest.mark.parametrize("schema", [{}, {"schema": []}, {"schema": {"name": "text"}}, {"token": "x"}])
def test_what_is_no_form_is_a_typed_error(there: Site, schema: Any) -> None:
    ThirdParty(there, ways=("form",))
    there.places["/form"] = lambda _: said(schema)
    with pytest.raises(BadDischarge, match="a form that cannot be read"):
        discharge(root(3, there.url), **nearby(there, interact=Interact(fill=pytest.fail)))


@both
def test_a_reply_that_was_lost_is_polled_for_again(
    there: Site, client: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "POLL_PAUSE", 0.01)
    third = ThirdParty(there, ways=("browser-window",), lose=1)
    third.decided.set()
    how = nearby(there, interact=Interact(visit=lambda url: None))
    assert is_good(discharge(root(3, there.url), client=client, **how))
    assert third.polls == 2


@both
def test_an_answer_that_was_kept_alive_and_ended_with_nothing_is_polled_for_again(
    there: Site, client: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "POLL_PAUSE", 0.01)
    third = ThirdParty(there, ways=("browser-window",))
    third.decided.set()
    waited = there.places["/wait"]
    kept = [(200, {"Content-Type": "application/json"}, b"   ")]
    there.places["/wait"] = lambda asked: kept.pop() if kept else waited(asked)
    how = nearby(there, interact=Interact(visit=lambda url: None))
    assert is_good(discharge(root(3, there.url), client=client, **how))
    assert there.paths().count("/wait") == 2


def test_a_discharge_is_narrowed_before_it_is_bound(there: Site) -> None:
    ThirdParty(there)
    with Client(SERVICE) as client:
        unbound = client.collect(root(3, there.url), **nearby(there))
        narrow = client.discharge(root(3, there.url), attenuate=[Note("for the printer")], **nearby(there))
    assert is_good(unbound.bind())
    assert is_good(unbound.attenuate(Note("x")).bind())  # narrowed later, it is bound anew
    assert narrow.macaroon.unverified_caveats[-1] == Note("for the printer")
    assert is_good(narrow)


def test_a_token_without_third_parties_needs_nobody() -> None:
    token = Macaroon.mint(ROOT_KEY, b"root")
    assert discharge(token) == discharge(token.encode()) == discharge(Bundle(token)) == Bundle(token)


def test_discharges_that_were_bound_before_are_collected_anew(there: Site) -> None:
    ThirdParty(there, 2)
    bundle = discharge(root(2, there.url), **nearby(there))
    assert is_good(
        discharge(Bundle(bundle.macaroon.attenuate(Note("x")), bundle.discharges), **nearby(there))
    )
    assert is_good(discharge(bundle.encode(), **nearby(there)))


@both
@pytest.mark.parametrize(("version", "read"), [(1, 1), (2, 2), (3, 3)])
def test_a_third_party_tells_its_key(there: Site, client: type, version: int, read: int) -> None:
    ThirdParty(there, version)
    if client is AsyncClient:

        async def find() -> BakeryParty:
            async with AsyncClient(SERVICE) as made:
                return await made.third_party(f"{there.url}/")

        party = asyncio.run(find())
    else:
        with Client(SERVICE) as made:
            party = made.third_party(f"{there.url}/")
    assert party == BakeryParty(there.url, KEY.public_key, read)
    assert there.paths() == (["/discharge/info", "/publickey"] if version == 1 else ["/discharge/info"])


def test_our_own_tickets_travel_the_same_way(there: Site) -> None:
    ours = own_third_party(there)
    token = Macaroon.mint(ROOT_KEY, b"root").require_discharge(ours, "signed-in = alice")
    assert is_good(discharge(token, **nearby(there)))
    assert "id64" in there.asked[0].form


def own_third_party(there: Site) -> Party:
    from datetime import UTC, datetime

    from caveats import discharge as discharge_of
    from caveats import open_ticket
    from caveats.token import decode_any_base64

    def answer(asked: Asked) -> Any:
        ticket = open_ticket(decode_any_base64(asked.form["id64"]), KEY)
        made = discharge_of(ticket, now=datetime.now(UTC))
        return said({"Macaroon": BakeryMacaroon(made, 2).to_members()})

    there.places["/discharge"] = answer
    return Party(there.url, KEY.public_key)


# Who is asked, and who is not


@both
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"allow": []}, "not on the list"),
        ({"allow": ["http://127.0.0.1:1"]}, "not on the list"),
        ({"allow_private": False}, "on this machine or in a private network"),
    ],
)
def test_nothing_is_sent_but_to_origins_on_the_list(
    there: Site, client: type, change: dict[str, Any], words: str
) -> None:
    ThirdParty(there)
    with pytest.raises(UnusableAddress, match=words):
        discharge(root(3, there.url), client=client, **{**nearby(there), **change})
    assert not there.asked


@pytest.mark.parametrize(
    "location",
    [
        "",
        "local",
        "javascript:alert(1)",
        "http://idm.example",
        "https://a:b@idm.example",
        "https://idm.example?x=1",
        "https://idm.example\r\nX: 1",
        "/discharge",
        "//idm.example",
    ],
)
def test_a_location_that_is_no_third_party_s_address_is_asked_nothing(location: str) -> None:
    token = Macaroon.mint(ROOT_KEY, b"root").with_third_party(location, b"key", b"ticket", nonce=bytes(24))
    with pytest.raises(UnusableAddress):
        discharge(token, allow=["https://idm.example"])


@both
def test_a_third_party_that_says_no_is_believed(there: Site, client: type) -> None:
    ThirdParty(there)
    with pytest.raises(Forbidden, match="does not agree"):
        discharge(root(3, there.url, condition="is-not-ok"), client=client, **nearby(there))


def test_nobody_to_show_is_a_typed_error(there: Site) -> None:
    ThirdParty(there, ways=("browser-window", "form"))
    with pytest.raises(InteractionRequired, match="browser-window, form"):
        discharge(root(3, there.url), **nearby(there))
    agent = Agent(AGENT_KEY, {"https://elsewhere.example": "robot"})
    with pytest.raises(InteractionRequired):
        discharge(root(3, there.url), **nearby(there, interact=Interact(agent)))


def test_an_agent_that_is_not_known_is_refused(there: Site) -> None:
    third = ThirdParty(there, ways=("agent",))
    third._is_agent = lambda token: False  # type: ignore[method-assign]
    agent = Agent(AGENT_KEY, {there.url: "robot"})
    with pytest.raises(Forbidden, match="not that agent"):
        discharge(root(3, there.url), **nearby(there, interact=Interact(agent)))


@both
def test_a_third_party_that_asks_a_robot_again_is_shown_a_person_and_is_not_asked_for_ever(
    there: Site, client: type
) -> None:
    """The robot is known by its key; what is left is for a person, once, and nobody signs in a third time."""
    third = ThirdParty(there, ways=("agent", "browser-window"))
    third.decided.set()
    there.places["/discharge"] = lambda _: said(
        {"Code": "interaction required", "Message": "who?", "Info": third._info()}, 401
    )
    visited: list[str] = []
    who = Interact(Agent(AGENT_KEY, {there.url: "robot"}), visit=visited.append)
    with pytest.raises(Forbidden, match="does not accept the token that its own sign-in gave"):
        discharge(root(3, there.url), client=client, **nearby(there, interact=who))
    assert len(visited) == 1
    assert there.paths() == ["/discharge", "/login", "/discharge", "/wait", "/discharge"]
    there.asked.clear()
    with pytest.raises(InteractionRequired, match="browser-window"):
        discharge(root(3, there.url), client=client, **nearby(there, interact=Interact(who.agent)))
    assert there.paths() == ["/discharge", "/login", "/discharge"]


# Catalogue B8


@both
def test_103_a_third_party_with_ever_new_caveats_is_left_after_16_requests_or_8_deep(
    there: Site, client: type
) -> None:
    def wide(asked: Asked) -> Any:
        """A discharge that needs forty more, and forty that need none."""
        return said({"Macaroon": again(asked, 0 if there.asked[1:] else 40).to_members()})

    def again(asked: Asked, count: int) -> BakeryMacaroon:
        from caveats.bakery import open_ticket
        from caveats.token import decode_any_base64

        form = asked.form
        name = decode_any_base64(form["id64"]) if "id64" in form else form["id"].encode()
        payload = decode_any_base64(form["caveat64"]) if "caveat64" in form else name
        ticket = open_ticket(payload, KEY, identifier=name)
        made = BakeryMacaroon(Macaroon.mint(ticket.caveat_key, name), 2)
        for _ in range(count):
            made = made.require_discharge(BakeryParty(there.url, KEY.public_key, 2), CONDITION)
        return made

    there.places["/discharge"] = wide
    with pytest.raises(BadDischarge, match="16"):
        discharge(root(2, there.url), client=client, **nearby(there))
    assert len(there.asked) == 16
    there.asked.clear()
    there.places["/discharge"] = lambda asked: said({"Macaroon": again(asked, 1).to_members()})
    with pytest.raises(BadDischarge, match="8 deep"):
        discharge(root(2, there.url), client=client, **nearby(there))
    assert len(there.asked) == 8


@both
def test_103_the_time_is_for_all_requests_together(
    there: Site, client: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [0.0]
    monkeypatch.setattr(runner, "clock", lambda: time.monotonic() + passed[0])
    third = ThirdParty(there)

    def slow(asked: Asked) -> Any:
        passed[0] += 4
        return third.discharge(asked)

    there.places["/discharge"] = slow
    with pytest.raises(Unavailable, match="in time"):
        discharge(root(3, *[there.url] * 4), client=client, **nearby(there))
    assert len(there.asked) <= 3


OTHERS = [
    "http://127.0.0.1:1/x",
    "https://127.0.0.1/x",
    "http://127.0.0.1/x",
    "//evil.example/x",
    "http://127.0.0.1:{port}@evil.example/x",
    "http://me@127.0.0.1:{port}/x",
    "http://localhost:{port}/x",
    "http://127.0.0.1.:{port}/x",
    "javascript:alert(1)",
    "file:///etc/passwd",
    "http://[::1/x",
    "/x\r\nX-Evil: 1",
    "http:\\\\evil.example",
    "",
    None,
    7,
    {"url": "/x"},
]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("which", ["visit", "wait", "login", "form", "old visit", "old wait"])
def test_104_a_poll_visit_or_login_url_of_another_origin_is_an_error_and_nothing_is_sent(
    there: Site, which: str, other: object
) -> None:
    url = other.format(port=there.port) if isinstance(other, str) else other
    if which == "old visit" and not url:
        return  # then there is no old way
    window = {"VisitURL": "/visit", "WaitTokenURL": "/wait"}
    info: dict[str, Any] = {
        "visit": {"InteractionMethods": {"browser-window": {**window, "VisitURL": url}}},
        "wait": {"InteractionMethods": {"browser-window": {**window, "WaitTokenURL": url}}},
        "login": {"InteractionMethods": {"agent": {"login-url": url}}},
        "form": {"InteractionMethods": {"form": {"url": url}}},
        "old visit": {"VisitURL": url, "WaitURL": "/wait"},
        "old wait": {"VisitURL": "/visit", "WaitURL": url},
    }[which]
    there.places["/discharge"] = lambda _: said({"Code": "interaction required", "Info": info}, 401)
    agent = Agent(AGENT_KEY, {there.url: "robot"})
    interact = Interact(agent, fill=pytest.fail, visit=pytest.fail)
    with pytest.raises(BadDischarge, match="another site"):
        discharge(root(3, there.url), **nearby(there, interact=interact))
    assert there.paths() == ["/discharge"]


def trickle(pause: float, head: bool = False) -> Callable[[Asked], Any]:
    def answer(handler: Any) -> None:
        if head:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        for _ in range(600):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(pause)

    return lambda _: answer


@both
@pytest.mark.parametrize("head", [True, False], ids=["headers", "body"])
def test_105_an_answer_that_trickles_is_cut_by_the_deadline(
    there: Site, client: type, head: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caveats_client.discharge.protocol.SECONDS", 0.3)
    there.places["/discharge"] = trickle(0.05, head)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="in time"):
        discharge(root(3, there.url), client=client, **nearby(there))
    assert time.monotonic() - began < 2


@both
def test_105_a_gigabyte_is_cut_at_64_kib(there: Site, client: type) -> None:
    sent = [0]

    def answer(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while sent[0] < 1_000_000_000:
            handler.wfile.write(b" " * 65536)
            sent[0] += 65536

    there.places["/discharge"] = lambda _: answer
    with pytest.raises(BadDischarge, match="more than 65536 bytes"):
        discharge(root(3, there.url), client=client, **nearby(there))
    assert sent[0] < 50_000_000


def another(token: BakeryMacaroon) -> dict[str, Any]:
    return {"Macaroon": BakeryMacaroon(Macaroon.mint(b"key", b"another ticket"), 2).to_members()}


@both
@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ((200, {}, b"<html>"), BadDischarge, "other than JSON"),
        ((200, {}, b"\xff\xfe"), BadDischarge, "other than JSON"),
        ((200, {}, b"[" * 60000), BadDischarge, "other than JSON"),
        ((200, {}, b"[]"), BadDischarge, "other than JSON"),
        ((200, {}, b""), BadDischarge, "other than JSON"),
        ((204, {}, b""), BadDischarge, "other than JSON"),
        ((200, {"Content-Encoding": "gzip"}, b"{}"), BadDischarge, "encoding"),
        (said({}), BadDischarge, "no macaroon"),
        (said({"Macaroon": None}), BadDischarge, "no macaroon"),
        (said({"Macaroon": "cav1_"}), BadDischarge, "no macaroon"),
        (said({"Macaroon": {"m": {}, "v": 3}}), BadDischarge, "no macaroon"),
        (said(another(root(3))), BadDischarge, "not the discharge that was asked for"),
        ((302, {"Location": "http://evil.example/"}, b""), BadDischarge, "redirect"),
        ((307, {"Location": "/discharge"}, b""), BadDischarge, "redirect"),
        ((500, {}, b"oh"), BadDischarge, "no discharge"),
        ((404, {}, b""), BadDischarge, "no discharge"),
        ((503, {"Retry-After": "7"}, b""), Unavailable, "no discharge"),
        (said({"Code": "permission denied", "Message": "no"}, 401), Forbidden, "no"),
        (said({"code": "permission denied", "message": "no"}, 401), Forbidden, "no"),
        (said({"Code": "interaction required"}, 401), InteractionRequired, "nothing known here"),
        (said({"Code": "interaction required", "Info": []}, 407), InteractionRequired, "nothing known"),
    ],
)
def test_105_an_answer_that_is_no_discharge_is_a_typed_error(
    there: Site, client: type, answer: Any, error: type[ClientError], words: str
) -> None:
    there.places["/discharge"] = lambda _: answer
    with pytest.raises(error, match=words):
        discharge(root(3, there.url), client=client, **nearby(there))
    assert len(there.asked) == 1


@pytest.mark.parametrize("words", ["\x1b[2Jno", "\ud800no", "\u202eno", "\r\nno"])
def test_105_what_a_stranger_says_can_be_printed(there: Site, words: str) -> None:
    there.places["/discharge"] = lambda _: said({"Code": "permission denied", "Message": words}, 401)
    with pytest.raises(Forbidden, match=r"no$") as raised:
        discharge(root(3, there.url), **nearby(there))
    assert str(raised.value).isprintable()


def test_105_a_discharge_bound_already_passes_nowhere(there: Site) -> None:
    """Nobody but the first party can tell it from an unbound one: there it is an error of its own."""
    from caveats import BadSignature

    third = ThirdParty(there, 2)
    token = root(2, there.url)

    def bound(asked: Asked) -> Any:
        made = BakeryMacaroon.from_members(third.macaroon(asked.form)["Macaroon"])
        return said({"Macaroon": BakeryMacaroon(token.macaroon.bind(made.macaroon), 2).to_members()})

    there.places["/discharge"] = bound
    bundle = discharge(token, **nearby(there))
    with pytest.raises(BadSignature):
        is_good(bundle)


# Catalogue B2, as far as it is the client's


@pytest.mark.parametrize("version", VERSIONS)
def test_33_a_third_party_that_cannot_read_the_ticket_is_a_typed_error(there: Site, version: int) -> None:
    from caveats_client import BadRequest

    problem = {"Code": "bad request", "Message": "cannot read that ticket"}
    there.places["/discharge"] = lambda _: said(problem, 400)
    with pytest.raises(BadRequest, match="cannot read that ticket"):
        discharge(root(version, there.url), **nearby(there))
    assert ("caveat64" in there.asked[0].form) == (version == 3)
    form = there.asked[0].form
    assert ("id" in form) != ("id64" in form)


# People's time


@both
def test_a_person_s_time_is_not_the_third_party_s(
    there: Site, client: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [0.0]
    monkeypatch.setattr(runner, "clock", lambda: time.monotonic() + passed[0])
    third = ThirdParty(there, ways=("browser-window",))

    def visit(url: str) -> None:
        third.decided.set()
        passed[0] += 200  # of the 300 seconds that a person has, and of the 10 that a third party has

    how = nearby(there, interact=Interact(visit=visit))
    assert is_good(discharge(root(3, there.url), client=client, **how))


@both
def test_a_person_who_does_not_come_is_waited_for_in_vain(there: Site, client: type) -> None:
    ThirdParty(there, ways=("browser-window",))
    began = time.monotonic()
    with pytest.raises(Unavailable, match="nobody has decided at"):  # it is not the third party that was slow
        how = nearby(there, interact=Interact(visit=lambda url: None, patience=0.5))
        discharge(root(3, there.url), client=client, **how)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"kind": "x"},
        {"token": "x"},
        {"kind": 1, "token": "x"},
        {"kind": "x", "token": None},
        {"kind": "x", "token": "\ud800"},
    ],
)
def test_a_sign_in_that_gives_no_token_is_a_typed_error(there: Site, answer: Any) -> None:
    ThirdParty(there, ways=("browser-window",))
    there.places["/wait"] = lambda _: said(answer)
    with pytest.raises(BadDischarge, match="no token"):
        discharge(root(3, there.url), **nearby(there, interact=Interact(visit=lambda url: None)))


def test_an_agent_is_not_sent_on(there: Site) -> None:
    ThirdParty(there, ways=("agent",))
    agent = Interact(Agent(AGENT_KEY, {f"{there.url}/": "robot"}))
    for login in (root(3, "https://elsewhere.example"), root(3, "local")):
        there.places["/login"] = lambda _, login=login: said({"macaroon": login.to_members()})
        with pytest.raises(BadDischarge, match="agent"):
            discharge(root(3, there.url), **nearby(there, interact=agent))


# Agent files


def test_an_agent_file_is_read_as_the_bakery_s() -> None:
    text = json.dumps(
        {
            "key": {
                "public": b64encode(AGENT_KEY.public_key).decode(),
                "private": SECRET,
            },
            "agents": [{"url": "https://idm.example/", "username": "robot"}],
        }
    )
    agent = Agent.parse(text)
    assert agent.key == AGENT_KEY
    assert agent.username("https://idm.example") == "robot"
    assert agent.username("https://evil.example") is None
    assert SECRET not in repr(agent)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"key": 1}',
        '{"key": {"private": "AAAA"}}',
        '{"key": {"private": 7}}',
        "[" * 5000,
        f'{{"key": {{"private": "{SECRET}"}}, "agents": [{{"url": 7, "username": "x"}}]}}',
        f'{{"key": {{"private": "{SECRET}"}}, "agents": [{{"url": "x", "username": 7}}]}}',
        f'{{"key": {{"private": "{SECRET}", "public": "{SECRET}"}}}}',
    ],
)
def test_what_is_no_agent_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="agent"):
        Agent.parse(text)
