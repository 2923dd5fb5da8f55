"""The one table from exception to answer, and what it never says."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

import caveats
from caveats import Failure
from caveats.durations import BadDuration
from caveats.http import TITLES, Problem
from caveats_service import storage as stores
from caveats_service.core import errors
from caveats_service.http.errors import problem_response
from tests.support.service import Service, admin_token, basic, bearer, execute, new_user, problem

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def unsatisfied(*kinds: str) -> caveats.UnsatisfiedCaveats:
    return caveats.UnsatisfiedCaveats(
        tuple(Failure(n, kind, f"{kind} = x", "holder", "reason", "hint") for n, kind in enumerate(kinds))
    )


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (caveats.MalformedToken("x"), 401, "invalid_token"),
        (caveats.DamagedToken("x"), 401, "damaged_token"),
        (caveats.LimitExceeded("x"), 401, "invalid_token"),
        (caveats.BadSignature("x"), 401, "invalid_token"),
        (caveats.UnknownKey("x"), 401, "invalid_token"),
        (caveats.Revoked("x"), 401, "invalid_token"),
        (caveats.UnusedDischarge("x"), 401, "invalid_token"),
        (caveats.WrongAudience("a", "b"), 403, "wrong_audience"),
        (unsatisfied("scope"), 403, "caveats_unsatisfied"),
        (unsatisfied("scope", "expires"), 401, "invalid_token"),
        (caveats.MalformedCaveat("x"), 400, "bad_request"),
        (BadDuration("x"), 400, "bad_request"),
        (errors.BadPassword("x"), 400, "bad_request"),
        (ClientDisconnect(), 400, "bad_request"),
        (errors.BadName("x"), 400, "bad_request"),
        (errors.InvalidRequest("x"), 400, "bad_request"),
        (errors.InvalidCredentials(), 401, "invalid_credentials"),
        (errors.Forbidden("x"), 403, "forbidden"),
        (errors.RegistrationClosed(), 403, "registration_closed"),
        (errors.CeilingReached("x"), 403, "ceiling_reached"),
        (errors.NotFound("x"), 404, "not_found"),
        (errors.RateLimited("x", 3), 429, "rate_limited"),
        (errors.Busy("x", 3), 503, "unavailable"),
        (stores.StoreUnavailable("x"), 503, "unavailable"),
        (stores.UserExists("x"), 409, "conflict"),
        (stores.LabelExists("x"), 409, "conflict"),
        (stores.LabelsFull("x"), 409, "conflict"),
        (stores.LastAdministrator("x"), 409, "conflict"),
        (stores.ClientExists("x"), 409, "conflict"),
        (stores.UnknownClient("x"), 404, "not_found"),
        (stores.KeyConflict("x"), 409, "conflict"),
        (stores.KeyInUse("k1", NOW, 3), 409, "key_in_use"),
        (stores.UnknownUser("x"), 404, "not_found"),
        (stores.UnknownMasterKey("x"), 404, "not_found"),
        (Problem(418, "teapot"), 418, "teapot"),
        (ValueError("x"), 500, "internal"),
        (stores.StoreError("x"), 500, "internal"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_every_error_is_one_answer(error: Exception, status: int, code: str) -> None:
    answer = problem_response(error)
    body = json.loads(bytes(answer.body))
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["type"] == f"urn:caveats:problem:{code}"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/problem+json"
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer ")
    if status == 503:
        assert int(answer.headers["retry-after"]) >= 1
    if status in (401, 500):
        assert set(body) == {"type", "title", "status", "code"}


def test_every_code_has_a_title() -> None:
    assert all(title and title[0].isupper() for title in TITLES.values())


def test_what_nobody_foresaw_is_logged_without_its_words(capfd: pytest.CaptureFixture[str]) -> None:
    try:
        raise RuntimeError("the password is hunter2")
    except RuntimeError as error:
        answer = problem_response(error)
    out = "".join(capfd.readouterr())
    assert answer.status_code == 500
    assert "internal_error" in out
    assert "test_what_nobody_foresaw" in out
    assert "hunter2" not in out + bytes(answer.body).decode()


# the store is away


@pytest.fixture
def storeless(start: Callable[..., Service]) -> tuple[Service, str, str]:
    """A service whose store fails from now on, a user's token and an administrator's."""
    service = start()
    token, admin = new_user(service).token(), admin_token(service)
    store = service.runtime.store

    def fails(*_: Any, **__: Any) -> Any:
        raise stores.StoreUnavailable("disk I/O error")

    for name in ("run", "read", "write", "exclusive_write", "watch"):  # every operation goes through these
        setattr(store, name, fails)
    return service, token, admin


def test_without_the_store_what_was_issued_goes_on_and_changes_are_a_503(
    storeless: tuple[Service, str, str],
) -> None:
    service, token, admin = storeless
    with service.client() as http:
        for _ in range(3):
            assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200
            assert http.post("/v1/verify", json={"token": token}).json()["granted"]
            assert http.get("/healthz").status_code == 200
        user = {"username": "x", "password": "password1"}
        away = [
            http.get("/readyz"),
            http.post("/v1/users", json=user),
            http.post("/v1/tokens", json=user),
            http.post("/v1/session", json=user),
            http.post(
                "/v1/tokens/renew", headers=bearer(token)
            ),  # whether the account is open nobody can say
            http.post("/v1/tokens", json={}, headers=bearer(token)),
            http.post("/v1/tokens", json={"note": "ci"}, headers=bearer(token)),
            http.get("/v1/tokens", headers=bearer(token)),
            http.get("/v1/tokens", headers=basic("x", "password1")),
            http.post("/v1/revocations", json={"presented": True}, headers=bearer(token)),
            http.get("/v1/keys", headers=bearer(admin)),
            http.post("/v1/keys/rotate", headers=bearer(admin)),
            http.get("/v1/users", headers=bearer(admin)),
        ]
        for answer in away:
            assert problem(answer) == (503, "unavailable")
        assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200


def test_a_database_that_can_be_read_and_not_written_is_not_ready(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    """A full disk, a read-only database. While writes go well, nothing is written for the question."""
    service = start()
    store = service.runtime.store
    with service.client() as http:
        execute(tmp_path, "CREATE TRIGGER full BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'full'); END")
        assert http.get("/readyz").status_code == 200  # the start has written
        store._written_at = -9
        for _ in range(2):
            assert problem(http.get("/readyz")) == (503, "unavailable")
        assert http.get("/healthz").status_code == 200
        execute(tmp_path, "DROP TRIGGER full")
        assert http.get("/readyz").status_code == 200
        assert store._written_at > 0


def test_a_revocation_that_was_not_written_down_is_not_said_to_be(
    storeless: tuple[Service, str, str],
) -> None:
    service, token, _ = storeless
    with service.client() as http:
        assert (
            http.post("/v1/revocations", json={"presented": True}, headers=bearer(token)).status_code == 503
        )
        assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200
