"""The JavaScript client and the Python one offer the same; and a bakery's third and first parties answer it as they do Python's."""

from __future__ import annotations

import inspect
import json
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

from caveats import Bundle, Macaroon, authenticate
from caveats.bakery import BakeryMacaroon, BakeryParty, first_party_checkers
from caveats_client import Client, ClientError, calls
from caveats_client.api import errors
from tests.javascript.peer import needs_node, peer
from tests.support.bakery import AGENT_KEY, CONDITION, KEY, FirstParty, Site, ThirdParty, site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.javascript.peer import Peer

pytestmark = [pytest.mark.slow, needs_node, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ROOT_KEY = b"a root key"
AGENT = {
    "key": {
        "public": b64encode(AGENT_KEY.public_key).decode(),
        "private": b64encode(AGENT_KEY.secret).decode(),
    }
}


@pytest.fixture(scope="module")
def javascript() -> Iterator[Peer]:
    with peer() as answering:
        yield answering


@pytest.fixture
def there() -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.fixture
def app() -> Iterator[Site]:
    with site() as made:
        yield made


def camel(name: str) -> str:
    return re.sub(r"_(.)", lambda found: found[1].upper(), name)


def test_both_clients_have_the_same_calls_methods_and_errors(javascript: Peer) -> None:
    names = javascript.ask("names")["answer"]
    builders = [
        name
        for name, value in vars(calls).items()
        if inspect.isfunction(value) and str(value.__annotations__.get("return")).startswith("Call[")
    ]
    assert set(names["calls"]) == {camel(name) for name in builders}
    methods = {camel(name) for name in vars(Client) if not name.startswith("_")}
    own = {"constructor", "holdsToken", "signIn", "getSession", "signOut"}
    assert set(names["methods"]) == methods - {"close"} | own | {"url"}
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ClientError)
    ]
    assert {*names["errors"], "ClientError"} == {kind.__name__ for kind in kinds}


def root(version: int, location: str) -> dict[str, Any]:
    """A macaroon of a bakery that the third party at `location` has to discharge."""
    token = BakeryMacaroon(Macaroon.mint(ROOT_KEY, b"root"), version)
    return token.require_discharge(BakeryParty(location, KEY.public_key, version), CONDITION).to_members()


def is_good(bundle: str) -> bool:
    return bool(authenticate(Bundle.decode(bundle), ROOT_KEY, kinds=first_party_checkers().kinds))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_macaroonbakery_third_party_discharges(javascript: Peer, there: Site, version: int) -> None:
    ThirdParty(there, version)
    answer = javascript.ask("collect", macaroon=root(version, there.url), allow=[there.url])["answer"]
    assert is_good(answer["bundle"])
    assert there.asked[0].headers["bakery-protocol-version"] == "3"


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("legacy", [False, True], ids=["browser-window", "the oldest way"])
def test_a_person_is_taken_to_the_page(javascript: Peer, there: Site, version: int, legacy: bool) -> None:
    third = ThirdParty(there, version, ways=("browser-window",), legacy=legacy)
    third.decided.set()
    how: dict[str, Any] = {"allow": [there.url], "visit": True}
    answer = javascript.ask("collect", macaroon=root(version, there.url), **how)["answer"]
    assert is_good(answer["bundle"])
    assert answer["visited"] == [f"{there.url}/visit" + ("" if legacy else "?w=1")]


@pytest.mark.parametrize("version", [2, 3])
def test_an_agent_shows_its_key(javascript: Peer, there: Site, version: int) -> None:
    ThirdParty(there, version, ways=("agent", "browser-window"))
    agent = json.dumps({**AGENT, "agents": [{"url": there.url, "username": "robot"}]})
    how: dict[str, Any] = {"allow": [there.url], "agent": agent}
    assert is_good(javascript.ask("collect", macaroon=root(version, there.url), **how)["answer"]["bundle"])
    assert there.paths() == ["/discharge", "/login", "/discharge"]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_form_is_filled_in(javascript: Peer, there: Site, version: int) -> None:
    ThirdParty(there, version, ways=("form", "browser-window"))
    how: dict[str, Any] = {"allow": [there.url], "form": {"name": "alice", "password": "wonder"}}
    assert is_good(javascript.ask("collect", macaroon=root(version, there.url), **how)["answer"]["bundle"])
    assert there.paths() == ["/discharge", "/form", "/form", "/discharge"]
    wrong = javascript.ask("collect", macaroon=root(version, there.url), **{**how, "form": {"name": "bob"}})
    assert (wrong["code"], "no such user" in wrong["message"]) == ("forbidden", True)


@pytest.mark.parametrize("version", [2, 3])
def test_a_macaroonbakery_first_party_is_shown_what_it_asks_for(
    javascript: Peer, app: Site, there: Site, version: int
) -> None:
    FirstParty(app, ThirdParty(there), version)
    url = f"{app.url}/things"
    how: dict[str, Any] = {"token": None, "origin": app.url, "allow": [there.url]}
    answer = javascript.ask("fetch", urls=[url, url], **how)["answer"]
    assert answer["answers"] == [[200, {"done": True, "body": "hello"}]] * 2
    assert len(app.asked) == 3
    assert there.paths() == ["/discharge"]
