"""Python and the JavaScript client say the same of random tokens: what is in them, what is refused and why."""

from __future__ import annotations

import json
import os
import unicodedata
from collections import Counter
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from caveats import Bundle, CaveatsError, Context, Macaroon, authenticate, unsatisfied
from caveats.durations import parse_duration
from caveats.kinds import parse_address, parse_host, plain_path, standard_checkers
from caveats.token import branch_id
from caveats_client.cli.attenuate import caveats_for
from caveats_client.cli.inspect import members
from caveats_client.cli.inspection import inspection_of
from tests.javascript import issued, tokens
from tests.javascript.peer import needs_node, peer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.javascript.peer import Peer

pytestmark = [pytest.mark.slow, needs_node]

COUNT = 10_000 if os.environ.get("CI") == "true" else 1_000
_FACTS = {"clientIp": "client_ip"}
_CODES = {
    "BindingMismatch": "binding_mismatch",
    "BadSignature": "bad_signature",
    "LimitExceeded": "limit_exceeded",
}
_CODES |= {"MissingDischarge": "missing_discharge", "UnusedDischarge": "unused_discharge"}


@pytest.fixture(scope="module")
def javascript() -> Iterator[Peer]:
    with peer() as answering:
        yield answering


def test_a_token_s_content_is_the_same_json(javascript: Peer) -> None:
    """As `caveats inspect --json` prints it, members in the same order."""
    seen: Counter[str] = Counter()
    for seed in range(COUNT):
        bundle = tokens.bundle(Random(seed))
        expected = json.dumps(members(inspection_of(bundle), tokens.NOW))
        answer = javascript.ask("inspect", token=bundle.encode(), now=tokens.NOW.isoformat())
        assert json.dumps(answer["answer"]) == expected, f"seed {seed}"
        seen.update(caveat["kind"] for caveat in answer["answer"]["caveats"])
        seen.update(str(one["discharged"]) for one in answer["answer"]["third_parties"])
        seen["redundant"] += any(caveat["redundant"] for caveat in answer["answer"]["caveats"])
    kinds = (*standard_checkers().kinds, "unknown", "True", "False", "redundant")
    assert min(seen[kind] for kind in kinds) > 5


def test_a_request_is_judged_alike(javascript: Peer) -> None:
    """The same error of authentication; and else the same failures with the same reasons, of caveats added by the same."""
    ends: Counter[str] = Counter()
    for seed in range(COUNT):
        random = Random(seed)
        macaroon, discharges = tokens.token(random)
        bundle = _damaged(random, macaroon, discharges)
        asked = tokens.context(random)
        expected = _judged(bundle, asked)
        answer = javascript.ask("judge", token=bundle.encode(), key=tokens.ROOT_KEY.hex(), context=asked)
        assert answer.get("answer", answer.get("code")) == expected, f"seed {seed}"
        ends[expected if isinstance(expected, str) else str(bool(expected["failures"]))] += 1
    assert set(ends) == {"True", "False", *_CODES.values()} - {"limit_exceeded"}


def _damaged(random: Random, macaroon: Macaroon, discharges: list[Macaroon]) -> Bundle:
    """The bundle, which may be spoiled: a discharge unbound or bound too early, a caveat dropped, a bit flipped."""
    bundle = Bundle.bind(macaroon, discharges)
    chance = random.random()
    if chance < 0.1 and discharges:
        return Bundle(macaroon, discharges)
    if chance < 0.2 and discharges:
        return Bundle(macaroon.attenuate(b"note = later"), bundle.discharges)
    if chance < 0.25 and macaroon.wire.caveats:
        return Bundle(Macaroon(macaroon.wire._replace(caveats=macaroon.wire.caveats[:-1])), bundle.discharges)
    if chance < 0.3:
        signature = bytes((macaroon.wire.signature[0] ^ 1, *macaroon.wire.signature[1:]))
        return Bundle(Macaroon(macaroon.wire._replace(signature=signature)), bundle.discharges)
    return bundle


def _judged(bundle: Bundle, asked: dict[str, Any]) -> dict[str, Any] | str:
    facts = {_FACTS.get(name, name): fact for name, fact in asked.items() if name != "now"}
    context = Context(now=datetime.fromisoformat(asked["now"]), **facts)
    try:
        token = authenticate(bundle, tokens.ROOT_KEY)
    except CaveatsError as error:
        return _CODES[type(error).__name__]
    failures = [
        {
            "index": one.index,
            "kind": one.kind,
            "predicate": one.predicate,
            "addedBy": one.added_by,
            "reason": one.reason,
            "hint": one.hint,
        }
        for one in unsatisfied(token.caveats, standard_checkers(), context, token.added_by)
    ]
    return {
        "failures": failures,
        "addedBy": list(token.added_by),
        "caveats": list(map(str, token.caveats)),
        "signatures": [signature.hex() for signature in token.signatures],
    }


def test_a_verifier_gives_the_same_verdict(javascript: Peer) -> None:
    """The same grant, or the same code and words with the same failures: when it sees a token first, and from memory."""
    ends: Counter[str] = Counter()
    for seed in range(COUNT):
        asked = issued.question(Random(seed))
        expected = asked.verdict()
        answer = javascript.ask("verify", **asked.members())
        assert answer == {"answer": [expected, expected]}, f"seed {seed}"
        ends[expected.get("code", "granted")] += 1
    assert set(ends) == {"granted", *issued.CODES.values()} - {"limit_exceeded"}, ends
    assert ends["granted"] > COUNT / 20


def test_a_copy_is_narrowed_to_the_same_text(javascript: Peer) -> None:
    """By typed values as by the flags of `caveats attenuate`, or refused by both; and it verifies here."""
    refused = 0
    for seed in range(COUNT):
        random = Random(seed)
        macaroon, _ = tokens.token(random)
        typed, flags = tokens.narrowing(random)
        seconds = flags.pop("expires_in", None)
        life = None if seconds is None else timedelta(seconds=seconds)
        expected = None
        try:
            expected = macaroon.attenuate(*caveats_for(flags, tokens.NOW, expires_in=life)).encode()
        except CaveatsError:
            refused += 1
        text = macaroon.encode()
        answer = javascript.ask("attenuate", token=text, narrowing=typed, now=tokens.NOW.isoformat())
        assert answer.get("answer") == expected, f"seed {seed}: {answer.get('message')}"
    assert 0 < refused < COUNT / 2


def test_any_predicates_are_appended_and_discharges_bound_alike(javascript: Peer) -> None:
    for seed in range(COUNT):
        random = Random(seed)
        macaroon, discharges = tokens.token(random)
        added = [tokens.predicate(random) for _ in range(random.randint(1, 4))]
        narrower = macaroon.attenuate(*added)
        text = javascript.ask("append", token=macaroon.encode(), predicates=[one.hex() for one in added])
        assert text["answer"] == narrower.encode()
        texts = [discharge.encode() for discharge in discharges]
        bound = javascript.ask("bind", token=text["answer"], discharges=texts)
        assert bound["answer"] == Bundle.bind(narrower, discharges).encode()
        branch = javascript.ask("branch", token=text["answer"])
        assert branch["answer"] == branch_id(narrower.wire.signature).hex()


def test_what_is_no_token_is_refused_at_the_same_stage(javascript: Peer) -> None:
    """Texts with a character changed, cut off or put in, in every encoding that is read."""
    stages: Counter[str | None] = Counter()
    for seed in range(COUNT):
        random = Random(seed)
        text = _mistyped(random, tokens.bundle(random).encode())
        expected: str | None = None
        stage = None
        try:
            expected = Bundle.decode(text).encode()
        except CaveatsError as error:
            stage = {"MalformedToken": "malformed_token", "DamagedToken": "damaged_token"}.get(
                type(error).__name__, "limit_exceeded"
            )
        answer = javascript.ask("decode", token=text)
        assert (answer.get("answer"), answer.get("code")) == (expected, stage), f"seed {seed}"
        stages[stage] += 1
    assert {"malformed_token", "damaged_token", None} <= set(stages)


def _mistyped(random: Random, text: str) -> str:
    at = random.randint(0, len(text))
    change = random.randint(0, 5)
    if change == 0:
        return text
    if change == 1:
        return text[:at]
    if change == 2:
        return text[:at] + random.choice("A_-.=+ \n\u00e4") + text[at:]
    if change == 3:
        return text[:at] + random.choice("Aa0_-") + text[at + 1 :]
    bare = text.partition(".")[0][len("cav1_") : -6]
    return bare if change == 4 else bare[: at // 2 * 2]


_PATHS = [
    "/",
    "//",
    "a",
    ".",
    "..",
    "%2e",
    "%2F",
    "%20",
    "%C3%A4",
    "ä",
    ";",
    "x;y",
    "%00",
    "*",
    "%E2%80%8B",
    "\\",
    "%25",
    "%F0%9F%98%80",
    "~",
    "?",
    "#",
    "[",
    "%ED%A0%80",
    "%",
    "%c3%a4",
    "%C3",
]
_HOSTS = ["a", "A", ".", "-", "xn--a", ":", ":80", "9", "_", "..", "[::1]", "ä", "a" * 63, "a" * 64]
_ADDRESSES = [
    "1",
    "10",
    "255",
    "256",
    ".",
    "0",
    ":",
    "::",
    "ffff",
    "a",
    "A",
    "%",
    "/8",
    "01",
    "1.2.3.4",
    "::ffff:",
]
_DURATIONS = ["1", "0", "10", "s", "m", "h", "d", "w", "01", " ", "-", "999999999", "36500", "."]


def test_facts_and_lengths_of_time_are_read_alike(javascript: Peer) -> None:
    """Paths, hosts, addresses and durations, made of pieces that matter, and paths with any letter that there is."""
    read = Counter[int]()
    letters = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in {"Cn", "Cs"}]
    for seed in range(3 * COUNT):
        random = Random(seed)
        path, host, address, duration = (
            "".join(random.choices(pieces, k=random.randint(1, most)))
            for pieces, most in ((_PATHS, 6), (_HOSTS, 4), (_ADDRESSES, 8), (_DURATIONS, 4))
        )
        letter = random.choice(letters)
        form = random.choice(("/{}", "/a/..{}/b", "/.{}", "/{};x/", "/a{}"))
        path = random.choice((f"/{path}", form.format(letter), form.format(quote(letter))))
        parsed = parse_address(address)
        expected = [
            plain_path(path),
            parse_host(host),
            None if parsed is None else str(parsed),
            _seconds(duration),
        ]
        answer = javascript.ask("facts", path=path, host=host, address=address, duration=duration)
        assert answer["answer"] == expected, f"seed {seed}"
        read.update(place for place, fact in enumerate(expected) if fact is not None)
    assert min(read[place] for place in range(4)) > COUNT / 20


def _seconds(duration: str) -> int | None:
    try:
        return int(parse_duration(duration).total_seconds())
    except ValueError:
        return None
