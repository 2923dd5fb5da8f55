"""The transport: one set-up for every connection, and answers that are read within bounds of bytes and seconds."""

from __future__ import annotations

import gzip
from typing import Any

import httpx2 as httpx
import pytest

from caveats_client import Unavailable
from caveats_client.transport import (
    BodyLimit,
    TooSlow,
    UnreadableBody,
    connection_errors,
    options,
    read_reply,
    shown,
    tls,
)

HERE = httpx.URL("http://127.0.0.1:8080/auth")
THERE = httpx.URL("https://auth.example/auth?secret=1")


def response(content: bytes = b"", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(200, headers=named, stream=httpx.ByteStream(content))


def test_every_client_is_set_up_alike_and_only_this_machine_is_reached_without_a_proxy() -> None:
    given = options(HERE, THERE)
    assert given["verify"] is options()["verify"] is tls()
    assert given["follow_redirects"] is False
    assert given["headers"]["Accept-Encoding"] == "identity"
    assert given["mounts"] == {"http://127.0.0.1:8080": None}
    assert options(THERE)["mounts"] == {}
    with httpx.Client(**given) as client:
        answer = httpx.Response(200, headers={"set-cookie": "a=b"}, request=httpx.Request("GET", HERE))
        client.cookies.extract_cookies(answer)
        assert not client.cookies


def test_what_is_shown_of_an_address_holds_no_secret() -> None:
    assert shown(THERE) == "https://auth.example"
    assert shown(HERE) == "http://127.0.0.1:8080"


def test_a_body_is_read_up_to_its_limit() -> None:
    assert read_reply(response(b"x" * 10, retry_after="7"), largest=10).body == b"x" * 10
    assert read_reply(response(retry_after="7"), largest=0).retry_after == "7"
    with pytest.raises(UnreadableBody, match="more than 9 bytes"):
        read_reply(response(b"x" * 10), largest=9)


def test_a_body_that_is_not_there_at_its_deadline_is_too_slow() -> None:
    now = [100.0]
    limit = BodyLimit(response(), largest=10, deadline=105, clock=lambda: now[0])
    limit.count(b"x")
    now[0] = 105.1
    with pytest.raises(TooSlow):
        limit.count(b"x")


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "deflate", "gzip, gzip"])
def test_a_packed_body_is_refused_before_it_is_read(encoding: str) -> None:
    with pytest.raises(UnreadableBody, match="encoding nobody asked for"):
        BodyLimit(response(content_encoding=encoding), largest=10)


def test_where_gzip_is_allowed_what_it_unpacks_to_is_counted() -> None:
    packed = gzip.compress(b"x" * 1000)
    BodyLimit(response(content_encoding="gzip"), largest=1000, gzip=True).count(packed)
    with pytest.raises(UnreadableBody, match="more than 999 bytes"):
        BodyLimit(response(content_encoding="gzip"), largest=999, gzip=True).count(packed)
    with pytest.raises(UnreadableBody, match="cannot be unpacked"):
        BodyLimit(response(content_encoding="gzip"), largest=999, gzip=True).count(b"not packed")
    with pytest.raises(UnreadableBody, match="encoding"):
        BodyLimit(response(content_encoding="br"), largest=999, gzip=True)


@pytest.mark.parametrize(
    ("raised", "is_late", "words"),
    [
        (TimeoutError(), False, "did not answer in time"),
        (httpx.ConnectTimeout("x"), False, "did not answer in time"),
        (httpx.ReadError("gone"), False, "cannot reach https://auth.example: gone"),
        (httpx.ReadError("gone"), True, "did not answer in time"),
        (httpx.RemoteProtocolError("odd"), False, "does not speak HTTP"),
        (httpx.ConnectError(""), False, "ConnectError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_goes_wrong_on_the_way_is_unavailable(raised: Any, is_late: bool, words: str) -> None:
    with (
        pytest.raises(Unavailable, match=words),
        connection_errors(THERE, within="in time", is_late=lambda: is_late),
    ):
        raise raised
