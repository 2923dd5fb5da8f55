"""A warning in the log where an app's keys are older than the tokens that it is shown.

Keys that were exported to a file do not follow the service: after a rotation they refuse every new token. A token under
a key that is not here cannot be authenticated, so that anybody may have made it up. Logged are key ids, which have a fixed
grammar, and nothing else of a token; and one line a minute at most, however many such tokens come.

Knows key ids and a clock that runs forward. Knows no key, and no token.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from caveats.keys.keyring import AudienceKeyring

if TYPE_CHECKING:
    from collections.abc import Callable

    from caveats.keys.keyring import Keyring

_PAUSE = 60.0
"""Seconds between two lines."""


class MissingKeyLog:
    """What one verifier logs of keys that its keyring lacks."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._silent_until: float | None = None
        self._unsaid = 0

    def notice(self, key_id: str, keyring: Keyring) -> None:
        """A token names `key_id`, which `keyring` lacks. Logs it if the key is newer than all of an `AudienceKeyring`.

        An older key is one that was retired: its tokens are dead, and there is nothing to do.
        """
        if not isinstance(keyring, AudienceKeyring):
            return
        here = sorted((key.key_id for key in keyring.keys), key=_number)
        if here and _number(key_id) < _number(here[-1]):
            return
        now = self._monotonic()
        if self._silent_until is not None and now < self._silent_until:
            self._unsaid += 1
            return
        self._silent_until = now + _PAUSE
        unsaid, self._unsaid = self._unsaid, 0
        import logging  # noqa: PLC0415  # few apps come here, and the import takes as long as that of the library

        logging.getLogger("caveats.verification").warning(
            "a token of audience %s is under %s, this app has %s: export the keys again, or register the app as a "
            "verifier, which fetches them by itself. It may also be made up, which cannot be told without the key. "
            "Said once a minute at most; %d such tokens since the last time",
            keyring.audience,
            key_id,
            ", ".join(here) or "no key",
            unsaid,
        )


def _number(key_id: str) -> int:
    return int(key_id[1:])
