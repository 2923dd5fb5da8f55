"""By which address a request is counted: never by one that a stranger behind a trusted proxy has chosen."""

from __future__ import annotations

from collections.abc import Callable

import httpx2 as httpx
import pytest

from tests.support.service import Service, problem

PROXYS = "203.0.113.7"
"""The client, as the proxy has it."""


@pytest.fixture
def behind(start: Callable[..., Service]) -> Service:
    """A service whose tests are its proxy."""
    return start(trusted_proxies="127.0.0.1", login_limit_address="3/minute")


def wrong_password(http: httpx.Client, *headers: tuple[str, str]) -> tuple[int, str]:
    body = {"username": "admin", "password": "not the password"}
    return problem(http.post("/v1/tokens", json=body, headers=list(headers)))


@pytest.mark.parametrize(
    "own",
    [
        pytest.param(lambda n: ("Forwarded", f"for=198.51.100.{n}"), id="contradicts the proxy's"),
        pytest.param(lambda n: ("Forwarded", f"for=_hidden{n}"), id="a name in place of an address"),
        pytest.param(lambda n: ("Forwarded", f"for=198.51.100.{n}, for"), id="malformed"),
        pytest.param(lambda n: ("Forwarded", f'for="[2001:db8::{n}]:80"'), id="of another family"),
        pytest.param(lambda n: ("Forwarded", f"for={PROXYS};for=198.51.100.{n}"), id="two in one hop"),
    ],
)
def test_a_stranger_behind_a_trusted_proxy_does_not_choose_how_they_are_counted(
    behind: Service, own: Callable[[int], tuple[str, str]]
) -> None:
    """A header of their own, another one each time: they have the rate of one address, which is the proxy's."""
    with behind.client() as http:
        answers = [wrong_password(http, ("X-Forwarded-For", PROXYS), own(n)) for n in range(1, 7)]
        assert answers == [(401, "invalid_credentials")] * 3 + [(429, "rate_limited")] * 3
        assert wrong_password(http, ("X-Forwarded-For", PROXYS)) == (401, "invalid_credentials")


def test_hops_that_a_stranger_writes_before_the_proxys_do_not_count(behind: Service) -> None:
    with behind.client() as http:
        hops = [f"198.51.100.{n}, 127.0.0.1, {PROXYS}" for n in range(4)]
        answers = [wrong_password(http, ("X-Forwarded-For", one))[0] for one in hops]
    assert answers == [401, 401, 401, 429]
