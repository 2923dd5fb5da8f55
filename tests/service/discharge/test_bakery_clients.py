"""The released macaroonbakery client, unmodified, completes against the running service, in versions 1, 2 and 3."""

from __future__ import annotations

import base64
import threading

import pytest
import requests
from macaroonbakery import bakery as theirs
from macaroonbakery import httpbakery
from macaroonbakery.httpbakery import agent as their_agent

from tests.support.discharge import Browser, FirstParty
from tests.support.service import Service, User, bearer

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
VERSIONS = (1, 2, 3)
CONDITIONS = ("is-authenticated-user", "signed-in = *")


def refuse_to_open(url: str) -> None:
    raise AssertionError("a window was opened")


def completes(first: FirstParty, client: httpbakery.Client) -> list[str]:
    answer = client.request("GET", first.url)
    assert answer.status_code == 200, answer.text
    assert any(cookie.name == "macaroon-auth" for cookie in client.cookies)
    again = requests.get(first.url, cookies=client.cookies, timeout=10)
    assert again.status_code == 200
    return first.granted[-1]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_browser_window_completes(service: Service, user: User, version: int, condition: str) -> None:
    people: list[threading.Thread] = []

    def opened(url: str) -> None:
        person = threading.Thread(target=lambda: Browser(service).decide(url, user))
        people.append(person)
        threading.Timer(0.1, person.start).start()

    with FirstParty(service, condition, version) as first:
        client = httpbakery.Client(interaction_methods=[httpbakery.WebBrowserInteractor(open=opened)])
        conditions = completes(first, client)
    assert f"declared username {user.username}" in conditions
    assert len(people) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_the_oldest_kind_of_window_completes(service: Service, user: User, version: int) -> None:
    """`<` before the condition: addresses to visit and to wait at, and nothing of interaction methods."""

    def opened(url: str) -> None:
        assert Browser(service).decide(url, user).status_code == 200

    with FirstParty(service, "<is-authenticated-user", version) as first:
        client = httpbakery.Client(interaction_methods=[httpbakery.WebBrowserInteractor(open=opened)])
        assert f"declared username {user.username}" in completes(first, client)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plain_discharge_completes_for_whoever_is_signed_in(
    service: Service, user: User, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credential is in the session that the client's requests are made with, not in the client."""
    token, plain = user.token(), requests.Session.request

    def with_credential(self, method, url, **given):  # type: ignore[no-untyped-def]
        if url.startswith(service.url):
            given["headers"] = {**(given.get("headers") or {}), **bearer(token)}
        return plain(self, method, url, **given)

    monkeypatch.setattr(requests.Session, "request", with_credential)
    with FirstParty(service, "is-authenticated-user", version) as first:
        client = httpbakery.Client(interaction_methods=[httpbakery.WebBrowserInteractor(open=refuse_to_open)])
        assert f"declared username {user.username}" in completes(first, client)


def register(service: Service, admin: str, user: User, key: theirs.PrivateKey) -> str:
    with service.client() as http:
        answer = http.post(
            "/v1/agents",
            json={"username": user.username, "public_key": str(key.public_key), "name": "robot"},
            headers=bearer(admin),
        )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["agent_id"])


def agent_of(service: Service, user: User, key: theirs.PrivateKey) -> httpbakery.Client:
    info = their_agent.AuthInfo(key=key, agents=[their_agent.Agent(service.url, user.username)])
    return httpbakery.Client(interaction_methods=[their_agent.AgentInteractor(info)])


@pytest.mark.parametrize("version", VERSIONS)
def test_an_agent_completes(service: Service, user: User, admin: str, version: int) -> None:
    key = theirs.generate_key()
    register(service, admin, user, key)
    with FirstParty(service, "is-authenticated-user", version) as first:
        assert f"declared username {user.username}" in completes(first, agent_of(service, user, key))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_agent_completes_the_oldest_way(service: Service, user: User, admin: str, version: int) -> None:
    key = theirs.generate_key()
    register(service, admin, user, key)
    with FirstParty(service, "<is-authenticated-user", version) as first:
        assert f"declared username {user.username}" in completes(first, agent_of(service, user, key))
        with pytest.raises(httpbakery.InteractionError):
            agent_of(service, user, theirs.generate_key()).request("GET", first.url)


def test_an_agent_that_is_not_registered_or_no_more_or_whose_user_is_disabled_does_not(
    service: Service, user: User, admin: str
) -> None:
    key, other = theirs.generate_key(), theirs.generate_key()
    agent_id = register(service, admin, user, key)
    with FirstParty(service, "is-authenticated-user", 3) as first, service.client() as http:
        with pytest.raises(httpbakery.InteractionError):
            agent_of(service, user, other).request("GET", first.url)
        assert http.post(f"/v1/users/{user.username}/disable", headers=bearer(admin)).status_code == 200
        with pytest.raises(httpbakery.InteractionError):
            agent_of(service, user, key).request("GET", first.url)
        assert http.post(f"/v1/users/{user.username}/enable", headers=bearer(admin)).status_code == 200
        assert agent_of(service, user, key).request("GET", first.url).status_code == 200
        assert http.delete(f"/v1/agents/{agent_id}", headers=bearer(admin)).status_code == 204
        with pytest.raises(httpbakery.InteractionError):
            agent_of(service, user, key).request("GET", first.url)


def test_the_public_key_is_found_where_clients_look(service: Service) -> None:
    locator = httpbakery.ThirdPartyLocator(allow_insecure=True)
    found = locator.third_party_info(service.url)
    assert found.version == 3
    assert base64.b64decode(str(found.public_key)) == service.runtime.discharges.public_key
    older = requests.get(f"{service.url}/publickey", timeout=10).json()
    assert older == {"PublicKey": str(found.public_key)}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_first_party_that_keeps_users_by_their_id_gets_it(
    service: Service, user: User, version: int
) -> None:
    def opened(url: str) -> None:
        assert Browser(service).decide(url, user).status_code == 200

    with FirstParty(service, "need-declared userid is-authenticated-userid", version) as first:
        client = httpbakery.Client(interaction_methods=[httpbakery.WebBrowserInteractor(open=opened)])
        conditions = completes(first, client)
    assert f"declared userid {user.username}" in conditions
    assert not any(condition.startswith("declared username") for condition in conditions)


def test_whoever_is_denied_is_told(service: Service, user: User) -> None:
    def opened(url: str) -> None:
        assert Browser(service).decide(url, user, "deny").status_code == 200

    with FirstParty(service, "is-authenticated-user", 3) as first:
        client = httpbakery.Client(interaction_methods=[httpbakery.WebBrowserInteractor(open=opened)])
        with pytest.raises(httpbakery.InteractionError):
            client.request("GET", first.url)
