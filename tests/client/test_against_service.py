"""The clients and the console script against the real service, over a real socket on this machine.

What must be seen here is the story of the README: sign in, narrow offline, hand on, verify, refuse with the
reason, kill the copy, and the original lives.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn
from click.testing import CliRunner

from caveats import Bundle, Context, Expires, Macaroon, Note, PrivateKey, Revoked, Scope, ThirdParty
from caveats.keys import open_bundle
from caveats.token import decode_base64
from caveats_client import (
    AsyncClient,
    BadRequest,
    Client,
    Conflict,
    Forbidden,
    NotAuthenticated,
    NotFound,
    NotLive,
    RequestFacts,
    TokenAuth,
    calls,
)
from caveats_client.cli.app import app
from caveats_client.cli.credentials import Credentials
from caveats_client.verifiers.remote import RemoteVerifier
from caveats_service.app import create_app
from caveats_service.core.passwords import PasswordProfile
from caveats_service.settings import Settings
from tests.support.typed import at_terminal

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"
ADMIN_PASSWORD = "administrator's own"


class Serving:
    """A service on a port of its own, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        settings = Settings.load(
            data_dir=folder,
            open_registration=True,
            admin_password=ADMIN_PASSWORD,
            login_limit_account="1000/minute",
            login_limit_address="1000/minute",
            log_level="error",
        )
        cheap = PasswordProfile(passes=1, memory_kib=8)
        self._socket = socket.create_server(("127.0.0.1", 0))
        app = create_app(settings, password_profile=cheap)
        self._server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_config=None, access_log=False))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        with httpx.Client() as client:
            for _ in range(200):
                try:
                    if client.get(f"{self.url}/readyz", timeout=1).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                if not self._thread.is_alive():
                    break
        raise RuntimeError("the service did not start")

    def _run(self) -> None:
        asyncio.run(self._server.serve([self._socket]))

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = Serving(tmp_path_factory.mktemp("service") / "data")
    yield serving
    serving.stop()


names = (f"user{number}" for number in range(1000))


@pytest.fixture
def alice(service: Serving) -> str:
    """A fresh account's name."""
    name = next(names)
    with Client(service.url) as client:
        client.register(name, PASSWORD)
    return name


class Both:
    """A client of either kind, its methods called alike."""

    def __init__(self, kind: str, url: str) -> None:
        self._kind = kind
        self._runner = asyncio.Runner()
        self._client = Client(url) if kind == "sync" else AsyncClient(url)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            answer = getattr(self._client, name)(*arguments, **options)
            return self._runner.run(_awaited(answer)) if inspect.isawaitable(answer) else answer

        return call

    def end(self) -> None:
        self.close()
        self._runner.close()


async def _awaited(answer: Any) -> Any:
    return await answer


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, service: Serving) -> Iterator[Any]:
    both = Both(request.param, service.url)
    yield both
    both.end()


# The clients


def test_the_main_story(client: Any, alice: str) -> None:
    token = client.login(alice, PASSWORD, scope="photos:*", expires_in="8h")
    assert isinstance(token, Macaroon)
    narrow = token.attenuate(
        Scope("photos/42:read"),
        Expires.after(timedelta(minutes=10), now=datetime.now(UTC)),
        Note("for the printer"),
    )
    granted = client.verify(narrow, scope="photos/42:read")
    assert granted.granted
    assert (granted.user, granted.scopes) == (alice, ("photos/42:read",))
    assert granted.expires_at is not None
    assert len(granted.branches) == len(granted.caveats) + 1

    refused = client.verify(narrow, scope="photos/7:read")
    assert not refused.granted
    (failure,) = refused.failures
    assert (failure.predicate, failure.added_by) == ("scope = photos/42:read", "holder")
    assert "photos/7:read" in failure.reason

    entry = client.revoke(narrow)
    assert (entry.kind, entry.branch_id) == ("branch", granted.branches[-1])
    with pytest.raises(NotAuthenticated):
        client.verify(narrow, scope="photos/42:read")
    with pytest.raises(NotAuthenticated):
        client.verify(narrow.attenuate(Note("what descends from it")), scope="photos/42:read")
    assert client.verify(token, scope="photos/42:read").granted


def test_a_token_is_taken_in_every_form(client: Any, alice: str) -> None:
    token = client.login(alice, PASSWORD)
    for form in (token, Bundle(token), token.encode(), token.to_pymacaroons().serialize()):
        assert client.verify(form, scope="photos:read").granted
        assert client.issue(token=form).user == alice


def test_issue_is_bounded_by_the_token_that_it_is_against(client: Any, alice: str) -> None:
    client.login(alice, PASSWORD, scope="photos:*")
    issued = client.issue(
        scope="photos:read", expires_in=timedelta(minutes=5), caveats=["method = GET"], note="ci"
    )
    assert (issued.user, issued.scopes, issued.audience) == (alice, ("photos:read",), "default")
    assert issued.expires_at - issued.issued_at <= timedelta(minutes=5)
    assert not client.verify(issued.token, scope="photos:read", method="POST").granted
    with pytest.raises(Forbidden, match="beyond what you may have"):
        client.issue(scope="notes:read")


def test_a_sent_login_tells_all_and_does_not_sign_in(client: Any, alice: str) -> None:
    issued = client.send(calls.login(alice, PASSWORD, audience="photos", expires_in=600))
    assert (issued.audience, issued.token.unverified_identifier.token_id) == ("photos", issued.token_id)
    with pytest.raises(NotAuthenticated, match="holds no token"):
        client.tokens()


def test_renew_keeps_what_holders_added(client: Any, alice: str) -> None:
    token = client.login(alice, PASSWORD, expires_in="1h")
    narrow = token.attenuate(Scope("photos:read"))
    renewed = client.renew(narrow, expires_in="2h")
    assert renewed.scopes == ("photos:read",)
    assert renewed.token.unverified_caveats[-1] == Scope("photos:read")
    again = client.renew(expires_in="3h")
    assert again.token_id == renewed.token_id
    assert again.expires_at > renewed.expires_at


def test_whoami_needs_nothing_but_a_live_token(client: Any, alice: str) -> None:
    token = client.login(alice, PASSWORD, audience="photos", scope="photos:*")
    assert client.whoami().user == alice
    narrow = token.attenuate(b"method = PURGE", Scope("photos:read"))
    assert client.whoami(narrow).scopes == ("photos:read",)
    expired = token.attenuate(Expires(datetime(2020, 1, 1, tzinfo=UTC)))
    with pytest.raises(NotAuthenticated):
        client.whoami(expired)


def test_of_many_the_dead_spoil_nothing(client: Any, alice: str) -> None:
    token = client.login(alice, PASSWORD)
    forged = Macaroon(token.wire._replace(signature=bytes(32)))
    good, narrow, dead = client.verify_many(
        [
            (token, RequestFacts(scope="photos:read")),
            (token.attenuate(Scope("photos:read")), RequestFacts(scope="notes:read")),
            (forged, RequestFacts(scope="photos:read")),
        ]
    )
    assert good.granted
    assert [failure.kind for failure in narrow.failures] == ["scope"]
    assert dead == NotLive("invalid_token")


def test_labelled_tokens_are_listed_page_by_page_and_revoked_by_id(client: Any, alice: str) -> None:
    client.login(alice, PASSWORD)
    issued = [client.issue(note=f"number {n}") for n in range(3)]
    first = client.tokens(limit=2)
    assert [record.note for record in first.tokens] == ["number 2", "number 1"]
    second = client.tokens(after=first.next, limit=2)
    assert [record.note for record in second.tokens] == ["number 0"]
    assert second.next is None
    assert client.send(calls.get_token(issued[0].token_id)) == second.tokens[0]

    assert client.revoke_token(issued[0].token_id).kind == "token"
    with pytest.raises(NotAuthenticated):
        client.verify(issued[0].token, scope="a:b")
    with pytest.raises(NotFound):
        client.send(calls.get_token("01KAJ5M3W8E2RZ6V8Q4T0N9XCD"))


def test_a_branch_is_revoked_by_the_id_that_a_verification_names(client: Any, alice: str) -> None:
    token = client.login(alice, PASSWORD)
    copy = token.attenuate(Note("copy"))
    seen = client.verify(copy, scope="a:b")
    client.send(calls.revoke_branch(seen.token_id, seen.branches[-1]))
    with pytest.raises(NotAuthenticated):
        client.verify(copy, scope="a:b")
    assert client.verify(token, scope="a:b").granted


def test_a_token_that_no_third_party_has_agreed_to_is_revoked_by_whoever_has_it(
    service: Serving, client: Any, alice: str
) -> None:
    token = client.login(alice, PASSWORD)
    third = ThirdParty("https://third.example", PrivateKey.generate().public_key)
    half = token.require_discharge(third, "is-member = yes")
    assert client.revoke(half).kind == "branch"
    assert client.verify(token, scope="a:b").granted
    arguments, environment = ["revoke", half.encode()], {"CAVEATS_URL": service.url}
    done = CliRunner().invoke(app, arguments, env=environment, prog_name="caveats")
    assert done.exit_code == 0, done.output


def test_a_user_kills_everything_of_theirs(client: Any, alice: str) -> None:
    token = client.login(alice, PASSWORD)
    assert client.send(calls.revoke_user(alice)).user == alice
    with pytest.raises(NotAuthenticated):
        client.whoami(token)


def test_a_new_password_kills_what_the_old_one_got(client: Any, alice: str) -> None:
    token = client.login(alice, PASSWORD)
    with pytest.raises(NotAuthenticated):
        client.change_password(alice, "a wrong password", "another password")
    client.change_password(alice, PASSWORD, "another password")
    with pytest.raises(NotAuthenticated):
        client.whoami(token)
    with pytest.raises(NotAuthenticated):
        client.login(alice, PASSWORD)
    assert client.login(alice, "another password")


def test_registration_has_its_refusals(client: Any, alice: str) -> None:
    with pytest.raises(Conflict):
        client.register(alice, PASSWORD)
    with pytest.raises(BadRequest):
        client.register(next(names), "short")
    with pytest.raises(BadRequest):
        client.register("No Such Name", PASSWORD)


def test_an_administrator_keeps_users_and_keys(client: Any, alice: str) -> None:
    with Client(client.__dict__["_client"].url) as other:
        token = other.login(alice, PASSWORD)
    client.login("admin", ADMIN_PASSWORD, scope="caveats:admin")
    name = next(names)
    assert client.register(name, PASSWORD, as_admin=True).username == name
    users = client.send(calls.list_users(limit=1000)).users
    assert {alice, name, "admin"} <= {user.username for user in users}
    assert client.send(calls.disable_user(alice)).disabled_at is not None
    with pytest.raises(NotAuthenticated):
        client.whoami(token)
    assert client.send(calls.enable_user(alice)).disabled_at is None
    client.change_password(alice, None, "set by the administrator")
    assert client.send(calls.list_keys())[-1].state in ("active", "published")
    client.send(calls.delete_user(name))
    with pytest.raises(Conflict):
        client.register(name, PASSWORD, as_admin=True)
    with pytest.raises(NotFound):
        client.send(calls.retire_key("k999"))


def test_keys_are_rotated_and_retired(client: Any, alice: str) -> None:
    client.login("admin", ADMIN_PASSWORD, scope="caveats:admin")
    old = next(key for key in list(client.send(calls.list_keys())) if key.state == "active")
    fresh = client.send(calls.rotate_keys(now=True))
    assert fresh.state == "active"
    with pytest.raises(Conflict) as in_use:
        client.send(calls.retire_key(old.key_id))
    assert in_use.value.code == "key_in_use"
    client.login("admin", ADMIN_PASSWORD, scope="caveats:admin")  # under the fresh key
    assert client.send(calls.retire_key(old.key_id, force=True)).state == "retired"


def test_what_is_for_administrators_is_for_nobody_else(client: Any, alice: str) -> None:
    client.login(alice, PASSWORD)
    for call in (calls.list_users(), calls.list_keys(), calls.rotate_keys(), calls.disable_user("admin")):
        with pytest.raises(Forbidden):
            client.send(call)


def test_groups_are_kept_by_administrators(client: Any, alice: str) -> None:
    client.login("admin", ADMIN_PASSWORD, scope="caveats:admin")
    assert client.send(calls.set_group("staff", [alice])).members == (alice,)
    assert client.send(calls.add_group_member("staff", "admin")).members == ("admin", alice)
    assert client.send(calls.remove_group_member("staff", alice)).members == ("admin",)
    staff = client.send(calls.get_group("staff"))
    assert client.send(calls.list_groups()).groups == (staff,)
    client.send(calls.delete_group("staff"))
    with pytest.raises(NotFound):
        client.send(calls.get_group("staff"))


def test_agents_are_registered_and_removed(client: Any, alice: str) -> None:
    client.login("admin", ADMIN_PASSWORD, scope="caveats:admin")
    public_key = PrivateKey.generate().public_key
    agent = client.send(calls.register_agent(alice, public_key, "nightly build"))
    assert (agent.username, agent.public_key, agent.name) == (alice, public_key, "nightly build")
    assert agent in client.send(calls.list_agents()).agents
    client.send(calls.remove_agent(agent.agent_id))
    assert agent not in client.send(calls.list_agents()).agents


def test_a_verifier_is_registered_fetches_its_keys_and_is_revoked(client: Any) -> None:
    client.login("admin", ADMIN_PASSWORD, scope="caveats:admin")
    private_key = PrivateKey.generate()
    record = client.send(calls.register_verifier(private_key.public_key, "photos", "photos, eu-1"))
    assert record in client.send(calls.list_verifiers())
    bundle = open_bundle(
        client.send(calls.get_verifier_keys(record.verifier_id)),
        private_key,
        decode_base64(record.service_public_key),
        verifier_id=record.verifier_id,
        audience="photos",
        now=datetime.now(UTC),
    )
    assert bundle.keyring.audience == "photos"
    client.send(calls.revoke_verifier(record.verifier_id))
    with pytest.raises(NotFound):
        client.send(calls.get_verifier_keys(record.verifier_id))


def test_a_session_is_carried_by_its_cookie_alone(client: Any, alice: str) -> None:
    session = client.send(calls.sign_in(alice, PASSWORD, scope="photos:*"))
    assert (session.user, session.scopes) == (alice, ("photos:*",))
    again = client.send(calls.get_session(session.cookie))
    assert (again.user, again.token_id) == (alice, session.token_id)
    client.send(calls.sign_out(again.cookie))
    with pytest.raises(NotAuthenticated):
        client.send(calls.get_session(again.cookie))
    assert session.cookie not in repr(session)


def test_revocations_are_read_page_by_page(client: Any, alice: str) -> None:
    token = client.login(alice, PASSWORD)
    entry = client.revoke(token.attenuate(Note("copy")))
    client.login("admin", ADMIN_PASSWORD, scope="caveats:admin")
    page = client.send(calls.list_revocations(after=entry.sequence - 1, limit=1))
    assert page.revocations == (entry,)
    assert page.last_sequence >= entry.sequence
    assert not page.resync


def test_a_token_is_deleted_by_its_id(client: Any, alice: str) -> None:
    client.login(alice, PASSWORD)
    issued = client.issue(note="laptop")
    client.send(calls.delete_token(issued.token_id))
    with pytest.raises(NotAuthenticated):
        client.whoami(issued.token)


def test_the_service_says_what_it_is_and_which_key_it_has(client: Any) -> None:
    assert client.send(calls.about()).service == "Caveats"
    client.send(calls.health())
    info = client.send(calls.discharge_info())
    assert info.public_key == client.send(calls.public_key()) == client.third_party().public_key


def test_the_service_is_ready(client: Any) -> None:
    client.send(calls.ready())


def test_a_damaged_token_is_told_apart_by_the_service_too(client: Any, alice: str) -> None:
    text = client.login(alice, PASSWORD).encode()
    with pytest.raises(NotAuthenticated) as refused:
        client.verify(text[:-1])
    assert refused.value.code == "damaged_token"


def test_the_auth_class_signs_the_requests_of_an_apps_own_client(service: Serving, alice: str) -> None:
    with Client(service.url) as client:
        token = client.login(alice, PASSWORD, scope="photos:*")
    with httpx.Client(auth=TokenAuth(token, service.url)) as own:
        answer = own.get(f"{service.url}/v1/authorize", params={"scope": "photos/42:read"})
    assert answer.status_code == 200
    assert answer.headers["x-auth-user"] == alice


# The console script


Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def caveats(service: Serving) -> Script:
    """`caveats(...)` as a person would run it, with nothing on standard input unless it is given."""
    beside = Path(sys.executable).parent / "caveats"

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CAVEATS_URL": service.url, **options.pop("env", {})}
        return subprocess.run(
            [beside, *arguments],
            env=environment,
            **({"input": options["input"]} if "input" in options else {"stdin": subprocess.DEVNULL}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def good(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_main_story_at_the_command_line(caveats: Script) -> None:
    name = next(names)
    good(caveats("register", name, "--password-stdin", input=f"{PASSWORD}\n"))
    signed_in = caveats("login", name, env={"CAVEATS_PASSWORD": PASSWORD})
    assert good(signed_in) == ""
    assert f"as {name}" in signed_in.stderr
    assert stat.S_IMODE(Credentials.here().path.stat().st_mode) == 0o600

    assert json.loads(good(caveats("whoami", "--json")))["user"] == name
    issued = caveats("issue", "--scope", "photos:*", "--expires-in", "1h", "--note", "night")
    token = good(issued)
    assert Macaroon.decode(token)
    assert f"of {name}" in issued.stderr
    narrow = good(caveats("attenuate", "--scope", "photos/42:read", "--expires-in", "10m", token))

    granted = caveats("verify", narrow, "--scope", "photos/42:read")
    assert good(granted).startswith("granted")
    refused = caveats("verify", narrow, "--scope", "photos/7:read")
    assert refused.returncode == 4
    assert "refuses  scope = photos/42:read (added by the holder)" in refused.stdout
    assert "the request needs photos/7:read" in refused.stdout
    as_json = json.loads(caveats("verify", narrow, "--scope", "photos/7:read", "--json").stdout)
    assert as_json["granted"] is False
    assert as_json["caveats"][-2]["satisfied"] is False

    assert "night" in good(caveats("tokens"))
    listed = json.loads(good(caveats("tokens", "--json")))
    assert [(row["note"], row["scope"]) for row in listed] == [("night", "photos:*")]

    assert "revoked this copy of token" in caveats("revoke", narrow).stderr
    below = caveats("revoke", "--json", good(caveats("attenuate", "--method", "GET", narrow)))
    assert "nothing to revoke: dead already (revoked)" in below.stderr
    assert json.loads(good(below))["already"] == "revoked"
    assert caveats("verify", narrow, "--scope", "photos/42:read").returncode == 3
    assert caveats("verify", token, "--scope", "photos/42:read").returncode == 0
    assert (
        json.loads(good(caveats("revoke", "--token-id", listed[0]["token_id"], "--json")))["kind"] == "token"
    )
    assert caveats("verify", token, "--scope", "photos/42:read").returncode == 3

    stored = Credentials.here().load().find(None)
    assert stored is not None
    renewed = caveats("renew")
    assert good(renewed) == ""
    after = Credentials.here().load().find(None)
    assert after is not None
    assert after.token != stored.token

    good(caveats("logout"))
    assert Credentials.here().load().find(None) is None
    assert caveats("whoami", after.token).returncode == 3
    assert caveats("whoami", stored.token).returncode == 3  # signing out kills what was renewed, too


def test_tokens_travel_through_pipes(service: Serving, caveats: Script, alice: str) -> None:
    good(caveats("login", alice, "--password-stdin", input=PASSWORD))
    line = (
        "caveats issue --scope 'photos:*' | caveats attenuate --scope photos/42:read | "
        "caveats attenuate --note shared - | caveats verify --scope photos/42:read --json"
    )
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CAVEATS_URL": service.url,
    }
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert json.loads(done.stdout)["granted"] is True, done.stderr


def test_a_password_is_changed_and_the_login_forgotten(caveats: Script, alice: str) -> None:
    good(caveats("login", alice, "--password-stdin", input=PASSWORD))
    changed = caveats("passwd", "--password-stdin", input=f"{PASSWORD}\nanother password\n")
    assert good(changed) == ""
    assert caveats("whoami").returncode == 3
    assert caveats("login", alice, "--password-stdin", input=PASSWORD).returncode == 3
    good(caveats("login", alice, env={"CAVEATS_PASSWORD": "another password"}))
    both = {"CAVEATS_PASSWORD": "another password", "CAVEATS_NEW_PASSWORD": PASSWORD}
    good(caveats("passwd", alice, env=both))


def test_a_damaged_credentials_file_does_not_stop_a_sign_in(
    caveats: Script, alice: str, tmp_path: Path
) -> None:
    """Nothing is lost, and commands that need no stored login go on. Others say in one line what to do."""
    token = good(caveats("issue", env=signed_in(caveats, alice, tmp_path / "whole")))
    folder = tmp_path / "damaged"
    folder.mkdir()
    file = folder / "credentials.json"
    file.touch(0o600)
    file.write_bytes(b'{"version": 1, "logins": {"https://auth.exa\0\xff')
    here = {"CAVEATS_CONFIG_DIR": str(folder)}
    for command in (["issue"], ["tokens"], ["logout"], ["renew"], ["whoami"]):
        done = caveats(*command, env=here)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (3, "", 1), done.stderr
        assert "`caveats login` sets it aside" in done.stderr
    assert alice in good(caveats("whoami", token, env=here))
    done = caveats("login", alice, "--password-stdin", input=PASSWORD, env=here)
    assert good(done) == ""
    assert f"kept as {file}.damaged-1" in done.stderr
    assert (folder / "credentials.json.damaged-1").read_bytes().endswith(b"exa\0\xff")
    assert alice in good(caveats("whoami", env=here))


def signed_in(caveats: Script, name: str, folder: Path) -> dict[str, str]:
    environment = {"CAVEATS_CONFIG_DIR": str(folder)}
    good(caveats("login", name, "--password-stdin", input=PASSWORD, env=environment))
    return environment


@pytest.mark.parametrize(("typed", "code"), [(f"{PASSWORD}\n", 0), (None, 130)], ids=["typed", "ctrl-c"])
def test_a_password_is_typed_unseen_on_a_terminal(
    service: Serving, alice: str, typed: str | None, code: int
) -> None:
    ours, theirs = pty.openpty()
    beside = Path(sys.executable).parent / "caveats"
    with subprocess.Popen(
        [beside, "login", alice, "--url", service.url],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as running:
        os.close(theirs)
        shown = b""
        while select.select([ours], [], [], 30)[0]:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end is gone
                break
            if shown == f"Password of {alice} at {service.url}: ".encode():
                if typed is None:
                    running.send_signal(signal.SIGINT)
                else:
                    os.write(ours, typed.encode())
    os.close(ours)
    assert running.returncode == code
    assert PASSWORD.encode() not in shown
    assert b"Traceback" not in shown
    assert (b"signed in" in shown) == (code == 0)


def test_a_password_for_once_is_changed_on_the_way_of_login_and_by_passwd(
    service: Serving, caveats: Script, alice: str, tmp_path: Path
) -> None:
    def set_once() -> None:
        with Client(service.url) as admin:
            admin.login("admin", ADMIN_PASSWORD, scope="caveats:admin")
            admin.send(calls.change_password(alice, None, "given once", must_change_password=True))

    beside = str(Path(sys.executable).parent / "caveats")
    here = {**os.environ, "CAVEATS_CONFIG_DIR": str(tmp_path)}
    set_once()
    refused = caveats("login", alice, "--password-stdin", input="given once", env={})
    assert refused.returncode == 4
    assert "caveats passwd" in refused.stderr
    shown, code = at_terminal(
        [beside, "login", alice, "--url", service.url],
        here,
        (f"Password of {alice}", "given once\n"),
        ("New password", "my own choice\n"),
        ("same again", "my own choice\n"),
    )
    assert (code, "signed in" in shown) == (0, True), shown
    assert not {"given once", "my own choice"} & set(shown.split("\n"))
    set_once()
    good(caveats("passwd", alice, "--password-stdin", input="given once\nanother choice\n"))
    set_once()
    changed = {"CAVEATS_NEW_PASSWORD": "a third choice"}
    good(caveats("login", alice, "--password-stdin", input="given once", env=changed))
    good(caveats("login", alice, "--password-stdin", input="a third choice", env={}))


def test_an_address_counts_however_it_is_written(service: Serving, caveats: Script, alice: str) -> None:
    port = service.url.rpartition(":")[2]
    good(caveats("login", alice, "--url", f"HTTP://LOCALHOST:{port}/", "--password-stdin", input=PASSWORD))
    good(caveats("whoami", "--url", f"http://localhost:{port}"))
    good(caveats("whoami", "--url", f"http://LocalHost:{port}/"))
    assert caveats("whoami", "--url", service.url).returncode == 3


def test_an_administrator_registers_people(caveats: Script) -> None:
    good(caveats("login", "admin", "--scope", "* caveats:*", "--password-stdin", input=ADMIN_PASSWORD))
    name = next(names)
    good(caveats("register", name, "--as-admin", "--password-stdin", input=PASSWORD))
    good(caveats("login", name, "--password-stdin", input=PASSWORD))
    refused = caveats("register", next(names), "--as-admin", "--password-stdin", input=PASSWORD)
    assert refused.returncode == 4
    assert "scope = *" in refused.stderr
    good(caveats("revoke", "--user", name))
    assert caveats("whoami").returncode == 3

    good(caveats("login", "admin", "--scope", "* caveats:*", "--password-stdin", input=ADMIN_PASSWORD))
    nobody = caveats("revoke", "--user", "nobody.at.all")
    assert nobody.returncode == 5
    assert "no such" in nobody.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "words"),
    [
        (
            ("login", "ALICE", "--password-stdin"),
            "a wrong password",
            3,
            "No such user, or not their password",
        ),
        (("login", "ALICE", "--password-stdin", "--scope", "nonsense"), PASSWORD, 2, "not a scope"),
        (("login", "ALICE", "--password-stdin", "--expires-in", "9999d"), PASSWORD, 2, "expires_in"),
        (("register", "ALICE", "--password-stdin"), PASSWORD, 1, "has the name"),
        (("register", "somebody", "--password-stdin"), "short", 2, "password"),
        (("verify", "--audience", "photos", "-"), "TOKEN", 4, "audience"),
        (("issue", "--scope", "caveats:admin", "--token", "-"), "TOKEN", 4, "beyond what you may have"),
        (("revoke", "--user", "admin", "--token", "-"), "TOKEN", 4, "caveats:admin"),
        (("whoami", "-"), "FORGED", 3, "has not expired: it was revoked, or never valid here"),
        (("whoami", "-"), "EXPIRED", 3, "the token has expired"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_each_refusal_of_the_service_has_its_exit_code(  # noqa: PLR0917  # a table's columns
    service: Serving,
    caveats: Script,
    alice: str,
    arguments: tuple[str, ...],
    stdin: str,
    code: int,
    words: str,
) -> None:
    with Client(service.url) as client:
        token = client.login(alice, PASSWORD)
    tokens = {
        "TOKEN": token,
        "FORGED": Macaroon(token.wire._replace(signature=bytes(32))),
        "EXPIRED": token.attenuate(Expires(datetime(2020, 1, 1, tzinfo=UTC))),
    }
    given = tokens[stdin].encode() if stdin in tokens else stdin
    done = caveats(
        *(alice if argument == "ALICE" else argument for argument in arguments), input=f"{given}\n"
    )
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    for secret in (given, token.encode()):
        assert secret not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_busy_service_is_told_with_the_time_to_wait(tmp_path: Path, caveats: Script) -> None:
    """A service of its own: whoever guesses is told when to come back."""
    serving = Serving.__new__(Serving)
    with pytest.MonkeyPatch.context() as patch:
        load = Settings.load
        patch.setattr(Settings, "load", lambda **o: load(**{**o, "login_limit_account": "1/minute"}))
        serving.__init__(tmp_path / "data")  # type: ignore[misc]
    try:
        arguments = ("login", "nobody", "--password-stdin", "--url", serving.url)
        assert caveats(*arguments, input="guess number one").returncode == 3
        busy = caveats(*arguments, input="guess number two")
        assert busy.returncode == 6
        assert re.search(r"try again in \d+ s", busy.stderr)
    finally:
        serving.stop()


# Remote verification


class Counted(httpx.BaseTransport):
    """Requests on their way, counted."""

    def __init__(self) -> None:
        self.asked = 0
        self._on = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        return self._on.handle_request(request)

    def close(self) -> None:
        self._on.close()


def test_copies_of_a_token_that_was_asked_about_are_judged_here_and_its_dead_ones_are_known(
    service: Serving, alice: str
) -> None:
    """What was revoked before the verifier first asked is in the answer about the parent."""
    transport = Counted()
    context = Context(now=datetime.now(UTC), scopes=("photos/42:read",))
    with (
        Client(service.url) as client,
        RemoteVerifier(service.url, transport=transport, remember_for=timedelta(minutes=10)) as remote,
    ):
        token = client.login(alice, PASSWORD)
        dead = token.attenuate(Note("dead"))
        client.revoke(dead)
        assert remote.verify(token, context).user == alice
        assert transport.asked == 1
        assert remote.verify(token.attenuate(Scope("photos/42:*")), context).scopes == ("photos/42:*",)
        for copy in (dead, dead.attenuate(Note("and on"))):
            with pytest.raises(Revoked):
                remote.verify(copy, context)
        assert transport.asked == 1
