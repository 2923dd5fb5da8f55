"""The service as a third party: opens tickets, judges their conditions by what the store knows, mints discharges.

Knows the store, the settings, the plug-ins' threads and the clock; knows no HTTP. What people decide is in `decisions`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from caveats import Bundle, CaveatsError, Checkers, DischargeRefused, PrivateKey
from caveats.http import origins_of
from caveats_service.core.plugins import PluginFailure, PluginThreadPool
from caveats_service.core.shown_credentials import shown_agent_key
from caveats_service.core.usernames import is_username
from caveats_service.discharge import questions
from caveats_service.discharge.agents import AgentChallenges
from caveats_service.discharge.questions import AskerFacts, ConditionVerdict, Question

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from caveats.bakery import BakeryMacaroon
    from caveats_service.settings import Settings
    from caveats_service.storage import ShownCredential, Store

_THREADS = 8


class Discharges:
    """Opens tickets, judges their conditions and mints discharges."""

    def __init__(
        self,
        store: Store,
        key: PrivateKey,
        checkers: Checkers,
        settings: Settings,
        now: Callable[[], datetime],
    ) -> None:
        """`key`: opens tickets. `checkers`: the conditions that are known here."""
        self._store = store
        self._key = key
        self._checkers = checkers
        self._settings = settings
        self._now = now
        self._challenges = AgentChallenges(key)
        self._pool = PluginThreadPool(_THREADS, "condition") if settings.conditions else None

    def close(self) -> None:
        """Stop the plug-ins' threads."""
        if self._pool is not None:
            self._pool.close()

    @property
    def public_key(self) -> bytes:
        """The X25519 key, 32 bytes, that tickets are sealed for."""
        return self._key.public_key

    def open(self, identifier: bytes, payload: bytes | None, *, host: str) -> Question:
        """The question in the ticket of a third-party caveat.

        `host`: the one that the request was made to, which locates this service as long as CAVEATS_PUBLIC_URL is not set. Raises
        `MalformedTicket` or `DischargeRefused`.
        """
        public_url = self._settings.public_url
        here = {public_url} if public_url else origins_of(host)
        return questions.open_question(
            identifier, payload, self._key, self._checkers, locations=frozenset(here), now=self._now()
        )

    async def facts(self, user: str | None, approvers: Sequence[str] = ()) -> AskerFacts:
        """What is known now of an asker and of the people who have approved. Disabled approvers are left out.

        Raises `DischargeRefused` if the asker is unknown or disabled.
        """
        if user is None:
            return AskerFacts()
        known = await self._store.groups.of(user, *approvers)
        if user not in known:
            raise DischargeRefused("the asker's account is unknown or disabled")
        return AskerFacts(user, known[user], {name: known[name] for name in approvers if name in known})

    async def judge(
        self, question: Question, facts: AskerFacts, *, client_ip: str | None
    ) -> ConditionVerdict:
        """Whether the conditions hold for this asker now.

        If plug-ins are enabled, it runs in a thread and for at most `checker_deadline` seconds. Raises `DischargeRefused`
        after that, or if a plug-in ends its thread.
        """

        def work() -> ConditionVerdict:
            return questions.judge(question, facts, self._checkers, now=self._now(), client_ip=client_ip)

        if self._pool is None:
            return work()
        try:
            return await self._pool.run(work, self._settings.checker_deadline)
        except TimeoutError:
            raise DischargeRefused("judging the conditions took too long") from None
        except PluginFailure as failure:
            raise DischargeRefused(f"judging the conditions failed: {failure}") from None

    def discharge(
        self, question: Question, facts: AskerFacts, *, decided_at: datetime, client_ip: str | None
    ) -> BakeryMacaroon:
        """The discharge, valid from the decision. Raises `DischargeRefused` where a condition fails."""
        return questions.discharge(
            question,
            facts,
            self._checkers,
            life=self._settings.discharge_lifetime,
            decided_at=decided_at,
            client_ip=client_ip,
        )

    async def challenge(
        self, username: str, public_key: bytes, digest: bytes, *, version: int
    ) -> BakeryMacaroon:
        """The challenge that a registered agent must complete to sign in, for the ticket with this digest.

        `public_key`, `digest`: 32 bytes. `version`: of the bakery protocol that the agent speaks.

        Raises `DischargeRefused` if no agent with this key speaks for this user.
        """
        await self._require_agent(username, public_key)
        return self._challenges.challenge(
            username, public_key, digest, nonce=os.urandom(16), now=self._now(), version=version
        )

    async def agent_user(self, question: Question, read: Callable[[], Bundle]) -> ShownCredential:
        """What the agent has shown that has completed the challenge for this ticket.

        `read`: decodes the completed challenge. Raises `DischargeRefused`.
        """
        try:
            username, public_key = self._challenges.completed(read(), question.digest, now=self._now())
        except CaveatsError as error:
            raise DischargeRefused("the agent's token is not valid") from error
        await self._require_agent(username, public_key)
        return shown_agent_key(username, public_key)

    async def _require_agent(self, username: str, public_key: bytes) -> None:
        agent = await self._store.agents.find(public_key)
        if agent is None or agent.username != username or not is_username(username):
            raise DischargeRefused("there is no such agent")
