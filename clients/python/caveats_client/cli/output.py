"""The output of commands: data to standard output, messages to standard error. Knows streams and JSON.

Nothing else writes, except `render`, which knows tables and colours. What a service, a third party, a token or a file said
is written with its control characters as escapes.
"""

from __future__ import annotations

import getpass
import json
import sys
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from caveats_client.cli.durations import relative

if TYPE_CHECKING:
    from caveats_client.api.responses import Issued


def data(text: str) -> None:
    """Write one line of data."""
    block(_escaped(text))


def block(text: str) -> None:
    """Write lines of this program's own: JSON, a script, a help text, what `render` has drawn. Nothing is escaped."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def data_json(value: Any) -> None:
    """Write a value as JSON, indented, in ASCII."""
    block(json.dumps(jsonable(value), indent=2, ensure_ascii=True))


def message(text: str, *, label: str = "caveats: ", end: str = "\n") -> None:
    """Write a message for the person at the terminal."""
    sys.stderr.write(f"{label}{_escaped(text)}{end}")
    sys.stderr.flush()


def secret(prompt: str) -> str:
    """What the person types at the terminal, without showing it."""
    return getpass.getpass(f"{_escaped(prompt)}: ", stream=sys.stderr)


def moment(at: datetime) -> str:
    """A time, for people: UTC, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(at: datetime) -> str:
    """A time, for programs: as the service writes it."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def jsonable(value: Any) -> Any:
    """`value` in types of JSON: dataclasses as objects, times as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, dict):
        return {str(name): jsonable(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(inner) for inner in value]
    return value


def until(issued: Issued, now: datetime) -> str:
    """The expiry of an issued token, in words."""
    return f"until {moment(issued.expires_at)} ({relative(issued.expires_at, now)})"


def print_issued(issued: Issued, now: datetime, *, as_json: bool) -> None:
    """Write a new token: its text to standard output and its facts to standard error, or all of it as JSON."""
    if as_json:
        data_json({"token": issued.token.encode(), **renamed(issued, without=("token",))})
        return
    data(issued.token.encode())
    message(f"token {issued.token_id} of {issued.user} for {issued.audience}, {until(issued, now)}")


def renamed(value: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The members of an answer with the service's names: `scopes` becomes `scope`, one text."""
    members = {name: getattr(value, name) for name in value.__slots__ if name not in without}
    return {
        ("scope" if name == "scopes" else name): (" ".join(member) if name == "scopes" else member)
        for name, member in members.items()
    }


def _escaped(text: str) -> str:
    # Here, because a help text or a completion script says nothing that is a stranger's, and needs no library.
    from caveats.printable import printable  # noqa: PLC0415  # see above

    return printable(text)
