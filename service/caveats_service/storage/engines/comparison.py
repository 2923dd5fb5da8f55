"""What a restore brings back and what it loses: a backup compared with the database that it is to replace.

Knows the tables of a SQLite database by name, of this version's schema or an older one. Both files are only read.
"""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MOST_NAMES = 10

_QUESTIONS = (
    (
        "retired since, and verifies again (retire it by force): master key",
        """
        SELECT b.key_id FROM main.master_keys b JOIN now.master_keys n USING (key_id) WHERE b.state <>
        'retired' AND n.state = 'retired' ORDER BY n.row_id
        """,
    ),
    (
        "not in the backup, and tokens under it are dead: master key",
        """
        SELECT n.key_id FROM now.master_keys n WHERE n.state <> 'retired' AND NOT EXISTS (SELECT 1 FROM
        main.master_keys b WHERE b.key_id = n.key_id AND b.state <> 'retired' AND b.sealed = n.sealed) ORDER
        BY n.row_id
        """,
    ),
    (
        "revoked since, and good again: token",
        """
        SELECT n.token_id FROM now.revocations n WHERE n.kind <> 'user' AND n.expires_at > :now AND NOT
        EXISTS (SELECT 1 FROM main.revocations b WHERE b.kind = n.kind AND b.token_id = n.token_id AND
        b.branch_id IS n.branch_id AND b.expires_at >= n.expires_at) ORDER BY n.sequence
        """,
    ),
    (
        "revoked since in all that was issued to them, which is good again: user",
        """
        SELECT DISTINCT n.username FROM now.revocations n WHERE n.kind = 'user' AND n.expires_at > :now AND
        NOT EXISTS (SELECT 1 FROM main.revocations b WHERE b.username = n.username AND b.issued_up_to >=
        n.issued_up_to) ORDER BY 1
        """,
    ),
    (
        "disabled since, and may sign in again: user",
        """
        SELECT username FROM main.users b JOIN now.users n USING (username) WHERE b.disabled_at IS NULL AND
        n.disabled_at IS NOT NULL ORDER BY 1
        """,
    ),
    (
        "deleted since, and there again with all they had: user",
        """
        SELECT username FROM main.users b JOIN now.deleted_users n USING (username) ORDER BY 1
        """,
    ),
    (
        "with the password of then, which was changed since: user",
        """
        SELECT username FROM main.users b JOIN now.users n USING (username) WHERE b.password_changed_at <
        n.password_changed_at ORDER BY 1
        """,
    ),
    (
        "administrator no more since, and again one: user",
        """
        SELECT username FROM main.users b JOIN now.users n USING (username) WHERE b.is_admin AND NOT
        n.is_admin ORDER BY 1
        """,
    ),
    (
        "added since, and gone: user",
        """
        SELECT username FROM now.users WHERE username NOT IN (SELECT username FROM main.users) ORDER BY 1
        """,
    ),
    (
        "removed since, and given keys again: verifier",
        """
        SELECT verifier_id FROM main.verifiers b JOIN now.verifiers n USING (verifier_id) WHERE b.revoked_at
        IS NULL AND n.revoked_at IS NOT NULL ORDER BY 1
        """,
    ),
    (
        "removed since, and signs in again: agent",
        """
        SELECT agent_id FROM main.agents WHERE agent_id NOT IN (SELECT agent_id FROM now.agents) ORDER BY 1
        """,
    ),
    (
        "removed since, and issues tokens again: client",
        """
        SELECT client_id FROM main.clients WHERE client_id NOT IN (SELECT client_id FROM now.clients) ORDER BY 1
        """,
    ),
    (
        "removed since, and again in it: member of the group",
        """
        SELECT username || ' in ' || group_name FROM main.group_members EXCEPT SELECT username || ' in ' ||
        group_name FROM now.group_members
        """,
    ),
)
"""What is said, and the query for the names; `main` is the backup, `now` the database that it replaces."""


def differences(backup: Path, replaced: Path, now: datetime) -> tuple[str, ...]:
    """What of the database that is replaced is not so in the backup, a sentence for each kind of thing."""
    found = []
    given = {"now": now.timestamp() * 1000}
    with contextlib.closing(_reading(backup)) as connection:
        connection.execute("ATTACH ? AS now", (_address(replaced),))
        for says, query in _QUESTIONS:
            try:
                (count,) = connection.execute(f"SELECT count(*) FROM ({query})", given).fetchone()  # noqa: S608  # from above
                some = connection.execute(f"{query} LIMIT {_MOST_NAMES}", given).fetchall()
            except sqlite3.DatabaseError as error:
                if "no such" not in str(error):  # an older schema does not have the table
                    found.append(f"not known, since the database before cannot be read: {says}")
                continue
            if some:
                more = f" and {count - len(some)} more" if count > len(some) else ""
                found.append(f"{says} {', '.join(str(name) for (name,) in some)}{more}")
    return tuple(found)


def last_change(database: Path) -> datetime | None:
    """When something was last changed in it; None if nothing ever was, or nobody can tell."""
    with contextlib.closing(_reading(database)) as connection, contextlib.suppress(sqlite3.OperationalError):
        (at,) = connection.execute("SELECT max(at) FROM audit").fetchone()
        return datetime.fromtimestamp(at / 1000, UTC) if isinstance(at, int) else None
    return None


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(_address(path), uri=True, isolation_level=None)


def _address(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"
