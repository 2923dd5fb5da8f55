"""The head of a request: its credential, its URL and its facts; and the problem that each error is."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hostile_heads import GRANTED, HEADS, Answer, Head
from hypothesis import given
from hypothesis import strategies as st

import caveats
from caveats import Context, Failure
from caveats.http import (
    PROBLEMS,
    TITLES,
    IncomingRequest,
    PasswordCredential,
    Problem,
    TokenCredential,
    TrustedProxies,
    check_url,
    context_of,
    credential_of,
    find_problem,
    path_text,
    token_of,
    unavailable,
    unavailable_as_told,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
COOKIE = "__Host-caveats-session"


def basic(username: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{username}:{password}".encode())


def auth(value: bytes) -> tuple[bytes, bytes]:
    return b"authorization", value


def other(value: bytes) -> tuple[bytes, bytes]:
    return b"x-auth-token", value


def cookie(value: bytes) -> tuple[bytes, bytes]:
    return b"cookie", value


SESSION = f"{COOKIE}=cav1_x".encode()


# whole heads

KEYRING = caveats.MasterKeyring([caveats.MasterKey("k1", bytes(range(1, 33)))])
IDENTIFIER = caveats.Identifier("k1", "photos", caveats.new_token_id(NOW), 3)
TOKEN = caveats.Macaroon.mint(
    KEYRING.root_key(IDENTIFIER),
    IDENTIFIER,
    caveats=[caveats.User("alice"), caveats.Expires.after(timedelta(hours=1), now=NOW), caveats.Scope("*")],
)
PEERS = {"stranger": "127.0.0.1", "proxy": "127.0.0.2", "socket": None}


def judged(head: Head, cookie_name: str) -> Answer:
    """The answer to a head, by what this module offers and a verifier."""
    token = TOKEN.attenuate(*[predicate.encode() for predicate in head.caveats]).encode().encode()
    request = IncomingRequest(
        "GET",
        path_text(b"/photos/42" + head.path),
        head.query,
        [(b"host", b"app.example"), *((name.lower(), value) for name, value in head.filled(token))],
        PEERS[head.peer],
    )
    try:
        referers = [value for name, value in request.headers if name == b"referer"]
        check_url(b"/photos/42" + head.path, head.query, referers)
        text = token_of(request.headers, cookie_name).text
        context = context_of(request, TrustedProxies(["127.0.0.2", "unix"]), now=NOW, scopes=["photos:read"])
        caveats.Verifier(KEYRING, audience="photos").verify(text, context)
    except (Problem, caveats.CaveatsError) as error:
        problem = find_problem(error)
        assert problem is not None
        return Answer(problem.status, problem.code, problem.headers.get("WWW-Authenticate"))
    return GRANTED


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.id)
def test_every_head_has_its_answer(head: Head) -> None:
    assert judged(head, "") == head.answer
    assert judged(head, COOKIE) == (head.with_cookies or head.answer)


def test_every_head_has_a_name_of_its_own() -> None:
    assert len({head.id for head in HEADS}) == len(HEADS)


# which credential


@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param([(b"accept", b"*/*")], None, id="other headers"),
        pytest.param([auth(b"Bearer cav1_x")], TokenCredential("cav1_x"), id="bearer"),
        pytest.param([auth(b"bEARER    cav1_x")], TokenCredential("cav1_x"), id="any case, several spaces"),
        pytest.param([auth(b"\tBearer cav1_x \t")], TokenCredential("cav1_x"), id="blanks around"),
        pytest.param([auth(b"Bearer a b")], TokenCredential("a b"), id="a space inside is for the decoder"),
        pytest.param([auth(b"Bearer \tcav1_x")], TokenCredential("\tcav1_x"), id="a tab is no space"),
        pytest.param([other(b" cav1_x\t")], TokenCredential("cav1_x"), id="x-auth-token"),
        pytest.param([other(b"")], TokenCredential(""), id="x-auth-token without a value"),
        pytest.param([auth(basic("a", "b:c"))], PasswordCredential("a", "b:c"), id="basic, colon in it"),
        pytest.param([auth(basic("ä", ""))], PasswordCredential("ä", ""), id="basic, UTF-8, empty"),
        pytest.param([cookie(SESSION)], TokenCredential("cav1_x", from_cookie=True), id="cookie"),
        pytest.param(
            [cookie(b"a=1; " + SESSION + b" ;b=2")],
            TokenCredential("cav1_x", from_cookie=True),
            id="among others",
        ),
        pytest.param([cookie(COOKIE.encode() + b"=")], None, id="an empty cookie"),
        pytest.param([cookie(COOKIE.lower().encode() + b"=x")], None, id="a cookie in another case"),
        pytest.param([cookie(b"x" + SESSION)], None, id="a longer cookie name"),
        pytest.param([cookie(b"a=1," + SESSION)], None, id="behind a comma in a cookie of somebody's"),
        pytest.param(
            [cookie(COOKIE.encode() + b"="), auth(b"Bearer x")], TokenCredential("x"), id="signed out"
        ),
    ],
)
def test_a_request_has_one_credential_or_none(
    headers: list[tuple[bytes, bytes]], credential: PasswordCredential | TokenCredential | None
) -> None:
    assert credential_of(headers, COOKIE) == credential
    if isinstance(credential, TokenCredential):
        assert token_of(headers, COOKIE) == credential
    else:
        with pytest.raises(Problem) as raised:
            token_of(headers, COOKIE)
        assert (raised.value.status, raised.value.code) == (401, "credential_required")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        pytest.param([auth(b"")], 401, "credential_required", id="empty"),
        pytest.param([auth(b"Bearer")], 401, "credential_required", id="scheme alone"),
        pytest.param([auth(b"Bearer  ")], 401, "credential_required", id="scheme and spaces"),
        pytest.param([auth(b"Bearer\tx")], 401, "credential_required", id="a tab after the scheme"),
        pytest.param([auth(b"cav1_x")], 401, "credential_required", id="no scheme"),
        pytest.param([auth(b"Negotiate YII=")], 401, "credential_required", id="another scheme"),
        pytest.param([auth(b'Digest a="b", c="d"')], 401, "credential_required", id="commas of its own"),
        pytest.param([auth(b"B\xe9arer x")], 401, "credential_required", id="a scheme in latin-1"),
        pytest.param([auth(b"Bearer caf\xe9")], 401, "invalid_token", id="latin-1"),
        pytest.param([other(b"\xff")], 401, "invalid_token", id="latin-1 in x-auth-token"),
        pytest.param([cookie(SESSION + b"\xff")], 401, "invalid_token", id="latin-1 in the cookie"),
        pytest.param([auth(b"Basic !!!")], 401, "invalid_credentials", id="basic that is no base64"),
        pytest.param([auth(b"Basic YTo")], 401, "invalid_credentials", id="basic without its padding"),
        pytest.param([auth(b"Basic bm9jb2xvbg==")], 401, "invalid_credentials", id="basic without a colon"),
        pytest.param([auth(b"Basic /zr/")], 401, "invalid_credentials", id="basic that is no UTF-8"),
        pytest.param([auth(b"Basic " + b"A" * 6004)], 401, "invalid_credentials", id="basic, too long"),
        pytest.param([auth(b"Bearer x"), auth(b"Bearer x")], 400, "two_credentials", id="the same twice"),
        pytest.param([auth(b""), auth(b"Bearer x")], 400, "two_credentials", id="an empty one counts"),
        pytest.param([auth(b"Negotiate a"), other(b"x")], 400, "two_credentials", id="another scheme counts"),
        pytest.param([other(b"x"), other(b"")], 400, "two_credentials", id="x-auth-token twice"),
        pytest.param([auth(b"Bearer x"), cookie(SESSION)], 400, "two_credentials", id="header and cookie"),
        pytest.param([cookie(SESSION), other(b"x")], 400, "two_credentials", id="cookie and header"),
        pytest.param([auth(b"Bearer a, Bearer b")], 400, "two_credentials", id="joined"),
        pytest.param([auth(b"Bearer a,b")], 400, "two_credentials", id="joined without a scheme"),
        pytest.param([auth(b"Bearer a,")], 400, "two_credentials", id="joined with an empty one"),
        pytest.param([auth(b"Negotiate x,\tBEARER\tb")], 400, "two_credentials", id="joined, tabs"),
        pytest.param([auth(b"Basic YTpi, Basic YTpi")], 400, "two_credentials", id="two passwords joined"),
        pytest.param([other(b"a, b")], 400, "two_credentials", id="x-auth-token joined"),
        pytest.param([cookie(SESSION + b"; " + SESSION)], 400, "two_credentials", id="cookie twice"),
        pytest.param([cookie(SESSION), cookie(SESSION)], 400, "two_credentials", id="two cookie lines"),
        pytest.param([cookie(SESSION + b", " + SESSION)], 400, "two_credentials", id="cookie lines joined"),
        pytest.param(
            [cookie(COOKIE.encode() + b"=; " + SESSION)], 400, "two_credentials", id="cookie twice, one empty"
        ),
    ],
)
def test_what_is_not_one_credential_is_refused(
    headers: list[tuple[bytes, bytes]], status: int, code: str
) -> None:
    with pytest.raises(Problem) as raised:
        credential_of(headers, COOKIE)
    assert (raised.value.status, raised.value.code) == (status, code)
    with pytest.raises(Problem) as raised:
        token_of(headers, COOKIE)
    asked = "credential_required" if code == "invalid_credentials" else code
    assert (raised.value.status, raised.value.code) == (status, asked)


def test_without_a_cookie_s_name_cookies_are_not_looked_at() -> None:
    assert credential_of([cookie(SESSION), cookie(SESSION), auth(b"Bearer x")]) == TokenCredential("x")
    assert credential_of([cookie(SESSION)]) is None


def test_a_credential_is_not_shown() -> None:
    assert "secret" not in repr(PasswordCredential("alice", "secret"))
    assert "secret" not in repr(TokenCredential("secret"))
    assert "secret" not in repr(IncomingRequest("GET", "/", b"", [auth(b"Bearer secret")], None))


_BITS = st.sampled_from(
    [b"Bearer", b"BASIC", b" ", b"\t", b",", b"abc", b"YTpi", b"\xe9", b";", b"=", SESSION]
)
_HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"authorization", b"x-auth-token", b"cookie", b"accept"]),
        st.lists(_BITS, max_size=5).map(b"".join),
    ),
    max_size=4,
)


@given(_HEADERS)
def test_any_head_has_a_credential_none_or_a_problem_and_one_more_is_too_many(
    headers: list[tuple[bytes, bytes]],
) -> None:
    try:
        found = credential_of(headers, COOKIE)
    except Problem as problem:
        assert problem.status in (400, 401)  # noqa: PT017  # what is raised, if anything is
        return
    if found is not None:
        for more in (auth(b"Bearer x"), other(b"x"), cookie(SESSION)):
            for both in ([*headers, more], [more, *headers]):
                with pytest.raises(Problem) as raised:
                    credential_of(both, COOKIE)
                assert raised.value.code == "two_credentials"


# a credential in the URL


@pytest.mark.parametrize(
    ("path", "query", "referers"),
    [
        pytest.param(b"/", b"access_token=x", [], id="access_token"),
        pytest.param(b"/", b"a=1&token=x", [], id="token"),
        pytest.param(b"/", b"password=", [], id="password, empty"),
        pytest.param(b"/", b"a&token", [], id="a name alone"),
        pytest.param(b"/", b"a=1;token=x", [], id="a semicolon separates"),
        pytest.param(b"/", b"%74oken=x", [], id="an escaped name"),
        pytest.param(b"/", b"acces%73%5ftoken=x", [], id="an escaped underscore"),
        pytest.param(b"/", b"x=cav1_abc", [], id="a token"),
        pytest.param(b"/", b"cav1_abc", [], id="nothing but a token"),
        pytest.param(b"/", b"x=%63av1_abc", [], id="an escaped token"),
        pytest.param(b"/", b"x=a+cav1%5Fabc", [], id="behind a plus"),
        pytest.param(b"/", b"%ff=%zz&x=%63%61%76%31%5f", [], id="broken escapes beside it"),
        pytest.param(b"/cav1_abc", b"", [], id="in the path"),
        pytest.param(b"/%63av1_abc", b"", [], id="escaped in the path"),
        pytest.param(b"/", b"", [b"https://a.example/?t=cav1_abc"], id="in the referer"),
        pytest.param(b"/", b"", [b"https://a.example/", b"/cav1%5fabc"], id="in a second referer"),
        pytest.param(b"/a\0b", b"", [], id="NUL in the path"),
        pytest.param(b"/a%00b", b"", [], id="NUL in the path, escaped"),
    ],
)
def test_a_credential_in_the_url_is_refused(path: bytes, query: bytes, referers: list[bytes]) -> None:
    with pytest.raises(Problem) as raised:
        check_url(path, query, referers)
    assert (raised.value.status, raised.value.code) == (400, "bad_request")
    assert "cav1" not in raised.value.detail


@pytest.mark.parametrize(
    ("path", "query", "referers"),
    [
        pytest.param(b"/", b"", [], id="nothing"),
        pytest.param(b"/photos/4%32", b"a=b%20c", [], id="escapes"),
        pytest.param(b"/", b"mytoken=1", [], id="a longer name"),
        pytest.param(
            b"/", b"page_token=1&token_type=x&tokens=&passwords=1", [], id="names that begin or end alike"
        ),
        pytest.param(b"/", b"x=token", [], id="a value"),
        pytest.param(b"/", b"x=token=1", [], id="an equals sign in a value"),
        pytest.param(b"/", b"Token=1", [], id="another case"),
        pytest.param(b"/", b"to+ken=1", [], id="a plus"),
        pytest.param(b"/", b"token%3D=1", [], id="an escaped equals sign"),
        pytest.param(b"/", b"x=1%26token=1", [], id="an escaped ampersand"),
        pytest.param(b"/", b"%2574oken=1", [], id="a name escaped twice"),
        pytest.param(b"/", b"x=%2563av1_abc", [], id="a token escaped twice"),
        pytest.param(b"/%2563av1_abc%2500", b"", [], id="escaped twice in the path"),
        pytest.param(b"/\xff%ff%", b"%&%f&%zz=%ff&\xff", [b"\xff%ff"], id="broken escapes and bytes"),
        pytest.param(b"/token", b"", [b"https://a.example/?token=1"], id="names of other sites"),
        pytest.param(b"/", b"x=CAV1_abc", [], id="no token of ours"),
    ],
)
def test_a_url_without_a_credential_is_nobody_s_business(
    path: bytes, query: bytes, referers: list[bytes]
) -> None:
    check_url(path, query, referers)


@given(st.binary(max_size=60), st.binary(max_size=60), st.lists(st.binary(max_size=30), max_size=2))
def test_no_url_breaks_the_check(path: bytes, query: bytes, referers: list[bytes]) -> None:
    try:
        check_url(path, query, referers)
    except Problem as problem:
        assert problem.status == 400  # noqa: PT017  # what is raised, if anything is


# whose address


def request(peer: str | None, *forwarded: bytes) -> IncomingRequest:
    return IncomingRequest("GET", "/", b"", [(b"x-forwarded-for", line) for line in forwarded], peer)


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "address"),
    [
        pytest.param((), None, [], None, id="a Unix socket"),
        pytest.param((), None, [b"10.0.0.1"], None, id="a Unix socket that is not trusted"),
        pytest.param((), "192.0.2.7", [b"10.0.0.1"], "192.0.2.7", id="nobody is trusted"),
        pytest.param(("unix",), None, [b"10.0.0.1"], "10.0.0.1", id="through a Unix socket"),
        pytest.param(("unix",), "", [b"10.0.0.1"], "10.0.0.1", id="a Unix socket's empty address"),
        pytest.param(("unix",), None, [b"6.6.6.6, 10.0.0.1"], "10.0.0.1", id="the last hop counts"),
        pytest.param(("unix",), "127.0.0.1", [b"10.0.0.1"], "127.0.0.1", id="only Unix sockets"),
        pytest.param(("unix",), None, [], None, id="a Unix socket says nothing"),
        pytest.param("127.0.0.1", "127.0.0.1", [b"10.0.0.1"], "10.0.0.1", id="one word"),
        pytest.param(("127.0.0.1",), "::ffff:127.0.0.1", [b"10.0.0.1"], "10.0.0.1", id="a mapped peer"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"::ffff:10.0.0.1"], "::ffff:10.0.0.1", id="a mapped hop"),
        pytest.param(("127.0.0.1",), "localhost", [b"10.0.0.1"], "localhost", id="a peer without an address"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [], "127.0.0.1", id="the proxy itself"),
        pytest.param(("127.0.0.1", "10.0.0.0/8"), "127.0.0.1", [b"6.6.6.6", b"10.0.0.1"], "6.6.6.6", id="two lines"),
        pytest.param(("127.0.0.1", "10.0.0.0/8"), "127.0.0.1", [b"10.0.0.1"], "10.0.0.1", id="proxies alone"),
        pytest.param(("::1",), "::1", [b"2001:db8::7"], "2001:db8::7", id="IPv6"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"x, 10.0.0.1"], "10.0.0.1", id="odd, before the client"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"10.0.0.1\xa0"], None, id="a blank beyond ASCII"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"10.0.0.1,"], None, id="an empty hop"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b""], None, id="an empty line"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"10.0.0.1", b""], None, id="an empty second line"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"unknown"], None, id="unknown"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"10.0.0.1:80"], None, id="a port"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"[::1]"], None, id="brackets"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"fe80::1%eth0"], None, id="a zone"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"010.0.0.1"], None, id="a leading zero"),
        pytest.param(("unix",), None, [b"unix"], None, id="the word itself"),
    ],
)  # fmt: skip
def test_only_a_trusted_proxy_is_asked_who_the_client_is(
    trusted: Any, peer: str | None, forwarded: list[bytes], address: str | None
) -> None:
    assert TrustedProxies(trusted).client_address(request(peer, *forwarded)) == address


@pytest.mark.parametrize("trusted", ["10.0.0.1/8", "localhost", "*", "", "Unix"])
def test_what_is_no_network_is_not_trusted_silently(trusted: str) -> None:
    with pytest.raises(ValueError, match=r"does not appear|has host bits"):
        TrustedProxies((trusted,))


# whose host


@pytest.mark.parametrize(
    ("trusted", "headers", "host"),
    [
        pytest.param((), [], None, id="none"),
        pytest.param((), [(b"host", b"photos.example")], "photos.example", id="Host"),
        pytest.param((), [(b"host", b"")], "", id="an empty Host"),
        pytest.param((), [(b"host", b"a.example"), (b"host", b"b.example")], None, id="two Hosts"),
        pytest.param((), [(b"host", b"a.example"), (b"host", b"a.example")], None, id="the same Host twice"),
        pytest.param((), [(b"host", b"a.example"), (b"x-forwarded-host", b"b.example")], "a.example", id="nobody is trusted"),
        pytest.param((), [(b"x-forwarded-host", b"b.example")], None, id="nobody is trusted, and no Host"),
        pytest.param(("10.0.0.1",), [(b"host", b"a.example"), (b"x-forwarded-host", b"b.example")], "b.example", id="a trusted proxy"),
        pytest.param(("10.0.0.1",), [(b"host", b"a.example")], "a.example", id="a trusted proxy that says nothing"),
        pytest.param(("10.0.0.1",), [(b"host", b"a.example"), (b"x-forwarded-host", b"")], "", id="a trusted proxy that says an empty one"),
        pytest.param(("10.0.0.1",), [(b"x-forwarded-host", b"b.example")] * 2, None, id="a trusted proxy that says two"),
        pytest.param(("10.0.0.1",), [(b"host", b"a.example"), (b"x-forwarded-host", b"x.example, b.example")], "x.example, b.example", id="a list, which is no name"),
        pytest.param((), [(b"host", "b\u00fccher.example".encode())], "b\\xc3\\xbccher.example", id="bytes beyond ASCII"),
    ],
)  # fmt: skip
def test_the_host_is_the_headers_and_a_trusted_proxys_word_goes_first(
    trusted: Any, headers: list[tuple[bytes, bytes]], host: str | None
) -> None:
    assert TrustedProxies(trusted).host(IncomingRequest("GET", "/", b"", headers, "10.0.0.1")) == host


# the facts


def test_the_context_has_every_fact_of_the_request() -> None:
    headers = [(b"host", b"photos.example"), (b"x-forwarded-for", b"192.0.2.7")]
    head = IncomingRequest("GET", "/a", b"q=1", headers, "10.0.0.1")
    context = context_of(
        head, TrustedProxies(["10.0.0.0/8"]), now=NOW, audience="photos", scopes=["a:b"], extra={"tenant": "acme"}
    )  # fmt: skip
    assert context == Context(
        now=NOW,
        audience="photos",
        scopes=("a:b",),
        method="GET",
        path="/a",
        host="photos.example",
        client_ip="192.0.2.7",
        extra={"tenant": "acme"},
    )
    assert context_of(IncomingRequest(None, None, b"", [], None), TrustedProxies(), now=NOW) == Context(NOW)


def test_a_request_is_read_from_an_asgi_scope_as_it_came() -> None:
    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/a/é",
        "raw_path": b"/a%2F\xe9",
        "query_string": b"q",
        "headers": [(b"X-Auth-Token", b"x")],
        "client": ("10.0.0.1", 80),
    }
    assert IncomingRequest.from_asgi(scope) == IncomingRequest(
        "PUT", "/a%2F\\xe9", b"q", [(b"x-auth-token", b"x")], "10.0.0.1"
    )
    socket = {"type": "websocket", "headers": [], "client": None, "path": "/a"}
    assert IncomingRequest.from_asgi(socket) == IncomingRequest("GET", None, b"", [], None)


def test_a_byte_beyond_ascii_passes_for_no_letter_of_a_path() -> None:
    assert path_text("/é".encode()) == "/\\xc3\\xa9"


# the problems


def unsatisfied(*kinds: str) -> caveats.UnsatisfiedCaveats:
    return caveats.UnsatisfiedCaveats(
        tuple(Failure(n, kind, f'{kind} = ä"\u2028', "holder", "why", "what") for n, kind in enumerate(kinds))
    )


def waiting(error: Exception, seconds: object) -> Exception:
    error.retry_after = seconds  # type: ignore[attr-defined]
    return error


INVALID = 'Bearer realm="caveats", error="invalid_token"'


@pytest.mark.parametrize(
    ("error", "status", "code", "header"),
    [
        (caveats.MalformedToken("x"), 401, "invalid_token", INVALID),
        (caveats.MalformedTicket("x"), 401, "invalid_token", INVALID),
        (caveats.DamagedToken("x"), 401, "damaged_token", INVALID),
        (caveats.LimitExceeded("x"), 401, "invalid_token", INVALID),
        (caveats.UnknownKey("x"), 401, "invalid_token", INVALID),
        (caveats.BadSignature("x"), 401, "invalid_token", INVALID),
        (caveats.BindingMismatch("x"), 401, "invalid_token", INVALID),
        (caveats.UnusedDischarge("x"), 401, "invalid_token", INVALID),
        (caveats.DischargeRefused("x"), 401, "invalid_token", INVALID),
        (caveats.Revoked("x"), 401, "invalid_token", INVALID),
        (caveats.MissingDischarge("https://third.example/ä", b"\0\xff"), 401, "discharge_required", INVALID),
        (unsatisfied("scope", "expires"), 401, "invalid_token", INVALID),
        (unsatisfied("note"), 403, "caveats_unsatisfied", 'Bearer realm="caveats", error="insufficient_scope"'),
        (caveats.WrongAudience("a", "b"), 403, "wrong_audience", None),
        (caveats.Stale("x"), 503, "unavailable", "1"),
        (waiting(caveats.Stale("x"), 12.9), 503, "unavailable", "12"),
        (waiting(caveats.Stale("x"), 0), 503, "unavailable", "1"),
        (waiting(caveats.Stale("x"), "soon"), 503, "unavailable", "1"),
        (caveats.RejectedDelivery("x"), 503, "unavailable", "1"),
        (Problem(418, "teapot", headers={"WWW-Authenticate": "Tea"}), 418, "teapot", "Tea"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)  # fmt: skip
def test_each_error_of_the_library_is_one_problem(
    error: Exception, status: int, code: str, header: str | None
) -> None:
    problem = find_problem(error)
    assert problem is not None
    assert (problem.status, problem.code) == (status, code)
    assert problem.headers.get("Retry-After" if status == 503 else "WWW-Authenticate") == header
    assert problem.headers["Cache-Control"] == "no-store"
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert int(problem.headers["Content-Length"]) == len(problem.body)
    document = json.loads(problem.body)
    assert document == problem.document
    assert (document["status"], document["code"], document["title"]) == (status, code, problem.title)
    assert document["type"] == f"urn:caveats:problem:{code}"
    if code in ("invalid_token", "damaged_token", "unavailable"):
        assert set(document) == {"type", "title", "status", "code"}


def test_a_missing_discharge_says_whom_to_ask_and_with_what() -> None:
    problem = find_problem(caveats.MissingDischarge("https://third.example", b"\0\xff"))
    assert problem is not None
    assert (problem.document["location"], problem.document["ticket"]) == ("https://third.example", "AP8")


def test_every_failure_is_told() -> None:
    problem = find_problem(unsatisfied("scope", "method"))
    assert problem is not None
    assert [failure["kind"] for failure in problem.document["failures"]] == ["scope", "method"]  # type: ignore[attr-defined]
    assert set(problem.document["failures"][0]) == {
        "index",
        "kind",
        "predicate",
        "added_by",
        "reason",
        "hint",
    }  # type: ignore[index]


def test_the_nearest_base_class_counts_and_what_has_no_row_is_no_problem() -> None:
    class Gone(caveats.Stale):
        """An error of somebody's own."""

    table = {**PROBLEMS, Gone: (410, "gone")}
    for error, status in ((Gone("for good"), 410), (caveats.Stale("x"), 503)):
        problem = find_problem(error, table)
        assert problem is not None
        assert problem.status == status
    gone = find_problem(Gone("for good"), table)
    assert gone is not None
    assert (gone.title, gone.detail, gone.document["detail"]) == ("gone", "for good", "for good")
    assert find_problem(ZeroDivisionError()) is None
    assert find_problem(caveats.InvalidKey("x")) is None


def test_codes_are_in_order_and_titles_are_sentences() -> None:
    assert list(TITLES) == sorted(TITLES)
    assert all(title[0].isupper() for title in TITLES.values())
    assert unavailable(7.9).headers["Retry-After"] == "7"
    assert unavailable_as_told(ValueError()).headers["Retry-After"] == "1"
