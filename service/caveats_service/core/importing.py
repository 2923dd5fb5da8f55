"""Accounts as other software hands them over: CSV with a first line of names, or an object of JSON a line.

Knows text and what an account may be called; knows no store, and hashes nothing. All that is wrong is told at once, each with
the number of its line. No message repeats a cell: what stands in the wrong column may be a password.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from caveats import MalformedCaveat, Scope
from caveats_service.core.errors import BadName, BadPassword, InvalidRequest
from caveats_service.core.foreign_hashes import UnusableHash
from caveats_service.core.passwords import SHORTEST, imported_hash, new_password
from caveats_service.core.usernames import check_new_username

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MOST_BYTES = 64 * 1024 * 1024
MOST_ACCOUNTS = 100_000
_COLUMNS = ("username", "password", "password_hash", "admin", "scope", "disabled", "must_change")
_ALIASES = {"is_admin": "admin", "scopes": "scope", "must_change_password": "must_change"}
_NAMED = "username, password or password_hash, and admin, scope, disabled, must_change where they are wanted"
_WORDS = {"": False, "false": False, "no": False, "0": False, "true": True, "yes": True, "1": True}


@dataclass(frozen=True, slots=True)
class ImportedAccount:
    """An account that is to be added. One of `password` and `password_hash`, as it is stored, is None."""

    line: int
    username: str
    password: str | None = field(repr=False)
    password_hash: str | None = field(repr=False)
    is_admin: bool = False
    scope: str = "*"
    is_disabled: bool = False
    must_change_password: bool = False


@dataclass(frozen=True, slots=True)
class LineError:
    """What is wrong with a line. It repeats nothing of it."""

    line: int
    message: str

    def __str__(self) -> str:
        """For people."""
        return f"line {self.line}: {self.message}"


class ImportRefused(InvalidRequest):
    """Nothing was imported. `errors`: what is wrong, in the order of the lines."""

    def __init__(self, errors: Iterable[LineError]) -> None:
        self.errors = tuple(sorted(errors, key=lambda error: error.line))
        count = len(self.errors)
        super().__init__(f"nothing was imported: {count} {'error' if count == 1 else 'errors'}")


def read_accounts(raw: bytes, *, min_length: int = SHORTEST) -> tuple[ImportedAccount, ...]:
    """The accounts in a file, UTF-8 with or without a byte order mark. JSON lines if it begins with `{`, else CSV.

    `min_length`: of a password. Raises `ImportRefused`.
    """
    rows = _json_rows if raw.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" else _csv_rows
    errors: list[LineError] = []
    found: list[ImportedAccount] = []
    lines: dict[str, int] = {}
    for line, cells in rows(_text(raw)):
        try:
            account = _account(line, _strict(cells), min_length)
            if account.username in lines:
                raise _Wrong(f"the same name as in line {lines[account.username]}")  # one row, one error
        except _Wrong as error:
            errors.append(LineError(line, str(error)))
        else:
            lines[account.username] = line
            found.append(account)
        if len(found) > MOST_ACCOUNTS:
            raise ImportRefused([LineError(line, f"at most {MOST_ACCOUNTS} accounts are imported at once")])
    if errors:
        raise ImportRefused(errors)
    return tuple(found)


class _Wrong(ValueError):
    """A row that is none. The message repeats nothing of it."""


def _text(raw: bytes) -> str:
    if len(raw) > MOST_BYTES:
        raise ImportRefused([LineError(1, f"the file is larger than {MOST_BYTES // 2**20} MiB")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ImportRefused([LineError(line, "this is not UTF-8")]) from None


_Row = tuple[int, "Mapping[str, Any] | _Wrong"]


def _strict(cells: Mapping[str, Any] | _Wrong) -> Mapping[str, Any]:
    if isinstance(cells, _Wrong):
        raise cells
    return cells


def _csv_rows(text: str) -> Iterator[_Row]:
    """The rows and the numbers of the lines where they begin. What cannot be read ends the reading."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            if columns is None:
                raise ImportRefused([LineError(1, f"the first line names the columns: {_NAMED}")]) from None
            return
        except csv.Error:
            raise ImportRefused(
                [LineError(line, "this is not CSV: a quote is not closed, or a cell too long")]
            ) from None
        if columns is None:
            columns = _columns(cells, line)
        elif len(cells) > len(columns):
            yield line, _Wrong(f"{len(cells)} cells, and the first line names {len(columns)} columns")
        elif any(cells):
            padded = [*cells, *[""] * (len(columns) - len(cells))]
            yield line, {name: cell for name, cell in zip(columns, padded, strict=True) if cell}


def _columns(cells: list[str], line: int) -> list[str]:
    names = [_ALIASES.get(cell.strip().lower(), cell.strip().lower()) for cell in cells]
    for number, name in enumerate(names, 1):
        if name not in _COLUMNS:
            wrong = f"the first line names the columns: {_NAMED}. Column {number} is none of these"
            raise ImportRefused([LineError(line, wrong)])
    if len(set(names)) != len(names):
        raise ImportRefused([LineError(line, "a column is named twice")])
    if "username" not in names or not {"password", "password_hash"} & set(names):
        raise ImportRefused([LineError(line, f"a column is missing: {_NAMED}")])
    return names


def _json_rows(text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            members = json.loads(line, object_pairs_hook=_unique)
        except (ValueError, RecursionError):
            yield number, _Wrong("this is no object of JSON on one line, with each member once")
            continue
        yield number, members if isinstance(members, dict) else _Wrong("this is no object of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = {_ALIASES.get(name, name): value for name, value in pairs}
    if len(members) != len(pairs):
        raise ValueError("a member appears twice")
    return members


def _account(line: int, cells: Mapping[str, Any], min_length: int) -> ImportedAccount:
    """The account in a row; in CSV all cells are text, and an empty one is as none. Raises `_Wrong`."""
    if not cells.keys() <= set(_COLUMNS):
        raise _Wrong(f"a member is none of these: {_NAMED}")
    password, password_hash = (_optional_text(cells, name) for name in ("password", "password_hash"))
    if (password is None) == (password_hash is None):
        raise _Wrong("an account has a password or a password_hash, and not both")
    try:
        username = check_new_username(_optional_text(cells, "username") or "")
        if password is not None:
            new_password(password, min_length=min_length)
        if password_hash is not None:
            password_hash = imported_hash(password_hash)
    except BadName as error:
        raise _Wrong(f"username: {error}") from None
    except BadPassword as error:
        raise _Wrong(f"password: {error}") from None
    except UnusableHash as error:
        raise _Wrong(f"password_hash: {error}") from None
    flags = {name: _flag(cells, name) for name in ("admin", "disabled", "must_change")}
    return ImportedAccount(
        line,
        username,
        password,
        password_hash,
        flags["admin"],
        _scope(cells.get("scope")),
        flags["disabled"],
        flags["must_change"],
    )


def _optional_text(cells: Mapping[str, Any], name: str) -> str | None:
    value = cells.get(name)
    if value is not None and not isinstance(value, str):
        raise _Wrong(f"{name}: this is not text")
    return value


def _flag(cells: Mapping[str, Any], name: str) -> bool:
    value = cells.get(name, False)
    if isinstance(value, str):
        value = _WORDS.get(value.strip().lower())
    if not isinstance(value, bool):
        raise _Wrong(f"{name}: true or false (or yes, no, 1, 0)")
    return value


def _scope(value: object) -> str:
    if value is None:
        return "*"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = " ".join(value)
    try:
        if not isinstance(value, str):
            raise _Wrong("scope: this is not text")
        return Scope(value).value
    except MalformedCaveat:
        raise _Wrong("scope: not patterns such as photos:read, with one space between") from None
