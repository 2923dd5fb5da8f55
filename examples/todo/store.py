"""The lists and the links in one SQLite file. Knows owners and rows; knows no token, and of nobody whether they are signed in.

Every function opens the file for itself, so any number of processes may share it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MOST_ITEMS, MOST_LINKS = 500, 100
"""Of one owner. A link counts until it has ended, also after it was revoked: so revocations are bounded as well."""
_TABLES = """
CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, text TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS links (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, until TEXT NOT NULL,
                                  token_id TEXT NOT NULL, branch TEXT NOT NULL, revoked INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS items_of ON items (owner);
CREATE INDEX IF NOT EXISTS links_of ON links (owner);
"""


class TooMany(Exception):
    """The owner has as many rows as may be."""


class Store:
    """Items and links. A `branch` names a copy of a token, and is no secret: it cannot be used to read anything."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_TABLES)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=10)) as db, db:
            db.row_factory = sqlite3.Row
            yield db

    def items(self, owner: str) -> list[dict[str, Any]]:
        """All of them, the oldest first."""
        with self._open() as db:
            rows = db.execute("SELECT id, text, done FROM items WHERE owner = ? ORDER BY id", (owner,))
            return [{**row, "done": bool(row["done"])} for row in map(dict, rows)]

    def add_item(self, owner: str, text: str) -> int:
        """Its id. Raises `TooMany`."""
        query = "INSERT INTO items (owner, text) SELECT ?, ? WHERE (SELECT count(*) FROM items WHERE owner = ?) < ?"
        return self._insert(query, (owner, text, owner, MOST_ITEMS))

    def tick(self, owner: str, number: int, *, done: bool) -> bool:
        """Whether the owner has such an item."""
        query = "UPDATE items SET done = ? WHERE id = ? AND owner = ?"
        return self._change(query, (done, number, owner))

    def delete_item(self, owner: str, number: int) -> bool:
        """Whether the owner had such an item."""
        return self._change("DELETE FROM items WHERE id = ? AND owner = ?", (number, owner))

    def links(self, owner: str, now: str) -> list[dict[str, Any]]:
        """Those that have not ended by `now`, the newest first. Times are as in tokens, so that their texts can be compared."""
        query = "SELECT * FROM links WHERE owner = ? AND until > ? ORDER BY id DESC"
        with self._open() as db:
            rows = db.execute(query, (owner, now))
            return [{**row, "revoked": bool(row["revoked"])} for row in map(dict, rows)]

    def add_link(self, owner: str, link: Mapping[str, str], now: str) -> int:
        """Its id. `link`: `name`, `until`, `token_id`, `branch`. What has ended is forgotten. Raises `TooMany`."""
        with self._open() as db:
            db.execute("DELETE FROM links WHERE owner = ? AND until <= ?", (owner, now))
        query = (
            "INSERT INTO links (owner, name, until, token_id, branch)"
            " SELECT ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM links WHERE owner = ?) < ?"
        )
        values = (link["name"], link["until"], link["token_id"], link["branch"])
        return self._insert(query, (owner, *values, owner, MOST_LINKS))

    def link(self, owner: str, number: int) -> dict[str, Any] | None:
        """One of the owner's links, with the ids that it is revoked by; None if there is no such link."""
        with self._open() as db:
            row = db.execute("SELECT * FROM links WHERE id = ? AND owner = ?", (number, owner)).fetchone()
        return None if row is None else dict(row)

    def mark_revoked(self, owner: str, number: int) -> None:
        """For the list; what refuses the link is the revocation itself."""
        self._change("UPDATE links SET revoked = 1 WHERE id = ? AND owner = ?", (number, owner))

    def _insert(self, query: str, values: tuple[object, ...]) -> int:
        with self._open() as db:
            cursor = db.execute(query, values)
        if not cursor.rowcount:
            raise TooMany("there are as many of these as there may be")
        return int(cursor.lastrowid or 0)

    def _change(self, query: str, values: tuple[object, ...]) -> bool:
        with self._open() as db:
            return db.execute(query, values).rowcount > 0
