"""Who the client is behind proxies, which host it asked, and the facts of its request."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from caveats import Context, Failure, UnsatisfiedCaveats
from caveats.http import IncomingRequest, TrustedProxies, UnknownProxies, context_of, origins_of

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


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
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"10.0.0.1:80"], "10.0.0.1", id="a port"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"[2001:db8::1]"], "2001:db8::1", id="brackets"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"[2001:db8::1]:443"], "2001:db8::1", id="brackets and a port"),
        pytest.param(("127.0.0.1", "10.0.0.0/8"), "127.0.0.1", [b"192.0.2.7:51422, 10.0.0.1:9"], "192.0.2.7", id="a port at every hop"),
        pytest.param(("127.0.0.1", "2001:db8::/64"), "127.0.0.1", [b"192.0.2.7, [2001:db8::2]:9"], "192.0.2.7", id="a proxy in brackets"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"2001:db8::1:443"], "2001:db8::1:443", id="no port without brackets"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"[10.0.0.1]:80"], None, id="brackets around IPv4"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"[fe80::1%eth0]:80"], None, id="a zone in brackets"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"10.0.0.1:"], None, id="a colon and no port"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"10.0.0.1:65535"], "10.0.0.1", id="the highest port"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"10.0.0.1:65536"], None, id="no port"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"10.0.0.1:http"], None, id="a port in words"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"[2001:db8::1"], None, id="half of the brackets"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b'"10.0.0.1"'], None, id="quotes, which are Forwarded's"),
        pytest.param(("127.0.0.1",), "127.0.0.1", [b"photos.example:80"], None, id="a name and a port"),
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


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        pytest.param(["for=192.0.2.43"], "192.0.2.43", id="an address"),
        pytest.param(
            ["For=192.0.2.43;proto=https;by=10.0.0.1;host=photos.example"], "192.0.2.43", id="with more"
        ),
        pytest.param(['proto=https; for="192.0.2.43:4711" ; by=_a'], "192.0.2.43", id="a port, in quotes"),
        pytest.param(['for="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17", id="IPv6"),
        pytest.param(['for="[2001:db8:cafe::17]"'], "2001:db8:cafe::17", id="IPv6 without a port"),
        pytest.param(["for=6.6.6.6, for=192.0.2.43"], "192.0.2.43", id="the last hop counts"),
        pytest.param(["for=192.0.2.43, for=127.0.0.1"], "192.0.2.43", id="through two proxies"),
        pytest.param(["for=6.6.6.6", "for=192.0.2.43"], "192.0.2.43", id="two lines"),
        pytest.param([r'for="192.0.2\.43"'], "192.0.2.43", id="a quoted pair"),
        pytest.param(["for=unknown"], None, id="unknown"),
        pytest.param(['for=""'], None, id="an empty one"),
        pytest.param(["for=_hidden"], None, id="a hidden one"),
        pytest.param(["proto=https"], None, id="no for"),
        pytest.param(["for=192.0.2.43;for=6.6.6.6"], None, id="two in one hop"),
        pytest.param(["for=192.0.2.43,"], None, id="an empty hop"),
        pytest.param([""], None, id="an empty line"),
        pytest.param(["for=192.0.2.43:80"], None, id="a port without quotes"),
        pytest.param(["for=[2001:db8::1]"], None, id="brackets without quotes"),
        pytest.param(["for =192.0.2.43"], None, id="a blank in the pair"),
        pytest.param(['for=6.6.6.6;x=", for=192.0.2.43'], None, id="an open quote before the proxy's hop"),
        pytest.param(['for=6.6.6.6;x="', 'for="192.0.2.43"'], None, id="an open quote on a line of its own"),
        pytest.param(['x="\\', "for=192.0.2.43"], None, id="an open backslash"),
    ],
)
def test_forwarded_of_a_trusted_proxy_says_who_the_client_is(headers: list[str], address: str | None) -> None:
    """RFC 7239. From anybody else it is not read."""
    lines = [(b"forwarded", line.encode()) for line in headers]
    trusted = TrustedProxies(("127.0.0.1",))
    assert trusted.client_address(IncomingRequest("GET", "/", b"", lines, "127.0.0.1")) == address
    assert trusted.client_address(IncomingRequest("GET", "/", b"", lines, "127.0.0.9")) == "127.0.0.9"


@pytest.mark.parametrize(
    ("listed", "forwarded", "address"),
    [
        pytest.param("192.0.2.7", "for=192.0.2.7", "192.0.2.7", id="the same"),
        pytest.param("192.0.2.7:1", 'for="192.0.2.7:2"', "192.0.2.7", id="the same but for the ports"),
        pytest.param("192.0.2.7", "for=6.6.6.6", None, id="another"),
        pytest.param("192.0.2.7", "for=_hidden", None, id="Forwarded says nothing"),
        pytest.param("unknown", "for=6.6.6.6", None, id="X-Forwarded-For says nothing"),
        pytest.param("unknown", "for=unknown", None, id="both say nothing"),
    ],
)
def test_two_headers_that_contradict_each_other_name_nobody(
    listed: str, forwarded: str, address: str | None
) -> None:
    """A proxy that writes one of them passes the client's own other one on."""
    headers = [(b"x-forwarded-for", listed.encode()), (b"forwarded", forwarded.encode())]
    request = IncomingRequest("GET", "/", b"", headers, "127.0.0.1")
    assert TrustedProxies(("127.0.0.1",)).client_address(request) == address


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


# the page's own origin


@pytest.mark.parametrize(
    ("host", "origins"),
    [
        pytest.param(None, set(), id="no host"),
        pytest.param("A.example", {"http://a.example", "https://a.example"}, id="no port"),
        pytest.param(
            "a.example:443",
            {"http://a.example:443", "https://a.example:443", "https://a.example"},
            id="a port that https implies",
        ),
        pytest.param(
            "a.example:80",
            {"http://a.example:80", "https://a.example:80", "http://a.example"},
            id="a port that http implies",
        ),
        pytest.param(
            "a.example:8080", {"http://a.example:8080", "https://a.example:8080"}, id="another port"
        ),
    ],
)
def test_the_origins_that_a_host_may_be(host: str | None, origins: set[str]) -> None:
    assert origins_of(host) == origins


# A proxy that nobody has named


def forwarded(peer: str | None, *names: str) -> IncomingRequest:
    return IncomingRequest("GET", "/", b"", [(name.encode(), b"192.0.2.7") for name in names], peer)


@pytest.mark.parametrize(
    ("peer", "names", "known"),
    [
        ("10.0.0.5", ["x-forwarded-for"], False),
        ("10.0.0.5", ["x-forwarded-method", "x-forwarded-uri"], False),
        ("10.0.0.5", ["forwarded"], False),
        (None, ["x-forwarded-host"], False),
        ("10.0.0.5", ["x-original-uri", "host"], True),
        ("10.0.0.5", [], True),
        ("10.1.0.5", ["x-forwarded-for"], True),
    ],
)
def test_a_peer_that_forwards_and_is_not_trusted_is_an_unknown_proxy(
    peer: str | None, names: list[str], *, known: bool
) -> None:
    proxies = TrustedProxies(["10.1.0.0/16"])
    request = forwarded(peer, *names)
    assert (proxies.unknown_proxy(request) is None) is known
    hint = UnknownProxies(proxies, setting="TRUSTED").hint(request)
    assert hint == "" if known else ("TRUSTED" in hint and (peer or "unix") in hint)


def test_an_unknown_proxy_is_told_once_and_of_strangers_only_the_first() -> None:
    unknown = UnknownProxies(TrustedProxies(()), setting="TRUSTED")
    told = [unknown.to_tell(forwarded(f"192.0.2.{n % 200}", "x-forwarded-for")) for n in range(1000)]
    assert [one for one in told if one] == [f"192.0.2.{n}" for n in range(UnknownProxies.MOST)]


def test_a_proxy_that_is_not_trusted_is_named_in_a_log_once(caplog: pytest.LogCaptureFixture) -> None:
    unknown = UnknownProxies(TrustedProxies(()), setting="TRUSTED")
    log = logging.getLogger("app")
    for _ in range(3):
        unknown.tell(forwarded("192.0.2.7", "x-forwarded-for"), log)
    unknown.tell(forwarded("192.0.2.8"), log)
    (told,) = caplog.messages
    assert told.startswith("192.0.2.7 sends X-Forwarded-* and is not trusted")
    assert told.endswith("in TRUSTED")


def test_the_hint_is_in_the_refusals_that_it_explains_and_only_once() -> None:
    unknown = UnknownProxies(TrustedProxies(()), setting="TRUSTED")
    request = forwarded("10.0.0.5", "x-forwarded-for")
    refused = UnsatisfiedCaveats(
        [Failure(n, kind, kind, "holder", "why", "what") for n, kind in enumerate(("client-ip", "scope"))]
    )
    explained = unknown.explained(unknown.explained(refused, request), request)
    assert [("TRUSTED" in one.hint, one.reason) for one in explained.failures] == [
        (True, "why"),
        (False, "why"),
    ]
    assert explained.failures[0].hint.count("TRUSTED") == 1
    assert unknown.explained(refused, forwarded("10.0.0.5")) is refused
