"""Remote verifiers: the service is asked once, its yes counts for a while, and never for more than it said."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

import httpx2 as httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caveats import (
    Audience,
    BadSignature,
    BranchRevocation,
    Bundle,
    Checkers,
    Context,
    DamagedToken,
    Expires,
    Grant,
    Identifier,
    LimitExceeded,
    Macaroon,
    MalformedToken,
    MasterKey,
    MasterKeyring,
    Method,
    MissingDischarge,
    NotBefore,
    Note,
    Parent,
    PrivateKey,
    Refused,
    Renewed,
    RevocationSet,
    Revoked,
    Scope,
    Stale,
    ThirdParty,
    TokenRevocation,
    UnknownKey,
    UnsatisfiedCaveats,
    User,
    Verifier,
    WrongAudience,
    effective,
    new_token_id,
    standard_checkers,
)
from caveats.http import IncomingRequest, Problem, find_problem
from caveats.kinds import TextCaveat
from caveats_client.guards.guard import Guard
from caveats_client.verifiers.local import LocalVerifier
from caveats_client.verifiers.remote import AsyncRemoteVerifier, RemoteVerifier
from tests.support.local import World, context, now, options, outcome, wait_until, world_in

RING = MasterKeyring([MasterKey("k1", bytes(range(1, 33)))])
HOUR = timedelta(hours=1)


class Online:
    """What POST /v1/verify says, from the library's own verifier; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.revocations = RevocationSet()
        self.verifier = Verifier(RING, audience="photos", revocations=self.revocations)
        self.says_branches = True
        self.says_time = False
        self.answer: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
        self.before: Callable[[], None] = lambda: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        import json

        self.asked += 1
        body = json.loads(request.content)
        said = self.answer(request)
        if said is not None:
            return said
        self.before()
        asked = Context(
            now=now(),
            audience=body["audience"],
            scopes=tuple(body["scope"].split(" ")) if body.get("scope") else (),
            method=body.get("method"),
            path=body.get("path"),
            client_ip=body.get("client_ip"),
            user=body.get("user"),
        )
        try:
            authenticated = self.verifier.authenticate(body["token"])
            failures = {failure.index: failure for failure in self.verifier.failures(body["token"], asked)}
        except MissingDischarge:
            return problem(401, "discharge_required")
        except (Refused, MalformedToken):
            return problem(401, "invalid_token")
        identified = authenticated.identified
        assert identified is not None
        authority = effective(authenticated.caveats)
        answer: dict[str, Any] = {
            "granted": not failures,
            "user": authority.user,
            "token_id": identified.token_id,
            "audience": identified.audience,
            "scope": " ".join(authority.scopes),
            "issued_at": identified.issued_at.isoformat(),
            "expires_at": authority.expires_at.isoformat() if authority.expires_at else None,
            "caveats": [
                {
                    "index": index,
                    "kind": caveat.kind,
                    "predicate": str(caveat),
                    "added_by": added_by,
                    "satisfied": index not in failures,
                    "reason": failures[index].reason if index in failures else None,
                    "hint": failures[index].hint if index in failures else None,
                }
                for index, (caveat, added_by) in enumerate(
                    zip(authenticated.caveats, authenticated.added_by, strict=True)
                )
            ],
            "branches": [branch.hex() for branch in self.verifier.introspect(body["token"]).branches],
        }
        answer["request_sha256"] = hashlib.sha256(request.content).hexdigest()
        if self.says_branches:
            answer["revoked_branches"] = [
                branch.hex() for branch in self.revocations.branches_of(identified.token_id)
            ]
        if self.says_time:
            answer["judged_at"] = now().isoformat()
        return httpx.Response(200, json=answer)


def problem(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"status": status, "code": code, "title": code})


class Tick:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def online() -> Online:
    return Online()


@pytest.fixture
def tick() -> Tick:
    return Tick()


@pytest.fixture
def remote(online: Online, tick: Tick) -> Iterator[RemoteVerifier]:
    with made(online, tick) as verifier:
        yield verifier


def made(online: Online, tick: Tick, **given: Any) -> RemoteVerifier:
    return RemoteVerifier(
        "https://auth.example",
        **{
            "audience": "photos",
            "transport": httpx.MockTransport(online),
            "monotonic": tick,
            **given,
        },
    )


def mint(*more: Any, audience: str = "photos", scope: str = "photos:*", count: int | None = None) -> Macaroon:
    issued = (User("alice"), Expires.after(HOUR, now=now()), Scope(scope), *more)
    identifier = Identifier("k1", audience, new_token_id(now()), len(issued) if count is None else count)
    return Macaroon.mint(RING.root_key(identifier), identifier, caveats=issued)


def branch(token: Macaroon) -> bytes:
    return Verifier(RING, audience="photos").authenticate(token).branches()[-1]


def revoke(online: Online, token: Macaroon) -> None:
    identifier = token.unverified_identifier
    assert identifier is not None
    online.revocations.add(BranchRevocation(identifier.token_id, branch(token), now() + HOUR))


# What is remembered


def test_a_token_is_asked_for_once(online: Online, remote: RemoteVerifier) -> None:
    token = mint(Note("a note"))
    first = remote.verify(token.encode(), context())
    again = remote.verify(token.encode(), context())
    assert online.asked == 1
    for grant in (first, again):
        assert type(grant) is Grant
        assert (grant.user, grant.audience, grant.scopes) == ("alice", "photos", ("photos:*",))
        assert grant.identifier == token.unverified_identifier
        assert grant.token_id == grant.identifier.token_id
        assert grant.issued_at == grant.identifier.issued_at
        assert grant.expires_at is not None
        assert grant.caveats == token.unverified_caveats
        assert grant.authority is grant.authority
        assert "alice" in repr(grant)
        with pytest.raises(AttributeError):
            grant.user = "mallory"  # type: ignore[misc]


def test_its_caveats_are_judged_for_every_request(online: Online, remote: RemoteVerifier) -> None:
    token = mint().attenuate(Method("GET"))
    remote.verify(token, context(method="GET"))
    with pytest.raises(UnsatisfiedCaveats) as refused:
        remote.verify(token, context(method="POST"))
    assert [(one.kind, one.added_by) for one in refused.value.failures] == [("method", "holder")]
    with pytest.raises(UnsatisfiedCaveats):
        remote.verify(token, replace(context(method="GET"), now=now() + 2 * HOUR))
    assert [one.kind for one in remote.failures(token, context(method="GET", user="bob"))] == ["user"]
    assert remote.failures(token, context(method="GET")) == ()
    assert online.asked == 1


def test_a_refusal_of_the_service_is_explained_and_not_remembered(
    online: Online, remote: RemoteVerifier
) -> None:
    token = mint()
    with pytest.raises(UnsatisfiedCaveats) as refused:
        remote.verify(token, context(scopes=("albums/1:read",)))
    failure = refused.value.failures[0]
    assert (failure.kind, failure.added_by) == ("scope", "issuer")
    assert failure.reason
    assert remote.verify(token, context())
    assert online.asked == 2


@dataclass(frozen=True)
class Weather(TextCaveat):
    """A kind that the app knows, and the service does not."""

    kind: ClassVar[str] = "acme/weather"
    text: str


def with_weather() -> Checkers:
    checkers = standard_checkers()
    checkers.register(Weather, lambda caveat, asked: True)
    return checkers


def test_what_the_service_refused_is_refused_the_second_time(online: Online, tick: Tick) -> None:
    """For a kind that the service does not know, also where the copy above was granted in between."""
    token = mint()
    copy = token.attenuate(Weather("sunny"))
    with made(online, tick, checkers=with_weather()) as remote:
        for _ in range(3):
            assert outcome(lambda: remote.verify(copy, context())) == "UnsatisfiedCaveats"
        assert remote.verify(token, context())
        assert outcome(lambda: remote.verify(copy, context())) == "UnsatisfiedCaveats"
        assert outcome(lambda: remote.verify(copy.attenuate(Note("x")), context())) == "UnsatisfiedCaveats"


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(lambda at: Expires((at + timedelta(seconds=2)).replace(microsecond=0)), id="expires"),
        pytest.param(lambda at: NotBefore((at + HOUR).replace(microsecond=0)), id="not before"),
    ],
)
@pytest.mark.parametrize("clock", [-2 * HOUR, timedelta(0), 2 * HOUR], ids=["behind", "right", "ahead"])
def test_an_app_whose_clock_is_wrong_grants_nothing_that_the_service_would_refuse(
    condition: Callable[[datetime], Any], clock: timedelta, online: Online, tick: Tick
) -> None:
    """Neither the token that was refused, nor a copy of one that was granted."""
    online.says_time = True
    token = mint()
    copy = token.attenuate(condition(now()))
    with made(online, tick) as remote:
        own = replace(context(), now=now() + clock)
        if type(copy.unverified_caveats[-1]) is NotBefore:
            assert outcome(lambda: remote.verify(copy, own)) == "UnsatisfiedCaveats"
        with contextlib.suppress(UnsatisfiedCaveats):
            remote.verify(token, own)
        tick.at += 3
        assert outcome(lambda: remote.verify(copy, own)) in ("UnsatisfiedCaveats", "Refused")


def test_a_scope_of_the_service_itself_is_asked_for_every_time(
    online: Online, remote: RemoteVerifier
) -> None:
    """The service refuses it where apps have the keys of accounts, whatever the token says."""
    token = mint(scope="* caveats:*")
    remote.verify(token, context())
    for scope in ("caveats:admin", "caveats/x:read"):
        asked = replace(context(), scopes=("photos:read", scope))
        for copy in (token, token.attenuate(Note("a copy"))):
            before = online.asked
            assert remote.verify(copy, asked).user == "alice"
            assert remote.verify(copy, asked).user == "alice"
            assert online.asked == before + 2
    online.answer = lambda _: httpx.Response(
        403, json={"status": 403, "code": "forbidden"}, headers={"content-type": "application/problem+json"}
    )
    with pytest.raises(Refused):
        remote.verify(token, replace(context(), scopes=("caveats:admin",)))
    assert remote.verify(token, context()).user == "alice"


def test_a_copy_made_of_a_remembered_one_needs_no_asking(online: Online, remote: RemoteVerifier) -> None:
    token = mint()
    remote.verify(token, context())
    narrow = token.attenuate(Scope("photos/42:*")).attenuate(Method("GET"), Note("x"))
    grant = remote.verify(narrow.encode(), context(method="GET"))
    assert grant.scopes == ("photos/42:*",)
    assert [one.added_by for one in remote.failures(narrow, context(method="PUT"))] == ["holder"]
    assert online.asked == 1


def test_the_longest_remembered_beginning_counts(online: Online, remote: RemoteVerifier) -> None:
    token = mint()
    middle = token.attenuate(Note("middle"))
    remote.verify(token, context())
    remote._accepted.clear()
    remote.verify(middle, context())
    remote.verify(middle.attenuate(Note("narrow")), context())
    assert online.asked == 2
    remote.verify(token, context())  # a beginning of what is remembered is not vouched for by it
    assert online.asked == 3
    remote.verify(middle.attenuate(Note("narrow")), context())
    assert online.asked == 3


# What it must not believe


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda t: Macaroon(t.wire._replace(signature=bytes(32))), id="another signature"),
        pytest.param(
            lambda t: Macaroon(t.wire._replace(caveats=(*t.wire.caveats, b"note = x"))),
            id="unsigned caveat",
        ),
        pytest.param(
            lambda t: Macaroon(
                t.attenuate(Note("a"), Note("b")).wire._replace(
                    caveats=(*t.wire.caveats, b"note = b", b"note = a")
                )
            ),
            id="swapped",
        ),
        pytest.param(
            lambda t: Macaroon(t.wire._replace(signature=t.attenuate(Note("a")).wire.signature)),
            id="a longer one's signature",
        ),
    ],
)
def test_a_forged_copy_of_a_remembered_one_is_refused_without_asking(
    forge: Callable[[Macaroon], Macaroon], online: Online, remote: RemoteVerifier
) -> None:
    token = mint()
    remote.verify(token, context())
    with pytest.raises(BadSignature):
        remote.verify(forge(token), context())
    assert online.asked == 1
    assert remote.verify(token, context())


@given(st.integers(0, 10_000), st.integers(0, 7))
@settings(
    max_examples=settings().max_examples * 3, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_flipped_bit_of_a_copy_refuses(place: int, bit: int) -> None:
    online = Online()
    with made(online, Tick()) as remote:
        token = mint()
        remote.verify(token, context())
        raw = bytearray(token.attenuate(Note("x")).to_bytes())
        raw[place % len(raw)] ^= 1 << bit
        try:
            changed = Macaroon.from_bytes(bytes(raw))
        except (MalformedToken, LimitExceeded):
            return
        with pytest.raises((Refused, MalformedToken)):
            remote.verify(changed, context())


def test_a_shorter_copy_is_asked_for_and_refused(online: Online, remote: RemoteVerifier) -> None:
    """Stripping a caveat: what is remembered says nothing about where it came from."""
    narrow = mint().attenuate(Scope("photos/7:read"))
    assert outcome(lambda: remote.verify(narrow, context())) == "UnsatisfiedCaveats"
    stripped = Macaroon(narrow.wire._replace(caveats=narrow.wire.caveats[:-1]))
    with pytest.raises(Refused, match="not authentic, or not alive"):
        remote.verify(stripped, context())
    assert online.asked == 2


def test_a_user_that_a_holder_appended_changes_nothing(online: Online, remote: RemoteVerifier) -> None:
    token = mint()
    remote.verify(token, context())
    assert outcome(lambda: remote.verify(token.attenuate(User("bob")), context())) == "UnsatisfiedCaveats"
    assert remote.verify(token.attenuate(User("alice")), context()).user == "alice"
    assert online.asked == 1


def test_a_revoked_copy_is_refused_though_its_parent_is_remembered(
    online: Online, remote: RemoteVerifier
) -> None:
    token = mint()
    dead = token.attenuate(Note("dead"))
    revoke(online, dead)
    remote.verify(token, context())
    for copy in (dead, dead.attenuate(Note("below"))):
        with pytest.raises(Revoked):
            remote.verify(copy, context())
    assert remote.verify(token.attenuate(Note("alive")), context())
    assert online.asked == 1


def test_where_the_service_does_not_say_what_was_revoked_every_copy_is_asked_for(
    online: Online, remote: RemoteVerifier
) -> None:
    online.says_branches = False
    token = mint()
    dead, alive = token.attenuate(Note("dead")), token.attenuate(Note("alive"))
    revoke(online, dead)
    remote.verify(token, context())
    with pytest.raises(Refused):
        remote.verify(dead, context())
    for _ in range(2):
        remote.verify(alive, context())
        remote.verify(token, context())
    assert online.asked == 3


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(lambda token: token.attenuate(b"acme/kind = x"), id="a kind that is unknown here"),
        pytest.param(
            lambda token: token.attenuate(Parent("k1", new_token_id(now()), (b"b" * 16,))),
            id="another parent",
        ),
        pytest.param(lambda token: token.attenuate(Renewed(now().replace(microsecond=0))), id="renewed"),
    ],
)
def test_a_copy_with_more_than_meets_the_eye_is_asked_for(
    odd: Callable[[Macaroon], Macaroon], online: Online, remote: RemoteVerifier
) -> None:
    token = mint()
    remote.verify(token, context())
    outcome(lambda: remote.verify(odd(token), context()))
    assert online.asked == 2


def test_copies_of_a_renewed_token_are_asked_for_since_their_first_branches_are_not_known_here(
    online: Online, remote: RemoteVerifier
) -> None:
    token = mint(Renewed(now().replace(microsecond=0)))
    remote.verify(token, context())
    remote.verify(token, context())
    assert online.asked == 1
    remote.verify(token.attenuate(Note("x")), context())
    assert online.asked == 2


def test_a_token_with_a_kind_that_is_unknown_here_is_never_remembered(online: Online, tick: Tick) -> None:
    bare = Checkers()
    for kind in (User, Expires, Scope):
        bare.register(kind, lambda caveat, asked: True)
    with made(online, tick, checkers=bare) as remote:
        token = mint(Note("x"))
        for _ in range(2):
            assert remote.verify(token, context())
    assert online.asked == 2


def test_tokens_with_third_parties_are_always_asked_for(online: Online, remote: RemoteVerifier) -> None:
    party_key = PrivateKey.generate()
    party = ThirdParty("https://party.example", party_key.public_key)
    token = mint()
    remote.verify(token, context())
    needy = token.require_discharge(party, "is-nice")
    for _ in range(2):
        with pytest.raises(MissingDischarge) as missing:
            remote.verify(needy, context())
    assert missing.value.location == "https://party.example"
    assert online.asked == 3
    remote.verify(token, context())
    with pytest.raises(Refused):
        remote.verify(Bundle(token, [mint()]), context())
    assert online.asked == 4


def test_another_location_is_asked_for(online: Online, remote: RemoteVerifier) -> None:
    token = mint()
    remote.verify(token, context())
    moved = Macaroon(token.wire._replace(location="https://elsewhere.example"))
    assert outcome(lambda: remote.verify(moved, context())) == "Refused"
    assert online.asked == 2


# For how long, and how much


def test_a_yes_counts_for_a_while_from_when_it_was_asked_for(
    online: Online, remote: RemoteVerifier, tick: Tick
) -> None:
    token = mint()
    online.before = lambda: setattr(tick, "at", tick.at + 3)  # the answer takes three seconds
    remote.verify(token, context())
    online.before = lambda: None
    identifier = token.unverified_identifier
    assert identifier is not None
    online.revocations.add(TokenRevocation(identifier.token_id, now() + HOUR))
    tick.at += 1.999
    assert remote.verify(token, context())
    assert remote.verify(token.attenuate(Note("x")), context())
    tick.at += 0.001
    for copy in (token, token.attenuate(Note("x"))):
        with pytest.raises(Refused):
            remote.verify(copy, context())


def test_use_does_not_make_it_last_longer(online: Online, remote: RemoteVerifier, tick: Tick) -> None:
    token = mint()
    for _ in range(11):
        remote.verify(token, context())
        remote.verify(token.attenuate(Note("x")), context())
        tick.at += 1
    assert online.asked == 3


def test_remembering_for_no_time_asks_every_time(online: Online, tick: Tick) -> None:
    token = mint()
    with made(online, tick, remember_for=timedelta(0)) as remote:
        remote.verify(token, context())
        remote.verify(token, context())
    assert online.asked == 2


def test_what_is_forgotten_is_asked_for_in_all_its_copies(online: Online, remote: RemoteVerifier) -> None:
    token, other = mint(), mint()
    for one in (token, token.attenuate(Note("x")), other):
        remote.verify(one, context())
    remote.forget(token.attenuate(Note("y")))
    remote.verify(other, context())
    assert online.asked == 2
    remote.verify(token, context())
    assert online.asked == 3
    remote.clear()
    remote.verify(other, context())
    assert online.asked == 4


@pytest.mark.parametrize(
    "forget", [lambda remote, token: remote.forget(token), lambda remote, _: remote.clear()]
)
def test_an_answer_that_was_on_its_way_when_it_was_forgotten_is_not_remembered(
    forget: Callable[[RemoteVerifier, Macaroon], None], online: Online, remote: RemoteVerifier
) -> None:
    token = mint()
    online.before = lambda: forget(remote, token)
    remote.verify(token, context())
    online.before = lambda: None
    remote.verify(token, context())
    assert online.asked == 2


def test_memory_is_bounded_in_entries(online: Online, tick: Tick) -> None:
    tokens = [mint() for _ in range(5)]
    with made(online, tick, cache_entries=3) as remote:
        for token in tokens:
            remote.verify(token, context())
        assert len(remote._accepted) == 3
        for token in reversed(tokens[2:]):
            remote.verify(token, context())
        assert online.asked == 5
        remote.verify(tokens[0], context())
        assert online.asked == 6


def test_memory_is_bounded_in_bytes_and_nothing_is_left_when_all_is_over(online: Online, tick: Tick) -> None:
    with made(online, tick, cache_bytes=10_000) as remote:
        for _ in range(30):
            remote.verify(mint().attenuate(*[Note("n" * 500)] * 3), context())
        assert 0 < len(remote._accepted) <= 3
        assert remote._accepted._held <= 10_000
        remote.verify(mint().attenuate(*[Note("n" * 900)] * 9), context())  # too large to be kept at all
        tick.at += 60
        remote.verify(mint(), context())
        assert len(remote._accepted) == 1
        assert len(remote._accepted._by_identifier) == 1


def test_a_token_remembered_anew_takes_the_place_of_the_old(
    online: Online, remote: RemoteVerifier, tick: Tick
) -> None:
    token = mint()
    for _ in range(3):
        remote.verify(token, context())
        tick.at += 5
    assert len(remote._accepted) == 1


def test_too_many_revoked_branches_are_not_kept(online: Online, remote: RemoteVerifier) -> None:
    token = mint()
    identifier = token.unverified_identifier
    assert identifier is not None
    for number in range(1001):
        online.revocations.add(
            BranchRevocation(identifier.token_id, number.to_bytes(16, "big"), now() + HOUR)
        )
    remote.verify(token, context())
    remote.verify(token.attenuate(Note("x")), context())
    assert online.asked == 2


# What comes before any asking


@pytest.mark.parametrize(
    ("token", "error"),
    [
        pytest.param("", MalformedToken, id="empty"),
        pytest.param("cav1_AgIA", MalformedToken, id="garbage"),
        pytest.param("x" * 70_000, LimitExceeded, id="too long"),
        pytest.param(7, MalformedToken, id="a number"),
        pytest.param(Macaroon.mint(b"k" * 32, b"whatever"), UnknownKey, id="another issuer's"),
        pytest.param(mint(audience="thumbs"), WrongAudience, id="another audience"),
    ],
)
def test_what_cannot_be_good_is_never_sent(
    token: Any, error: type[Exception], online: Online, remote: RemoteVerifier
) -> None:
    with pytest.raises(error):
        remote.verify(token, context())
    assert online.asked == 0


def test_a_context_of_another_audience_is_refused(online: Online, remote: RemoteVerifier) -> None:
    with pytest.raises(WrongAudience):
        remote.verify(mint(), context(audience="thumbs"))
    assert remote.verify(mint().attenuate(Audience("photos")), context(audience="photos"))
    assert remote.verify(mint().attenuate(Audience("photos")), context())
    assert outcome(lambda: remote.verify(mint())) == "UnsatisfiedCaveats"


# When the service says something else

PROXIES: dict[str, dict[str, Any]] = {
    "Basic": {"headers": {"www-authenticate": 'Basic realm="proxy"'}},
    "HTML": {"html": "<html><h1>No</h1></html>"},
    "JSON": {"json": {"error": "invalid_token", "detail": "invalid_token"}},
    "a code that is none": {"json": {"code": 7, "title": ["invalid_token"]}},
}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(problem(401, "invalid_token"), Refused, id="not alive"),
        pytest.param(problem(401, "damaged_token"), DamagedToken, id="damaged"),
        pytest.param(problem(401, "discharge_required"), Refused, id="a discharge of a discharge is missing"),
        pytest.param(problem(403, "wrong_audience"), Refused, id="403"),
        pytest.param(problem(400, "bad_request"), Refused, id="400"),
        pytest.param(problem(404, ""), Stale, id="another service"),
        pytest.param(problem(429, "rate_limited"), Stale, id="429"),
        pytest.param(problem(500, "internal"), Stale, id="500"),
        pytest.param(problem(503, "unavailable"), Stale, id="503"),
        pytest.param(problem(401, "credential_required"), Stale, id="a guard that wants its own token"),
        pytest.param(problem(403, "invalid_token"), Stale, id="a code of another status"),
        pytest.param(problem(403, "forbidden"), Stale, id="403 of another kind"),
        pytest.param(problem(408, "body_timeout"), Stale, id="408"),
        pytest.param(problem(413, "too_large"), Stale, id="413"),
        *(
            pytest.param(httpx.Response(status, **body), Stale, id=f"{status} of a proxy, {kind}")
            for status in (
                400,
                401,
                403,
                404,
                405,
                407,
                408,
                409,
                413,
                414,
                421,
                425,
                429,
                431,
                451,
                500,
                502,
                504,
            )
            for kind, body in PROXIES.items()
        ),
        pytest.param(httpx.Response(200), Stale, id="nothing"),
        pytest.param(httpx.Response(204), Stale, id="no content"),
        pytest.param(httpx.Response(200, html="<html>Sign in</html>"), Stale, id="a portal"),
        pytest.param(httpx.Response(200, text="hello"), Stale, id="no JSON"),
        pytest.param(httpx.Response(200, json={"granted": True}), Stale, id="half an answer"),
        pytest.param(
            httpx.Response(302, headers={"location": "https://evil.example"}), Stale, id="a redirect"
        ),
    ],
)
def test_any_other_answer_is_no_grant(
    reply: httpx.Response, error: type[Exception], online: Online, remote: RemoteVerifier
) -> None:
    online.answer = lambda _: reply
    token = mint()
    with pytest.raises(error) as refused:
        remote.verify(token, context())
    assert type(refused.value) is error
    assert token.encode()[10:60] not in str(refused.value)
    online.answer = lambda _: None
    assert remote.verify(token, context())
    assert online.asked == 2


@pytest.mark.parametrize("revoked", ["zz", 7, None])
def test_branches_that_are_none_are_no_answer(revoked: Any, online: Online, remote: RemoteVerifier) -> None:
    import json

    good = online(
        httpx.Request("POST", "https://x/", json={"token": (token := mint()).encode(), "audience": "photos"})
    )
    members = {**json.loads(good.content), "revoked_branches": [revoked]}
    online.answer = lambda _: httpx.Response(200, json=members)
    with pytest.raises(Stale):
        remote.verify(token, context())


def test_an_answer_to_another_question_is_none(online: Online, remote: RemoteVerifier) -> None:
    """Another token, another copy of the same one, the same token for another scope, and an answer that names none."""
    mine = mint(Method("GET"))
    asked = {"audience": "photos", "scope": "photos/42:read", "method": "GET"}

    def answered(token: Macaroon, **more: str) -> httpx.Response:
        return online(httpx.Request("POST", "https://x/", json={"token": token.encode(), **asked, **more}))

    nameless = answered(mine)
    nameless = httpx.Response(
        200, json={name: value for name, value in nameless.json().items() if name != "request_sha256"}
    )
    for answer in (
        answered(mint()),
        answered(mine.attenuate(Note("narrower"))),
        answered(mine, scope="photos/43:read"),
        nameless,
    ):
        assert answer.json()["granted"]
        online.answer = lambda _, answer=answer: answer  # type: ignore[misc]
        with pytest.raises(Stale, match="another request"):
            remote.verify(mine, context(method="GET"))
    online.answer = lambda _: None
    online.asked = 0
    assert remote.verify(mine, context(method="GET"))
    assert online.asked == 1


def test_nobody_there_is_stale_and_what_is_remembered_goes_on_for_its_time(
    online: Online, remote: RemoteVerifier, tick: Tick
) -> None:
    token = mint()
    remote.verify(token, context())

    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    online.answer = gone
    assert remote.verify(token, context())
    tick.at += 5
    with pytest.raises(Stale, match="cannot be asked"):
        remote.verify(token, context())


# The law


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("narrow"), st.integers(0, 99), st.sampled_from(["a", "b"])),
            st.tuples(st.just("verify"), st.integers(0, 99)),
            st.tuples(st.just("revoke"), st.integers(0, 99)),
            st.tuples(st.just("time"), st.floats(0, 4)),
        ),
        max_size=40,
    )
)
def test_nothing_revoked_for_longer_than_the_bound_is_ever_granted_and_nothing_alive_is_refused(
    plan: list[tuple[Any, ...]],
) -> None:
    online, tick = Online(), Tick()
    copies = [mint()]
    dead: list[tuple[float, Macaroon]] = []
    with made(online, tick) as remote:
        for step in plan:
            match step:
                case ("narrow", int(which), str(note)):
                    copies.append(copies[which % len(copies)].attenuate(Note(note)))
                case ("time", float(seconds)):
                    tick.at += seconds
                case ("revoke", int(which)):
                    copy = copies[which % len(copies)]
                    revoke(online, copy)
                    dead.append((tick.at, copy))
                case ("verify", int(which)):
                    copy = copies[which % len(copies)]
                    since = [
                        at
                        for at, one in dead
                        if copy.wire.caveats[: len(one.wire.caveats)] == one.wire.caveats
                    ]
                    answer = outcome(lambda copy=copy: remote.verify(copy, context()))
                    if not since:
                        assert answer == "Grant"
                    elif tick.at - min(since) >= 5:
                        assert answer in ("Refused", "Revoked")


# The other face


async def test_the_async_verifier_does_the_same(online: Online, tick: Tick) -> None:
    async with AsyncRemoteVerifier(
        "https://auth.example", audience="photos", transport=httpx.MockTransport(online), monotonic=tick
    ) as remote:
        token = mint()
        assert (await remote.verify(token, context())).user == "alice"
        narrow = token.attenuate(Method("GET"))
        assert await remote.verify(narrow.encode(), context(method="GET"))
        assert [one.kind for one in await remote.failures(narrow, context(method="PUT"))] == ["method"]
        assert await remote.failures(narrow, context(method="GET")) == ()
        assert online.asked == 1
        online.answer = lambda _: problem(503, "unavailable")
        with pytest.raises(Stale):
            await remote.verify(mint(), context())


# The real service


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)
    with world_in(tmp_path_factory.mktemp("world")) as running:
        yield running


def test_against_the_real_service(world: World, tick: Tick) -> None:
    with RemoteVerifier(world.url, audience="photos", monotonic=tick) as remote:
        text = world.token(scope="photos:*")
        assert remote.verify(text, context()).user == "admin"
        narrow = Macaroon.decode(text).attenuate(Scope("photos/42:read"))
        assert remote.verify(narrow, context())
        assert (
            outcome(lambda: remote.verify(narrow, context(scopes=("photos/7:read",)))) == "UnsatisfiedCaveats"
        )
        world.revoke(narrow.encode())
        tick.at += 5
        assert remote.verify(text, context())
        with pytest.raises(Refused):
            remote.verify(narrow, context())
        with pytest.raises(Refused):
            remote.verify(narrow.attenuate(Note("x")), context())
        world.revoke(text)
        tick.at += 5
        with pytest.raises(Refused):
            remote.verify(text, context())


def test_a_local_and_a_remote_verifier_answer_alike(world: World) -> None:
    text = world.token(scope="photos:*")
    token = Macaroon.decode(text)
    others = [
        token.attenuate(Scope("photos/42:read")),
        token.attenuate(Scope("photos/7:read")),
        token.attenuate(Method("PUT")),
        token.attenuate(b"acme/kind = x"),
        token.attenuate(Expires(now().replace(microsecond=0))),
    ]
    with (
        LocalVerifier(**options(world.register())) as local,
        RemoteVerifier(world.url, audience="photos") as remote,
    ):
        for _ in range(2):
            for one in (token, *others):
                answers = [
                    outcome(lambda v=v, one=one: v.verify(one, context(method="GET")))
                    for v in (local, remote)
                ]
                assert answers[0] == answers[1]
                kinds = [
                    [failure.kind for failure in v.failures(one, context(method="GET"))]
                    for v in (local, remote)
                ]
                assert kinds[0] == kinds[1]


def test_the_standard_checkers_are_the_default(online: Online, remote: RemoteVerifier) -> None:
    assert remote._checkers.kinds == standard_checkers().kinds


@pytest.mark.parametrize(
    ("header", "told"),
    [
        pytest.param({"retry-after": "30"}, "30", id="seconds"),
        pytest.param({"retry-after": "86400"}, "3600", id="a day, of which an hour is told"),
        pytest.param(
            {"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT", "date": "Sat, 21 Nov 2026 12:00:00 GMT"},
            "30",
            id="a date",
        ),
        pytest.param({"retry-after": "Sat, 21 Nov 2020 12:00:30 GMT"}, "1", id="a date that is over"),
        pytest.param({"retry-after": "-5"}, "1", id="negative"),
        pytest.param({"retry-after": "soon"}, "1", id="a word"),
        pytest.param({"retry-after": "9" * 400}, "1", id="too many digits"),
        pytest.param({}, "1", id="nothing"),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_how_long_the_service_wants_to_be_left_alone_reaches_the_client_of_the_app(
    header: dict[str, str], told: str, status: int, online: Online, remote: RemoteVerifier
) -> None:
    online.answer = lambda _: httpx.Response(status, headers=header)
    request = IncomingRequest(
        "GET", "/", b"", [(b"authorization", f"Bearer {mint().encode()}".encode())], None
    )
    asynchronous = AsyncRemoteVerifier(
        "https://auth.example", audience="photos", transport=httpx.MockTransport(online)
    )
    for judged in (
        lambda: Guard(remote).judge_async(request),
        lambda: Guard(asynchronous).judge_async(request),
    ):
        with pytest.raises(Problem) as refused:
            await judged()
        assert refused.value.status == 503
        assert refused.value.headers["Retry-After"] == told
    await asynchronous.close()


# Many at once


def test_many_that_wait_for_one_token_ask_once(online: Online, remote: RemoteVerifier) -> None:
    token, go = mint(), threading.Event()
    online.before = lambda: go.wait(30) and None
    grants: list[object] = []
    scopes = ["photos/1:read", "photos/2:read"] * 10
    threads = [
        threading.Thread(target=lambda s=s: grants.append(remote.verify(token, context(scopes=(s,)))))
        for s in scopes
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: online.asked > 0)
    go.set()
    for thread in threads:
        thread.join(30)
    assert len(grants) == 20
    assert online.asked == 1


async def test_many_tasks_that_wait_for_one_token_ask_once_and_one_that_leaves_stops_nobody(
    tick: Tick,
) -> None:
    online, go = Online(), asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        await go.wait()
        return online(request)

    token = mint()
    async with AsyncRemoteVerifier(
        "https://auth.example", audience="photos", transport=httpx.MockTransport(answer), monotonic=tick
    ) as remote:
        tasks = [asyncio.create_task(remote.verify(token, context())) for _ in range(20)]
        await asyncio.sleep(0.01)
        tasks[0].cancel()
        await asyncio.sleep(0.01)
        go.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each).__name__ for each in found] == ["CancelledError", *["Grant"] * 19]
        assert online.asked == 1
        online.answer = lambda _: httpx.Response(503)
        other = mint()
        failed = await asyncio.gather(
            *(remote.verify(other, context()) for _ in range(20)), return_exceptions=True
        )
        assert [type(each) for each in failed] == [Stale] * 20
        assert len(set(map(id, failed))) == 20
        assert online.asked == 2
        online.answer = lambda _: None
        assert await remote.verify(other, context())


async def test_a_refusal_for_one_request_is_none_for_another_that_waits(tick: Tick) -> None:
    online = Online()
    token = mint(Method("GET"))
    async with AsyncRemoteVerifier(
        "https://auth.example", audience="photos", transport=httpx.MockTransport(online), monotonic=tick
    ) as remote:
        methods = ["POST", "GET", "POST", "GET"]
        found = await asyncio.gather(
            *(remote.verify(token, context(method=method)) for method in methods), return_exceptions=True
        )
    assert [type(each).__name__ for each in found] == ["UnsatisfiedCaveats", "Grant"] * 2
    assert online.asked <= 4


async def test_tokens_that_are_asked_for_every_time_share_only_the_same_question(tick: Tick) -> None:
    online = Online()
    third = ThirdParty("https://third.example", PrivateKey.generate().public_key)
    token = mint().require_discharge(third, "x", expires_at=now() + HOUR)
    async with AsyncRemoteVerifier(
        "https://auth.example", audience="photos", transport=httpx.MockTransport(online), monotonic=tick
    ) as remote:
        found = await asyncio.gather(
            *(remote.verify(token, context(method=method)) for method in ["GET", "PUT"] * 5),
            return_exceptions=True,
        )
    assert [type(each).__name__ for each in found] == ["MissingDischarge"] * 10
    assert online.asked == 2


def test_what_was_asked_before_a_revocation_that_the_app_knows_of_is_no_answer(
    online: Online, remote: RemoteVerifier
) -> None:
    """`forget` is called while a question is under way: who comes afterwards asks anew."""
    token, go = mint(), threading.Event()
    answered = online.asked
    early = online(
        httpx.Request("POST", "https://x/", content=remote._call(remote._read(token), context()).content)
    )
    online.answer = lambda _: early if go.wait(30) else None
    first = threading.Thread(target=lambda: outcome(lambda: remote.verify(token, context())))
    first.start()
    wait_until(lambda: online.asked > answered + 1)
    revoke(online, token)
    remote.forget(token)
    found: list[str] = []
    second = threading.Thread(target=lambda: found.append(outcome(lambda: remote.verify(token, context()))))
    second.start()
    second.join(0.1)
    online.answer = lambda _: None
    go.set()
    first.join(30)
    second.join(30)
    assert found == ["Refused"]


# Clocks


def test_a_machine_that_slept_asks_again(online: Online, tick: Tick) -> None:
    """Its monotonic clock stood still."""
    wall = [now().timestamp()]
    with made(online, tick, clock=lambda: wall[0]) as remote:
        token = mint()
        remote.verify(token, context())
        wall[0] += 4.9
        remote.verify(token, context())
        assert online.asked == 1
        revoke(online, token)
        wall[0] += 0.1
        with pytest.raises(Refused):
            remote.verify(token, context())


def test_a_token_that_only_this_apps_wrong_clock_refuses_is_refused_for_the_clock(
    online: Online, tick: Tick, caplog: pytest.LogCaptureFixture
) -> None:
    online.says_time = True
    ahead = timedelta(hours=2)
    with made(online, tick, clock=(now() + ahead).timestamp) as remote:
        token = mint()
        assert remote.verify(token, replace(context(), now=now() + ahead))
        assert "this app's clock is 7200 s ahead of the service" in caplog.text
        with pytest.raises(
            Stale, match=r"expire.*: this app's clock is 7200 s ahead of the service"
        ) as refused:
            remote.verify(token, replace(context(), now=now() + ahead))
        problem = find_problem(refused.value)
        assert problem is not None
        assert (problem.status, problem.detail) == (503, "this app's clock is 7200 s ahead of the service")
    with made(online, tick) as remote:
        remote.verify(token, context())
        expired = replace(context(), now=now() + ahead)
        with pytest.raises(UnsatisfiedCaveats):
            remote.verify(token, expired)
