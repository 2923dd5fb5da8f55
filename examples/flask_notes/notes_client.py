"""A program that uses the notes: signs in once, then sends its token with each request.

CAVEATS_PASSWORD=... python examples/flask_notes/notes_client.py alice 'buy milk' 'call Bob'
"""

from __future__ import annotations

import argparse
import getpass
import os
from typing import TYPE_CHECKING, Any, Self

import httpx2 as httpx

from caveats_client import Client

if TYPE_CHECKING:
    from types import TracebackType

    from caveats import Macaroon


class NotesClient:
    """Somebody's notes. The token is all that it knows of them."""

    def __init__(self, url: str, token: Macaroon, transport: httpx.BaseTransport | None = None) -> None:
        self._http = httpx.Client(base_url=url, headers={"X-Auth-Token": token.encode()}, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def add(self, text: str) -> int:
        """Keep one more note; its number."""
        answer = self._http.post("/notes", json={"text": text}).raise_for_status()
        return int(answer.json()["number"])

    def delete(self, number: int) -> None:
        """Forget one."""
        self._http.delete(f"/notes/{number}").raise_for_status()

    def all(self) -> dict[int, str]:
        """All of them, by number."""
        rows: list[dict[str, Any]] = self._http.get("/notes").raise_for_status().json()["notes"]
        return {row["number"]: row["text"] for row in rows}


def sign_in(auth_url: str, username: str, password: str) -> Macaroon:
    """A token for the notes app and for no other, good for an hour."""
    with Client(auth_url) as service:
        return service.login(
            username, password, audience="notes", scope="notes:read notes:write", expires_in="1h"
        )


def main() -> None:
    """Add the notes given, then print all."""
    parser = argparse.ArgumentParser(description="Keep notes.")
    parser.add_argument("username")
    parser.add_argument("notes", nargs="*", help="notes to add")
    parser.add_argument("--auth", default=os.environ.get("CAVEATS_URL", "http://127.0.0.1:8080"))
    parser.add_argument("--url", default="http://127.0.0.1:8082", help="where the notes app is")
    given = parser.parse_args()
    password = os.environ.get("CAVEATS_PASSWORD") or getpass.getpass()
    token = sign_in(given.auth, given.username, password)
    with NotesClient(given.url, token) as client:
        for text in given.notes:
            client.add(text)
        for number, text in client.all().items():
            print(f"{number:>4}  {text}")


if __name__ == "__main__":
    main()
