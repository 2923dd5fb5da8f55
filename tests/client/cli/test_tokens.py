"""`caveats tokens` against the real service: what is left of each token, what ended it, and those of others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from caveats_client import Client
from caveats_client.api.responses import TokenRecord
from caveats_client.cli.app import app
from caveats_client.cli.tokens import _last_use, _left
from tests.support.service import Service, User, admin_token, narrow, new_user, serving

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
Caveats = Callable[..., Result]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def user(service: Service) -> User:
    return new_user(service)


@pytest.fixture
def caveats(service: Service) -> Caveats:
    def run(*arguments: str, token: str) -> Result:
        environment = {"CAVEATS_URL": service.url, "CAVEATS_TOKEN": token}
        return CliRunner().invoke(app, list(arguments), env=environment, prog_name="caveats")

    return run


def lines(done: Result) -> dict[str, str]:
    """The line of each token, by its note, which is its second column."""
    assert done.exit_code == 0, done.output
    return {line.split()[1]: line for line in done.stdout.splitlines()[1:]}


def test_each_token_shows_what_is_left_of_it_or_what_ended_it(
    service: Service, user: User, caveats: Caveats
) -> None:
    whole = user.token(expires_in="1d")
    issued = {
        note: user.issue(note=note, expires_in="1h")
        for note in ("live", "copied", "by-copy", "by-id", "parent")
    }
    app_token = user.issue(note="app", audience="photos")
    with Client(service.url, token=whole) as client:
        child = client.issue(token=issued["parent"]["token"], note="child")
        client.revoke(narrow(issued["copied"]["token"], "note = a copy"))
        client.revoke(issued["by-copy"]["token"])
        client.revoke_token(issued["by-id"]["token_id"])
        client.revoke(issued["parent"]["token"])
        client.verify(issued["live"]["token"], scope="a:b")
    shown = lines(caveats("tokens", token=whole))
    assert "1 h" in shown["live"]
    assert "revoked" not in shown["live"]
    assert "1 narrower copy revoked" in shown["copied"]
    assert "as a copy" in shown["by-copy"]
    assert "by its id" in shown["by-id"]
    assert "with its parent" in shown["child"]
    assert "not at the service" in shown["app"]
    assert shown["copied"].rstrip().endswith("never")
    by_note = {one["note"]: one for one in json.loads(caveats("tokens", "--json", token=whole).stdout)}
    assert by_note["child"]["token_id"] == child.token_id
    assert by_note["child"]["revoked_by"] == "parent"
    assert by_note["app"]["token_id"] == app_token["token_id"]
    revoked = caveats("revoke", "--user", user.username, token=whole)
    assert revoked.exit_code == 0
    again = lines(caveats("tokens", token=user.token()))
    assert "with all of the user's" in again["live"]
    assert "as a copy" in again["by-copy"], "what came first"


def test_an_administrator_lists_and_revokes_the_tokens_of_a_user(
    service: Service, user: User, caveats: Caveats
) -> None:
    issued = user.issue(note="laptop")
    admin = admin_token(service)
    assert list(lines(caveats("tokens", "--user", user.username, token=admin))) == ["laptop"]
    assert caveats("revoke", "--token-id", issued["token_id"], token=admin).exit_code == 0
    assert "by its id" in lines(caveats("tokens", "--user", user.username, token=admin))["laptop"]
    none = caveats("tokens", "--user", new_user(service).username, token=admin)
    assert (none.exit_code, none.stdout) == (0, "")
    assert "has no labelled tokens" in none.stderr


def test_nobody_else_does(service: Service, user: User, caveats: Caveats) -> None:
    user.issue(note="laptop")
    refused = caveats("tokens", "--user", user.username, token=new_user(service).token())
    assert refused.exit_code not in (0, 2)
    assert "laptop" not in refused.output
    missing = caveats("tokens", "--user", "nobody-at-all", token=admin_token(service))
    assert missing.exit_code != 0
    assert "no such user" in missing.stderr


def record(**known: Any) -> TokenRecord:
    base: dict[str, Any] = {
        "token_id": "01K",
        "note": "a note",
        "scopes": ("*",),
        "audience": "default",
        "issued_at": NOW - HOUR,
        "expires_at": NOW + HOUR,
        "last_used_at": None,
    }
    return TokenRecord(**{**base, **known})


@pytest.mark.parametrize(
    ("known", "left"),
    [
        ({}, "1 h"),
        ({"status": "live", "revoked_copies": 2}, "1 h, 2 narrower copies revoked"),
        ({"expires_at": NOW - HOUR}, "expired 1 h ago"),
        (
            {"status": "revoked", "revoked_by": "key", "revoked_at": NOW - HOUR},
            "revoked 1 h ago, with its key",
        ),
        ({"status": "revoked", "revoked_by": "key"}, "revoked, with its key"),
        (
            {"status": "revoked", "revoked_by": "something later", "revoked_at": NOW - HOUR},
            "revoked 1 h ago",
        ),
        ({"status": "revoked"}, "revoked"),
    ],
)
def test_what_is_left_in_words(known: dict[str, Any], left: str) -> None:
    assert _left(record(**known), NOW) == left


@pytest.mark.parametrize(
    ("known", "use"),
    [
        ({}, "never"),
        ({"unreported_use": True}, "not at the service"),
        ({"last_used_at": NOW - HOUR}, "1 h ago"),
    ],
)
def test_a_last_use_in_words(known: dict[str, Any], use: str) -> None:
    assert _last_use(record(**known), NOW) == use
