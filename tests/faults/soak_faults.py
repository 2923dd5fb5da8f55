"""The faults of the soak: what goes wrong, with whom, and for how long."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import ClassVar

import httpx2 as httpx

from tests.faults.soak_ledger import Death, Token
from tests.faults.soak_mirror import LIES
from tests.faults.soak_probes import Prober, asker_of_app
from tests.faults.soak_world import GRACE, App, Node, World
from tests.support.cluster import (
    sql,
)
from tests.support.service import (
    bearer,
)


class Faults:
    """Lets things go wrong, mostly one at a time."""

    KINDS: ClassVar = {
        "failover": 3,
        "database hangs": 1,
        "worker killed": 3,
        "node killed": 1.5,
        "node stopped": 1.5,
        "app clock": 4,
        "node clock": 2,
        "mirror lies": 5,
        "fork": 3,
        "app restarted": 1.5,
        "app killed": 1.5,
        "app frozen": 1,
        "cable cut": 2,
    }
    JUMPS: ClassVar = (-8640000, -3600, -120, -20, -3, 3, 20, 120, 3600, 8640000)

    def __init__(self, world: World, seed: int, kinds: list[str], minutes: float, pause: float) -> None:
        self._world = world
        self._chance = random.Random(seed)
        self._kinds = [kind for kind in kinds if world.library or "clock" not in kind]
        self._begun = time.monotonic()
        self._seconds = minutes * 60
        self._pause = pause
        self._threads: list[threading.Thread] = []

    def run(self) -> None:
        pause = self._pause
        waiting = self._chance.sample(self._kinds, len(self._kinds))
        while not self._world.stop.wait(self._chance.uniform(pause / 2, pause * 1.5)):
            if not waiting:  # every kind comes before one comes again as often as its weight would have it
                waiting = [
                    *self._kinds,
                    *self._chance.choices(self._kinds, [self.KINDS[kind] for kind in self._kinds], k=6),
                ]
                self._chance.shuffle(waiting)
            kind = waiting.pop()
            try:
                getattr(self, "_" + kind.replace(" ", "_"))()
            except Exception as error:
                if not self._world.stop.is_set():
                    self._world.report.violation(f"{kind}: {type(error).__name__}: {str(error)[:2000]}")

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)

    def _spared(self, number: int) -> int:
        """Which of so many is left alone in this part of the run, so that its memory can be followed."""
        return int((time.monotonic() - self._begun) / self._seconds * number) % number

    def _node(self) -> Node:
        """One that may be killed now."""
        return self._world.nodes[1 - self._spared(2)]

    def _app(self) -> App:
        """One that may be killed now."""
        apps = list(self._world.apps.values())
        del apps[self._spared(len(apps))]
        return self._chance.choice(apps)

    def _hold(self, least: float, most: float) -> None:
        self._world.stop.wait(self._chance.uniform(least, most))

    ALL: ClassVar = ("node1", "node2", "local", "mirror", "remote")
    BEHIND: ClassVar = {"node1": ("local", "mirror"), "node2": ("mirror", "remote")}

    def _failover(self) -> None:
        world, database = self._world, self._world.database
        seconds = self._chance.choice([0, 1, 3, 6])
        with world.report.fault("failover", *self.ALL, what="behind" if seconds else ""):
            before = database.keys(database.primary)
            if seconds:
                database.fall_behind()
                world.stop.wait(seconds)
            database.kill()
            self._hold(0, 4)
            again = self._account(before)
            database.come_back()
        self._revoke_again(again)

    def _account(self, before: set[tuple[str, int]]) -> list[Token]:
        """Tell the ledger what was lost."""
        world, server = self._world, self._world.database.replica
        rows = sql(server.url, "SELECT kind, token_id, branch_id, username, issued_up_to FROM revocations")
        revoked = {
            (
                row["kind"],
                row["token_id"],
                row["branch_id"] and bytes(row["branch_id"]).hex(),
                row["username"],
            )
            for row in rows
        }
        times: dict[str, int] = defaultdict(int)
        for row in rows:
            if row["kind"] == "user":
                times[row["username"]] = max(times[row["username"]], row["issued_up_to"])
        keys = {key_id for key_id, _ in before & world.database.keys(server)}
        states = sql(server.url, "SELECT key_id FROM master_keys WHERE state != 'retired'")
        lost, again = world.ledger.failed_over(revoked, times, keys, {row["key_id"] for row in states})
        world.report.lost += lost
        world.report.tell(f"  {lost} acknowledged deaths were lost, of {len(again)} tokens")
        return again

    def _revoke_again(self, tokens: list[Token]) -> None:
        """What an operator does who knows what was lost: from now on it holds."""
        world = self._world
        with world.client(self._chance.choice(world.nodes)) as http:
            for token in tokens[:30]:
                hit = world.ledger.hit(token)
                with contextlib.suppress(httpx.HTTPError):
                    answer = http.post(
                        "/v1/revocations", json={"presented": True}, headers=bearer(token.text)
                    )
                    if answer.status_code == 201 and answer.json()["sequence"]:
                        said = answer.json()
                        world.ledger.kill(hit, Death(said["kind"], said["token_id"], said["branch_id"]))
                        world.report.count(world.report.operations, "revoke again: 201")

    def _database_hangs(self) -> None:
        with self._world.report.fault("database hangs", *self.ALL):
            self._world.database.primary.pause()
            try:
                self._hold(2, 6)
            finally:
                self._world.database.primary.resume()
                self._world.database.back_at = time.monotonic()

    def _worker_killed(self) -> None:
        node = self._node()
        with self._world.report.fault("worker killed", node.name, *self.BEHIND[node.name]):
            workers = node.workers()
            if workers:
                os.kill(self._chance.choice(workers), signal.SIGKILL)
            self._until(lambda: len(node.workers()) == 2, 30)
            self._until(node.ready, 30)

    def _node_killed(self) -> None:
        node = self._node()
        with self._world.report.fault("node killed", node.name, *self.BEHIND[node.name]):
            took = node.kill()
            if took > GRACE:
                self._world.report.violation(f"workers of {node.name} live on without their parent")
            self._hold(0, 5)
            node.start()

    def _node_stopped(self) -> None:
        node = self._node()
        with self._world.report.fault("node stopped", node.name, *self.BEHIND[node.name]):
            took = node.stop()
            if took > GRACE:
                self._world.report.violation(f"{node.name} took {took:.0f} s to stop")
            self._hold(0, 15)
            node.start()

    def _until(self, holds: Callable[[], bool], seconds: float) -> None:
        begun = time.monotonic()
        while not holds() and not self._world.stop.is_set():
            if time.monotonic() - begun > seconds:
                raise AssertionError(f"not after {seconds:.0f} s")
            time.sleep(0.1)

    def _app_clock(self) -> None:
        app = self._chance.choice(list(self._world.apps.values()))
        jump = self._chance.choice(self.JUMPS)
        with self._world.report.fault("app clock", app.name, off=jump, what=f"{jump:+d} s"):
            app.clock.set(jump)
            self._hold(5, 30)
            if self._chance.random() < 0.3:
                app.clock.set(-jump)
                self._hold(5, 15)
            if self._chance.random() < 0.3:
                with self._world.report.fault("app restarted", app.name, what="while its clock is wrong"):
                    app.end()
                    app.start()
            app.clock.set(0)

    def _node_clock(self) -> None:
        node = self._chance.choice(self._world.nodes)
        jump = self._chance.choice(self.JUMPS)
        with self._world.report.fault(
            "node clock", node.name, *self.BEHIND[node.name], off=jump, what=f"{jump:+d} s"
        ):
            node.clock.set(jump)
            self._hold(3, 20)
            node.clock.set(0)

    def _mirror_lies(self) -> None:
        lie = self._chance.choice(LIES)
        with self._world.report.fault("mirror lies", "mirror", what=lie):
            self._world.orders.write_text(lie)
            self._hold(8, 35)
            self._world.orders.write_text("honest")

    def _fork(self) -> None:
        app = self._chance.choice(list(self._world.apps.values()))
        seconds = self._chance.uniform(25, 60)
        port = app.fork(seconds)
        until = time.monotonic() + seconds - 3
        name = f"{app.name}/child"
        with self._world.report.fault("fork", name):
            self._hold(2, 4)  # until it listens
        if app.popen is None:
            return
        born_of = app.popen

        def over() -> bool:
            return time.monotonic() > until or app.popen is not born_of

        prober = Prober(
            self._world, name, asker_of_app(self._world, port), self._chance.getrandbits(32), port=port
        )
        thread = threading.Thread(target=prober.run, args=(3, over), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _app_restarted(self) -> None:
        app = self._app()
        with self._world.report.fault("app restarted", app.name):
            app.end()
            self._hold(0, 15)
            app.start()

    def _app_killed(self) -> None:
        app = self._app()
        with self._world.report.fault("app killed", app.name):
            app.end(signal.SIGKILL)
            self._hold(0, 5)
            app.start()

    def _app_frozen(self) -> None:
        app = self._chance.choice(list(self._world.apps.values()))
        with self._world.report.fault("app frozen", app.name):
            assert app.popen is not None
            app.popen.send_signal(signal.SIGSTOP)
            self._hold(5, 25)
            app.popen.send_signal(signal.SIGCONT)

    def _cable_cut(self) -> None:
        name = self._chance.choice(list(self._world.cables))
        silent = self._chance.random() < 0.5
        with self._world.report.fault("cable cut", name, what="silently" if silent else ""):
            cable = self._world.cables[name]
            cable.go_silent() if silent else cable.cut()
            self._hold(5, 25)
            cable.mend()
