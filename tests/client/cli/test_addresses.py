"""Addresses as people type and paste them: what is harmless is taken off, what is assumed is said, the rest is an error."""

from __future__ import annotations

import pytest

from caveats_client.cli.addresses import read_address


@pytest.mark.parametrize(
    "typed",
    [
        "https://auth.example",
        "https://auth.example/",
        "https://auth.example///",
        "HTTPS://auth.example",
        " https://auth.example\n",
        "'https://auth.example'",
        '"https://auth.example"',
        "\"'https://auth.example/'\"",
        "<https://auth.example>",
        "\u201chttps://auth.example\u201d",
        "\ufeffhttps://auth.example",
    ],
)
def test_harmless_wrapping_is_taken_off_without_a_word(typed: str) -> None:
    read = read_address(typed)
    assert (read.url, read.notes) == ("https://auth.example", ())


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("127.8.9.1", "http://127.8.9.1"),
        ("localhost:8080/", "http://localhost:8080"),
        ("LOCALHOST", "http://LOCALHOST"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("::1", "http://[::1]"),
        ("'127.0.0.1:8080'", "http://127.0.0.1:8080"),
        ("auth.example", "https://auth.example"),
        ("auth.example:8443/auth", "https://auth.example:8443/auth"),
        ("//auth.example", "https://auth.example"),
        ("10.0.0.1:8080", "https://10.0.0.1:8080"),
        ("localhost.example", "https://localhost.example"),
        ("[2001:db8::1]", "https://[2001:db8::1]"),
    ],
)
def test_without_a_scheme_it_is_http_on_this_machine_and_https_elsewhere_and_that_is_said(
    typed: str, url: str
) -> None:
    read = read_address(typed)
    assert read.url == url
    (note,) = read.notes
    scheme, _, rest = url.partition("://")
    assert f"{scheme}://{rest.partition('/')[0]} is meant" in note


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("https://auth.example/v1/tokens", "https://auth.example"),
        ("https://auth.example/v1", "https://auth.example"),
        ("https://auth.example/v1/", "https://auth.example"),
        ("https://auth.example/auth/v1/tokens/", "https://auth.example/auth"),
        ("https://auth.example/healthz", "https://auth.example"),
        ("https://auth.example/discharge/info", "https://auth.example"),
        ("https://auth.example/?next=/v1", "https://auth.example"),
        ("https://auth.example/auth/#sign-in", "https://auth.example/auth"),
    ],
)
def test_the_path_of_an_endpoint_is_left_out_and_that_is_said(typed: str, url: str) -> None:
    read = read_address(typed)
    assert (read.url, read.notes) == (url, (f"the service's address is {url}: what followed is left out",))


@pytest.mark.parametrize("path", ["/auth", "/v1x", "/a/b", "/healthz/of/something"])
def test_the_path_that_a_service_is_below_is_kept(path: str) -> None:
    read = read_address(f"https://auth.example{path}")
    assert (read.url, read.notes) == (f"https://auth.example{path}", ())


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        '""',
        "http://",
        "http:/auth.example",
        "http:auth.example",
        "https:///v1",
        "ftp://auth.example",
        "http://auth.example:port",
        "http://auth.example:",
        "two words",
        "file:///etc/passwd",
        "?x=1",
        "#",
    ],
)
def test_what_is_no_address_is_an_error_that_says_what_is_expected(typed: str) -> None:
    with pytest.raises(ValueError, match="expected https://host"):
        read_address(typed)


@pytest.mark.parametrize(
    "typed",
    [
        "https://alice:hunter2@auth.example",
        "https://alice@auth.example",
        "alice:hunter2@127.0.0.1:8080",
        "https://alice:hun/hunter2@auth.example",
        "https://alice:hun?hunter2@auth.example",
        "'https://alice:hunter2@auth.example'",
    ],
)
def test_a_name_or_a_password_in_an_address_is_refused_and_not_repeated(typed: str) -> None:
    with pytest.raises(ValueError, match="leave them out") as refused:
        read_address(typed)
    assert "hunter2" not in str(refused.value)
