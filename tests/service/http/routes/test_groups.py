"""Groups over HTTP: for administrators, and a name is a user's or a group's."""

from __future__ import annotations

import httpx2 as httpx
import pytest

from tests.support.service import Service, User, bearer, new_user, problem


def test_a_group_is_put_read_changed_and_deleted(service: Service, http: httpx.Client, admin: str) -> None:
    ann, bob = (new_user(service).username for _ in range(2))
    as_admin = bearer(admin)
    put = http.put("/v1/groups/crew", json={"members": [bob, ann]}, headers=as_admin)
    assert (put.status_code, put.json()["members"]) == (200, sorted((ann, bob)))
    assert http.put("/v1/groups/crew", json={"members": [bob, ann]}, headers=as_admin).json() == put.json()
    assert http.get("/v1/groups/crew", headers=as_admin).json() == put.json()
    for _ in range(2):
        removed = http.delete(f"/v1/groups/crew/members/{ann}", headers=as_admin)
        assert (removed.status_code, removed.json()["members"]) == (200, [bob])
    for _ in range(2):
        added = http.put(f"/v1/groups/crew/members/{ann}", headers=as_admin)
        assert added.json() == put.json()
    listed = http.get("/v1/groups?limit=1000", headers=as_admin).json()
    assert put.json() in listed["groups"]
    assert listed["next"] is None
    assert http.delete("/v1/groups/crew", headers=as_admin).status_code == 204
    assert problem(http.delete("/v1/groups/crew", headers=as_admin)) == (404, "not_found")
    assert problem(http.get("/v1/groups/crew", headers=as_admin)) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/groups"),
        ("GET", "/v1/groups/ops"),
        ("PUT", "/v1/groups/ops"),
        ("DELETE", "/v1/groups/ops"),
        ("PUT", "/v1/groups/ops/members/admin"),
        ("DELETE", "/v1/groups/ops/members/admin"),
    ],
)
def test_groups_are_for_administrators(http: httpx.Client, user: User, method: str, path: str) -> None:
    assert problem(http.request(method, path)) == (401, "credential_required")
    assert http.request(method, path, headers=bearer(user.token())).status_code == 403


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/groups/Ops", {}, (400, "bad_request")),
        ("/v1/groups/o ps", {}, (400, "bad_request")),
        ("/v1/groups/admin", {"members": []}, (409, "conflict")),
        ("/v1/groups/ops", {"members": ["nobody"]}, (404, "not_found")),
        ("/v1/groups/ops", {"members": ["No Body"]}, (400, "bad_request")),
        ("/v1/groups/ops", {"members": "admin"}, (400, "bad_request")),
        ("/v1/groups/ops", {"members": ["admin"] * 1001}, (400, "bad_request")),
        ("/v1/groups/nowhere/members/admin", {}, (404, "not_found")),
        ("/v1/groups/nowhere/members/A B", {}, (400, "bad_request")),
    ],
)
def test_a_group_that_cannot_be_is_refused(
    http: httpx.Client, admin: str, path: str, body: object, expected: tuple[int, str]
) -> None:
    assert problem(http.put(path, json=body, headers=bearer(admin))) == expected


def test_nobody_can_register_under_the_name_of_a_group(
    service: Service, http: httpx.Client, admin: str
) -> None:
    assert http.put("/v1/groups/crew2", json={"members": []}, headers=bearer(admin)).status_code == 200
    taken = http.post("/v1/users", json={"username": "crew2", "password": "password1"})
    assert problem(taken) == (409, "conflict")
