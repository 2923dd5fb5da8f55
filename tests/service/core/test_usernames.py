"""Names of accounts: one spelling each, and a mail address is a name."""

from __future__ import annotations

import pytest

from caveats_service.core.errors import BadName
from caveats_service.core.usernames import check_group, check_username, fold_username, is_username

LOCAL = "a!#$%&'*+/=?^_`{|}~-z"


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("alice", "alice"),
        ("ALICE", "alice"),
        ("NewUser@Example.com", "newuser@example.com"),
        ("O'Brien@example.com", "o'brien@example.com"),
        ("_alice@example.com", "_alice@example.com"),
        (f"{LOCAL}@example.com", f"{LOCAL}@example.com"),
        ("first.last+tag@sub.example-1.com", "first.last+tag@sub.example-1.com"),
        ("a@localhost", "a@localhost"),
        ("a" * 52 + "@example.com", "a" * 52 + "@example.com"),
        ("a..b", "a..b"),  # no mail address, and a name since the first version
        ("a@b@c", "a@b@c"),
    ],
)
def test_a_name_has_one_spelling_in_lower_case(typed: str, name: str) -> None:
    assert check_username(typed) == name
    assert is_username(name)
    assert is_username(typed) is (typed == name)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "-alice",
        "@",
        "o'brien",
        "'@",
        "@example.com",
        ".a'@example.com",
        "a'.@example.com",
        "a'..b@example.com",
        "a'b@example..com",
        "a'b@-_example.com",
        '"a b"@example.com',
        "a b@example.com",
        "a'b@[192.0.2.1]",
        "a'b@example.com\n",
        "a'b@example.com\0",
        "a,b@example.com",
        "a'(b)@example.com",
        "<a'b@example.com>",
        "m\u00fcller@example.com",
        "al\u212aice",  # the Kelvin sign, which is k in lower case
        "a" * 53 + "@example.com",
        "*",
        "a'/../b@example.com",
    ],
)
def test_what_is_no_name_is_refused(typed: str) -> None:
    with pytest.raises(BadName):
        check_username(typed)
    assert not is_username(typed)


def test_text_beyond_ascii_is_not_folded_into_a_name() -> None:
    assert fold_username("al\u212aice") == "al\u212aice"
    assert fold_username("ADM\u0130N") == "ADM\u0130N"


def test_a_group_is_named_as_before() -> None:
    assert check_group("editors@example.com") == "editors@example.com"
    for name in ("Editors", "o'brien@example.com"):
        with pytest.raises(BadName):
            check_group(name)
