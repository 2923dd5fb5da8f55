"""Verification by asking the service, for apps that must not hold a key.

    with RemoteVerifier("https://auth.example", audience="photos") as verifier:
        grant = verifier.verify(text, Context(now=..., scopes=("photos/42:read",)))

Requests that need the same answer at the same moment ask for it once. The verifier remembers a token that the service
accepted for a few seconds. In that time it also verifies every narrower copy of that token, whose chain continues from its
signature. It judges the caveats itself, for every request, and by the service's time as well as by its own. What the
service refused it asks about again. About a token with third-party caveats, or with a kind that is not a standard one, it
asks the service every time: the two may judge that kind otherwise. So it does for a scope of the service itself, which the
service can refuse whatever the token says.

A revocation therefore takes effect within `remember_for`. If that is too late, use a key
(`caveats_client.verifiers.local`), or set `remember_for` to 0 seconds. Without a key, a verifier cannot read the feed of
revocations. Knows the service's answers and the chain; sends through `caveats_client.client`.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

from caveats import (
    DEFAULT_LIMITS,
    BadSignature,
    Bundle,
    Caveat,
    Checkers,
    Context,
    DamagedToken,
    Failure,
    Grant,
    Macaroon,
    MalformedToken,
    MissingDischarge,
    Parent,
    Refused,
    Renewed,
    Revoked,
    Stale,
    ThirdPartyCaveat,
    UnknownKey,
    UnsatisfiedCaveats,
    User,
    WrongAudience,
    standard_checkers,
    unsatisfied,
)
from caveats.context import facts_of
from caveats.extras import needs
from caveats.forks import renewed_after_fork
from caveats.kinds import HOLDER, ISSUER, is_own_scope
from caveats.pickling import Unpicklable
from caveats.token import branch_id, extend_all, same
from caveats_client.api import calls
from caveats_client.api.calls import RequestFacts
from caveats_client.api.errors import (
    BadRequest,
    ClientError,
    Forbidden,
    NotAuthenticated,
    UnexpectedResponse,
)
from caveats_client.api.members import WrongShape, member, moment, optional
from caveats_client.api.responses import Verification
from caveats_client.verifiers.accepted import Accepted, AcceptedTokens
from caveats_client.verifiers.clocks import seconds_ahead, wrong_clock

with needs("client"):
    from caveats_client.client import AsyncClient, Client
    from caveats_client.single_flight import AsyncSingleFlight, SingleFlight
    from caveats_client.transport import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from caveats import Identifier, Limits
    from caveats.token import WireMacaroon
    from caveats_client.api.members import Members
    from caveats_client.api.messages import Call
    from caveats_client.ordinary_httpx import AsyncTransport, SyncTransport

Transport = TypeVar("Transport")
"""The class of httpx transports that the client takes."""
_log = logging.getLogger("caveats_client.verifiers.remote")
_MOST_BRANCHES = 1000
_TIMES_SHARED = 2
"""How often a request waits for what another one asks, before it asks itself."""
_STANDARD = frozenset(standard_checkers().kinds.values())
"""The kinds that every service knows, and judges as this verifier does."""


class _Answer(NamedTuple):
    """The service's answer about an authentic, live token."""

    verification: Verification
    revoked: frozenset[bytes] | None
    """The branch ids of the token's revoked copies; None if the service named none, or more than 1,000."""
    judged_at: datetime | None
    """The service's time."""


class _Instant(NamedTuple):
    """A moment, in seconds on two clocks."""

    tick: float
    """On the monotonic clock."""
    wall: float


class _Asked(NamedTuple):
    """What came of one question to the service, for all who wait for it."""

    content: bytes | None
    """The body of the question: token and facts. None: nothing was asked, since the token has been remembered meanwhile."""
    generation: int
    """Of the cache, when it was asked."""
    asked_at: float
    """Seconds on the monotonic clock."""
    result: Grant | ClientError | UnsatisfiedCaveats | None
    """An error is a value here: each who waits raises one of its own."""


class _Arrival(NamedTuple):
    """When a request came."""

    generation: int
    """Of the cache."""
    tick: float
    """Seconds on the monotonic clock."""


class _Presented(NamedTuple):
    """A presented token: well formed, not yet authenticated."""

    bundle: Bundle
    wire: WireMacaroon
    identifier: Identifier

    @property
    def plain(self) -> bool:
        """Whether it has no third-party caveat and no discharge."""
        return not self.bundle.discharges and ThirdPartyCaveat not in map(type, self.wire.caveats)


class _Remote(Unpicklable, Generic[Transport]):
    """What both verifiers share: the constructor, the cache, and how the service's answer is read."""

    def __init__(
        self,
        url: str,
        *,
        audience: str = "default",
        checkers: Checkers | None = None,
        limits: Limits = DEFAULT_LIMITS,
        remember_for: timedelta = timedelta(seconds=5),
        cache_entries: int = 10_000,
        cache_bytes: int = 16 * 1024 * 1024,
        timeout: float = DEFAULT_TIMEOUT,
        transport: Transport | None = None,
        allow_http: bool = False,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url`: the service. `audience`: of the tokens that are verified; others are refused.

        `remember_for`: how long the verifier does not ask again about an accepted token, and so how late it sees a
        revocation. `cache_entries`, `cache_bytes`: the most tokens, and bytes of them, that are remembered.
        `limits`: of tokens, checked before they are sent. `timeout`: seconds for each step of a request.
        `transport`: one of httpx2 or httpx, for tests. `allow_http`: plain http to any machine. `clock`, `monotonic`:
        seconds, as `time.time` and `time.monotonic` give them. Raises `UnusableAddress`.
        """
        self.audience = audience
        self._checkers = standard_checkers() if checkers is None else checkers
        self._limits = limits
        self._seconds = remember_for.total_seconds()
        self._clock = clock
        self._monotonic = monotonic
        self._wrong_clock = ""
        """By how much this app's clock differed from the service's at its last answer, in words."""
        self._cache = (cache_entries if self._seconds > 0 else 0, cache_bytes)
        renewed_after_fork(self, _Remote._renew)
        self._connect(url, timeout, transport, allow_http=allow_http)

    def _renew(self) -> None:
        """Begin with an empty cache: the one before a fork may be in the middle of a change."""
        self._accepted = AcceptedTokens(*self._cache)

    def _connect(self, url: str, timeout: float, transport: Transport | None, *, allow_http: bool) -> None:
        """Make the client that asks the service."""
        raise NotImplementedError

    def forget(self, presented: str | Bundle | Macaroon) -> None:
        """Forget this token and all its copies, for example after revoking one: the next `verify` asks the service."""
        self._accepted.forget(self._read(presented).wire.identifier)

    def clear(self) -> None:
        """Forget every token: the next `verify` asks the service."""
        self._accepted.clear()

    def _read(self, presented: str | Bundle | Macaroon) -> _Presented:
        if isinstance(presented, str):
            presented = Bundle.decode(presented, self._limits)
        bundle = Bundle(presented) if isinstance(presented, Macaroon) else presented
        if not isinstance(bundle, Bundle):
            raise MalformedToken("a token is text, a macaroon or a bundle")
        identifier = bundle.macaroon.unverified_identifier
        if identifier is None:
            raise UnknownKey("the identifier is not one that this service issues")
        if identifier.audience != self.audience:
            raise WrongAudience(identifier.audience, self.audience)
        return _Presented(bundle, bundle.macaroon.wire, identifier)

    def _context(self, context: Context | None) -> Context:
        if context is None:
            return Context(now=datetime.now(UTC), audience=self.audience)
        if context.audience is None:
            return replace(context, audience=self.audience)
        if context.audience != self.audience:
            raise WrongAudience(self.audience, context.audience)
        return context

    def _typed(self, wire: WireMacaroon) -> tuple[Caveat, ...] | None:
        """The first-party caveats as objects; None if one has a kind that is not standard, here and at the service."""
        typed = tuple(
            self._checkers.parse(caveat)
            for caveat in wire.caveats
            if not isinstance(caveat, ThirdPartyCaveat)
        )
        return typed if _STANDARD.issuperset(map(type, typed)) else None

    def _from_memory(self, presented: _Presented, context: Context) -> Grant | None:
        """The grant for a token that is remembered, or was made from one; None if the service must be asked.

        Raises `BadSignature`, `Revoked` or `UnsatisfiedCaveats`.
        """
        wire = presented.wire
        if not presented.plain or any(map(is_own_scope, context.scopes)):
            return None
        tick, wall = self._monotonic(), self._clock()
        accepted = self._accepted.find(wire, tick)
        if accepted is None or wall - accepted.asked_at_wall >= self._seconds:  # the machine may have slept
            return None
        more = wire.caveats[len(accepted.wire.caveats) :]
        known = accepted.wire.signature
        signatures = [known, *extend_all(known, more)]  # type: ignore[arg-type]  # plain
        if not same(signatures[-1], wire.signature):
            raise BadSignature("the token is not authentic")
        typed = self._typed(wire)
        if typed is None:
            return None
        if more:
            # The service was not asked about this copy: its branch, or a parent that it names, may be revoked.
            parents = any(type(caveat) is Parent for caveat in typed[len(typed) - len(more) :])
            if accepted.revoked is None or parents or any(type(caveat) is Renewed for caveat in typed):
                return None
            if not accepted.revoked.isdisjoint(map(branch_id, signatures)):
                raise Revoked("this copy of the token has been revoked")
        issued = presented.identifier.issuer_caveats
        added_by = [ISSUER if place < issued else HOLDER for place in range(len(typed))]
        failures = unsatisfied(typed, self._checkers, context, added_by)
        # This app's clock may be behind.
        if accepted.judged_at is not None and (self._wrong_clock or not failures):
            at_service = accepted.judged_at + timedelta(seconds=tick - accepted.asked_at)
            there = unsatisfied(typed, self._checkers, replace(context, now=at_service), added_by)
            if failures and not there:
                raise Stale(f"{failures[0]}: {self._wrong_clock}", clock=self._wrong_clock)
            failures = failures or there
        if failures:
            raise UnsatisfiedCaveats(failures)
        return Grant(presented.identifier, typed[0].value, typed)

    def _call(self, presented: _Presented, context: Context) -> Call[_Answer]:
        facts = RequestFacts(scope=context.scopes or None, audience=self.audience, **facts_of(context))
        return replace(calls.verify(presented.bundle, facts), read=_read_answer)  # type: ignore[arg-type, return-value]

    def _is_remembered(self, presented: _Presented) -> bool:
        """Whether this very copy is: another request may just have brought it."""
        accepted = self._accepted.find(presented.wire, self._monotonic())
        return accepted is not None and accepted.wire == presented.wire

    def _shared(self, presented: _Presented, context: Context, call: Call[_Answer]) -> Hashable:
        """What is equal for questions that one answer is for: the token, if it will be remembered; else the question."""
        if presented.plain and self._typed(presented.wire) and not any(map(is_own_scope, context.scopes)):
            return presented.wire
        return call.content

    def _conclude(
        self,
        presented: _Presented,
        call: Call[_Answer],
        answer: _Answer | ClientError,
        generation: int,
        instant: _Instant,
    ) -> _Asked:
        """What came of a question that was asked at `instant`. A grant is remembered, a refusal is not."""
        if isinstance(answer, ClientError):
            return _Asked(call.content, generation, instant.tick, answer)
        verification, wire = answer.verification, presented.wire
        caveats = tuple(self._checkers.parse(each.predicate.encode()) for each in verification.caveats)
        if (
            not caveats
            or type(caveats[0]) is not User
            or verification.token_id != presented.identifier.token_id
        ):
            error = UnexpectedResponse("the answer is about another token")
            return _Asked(call.content, generation, instant.tick, error)
        self._compare_clocks(answer.judged_at, instant)
        if not verification.granted:
            refused = UnsatisfiedCaveats(
                [
                    Failure(each.index, each.kind, each.predicate, each.added_by, each.reason, each.hint)
                    for each in verification.failures
                ]
            )
            return _Asked(call.content, generation, instant.tick, refused)
        if presented.plain and self._typed(wire) is not None:
            accepted = Accepted(
                wire,
                instant.tick + self._seconds,
                answer.revoked,
                asked_at=instant.tick,
                asked_at_wall=instant.wall,
                judged_at=answer.judged_at,
            )
            self._accepted.add(accepted, generation, self._monotonic())
        return _Asked(
            call.content, generation, instant.tick, Grant(presented.identifier, caveats[0].user, caveats)
        )

    def _use(
        self, asked: _Asked, presented: _Presented, context: Context, call: Call[_Answer], arrival: _Arrival
    ) -> Grant | None:
        """The grant from what came of a question of this request, or of another one for the same token.

        None if it is no answer to this request: it is to ask itself. Raises as `_own`.
        """
        result = asked.result
        if isinstance(result, ClientError) and not isinstance(result, BadRequest):
            return self._own(asked, presented)
        if asked.content != call.content:
            return self._from_memory(presented, context)
        if asked.generation != arrival.generation or arrival.tick - asked.asked_at > self._seconds:
            return None  # it was asked too long before this request came
        return self._own(asked, presented)

    @staticmethod
    def _own(asked: _Asked, presented: _Presented) -> Grant:
        """The grant that came of the request's own question. Raises the refusal, or `Stale`."""
        result = asked.result
        if isinstance(result, ClientError):
            raise _refusal(result, presented) from result
        if isinstance(result, UnsatisfiedCaveats):
            raise UnsatisfiedCaveats(result.failures)
        assert result is not None  # the question was asked
        return result

    def _instant(self) -> _Instant:
        return _Instant(self._monotonic(), self._clock())

    def _compare_clocks(self, judged_at: datetime | None, asked: _Instant) -> None:
        """Note by how much this app's clock differs from the service's, which judged at `judged_at`."""
        if judged_at is None:
            return
        now = self._instant()
        found = wrong_clock(
            seconds_ahead(judged_at, datetime.fromtimestamp(now.wall, UTC), now.tick - asked.tick)
        )
        if found and not self._wrong_clock:
            _log.warning("%s: set it right", found)
        self._wrong_clock = found


def _read_answer(members: Members) -> _Answer:
    revoked: Any = members.get("revoked_branches")
    verification, judged_at = Verification.read(members), optional(members, "judged_at", moment)
    if not isinstance(revoked, list) or len(revoked) > _MOST_BRANCHES:
        return _Answer(verification, None, judged_at)
    try:
        named = [bytes.fromhex(member({"branch": each}, "branch", str)) for each in revoked]
    except ValueError:
        raise WrongShape("revoked_branches are written in hex") from None
    return _Answer(verification, frozenset(named), judged_at)


def _refusal(error: ClientError, presented: _Presented) -> Refused | MalformedToken:
    """The verifier's error for an error of the service. Only what carries a code of a verdict is one on the token."""
    match error, error.code:
        case NotAuthenticated(), "damaged_token":
            return DamagedToken("the token was cut off or mistyped")
        case NotAuthenticated(), "discharge_required":
            answered = {discharge.identifier for discharge in presented.bundle.discharges}
            for caveat in presented.wire.caveats:
                if isinstance(caveat, ThirdPartyCaveat) and caveat.ticket not in answered:
                    return MissingDischarge(caveat.location, caveat.ticket)
            return Refused("a third party has to agree first")
        case NotAuthenticated(), "invalid_token":
            return Refused("the service does not accept this token: it is not authentic, or not alive")
        case (Forbidden(), "wrong_audience") | (BadRequest(), "bad_request"):
            return Refused(f"the service refuses: {error.detail}")
        case _:
            retry_after = getattr(error, "retry_after", None)
            return Stale(f"the service cannot be asked: {error.detail}", retry_after=retry_after)


class RemoteVerifier(_Remote["SyncTransport"]):
    """Verifies tokens of one audience by asking the service. Holds no key.

    Safe to use from many threads, and in the children of a fork.
    """

    def _connect(
        self, url: str, timeout: float, transport: SyncTransport | None, *, allow_http: bool
    ) -> None:
        self._client = Client(url, timeout=timeout, transport=transport, allow_http=allow_http)
        self._flights: SingleFlight[_Asked] = SingleFlight()

    def verify(self, presented: str | Bundle | Macaroon, context: Context | None = None) -> Grant:
        """The grant for this token and this request. Raises as `caveats.Verifier.verify`.

        Also raises `Refused` itself if the service gives no reason, and `Stale` if the service cannot be asked.
        """
        context = self._context(context)
        read = self._read(presented)
        grant = self._from_memory(read, context)
        if grant is not None:
            return grant
        call, arrival = self._call(read, context), _Arrival(self._accepted.generation, self._monotonic())

        def ask(*, is_shared: bool = True) -> _Asked:
            generation, instant = self._accepted.generation, self._instant()
            if is_shared and self._is_remembered(read):
                return _Asked(None, generation, instant.tick, None)
            try:
                answer: _Answer | ClientError = self._client.send(call)
            except ClientError as error:
                answer = error
            return self._conclude(read, call, answer, generation, instant)

        key = self._shared(read, context, call)
        for _ in range(_TIMES_SHARED if self._seconds > 0 else 0):
            grant = self._use(self._flights.share(key, ask), read, context, call, arrival)
            if grant is not None:
                return grant
        return self._own(ask(is_shared=False), read)

    def failures(
        self, presented: str | Bundle | Macaroon, context: Context | None = None
    ) -> tuple[Failure, ...]:
        """The caveats that refuse this request; empty where `verify` grants. Raises as `verify` otherwise."""
        try:
            self.verify(presented, context)
        except UnsatisfiedCaveats as refusal:
            return tuple(refusal.failures)
        return ()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncRemoteVerifier(_Remote["AsyncTransport"]):
    """`RemoteVerifier` with its methods awaited. It may be used from several event loops."""

    def _connect(
        self, url: str, timeout: float, transport: AsyncTransport | None, *, allow_http: bool
    ) -> None:
        self._client = AsyncClient(url, timeout=timeout, transport=transport, allow_http=allow_http)
        self._flights: AsyncSingleFlight[_Asked] = AsyncSingleFlight()

    async def verify(self, presented: str | Bundle | Macaroon, context: Context | None = None) -> Grant:
        """As `RemoteVerifier.verify`."""
        context = self._context(context)
        read = self._read(presented)
        grant = self._from_memory(read, context)
        if grant is not None:
            return grant
        call, arrival = self._call(read, context), _Arrival(self._accepted.generation, self._monotonic())

        async def ask(*, is_shared: bool = True) -> _Asked:
            generation, instant = self._accepted.generation, self._instant()
            if is_shared and self._is_remembered(read):
                return _Asked(None, generation, instant.tick, None)
            try:
                answer: _Answer | ClientError = await self._client.send(call)
            except ClientError as error:
                answer = error
            return self._conclude(read, call, answer, generation, instant)

        key = self._shared(read, context, call)
        for _ in range(_TIMES_SHARED if self._seconds > 0 else 0):
            grant = self._use(await self._flights.share(key, ask), read, context, call, arrival)
            if grant is not None:
                return grant
        return self._own(await ask(is_shared=False), read)

    async def failures(
        self, presented: str | Bundle | Macaroon, context: Context | None = None
    ) -> tuple[Failure, ...]:
        """The caveats that refuse this request; empty where `verify` grants. Raises as `verify` otherwise."""
        try:
            await self.verify(presented, context)
        except UnsatisfiedCaveats as refusal:
            return tuple(refusal.failures)
        return ()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
