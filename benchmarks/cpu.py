"""The library beside its peers: judge, mint, narrow, by the number of caveats, and how long the text is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.peers import Ours, OursUnderAKey, Peer, Pymacaroons, peers
from benchmarks.sample import Sample, example, logins, samples
from benchmarks.table import Bar, Row, Section, at_least, times
from benchmarks.timing import Contender, Fresh, best, new_texts

if TYPE_CHECKING:
    from collections.abc import Mapping

_BATCH = 1000
_SMALL_BATCH = 200
_ROUNDS = 15
_COLD, _SEEN, _LONGEST = 3.2, 30.0, 260
_UNIT = "times as fast as pymacaroons"


def verify() -> Section:
    """Text in, decision out, for a token of three caveats."""
    own = logins(_BATCH)
    bars = {"caveats, never seen": _COLD, "caveats, seen before": _SEEN}
    ours = [
        Contender("caveats, never seen", _cold(own, OursUnderAKey)),
        Contender("  and its key to be found, its text kept", _cold(own)),
        Contender("  and no caveat of it ever seen", _cold(samples(_BATCH))),
        Contender("  and every caveat of it seen", _cold(samples(_BATCH, alike=True))),
        Contender("caveats, seen before", _seen(own)),
    ]
    theirs = [Contender(peer.name, _judging(peer, own[:_SMALL_BATCH])) for peer in peers()]
    found = best([*ours, *theirs], _ROUNDS)
    return Section(
        f"Verify a token (user, expires, scope): text in, decision out [{_UNIT}]", _rows(found, bars)
    )


def mint() -> Section:
    """Plain values in, text out."""
    tokens = samples(_SMALL_BATCH)
    contenders = [Contender(peer.name, partial(_minting, peer, tokens)) for peer in _writers()]
    return Section(f"Mint that token: values in, text out [{_UNIT}]", _rows(best(contenders, _ROUNDS)))


def attenuate() -> Section:
    """Text in, text with one caveat more out. Only macaroons and biscuits can."""
    tokens = samples(_SMALL_BATCH)
    contenders = [Contender(peer.name, _narrowing(peer, tokens)) for peer in _writers() if peer.narrows]
    return Section(f"Narrow it by an expiry: text in, text out [{_UNIT}]", _rows(best(contenders, _ROUNDS)))


def growth() -> Section:
    """What a token costs by its number of caveats."""
    section = Section(f"Verify a token never seen, by its number of caveats [{_UNIT}]")
    for count in (1, 4, 16, 64):
        tokens = samples(_SMALL_BATCH, caveats=count)
        ours, theirs = Contender("ours", _cold(tokens)), Contender("theirs", _judging(Pymacaroons(), tokens))
        found = best([ours, theirs], _ROUNDS)
        cost, name = found["ours"], f"{count} caveat{'s' if count > 1 else ''}"
        section.rows.append(
            Row(name, times(found["theirs"] / cost), f"{cost:.2f} us, {cost / count:.2f} each")
        )
    return section


def sizes() -> Section:
    """Characters of the same token in each library's text."""
    section = Section("Length of a token (alice, eight hours, photos:read) [times as long as ours]")
    lengths = {peer.name: len(peer.mint(example())) for peer in _writers()}
    for name, length in lengths.items():
        bar = Bar(f"< {_LONGEST}", length < _LONGEST) if name == Ours.name else None
        section.rows.append(Row(name, times(length / lengths[Ours.name]), f"{length} characters", bar))
    return section


def _rows(found: Mapping[str, float], bars: Mapping[str, float] | None = None) -> list[Row]:
    reference, asked = found[Pymacaroons.name], bars or {}
    return [
        Row(
            name,
            times(reference / cost),
            f"{cost:.2f} us",
            at_least(asked[name], reference / cost) if name in asked else None,
        )
        for name, cost in found.items()
    ]


def _writers() -> list[Peer]:
    return [Ours(), *(peer for peer in peers() if not peer.only_judges)]


def _cold(tokens: list[Sample], peer: type[Ours] = Ours) -> Fresh:
    """Every batch begins with a new verifier and new checkers: nothing is remembered."""
    texts = [token.mint().encode() for token in tokens]
    prove(peer(), texts[0], tokens[0])
    return lambda: (peer().verify, _presented(texts, tokens))


def _seen(tokens: list[Sample]) -> Fresh:
    ours, texts = Ours(), [token.mint().encode() for token in tokens]
    for presented in _presented(texts, tokens):
        ours.verify(presented)
    return lambda: (ours.verify, _presented(texts, tokens))


def _judging(peer: Peer, tokens: list[Sample]) -> Fresh:
    texts = [peer.mint(token) for token in tokens]
    prove(peer, texts[0], tokens[0])
    return lambda: (peer.verify, _presented(texts, tokens))


def prove(peer: Peer, text: Any, token: Sample) -> None:
    """Stop the run unless the peer accepts the token and refuses it altered: else it would win by not looking."""
    at = next(at for at in range(len(text) // 2, len(text)) if text[at] != text[at - 1])
    altered = text[: at - 1] + text[at : at + 1] + text[at - 1 : at] + text[at + 1 :]
    if not peer.verify((text, token)) or accepts(peer, altered, token):
        raise AssertionError(f"{peer.name} does not tell a good token from an altered one")


def accepts(peer: Peer, text: Any, token: Sample) -> bool:
    try:
        return bool(peer.verify((text, token)))
    except Exception:  # each library refuses with exceptions of its own
        return False


def _presented(texts: list[Any], tokens: list[Sample]) -> list[tuple[Any, Sample]]:
    return list(zip(new_texts(texts), tokens, strict=True))


def _minting(peer: Peer, tokens: list[Sample]) -> tuple[Any, list[Sample]]:
    return peer.mint, tokens


def _narrowing(peer: Peer, tokens: list[Sample]) -> Fresh:
    texts = [peer.mint(token) for token in tokens]
    return lambda: (peer.attenuate, new_texts(texts))
