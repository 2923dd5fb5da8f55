"""The guard of an endpoint that wants a third party's word: the bakery's clients, ours, and everybody else."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2 as httpx
import pytest
import requests
from macaroonbakery import bakery as theirs
from macaroonbakery import checkers as their_checkers
from macaroonbakery import httpbakery
from pymacaroons.serializers.json_serializer import JsonSerializer

from caveats import Bundle, Macaroon, Unbound
from caveats.bakery import BakeryMacaroon, decode_header, encode_header
from caveats.token import decode_base64
from caveats_client import Interact, TokenAuth
from caveats_client.guards.discharge_guard import Agreement, DischargeGuard
from tests.support.discharge import Browser, ask, guarded, heading, macaroon, party, sent_to
from tests.support.service import Service, User, bearer, new_user

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SIZES = {3: 616, 2: 1032, 1: 1896}
"""Of one cookie value, as measured with bakeries alone."""


def signing_in(service: Service, user: User) -> httpbakery.Client:
    def opened(url: str) -> None:
        assert Browser(service).decide(url, user).status_code == 200

    return httpbakery.Client(interaction_methods=[httpbakery.WebBrowserInteractor(open=opened)])


@pytest.mark.parametrize("version", SIZES)
def test_the_released_bakery_client_gets_through_and_its_cookie_is_accepted_and_no_larger_than_bakeries_own(
    service: Service, user: User, version: int
) -> None:
    client = signing_in(service, user)
    with guarded(service, version=version) as url:
        answer = client.request("GET", f"{url}/dangerous")
        assert answer.json() == {"user": user.username, "declared": {"username": user.username}}
        (cookie,) = client.cookies
        assert cookie.name == "macaroon-auth"
        assert 0.9 < len(cookie.value or "") / SIZES[version] < 1.1
        assert requests.get(f"{url}/other", cookies=client.cookies, timeout=10).status_code == 200
        value = str(cookie.value)
        with httpx.Client(base_url=url) as http:
            for headers in (
                {"Macaroons": value},
                {"Macaroons": f"garbage,{value}"},
                {"Cookie": f'a=b; macaroon-x=garbage; macaroon-auth="{value}"'},
            ):
                assert http.get("/dangerous", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("said", "status"), [("3", 401), ("2", 401), ("1", 401), ("99", 401), ("0", 407), ("x", 407)]
)
def test_a_client_that_speaks_the_protocol_is_asked_in_its_version(
    service: Service, said: str, status: int
) -> None:
    with guarded(service) as url:
        answer = httpx.get(f"{url}/dangerous", headers={"Bakery-Protocol-Version": said})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["www-authenticate"] == "Macaroon"
    body = answer.json()
    assert body["Code"] == "macaroon discharge required"
    assert (body["Info"]["MacaroonPath"], body["Info"]["CookieNameSuffix"]) == ("/", "auth")
    envelope = BakeryMacaroon.from_members(body["Info"]["Macaroon"])
    assert envelope.version == (max(1, min(int(said), 3)) if said.isdigit() else 1)


def test_others_get_a_problem_with_location_ticket_and_the_token_to_complete(
    service: Service, user: User
) -> None:
    with guarded(service, "signed-in = *") as url, httpx.Client(base_url=url) as http:
        answer = http.get("/dangerous")
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["location"]) == (
            401,
            "discharge_required",
            service.url,
        )
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        token = Macaroon.decode(problem["token"])
        discharge = macaroon(ask(service, decode_base64(problem["ticket"]), bearer(user.token())))
        text = Unbound(token, (discharge,)).bind().encode()
        assert http.get("/dangerous", headers=bearer(text)).json() == {"user": user.username, "declared": {}}
        assert http.get("/dangerous", headers=bearer(problem["token"])).status_code == 401
        assert http.get("/healthz").json() == {}


@pytest.mark.parametrize("strips", [b"", b"bakery-protocol-version"], ids=["the bakery's way", "a problem"])
def test_our_own_client_gets_through_however_it_is_asked(service: Service, user: User, strips: bytes) -> None:
    auth = {
        "allow": [service.url],
        "allow_private": True,
        "interact": Interact(visit=lambda url: Browser(service).decide(url, user)),
    }
    with guarded(service, "signed-in = *", strips=strips) as url, httpx.Client() as http:
        http.auth = TokenAuth(None, url, **auth)
        assert [http.get(f"{url}/{path}").json()["user"] for path in "ab"] == [user.username] * 2


def test_our_own_client_collects_what_the_service_says_a_token_lacks(service: Service, user: User) -> None:
    """It went out with one discharge of two."""
    half = Macaroon.decode(user.token()).require_discharge(party(service), "signed-in = *")
    whole = half.require_discharge(party(service), f"signed-in = {user.username}")
    (asked,) = (caveat for caveat in half.wire.caveats if not isinstance(caveat, bytes))
    only = Bundle.bind(whole, [macaroon(ask(service, asked.ticket, bearer(user.token())))])
    seen: list[str] = []

    def visit(url: str) -> None:
        seen.append(url)
        assert Browser(service).decide(url, user).status_code == 200

    there = f"{service.url}/v1/authorize?scope=photos:read"
    assert httpx.get(there, headers=bearer(only.encode())).json()["code"] == "discharge_required"
    interact = Interact(visit=visit)
    auth = TokenAuth(only, service.url, allow=[service.url], allow_private=True, interact=interact)
    with httpx.Client(auth=auth) as http:
        assert [http.get(there).status_code for _ in range(2)] == [200, 200]
    assert len(seen) == 2


def completed(service: Service, user: User, url: str) -> tuple[Macaroon, Macaroon]:
    token = httpx.get(f"{url}/dangerous").json()
    discharge = macaroon(ask(service, decode_base64(token["ticket"]), bearer(user.token())))
    return Macaroon.decode(token["token"]), discharge


@pytest.mark.parametrize(
    "present",
    [
        lambda root, discharge: bearer(Bundle(root, [discharge]).encode()),  # not bound
        lambda root, discharge: bearer(Bundle.bind(root, [discharge, discharge]).encode()),
        lambda root, discharge: bearer(Bundle.bind(root.attenuate(b"method = POST"), [discharge]).encode()),
        lambda root, discharge: bearer(Bundle.bind(root.attenuate(b"path = /x"), [discharge]).encode()),
        lambda root, discharge: bearer(Bundle.bind(root.attenuate(b"nobody knows"), [discharge]).encode()),
        lambda root, discharge: bearer(Bundle.bind(root, [discharge.attenuate(b"user = admin")]).encode()),
        lambda root, discharge: bearer(Bundle.bind(Macaroon.mint(b"guess" * 8, b"x"), []).encode()),
        lambda root, discharge: {"Cookie": "macaroon-auth=" + encode_header(Bundle(root))},
        lambda root, discharge: {"Macaroons": "W10=,bnVsbA==,e30=,,"},
        lambda root, discharge: {"Authorization": "Bearer", "Cookie": "macaroon-auth"},
    ],
)
def test_what_is_not_whole_or_not_for_this_is_asked_for_anew(
    service: Service, user: User, present: Callable[[Macaroon, Macaroon], dict[str, str]]
) -> None:
    with guarded(service, "signed-in = *") as url:
        headers = present(*completed(service, user, url))
        answer = httpx.get(f"{url}/dangerous", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "discharge_required")


def presenting(token: tuple[Macaroon, Macaroon], *conditions: str) -> dict[str, str]:
    root, discharge = token
    narrowed = root.attenuate(*(condition.encode() for condition in conditions))
    return bearer(Bundle.bind(narrowed, [discharge]).encode())


HERE = [("X-Forwarded-For", "203.0.113.9")]
PAGE = [("Origin", "https://photos.example")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("condition", "headers", "passes"),
    [
        ("client-ip-addr 127.0.0.1", [], True),
        ("client-ip-addr ::ffff:127.0.0.1", [], True),
        ("client-ip-addr 127.0.0.2", [], False),
        ("client-ip-addr ::1", [], False),
        ("client-ip-addr 127.0.0.0/8", [], False),
        ("client-ip-addr 127.0.0.1%lo", [], False),
        ("client-ip-addr 203.0.113.9", HERE, False),
        ("client-ip-addr 127.0.0.1", HERE, True),
        ("origin https://photos.example", PAGE, True),
        ("origin https://photos.example", [], True),
        ("origin https://photos.example", [("Origin", "https://photos.example.evil")], False),
        ("origin https://photos.example", [("Origin", "https://Photos.example")], False),
        ("origin https://photos.example", [("Origin", "null")], False),
        ("origin https://photos.example", PAGE * 2, False),
        ("origin", [], True),
        ("origin", PAGE, False),
    ],
)
@pytest.mark.parametrize("prefix", ["", "http:"])
def test_43_conditions_about_http_are_judged_by_the_connection_and_the_origin(
    service: Service,
    user: User,
    prefix: str,
    condition: str,
    headers: list[tuple[str, str]],
    *,
    passes: bool,
) -> None:
    """Of a client that is no trusted proxy nobody believes an X-Forwarded-For."""
    with guarded(service, "signed-in = *") as url:
        token = presenting(completed(service, user, url), prefix + condition)
        answer = httpx.get(f"{url}/dangerous", headers=[*token.items(), *headers])
    assert answer.status_code == (200 if passes else 401)


@pytest.mark.parametrize(
    ("forwarded", "passes"),
    [
        (["203.0.113.9"], True),
        (["::ffff:203.0.113.9"], True),
        (["198.51.100.1, 203.0.113.9"], True),
        (["203.0.113.9, 198.51.100.1"], False),
        (["203.0.113.9", "198.51.100.1"], False),
        (["203.0.113.9, unknown"], False),
        (["203.0.113.9%eth0"], False),
        ([], False),
    ],
    ids=str,
)
def test_43_behind_a_trusted_proxy_the_client_is_whom_that_names(
    service: Service, user: User, forwarded: list[str], *, passes: bool
) -> None:
    with guarded(service, "signed-in = *", trusted_proxies=["127.0.0.1"]) as url:
        token = presenting(completed(service, user, url), "http:client-ip-addr 203.0.113.9")
        headers = [*token.items(), *(("X-Forwarded-For", line) for line in forwarded)]
        assert httpx.get(f"{url}/dangerous", headers=headers).status_code == (200 if passes else 401)


def test_a_proxy_that_is_not_trusted_is_named_in_the_log_once(
    service: Service, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    with guarded(service, "signed-in = *") as url:
        token = presenting(completed(service, user, url), "http:client-ip-addr 203.0.113.9")
        for _ in range(3):
            httpx.get(f"{url}/dangerous", headers=[*token.items(), ("X-Forwarded-For", "203.0.113.9")])
    (line,) = (one for one in caplog.messages if "X-Forwarded" in one)
    assert line.startswith("127.0.0.1 sends X-Forwarded-* and is not trusted")
    assert line.endswith("name it in trusted_proxies")


def test_conditions_of_a_namespace_that_nobody_knows_are_refused(service: Service, user: User) -> None:
    with guarded(service, "signed-in = *") as url:
        token = completed(service, user, url)
        for condition in ("http:method GET", "https:origin x", "other:client-ip-addr 127.0.0.1", "http:x"):
            assert httpx.get(url, headers=presenting(token, condition)).status_code == 401
        assert httpx.get(url, headers=presenting(token)).status_code == 200


def test_clients_are_told_that_conditions_about_http_are_known_and_under_which_prefix(
    service: Service, user: User
) -> None:
    """The released client adds them by the namespace in the envelope, and gets through; at another address not."""
    with guarded(service) as url:
        answer = httpx.get(f"{url}/dangerous", headers={"Bakery-Protocol-Version": "3"})
        assert answer.json()["Info"]["Macaroon"]["ns"] == "http:http std:"
        for address, status in (("127.0.0.1", 200), ("127.0.0.2", 401)):
            given = theirs.Macaroon.from_dict(answer.json()["Info"]["Macaroon"])
            given.add_caveat(their_checkers.Caveat(f"client-ip-addr {address}", namespace="http"))
            client = signing_in(service, user)
            macaroons = theirs.discharge_all(given, client.acquire_discharge)
            members = [json.loads(one.serialize(JsonSerializer())) for one in macaroons]
            value = b64encode(json.dumps(members).encode()).decode()
            assert httpx.get(f"{url}/dangerous", headers={"Macaroons": value}).status_code == status


def test_other_cookies_do_not_crowd_out_the_one_of_this_endpoint(service: Service, user: User) -> None:
    with guarded(service, "signed-in = *") as url:
        root, discharge = completed(service, user, url)
        value = encode_header(Bundle.bind(root, [discharge]))
        others = "".join(f"macaroon-{n}=W10=; " for n in range(20))
        for cookies in (
            f"{others}macaroon-auth={value}",
            f"macaroon-auth=W10=; {others}macaroon-auth={value}",
        ):
            answer = httpx.get(f"{url}/dangerous", headers={"Macaroons": "," * 20, "Cookie": cookies})
            assert answer.status_code == 200


def test_a_token_for_one_endpoint_is_none_for_another_and_dies_in_its_time(
    service: Service, user: User
) -> None:
    late = [timedelta(0)]
    with (
        guarded(service, "signed-in = *", now=lambda: datetime.now(UTC) + late[0]) as url,
        guarded(service, "signed-in = *", name="other") as other,
    ):
        root, discharge = completed(service, user, url)
        token = bearer(Bundle.bind(root, [discharge]).encode())
        assert httpx.get(f"{url}/dangerous", headers=token).status_code == 200
        assert httpx.get(f"{other}/dangerous", headers=token).status_code == 401
        late[0] = timedelta(minutes=6)  # the discharge was for five
        assert httpx.get(f"{url}/dangerous", headers=token).status_code == 401


@pytest.mark.parametrize("given", [{}, {"declared": ("username", "email")}])
def test_what_was_agreed_to_is_nothing_where_something_else_is_asked(
    service: Service, user: User, given: dict[str, Any]
) -> None:
    """One secret and one cookie, two endpoints: having signed in does not open the one that wants an approval."""
    condition = "signed-in = *" if given else "approved-by = ops"
    with guarded(service, "signed-in = *") as easy, guarded(service, condition, **given) as hard:
        root, discharge = completed(service, user, easy)
        token = bearer(Bundle.bind(root, [discharge]).encode())
        assert httpx.get(f"{easy}/dangerous", headers=token).status_code == 200
        assert httpx.get(f"{hard}/dangerous", headers=token).status_code == 401


def test_a_holder_who_declares_something_is_not_believed(service: Service, user: User) -> None:
    with guarded(service) as url:
        client = signing_in(service, user)
        assert client.request("GET", url).status_code == 200
        (cookie,) = client.cookies
        bundle = decode_header(str(cookie.value))
        forged = bundle.macaroon.attenuate(b"declared username admin")
        answer = httpx.get(url, headers={"Macaroons": encode_header(Bundle(forged, bundle.discharges))})
        assert answer.status_code == 401


def test_a_dangerous_endpoint_wants_a_second_person(service: Service, admin: str) -> None:
    ann, bob = new_user(service), new_user(service)
    group = f"g{ann.username}"
    with service.client() as http:
        http.put(f"/v1/groups/{group}", json={"members": [bob.username]}, headers=bearer(admin))

    def opened(url: str) -> None:
        approve = sent_to(Browser(service).decide(url, ann))
        assert heading(Browser(service).decide(approve, bob)) == "Done"

    client = httpbakery.Client(interaction_methods=[httpbakery.WebBrowserInteractor(open=opened)])
    with guarded(service, f"approved-by = {group}") as url:
        assert client.request("GET", url).json()["user"] == ann.username


def test_an_agreement_that_the_app_does_not_accept_is_asked_for_anew(service: Service, user: User) -> None:
    """As where each is good once: the released client then has another one made."""
    seen: list[str] = []

    def accept(agreed: Agreement) -> bool:
        seen.append(agreed.agreement_id)
        return seen.count(agreed.agreement_id) == 1

    client = signing_in(service, user)
    with guarded(service, accept=accept) as url:
        assert [client.request("GET", url).status_code for _ in range(3)] == [200] * 3
    assert len(set(seen)) == 3
    assert len(seen) == 5, "two of them were presented twice"


@pytest.mark.parametrize("secret", [b"short", bytes(32)])
def test_a_secret_is_long_enough_and_not_all_zero(service: Service, secret: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        DischargeGuard(secret, party(service), "signed-in = *")
