"""Everything of ours in one flow: TokenAuth asks an app behind the guard, and the service agrees; and the same with a
first party made with the released macaroonbakery."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import httpx2 as httpx
import pytest

from caveats import Macaroon, PrivateKey
from caveats.bakery import decode_header
from caveats_client import Agent, Client, Forbidden, Interact, InteractionRequired, TokenAuth
from tests.support.discharge import Browser, FirstParty, guarded, heading, sent_to
from tests.support.service import Service, User, admin_token, bearer, new_user, serving

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
both = pytest.mark.parametrize("awaiting", [False, True], ids=["sync", "async"])
of_each_version = pytest.mark.parametrize("version", [1, 2, 3])
of_each_grammar = pytest.mark.parametrize("condition", ["is-authenticated-user", "signed-in = *"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def ann(service: Service) -> User:
    return new_user(service)


class Visits:
    """People at their browsers, one after the other, whenever a page is to be visited: who asks, then who approves."""

    def __init__(self, service: Service, *people: User, decision: str = "allow") -> None:
        self._service = service
        self._people = people
        self._decision = decision
        self.count = 0

    def __call__(self, url: str) -> None:
        self.count += 1
        browser = Browser(self._service)
        for person in self._people:
            page = browser.read(url)
            place = sent_to(page) if heading(page) == "Waiting for approval" else url
            assert browser.decide(place, person, self._decision).status_code == 200


def group_of(service: Service, name: str, *users: User) -> str:
    with service.client() as http:
        body = {"members": [user.username for user in users]}
        answer = http.put(f"/v1/groups/{name}", json=body, headers=bearer(admin_token(service)))
    assert answer.status_code == 200, answer.text
    return name


def robot_of(service: Service, user: User) -> Agent:
    key = PrivateKey.generate()
    with service.client() as http:
        body = {"username": user.username, "public_key": b64encode(key.public_key).decode()}
        answer = http.post("/v1/agents", json=body, headers=bearer(admin_token(service)))
    assert answer.status_code == 201, answer.text
    return Agent(key, {service.url: user.username})


def get(auth: httpx.Auth, *urls: str, awaiting: bool = False) -> list[httpx.Response]:
    """The answers to requests with one client, sync or async."""
    if not awaiting:
        with httpx.Client(auth=auth, trust_env=False) as client:
            return [client.get(url) for url in urls]

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
            return [await client.get(url) for url in urls]

    return asyncio.run(run())


def asking(service: Service, url: str, **how: Any) -> TokenAuth:
    return TokenAuth(None, url, allow=[service.url], allow_private=True, interact=Interact(**how))


def presented(answer: httpx.Response) -> str:
    """The cookie that this answer's request came with; it is the only credential."""
    assert "authorization" not in answer.request.headers
    name, _, value = answer.request.headers["cookie"].partition("=")
    assert name == "macaroon-auth"
    return str(value)


# an app behind our guard


@pytest.mark.slow
@both
@of_each_version
@of_each_grammar
def test_a_person_signs_in_once_and_what_they_got_is_presented_from_then_on(
    service: Service, ann: User, *, awaiting: bool, version: int, condition: str
) -> None:
    visits = Visits(service, ann)
    with guarded(service, condition, version) as url:
        auth = asking(service, url, visit=visits)
        first, second = get(auth, f"{url}/dangerous", f"{url}/other", awaiting=awaiting)
        assert first.json() == second.json()
        assert first.json() == {"user": ann.username, "declared": {"username": ann.username}}
        assert visits.count == 1
        value = presented(first)
        assert presented(second) == value
        for headers in ({"Macaroons": value}, {"Cookie": f"macaroon-auth={value}"}):
            assert httpx.get(url, headers=headers, trust_env=False).json() == first.json()
        bundle = decode_header(value)
        assert len(bundle.discharges) == 1
        assert len(value) < 4096, "a cookie has no room for more"
        alone = {"Cookie": f"macaroon-auth={value[: len(value) // 2]}"}
        assert httpx.get(url, headers=alone, trust_env=False).status_code == 401


@both
@of_each_version
def test_a_robot_signs_in_with_its_key(service: Service, ann: User, *, awaiting: bool, version: int) -> None:
    group = group_of(service, f"g{ann.username}", ann)
    with guarded(service, f"member-of = {group}", version) as url:
        [answer] = get(asking(service, url, agent=robot_of(service, ann)), url, awaiting=awaiting)
        assert answer.json()["user"] == ann.username


@of_each_version
def test_a_robot_that_is_not_in_the_group_or_not_known_gets_nothing(
    service: Service, ann: User, version: int
) -> None:
    group = group_of(service, f"g{ann.username}", new_user(service))
    stranger = Agent(PrivateKey.generate(), {service.url: ann.username})
    with guarded(service, f"member-of = {group}", version) as url:
        for agent, words in ((robot_of(service, ann), "is in none of them"), (stranger, "no such agent")):
            with pytest.raises(Forbidden, match=words):
                get(asking(service, url, agent=agent), url)


@both
@of_each_version
def test_a_second_person_approves_and_the_discharge_is_the_asker_s(
    service: Service, ann: User, *, awaiting: bool, version: int
) -> None:
    bob = new_user(service)
    group = group_of(service, f"g{ann.username}", bob)
    visits = Visits(service, ann, bob)
    with guarded(service, f"approved-by = {group}", version) as url:
        auth = asking(service, url, visit=visits)
        answers = get(auth, f"{url}/dangerous", f"{url}/dangerous", awaiting=awaiting)
        assert [answer.json()["user"] for answer in answers] == [ann.username] * 2
        assert visits.count == 1


@both
def test_a_robot_asks_and_a_person_approves(service: Service, ann: User, *, awaiting: bool) -> None:
    """Two ways to take part in one discharge: the key says who asks, and on the page somebody approves."""
    bob = new_user(service)
    group = group_of(service, f"g{ann.username}", bob)
    visits = Visits(service, bob)
    with guarded(service, f"approved-by = {group}") as url:
        auth = asking(service, url, agent=robot_of(service, ann), visit=visits)
        [answer] = get(auth, url, awaiting=awaiting)
        assert answer.json()["user"] == ann.username
        assert visits.count == 1


def test_whoever_is_denied_is_told_and_gets_no_further(service: Service, ann: User) -> None:
    with guarded(service, "signed-in = *") as url:
        auth = asking(service, url, visit=Visits(service, ann, decision="deny"))
        with pytest.raises(Forbidden, match="it was denied"):
            get(auth, url)


def test_without_anybody_to_ask_the_caller_is_told_what_there_is(service: Service) -> None:
    with guarded(service, "signed-in = *") as url, pytest.raises(InteractionRequired, match="browser-window"):
        get(asking(service, url), url)


def test_whoever_is_signed_in_needs_no_page_and_sends_a_bearer_token(service: Service, ann: User) -> None:
    """The plain flow: no cookie and no bakery, the app's problem names the token to complete."""
    with guarded(service, "signed-in = *") as url, Client(service.url, token=ann.token()) as client:
        token = Macaroon.decode(httpx.get(url, trust_env=False).json()["token"])
        bundle = client.discharge(token, interact=Interact())
        [answer] = get(TokenAuth(bundle, url), url)
        assert answer.json() == {"user": ann.username, "declared": {}}
        assert answer.request.headers["authorization"] == f"Bearer {bundle.encode()}"
        assert "cookie" not in answer.request.headers


# a first party of somebody else's


def person(service: Service, user: User) -> dict[str, Any]:
    return {"visit": Visits(service, user)}


def robot(service: Service, user: User) -> dict[str, Any]:
    return {"agent": robot_of(service, user)}


@both
@of_each_version
@of_each_grammar
@pytest.mark.parametrize("who", [person, robot])
def test_a_first_party_made_with_macaroonbakery_believes_our_service_by_way_of_our_client(
    service: Service,
    ann: User,
    *,
    awaiting: bool,
    version: int,
    condition: str,
    who: Callable[[Service, User], dict[str, Any]],
) -> None:
    with FirstParty(service, condition, version) as first:
        auth = asking(service, first.url, **who(service, ann))
        answers = get(auth, first.url, f"{first.url}again", awaiting=awaiting)
        assert [answer.status_code for answer in answers] == [200, 200]
        assert [f"declared username {ann.username}" in granted for granted in first.granted] == [True, True]
        value = presented(answers[0])
        assert presented(answers[1]) == value
        assert httpx.get(first.url, headers={"Macaroons": value}, trust_env=False).status_code == 200
