"""The load of the soak: clients that issue, narrow, exchange, renew, revoke and rotate, and tell the ledger."""

from __future__ import annotations

import contextlib
import random
import time
from datetime import datetime
from typing import Any, ClassVar

import httpx2 as httpx

from caveats import Macaroon
from tests.faults.soak_ledger import Death, State, Token
from tests.faults.soak_report import named
from tests.faults.soak_world import AUDIENCE, USERS, Node, World
from tests.support.service import (
    PASSWORD,
    basic,
    bearer,
    narrow,
)


class Load:
    """One client: issues, narrows, exchanges, renews, revokes, and tells the ledger what was acknowledged."""

    KINDS: ClassVar = {
        "exchange": 22,
        "narrow": 22,
        "child": 10,
        "renew": 4,
        "revoke copy": 10,
        "revoke whole": 5,
        "revoke id": 4,
        "revoke user": 0.6,
        "sign in": 1,
        "authorize": 6,
    }

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)
        self._clients = [world.client(node) for node in world.nodes]
        for http in self._clients:
            world.stack.callback(http.close)

    def run(self, per_second: float) -> None:
        """Until the soak ends."""
        kinds, weights = list(self.KINDS), list(self.KINDS.values())
        while not self._world.stop.wait(self._chance.expovariate(per_second)):
            kind = self._chance.choices(kinds, weights)[0]
            try:
                said = self.do(kind)
            except httpx.HTTPError as error:
                said = type(error).__name__
            if said:
                self._world.report.count(self._world.report.operations, f"{kind}: {said}")

    def do(self, kind: str) -> str:
        world, ledger = self._world, self._world.ledger
        at = self._chance.randrange(2)
        http, node = self._clients[at], world.nodes[at]
        more = {"Connection": "close"} if self._chance.random() < 0.3 else {}
        if kind == "sign in":
            user = self._chance.choice(USERS)
            with world.user_locks[user]:
                return self._sign_in(http, node, user)
        if kind == "revoke user":
            user = self._chance.choice(USERS)
            with world.user_locks[user]:
                skewed, tokens = ledger.skewed_of(user), ledger.of_user(user)
                tokens = [hit for token in tokens for hit in ledger.hit(token)]
                ledger.doubt([*tokens, *skewed])
                answer = http.post("/v1/revocations", json={"user": user}, headers=world.admin(http))
                return self._revoked(answer, tokens)
        if kind == "revoke id":
            token = ledger.good(left=5)
            if token is None:
                return ""
            tokens = [hit for copy in self._same(token) for hit in ledger.hit(copy)]
            ledger.doubt(tokens)
            answer = http.post(
                "/v1/revocations", json={"token_id": token.token_id}, headers=world.admin(http)
            )
            return self._revoked(answer, tokens)
        if kind in ("revoke copy", "revoke whole"):
            token = ledger.good(left=5)
            if token is None or token.whole is not (kind == "revoke whole"):
                return ""
            if token.audience == "default" and self._chance.random() < 0.8:
                return ""
            tokens = ledger.hit(token)
            ledger.doubt(tokens)
            answer = http.post(
                "/v1/revocations", json={"presented": True}, headers={**bearer(token.text), **more}
            )
            return self._revoked(answer, tokens)
        if kind == "narrow":
            token = ledger.good()
            if token is None:
                return ""
            text = narrow(token.text, f"note = {self._chance.random()}")
            ledger.add(_copy(token, text))
            return "done"
        if kind == "authorize":
            token = ledger.good(audience="default")
            if token is None:
                return ""
            answer = http.get(
                "/v1/authorize", params={"scope": "photos:read"}, headers={**bearer(token.text), **more}
            )
            return str(answer.status_code)
        if kind == "renew":
            user = self._chance.choice(USERS)
            with world.user_locks[user]:
                token = world.accounts.get(user)
                if token is None or token.state is not State.LIVE:
                    return ""
                answer = http.post("/v1/tokens/renew", json={}, headers={**bearer(token.text), **more})
                if answer.status_code == 200:
                    made = self._token(answer, node, token)
                    made.parent, made.skewed = token.parent, token.skewed or made.skewed
                    ledger.add(made)
                return str(answer.status_code)
        return self._issue(kind, http, node, more)

    def _issue(self, kind: str, http: httpx.Client, node: Node, more: dict[str, str]) -> str:
        world, ledger = self._world, self._world.ledger
        user = self._chance.choice(USERS)
        with world.user_locks[user]:
            parent = world.accounts.get(user) if kind == "exchange" else ledger.good(audience=AUDIENCE)
            if kind == "exchange" and (
                parent is None or parent.state is not State.LIVE or parent.expires_at - time.time() < 60
            ):
                return self._sign_in(http, node, user)
            if parent is None:
                return ""
        with world.user_locks[parent.user]:
            body: dict[str, Any] = {"audience": AUDIENCE, "scope": "photos:*"}
            if self._chance.random() < 0.2 and kind == "exchange":
                body["note"] = "labelled"
            answer = http.post("/v1/tokens", json=body, headers={**bearer(parent.text), **more})
            if answer.status_code == 201:
                made = self._token(answer, node, parent)
                made.skewed = made.skewed or parent.skewed
                ledger.add(made)
            elif answer.status_code == 401 and parent.state is State.LIVE and not parent.skewed:
                self._refused_good(node, parent, answer)
            return str(answer.status_code)

    def _refused_good(self, node: Node, parent: Token, answer: httpx.Response) -> None:
        """A 401 at issuing is a verdict on the token that was presented."""
        now = time.monotonic()
        faults = self._world.report.about(node.name, now - 1, now)
        if not any(fault.kind in ("node clock", "failover") for fault in faults):
            self._world.report.violation(
                f"{node.name} does not take a good {parent}: {answer.text[:200]}; {named(faults)}"
            )

    def _sign_in(self, http: httpx.Client, node: Node, user: str) -> str:
        answer = http.post("/v1/tokens", json={}, headers=basic(user, PASSWORD))
        if answer.status_code == 201:
            self._world.accounts[user] = self._world.ledger.add(self._token(answer, node, None))
        return f"sign in {answer.status_code}"

    def _token(self, answer: httpx.Response, node: Node, parent: Token | None) -> Token:
        said = answer.json()
        identifier = Macaroon.decode(said["token"]).unverified_identifier
        assert identifier is not None
        now = time.monotonic()
        off = any(fault.kind == "node clock" for fault in self._world.report.about(node.name, now, now))
        return Token(
            said["token"],
            said["token_id"],
            said["user"],
            said["audience"],
            identifier.key_id,
            datetime.fromisoformat(said["expires_at"]).timestamp(),
            node.name,
            skewed=off,
            parent=parent,
        )

    def _same(self, token: Token) -> list[Token]:
        """All copies of the token id, by way of a whole one."""
        return [token, *(other for other in self._world.ledger.tokens if other.token_id == token.token_id)]

    def _revoked(self, answer: httpx.Response, tokens: list[Token]) -> str:
        if answer.status_code == 401:
            self._world.admin_is_dead()
        if answer.status_code != 201:
            return str(answer.status_code)
        said = answer.json()
        upto = said["issued_up_to"]
        death = Death(
            said["kind"],
            said["token_id"],
            said["branch_id"],
            said["user"],
            None if upto is None else int(datetime.fromisoformat(upto).timestamp() * 1000),
        )
        if said["sequence"]:
            self._world.ledger.kill(tokens, death)
        return "201"


def _copy(token: Token, text: str) -> Token:
    """A narrower copy: it dies with the one that it was made from, and with the whole."""
    return Token(
        text,
        token.token_id,
        token.user,
        token.audience,
        token.key_id,
        token.expires_at,
        token.node,
        whole=False,
        skewed=token.skewed,
        parent=token,
    )


class KeyKeeper:
    """Rotates keys, and retires one by force now and then."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)

    def run(self) -> None:
        world = self._world
        turn = 0
        while not world.stop.wait(self._chance.uniform(12, 25)):
            turn += 1
            with (
                contextlib.suppress(httpx.HTTPError, KeyError),
                world.client(self._chance.choice(world.nodes)) as http,
            ):
                if turn % 7:
                    self._rotate(http)
                else:
                    self._retire(http)

    def _rotate(self, http: httpx.Client) -> None:
        world = self._world
        now = self._chance.random() < 0.4
        answer = http.post("/v1/keys/rotate", json={"now": now}, headers=world.admin(http))
        if answer.status_code == 401:
            world.admin_is_dead()
        world.report.count(world.report.operations, f"rotate{' now' if now else ''}: {answer.status_code}")

    def _retire(self, http: httpx.Client) -> None:
        world = self._world
        rows = http.get("/v1/keys", headers=world.admin(http)).json()["keys"]
        old = [row["id"] for row in rows if row["state"] == "verifying"]
        if len(old) < 3:
            return
        key_id = old[0] if self._chance.random() < 0.5 else old[-1]
        tokens = world.ledger.under(key_id)
        world.ledger.doubt(tokens)
        answer = http.post(f"/v1/keys/{key_id}/retire", json={"force": True}, headers=world.admin(http))
        world.report.count(world.report.operations, f"retire by force: {answer.status_code}")
        if answer.is_success:
            world.ledger.kill(world.ledger.under(key_id), Death("key", key_id=key_id))
            world.admin_is_dead()
