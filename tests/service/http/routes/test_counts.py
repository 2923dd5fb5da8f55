"""The counts of the last hour: who may see them, and what is counted as what."""

from __future__ import annotations

import pytest

from tests.support.service import Clock, Service, admin_token, basic, bearer, narrow, new_user, problem


def counted(service: Service) -> tuple[int, int, int]:
    """What the last minute has: all, refused, failed. The clock of `timed` stands still, so it is one minute."""
    minutes = service.runtime.request_counts.last_hour(service.runtime.now())
    return minutes[-1].requests, minutes[-1].refused, minutes[-1].failed


def test_an_administrator_sees_every_minute_since_the_process_began(timed: Service, clock: Clock) -> None:
    admin = bearer(admin_token(timed))
    clock.forward(minutes=2)
    with timed.client() as http:
        assert http.get("/v1/tokens", headers=admin).status_code == 200
        assert http.get("/v1/tokens").status_code == 401
        answer = http.get("/v1/counts", headers=admin)
    assert answer.status_code == 200
    assert answer.json() == {
        "since": "2026-11-21T12:00:00Z",
        "minutes": [
            {"at": "2026-11-21T12:00:00Z", "requests": 1, "refused": 0, "failed": 0},
            {"at": "2026-11-21T12:01:00Z", "requests": 0, "refused": 0, "failed": 0},
            {"at": "2026-11-21T12:02:00Z", "requests": 2, "refused": 1, "failed": 0},
        ],
    }


def test_nobody_else_sees_them(service: Service) -> None:
    user = new_user(service)
    with service.client() as http:
        assert problem(http.get("/v1/counts")) == (401, "credential_required")
        for headers in (basic(user.username, user.password), bearer(user.token())):
            assert http.get("/v1/counts", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("scope", "refused"), [("a:read", 0), ("a:write", 1)], ids=["a grant", "a verdict that is no grant"]
)
def test_a_verdict_counts_as_what_it_says(timed: Service, scope: str, refused: int) -> None:
    token = narrow(new_user(timed).token(), "scope = a:read")
    before = counted(timed)
    with timed.client() as http:
        answer = http.post("/v1/verify", json={"token": token, "scope": scope})
        assert (answer.status_code, answer.json()["granted"]) == (200, not refused)
        many = http.post("/v1/verify", json={"tokens": [{"token": token, "scope": scope}, {"token": token}]})
    assert many.status_code == 200
    after = counted(timed)
    assert (after[0] - before[0], after[1] - before[1]) == (2, refused + 1)


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/console/style.css", "/nowhere"])
def test_what_is_no_work_is_not_counted(timed: Service, path: str) -> None:
    before = counted(timed)
    with timed.client() as http:
        http.get(path)
    assert counted(timed) == before


def test_a_failure_is_a_failure(timed: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    token = new_user(timed).token()
    before = counted(timed)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(timed.runtime.tokens, "failures", broken)
    with timed.client() as http:
        assert problem(http.post("/v1/verify", json={"token": token})) == (500, "internal")
    assert counted(timed) == (before[0] + 1, before[1], before[2] + 1)
