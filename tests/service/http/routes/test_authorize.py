"""GET /v1/authorize: the question that a proxy asks; which of its headers are believed, and when."""

from __future__ import annotations

import tracemalloc
from base64 import b64encode
from collections.abc import Callable

import httpx2 as httpx
import pytest

from caveats_service.http.routes import authorize
from tests.support.service import Service, User, bearer, narrow, new_user, problem, raw, status_of

PROXY = {"trusted_proxies": "127.0.0.0/8, 10.0.0.0/8"}


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A service whose peer, 127.0.0.1, is a trusted proxy."""
    from tests.support.service import serving

    with serving(tmp_path_factory.mktemp("behind"), **PROXY) as running:
        yield running


def ask(
    service: Service, token: str, headers: list[tuple[str, str]] | None = None, **facts: str
) -> httpx.Response:
    with service.client() as http:
        return http.get("/v1/authorize", params=facts, headers=[*bearer(token).items(), *(headers or [])])


def test_yes_names_the_user_the_scopes_and_the_token(http: httpx.Client, user: User) -> None:
    issued = user.issue(scope="photos:* docs:read")
    answer = http.get("/v1/authorize?scope=photos/1:read", headers=bearer(issued["token"]))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["x-auth-user"] == user.username
    assert answer.headers["x-auth-scopes"] == "docs:read photos:*"
    assert answer.headers["x-auth-token-id"] == issued["token_id"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 403),
        ("scope=photos:read", 200),
        ("scope=photos:read%20photos/1:read", 200),
        ("scope=photos:read&scope=photos/1:read", 200),
        ("scope=photos:read&scope=docs:read", 403),
        ("scope=docs:read%20photos:read", 403),
        ("scope=photosX:read", 403),
        ("scope=nonsense", 403),
        ("scope=", 403),
        ("scope=photos:read&audience=default", 200),
        ("scope=photos:read&audience=photos", 403),
        ("scope=photos:read&audience=", 403),
        ("scope=photos:read&audience=default&audience=default", 400),
        ("scope=photos:read&scpe=x", 400),
        ("&".join(["scope=photos:read"] * 65), 400),
        ("scope=" + "photos:read%20" * 1500, 200),
    ],
)
def test_a_request_needs_every_scope_that_it_names(
    http: httpx.Client, user: User, query: str, status: int
) -> None:
    token = user.token(scope="photos:read")
    assert http.get(f"/v1/authorize?{query}", headers=bearer(token)).status_code == status


def test_no_says_why_to_whoever_holds_the_token(http: httpx.Client, user: User) -> None:
    answer = http.get("/v1/authorize?scope=docs:read", headers=bearer(user.token(scope="photos:read")))
    assert problem(answer) == (403, "caveats_unsatisfied")
    assert answer.json()["failures"] == [
        {
            "index": 2,
            "kind": "scope",
            "predicate": "scope = photos:read",
            "added_by": "issuer",
            "reason": "the request needs docs:read",
            "hint": "a request that needs no more than photos:read",
        }
    ]
    assert "insufficient_scope" in answer.headers["www-authenticate"]


ORIGINAL = [("X-Original-Method", "GET"), ("X-Original-URI", "/a/1?q=1")]
FORWARDED = [("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/a/1")]


@pytest.mark.parametrize(
    ("headers", "untrusted", "trusted"),
    [
        pytest.param([], 403, 403, id="nothing said"),
        pytest.param(ORIGINAL, 200, 200, id="original"),
        pytest.param(FORWARDED, 403, 200, id="forwarded"),
        pytest.param([*ORIGINAL[:1], ("X-Original-URI", "/a/1"), *FORWARDED], 200, 200, id="both agree"),
        pytest.param(ORIGINAL[:1], 403, 403, id="only the method"),
        pytest.param(ORIGINAL[1:], 403, 403, id="only the path"),
        pytest.param([*FORWARDED[:1], *ORIGINAL[1:]], 400, 400, id="half of each pair"),
        pytest.param([*ORIGINAL[:1], *FORWARDED[1:]], 400, 400, id="the other half of each pair"),
        pytest.param([*ORIGINAL, FORWARDED[0]], 400, 400, id="one whole, half of the other"),
        pytest.param([*FORWARDED, ORIGINAL[0]], 400, 400, id="half of the one, the other whole"),
        pytest.param([*ORIGINAL, ("X-Forwarded-Method", "POST")], 400, 400, id="methods contradict"),
        pytest.param([*ORIGINAL, ("X-Forwarded-Uri", "/secret")], 400, 400, id="paths contradict"),
        pytest.param([*FORWARDED, ("X-Original-URI", "/secret")], 400, 400, id="smuggled original"),
        pytest.param([*ORIGINAL, ("X-Original-URI", "/secret")], 400, 400, id="original twice"),
        pytest.param(
            [("X-Original-URI", "/secret"), *ORIGINAL], 400, 400, id="original twice, the other way"
        ),
        pytest.param([*FORWARDED, ("X-Forwarded-Uri", "/secret")], 400, 400, id="forwarded twice"),
        pytest.param([*ORIGINAL, *ORIGINAL], 200, 200, id="twice the same"),
        pytest.param([ORIGINAL[0], ("X-Original-URI", "/a/../secret")], 403, 403, id="dot segments"),
        pytest.param([ORIGINAL[0], ("X-Original-URI", "/a/%2e%2e/secret")], 403, 403, id="encoded dots"),
        pytest.param([ORIGINAL[0], ("X-Original-URI", "/a//1")], 403, 403, id="two slashes"),
        pytest.param([ORIGINAL[0], ("X-Original-URI", "/a/1#x")], 403, 403, id="fragment"),
        pytest.param([ORIGINAL[0], ("X-Original-URI", "http://h/a/1")], 403, 403, id="absolute form"),
        pytest.param([ORIGINAL[0], ("X-Original-URI", "")], 403, 403, id="empty path"),
        pytest.param([("X-Original-Method", "get"), ORIGINAL[1]], 403, 403, id="method in lower case"),
        pytest.param([("X-Original-Method", "DELETE"), ORIGINAL[1]], 403, 403, id="another method"),
    ],
)
def test_method_and_path_come_from_one_pair_of_headers(
    service: Service, behind: Service, headers: list[tuple[str, str]], untrusted: int, trusted: int
) -> None:
    for each, status in ((service, untrusted), (behind, trusted)):
        token = narrow(new_user(each).token(), "method = GET", "path = /a/*")
        assert ask(each, token, headers).status_code == status


@pytest.mark.parametrize(
    ("forwarded", "untrusted", "trusted"),
    [
        pytest.param([], "127.0.0.1", "127.0.0.1", id="none"),
        pytest.param(["192.0.2.7"], "127.0.0.1", "192.0.2.7", id="one"),
        pytest.param(["198.51.100.1, 192.0.2.7"], "127.0.0.1", "192.0.2.7", id="what the client said before"),
        pytest.param(["192.0.2.7, 10.1.1.1"], "127.0.0.1", "192.0.2.7", id="through two proxies"),
        pytest.param(["198.51.100.1, 192.0.2.7, 10.1.1.1"], "127.0.0.1", "192.0.2.7", id="both"),
        pytest.param(["192.0.2.7", "10.1.1.1"], "127.0.0.1", "192.0.2.7", id="two lines"),
        pytest.param(["2001:db8::7"], "127.0.0.1", "2001:db8::7", id="IPv6"),
        pytest.param(["::ffff:192.0.2.7"], "127.0.0.1", "192.0.2.7", id="mapped IPv4"),
    ],
)
def test_a_clients_address_is_believed_from_trusted_proxies_only(
    service: Service, behind: Service, forwarded: list[str], untrusted: str, trusted: str
) -> None:
    headers = [("X-Forwarded-For", line) for line in forwarded]
    for each, address in ((service, untrusted), (behind, trusted)):
        token = new_user(each).token()
        assert ask(each, narrow(token, f"client-ip = {address}"), headers).status_code == 200
        assert ask(each, narrow(token, "client-ip = 198.51.100.1"), headers).status_code == 403


@pytest.mark.parametrize(
    ("headers", "untrusted", "trusted"),
    [
        pytest.param({}, "auth.example", "auth.example", id="Host"),
        pytest.param({"X-Forwarded-Host": "Photos.Example:443"}, "auth.example", "photos.example", id="a proxy's word"),
        pytest.param({"X-Forwarded-Host": "a.example, photos.example"}, "auth.example", None, id="a list"),
        pytest.param({"X-Forwarded-Host": ""}, "auth.example", None, id="an empty one"),
        pytest.param({"X-Original-Host": "photos.example"}, "auth.example", "auth.example", id="another header"),
    ],
)  # fmt: skip
def test_a_host_is_believed_from_trusted_proxies_only(
    service: Service, behind: Service, headers: dict[str, str], untrusted: str, trusted: str | None
) -> None:
    sent = [("Host", "auth.example"), *headers.items()]
    for each, host in ((service, untrusted), (behind, trusted)):
        token = new_user(each).token()
        if host is not None:
            assert ask(each, narrow(token, f"host = {host}"), sent).status_code == 200
        others = {"auth.example", "photos.example", "a.example"} - {host}
        assert ask(each, narrow(token, f"host = {' '.join(sorted(others))}"), sent).status_code == 403


def test_the_services_own_endpoints_are_asked_for_by_a_host_as_well(service: Service) -> None:
    token = new_user(service).token()
    with service.client() as http:
        for host, status in (("auth.example", 200), ("photos.example", 403)):
            narrower = {**bearer(narrow(token, f"host = {host}")), "Host": "auth.example"}
            assert http.get("/v1/tokens", headers=narrower).status_code == status


@pytest.mark.parametrize(
    "hop", ["unknown", "192.0.2.7:", "192.0.2.7:port", "010.0.0.1", "fe80::1%eth0", "-", "10.0.0.1.5"]
)
def test_an_address_that_is_none_is_nobodys(behind: Service, hop: str) -> None:
    token = narrow(new_user(behind).token(), "client-ip = 127.0.0.0/8 192.0.0.0/8 10.0.0.0/16 fe80::/10")
    assert ask(behind, token, [("X-Forwarded-For", f"192.0.2.7, {hop}")]).status_code == 403


def test_head_asks_as_well_and_other_methods_do_not(http: httpx.Client, user: User) -> None:
    token = user.token()
    assert http.head("/v1/authorize", headers=bearer(token)).status_code == 200
    answer = http.post("/v1/authorize", headers=bearer(token))
    assert problem(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD"


def test_a_session_cookie_authorizes(http: httpx.Client, user: User) -> None:
    session = {"Cookie": f"__Host-caveats-session={user.token()}"}
    answer = http.get("/v1/authorize", headers={"X-Original-Method": "GET", **session})
    assert answer.status_code == 200


def test_bytes_beyond_ascii_in_the_proxys_headers_are_no_path(service: Service, user: User) -> None:
    token = narrow(user.token(), "path = /a/*")
    head = f"GET /v1/authorize HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nX-Original-URI: /a/".encode()
    assert status_of(raw(service, head + b"\xff\xfe\x80\r\n\r\n")) in (200, 403)
    assert status_of(raw(service, head + b"\x80/../b\r\n\r\n")) == 403


@pytest.mark.parametrize("written", ["/fotos/Käse brot", "/fotos/K%C3%A4se%20brot", "/fotos/*"])
def test_a_path_with_spaces_and_letters_beyond_ascii_is_granted_as_the_request_line_has_it(
    service: Service, user: User, written: str
) -> None:
    token = narrow(user.token(), f"path = {written}")
    head = f"GET /v1/authorize HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\nX-Original-URI: "
    for uri, status in (
        ("/fotos/K%C3%A4se%20brot?a=%20", 200),
        ("/fotos/K%c3%a4se%20brot", 200),
        ("/fotos/K%25C3%25A4se%2520brot", 403),
        ("/fotos/K%E4se%20brot", 403),
        ("/fotos/K%C3%A4se+brot", 200 if written == "/fotos/*" else 403),
        ("/fotos/x%2F..%2FK%C3%A4se%20brot", 403),
        ("/fotos/K%C3%A4se%20brot/%2e%2e/x", 403),
    ):
        assert status_of(raw(service, f"{head}{uri}\r\n\r\n".encode())) == status, uri
    raw_letters = head.encode() + "/fotos/Käse brot\r\n\r\n".encode()
    assert status_of(raw(service, raw_letters)) == 403


def test_a_user_whose_name_is_not_ascii_does_not_break_the_answer(service: Service) -> None:
    """The service has no such names, but an app with its audience's keys can mint what it likes for itself."""
    from datetime import UTC, datetime, timedelta

    from caveats import Expires, Identifier, Macaroon, Scope, User, new_token_id

    keyring = service.runtime.master_keys.keyring
    identifier = Identifier(keyring.active.key_id, "photos", new_token_id(datetime.now(UTC)), 3)
    expires = Expires(datetime.now(UTC) + timedelta(hours=1))
    minted = Macaroon.mint(
        keyring.root_key(identifier), identifier, caveats=[User("zoë"), expires, Scope("*")]
    )
    assert ask(service, minted.encode(), audience="photos").status_code == 200


def test_many_different_questions_do_not_pile_up(service: Service, user: User) -> None:
    token = user.token()
    with service.client() as http:
        for n in range(600):
            http.get(f"/v1/authorize?scope=photos/{n}:read", headers=bearer(token))
        http.get("/v1/authorize?scope=" + "a" * 5000 + ":read", headers=bearer(token))
    assert authorize._read_short.cache_info().currsize == authorize.MOST_REMEMBERED


@pytest.mark.slow
def test_what_is_remembered_of_queries_is_bounded_in_bytes(http: httpx.Client) -> None:
    """A stranger asks with ever new queries, each of as many scopes as fit."""
    remembered = authorize._read_short
    remembered.cache_clear()
    tracemalloc.start()
    for n in range(authorize.MOST_REMEMBERED + 100):
        query = f"scope={n:05}" + "".join(f"+{word:02x}" for word in range(200))
        remembered(query[: authorize.LONGEST_REMEMBERED].encode())
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert remembered.cache_info().currsize == authorize.MOST_REMEMBERED
    assert taken < 3_000_000
    remembered.cache_clear()
    long = "scope=" + "+".join(f"s{n:04}:read" for n in range(50))
    assert http.get(f"/v1/authorize?{long}", headers=bearer("cav1_x")).status_code == 401
    assert remembered.cache_info().currsize == 0


def test_a_token_in_basic_or_among_subprotocols_passes_where_the_settings_say_so(
    start: Callable[..., Service],
) -> None:
    service = start(authorize_basic=True, authorize_subprotocol=True)
    token = new_user(service).token()
    asked = {"X-Original-Method": "POST", "X-Original-URI": "/a"}

    def answer(**headers: str) -> tuple[int, str | None]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with service.client() as http:
            found = http.get("/v1/authorize", headers=asked | named)
        return found.status_code, found.headers.get("www-authenticate")

    def basic(password: str) -> str:
        return "Basic " + b64encode(f"x:{password}".encode()).decode()

    offered = 'Basic realm="caveats", charset="UTF-8", Bearer realm="caveats"'
    assert answer(Authorization=basic(token)) == (200, None)
    assert answer(Sec_WebSocket_Protocol=f"caveats, {token}") == (200, None)
    assert answer(Authorization=f"Bearer {token}") == (200, None)
    assert answer() == (401, offered)
    assert answer(Authorization=basic("correct horse battery staple")) == (401, offered)
    assert answer(Authorization=basic(token[:-2] + "xx"))[0] == 401
    assert answer(Authorization=basic(token), Sec_WebSocket_Protocol=token)[0] == 400
    assert answer(Authorization=basic(token), Origin="https://evil.example")[0] == 403
    assert answer(Authorization=basic(token), Sec_Fetch_Site="cross-site")[0] == 403
    assert answer(Authorization=basic(narrow(token, "method = GET"))) == (
        403,
        'Bearer realm="caveats", error="insufficient_scope"',
    )


def test_otherwise_authorize_takes_neither(service: Service, user: User) -> None:
    with service.client() as http:
        for headers in (
            {"Authorization": "Basic " + b64encode(f"x:{user.token()}".encode()).decode()},
            {"Sec-WebSocket-Protocol": f"caveats, {user.token()}"},
        ):
            answer = http.get("/v1/authorize", headers=headers)
            assert problem(answer) == (401, "credential_required")
            assert answer.headers["www-authenticate"] == 'Bearer realm="caveats"'


# A proxy that is not in CAVEATS_TRUSTED_PROXIES


def test_a_proxy_that_is_not_trusted_is_named_in_the_refusal_and_once_in_the_log(
    start: Callable[..., Service], capfd: pytest.CaptureFixture[str]
) -> None:
    service = start()
    token = narrow(new_user(service).token(), "method = GET", "path = /a/*", "client-ip = 192.0.2.7")
    sent = [("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/a/1"), ("X-Forwarded-For", "192.0.2.7")]
    for _ in range(3):
        failures = ask(service, token, sent).json()["failures"]
        assert [failure["kind"] for failure in failures] == ["method", "path", "client-ip"]
        for failure in failures:
            assert failure["hint"].count("127.0.0.1 sends X-Forwarded-* and is not trusted") == 1
            assert failure["hint"].count("CAVEATS_TRUSTED_PROXIES") == 1
    log = capfd.readouterr().out
    assert log.count("proxy_not_trusted") == 1
    assert "127.0.0.1" in log


@pytest.mark.parametrize("headers", [[], [("X-Original-Method", "GET"), ("X-Original-URI", "/b")]])
def test_a_refusal_without_such_headers_says_nothing_of_proxies(
    service: Service, headers: list[tuple[str, str]]
) -> None:
    token = narrow(new_user(service).token(), "path = /a/*")
    assert "PROXIES" not in ask(service, token, headers).text


def test_a_sign_in_through_a_proxy_that_is_not_trusted_says_what_to_set(
    start: Callable[..., Service], capfd: pytest.CaptureFixture[str]
) -> None:
    service = start()
    user = new_user(service)
    body = {"username": user.username, "password": user.password}
    behind = {
        "X-Forwarded-Host": "auth.example",
        "X-Forwarded-For": "192.0.2.7",
        "Origin": "https://auth.example",
    }
    with service.client(headers=behind) as http:
        answer = http.post("/v1/session", json=body)
        assert problem(answer) == (403, "cross_site")
        assert "CAVEATS_TRUSTED_PROXIES" in answer.json()["detail"]
        assert http.post("/v1/tokens", json={**body, "password": "another one"}).status_code in (401, 403)
    assert capfd.readouterr().out.count("proxy_not_trusted") == 1
