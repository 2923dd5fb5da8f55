"""Checkers: the kinds that an app knows, each with its check. Knows requests, knows no keys and no kind by name.

An app makes an instance, registers its kinds and hands it to its verifier. An unknown kind refuses. A check is
`(caveat, context) -> True`: any other answer and any exception refuses, and `Unmet` refuses with an explanation. The check
of a plug-in gets a copy of the context, so that it changes nothing for the caveats after it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, TypeVar

from caveats.context import copied
from caveats.errors import Failure
from caveats.kinds.base import Caveat, Check, UnknownCaveat, Unmet, is_kind, parse_predicate
from caveats.kinds.standard import STANDARD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from caveats.context import Context

C = TypeVar("C", bound=Caveat)
Question = tuple[Check, Caveat]

ISSUER, HOLDER, DISCHARGER = "issuer", "holder", "discharger"
_REMEMBERED = 256 * 1024
"""Bytes of predicates to remember, at most. A typed list of words takes about forty times the bytes of its predicate."""
_ENTRY = 64
"""Bytes that each predicate counts in addition to its own, so that the number of short ones is bounded."""


class Checkers:
    """The kinds of caveat that an app knows, each with its check. No instance is global."""

    def __init__(self) -> None:
        self._kinds: dict[str, type[Caveat]] = {}
        self._checks: dict[type[Caveat], Check] = {}
        """As they were registered."""
        self._asked: dict[type[Caveat], Check] = {}
        """As they are asked: those of plug-ins on a copy of the context."""
        self._special: set[type[Caveat]] = set()
        self._clear()

    def register(self, kind: type[C], check: Callable[[C, Context], object]) -> None:
        """Add a kind. Raises `ValueError` for a kind name that is malformed or already registered."""
        name = getattr(kind, "kind", None)
        if kind is UnknownCaveat:
            raise ValueError("UnknownCaveat cannot be registered: an unknown caveat always refuses")
        if not isinstance(name, str) or not is_kind(name, spaced=kind.spaced):
            raise ValueError(
                f"{kind.__name__}.kind must read [a-z][a-z0-9-]*, a plug-in's with vendor/ before it"
            )
        if name in self._kinds:
            raise ValueError(f"the kind {name!r} is already registered")
        self._kinds[name] = kind
        self._checks[kind] = check
        self._asked[kind] = check if _STANDARD_CHECKS.get(kind) is check else _on_a_copy(check)
        if not kind.check_decides or kind.claim is not Caveat.claim:
            self._special.add(kind)
        self._clear()

    def copy(self) -> Checkers:
        """A new instance with the same kinds."""
        other = Checkers()
        other._kinds.update(self._kinds)
        other._checks.update(self._checks)
        other._asked.update(self._asked)
        other._special.update(self._special)
        return other

    @property
    def kinds(self) -> Mapping[str, type[Caveat]]:
        """The known kinds by name."""
        return dict(self._kinds)

    def parse(self, predicate: bytes) -> Caveat:
        """The caveat of these bytes; an `UnknownCaveat` for an unknown kind or a malformed value. Never raises."""
        return (self._known.get(predicate) or self._memoise(predicate))[1]

    def parse_all(self, predicates: Iterable[bytes]) -> tuple[tuple[Caveat, ...], list[Question] | None]:
        """The caveats of these predicates, and each with its check; None for those where the checks do not decide alone.

        The claim of the first caveat, the user's, cannot contradict an earlier one. Call it with authentic bytes only:
        it remembers some thousands of predicates.
        """
        known, special, plain = self._known, self._special, True
        caveats: list[Caveat] = []
        questions: list[Question] = []
        for predicate in predicates:
            question = known.get(predicate)
            if question is None:
                question = self._memoise(predicate)
            caveat = question[1]
            if type(caveat) in special and caveats:
                plain = False
            caveats.append(caveat)
            questions.append(question)
        return tuple(caveats), questions if plain else None

    def _memoise(self, predicate: bytes) -> Question:
        caveat = parse_predicate(predicate, self._kinds)
        question = self._asked.get(type(caveat), _check_unknown), caveat
        self._room -= len(predicate) + _ENTRY
        if self._room < 0:
            self._clear()
        self._known[predicate] = question
        return question

    def _clear(self) -> None:
        self._known: dict[bytes, Question] = {}
        self._room = _REMEMBERED

    def check_for(self, caveat: Caveat) -> Check:
        """The check of this caveat's kind, as it was registered; for an unknown kind a check that refuses."""
        return self._checks.get(type(caveat), _check_unknown)

    def answer(self, caveat: Caveat, context: Context) -> Unmet | None:
        """None if the check answers True; otherwise why the caveat refuses. Never raises."""
        check = self._asked.get(type(caveat), _check_unknown)
        try:
            answer = check(caveat, context)
        except Exception as error:  # noqa: BLE001  # foreign code: a check that fails refuses
            return Unmet(f"its check failed: {type(error).__name__}", "nothing, until the check works")
        if answer is True:
            return None
        if isinstance(answer, Unmet):
            return answer
        if isinstance(answer, Coroutine):
            answer.close()
            return Unmet(
                "its check is a coroutine, which nothing awaits", "nothing, until the check is a function"
            )
        return Unmet("its check did not answer True", "another request")


_STANDARD_CHECKS: Mapping[type[Caveat], Check] = {row.kind: row.check for row in STANDARD}


def _on_a_copy(check: Check) -> Check:
    """`check`, given a copy of the context."""

    def ask(caveat: Caveat, context: Context) -> object:
        return check(caveat, copied(context))

    return ask


def _check_unknown(caveat: Caveat, context: Context) -> Unmet:
    why = caveat.why if isinstance(caveat, UnknownCaveat) else "no check for this kind is known here"
    return Unmet(why, "nothing here; an app that knows this kind may accept it")


def standard_checkers() -> Checkers:
    """A new instance with every standard kind."""
    checkers = Checkers()
    for row in STANDARD:
        checkers.register(row.kind, row.check)
    return checkers


def unsatisfied(
    caveats: Iterable[Caveat],
    checkers: Checkers,
    context: Context,
    added_by: Sequence[str] = (),
) -> tuple[Failure, ...]:
    """Every caveat that refuses this request, explained. Empty if all hold.

    `added_by`: who added each caveat; the holder for caveats beyond its end. Of claims that contradict each other, such
    as two users, all but the first refuse every request.
    """
    failures = []
    claimed: dict[str, str] = {}
    for index, given in enumerate(caveats):
        caveat = checkers.parse(given.raw) if isinstance(given, UnknownCaveat) else given
        unmet = _contradicted(caveat, claimed)
        if unmet is None:
            unmet = checkers.answer(caveat, context)
        if unmet is not None:
            by = added_by[index] if index < len(added_by) else HOLDER
            failures.append(Failure(index, caveat.kind, str(caveat), by, unmet.reason, unmet.hint))
    return tuple(failures)


def _contradicted(caveat: Caveat, claimed: dict[str, str]) -> Unmet | None:
    """Why the caveat refuses, if an earlier one claims otherwise; else None. Adds its claim to `claimed`."""
    try:
        claim = caveat.claim
        if claim is None:
            return None
        subject, value = claim
        first = claimed.setdefault(subject, value)
    except Exception as error:  # noqa: BLE001  # foreign code, as a check is
        return Unmet(f"reading its claim failed: {type(error).__name__}", "nothing, until its kind works")
    if first == value:
        return None
    return Unmet(f"the token's {subject} is {first!r}", f"nothing: a token has one {subject}")
