"""From the command that asks to the bundle it prints, by way of a person at a real browser: every program for itself."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from caveats import Bundle, Macaroon, ThirdParty, authenticate
from caveats_client import Client, Forbidden, Interact
from tests.support.discharge import FirstParty, public_key
from tests.support.service import User, new_user
from tests.support.web import Auth

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
ROOT_KEY = b"a root key that only the issuer has"
CLI = [sys.executable, "-c", "from caveats_client.cli import main; main()"]
THEIRS = """
import json, sys
from macaroonbakery import httpbakery
answer = httpbakery.Client().request("GET", sys.argv[1])
print(json.dumps([answer.status_code, answer.json()]))
"""


def token(service: Auth, *conditions: str) -> tuple[Macaroon, ThirdParty]:
    party = ThirdParty(service.url, public_key(service))  # type: ignore[arg-type]
    minted = Macaroon.mint(ROOT_KEY, b"an identifier")
    return minted.require_discharge(party, *conditions, root_key=ROOT_KEY), party


def asker(text: str, party: ThirdParty) -> str | None:
    """Who it was, by the service's word: the bundle is whole, or this raises."""
    return authenticate(Bundle.decode(text.strip()), ROOT_KEY).user_asserted_by(party, ROOT_KEY)


class Program:
    """A program that asks, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def address(self) -> str:
        """What it tells the person to open."""
        assert self._process.stderr is not None
        while line := await asyncio.wait_for(self._process.stderr.readline(), 30):
            _, found, url = line.decode().strip().partition("to go on, open ")
            if found:
                return url
        raise AssertionError("it named no address")

    async def end(self) -> tuple[int, str, str]:
        out, err = await asyncio.wait_for(self._process.communicate(), 30)
        assert self._process.returncode is not None
        return self._process.returncode, out.decode(), err.decode()


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """Where the stand-in for a person's browser notes what it was to open."""
    return tmp_path / "opened"


@pytest_asyncio.fixture(loop_scope="session")
async def start(tmp_path: Path, opened: Path) -> AsyncIterator[Callable[..., Any]]:
    """Start a program as a person would, with BROWSER set: it notes the address for the window of the test."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{opened}.part" && mv "{opened}.part" "{opened}"\n')
    browser.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("CAVEATS_")}
    env = {**kept, "BROWSER": f"{browser} %s", "CAVEATS_CONFIG_DIR": str(tmp_path / "config")}
    env.pop("BAKERY_AGENT_FILE", None)

    started: list[asyncio.subprocess.Process] = []

    async def run(*arguments: str) -> Program:
        pipe = asyncio.subprocess.PIPE
        started.append(await asyncio.create_subprocess_exec(*arguments, env=env, stdout=pipe, stderr=pipe))
        return Program(started[-1])

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def noted(opened: Path) -> str:
    """What the stand-in was to open; nothing while nothing was."""
    return opened.read_text().strip() if opened.exists() else ""


async def address_in(opened: Path) -> str:
    for _ in range(3000):
        if url := noted(opened):
            return url
        await asyncio.sleep(0.01)
    raise AssertionError("no browser was opened")


async def test_the_command_prints_an_address_waits_and_ends_with_the_bundle(
    service: Auth, user: User, open_window: Any, start: Any, opened: Path
) -> None:
    macaroon, party = token(service, "signed-in = *")
    nearby = ("--allow", service.url, "--allow-private", "--no-browser")
    program = await start(*CLI, "discharge", macaroon.encode(), "--wait", *nearby)
    window = await open_window()
    await window.visit(await program.address())
    assert await window.give(user, "Sign in and confirm") == "Done"
    code, out, err = await program.end()
    assert (code, asker(out, party)) == (0, user.username), err
    assert noted(opened) == "", "and no browser was opened"


async def test_the_command_opens_the_person_s_own_browser(
    service: Auth, user: User, open_window: Any, start: Any, opened: Path
) -> None:
    macaroon, party = token(service, f"signed-in = {user.username}")
    program = await start(
        *CLI, "discharge", macaroon.encode(), "--wait", "--allow", service.url, "--allow-private"
    )
    window = await open_window()
    await window.has_session(user)
    await window.visit(await address_in(opened))
    assert await window.press("Confirm") == "Done"
    code, out, err = await program.end()
    assert (code, asker(out, party)) == (0, user.username), err


async def test_the_command_waits_for_a_second_person_at_another_browser(
    service: Auth, user: User, open_window: Any, start: Any
) -> None:
    approver = new_user(service)
    group = f"g{user.username}"
    service.put_in_group(group, approver)
    macaroon, party = token(service, f"approved-by = {group}")
    nearby = ("--allow", service.url, "--allow-private", "--no-browser")
    program = await start(*CLI, "discharge", macaroon.encode(), "--wait", *nearby)
    first, second = await open_window(), await open_window()
    await first.visit(await program.address())
    assert await first.give(user, "Sign in and confirm") == "Waiting for approval"
    await second.visit(await first.address())
    assert await second.give(approver, "Approve") == "Done"
    code, out, err = await program.end()
    assert (code, asker(out, party)) == (0, user.username), err


async def test_the_command_says_that_it_was_denied(
    service: Auth, user: User, open_window: Any, start: Any
) -> None:
    macaroon, _ = token(service, "signed-in = *")
    nearby = ("--allow", service.url, "--allow-private", "--no-browser")
    program = await start(*CLI, "discharge", macaroon.encode(), "--wait", *nearby)
    window = await open_window()
    await window.visit(await program.address())
    assert await window.give(user, "Deny") == "Denied"
    code, out, err = await program.end()
    assert (code, out) == (4, "")
    assert "it was denied" in err


@pytest.mark.parametrize("button", ["Sign in and confirm", "Deny"])
async def test_the_client_in_a_program_of_one_s_own(
    service: Auth, user: User, open_window: Any, button: str
) -> None:
    macaroon, party = token(service, "signed-in = *")
    loop, visited = asyncio.get_running_loop(), asyncio.Queue[str]()
    interact = Interact(visit=lambda url: loop.call_soon_threadsafe(visited.put_nowait, url) and None)
    with Client(service.url) as client:
        discharging = asyncio.create_task(asyncio.to_thread(client.discharge, macaroon, interact=interact))
        window = await open_window()
        await window.visit(await asyncio.wait_for(visited.get(), 30))
        await window.give(user, button)
        if button == "Deny":
            with pytest.raises(Forbidden, match="it was denied"):
                await discharging
        else:
            assert asker((await discharging).encode(), party) == user.username


@pytest.mark.parametrize("condition", ["is-authenticated-user", "<is-authenticated-user"])
async def test_the_released_bakery_client_opens_its_window_and_gets_through(
    service: Auth, user: User, open_window: Any, *, start: Any, opened: Path, condition: str
) -> None:
    """Unmodified, in a process of its own, with whatever browser the system says; also the oldest way."""
    with FirstParty(service, condition, 3) as first:  # type: ignore[arg-type]
        program = await start(sys.executable, "-W", "ignore", "-c", THEIRS, first.url)
        window = await open_window()
        await window.visit(await address_in(opened))
        assert await window.give(user, "Sign in and confirm") == "Done"
        code, out, err = await program.end()
        assert code == 0, err
        assert json.loads(out.splitlines()[-1]) == [200, {}]
        assert f"declared username {user.username}" in first.granted[-1]
