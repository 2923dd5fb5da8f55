"""Decisions that people make: an interaction is begun, somebody asks, others approve, it is granted or denied.

Knows who may decide what and when, the store, and the hashes by which it finds an interaction; knows no HTTP. The asker
signs in on a page of their own; approvers have another, from which nobody can become the asker. There is one decision,
and the audit names the person who made it. Each step, and the discharge at the end, judges again what everybody has
shown: whoever is disabled counts no more, nor whoever has had all revoked since, nor a credential that has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats import DischargeRefused
from caveats_service.core import log
from caveats_service.core.errors import Busy
from caveats_service.core.usernames import in_audit
from caveats_service.discharge import secrets
from caveats_service.discharge.secrets import InteractionSecrets
from caveats_service.storage import Decision, Interaction, ShownCredential, Store, UnknownInteraction

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from caveats.bakery import BakeryMacaroon
    from caveats_service.discharge.questions import AskerFacts, ConditionVerdict, Question
    from caveats_service.discharge.service import Discharges
    from caveats_service.discharge.waiters import Waiters
    from caveats_service.settings import Settings
    from caveats_service.storage.repositories.interactions import HashColumn

_MOST_ABOUT = 1024
"""Characters of the conditions in an audit row."""
_NO_SELF_APPROVAL = "You ask this yourself: a second person has to approve."


class Decisions:
    """Interactions, from their beginning to the discharge."""

    def __init__(
        self,
        store: Store,
        discharges: Discharges,
        waiters: Waiters,
        settings: Settings,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._discharges = discharges
        self._waiters = waiters
        self._settings = settings
        self._now = now

    async def begin(
        self, question: Question, *, asker: ShownCredential | None, client_ip: str | None
    ) -> InteractionSecrets:
        """A new interaction about this question. `asker`: what the user who asks has shown, if they are known.

        Raises `InteractionsFull`.
        """
        made, now = InteractionSecrets.new(), self._now()
        interaction = Interaction(
            visit_hash=secrets.visit_hash(made.visit),
            wait_hash=secrets.wait_hash(made.wait),
            token_hash=secrets.token_hash(secrets.wait_token(made.wait)),
            identifier=question.identifier,
            payload=question.payload,
            client_ip=client_ip or "",
            asker=None if asker is None else asker.username,
            approvers=(),
            decision=Decision.OPEN,
            created_at=now,
            expires_at=now + self._settings.interaction_lifetime,
            credentials=() if asker is None else (asker,),
        )
        await self._store.interactions.begin(interaction, most=self._settings.max_interactions, now=now)
        return made

    # finding an interaction

    async def of_visit(self, visit: str) -> Interaction:
        """The interaction of an asker's page. `visit`: the secret in its address. Raises `UnknownInteraction`."""
        return _known(await self._find("visit_hash", secrets.visit_hash(visit)))

    async def of_approve(self, approve: str) -> Interaction:
        """The interaction of an approvers' page. `approve`: the secret in its address. Raises `UnknownInteraction`."""
        return _known(await self._find("visit_hash", secrets.approve_hash(approve)))

    async def of_wait(self, wait: str) -> Interaction:
        """The interaction that a program waits for. `wait`: the secret in that address. Raises `UnknownInteraction`."""
        return _known(await self._find("wait_hash", secrets.wait_hash(wait)))

    async def of_token(self, token: bytes, question: Question) -> Interaction:
        """The interaction with this token (32 bytes), if it is about this ticket. Raises `DischargeRefused`."""
        interaction = await self._find("token_hash", secrets.token_hash(token))
        if interaction is None or (interaction.identifier, interaction.payload) != (
            question.identifier,
            question.payload,
        ):
            raise DischargeRefused("the token is for another ticket, or has expired")
        return interaction

    async def _find(self, by: HashColumn, value: bytes) -> Interaction | None:
        return await self._store.interactions.find(by, value, now=self._now())

    def question(self, interaction: Interaction, *, host: str) -> Question:
        """The question of an interaction: its ticket, opened again. Raises `MalformedTicket` or `DischargeRefused`."""
        return self._discharges.open(interaction.identifier, interaction.payload, host=host)

    # what a person does

    async def ask(
        self, interaction: Interaction, shown: ShownCredential, *, allow: bool, host: str, address: str
    ) -> Interaction:
        """The asker confirms, or gives up (`allow` false), on the asker's page. Returns the interaction after that.

        `host`: the request's Host. `address`: the person's, for the log and the audit. Raises `DischargeRefused` if this person may not, and then nothing has changed.
        """
        person = shown.username
        if interaction.asker not in (None, person):
            raise DischargeRefused(
                f"{interaction.asker} asks this. Approve at the address that this page shows."
            )
        question = self.question(interaction, host=host)
        if not allow:
            return await self._decide(interaction, question, Decision.DENIED, person, address)
        verdict = await self._judge(interaction, question, person, shown)
        if not verdict.open:
            verdict.require()
        elif interaction.asker == person:
            raise DischargeRefused(_NO_SELF_APPROVAL)
        interaction = await self._take_part(interaction, question, shown, address, as_asker=True)
        if interaction.asker != person:
            raise DischargeRefused("Somebody else has signed in here meanwhile.")
        return await self._settle(interaction, question, person, address)

    async def withdraw(self, interaction: Interaction, *, host: str, address: str) -> Interaction:
        """The asker, who has signed in, gives up. Returns the interaction after that.

        Who has the address of the asker's page may do so without a password: approvers have another one, and the most that
        comes of it is that the asker begins again. `host`, `address`: as for `ask`.
        """
        if interaction.asker is None:
            raise DischargeRefused("Nobody has signed in yet.")
        question = self.question(interaction, host=host)
        return await self._decide(interaction, question, Decision.DENIED, interaction.asker, address)

    async def approve(
        self, interaction: Interaction, shown: ShownCredential, *, allow: bool, host: str, address: str
    ) -> Interaction:
        """A second person approves or denies, on the approvers' page. Returns the interaction after that.

        A person whose approval would change nothing may not deny either. Raises `DischargeRefused` as `ask` does.
        """
        asker, person = interaction.asker, shown.username
        if asker is None:
            raise DischargeRefused("The person who asks has not signed in yet.")
        if asker == person:
            raise DischargeRefused(_NO_SELF_APPROVAL)
        question = self.question(interaction, host=host)
        without = await self._judge(interaction, question, asker)
        with_approval = await self._judge(interaction, question, asker, shown)
        if len(without.failures) == len(with_approval.failures):
            raise DischargeRefused(f"It is not for {person} to approve this.")
        if not allow:
            return await self._decide(interaction, question, Decision.DENIED, person, address)
        interaction = await self._take_part(interaction, question, shown, address, as_asker=False)
        return await self._settle(interaction, question, person, address)

    async def sign_in(
        self, interaction: Interaction, question: Question, shown: ShownCredential, *, address: str
    ) -> None:
        """Grant the discharge to an asker who has signed in by a form or with an agent's key. `address`: as for `ask`.

        Raises `DischargeRefused` if a condition does not hold, or if somebody else has signed in before.
        """
        username = shown.username
        (await self._judge(interaction, question, username, shown)).require()
        interaction = await self._take_part(interaction, question, shown, address, as_asker=True)
        if interaction.asker == username:
            interaction = await self._settle(interaction, question, username, address)
        if interaction.asker != username or interaction.decision is not Decision.GRANTED:
            raise DischargeRefused("somebody else has signed in here, or it was denied")

    # what a program gets

    async def discharge(self, interaction: Interaction, *, host: str) -> BakeryMacaroon:
        """The discharge that people have granted, always the same bytes. Its conditions must still hold.

        Raises `DischargeRefused`.
        """
        if interaction.decision is not Decision.GRANTED or interaction.decided_at is None:
            raise DischargeRefused("it was denied" if interaction.decided_at else "nobody has decided yet")
        question = self.question(interaction, host=host)
        client_ip = interaction.client_ip or None
        facts = await self._facts(interaction, interaction.asker)
        (await self._discharges.judge(question, facts, client_ip=client_ip)).require()
        return self._discharges.discharge(
            question, facts, decided_at=interaction.decided_at, client_ip=client_ip
        )

    # the steps

    async def _judge(
        self, interaction: Interaction, question: Question, asker: str, *more: ShownCredential
    ) -> ConditionVerdict:
        facts = await self._facts(interaction, asker, *more)
        return await self._discharges.judge(question, facts, client_ip=interaction.client_ip or None)

    async def _facts(self, interaction: Interaction, asker: str | None, *more: ShownCredential) -> AskerFacts:
        """What is known now of the asker and of the approvers, `more` included, whose credentials are still good.

        Raises `DischargeRefused` if the asker's is not.
        """
        shown = (*interaction.credentials, *more)
        good = await self._store.credentials.still_good(shown, now=self._now())
        ended = {one.username for one in shown if one not in good}
        counting = [one.username for one in shown if one.username not in ended]
        if asker is not None and asker not in counting:
            raise DischargeRefused("what the asker has signed in with is no longer good: ask again")
        return await self._discharges.facts(asker, [name for name in counting if name != asker])

    async def _take_part(
        self,
        interaction: Interaction,
        question: Question,
        shown: ShownCredential,
        address: str,
        *,
        as_asker: bool,
    ) -> Interaction:
        about = _about(question)
        after = await self._store.interactions.take_part(
            interaction.visit_hash,
            shown,
            as_asker=as_asker,
            now=self._now(),
            actor=in_audit(shown.username),
            address=address,
            conditions=about,
        )
        event = "interaction_asked" if as_asker else "interaction_approved"
        log.info(event, user=shown.username, address=address, conditions=about, asker=after.asker)
        return after

    async def _settle(
        self, interaction: Interaction, question: Question, person: str, address: str
    ) -> Interaction:
        """Grant the discharge if all conditions hold now. Of several people at once, the last sees all approvals."""
        assert interaction.asker is not None
        if (await self._judge(interaction, question, interaction.asker)).granted:
            return await self._decide(interaction, question, Decision.GRANTED, person, address)
        return interaction

    async def _decide(
        self, interaction: Interaction, question: Question, decision: Decision, person: str, address: str
    ) -> Interaction:
        now, about = self._now(), _about(question)
        until = now + self._settings.discharge_lifetime
        decided = await self._store.interactions.decide(
            interaction.visit_hash,
            decision,
            until=until,
            now=now,
            actor=in_audit(person),
            address=address,
            conditions=about,
        )
        event = f"interaction_{decided.decision.value}"
        log.info(event, user=person, address=address, conditions=about, asker=decided.asker)
        self._waiters.tell(interaction.wait_hash)
        return decided


def require_decided(interaction: Interaction) -> None:
    """Raises `Busy` while it is open, and `DischargeRefused` if it was denied."""
    if interaction.decision is Decision.OPEN:
        raise Busy("nobody has decided yet", 1)
    if interaction.decision is Decision.DENIED:
        raise DischargeRefused("it was denied")


def _about(question: Question) -> str:
    """What is asked, for the log and the audit."""
    return "; ".join(str(condition) for condition in question.conditions)[:_MOST_ABOUT]


def _known(interaction: Interaction | None) -> Interaction:
    if interaction is None:
        raise UnknownInteraction
    return interaction
