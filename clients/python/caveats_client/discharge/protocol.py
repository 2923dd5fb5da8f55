"""The protocol that collects discharges: what to ask a third party in each state, and when to stop.

Knows requests and replies as values. Knows no HTTP library and does no I/O: `collecting` and `finding` are generators
that yield steps and receive the result of each; `runner` carries the steps out. Requests go only to origins on the
allowlist, since anybody may have written a third party's address into a token. The protocol is the bakery's
(docs/third-parties.md); tickets of this project's own format are sent the same way.

    Asking ──discharge──> Discharged
      │ ▲
      │ └──token of a sign-in── Identifying      at most twice: as an agent, then as a person
      └──"interaction required"──^
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Generator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlencode

from caveats import CaveatsError, LimitExceeded, Unbound, UnusedDischarge
from caveats.bakery import V1, V3, BakeryMacaroon, BakeryParty, Needed, collect, encode_binaries
from caveats.token import decode_any_base64, encode_base64
from caveats_client.api.errors import BadDischarge, Forbidden, InteractionRequired, Unavailable
from caveats_client.discharge.answers import (
    INTERACTION_REQUIRED,
    Members,
    info_of,
    macaroon_in,
    sibling,
    success,
    token_in,
)

if TYPE_CHECKING:
    from caveats_client.api.messages import Reply
    from caveats_client.discharge.agent import Agent
    from caveats_client.discharge.allowlist import Allowlist, Place

T = TypeVar("T")

PROTOCOL_HEADER = "Bakery-Protocol-Version"
PROTOCOL = {PROTOCOL_HEADER: str(V3)}
REQUESTS = 16
"""The most requests for all discharges of one token together."""
SECONDS = 10.0
"""Seconds for these requests together, without the time that people take."""
PATIENCE = 300.0
"""Seconds that people have to sign in or decide, by default."""
POLL_PAUSE = 1.0
"""Seconds between two polls for a person's decision."""
LARGEST_ANSWER = 64 * 1024
"""The most bytes that a third party's answer may have."""

_AGENT, _BROWSER, _FORM = "agent", "browser-window", "form"
_NOT_YET = frozenset((202, 204, 408, 425, 429, 502, 503, 504))


@dataclass(frozen=True, slots=True)
class Interact:
    """How to show a third party who asks: an agent's key, a form, or a browser. They are tried in this order."""

    agent: Agent | None = None
    _: KW_ONLY
    fill: Callable[[Members], Members] | None = field(default=None, repr=False)
    """Fills in a form: takes its schema, which describes each field by name, and returns the fields' values."""
    visit: Callable[[str], object] | None = field(default=None, repr=False)
    """Shows a URL to a person: `open_browser`, or a function of your own."""
    patience: float = PATIENCE
    """Seconds that people have, for all discharges together."""


NOBODY = Interact()


# Steps


@dataclass(frozen=True, slots=True)
class Send:
    """Send this request. `until`: the deadline, on the clock that `collecting` was given."""

    method: str
    place: Place = field(repr=False)
    """It may contain the secret that identifies a waiting asker."""
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)
    until: float


@dataclass(frozen=True, slots=True)
class Visit:
    """Show `url` to the person. The next step waits for them."""

    url: str = field(repr=False)
    visit: Callable[[str], object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fill:
    """Fill in this form."""

    schema: Members
    fill: Callable[[Members], Members] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pause:
    """Let this time pass."""

    seconds: float


Step: TypeAlias = Send | Visit | Fill | Pause
Steps: TypeAlias = Generator[Step, Any, T]
"""The result of `Send` is a `Reply`, of `Fill` the fields, of the others None. A `ClientError` is thrown into it."""


# States of one discharge


@dataclass(frozen=True, slots=True)
class Asking:
    """The next request asks the third party for the discharge."""

    token: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The fields that a sign-in gave, which show who asks; empty before the first."""
    as_person: bool = False
    """Whether no other sign-in may follow."""


@dataclass(frozen=True, slots=True)
class Identifying:
    """The third party wants to know who asks. `offers`: its ways to sign in."""

    offers: Members
    as_person: bool
    """Whether an agent's key has been used: then only a person can sign in."""


@dataclass(frozen=True, slots=True)
class Discharged:
    """The third party gave the discharge. No request follows."""

    macaroon: BakeryMacaroon


# The two things to do


def collecting(
    macaroon: BakeryMacaroon,
    allowlist: Allowlist,
    interact: Interact = NOBODY,
    *,
    clock: Callable[[], float],
    bearers: Mapping[Any, str] | None = None,
) -> Steps[Unbound]:
    """Collect every discharge that `macaroon` needs, depth first; discharges of discharges too, at most 8 deep.

    At most 16 requests and 10 seconds, without the time that persons take. `bearers`: by origin, tokens that show
    there who asks. Raises `UnusableAddress`, `InteractionRequired`, `Forbidden`, `BadDischarge`, `Unavailable`.
    """
    acquisition = _Acquisition(allowlist, interact, clock, bearers or {})
    asking, answer = collect(macaroon), None
    while True:
        try:
            needed = asking.send(answer)
        except StopIteration as done:
            unbound: Unbound = done.value
            return unbound
        except (LimitExceeded, UnusedDischarge) as error:
            raise BadDischarge(str(error)) from error
        answer = yield from acquisition.discharge(needed)


def finding(location: str, allowlist: Allowlist, *, clock: Callable[[], float]) -> Steps[BakeryParty]:
    """Ask the third party at `location` for its public key and its protocol version."""
    acquisition = _Acquisition(allowlist, NOBODY, clock, {})
    place = allowlist.place(location)
    reply = yield from acquisition.send("GET", place.endpoint("discharge/info"), PROTOCOL)
    version = V3
    if reply.status == 404:  # it has an old version
        reply = yield from acquisition.send("GET", place.endpoint("publickey"), PROTOCOL)
        version = V1
    members = success(place, reply)
    try:
        told = members.get("Version", version)
        if type(told) is not int or told < V1:
            raise BadDischarge(
                f"{place.shown} speaks a version of the protocol that this client does not know"
            )
        return BakeryParty(location.rstrip("/"), decode_any_base64(members["PublicKey"]), min(told, V3))
    except (CaveatsError, LookupError, TypeError, AttributeError) as error:
        raise BadDischarge(f"{place.shown} gives no public key") from error


class _Acquisition:
    """The collection of one token's discharges: the requests and the seconds that are left."""

    def __init__(
        self,
        allowlist: Allowlist,
        interact: Interact,
        clock: Callable[[], float],
        bearers: Mapping[Any, str],
    ) -> None:
        self._allowlist = allowlist
        self._interact = interact
        self._clock = clock
        self._bearers = bearers
        self._requests = REQUESTS
        self._until = clock() + SECONDS
        self._patience = interact.patience

    def discharge(self, needed: Needed) -> Steps[BakeryMacaroon]:
        """Get the discharge of one caveat."""
        place = self._allowlist.place(needed.location)
        state: Asking | Identifying | Discharged = Asking()
        while not isinstance(state, Discharged):
            match state:
                case Asking():
                    state = yield from self._ask(place, needed, state)
                case Identifying():
                    state = yield from self._identify(place, needed.location, state)
        return state.macaroon

    def send(
        self, method: str, place: Place, headers: Mapping[str, str], content: bytes | None = None
    ) -> Steps[Reply]:
        """Send one request, and count it."""
        self._count(place)
        reply: Reply = yield Send(method, place, headers, content, self._until)
        return reply

    def _count(self, place: Place) -> None:
        if not self._requests:
            raise BadDischarge(f"{REQUESTS} requests were not enough: {place.shown} asks for more")
        self._requests -= 1

    # Asking

    def _ask(self, place: Place, needed: Needed, state: Asking) -> Steps[Identifying | Discharged]:
        reply = yield from self._question(place, needed, state.token)
        offers = info_of(reply, INTERACTION_REQUIRED)
        if offers is None:
            return Discharged(macaroon_in(place, success(place, reply), "Macaroon"))
        if state.as_person or (state.token and state.token["token-kind"] != _AGENT):
            raise Forbidden(
                f"{place.shown} does not accept the token that its own sign-in gave", status=reply.status
            )
        return Identifying(offers, as_person=bool(state.token))

    def _question(self, place: Place, needed: Needed, token: Mapping[str, str]) -> Steps[Reply]:
        """The reply to the request for the discharge, with the bearer token for that origin if there is one."""
        form = _binary("id", needed.identifier)
        if needed.payload is not None:
            form["caveat64"] = encode_base64(needed.payload)
        headers = {**PROTOCOL, "Content-Type": "application/x-www-form-urlencoded"}
        content = urlencode({**form, **token}).encode("ascii")
        there = place.endpoint("discharge")
        bearer = None if token else self._bearers.get(place.origin)
        if bearer is not None:
            authorized = {**headers, "Authorization": f"Bearer {bearer}"}
            reply = yield from self.send("POST", there, authorized, content)
            if reply.status not in (401, 403) or info_of(reply, INTERACTION_REQUIRED) is not None:
                return reply  # otherwise the origin does not accept that token: ask without it
        return (yield from self.send("POST", there, headers, content))

    # Identifying

    def _identify(self, place: Place, location: str, state: Identifying) -> Steps[Asking | Discharged]:
        """Sign in, in the first way that both sides know. The oldest way gives the discharge itself."""
        offered = state.offers.get("InteractionMethods")
        methods: Members = offered if isinstance(offered, dict) else {}
        agent = self._interact.agent
        if agent is not None and not state.as_person and isinstance(methods.get(_AGENT), dict):
            username = agent.username(location)
            if username is not None:
                token = yield from self._as_agent(place, agent, username, methods[_AGENT])
                return Asking(token, as_person=state.as_person)
        fill, visit = self._interact.fill, self._interact.visit
        if fill is not None and isinstance(methods.get(_FORM), dict):
            token = yield from self._by_form(place, fill, sibling(place, methods[_FORM].get("url")))
            return Asking(token, as_person=state.as_person)
        if visit is not None and isinstance(methods.get(_BROWSER), dict):
            window = methods[_BROWSER]
            wait = sibling(place, window.get("WaitTokenURL"))
            members = yield from self._by_browser(place, visit, sibling(place, window.get("VisitURL")), wait)
            return Asking(token_in(place, members), as_person=state.as_person)
        if visit is not None and not methods and state.offers.get("VisitURL"):
            wait = sibling(place, state.offers.get("WaitURL"))
            there = sibling(place, state.offers["VisitURL"])
            members = yield from self._by_browser(place, visit, there, wait)
            return Discharged(macaroon_in(place, members, "Macaroon"))
        ways = ", ".join(sorted(str(name)[:40] for name in methods)[:8]) or (
            _BROWSER if state.offers.get("VisitURL") else "nothing known here"
        )
        raise InteractionRequired(f"{place.shown} wants to know who asks, and offers: {ways}")

    def _as_agent(
        self, place: Place, agent: Agent, username: str, method: Members
    ) -> Steps[Mapping[str, str]]:
        """Discharge the login macaroon with the agent's key. Returns the fields of the next request for the discharge."""
        public = b64encode(agent.key.public_key).decode("ascii")
        there = sibling(place, method.get("login-url")).with_query(
            {"username": username, "public-key": public}
        )
        reply = yield from self.send("GET", there, PROTOCOL)
        login = macaroon_in(place, success(place, reply), "macaroon")
        asking = collect(login, agent.key)
        try:
            next(asking)
        except StopIteration as done:
            bundle = done.value.bind()
        except CaveatsError as error:
            raise BadDischarge(f"{place.shown} asks an agent for more than a proof of its key") from error
        else:
            raise BadDischarge(f"{place.shown} sends an agent on to somebody else")
        return {"token64": encode_base64(encode_binaries(bundle)), "token-kind": _AGENT}

    def _by_form(
        self, place: Place, fill: Callable[[Members], Members], there: Place
    ) -> Steps[Mapping[str, str]]:
        """Fill in the form and send it. Returns the fields of the next request for the discharge."""
        reply = yield from self.send("GET", there, PROTOCOL)
        schema = success(place, reply).get("schema")
        if not isinstance(schema, dict) or not all(isinstance(each, dict) for each in schema.values()):
            raise BadDischarge(f"{place.shown} gives a form that cannot be read")
        began = self._clock()
        fields: Members = yield Fill(schema, fill)
        self._spent(began)
        headers = {**PROTOCOL, "Content-Type": "application/json"}
        reply = yield from self.send(
            "POST", there, headers, json.dumps({"form": dict(fields)}).encode("ascii")
        )
        token = success(place, reply).get("token")
        token = token if isinstance(token, dict) else {}
        return token_in(place, {"kind": token.get("kind"), "token64": token.get("value")})

    def _by_browser(
        self, place: Place, visit: Callable[[str], object], there: Place, wait: Place
    ) -> Steps[Members]:
        """Show `there` to the person, and poll `wait` until they decide. Returns the answer."""
        began = self._clock()
        until = began + self._patience
        self._count(wait)
        yield Visit(str(there), visit)
        while True:
            try:
                reply = yield Send("GET", wait, {}, None, until)
                # Only spaces: they keep the connection open, and it ended without an answer.
                if reply.status not in _NOT_YET and not reply.body.isspace():
                    break
            except Unavailable as error:  # a lost reply can be asked for again
                if self._clock() >= until:
                    raise Unavailable(f"nobody has decided at {place.shown} in time") from error
                if self._clock() + POLL_PAUSE >= until:
                    raise
            if self._clock() + POLL_PAUSE >= until:
                raise Unavailable(f"nobody has decided at {place.shown} in time")
            yield Pause(POLL_PAUSE)
        self._spent(began)
        return success(place, reply)

    def _spent(self, began: float) -> None:
        """Subtract the seconds since `began` from the person's time, and add them to the third party's deadline."""
        spent = self._clock() - began
        self._patience -= spent
        self._until += spent


def _binary(name: str, data: bytes) -> dict[str, str]:
    """The field `name` of a form: plain text as it is, other bytes in base64 as `name64`."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if any(character < " " or character == "\x7f" for character in text):
        return {f"{name}64": encode_base64(data)}
    return {name: text}
