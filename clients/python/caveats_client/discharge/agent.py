"""The key of an agent, which is a program that signs in at third parties, and its key file.

Knows the format of the bakery's agent files. Opens no file and sends nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caveats import InvalidKey, PrivateKey
from caveats.keys import key_from_any_base64
from caveats.token import decode_any_base64

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent's private key, and its username at each third party that knows it."""

    key: PrivateKey
    usernames: Mapping[str, str]
    """By the third party's address."""

    @classmethod
    def parse(cls, text: str) -> Agent:
        """From an agent file: JSON with a key, and a list of agents with url and username. Raises `ValueError`."""
        try:
            members = json.loads(text)
            key = PrivateKey(key_from_any_base64(members["key"]["private"]))
            public = members["key"].get("public")
            usernames = {one["url"]: one["username"] for one in members.get("agents", [])}
            fits = public is None or decode_any_base64(public) == key.public_key
        except InvalidKey as error:
            raise ValueError(f"not an agent file: the private key in it: {error}") from None
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # which may show the key
            raise ValueError("not an agent file: expected a key, and agents with url and username") from None
        if not fits:
            raise ValueError("the private key of this agent file does not match its public key")
        if not all(type(text) is str for text in (*usernames, *usernames.values())):
            raise ValueError("an agent's url and username are text")
        return cls(key, usernames)

    def username(self, location: str) -> str | None:
        """The agent's username at the third party `location`; None if the file names none."""
        names = {url.rstrip("/"): username for url, username in self.usernames.items()}
        return names.get(location.rstrip("/"))
