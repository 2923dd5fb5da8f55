"""The oracle of the soak: every token that was issued, and every death that was acknowledged, with its time.

Knows values and the monotonic clock; knows no network. A token is `live`, `dead` (acknowledged), or `in doubt`: what may have
killed it was not answered, or was lost in a failover. Nothing is asked of those in doubt.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum


class State(Enum):
    LIVE = "live"
    DOUBT = "in doubt"
    DEAD = "dead"


@dataclass(eq=False)
class Token:
    """One text. Copies and renewals share the token id; children were issued against it."""

    text: str
    token_id: str
    user: str
    audience: str
    key_id: str
    expires_at: float
    """Seconds since 1970, on the right clock."""
    node: str
    whole: bool = True
    """Whether no holder narrowed it."""
    skewed: bool = False
    """Issued by a node whose clock was off by more than is tolerated: only its explicit revocation is judged."""
    parent: Token | None = None
    born: float = field(default_factory=time.monotonic)
    state: State = State.LIVE
    died_at: float = 0.0
    deaths: list[Death] = field(default_factory=list)
    heirs: list[Token] = field(default_factory=list)

    @property
    def line(self) -> list[Token]:
        """The token and what it came of."""
        found: list[Token] = []
        at: Token | None = self
        while at is not None:
            found.append(at)
            at = at.parent
        return found

    @property
    def keys(self) -> set[str]:
        """The keys without which it is dead."""
        return {each.key_id for each in self.line}

    def __str__(self) -> str:
        how = ", ".join(sorted({death.kind for death in self.deaths})) or "nothing"
        return f"token {self.token_id} of {self.user} under {self.key_id} from {self.node} ({self.state.value} by {how})"


@dataclass(eq=False)
class Death:
    """One acknowledged revocation, or retirement of a key, as the database has it."""

    kind: str
    token_id: str | None = None
    branch_id: str | None = None
    user: str | None = None
    issued_up_to: int | None = None
    key_id: str | None = None
    at: float = field(default_factory=time.monotonic)
    lost: bool = False

    @property
    def row(self) -> tuple[str, str | None, str | None, str | None]:
        """What identifies it in the table of revocations."""
        return (self.kind, self.token_id, self.branch_id, self.user)


class Ledger:
    """Safe to use from many threads."""

    def __init__(self, seed: int) -> None:
        self._lock = threading.RLock()
        self._chance = random.Random(seed)
        self.tokens: list[Token] = []
        self._by_id: dict[str, list[Token]] = defaultdict(list)
        self._by_user: dict[str, list[Token]] = defaultdict(list)
        self._deaths: list[Death] = []
        self._dead_keys: dict[str, Death] = {}
        self._recent: list[Token] = []

    # What happens

    def add(self, token: Token) -> Token:
        """Issued and acknowledged, or narrowed. What came of a dead one, or has a dead key, is dead."""
        with self._lock:
            if token.parent is not None:
                token.parent.heirs.append(token)
                if token.parent.state is State.DEAD:
                    self._die(token, token.parent.deaths[-1])
                else:
                    token.state = token.parent.state
            for key_id in token.keys & self._dead_keys.keys():
                self._die(token, self._dead_keys[key_id])
            self.tokens.append(token)
            self._by_id[token.token_id].append(token)
            self._by_user[token.user].append(token)
            return token

    def hit(self, token: Token) -> list[Token]:
        """All that dies with this copy: a whole token with all its copies, and the heirs."""
        with self._lock:
            return self._with_heirs(self._by_id[token.token_id] if token.whole else [token])

    def of_user(self, user: str) -> list[Token]:
        with self._lock:
            return [token for token in self._by_user[user] if not token.skewed]

    def skewed_of(self, user: str) -> list[Token]:
        with self._lock:
            return self._with_heirs([token for token in self._by_user[user] if token.skewed])

    def under(self, key_id: str) -> list[Token]:
        with self._lock:
            return [token for token in self.tokens if key_id in token.keys]

    def doubt(self, tokens: Iterable[Token]) -> None:
        """About to be killed, or nobody knows."""
        with self._lock:
            for token in tokens:
                if token.state is State.LIVE:
                    token.state = State.DOUBT

    def kill(self, tokens: Iterable[Token], death: Death) -> None:
        """Acknowledged."""
        with self._lock:
            self._deaths.append(death)
            if death.key_id is not None:
                self._dead_keys[death.key_id] = death
            for token in tokens:
                self._die(token, death)

    def _die(self, token: Token, death: Death) -> None:
        token.deaths.append(death)
        if token.state is not State.DEAD:
            token.state, token.died_at = State.DEAD, time.monotonic()
            self._recent.append(token)

    def _with_heirs(self, tokens: Iterable[Token]) -> list[Token]:
        found: dict[Token, None] = {}
        waiting = list(tokens)
        while waiting:
            token = waiting.pop()
            if token not in found:
                found[token] = None
                waiting += token.heirs
        return list(found)

    # Failover

    def failed_over(
        self,
        revoked: set[tuple[str, str | None, str | None, str | None]],
        user_times: dict[str, int],
        keys: set[str],
        verifying: set[str],
    ) -> tuple[int, list[Token]]:
        """The database has gone back to what its replica had: the number of deaths that were lost, and whom they had hit.

        `revoked`: the rows of its table. `user_times`: up to when all of a user's is revoked (ms). `keys`: those that were there
        when the replica began to fall behind and are now. `verifying`: those that verify now.
        """
        with self._lock:
            lost = set()
            for death in self._deaths:
                if death.lost:
                    continue
                if death.key_id is not None:
                    death.lost = death.key_id in verifying
                elif death.kind == "user":
                    death.lost = (death.issued_up_to or 0) > user_times.get(death.user or "", 0)
                else:
                    death.lost = death.row not in revoked
                if death.lost:
                    lost.add(death)
                    if death.key_id is not None:
                        self._dead_keys.pop(death.key_id, None)
            again = []
            for token in self.tokens:
                if token.deaths and lost & set(token.deaths):
                    token.deaths = [death for death in token.deaths if not death.lost]
                    if not token.deaths and token.state is State.DEAD:
                        token.state = State.DOUBT
                        again.append(token)
                if token.state is State.LIVE and not token.keys <= keys:
                    token.state = State.DOUBT
            for key_id in list(self._dead_keys):
                if key_id in verifying:  # made anew under the old id
                    del self._dead_keys[key_id]
            return len(lost), again

    # Questions

    def good(self, *, audience: str | None = None, whole: bool = False, left: float = 45.0) -> Token | None:
        """One that is to be granted for some time yet."""
        with self._lock:
            return self._pick(
                self.tokens,
                lambda token: (
                    token.state is State.LIVE
                    and not token.skewed
                    and token.expires_at - time.time() > left
                    and (audience is None or token.audience == audience)
                    and (not whole or token.whole)
                ),
            )

    def dead(self, audience: str | None = None, newest: float = 25.0) -> Token | None:
        """One that is to be refused, mostly one that died within so many seconds."""
        with self._lock:
            since = time.monotonic() - newest
            self._recent = [token for token in self._recent if token.died_at > since]
            some = self._recent if self._recent and self._chance.random() < 0.7 else self.tokens
            return self._pick(
                some,
                lambda token: (
                    token.state is State.DEAD
                    and token.expires_at > time.time()
                    and (audience is None or token.audience == audience)
                ),
            )

    def _pick(self, tokens: list[Token], fits: Callable[[Token], bool]) -> Token | None:
        for _ in range(60):
            if not tokens:
                return None
            token = tokens[int(len(tokens) * self._chance.random())]
            if fits(token):
                return token
        return None

    def forget(self, older_than: float = 1500.0) -> None:
        """Drop what has expired long ago."""
        with self._lock:
            since = time.time() - older_than / 2
            self.tokens = [token for token in self.tokens if token.expires_at > since]
            kept = set(self.tokens)
            for index in (self._by_id, self._by_user):
                for name in list(index):
                    index[name] = [token for token in index[name] if token in kept]
                    if not index[name]:
                        del index[name]
            for token in self.tokens:
                token.heirs = [heir for heir in token.heirs if heir in kept]
            self._deaths = [death for death in self._deaths if time.monotonic() - death.at < older_than]

    def count(self) -> dict[str, int]:
        with self._lock:
            counted = dict.fromkeys((state.value for state in State), 0)
            for token in self.tokens:
                counted[token.state.value] += 1
            return counted
