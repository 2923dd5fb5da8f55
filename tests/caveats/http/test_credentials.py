"""Which credential a request carries: one, none, or a problem; and none in the URL."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats.http import (
    IncomingRequest,
    PasswordCredential,
    Problem,
    TokenCredential,
    check_url,
    credential_of,
    credential_required,
    cross_site,
    offering_basic,
    token_of,
    two_credentials,
    without_token,
)

COOKIE = "__Host-caveats-session"
SESSION = f"{COOKIE}=cav1_x".encode()


def basic(username: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{username}:{password}".encode())


def auth(value: bytes) -> tuple[bytes, bytes]:
    return b"authorization", value


def other(value: bytes) -> tuple[bytes, bytes]:
    return b"x-auth-token", value


def cookie(value: bytes) -> tuple[bytes, bytes]:
    return b"cookie", value


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
        pytest.param([auth(b"Bearer  XYZ")], TokenCredential("XYZ"), id="a text of any letters"),
        pytest.param([auth(b"Bearer x\x0b")], TokenCredential("x\x0b"), id="only blanks and tabs are blank"),
        pytest.param([other(b" cav1_x\t")], TokenCredential("cav1_x"), id="x-auth-token"),
        pytest.param([other(b"")], TokenCredential(""), id="x-auth-token without a value"),
        pytest.param([auth(basic("a", "b:c"))], PasswordCredential("a", "b:c"), id="basic, colon in it"),
        pytest.param([auth(basic("ä", ""))], PasswordCredential("ä", ""), id="basic, UTF-8, empty"),
        pytest.param(
            [auth(basic("a", "x" * 4498))], PasswordCredential("a", "x" * 4498), id="the longest basic"
        ),
        pytest.param([cookie(SESSION)], TokenCredential("cav1_x", from_cookie=True), id="cookie"),
        pytest.param([(b"set-cookie", SESSION)], None, id="the cookie in another header"),
        pytest.param([cookie(b"a=1;\x0b" + SESSION)], None, id="a cookie behind what is no blank"),
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
        pytest.param(
            [auth(b"Digest a=bearer, bearers, x bearer")],
            401,
            "credential_required",
            id="words like a scheme's",
        ),
        pytest.param(
            [auth(b"a,\x0bBearer b")], 401, "credential_required", id="joined with what is no blank"
        ),
        pytest.param([auth(b"B\xe9arer x")], 401, "credential_required", id="a scheme in latin-1"),
        pytest.param([auth(b"Bearer caf\xe9")], 401, "invalid_token", id="latin-1"),
        pytest.param([other(b"\xff")], 401, "invalid_token", id="latin-1 in x-auth-token"),
        pytest.param([cookie(SESSION + b"\xff")], 401, "invalid_token", id="latin-1 in the cookie"),
        pytest.param([auth(b"Basic !!!")], 401, "invalid_credentials", id="basic that is no base64"),
        pytest.param([auth(b"Basic YT!pi")], 401, "invalid_credentials", id="basic with a stray character"),
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
        pytest.param([auth(b"Negotiate x,bearer")], 400, "two_credentials", id="joined with a scheme alone"),
        pytest.param([auth(b"basic,x")], 400, "two_credentials", id="a scheme alone, joined"),
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


@pytest.mark.parametrize("name", [COOKIE, "session", "XXXX", ""])
def test_without_a_cookie_s_name_cookies_are_not_looked_at(name: str) -> None:
    sent = cookie(f"{name}=cav1_x".encode())
    assert credential_of([sent, sent, auth(b"Bearer x")]) == TokenCredential("x")
    assert credential_of([sent]) is None
    assert token_of([sent, sent, auth(b"Bearer x")]) == TokenCredential("x")


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


PROTOCOLS = b"sec-websocket-protocol"
LONGEST_BUNDLE = f"{'cav1_x':x<65536}"
TOKEN = TokenCredential("cav1_x")


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        pytest.param([auth(basic("a", "cav1_x"))], TokenCredential("cav1_x", from_basic=True), id="basic"),
        pytest.param([auth(basic("", "cav1_x"))], TokenCredential("cav1_x", from_basic=True), id="no name"),
        pytest.param(
            [auth(basic("a", "cav1_x:y"))], TokenCredential("cav1_x:y", from_basic=True), id="colon"
        ),
        pytest.param(
            [auth(basic("a", LONGEST_BUNDLE))],
            TokenCredential(LONGEST_BUNDLE, from_basic=True),
            id="the longest",
        ),
        pytest.param([(PROTOCOLS, b"caveats, cav1_x")], TOKEN, id="subprotocol"),
        pytest.param([(PROTOCOLS, b"cav1_x")], TOKEN, id="subprotocol alone"),
        pytest.param([(PROTOCOLS, b"caveats,cav1_x")], TOKEN, id="subprotocol without a blank"),
        pytest.param([(PROTOCOLS, b"caveats"), (PROTOCOLS, b"\tcav1_x ,chat")], TOKEN, id="second line"),
        pytest.param([(PROTOCOLS, b"chat"), auth(b"Bearer cav1_x")], TOKEN, id="subprotocols without one"),
        pytest.param([auth(basic("cav1_x", ""))], 401, id="as the name"),
        pytest.param([auth(basic("a", "CAV1_x"))], 401, id="in another case"),
        pytest.param([auth(basic("a", "password"))], 401, id="a password"),
        pytest.param([auth(b"Basic !!!")], 401, id="no base64"),
        pytest.param([auth(b"Basic " + b"A" * 100_000)], 401, id="oversized"),
        pytest.param([auth(basic("a", "cav1_\xe9"))], 401, id="beyond ASCII"),
        pytest.param([(PROTOCOLS, b"bearer.cav1_x")], 401, id="another form"),
        pytest.param([(PROTOCOLS, b"cav1_\xe9")], 401, id="subprotocol beyond ASCII"),
        pytest.param([(PROTOCOLS, b"")], 401, id="none"),
        pytest.param([(PROTOCOLS, b"cav1_x, cav1_x")], 400, id="the same twice"),
        pytest.param([(PROTOCOLS, b"cav1_x"), (PROTOCOLS, b"cav1_x")], 400, id="in two lines"),
        pytest.param([(PROTOCOLS, b"cav1_x"), auth(b"Bearer cav1_x")], 400, id="subprotocol and bearer"),
        pytest.param([other(b""), (PROTOCOLS, b"cav1_x")], 400, id="subprotocol and an empty one"),
        pytest.param([auth(basic("a", "cav1_x")), other(b"cav1_x")], 400, id="basic and x-auth-token"),
        pytest.param([auth(basic("a", "cav1_x")), auth(b"Bearer cav1_x")], 400, id="basic and bearer"),
        pytest.param([auth(b"Bearer cav1_x, " + basic("a", "cav1_x"))], 400, id="joined"),
    ],
)
def test_a_token_stands_in_basic_or_among_subprotocols_where_an_app_says_so(
    headers: list[tuple[bytes, bytes]], found: TokenCredential | int
) -> None:
    if isinstance(found, TokenCredential):
        assert token_of(headers, basic=True, subprotocol=True) == found
    else:
        with pytest.raises(Problem) as refused:
            token_of(headers, basic=True, subprotocol=True)
        assert refused.value.status == found


def test_otherwise_subprotocols_are_nobody_s_business_and_basic_is_a_password() -> None:
    assert token_of([(PROTOCOLS, b"cav1_y"), auth(b"Bearer cav1_x")]) == TOKEN
    assert credential_of([(PROTOCOLS, b"cav1_x")]) is None
    assert credential_of([auth(basic("a", "cav1_x"))]) == PasswordCredential("a", "cav1_x")
    with pytest.raises(Problem):
        token_of([auth(basic("a", "cav1_x"))], subprotocol=True)
    with pytest.raises(Problem):
        token_of([(PROTOCOLS, b"cav1_x")], basic=True)


def test_no_token_is_offered_to_an_app_as_a_subprotocol() -> None:
    assert without_token(["caveats", "cav1_x", "chat", "cav1_"]) == ["caveats", "chat"]


def test_the_challenge_of_a_401_offers_basic_first_and_no_other_problem_does() -> None:
    offered = offering_basic(credential_required())
    assert (
        offered.headers["WWW-Authenticate"]
        == 'Basic realm="caveats", charset="UTF-8", Bearer realm="caveats"'
    )
    assert (offered.status, offered.code) == (401, "credential_required")
    told = offering_basic(
        Problem(401, "x", "why", headers={"WWW-Authenticate": "Bearer"}, members={"hint": "this"})
    )
    assert (told.detail, dict(told.members)) == ("why", {"hint": "this"})
    for problem in (
        two_credentials(),
        Problem(401, "x"),
        Problem(403, "x", headers={"WWW-Authenticate": "B"}),
    ):
        assert offering_basic(problem) is problem
    assert (cross_site().status, cross_site().code) == (403, "cross_site")
