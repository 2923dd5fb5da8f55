"""The test kit for kinds of caveat: tests that a kind, also of a plug-in, keeps the laws.

    def test_album_keeps_the_laws() -> None:
        checkers = standard_checkers()
        checkers.register(Album, check_album)
        check_kind(
            checkers,
            Album,
            caveats=[Album(42), Album(7)],
            malformed=["", "042", "x"],
            contexts=[Context(now=NOW, extra={"album": 42}), Context(now=NOW, extra={"album": 7})],
        )

Needs no test framework. Judges a kind by its public methods only.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from caveats.context import Context
from caveats.errors import BadSignature, CaveatsError, MalformedCaveat
from caveats.kinds.authority import Authority, effective
from caveats.kinds.base import Caveat, UnknownCaveat, Unmet, check_value, is_kind
from caveats.kinds.standard import (
    STANDARD,
    Audience,
    ClientIp,
    Expires,
    Host,
    Method,
    NotBefore,
    Note,
    Path,
    Scope,
    User,
)
from caveats.macaroon.macaroon import Macaroon
from caveats.token.identifier import Identifier, is_audience
from caveats.verification.verifier import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from caveats.kinds.checkers import Checkers

_NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
_ROOT_KEY = b"only for the test kit of caveats"
_ULID = "01KAJQ0000TESTKT0000000000"
_MOST = 6
"""The number of examples that are combined with one another. All examples are judged."""
_ODD = (
    "0",
    "1",
    " ",
    "  ",
    "-",
    "+",
    "_",
    "/",
    "*",
    ".",
    "\t",
    "\n",
    "\0",
    "\x7f",
    "\u0661",
    "\uff11",
    "\u0301",
    "\u200b",
    "\xa0",
    "%41",
    " = ",
)
_ELSEWHERE = "testkit.invalid"
_STANDARD_LIMITS = (
    Expires(_NOW),
    NotBefore(_NOW),
    Scope("testkit:read"),
    Method("GET"),
    Path("/testkit/*"),
    Note("test kit"),
    UnknownCaveat(b"testkit/unknown = 1"),
)
_AUTHORITIES = (Authority(user="alice"), effective((User("alice"), *_STANDARD_LIMITS)))
"""What the kinds are asked to narrow."""


def check_kind(
    checkers: Checkers,
    kind: type[Caveat],
    *,
    caveats: Sequence[Caveat],
    malformed: Sequence[str] = (),
    contexts: Sequence[Context] = (),
    unconditional: bool = False,
) -> None:
    """Tests that `kind`, registered with `checkers`, keeps the laws. Raises `AssertionError` with the law that it breaks.

    `caveats`: examples, at least one. `malformed`: values that are not of this kind. `contexts`: requests; at least one
    must satisfy an example. `unconditional`: an example holds for a request of which only the time is known.
    """
    try:
        _check_kind(checkers, kind, caveats, malformed, contexts, unconditional=unconditional)
    except AssertionError:
        raise
    except BaseException as error:  # also SystemExit, which a plug-in has no right to raise
        raise AssertionError(f"{kind.__name__} raises {error!r}") from error


def _check_kind(
    checkers: Checkers,
    kind: type[Caveat],
    caveats: Sequence[Caveat],
    malformed: Sequence[str],
    contexts: Sequence[Context],
    *,
    unconditional: bool,
) -> None:
    _check_registered(checkers, kind, caveats)
    for caveat in caveats:
        _check_written_form(checkers, caveat)
    _check_equality(caveats)
    _check_malformed(checkers, kind, caveats, malformed)
    requests = [*contexts, Context(now=contexts[0].now if contexts else _NOW)]
    asked = list(product(caveats, [*requests, *_with_a_fact_less(requests)]))
    answers = [_check_answer(checkers, caveat, context) for caveat, context in asked]
    _check_missing_facts(checkers, caveats, requests[-1], unconditional=unconditional)
    _check_something_holds(checkers, caveats, requests)
    for first, second in product(caveats, caveats):
        _check_narrowing(first, second)
    for context in requests:
        _check_appending(checkers, caveats[:_MOST], context)
        _check_among_others(checkers, caveats[:_MOST], context)
    _check_no_memory(checkers, asked, answers)


def _require(condition: object, law: str) -> None:
    if not condition:
        raise AssertionError(law)


def _check_registered(checkers: Checkers, kind: type[Caveat], caveats: Sequence[Caveat]) -> None:
    name = getattr(kind, "kind", None)
    _require(isinstance(name, str) and is_kind(name), f"{kind.__name__}.kind names no kind: {name!r}")
    _require(checkers.kinds.get(kind.kind) is kind, f"{kind.__name__} is not registered with these checkers")
    params: Any = getattr(kind, "__dataclass_params__", None)
    _require(
        is_dataclass(kind) and params.frozen,
        f"{kind.__name__} is not a frozen dataclass: requests share its instances",
    )
    _require(caveats, "at least one example caveat is needed")
    for caveat in caveats:
        _require(type(caveat) is kind, f"the example {caveat!r} is not a {kind.__name__}")


def _check_written_form(checkers: Checkers, caveat: Caveat) -> None:
    try:
        check_value(caveat.value)
    except MalformedCaveat as error:
        raise AssertionError(f"{caveat!r}.value breaks the grammar of values: {error}") from error
    expected = f"{caveat.kind} = {caveat.value}".encode()
    _require(caveat.predicate == expected, f"{caveat!r}.predicate is not the bytes of 'kind = value'")
    read = checkers.parse(caveat.predicate)
    _require(
        type(read) is type(caveat) and read == caveat,
        f"{caveat!r} is written as {caveat.value!r}, which reads back as {read!r}",
    )
    _require(read.predicate == caveat.predicate, f"{caveat!r} does not read back byte for byte")


def _check_equality(caveats: Sequence[Caveat]) -> None:
    """Caveats are equal if they are written alike."""
    for first, second in product(caveats, [*caveats, Note("test kit")]):
        alike = first.predicate == second.predicate
        _require((first == second) is alike, f"{first!r} == {second!r} is not {alike}")


def _check_malformed(
    checkers: Checkers, kind: type[Caveat], caveats: Sequence[Caveat], malformed: Sequence[str]
) -> None:
    for value in malformed:
        read = checkers.parse(f"{kind.kind} = {value}".encode("utf-8", "surrogatepass"))
        _require(type(read) is UnknownCaveat, f"the malformed value {value!r} was read as {read!r}")
    for value in {odd for caveat in caveats for odd in _mangled(caveat.value)}:
        read = checkers.parse(f"{kind.kind} = {value}".encode())
        _require(
            type(read) is UnknownCaveat or (type(read) is kind and read.value == value),
            f"{value!r} was read as {read!r}, which would be written {read.value!r}: two spellings of one caveat",
        )


def _mangled(value: str) -> Iterator[str]:
    """Values near `value`, most of them malformed; those that are not must be canonical."""
    yield from (value.upper(), value.lower(), value.swapcase(), value[::-1], value[1:], value[:-1], value * 2)
    for odd in _ODD:
        for at in {0, 1, len(value) // 2, len(value)}:
            yield value[:at] + odd + value[at:]
    for place, character in enumerate(value):
        yield value[:place] + value[place + 1 :]
        if character in "0123456789":
            yield value[:place] + chr(0x660 + int(character)) + value[place + 1 :]


def _with_a_fact_less(contexts: Sequence[Context]) -> Iterator[Context]:
    """Each context without one of its facts."""
    missing = {field.name: None for field in fields(Context) if field.name not in ("now", "scopes", "extra")}
    for context in contexts:
        for name, nothing in missing.items():
            if getattr(context, name) is not None:
                yield replace(context, **{name: nothing})  # type: ignore[arg-type]  # all of these may be None
        if context.scopes:
            yield replace(context, scopes=())
        for name in context.extra:
            yield replace(context, extra={key: fact for key, fact in context.extra.items() if key != name})


def _seen(fact: Any) -> object:
    """What a fact looks like, so that a change can be told."""
    if isinstance(fact, Mapping):
        return [(name, _seen(value)) for name, value in fact.items()]
    if isinstance(fact, tuple | AbstractSet):
        return [_seen(value) for value in fact]
    slots = {name for kind in type(fact).__mro__ for name in getattr(kind, "__slots__", ())}
    state = {name: repr(getattr(fact, name, None)) for name in sorted(slots)}
    return id(fact), repr(fact), state | {n: repr(v) for n, v in getattr(fact, "__dict__", {}).items()}


def _facts(context: Context) -> object:
    return {fact.name: _seen(getattr(context, fact.name)) for fact in fields(Context)}


def _check_answer(checkers: Checkers, caveat: Caveat, context: Context) -> object:
    check = checkers.check_for(caveat)
    before, itself = _facts(context), _seen(caveat)
    answers = [_ask(check, caveat, context) for _ in range(2)]
    _require(answers[0] == answers[1], f"the check of {caveat} answers {answers[0]!r}, then {answers[1]!r}")
    _require(_facts(context) == before, f"the check of {caveat} changes the context's facts")
    _require(_seen(caveat) == itself, f"the check of {caveat} changes the caveat, which requests share")
    return answers[0]


def _check_no_memory(
    checkers: Checkers, asked: Sequence[tuple[Caveat, Context]], answers: Sequence[object]
) -> None:
    """Asked again in another order, of caveats that were read anew, the check answers as before."""
    for (caveat, context), answer in reversed(list(zip(asked, answers, strict=True))):
        again = _ask(checkers.check_for(caveat), type(caveat).parse(caveat.value), context)
        _require(
            again == answer, f"the check of {caveat} answers {answer!r} and, asked again later, {again!r}"
        )


def _ask(check: Callable[[Any, Context], object], caveat: Caveat, context: Context) -> object:
    try:
        answer = check(caveat, context)
    except BaseException as error:
        raise AssertionError(
            f"the check of {caveat} raises {error!r} for {context!r}: a check neither raises nor changes the context"
        ) from error
    close = getattr(answer, "close", None)
    if callable(close):  # a coroutine, which warns if it is never awaited nor closed
        close()
    _require(
        answer is True or answer is False or type(answer) is Unmet,
        f"the check of {caveat} answers {type(answer).__name__}: only True passes, and Unmet says why not",
    )
    return answer


def _check_missing_facts(
    checkers: Checkers, caveats: Sequence[Caveat], bare: Context, *, unconditional: bool
) -> None:
    held = [caveat for caveat in caveats if checkers.answer(caveat, bare) is None]
    if unconditional:
        _require(held, "no example holds for a request of which only the time is known: it is conditional")
    else:
        _require(not held, f"{', '.join(map(str, held))}: holds though the request has no fact but the time")


def _check_something_holds(
    checkers: Checkers, caveats: Sequence[Caveat], contexts: Sequence[Context]
) -> None:
    held = any(checkers.answer(caveat, context) is None for caveat, context in product(caveats, contexts))
    _require(held, "no example holds in any of the contexts, so nothing has been shown: add one that does")


def _check_narrowing(first: Caveat, second: Caveat) -> None:
    """A kind leaves no more of an authority than there was."""
    for authority in _AUTHORITIES:
        _ask_narrow(second, _ask_narrow(first, authority))


def _ask_narrow(caveat: Caveat, authority: Authority) -> Authority:
    try:
        narrower = caveat.narrow(authority)
    except Exception as error:
        raise AssertionError(f"{caveat}.narrow raises {error!r}") from error
    _require(type(narrower) is Authority, f"{caveat}.narrow answers {type(narrower).__name__}, not Authority")
    _require(narrower.is_within(authority), f"{caveat}.narrow widens the authority")
    return narrower


def _check_appending(checkers: Checkers, caveats: Sequence[Caveat], context: Context) -> None:
    """In minted tokens: an appended caveat never turns a refusal into a grant, and cannot be removed or added unsigned."""
    checkers, first = _with_standard_kinds(checkers), _token(context)
    for some in (some for size in range(3) for some in combinations(caveats, size)):
        token = first.attenuate(*some)
        granted = _refusal(token, checkers, context) is None
        for added in caveats:
            narrowed = token.attenuate(added)
            _require(
                granted or _refusal(narrowed, checkers, context) is not None,
                f"appending {added} turns a refusal of [{'; '.join(map(str, some))}] into a grant",
            )
            cut = Macaroon(narrowed.wire._replace(caveats=token.wire.caveats))
            put = Macaroon(token.wire._replace(caveats=narrowed.wire.caveats))
            for forged in (cut, put):
                refusal = _refusal(forged, checkers, context)
                _require(isinstance(refusal, BadSignature), f"{added} is not authenticated")


def _check_among_others(checkers: Checkers, caveats: Sequence[Caveat], context: Context) -> None:
    """Standard caveats before and behind caveats of the kind refuse what they refuse without them."""
    checkers, first = _with_standard_kinds(checkers), _token(context)
    refusing = [other for other in _refusing(context) if checkers.answer(other, context) is not None]
    for other, caveat in product(refusing, caveats):
        for chain in ([other, caveat], [caveat, other], [caveat, caveat, other, caveat]):
            _require(
                _refusal(first.attenuate(*chain), checkers, context) is not None,
                f"beside {caveat}, {other} no longer refuses a request that it refuses",
            )


def _refusing(context: Context) -> Iterator[Caveat]:
    """Standard caveats, nearly all of which refuse this request."""
    yield Expires(context.now)
    yield NotBefore(max(context.now, _NOW) + timedelta(days=1))
    yield User("nobody of the test kit")
    yield Scope("testkit:read")
    yield Audience("testkit")
    yield Method("TESTKIT")
    yield Path(f"/{_ELSEWHERE}")
    yield Host(_ELSEWHERE)
    yield ClientIp("192.0.2.255")
    yield UnknownCaveat(b"testkit/unknown = 1")


def _with_standard_kinds(checkers: Checkers) -> Checkers:
    more = checkers.copy()
    for row in STANDARD:
        if row.kind.kind not in more.kinds:
            more.register(row.kind, row.check)
    return more


def _token(context: Context) -> Macaroon:
    named = context.audience is not None and is_audience(context.audience)
    identifier = Identifier("k1", str(context.audience) if named else "default", _ULID, 1)
    return Macaroon.mint(_ROOT_KEY, identifier, caveats=[User(context.user or "alice")])


def _refusal(token: Macaroon, checkers: Checkers, context: Context) -> CaveatsError | None:
    try:
        verify(token, _ROOT_KEY, checkers, context)
    except CaveatsError as error:
        return error
    return None
