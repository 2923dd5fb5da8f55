"""Heads of requests, most of them hostile, and the one answer that each must get wherever a token is taken.

The table is run against `caveats.http` itself, the service, and the guards of every framework. `TOKEN` in a header
stands for a good token: scope `*`, with the row's caveats appended. Every request is made to the host `app.example`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

_BEARER = 'Bearer realm="caveats"'
_INVALID = f'{_BEARER}, error="invalid_token"'


class Answer(NamedTuple):
    """A status, the problem's code and the value of WWW-Authenticate."""

    status: int
    code: str | None = None
    challenge: str | None = None


GRANTED = Answer(200)
REQUIRED = Answer(401, "credential_required", _BEARER)
INVALID = Answer(401, "invalid_token", _INVALID)
DAMAGED = Answer(401, "damaged_token", _INVALID)
PASSWORD = Answer(401, "invalid_credentials", f'{_BEARER}, Basic realm="caveats", charset="UTF-8"')
TWO = Answer(400, "two_credentials")
BAD = Answer(400, "bad_request")
REFUSED = Answer(403, "caveats_unsatisfied", f'{_BEARER}, error="insufficient_scope"')


@dataclass(frozen=True, kw_only=True)
class Head:
    """The head of one request."""

    id: str
    headers: tuple[tuple[bytes, bytes], ...]
    answer: Answer
    path: bytes = b""
    """What follows the endpoint's own path, as it came."""
    query: bytes = b""
    peer: Literal["stranger", "proxy", "socket"] = "stranger"
    """A proxy is trusted, and so is a Unix socket."""
    caveats: tuple[str, ...] = ()
    with_passwords: Answer | None = None
    """The answer of an endpoint that takes passwords too, if it is another."""
    with_cookies: Answer | None = None
    """The answer of an endpoint that takes the session cookie too, if it is another. Apps take none."""
    joined: Answer | None = None
    """The answer where the server joins header lines with a comma before the app sees them (WSGI), if it is another."""

    def filled(self, token: bytes) -> list[tuple[bytes, bytes]]:
        """The headers, with this token."""
        return [(name, value.replace(b"TOKEN", token)) for name, value in self.headers]


COOKIE = b"__Host-caveats-session"


def head(id: str, headers: list[tuple[bytes, bytes]], answer: Answer, **more: object) -> Head:
    return Head(id=id, headers=tuple(headers), answer=answer, **more)  # type: ignore[arg-type]


def auth(value: bytes) -> tuple[bytes, bytes]:
    return b"Authorization", value


def other(value: bytes) -> tuple[bytes, bytes]:
    return b"X-Auth-Token", value


def cookie(value: bytes) -> tuple[bytes, bytes]:
    return b"Cookie", value


def referer(value: bytes) -> tuple[bytes, bytes]:
    return b"Referer", value


def forwarded(value: bytes) -> tuple[bytes, bytes]:
    return b"X-Forwarded-For", value


GOOD = auth(b"Bearer TOKEN")
SESSION = cookie(COOKIE + b"=TOKEN")
IN_TEN = ("client-ip = 10.0.0.0/8",)
PHOTOS_HOST = (b"X-Forwarded-Host", b"Photos.Example:8443")
FOR_PHOTOS, FOR_APP = ("host = photos.example",), ("host = app.example",)

HEADS = [
    # one credential, in its place
    head("bearer", [GOOD], GRANTED),
    head("bearer, any case", [(b"AUTHORIZATION", b"bEaReR TOKEN")], GRANTED),
    head("bearer, several spaces", [auth(b"Bearer    TOKEN")], GRANTED),
    head("bearer, blanks around", [auth(b"\t Bearer TOKEN \t")], GRANTED),
    head("x-auth-token", [other(b"TOKEN")], GRANTED),
    head("x-auth-token, blanks around", [other(b" \tTOKEN\t ")], GRANTED),
    head("cookie", [SESSION], REQUIRED, with_cookies=GRANTED),
    head("cookie among others", [cookie(b"a=1; " + COOKIE + b"=TOKEN;b=2")], REQUIRED, with_cookies=GRANTED),
    head("an empty cookie beside a token", [cookie(COOKIE + b"="), GOOD], GRANTED),
    head("a sibling's cookie of another name beside a token", [cookie(b"caveats-session=x"), GOOD], GRANTED),
    # none, or none that is taken
    head("nothing", [], REQUIRED),
    head("empty authorization", [auth(b"")], REQUIRED),
    head("scheme alone", [auth(b"Bearer")], REQUIRED),
    head("scheme and a space", [auth(b"Bearer ")], REQUIRED),
    head("a tab after the scheme", [auth(b"Bearer\tTOKEN")], REQUIRED),
    head("no scheme", [auth(b"TOKEN")], REQUIRED),
    head("the token as a scheme", [auth(b"TOKEN x")], REQUIRED),
    head("negotiate", [auth(b"Negotiate TOKEN")], REQUIRED),
    head("digest, with commas of its own", [auth(b'Digest username="a", realm="b"')], REQUIRED),
    head("a scheme in latin-1", [auth(b"Bear\xe9r TOKEN")], REQUIRED),
    head("basic", [auth(b"Basic bm9ib2R5OnBhc3N3b3Jk")], REQUIRED, with_passwords=PASSWORD),
    head("basic that is no base64", [auth(b"Basic !!!")], REQUIRED, with_passwords=PASSWORD),
    head("basic without a colon", [auth(b"Basic bm9jb2xvbg==")], REQUIRED, with_passwords=PASSWORD),
    head("basic that is no UTF-8", [auth(b"Basic /zr/")], REQUIRED, with_passwords=PASSWORD),
    head("basic, oversized", [auth(b"Basic " + b"A" * 8000)], REQUIRED, with_passwords=PASSWORD),
    head("basic with the token in it", [auth(b"Basic TOKEN")], REQUIRED, with_passwords=PASSWORD),
    head("basic alone", [auth(b"Basic")], REQUIRED),
    head("a header with an underscore", [(b"X_Auth_Token", b"TOKEN")], REQUIRED),
    head("an empty cookie", [cookie(COOKIE + b"=")], REQUIRED),
    head("a cookie in another case", [cookie(COOKIE.lower() + b"=TOKEN")], REQUIRED),
    head("a cookie whose name ends alike", [cookie(b"x" + COOKIE + b"=TOKEN")], REQUIRED),
    head("a cookie behind a comma in another's value", [cookie(b"a=1," + COOKIE + b"=TOKEN")], REQUIRED),
    # not a token
    head("empty x-auth-token", [other(b"")], INVALID),
    head("garbage", [auth(b"Bearer garbage")], INVALID),
    head("two words", [auth(b"Bearer garbage TOKEN")], INVALID),
    head("a tab before the token", [auth(b"Bearer \tTOKEN")], INVALID),
    head("scheme in x-auth-token", [other(b"Bearer TOKEN")], INVALID),
    head("latin-1", [auth(b"Bearer TOKEN\xe9")], INVALID),
    head("latin-1 in x-auth-token", [other(b"\xff\xfe")], INVALID),
    head("latin-1 in the cookie", [cookie(COOKIE + b"=TOKEN\xe9")], REQUIRED, with_cookies=INVALID),
    head("quotes around the cookie", [cookie(COOKIE + b'="TOKEN"')], REQUIRED, with_cookies=INVALID),
    head("digits of another script", [other("cav1_٤٢".encode())], INVALID),
    head("cut off", [other(b"TOKENx")], DAMAGED),
    # two credentials
    head("the same twice", [GOOD, GOOD], TWO),
    head("two bearers, the first bad", [auth(b"Bearer x"), GOOD], TWO),
    head("basic and bearer", [auth(b"Basic YTpi"), GOOD], TWO),
    head("bearer and an empty one", [GOOD, auth(b"")], TWO),
    head("negotiate twice", [auth(b"Negotiate a"), auth(b"Negotiate b")], TWO, joined=REQUIRED),
    head("both headers, the same token", [GOOD, other(b"TOKEN")], TWO),
    head("both headers, one empty", [GOOD, other(b"")], TWO),
    head("negotiate and x-auth-token", [auth(b"Negotiate a"), other(b"TOKEN")], TWO),
    head("x-auth-token twice", [other(b"TOKEN"), (b"x-auth-token", b"TOKEN")], TWO),
    head("x-auth-token and an empty one", [other(b"TOKEN"), other(b"")], TWO),
    head("joined bearers", [auth(b"Bearer TOKEN, Bearer TOKEN")], TWO),
    head("joined bearers, no space", [auth(b"Bearer TOKEN,Bearer x")], TWO),
    head("joined bearers, tabs", [auth(b"Bearer TOKEN\t,\tbearer\tx")], TWO),
    head("joined with nothing", [auth(b"Bearer TOKEN,")], TWO),
    head("joined values of one scheme", [auth(b"Bearer TOKEN,TOKEN")], TWO),
    head("joined, basic behind", [auth(b"Bearer TOKEN, Basic YTpi")], TWO),
    head("joined, bearer behind another scheme", [auth(b"Negotiate a, Bearer TOKEN")], TWO),
    head("joined passwords", [auth(b"Basic YTpi, Basic YTpi")], TWO),
    head("joined x-auth-token", [other(b"TOKEN, TOKEN")], TWO),
    head("bearer and cookie", [GOOD, SESSION], GRANTED, with_cookies=TWO),
    head("cookie and x-auth-token", [SESSION, other(b"TOKEN")], GRANTED, with_cookies=TWO),
    head("cookie twice", [cookie(COOKIE + b"=TOKEN; " + COOKIE + b"=x")], REQUIRED, with_cookies=TWO),
    head("cookie in two lines", [SESSION, SESSION], REQUIRED, with_cookies=TWO),
    head("cookie lines, joined", [cookie(COOKIE + b"=TOKEN, " + COOKIE + b"=TOKEN")], REQUIRED, with_cookies=TWO),
    # a credential in the URL
    head("access_token", [GOOD], BAD, query=b"a=1&access_token=x"),
    head("access_token alone", [], BAD, query=b"access_token=x"),
    head("token", [GOOD], BAD, query=b"token=x"),
    head("token without a value", [GOOD], BAD, query=b"a&token"),
    head("password", [GOOD], BAD, query=b"password=x&a=1"),
    head("an escaped name", [GOOD], BAD, query=b"%74oken=x"),
    head("an escaped underscore in a name", [GOOD], BAD, query=b"access%5Ftoken=x"),
    head("a name behind a semicolon", [GOOD], BAD, query=b"a=1;token=x"),
    head("a token of ours", [GOOD], BAD, query=b"x=cav1_abc"),
    head("a token of ours, escaped", [GOOD], BAD, query=b"x=%63av1_abc"),
    head("a token of ours as a name", [GOOD], BAD, query=b"cav1%5fabc"),
    head("a token of ours behind a plus", [GOOD], BAD, query=b"x=a+cav1_abc"),
    head("a token of ours beside broken escapes", [GOOD], BAD, query=b"%zz=%ff&x=%63av1_abc%"),
    head("a token in the path", [GOOD], BAD, path=b"/cav1_abc"),
    head("a token in the path, escaped", [GOOD], BAD, path=b"/%63%61v1_abc"),
    head("a token in the referer", [GOOD, referer(b"https://a.example/?t=cav1_abc")], BAD),
    head("a token in the referer, escaped", [GOOD, referer(b"https://a.example/%63av1_abc")], BAD),
    head("a token in a second referer", [referer(b"https://a.example/"), referer(b"/cav1_abc"), GOOD], BAD),
    head("NUL in the path", [GOOD], BAD, path=b"/a%00b"),
    # nobody's business
    head("a longer name", [GOOD], GRANTED, query=b"mytoken=1&page_token=2&token_type=3&tokens=4&passwords=5"),
    head("a value", [GOOD], GRANTED, query=b"x=token&y=password=1"),
    head("a name in another case", [GOOD], GRANTED, query=b"Token=1&PASSWORD=2"),
    head("a name with a plus", [GOOD], GRANTED, query=b"to+ken=1"),
    head("an escaped equals sign", [GOOD], GRANTED, query=b"token%3D1"),
    head("an escaped ampersand", [GOOD], GRANTED, query=b"x=1%26token=1"),
    head("a name escaped twice", [GOOD], GRANTED, query=b"%2574oken=1"),
    head("a token escaped twice", [GOOD], GRANTED, query=b"x=%2563av1_abc"),
    head("a token in another case", [GOOD], GRANTED, query=b"x=CAV1_abc"),
    head("broken escapes", [GOOD], GRANTED, query=b"%&%z=%zz&x=%ff%fe&&;=;"),
    head("broken escapes in the path", [GOOD], GRANTED, path=b"/%ff%fe%"),
    head("escaped twice in the path", [GOOD], GRANTED, path=b"/%2563av1_abc%2500"),
    head("names in the referer", [GOOD, referer(b"https://a.example/?token=1&password=2")], GRANTED),
    # whose address
    head("a stranger's own word", [GOOD, forwarded(b"10.1.2.3")], REFUSED, caveats=IN_TEN),
    head("a proxy's word", [GOOD, forwarded(b"10.1.2.3")], GRANTED, peer="proxy", caveats=IN_TEN),
    head("a socket's word", [GOOD, forwarded(b"10.1.2.3")], GRANTED, peer="socket", caveats=IN_TEN),
    head("a socket's silence", [GOOD], REFUSED, peer="socket", caveats=("client-ip = 0.0.0.0/0 ::/0",)),
    head("mapped IPv4", [GOOD, forwarded(b"::ffff:10.1.2.3")], GRANTED, peer="proxy", caveats=IN_TEN),
    head("the last hop", [GOOD, forwarded(b"6.6.6.6, 10.1.2.3")], GRANTED, peer="proxy", caveats=IN_TEN),
    head("the last line", [GOOD, forwarded(b"6.6.6.6"), forwarded(b"10.1.2.3")], GRANTED, peer="proxy", caveats=IN_TEN),
    head("forged before the last hop", [GOOD, forwarded(b"10.1.2.3, 6.6.6.6")], REFUSED, peer="proxy", caveats=IN_TEN),
    head("a forged line", [GOOD, forwarded(b"10.1.2.3"), forwarded(b"6.6.6.6")], REFUSED, peer="proxy", caveats=IN_TEN),
    head("past two proxies", [GOOD, forwarded(b"10.1.2.3, 127.0.0.2")], GRANTED, peer="proxy", caveats=IN_TEN),
    head("an odd hop", [GOOD, forwarded(b"unknown")], REFUSED, peer="proxy", caveats=("client-ip = 127.0.0.0/8",)),
    head("an empty hop", [GOOD, forwarded(b"10.1.2.3,")], REFUSED, peer="proxy", caveats=IN_TEN),
    head("an empty last line", [GOOD, forwarded(b"10.1.2.3"), forwarded(b"")], REFUSED, peer="proxy", caveats=IN_TEN),
    head("a port", [GOOD, forwarded(b"10.1.2.3:80")], GRANTED, peer="proxy", caveats=IN_TEN),
    head("a port that is none", [GOOD, forwarded(b"10.1.2.3:http")], REFUSED, peer="proxy", caveats=IN_TEN),
    head("brackets and a port", [GOOD, forwarded(b"[2001:db8::1]:443")], GRANTED, peer="proxy", caveats=("client-ip = 2001:db8::/32",)),
    head("a zone", [GOOD, forwarded(b"fe80::1%eth0")], REFUSED, peer="proxy", caveats=("client-ip = fe80::/10",)),
    head("a leading zero", [GOOD, forwarded(b"010.1.2.3")], REFUSED, peer="proxy", caveats=IN_TEN),
    head("a no-break space", [GOOD, forwarded(b"10.1.2.3\xa0")], REFUSED, peer="proxy", caveats=IN_TEN),
    head("a proxy's word in Forwarded", [GOOD, (b"Forwarded", b'for="10.1.2.3:80";proto=https')], GRANTED, peer="proxy", caveats=IN_TEN),
    head("a stranger's word in Forwarded", [GOOD, (b"Forwarded", b"for=10.1.2.3")], REFUSED, peer="stranger", caveats=IN_TEN),
    head("Forwarded against X-Forwarded-For", [GOOD, forwarded(b"6.6.6.6"), (b"Forwarded", b"for=10.1.2.3")], REFUSED, peer="proxy", caveats=IN_TEN),
    head("a word in Forwarded that is no address", [GOOD, (b"Forwarded", b"for=_hidden")], REFUSED, peer="proxy", caveats=("client-ip = 127.0.0.0/8",)),
    head("other headers", [GOOD, (b"X-Real-IP", b"10.1.2.3")], REFUSED, peer="proxy", caveats=IN_TEN),
    # whose host
    head("to this host", [GOOD], GRANTED, caveats=("host = app.example photos.example",)),
    head("to another host", [GOOD], REFUSED, caveats=FOR_PHOTOS),
    head("to hosts with nothing in common", [GOOD], REFUSED, caveats=(*FOR_APP, *FOR_PHOTOS)),
    head("a stranger's word for the host", [GOOD, PHOTOS_HOST], REFUSED, caveats=FOR_PHOTOS),
    head("the host, whatever a stranger says", [GOOD, PHOTOS_HOST], GRANTED, caveats=FOR_APP),
    head("a proxy's word for the host", [GOOD, PHOTOS_HOST], GRANTED, peer="proxy", caveats=FOR_PHOTOS),
    head("a socket's word for the host", [GOOD, PHOTOS_HOST], GRANTED, peer="socket", caveats=FOR_PHOTOS),
    head("the proxy's own host", [GOOD, PHOTOS_HOST], REFUSED, peer="proxy", caveats=FOR_APP),
    head("a proxy that names no host", [GOOD], GRANTED, peer="proxy", caveats=FOR_APP),
    head("a proxy that names an empty host", [GOOD, (b"X-Forwarded-Host", b"")], REFUSED, peer="proxy", caveats=FOR_APP),
    head("a proxy that names two hosts", [GOOD, PHOTOS_HOST, PHOTOS_HOST], REFUSED, peer="proxy", caveats=FOR_PHOTOS),
    head("a proxy that lists hosts", [GOOD, (b"X-Forwarded-Host", b"a.example, photos.example")], REFUSED, peer="proxy", caveats=FOR_PHOTOS),
    head("another header for the host", [GOOD, (b"X-Original-Host", b"photos.example")], REFUSED, peer="proxy", caveats=FOR_PHOTOS),
]  # fmt: skip
