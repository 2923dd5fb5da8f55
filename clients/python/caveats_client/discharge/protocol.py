"""Collecting discharges over HTTP: what to ask a third party, what to make of its answers, and when to stop.

Sans I/O: `collecting` and `finding` yield steps and take what came of them; `sending` takes the steps. A third party
is a stranger whose address stood in a token: each answer is read as hostile input, and nothing is sent but to origins
on the list. The protocol is the bakery's; tickets of our own format travel the same way.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Generator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlencode

import httpx2 as httpx

from caveats import (
    Bundle,
    CaveatsError,
    LimitExceeded,
    PrivateKey,
    ThirdPartyCaveat,
    Unbound,
    UnusedDischarge,
)
from caveats.bakery import V1, V2, V3, BakeryMacaroon, BakeryParty, Needed, collect, encode_binaries
from caveats.token import decode_any_base64, encode_base64
from caveats_client.api.calls import Reply, problem
from caveats_client.api.errors import BadDischarge, ClientError, Forbidden, InteractionRequired, Unavailable
from caveats_client.transport import shown

if TYPE_CHECKING:
    from caveats_client.api.tokens import Token
    from caveats_client.discharge.allowlist import Allowlist

T = TypeVar("T")
Members: TypeAlias = Mapping[str, Any]

PROTOCOL_HEADER = "Bakery-Protocol-Version"
PROTOCOL = {PROTOCOL_HEADER: str(V3)}
REQUESTS = 16
SECONDS = 10.0
PATIENCE = 300.0
LARGEST_ANSWER = 64 * 1024

_DISCHARGE_REQUIRED = "macaroon discharge required"
_PROBLEM = "discharge_required"
_INTERACTION_REQUIRED = "interaction required"
_AGENT, _BROWSER, _FORM = "agent", "browser-window", "form"
_SUFFIX = re.compile(r"[A-Za-z0-9._-]{1,64}")
POLL_PAUSE = 1.0
_NOT_YET = frozenset((202, 204, 408, 425, 429, 502, 503, 504))


# What one has to convince a third party with


@dataclass(frozen=True, slots=True)
class Agent:
    """A robot's key, and its names at the third parties that know it."""

    key: PrivateKey
    usernames: Mapping[str, str]
    """By the third party's address."""

    @classmethod
    def parse(cls, text: str) -> Agent:
        """From the JSON of an agent file: a key, and a list of agents with url and username. Raises `ValueError`."""
        try:
            members = json.loads(text)
            key = PrivateKey(decode_any_base64(members["key"]["private"]))
            public = members["key"].get("public")
            usernames = {one["url"]: one["username"] for one in members.get("agents", [])}
            fits = public is None or decode_any_base64(public) == key.public_key
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # which may show the key
            raise ValueError("not an agent file: expected a key, and agents with url and username") from None
        if not fits:
            raise ValueError("the private key of this agent file does not go with its public key")
        if not all(type(text) is str for text in (*usernames, *usernames.values())):
            raise ValueError("an agent's url and username are text")
        return cls(key, usernames)

    def username(self, location: str) -> str | None:
        """What it is called there, if it is known there."""
        names = {_plain(url): username for url, username in self.usernames.items()}
        return names.get(_plain(location))


def _plain(location: str) -> str:
    return location.rstrip("/")


@dataclass(frozen=True, slots=True)
class Interact:
    """What to do when a third party wants to know who asks: an agent's key, a person, or neither. Tried in this order."""

    agent: Agent | None = None
    _: KW_ONLY
    fill: Callable[[Members], Members] | None = field(default=None, repr=False)
    """Answers a form: from its schema, each field's name with what is known of it, to the fields' values."""
    visit: Callable[[str], object] | None = field(default=None, repr=False)
    """Takes a person to an address: `open_browser`, or whatever shows it to them."""
    patience: float = PATIENCE
    """Seconds, in all, that persons have."""


NOBODY = Interact()


# Steps


@dataclass(frozen=True, slots=True)
class Send:
    """Ask this. `until`: when it must have been answered, on the clock that `collecting` was given."""

    method: str
    url: httpx.URL = field(repr=False)
    """May hold the secret by which an asker waits."""
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)
    until: float


@dataclass(frozen=True, slots=True)
class Visit:
    """Take the person there. They are waited for by the step that follows."""

    url: str = field(repr=False)
    visit: Callable[[str], object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fill:
    """Have this form filled in. Answered with the fields."""

    schema: Members
    fill: Callable[[Members], Members] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pause:
    """Let some time pass."""

    seconds: float


Step: TypeAlias = Send | Visit | Fill | Pause
Steps: TypeAlias = Generator[Step, Any, T]
"""A `Send` is answered with a `Reply`, a `Fill` with fields, the others with None; a `ClientError` is thrown in."""


# The two things to do


def collecting(
    macaroon: BakeryMacaroon,
    reach: Allowlist,
    interact: Interact = NOBODY,
    *,
    clock: Callable[[], float],
    bearers: Mapping[httpx.Origin, str] | None = None,
) -> Steps[Unbound]:
    """Every discharge that `macaroon` needs, depth first: 16 requests, 8 deep and 10 seconds at most, people's time apart.

    `bearers`: tokens that show who asks, each for its own origin. Raises `UnusableAddress`, `InteractionRequired`,
    `Forbidden`, `BadDischarge`, `Unavailable`.
    """
    course = _Course(reach, interact, clock, bearers or {})
    asking, answer = collect(macaroon), None
    while True:
        try:
            needed = asking.send(answer)
        except StopIteration as done:
            unbound: Unbound = done.value
            return unbound
        except (LimitExceeded, UnusedDischarge) as error:
            raise BadDischarge(str(error)) from error
        answer = yield from course.discharge(needed)


def finding(location: str, reach: Allowlist, *, clock: Callable[[], float]) -> Steps[BakeryParty]:
    """The third party at `location`: its public key, and which tickets it reads."""
    course = _Course(reach, NOBODY, clock, {})
    place = reach.place(location)
    reply = yield from course.send("GET", place.join("discharge/info"), PROTOCOL)
    version = V3
    if reply.status == 404:  # an old one
        reply = yield from course.send("GET", place.join("publickey"), PROTOCOL)
        version = V1
    members = _success(place, reply)
    try:
        told = members.get("Version", version)
        if type(told) is not int or told < V1:
            raise BadDischarge(f"{shown(place)} speaks no version of the protocol that is known here")
        return BakeryParty(_plain(location), decode_any_base64(members["PublicKey"]), min(told, V3))
    except (CaveatsError, LookupError, TypeError, AttributeError) as error:
        raise BadDischarge(f"{shown(place)} tells no public key") from error


class _Course:
    """One collection on its way: what is left of requests, time and patience."""

    def __init__(
        self,
        reach: Allowlist,
        interact: Interact,
        clock: Callable[[], float],
        bearers: Mapping[httpx.Origin, str],
    ) -> None:
        self._reach = reach
        self._interact = interact
        self._clock = clock
        self._bearers = bearers
        self._requests = REQUESTS
        self._until = clock() + SECONDS
        self._patience = interact.patience

    def send(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], content: bytes | None = None
    ) -> Steps[Reply]:
        """One request, counted."""
        self._count(url)
        reply: Reply = yield Send(method, url, headers, content, self._until)
        return reply

    def _count(self, url: httpx.URL) -> None:
        if not self._requests:
            raise BadDischarge(f"{REQUESTS} requests were not enough: {shown(url)} wants ever more")
        self._requests -= 1

    def discharge(self, needed: Needed) -> Steps[BakeryMacaroon]:
        """The discharge of one caveat."""
        place = self._reach.place(needed.location)
        reply = yield from self._ask(place, needed, {})
        members, is_known = _interaction(reply), False
        while members is not None:
            token = yield from self._convince(place, needed.location, members, is_known=is_known)
            if isinstance(token, BakeryMacaroon):
                return token
            reply = yield from self._ask(place, needed, token)
            members = _interaction(reply)
            if members is not None and (is_known or token["token-kind"] != _AGENT):
                raise Forbidden(
                    f"{shown(place)} does not take what its own sign-in gave", status=reply.status
                )
            is_known = True  # by a robot's key; a person may have to approve what it asks
        return _macaroon(place, _success(place, reply), "Macaroon")

    def _ask(self, place: httpx.URL, needed: Needed, token: Mapping[str, str]) -> Steps[Reply]:
        """The question; the first time, where a bearer token for there is at hand, with that."""
        form = _binary("id", needed.identifier)
        if needed.payload is not None:
            form["caveat64"] = encode_base64(needed.payload)
        headers = {**PROTOCOL, "Content-Type": "application/x-www-form-urlencoded"}
        content = urlencode({**form, **token}).encode("ascii")
        there = place.join("discharge")
        bearer = None if token else self._bearers.get(place.origin)
        if bearer is not None:
            shown_who = {**headers, "Authorization": f"Bearer {bearer}"}
            reply = yield from self.send("POST", there, shown_who, content)
            if reply.status not in (401, 403) or _interaction(reply) is not None:
                return reply  # else it is not good for that, and whoever asks is nobody yet
        return (yield from self.send("POST", there, headers, content))

    def _convince(
        self, place: httpx.URL, location: str, info: Members, *, is_known: bool
    ) -> Steps[Mapping[str, str] | BakeryMacaroon]:
        """What shows who asks: a token for the next question, or, in the oldest way, the discharge itself."""
        offered = info.get("InteractionMethods")
        methods: Members = offered if isinstance(offered, dict) else {}
        agent = self._interact.agent
        if agent is not None and not is_known and isinstance(methods.get(_AGENT), dict):
            username = agent.username(location)
            if username is not None:
                return (yield from self._agent(place, agent, username, methods[_AGENT]))
        fill, visit = self._interact.fill, self._interact.visit
        if fill is not None and isinstance(methods.get(_FORM), dict):
            return (yield from self._form(place, fill, _sibling(place, methods[_FORM].get("url"))))
        if visit is not None and isinstance(methods.get(_BROWSER), dict):
            window = methods[_BROWSER]
            wait = _sibling(place, window.get("WaitTokenURL"))
            members = yield from self._person(place, visit, _sibling(place, window.get("VisitURL")), wait)
            return _token(place, members)
        if visit is not None and not methods and info.get("VisitURL"):
            wait = _sibling(place, info.get("WaitURL"))
            members = yield from self._person(place, visit, _sibling(place, info["VisitURL"]), wait)
            return _macaroon(place, members, "Macaroon")
        ways = ", ".join(sorted(str(name)[:40] for name in methods)[:8]) or (
            _BROWSER if info.get("VisitURL") else "nothing known here"
        )
        raise InteractionRequired(f"{shown(place)} wants to know who asks, and offers: {ways}")

    def _agent(
        self, place: httpx.URL, agent: Agent, username: str, method: Members
    ) -> Steps[Mapping[str, str]]:
        url = _sibling(place, method.get("login-url"))
        public = b64encode(agent.key.public_key).decode("ascii")
        url = url.copy_merge_params({"username": username, "public-key": public})
        reply = yield from self.send("GET", url, PROTOCOL)
        login = _macaroon(place, _success(place, reply), "macaroon")
        asking = collect(login, agent.key)
        try:
            next(asking)
        except StopIteration as done:
            bundle = done.value.bind()
        except CaveatsError as error:
            raise BadDischarge(f"{shown(place)} asks an agent for what its key does not answer") from error
        else:
            raise BadDischarge(f"{shown(place)} sends an agent on to somebody else")
        return {"token64": encode_base64(encode_binaries(bundle)), "token-kind": _AGENT}

    def _form(
        self, place: httpx.URL, fill: Callable[[Members], Members], url: httpx.URL
    ) -> Steps[Mapping[str, str]]:
        reply = yield from self.send("GET", url, PROTOCOL)
        schema = _success(place, reply).get("schema")
        if not isinstance(schema, dict) or not all(isinstance(each, dict) for each in schema.values()):
            raise BadDischarge(f"{shown(place)} shows what is no form")
        began = self._clock()
        fields: Members = yield Fill(schema, fill)
        self._spent(began)
        headers = {**PROTOCOL, "Content-Type": "application/json"}
        reply = yield from self.send("POST", url, headers, json.dumps({"form": dict(fields)}).encode("ascii"))
        token = _success(place, reply).get("token")
        token = token if isinstance(token, dict) else {}
        return _token(place, {"kind": token.get("kind"), "token64": token.get("value")})

    def _spent(self, began: float) -> None:
        """A person took that long."""
        spent = self._clock() - began
        self._patience -= spent
        self._until += spent

    def _person(
        self, place: httpx.URL, visit: Callable[[str], object], there: httpx.URL, wait: httpx.URL
    ) -> Steps[Members]:
        """What `wait` answers once the person has been `there`. Their time is not the third party's."""
        began = self._clock()
        until = began + self._patience
        self._count(wait)
        yield Visit(str(there), visit)
        while True:
            try:
                reply = yield Send("GET", wait, {}, None, until)
                # Nothing but spaces: it was kept alive, and ended without an answer.
                if reply.status not in _NOT_YET and not reply.body.isspace():
                    break
            except Unavailable as error:  # a reply that was lost can be had again
                if self._clock() >= until:
                    raise Unavailable(f"nobody has decided at {shown(place)} in time") from error
                if self._clock() + POLL_PAUSE >= until:
                    raise
            if self._clock() + POLL_PAUSE >= until:
                raise Unavailable(f"nobody has decided at {shown(place)} in time")
            yield Pause(POLL_PAUSE)
        self._spent(began)
        return _success(place, reply)


# A first party that wants discharges


@dataclass(frozen=True, slots=True)
class Required:
    """What a first party answers: the macaroon to present, once it is discharged, for which paths, in which cookie."""

    macaroon: BakeryMacaroon
    path: str
    cookie: str
    """Empty for none: it goes where tokens go."""


def required(url: httpx.URL, reply: Reply) -> Required | None:
    """What is to be discharged, if that is what was answered at `url`: the bakery's way, or as a problem.

    Raises `BadDischarge` for nonsense, and for a macaroon to present to another site.
    """
    members = _coded(reply, _DISCHARGE_REQUIRED)
    if members is None:
        return _required_by_problem(url, reply)
    macaroon = _macaroon(url, members, "Macaroon")
    said = members.get("MacaroonPath")
    suffix = members.get("CookieNameSuffix") or "auth"
    if not isinstance(suffix, str) or _SUFFIX.fullmatch(suffix) is None:
        raise BadDischarge(f"{shown(url)} wants a cookie whose name is none")
    return Required(macaroon, _sibling(url, said).path if said else url.path, f"macaroon-{suffix}")


def _required_by_problem(url: httpx.URL, reply: Reply) -> Required | None:
    """The token to complete that came with a problem; None where none did."""
    members = _members(reply) if wants_discharges(reply) else None
    if members is None or "token" not in members:
        return None
    text, path = members["token"], members.get("path")
    try:
        bundle = Bundle.decode(text)
    except CaveatsError as error:
        raise BadDischarge(f"{shown(url)} answers with what is no token") from error
    return Required(envelope(bundle), _sibling(url, path).path if path else url.path, "")


def wants_discharges(reply: Reply) -> bool:
    """Whether this is the problem that says that a third party has to agree first."""
    members = _members(reply) if reply.status == 401 else None
    return members is not None and members.get("code") == _PROBLEM


# Answers


def _members(reply: Reply) -> Members | None:
    try:
        members = json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
    return members if isinstance(members, dict) else None


def _coded(reply: Reply, code: str) -> Members | None:
    """What comes with a bakery's error of this code, if that is what was answered."""
    members = _members(reply) if reply.status in (401, 407) else None
    if members is None or _either(members, "Code") != code:
        return None
    info = _either(members, "Info")
    return info if isinstance(info, dict) else {}


def _interaction(reply: Reply) -> Members | None:
    return _coded(reply, _INTERACTION_REQUIRED)


def _either(members: Members, name: str) -> Any:
    """Some write their members in lower case."""
    return members.get(name, members.get(name.lower()))


def _success(place: httpx.URL, reply: Reply) -> Members:
    members = _members(reply)
    if 200 <= reply.status < 300:
        if members is None:
            raise BadDischarge(f"{shown(place)} answers with something other than JSON", status=reply.status)
        return members
    raise _refusal(place, reply, members or {})


def _refusal(place: httpx.URL, reply: Reply, members: Members) -> ClientError:
    """The error that a third party's reply is, in its own words."""
    if reply.status < 400:
        return BadDischarge(
            f"{shown(place)} answers with a redirect, which is not followed", status=reply.status
        )
    said = _either(members, "Message")
    words = f": {said[:1000]}" if isinstance(said, str) and said else ""
    if _either(members, "Code") == "permission denied":
        return Forbidden(f"{shown(place)} does not agree{words}", status=reply.status)
    error = problem(reply)
    detail = words or f": {error.detail}"
    kind = BadDischarge if reply.status in (404, 405) or reply.status == 500 else type(error)
    told = kind(f"{shown(place)} gives no discharge{detail}", code=error.code, status=reply.status)
    for name in ("failures", "retry_after"):
        if hasattr(error, name) and hasattr(told, name):
            setattr(told, name, getattr(error, name))
    return told


def _macaroon(place: httpx.URL, members: Members, name: str) -> BakeryMacaroon:
    try:
        return BakeryMacaroon.from_members(members.get(name))
    except CaveatsError as error:
        raise BadDischarge(f"{shown(place)} answers with what is no macaroon") from error


def _token(place: httpx.URL, members: Members) -> Mapping[str, str]:
    """What the sign-in gave, as the second question carries it."""
    kind = members.get("kind")
    for name in ("token", "token64"):
        value = members.get(name)
        if isinstance(value, str) and isinstance(kind, str) and _is_written(value + kind):
            return {name: value, "token-kind": kind}
    raise BadDischarge(f"{shown(place)} gives no token for having signed in")


def _is_written(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _sibling(place: httpx.URL, reference: object) -> httpx.URL:
    """An address that the third party names, which must be its own. Raises `BadDischarge`."""
    url = None
    if isinstance(reference, str) and reference and "\\" not in reference:  # which browsers read as a slash
        try:
            url = place.join(reference)
        except (httpx.InvalidURL, ValueError):
            pass
    if url is None or not url.is_absolute_url or url.origin != place.origin or url.userinfo:
        raise BadDischarge(f"{shown(place)} leads to another site, which is not followed")
    return url


def _binary(name: str, data: bytes) -> dict[str, str]:
    """A field of the form: as it is if it is plain text, else as base64."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if any(character < " " or character == "\x7f" for character in text):
        return {f"{name}64": encode_base64(data)}
    return {name: text}


def envelope(token: Token | BakeryMacaroon) -> BakeryMacaroon:
    """`token` as `collecting` takes it; discharges that are bound to it already are left out, to be collected anew."""
    if isinstance(token, BakeryMacaroon):
        return token
    bundle = Bundle.decode(token) if isinstance(token, str) else token
    return BakeryMacaroon(bundle.macaroon if isinstance(bundle, Bundle) else bundle, V2)


def lacks_discharges(bundle: Bundle) -> bool:
    """Whether `bundle` has third-party caveats and came with no discharge at all."""
    return not bundle.discharges and has_third_parties(bundle)


def has_third_parties(bundle: Bundle) -> bool:
    """Whether there is anything in it to be discharged."""
    return any(isinstance(caveat, ThirdPartyCaveat) for caveat in bundle.macaroon.wire.caveats)
