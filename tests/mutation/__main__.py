"""Mutation testing: which changes of a line of the core do the tests of its own room not notice?

    make mutants                          every room
    make mutants ARGS="token keys"        some of them
    make mutants ARGS="--show token"      with the diff of each mutant that survives

mutmut changes one thing at a time in a copy of the tree; a mutant is killed when a test in the room's own folder fails
(or takes too long). Left out of the count: mutants that only change the words of a message or the case of a codec's name, and
those that `explained.toml` lists, each with the reason why no test can notice it. Ends with 1 if a room kills less than 95 %.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEAST = 0.95
COPIED = (
    "caveats",
    "caveats_cli",
    "service",
    "clients",
    "tests",
    "benchmarks",
    "examples",
    "docs",
    "pyproject.toml",
    "README.md",
)
ROOMS = {
    "token": ("caveats/token/chain.py caveats/token/identifier.py", "tests/caveats/token"),
    "keys": ("caveats/keys/keyring.py", "tests/caveats/keys"),
    "kinds": ("caveats/kinds/scopes.py caveats/kinds/checkers.py", "tests/caveats/kinds"),
    "verification": (
        "caveats/verification/authenticate.py caveats/verification/verifier.py caveats/verification/renewal.py",
        "tests/caveats/verification",
    ),
    "revocation": (
        "caveats/revocation/entries.py caveats/revocation/revocation_set.py",
        "tests/caveats/revocation",
    ),
    "http": (
        "caveats/http/credentials.py caveats/http/proxies.py caveats/http/problems.py caveats/http/request.py",
        "tests/caveats/http",
    ),
    "accounts": ("service/caveats_service/core/accounts.py", "tests/service/core/test_accounts.py"),
}
"""For each room what is mutated, and the tests that have to notice."""
_RESULT = re.compile(r"^\s*(\S+__mutmut_\d+): ([a-z ]+)$", re.MULTILINE)
_STRING = re.compile(r"""[rbf]*("([^"\\]|\\.)*"|'([^'\\]|\\.)*')""")
_WORDS = re.compile(
    r"""\braise \w|\blog\.|Unmet\(|BindingMismatch\(|BadSignature\(|Problem\(|reason|hint|detail|^f?"[^"]*",?$"""
)
"""Lines with a message: raised, logged, told; or a text alone on its line."""
_BYTES = re.compile(r"""\b[rf]?b["']""")
_SHOW = """
import json, sys
from mutmut.mutation.diff_apply import get_diff_for_mutant
print(json.dumps([get_diff_for_mutant(name) for name in sys.argv[1:]]))
"""
_CODEC = re.compile(r'"(ascii|latin-1|utf-8)"', re.IGNORECASE)
_KILLED = {"killed", "timeout", "suspicious", "segfault"}


@dataclass(frozen=True)
class Mutant:
    """One change: its name in mutmut, the lines as they were and as they became."""

    name: str
    was: str
    becomes: str

    @property
    def changes_words_only(self) -> bool:
        """Whether it changes nothing but the text of a message for people. Bytes are never words: labels of keys are bytes."""
        if not _WORDS.search(self.was) or _BYTES.search(self.was):
            return False
        blank = [_STRING.sub("S", line).replace("None", "S") for line in (self.was, self.becomes)]
        return blank[0] == blank[1] and _STRING.search(self.was) is not None

    @property
    def changes_case_of_codec(self) -> bool:
        """Whether it changes nothing but the name of a codec from lower to upper case, which Python reads as the same."""
        return _CODEC.sub(lambda found: found[0].lower(), self.becomes) == self.was


@dataclass(frozen=True)
class Outcome:
    """What became of a room's mutants."""

    killed: int
    survivors: list[Mutant]
    explained: list[Mutant]

    @property
    def share(self) -> float:
        """The share of mutants that were killed, of those that could be."""
        return self.killed / max(1, self.killed + len(self.survivors))


def mutate(room: str, folder: Path, explained: set[tuple[str, str]]) -> Outcome:
    """Run mutmut on a room in a fresh copy of the tree below `folder`."""
    sources, tests = ROOMS[room]
    tree = folder / room
    tree.mkdir()
    for name in COPIED:
        where = ROOT / name
        if where.is_dir():
            shutil.copytree(where, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(where, tree / name)
    (tree / "setup.cfg").write_text(
        "[mutmut]\n"
        + _listed("source_paths", sources.split())
        + _listed("also_copy", COPIED)
        + _listed("pytest_add_cli_args_test_selection", [tests])
        + _listed("pytest_add_cli_args", ["-p", "no:cacheprovider", "-m", "not slow"])
    )
    mutmut = [sys.executable, "-m", "mutmut"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    processes = str(max(1, os.cpu_count() or 1))
    run = subprocess.run(  # of this environment
        [*mutmut, "run", "--max-children", processes],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    listed = subprocess.run(
        [*mutmut, "results", "--all", "true"],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    results = _RESULT.findall(listed.stdout)
    if not results or any(outcome == "not checked" for _, outcome in results):
        raise SystemExit(f"{room}: mutmut did not run\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    killed = sum(outcome in _KILLED for _, outcome in results)
    left = _shown([name for name, outcome in results if outcome not in _KILLED], tree)
    judged = [mutant for mutant in left if not (mutant.changes_words_only or mutant.changes_case_of_codec)]
    return Outcome(
        killed,
        [mutant for mutant in judged if (mutant.was, mutant.becomes) not in explained],
        [mutant for mutant in judged if (mutant.was, mutant.becomes) in explained],
    )


def _listed(name: str, values: list[str] | tuple[str, ...]) -> str:
    return f"{name}=\n" + "".join(f"    {value}\n" for value in values)


def _shown(names: list[str], tree: Path) -> list[Mutant]:
    """The mutants of these names, in one process: `mutmut show` takes a second for each."""
    shown = subprocess.run(
        [sys.executable, "-c", _SHOW, *names],
        cwd=tree,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    ).stdout
    return [
        Mutant(name, _changed(diff, "-"), _changed(diff, "+"))
        for name, diff in zip(names, json.loads(shown), strict=True)
    ]


def _changed(diff: str, sign: str) -> str:
    lines = [line for line in diff.splitlines() if line.startswith(sign) and not line.startswith(sign * 3)]
    return "\n".join(line[1:].strip() for line in lines)


def main() -> int:
    """Print a line a room; 1 if one kills less than it has to."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="room", help=f"what to mutate: {', '.join(ROOMS)}")
    parser.add_argument("--show", action="store_true", help="show each mutant that survives")
    asked = parser.parse_args()
    rows = tomllib.loads((Path(__file__).parent / "explained.toml").read_text()).get("mutant", [])
    explained = {(row["was"], row["becomes"]) for row in rows}
    short = False
    with tempfile.TemporaryDirectory() as folder:
        for room in asked.rooms or ROOMS:
            outcome = mutate(room, Path(folder), explained)
            count = outcome.killed + len(outcome.survivors)
            print(
                f"{room:13} {outcome.killed} of {count} killed, {outcome.share:.1%}; "
                f"{len(outcome.explained)} explained",
                flush=True,
            )
            if asked.show:
                for mutant in outcome.survivors:
                    print(f"\n  {mutant.name}\n  - {mutant.was}\n  + {mutant.becomes}", flush=True)
            short |= outcome.share < LEAST
    return 1 if short else 0


if __name__ == "__main__":
    raise SystemExit(main())
