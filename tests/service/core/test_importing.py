"""Accounts out of a file: every line is judged, every error has its line's number, and no message repeats a cell."""

from __future__ import annotations

import json

import pytest

from caveats_service.core.importing import ImportedAccount, ImportRefused, read_accounts

HASH = "$2b$04$" + "abcdefghijklmnopqrstu" + "u" + "a" * 30 + "u"
HEAD = "username,password\n"


def errors(text: str | bytes) -> list[tuple[int, str]]:
    with pytest.raises(ImportRefused) as refusal:
        read_accounts(text if isinstance(text, bytes) else text.encode())
    return [(error.line, error.message) for error in refusal.value.errors]


def test_csv_and_json_lines_say_the_same() -> None:
    table = (
        "username,password,password_hash,admin,scope,disabled,must_change\r\n"
        "Ann,password1,,true,,,yes\r\n"
        "\r\n"
        f"bea,,{HASH},no,photos:read albums:*,1,\r\n"
    )
    lines = [
        {"username": "Ann", "password": "password1", "admin": True, "must_change": True},
        {"username": "bea", "password_hash": HASH, "scope": "photos:read albums:*", "disabled": True},
    ]
    expected = (
        ImportedAccount(2, "ann", "password1", None, is_admin=True, must_change_password=True),
        ImportedAccount(4, "bea", None, f"imported:{HASH}", scope="photos:read albums:*", is_disabled=True),
    )
    assert read_accounts(table.encode()) == expected
    assert read_accounts(b"\xef\xbb\xbf" + table.encode()) == expected
    of_json = read_accounts("\n\n".join(["", *map(json.dumps, lines)]).encode())
    assert [one.line for one in of_json] == [3, 5]
    assert [(one.username, one.scope, one.is_disabled) for one in of_json] == [
        (one.username, one.scope, one.is_disabled) for one in expected
    ]


def test_what_the_service_lists_can_be_handed_over() -> None:
    """The members have other names in `users list --json`, and scopes may be a list."""
    line = {"username": "ann", "password": "password1", "is_admin": True, "scopes": ["a:b", "c:d"]}
    (account,) = read_accounts(json.dumps(line).encode())
    assert (account.is_admin, account.scope) == (True, "a:b c:d")


def test_a_password_may_hold_what_csv_quotes() -> None:
    (account,) = read_accounts(b'username,password\nann,"pass,""word""\n1"\n')
    assert account.password == 'pass,"word"\n1'


def test_no_accounts_are_none() -> None:
    assert read_accounts(HEAD.encode()) == ()


WRONG = {
    "no first line": ("", 1, "names the columns"),
    "no names in the first line": ("hunter2000,hunter2001\n", 1, "Column 1"),
    "a column that is not known": ("username,password,shoe\n", 1, "Column 3"),
    "a column twice": ("username,password,PASSWORD\n", 1, "twice"),
    "no username": ("password\nhunter2000\n", 1, "missing"),
    "neither password nor hash": ("username,admin\nann,true\n", 1, "missing"),
    "no password": (HEAD + "ann,\n", 2, "a password or a password_hash"),
    "both": (f"username,password,password_hash\nann,hunter2000,{HASH}\n", 2, "not both"),
    "a bad name": (HEAD + "hunter 2000,password1\n", 2, "username: "),
    "a name of the audit's own": (HEAD + "operator,password1\n", 2, "username: "),
    "a short password": (HEAD + "ann,hunter2\n", 2, "password: "),
    "a hash that is none": ("username,password_hash\nann,hunter2000\n", 2, "password_hash: "),
    "a hash that takes minutes": (
        f"username,password_hash\nann,{HASH.replace('$04$', '$31$')}\n",
        2,
        "too long",
    ),
    "a flag that is none": ("username,password,admin\nann,password1,hunter2000\n", 2, "true or false"),
    "a scope that is none": ("username,password,scope\nann,password1,hunter2000\n", 2, "scope: "),
    "a cell too many": (HEAD + "ann,password1,hunter2000\n", 2, "3 cells"),
    "an open quote": (HEAD + 'ann,"hunter2000\n', 2, "not CSV"),
    "not UTF-8": (HEAD.encode() + b"ann,password1\nbea,hunter2000\xff\n", 3, "UTF-8"),
    "NUL": (HEAD + "ann,hunter\0002000\n", 2, ""),
    "not JSON": ('{"username": "ann"\n', 1, "JSON"),
    "a list in between": ('{"username": "ann", "password": "password1"}\n["hunter2000"]\n', 2, "JSON"),
    "a member twice": ('{"username": "ann", "password": "hunter2000", "password": "x"}', 1, "JSON"),
    "a member that is not known": (
        '{"username": "ann", "password": "password1", "hunter2000": 1}',
        1,
        "none of these",
    ),
    "a number": ('{"username": 1, "password": "password1"}', 1, "not text"),
    "a flag of JSON": ('{"username": "ann", "password": "password1", "admin": 1}', 1, "true or false"),
    "deeply nested": ('{"a":' * 100_000, 1, "JSON"),
}


@pytest.mark.parametrize(("text", "line", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_with_its_line_and_not_repeated(
    text: str | bytes, line: int, words: str
) -> None:
    ((at, message),) = errors(text)
    assert at == line
    assert words in message
    assert "hunter" not in message


def test_all_errors_are_told_at_once_in_their_order() -> None:
    text = HEAD + "ann,password1\nANN,password1\nbea,short\ncy,password1\nd e,password1\n"
    assert [line for line, _ in errors(text)] == [3, 4, 6]
    assert errors(text)[0][1] == "the same name as in line 2"


def test_an_account_shows_neither_password_nor_hash() -> None:
    for account in read_accounts(f"username,password,password_hash\nann,password1,\nbea,,{HASH}\n".encode()):
        assert "password1" not in repr(account)
        assert HASH not in repr(account)
