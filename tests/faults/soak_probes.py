"""The questions of the soak: everybody is asked about good tokens and dead ones, and the answers are judged."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable

import httpx2 as httpx

from tests.faults.soak_ledger import State, Token
from tests.faults.soak_report import Fault, named
from tests.faults.soak_world import AUDIENCE, REMEMBER, STALENESS, Node, World
from tests.support.service import (
    CLIENT,
    bearer,
)

CALM_BOUND = 5.0
"""Seconds within which everybody has heard, while nothing is wrong; as a rule it is one, on a machine that is not busy."""
SLACK = 2.0


class Prober:
    """Asks one target again and again, about good tokens and dead ones, and judges the answers."""

    def __init__(
        self,
        world: World,
        target: str,
        ask: Callable[[Token], tuple[bool, int, str, str]],
        seed: int,
        *,
        port: int | None = None,
    ) -> None:
        """`port`: of an app, to ask how it is when it refuses what it should grant."""
        self._port = port
        self._world = world
        self._target = target
        self._ask = ask
        self._chance = random.Random(seed)

    def run(self, per_second: float, until: Callable[[], bool]) -> None:
        while not until() and not self._world.stop.wait(self._chance.expovariate(per_second)):
            dead = self._chance.random() < 0.55
            audience = None if self._target.startswith("node") else AUDIENCE
            token = self._world.ledger.dead(audience) if dead else self._world.ledger.good(audience=audience)
            if token is not None:
                self.judge(token)

    def judge(self, token: Token) -> None:
        report, before = self._world.report, token.state
        asked = time.monotonic()
        granted, status, retry_after, cause = self._ask(token)
        answered = time.monotonic()
        report.count(
            report.answers,
            f"{self._target.partition('/')[0]}: {'granted' if granted else status or 'no answer'}",
        )
        if token.state is not before:
            return
        faults = report.about(self._target, asked - STALENESS, answered)
        if before is State.DEAD and granted:
            self._judge_grant(token, asked, faults)
        elif before is State.LIVE and not granted:
            self._judge_refusal(
                token, status, retry_after, cause, report.about(self._target, asked, answered)
            )

    def _judge_grant(self, token: Token, asked: float, faults: list[Fault]) -> None:
        report = self._world.report
        late = asked - token.died_at
        name = self._target.partition("/")[0]
        report.late[name] = max(report.late[name], late)
        bound = CALM_BOUND + (REMEMBER if name == "remote" else 0)
        since = token.died_at
        if faults or report.about(name, token.died_at, asked):
            if name.startswith("node") or name == "remote":
                since = max(since, self._world.database.back_at)
            else:
                bound = STALENESS + SLACK
            if name == "mirror":
                clocks = [
                    fault.off
                    for fault in report.past
                    if fault.off and fault.touches("mirror", since - 60, asked)
                ]
                bound += max((abs(off) for off in clocks if abs(off) <= 300), default=0)
        if self._down_for(name):
            return
        if asked - since > bound:
            report.violation(
                f"{self._target} grants a dead {token}, {late:.1f} s after that was acknowledged, bound {bound:.0f} s; "
                f"{named(report.about(name, token.died_at, asked))}",
                once=f"{self._target} grants {token.token_id}",
            )

    def _health(self) -> str:
        """What an app says of its verifier now."""
        if self._port is None:
            return ""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{self._port}/healthz", **{**CLIENT, "timeout": 5}).text
        return "no answer now"

    def _down_for(self, name: str) -> bool:
        """Whether nodes cannot hear of anything: the database is away."""
        return (name.startswith("node") or name == "remote") and any(
            fault.kind in ("failover", "database hangs") and fault.ended is None
            for fault in self._world.report.past
        )

    def _judge_refusal(
        self, token: Token, status: int, retry_after: str, cause: str, faults: list[Fault]
    ) -> None:
        report = self._world.report
        kinds = sorted({fault.kind for fault in faults})
        shown = re.sub(r"[0-9]+(\.[0-9]+)?", "N", f"{status} {cause}")[:160]
        report.count(
            report.refusals, f"{self._target.partition('/')[0]} | {', '.join(kinds) or 'calm'} | {shown}"
        )
        problem = ""
        clocks = [fault for fault in faults if fault.kind in ("app clock", "node clock")]
        if not faults:
            problem = "while nothing is wrong"
        elif status == 0:
            gone = {
                "node killed",
                "node stopped",
                "worker killed",
                "app restarted",
                "app killed",
                "app frozen",
                "fork",
            }
            if not gone & set(kinds) and not self._target.startswith("node"):
                problem = "without an answer"
        elif status == 503:
            if not retry_after or len(cause) < 10:
                problem = "with a 503 that says no cause, or not when to come back"
            elif kinds == ["app clock"] and not re.search("clock|from the future", cause):
                problem = "with a 503 that does not name the clock"
        elif not (clocks and re.search("expire", cause)):
            problem = "as if it were not good"
        if problem:
            report.violation(
                f"{self._target} refuses a good {token}, {time.monotonic() - token.born:.0f} s old, {problem}: "
                f"{status} {cause[:200]!r}; {named(faults)}; {self._health()}",
                once=f"{self._target} refuses good tokens {problem} with {status} ({', '.join(kinds)})",
            )


def asker_of_node(world: World, node: Node) -> Callable[[Token], tuple[bool, int, str, str]]:
    """`POST /v1/verify`, sometimes on a connection of its own, so that all workers are asked."""
    http = world.client(node)
    world.stack.callback(http.close)

    def ask(token: Token) -> tuple[bool, int, str, str]:
        body = {"token": token.text, "audience": token.audience, "scope": "photos:read"}
        headers = {"Connection": "close"} if random.random() < 0.5 else {}
        try:
            answer = http.post("/v1/verify", json=body, headers=headers)
        except httpx.HTTPError as error:
            return False, 0, "", type(error).__name__
        said = answer.json() if answer.status_code == 200 else {}
        if said.get("granted") is True:
            return True, 200, "", ""
        unmet = [
            caveat["kind"] + ": " + (caveat["reason"] or "")
            for caveat in said.get("caveats", [])
            if not caveat["satisfied"]
        ]
        return (
            False,
            answer.status_code,
            answer.headers.get("retry-after", ""),
            "; ".join(unmet) or answer.text[:300],
        )

    return ask


def asker_of_app(world: World, port: int) -> Callable[[Token], tuple[bool, int, str, str]]:
    """A request that the guard judges."""
    http = httpx.Client(base_url=f"http://127.0.0.1:{port}", **{**CLIENT, "timeout": 20})
    world.stack.callback(http.close)

    def ask(token: Token) -> tuple[bool, int, str, str]:
        try:
            answer = http.get("/photos/1", headers=bearer(token.text))
        except httpx.HTTPError as error:
            return False, 0, "", type(error).__name__
        cause = answer.headers.get("x-cause", "")
        return answer.status_code == 200, answer.status_code, answer.headers.get("retry-after", ""), cause

    return ask
