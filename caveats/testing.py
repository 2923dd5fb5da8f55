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

from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from caveats.context import Context
from caveats.errors import BadSignature, CaveatsError, MalformedCaveat
from caveats.kinds.authority import Authority
from caveats.kinds.base import Caveat, UnknownCaveat, Unmet, check_value, is_kind
from caveats.kinds.standard import User, check_user
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
    " = ",
)


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
    _check_registered(checkers, kind, caveats)
    for caveat in caveats:
        _check_written_form(checkers, caveat)
    _check_malformed(checkers, kind, caveats, malformed)
    requests = [*contexts, Context(now=contexts[0].now if contexts else _NOW)]
    for caveat, context in product(caveats, [*requests, *_with_a_fact_less(requests)]):
        _check_answer(checkers, caveat, context)
    _check_missing_facts(checkers, caveats, requests[-1], unconditional=unconditional)
    _check_something_holds(checkers, caveats, requests)
    for first, second in product(caveats, caveats):
        _check_narrowing(first, second)
    for context in requests:
        _check_appending(checkers, caveats[:_MOST], context)


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


def _seen(context: Context) -> dict[str, tuple[int, str]]:
    return {name: (id(fact), repr(fact)) for name, fact in context.extra.items()}


def _check_answer(checkers: Checkers, caveat: Caveat, context: Context) -> None:
    check = checkers.check_for(caveat)
    before = _seen(context)
    answers = [_ask(check, caveat, context) for _ in range(2)]
    _require(answers[0] == answers[1], f"the check of {caveat} answers {answers[0]!r}, then {answers[1]!r}")
    _require(_seen(context) == before, f"the check of {caveat} changes the context's extra facts")


def _ask(check: Callable[[Any, Context], object], caveat: Caveat, context: Context) -> object:
    try:
        answer = check(caveat, context)
    except Exception as error:
        raise AssertionError(f"the check of {caveat} raises {error!r} for {context!r}") from error
    close = getattr(answer, "close", None)
    if callable(close):  # a coroutine, which warns if it is never awaited nor closed
        close()
    _require(
        answer is True or answer is False or isinstance(answer, Unmet),
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
    _ask_narrow(second, _ask_narrow(first, Authority(user="alice")))


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
    if User.kind not in checkers.kinds:
        checkers = checkers.copy()
        checkers.register(User, check_user)
    named = context.audience is not None and is_audience(context.audience)
    identifier = Identifier("k1", str(context.audience) if named else "default", _ULID, 1)
    first = Macaroon.mint(_ROOT_KEY, identifier, caveats=[User(context.user or "alice")])
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


def _refusal(token: Macaroon, checkers: Checkers, context: Context) -> CaveatsError | None:
    try:
        verify(token, _ROOT_KEY, checkers, context)
    except CaveatsError as error:
        return error
    return None
