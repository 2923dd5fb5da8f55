"""Accounts: who may open one, what it may be called, what a password change and a disabling end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import pytest

from caveats import PrivateKey
from caveats.token import encode_base64
from caveats_service.core.accounts import OPERATOR, Actor
from caveats_service.core.clock import utc_now
from caveats_service.core.errors import Busy
from caveats_service.core.passwords import PasswordHasher, PasswordProfile
from caveats_service.storage import TOLERATED_SKEW, StoreUnavailable
from tests.support.service import (
    ADMIN_PASSWORD,
    Clock,
    Service,
    User,
    admin_of,
    admin_token,
    basic,
    bearer,
    execute,
    narrow,
    new_user,
    problem,
    rows,
)


def register(
    http: httpx.Client, username: str, password: str = "password1", **headers: str
) -> httpx.Response:
    return http.post("/v1/users", json={"username": username, "password": password}, headers=headers)


def sign_in(http: httpx.Client, username: str, password: str) -> httpx.Response:
    return http.post("/v1/tokens", json={"username": username, "password": password})


# names


def test_a_new_account_is_an_ordinary_one(http: httpx.Client) -> None:
    body = register(http, "fresh").json()
    assert body.pop("created_at").endswith("Z")
    assert body == {
        "username": "fresh",
        "is_admin": False,
        "scope": "*",
        "disabled_at": None,
        "must_change_password": False,
    }


@pytest.mark.parametrize(
    "name",
    [
        "\uff41\uff44\uff4d\uff49\uff4e",
        "admin\u200b",
        "adm\u0131n",
        "\u0430dmin",
        "admin ",
        " admin",
        "admin\n",
        "admin\0",
        "admin/",
        "ad min",
        ".admin",
        "a" * 65,
        "admin\u0301",
        "\U0001f600",
    ],
)
def test_no_two_names_look_alike(http: httpx.Client, name: str) -> None:
    assert problem(register(http, name)) == (400, "bad_request")


def test_a_name_that_is_taken_is_a_409(http: httpx.Client, user: User) -> None:
    for name in ("admin", "ADMIN", "Admin", user.username, user.username.upper()):
        assert problem(register(http, name)) == (409, "conflict")


@pytest.mark.parametrize("name", ["O'Brien@Example.com", "A/B{c}=d?e#f%g@Example.com"])
def test_a_mail_address_names_the_same_person_however_it_is_typed(
    http: httpx.Client, admin: str, name: str
) -> None:
    """Registered, shown, in tokens and in paths it is the lower-case form."""
    stored = name.lower()
    assert register(http, name).json()["username"] == stored
    assert problem(register(http, stored)) == (409, "conflict")
    for typed in (name, stored, name.upper()):
        assert sign_in(http, typed, "password1").json()["user"] == stored
        assert http.get("/v1/tokens", headers=basic(typed, "password1")).status_code == 200
        session = http.post("/v1/session", json={"username": typed, "password": "password1"})
        assert session.json()["user"] == stored
        http.cookies.clear()
    token = sign_in(http, name, "password1").json()["token"]
    assert http.get("/v1/authorize", headers=bearer(token)).headers["x-auth-user"] == stored
    path = f"/v1/users/{quote(name, safe='')}"
    change = {"password": "password1", "new_password": "password2"}
    assert http.put(f"{path}/password", json=change).status_code == 204
    own = http.put(f"{path}/password", json={"new_password": "password3"}, headers=basic(name, "password2"))
    assert own.status_code == 204
    revoked = http.post("/v1/revocations", json={"user": name}, headers=basic(stored, "password3"))
    assert revoked.status_code == 201
    for operation in ("disable", "enable"):
        answer = http.post(f"{path}/{operation}", json={}, headers=bearer(admin))
        assert answer.json()["username"] == stored
    group = http.put("/v1/groups/people", json={"members": [name]}, headers=bearer(admin))
    assert group.json()["members"] == [stored]
    assert http.delete(f"/v1/groups/people/members/{quote(name, safe='')}", headers=bearer(admin)).is_success


@pytest.mark.parametrize("name", ["a", "a.b_c@d+e-f", "0day", "alice@example.org", "a" * 64])
def test_ordinary_names_are_fine(http: httpx.Client, name: str) -> None:
    assert register(http, name).status_code == 201


def test_of_many_who_register_one_name_one_gets_it(service: Service) -> None:
    with service.client() as http, ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda n: register(http, "wanted", f"password{n}").status_code, range(10)))
    assert sorted(answers) == [201] + [409] * 9


# passwords


@pytest.mark.parametrize(
    ("password", "status"),
    [
        pytest.param("", 400, id="empty"),
        pytest.param("short", 400, id="too short"),
        pytest.param("a" * 1025, 400, id="1025 bytes"),
        pytest.param("é" * 513, 400, id="1026 bytes in 513 characters"),
        pytest.param("password\0", 400, id="NUL"),
        pytest.param("a" * 10_000_000, 413, id="10 MB"),
        pytest.param("a" * 1024, 201, id="1024 bytes"),
        pytest.param("pässwörd\U0001f600", 201, id="any characters"),
    ],
)
def test_a_password_is_judged_before_any_work(http: httpx.Client, password: str, status: int) -> None:
    name = f"pw{abs(hash(password)) % 10**9}"
    assert register(http, name, password).status_code == status
    if status == 201:
        assert sign_in(http, name, password).status_code == 201
    else:
        assert sign_in(http, "admin", password).status_code in ((400,) if password != "short" else (401,)) + (
            (413,) if status == 413 else ()
        )


def test_a_lone_surrogate_is_no_password(http: httpx.Client) -> None:
    body = b'{"username": "lone", "password": "password\\ud800"}'
    for path in ("/v1/users", "/v1/tokens", "/v1/session"):
        answer = http.post(path, content=body, headers={"Content-Type": "application/json"})
        assert problem(answer) == (400, "bad_request")


def test_unknown_wrong_and_disabled_are_the_same_answer_after_the_same_work(
    start: Callable[..., Service],
) -> None:
    service = start()
    user, gone = new_user(service), new_user(service)
    calls: list[str | None] = []
    verify = service.runtime.passwords._run

    def counted(whose: Any, work: Any, *arguments: Any) -> Any:
        calls.append(work.__name__)
        return verify(whose, work, *arguments)

    with service.client() as http:
        http.post(f"/v1/users/{gone.username}/disable", headers=bearer(admin_token(service)))
        service.runtime.passwords._run = counted  # type: ignore[method-assign]
        answers = []
        for name, password in (
            ("nobody", "password1"),
            (user.username, "wrong password"),
            (gone.username, gone.password),
            ("ADMIN", "password1"),
            ("\u0430dmin", "password1"),
            ("x" * 200, "password1"),
        ):
            for ask in (
                lambda: sign_in(http, name, password),
                lambda: http.get("/v1/tokens", headers=basic(name, password)),
            ):
                answer = ask()
                assert problem(answer) == (401, "invalid_credentials")
                answers.append((answer.text, answer.headers["www-authenticate"]))
                assert calls == ["_first_match"]
                calls.clear()
    assert len(set(answers)) == 1


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param("", id="empty"),
        pytest.param("garbage", id="garbage"),
        pytest.param("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$", id="cut off"),
        pytest.param("$argon2i$v=19$m=8,t=3,p=1$c2FsdHNhbHRzYWx0c2FsdA$" + "A" * 43, id="argon2i"),
        pytest.param(
            "$argon2id$v=19$m=4294967295,t=4294967295,p=1$c2FsdHNhbHRzYWx0c2FsdA$" + "A" * 43, id="huge costs"
        ),
        pytest.param("$argon2id$v=19$m=8,t=1,p=1$" + "A" * 22 + "$" + "A" * 43 + "\n", id="line break"),
        pytest.param("\u00e9" * 97, id="not ASCII"),
    ],
)
def test_a_corrupt_hash_refuses_and_is_reported(
    service: Service, http: httpx.Client, capfd: pytest.CaptureFixture[str], stored: str
) -> None:
    user = new_user(service)
    execute(
        service.settings.data_dir.parent,
        "UPDATE users SET password_hash = ? WHERE username = ?",
        stored,
        user.username,
    )
    capfd.readouterr()
    assert problem(sign_in(http, user.username, user.password)) == (401, "invalid_credentials")
    out = "".join(capfd.readouterr())
    assert "password_hash_corrupt" in out
    assert user.username in out


@pytest.mark.slow
def test_fifty_sign_ins_at_once_while_the_cost_rises_all_succeed_and_leave_one_hash(
    start: Callable[..., Service],
) -> None:
    service = start(password_profile=PasswordProfile(2, 1024), login_limit_account="10/minute")
    user = new_user(service)
    folder = service.settings.data_dir.parent
    cheap = PasswordHasher(PasswordProfile(1, 8), workers=1)
    old = cheap._hash(user.password.encode())
    cheap.close()
    execute(folder, "UPDATE users SET password_hash = ? WHERE username = ?", old, user.username)
    with service.client() as http, ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: sign_in(http, user.username, user.password).status_code, range(50)))
    assert answers == [201] * 50
    ((stored,),) = rows(folder, "SELECT password_hash FROM users WHERE username = ?", user.username)
    assert stored.startswith("$argon2id$v=19$m=1024,t=2,p=1$")
    assert rows(folder, "SELECT count(*) FROM audit WHERE action = 'user.rehash'") == [(1,)]
    with service.client() as http:
        assert sign_in(http, user.username, user.password).status_code == 201


def test_a_sign_in_succeeds_though_there_is_no_room_to_hash_anew(start: Callable[..., Service]) -> None:
    service = start(password_profile=PasswordProfile(2, 64))
    user = new_user(service)
    execute(
        service.settings.data_dir.parent,
        "UPDATE users SET password_hash = ? WHERE username = ?",
        PasswordHasher(PasswordProfile(1, 8), workers=1)._hash(user.password.encode()),
        user.username,
    )

    async def busy(_: str, **_whose: str) -> str:
        raise Busy("x", 1)

    service.runtime.passwords.rehash = busy  # type: ignore[method-assign]
    with service.client() as http:
        assert sign_in(http, user.username, user.password).status_code == 201


@pytest.mark.slow
def test_more_sign_ins_than_can_wait_are_told_to_come_back(start: Callable[..., Service]) -> None:
    service = start(password_profile=PasswordProfile(4, 64 * 1024), password_workers=1, password_queue=1)
    with service.client() as http, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: sign_in(http, f"nobody{n}", "password1"), range(8)))
    assert {answer.status_code for answer in answers} == {401, 503}
    assert {problem(answer)[1] for answer in answers} == {"invalid_credentials", "unavailable"}


# registration


def test_a_closed_registration_is_the_administrators(start: Callable[..., Service]) -> None:
    service = start(open_registration=False)
    admin = admin_token(service)
    with service.client() as http:
        for name in ("someone", "admin", "BAD NAME"):
            assert problem(register(http, name)) == (403, "registration_closed")
        assert register(http, "someone", **bearer(admin)).status_code == 201
        assert register(http, "other", **basic("admin", ADMIN_PASSWORD)).status_code == 201
        someone = User(service, "someone", "password1")
        assert problem(register(http, "third", **bearer(someone.token()))) == (403, "caveats_unsatisfied")
        assert problem(register(http, "third", **basic("someone", "password1"))) == (403, "forbidden")


def test_registrations_from_one_address_are_bounded(start: Callable[..., Service]) -> None:
    service = start(register_limit_address="3/hour")
    with service.client() as http:
        assert [register(http, f"u{n}").status_code for n in range(4)] == [201, 201, 201, 429]
        assert problem(register(http, "u5")) == (429, "rate_limited")
        assert register(http, "u5", **bearer(admin_token(service))).status_code == 201


def test_administrators_list_the_accounts_page_by_page(start: Callable[..., Service]) -> None:
    service = start()
    with service.client() as http:
        for name in ("bob", "carl", "dora"):
            register(http, name)
        http.headers.update(bearer(admin_token(service)))
        page = http.get("/v1/users?limit=2").json()
        assert [u["username"] for u in page["users"]] == ["admin", "bob"]
        page = http.get(f"/v1/users?limit=2&after={page['next']}").json()
        assert [u["username"] for u in page["users"]] == ["carl", "dora"]
        assert "hash" not in str(page)


# changes


def test_a_password_change_kills_everything_that_was_issued(service: Service, http: httpx.Client) -> None:
    user = new_user(service)
    whole = user.token()
    labelled = user.token(note="ci", audience="photos")
    copy = narrow(whole, "note = copy")
    child = http.post("/v1/tokens", json={}, headers=bearer(copy)).json()["token"]
    renewed = http.post("/v1/tokens/renew", headers=bearer(whole)).json()["token"]
    answer = http.put(
        f"/v1/users/{user.username}/password",
        json={"password": user.password, "new_password": "another one"},
    )
    assert (answer.status_code, answer.content) == (204, b"")
    for token in (whole, labelled, copy, child, renewed):
        assert problem(http.get("/v1/authorize?audience=photos", headers=bearer(token))) == (
            401,
            "invalid_token",
        )
    assert problem(sign_in(http, user.username, user.password)) == (401, "invalid_credentials")
    fresh = sign_in(http, user.username, "another one")
    assert http.get("/v1/tokens", headers=bearer(fresh.json()["token"])).status_code == 200


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("own password", 204),
        ("own password as basic", 204),
        ("own password and own token", 204),
        ("admin token", 204),
        ("admin as basic", 204),
        ("nothing", 401),
        ("wrong password", 401),
        ("own whole token alone", 403),
        ("another user's token alone", 403),
        ("another user as basic", 403),
        ("admin's plain token", 403),
        ("another user's token with one's own password", 400),
        ("short new password", 400),
    ],
)
def test_who_may_change_a_password(service: Service, http: httpx.Client, how: str, status: int) -> None:
    user, other = new_user(service), new_user(service, "other's password")
    headers: dict[str, str] = {}
    body = {"new_password": "brand new one"}
    if how.startswith("own password"):
        if how.endswith("basic"):
            headers = basic(user.username, user.password)
        else:
            body["password"] = user.password
            headers = bearer(user.token()) if how.endswith("token") else {}
    elif how == "wrong password":
        body["password"] = "wrong one"
    elif how == "admin token":
        headers = bearer(admin_token(service))
    elif how == "admin as basic":
        headers = basic("admin", ADMIN_PASSWORD)
    elif how == "own whole token alone":
        headers = bearer(user.token())
    elif how == "another user's token alone":
        headers = bearer(other.token())
    elif how == "another user as basic":
        headers = basic(other.username, other.password)
    elif how == "admin's plain token":
        headers = bearer(admin_of(service).token())
    elif how.startswith("another user's token with"):
        headers, body["password"] = bearer(other.token()), other.password
    elif how == "short new password":
        body |= {"password": user.password, "new_password": "short"}
    answer = http.put(f"/v1/users/{user.username}/password", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    works = sign_in(http, user.username, "brand new one").status_code == 201
    assert works is (status == 204)


def test_a_password_of_nobody_cannot_be_changed(service: Service, http: httpx.Client) -> None:
    body = {"new_password": "brand new one"}
    assert problem(http.put("/v1/users/nobody/password", json=body | {"password": "password1"})) == (
        401,
        "invalid_credentials",
    )
    answer = http.put("/v1/users/nobody/password", json=body, headers=bearer(admin_token(service)))
    assert problem(answer) == (404, "not_found")
    answer = http.put("/v1/users/NoBody/password", json=body, headers=bearer(admin_token(service)))
    assert problem(answer) == (404, "not_found")
    answer = http.put("/v1/users/no body/password", json=body, headers=bearer(admin_token(service)))
    assert problem(answer) == (400, "bad_request")


def test_a_disabled_user_is_out_and_comes_back_with_nothing(service: Service, http: httpx.Client) -> None:
    user = new_user(service)
    whole, labelled = user.token(), user.token(note="ci")
    admin = bearer(admin_token(service))
    for _ in range(2):
        answer = http.post(f"/v1/users/{user.username}/disable", headers=admin)
        assert answer.json()["disabled_at"] is not None
    for token in (whole, labelled):
        assert problem(http.get("/v1/tokens", headers=bearer(token))) == (401, "invalid_token")
    assert problem(sign_in(http, user.username, user.password)) == (401, "invalid_credentials")
    answer = http.post(f"/v1/users/{user.username}/enable", headers=admin)
    assert answer.json()["disabled_at"] is None
    assert http.get("/v1/tokens", headers=bearer(whole)).status_code == 401
    assert http.get("/v1/tokens", headers=bearer(user.token())).status_code == 200


def test_a_deleted_user_is_out_with_all_they_had_and_the_name_is_never_given_again(
    start: Callable[..., Service], database: dict[str, Any]
) -> None:
    service = start(**database)
    user, other = new_user(service), new_user(service)
    name = user.username
    key = encode_base64(PrivateKey.generate().public_key)
    admin = bearer(admin_token(service))
    with service.client() as http:
        agent = http.post("/v1/agents", json={"username": name, "public_key": key}, headers=admin).json()
        http.put("/v1/groups/ops", json={"members": [name, other.username]}, headers=admin)
        once = {"Idempotency-Key": "a-key-of-mine"}
        wish = {"username": name, "password": user.password, "note": "ci"}
        tokens = [user.token(), http.post("/v1/tokens", json=wish, headers=once).json()["token"]]
        tokens.append(http.post("/v1/tokens", json={}, headers={**bearer(tokens[0]), **once}).json()["token"])
        for_app = http.post("/v1/tokens", json={"audience": "photos"}, headers=bearer(tokens[0]))
        session = http.post("/v1/session", json={"username": name, "password": user.password})
        cookie = session.headers["Set-Cookie"].partition(";")[0]
        http.cookies.clear()
        assert http.delete(f"/v1/users/{name.upper()}", headers=admin).status_code == 204

        for token in tokens:
            assert problem(http.get("/v1/authorize", headers=bearer(token))) == (401, "invalid_token")
            assert problem(http.post("/v1/tokens/renew", headers=bearer(token))) == (401, "invalid_token")
        verdict = http.post("/v1/verify", json={"token": for_app.json()["token"], "audience": "photos"})
        assert verdict.json().get("granted", False) is False
        assert problem(http.get("/v1/session", headers={"Cookie": cookie})) == (401, "invalid_token")
        assert problem(http.post("/v1/tokens", json=wish, headers=once)) == (401, "invalid_credentials")
        assert http.get("/v1/groups/ops", headers=admin).json()["members"] == [other.username]
        agents = http.get("/v1/agents?limit=1000", headers=admin).json()["agents"]
        assert agent["agent_id"] not in {one["agent_id"] for one in agents}
        listed = {one["username"] for one in http.get("/v1/users?limit=1000", headers=admin).json()["users"]}
        assert name not in listed
        assert other.username in listed

        assert problem(register(http, name)) == (409, "conflict")
        assert problem(register(http, name, **admin)) == (409, "conflict")
        assert problem(http.put(f"/v1/groups/{name}", json={"members": []}, headers=admin)) == (
            409,
            "conflict",
        )
        for again in (
            http.delete(f"/v1/users/{name}", headers=admin),
            http.post(f"/v1/users/{name}/enable", headers=admin),
            http.put(f"/v1/users/{name}/password", json={"new_password": "brand new one"}, headers=admin),
        ):
            assert problem(again) == (404, "not_found")


def test_only_administrators_delete(service: Service, http: httpx.Client, user: User) -> None:
    path = f"/v1/users/{user.username}"
    assert problem(http.delete(path)) == (401, "credential_required")
    assert problem(http.delete(path, headers=bearer(user.token()))) == (403, "caveats_unsatisfied")
    assert problem(http.delete(path, headers=basic(user.username, user.password))) == (403, "forbidden")
    admin = bearer(admin_token(service))
    assert problem(http.delete("/v1/users/no body", headers=admin)) == (400, "bad_request")
    assert problem(http.delete("/v1/users/nobody-at-all", headers=admin)) == (404, "not_found")
    assert user.token()


@pytest.mark.slow
def test_the_last_administrator_who_can_sign_in_is_not_deleted(start: Callable[..., Service]) -> None:
    from tests.support.service import cli

    service = start()
    admin = basic("admin", ADMIN_PASSWORD)
    cli(
        service.settings.data_dir.parent,
        "users",
        "add",
        "root2",
        "--admin",
        "--password-stdin",
        stdin="password1\n",
    )
    with service.client() as http:
        http.post("/v1/users/root2/disable", headers=admin)
        answer = http.delete("/v1/users/admin", headers=admin)
        assert problem(answer) == (409, "conflict")
        assert "last administrator" in answer.json()["detail"]
        http.post("/v1/users/root2/enable", headers=admin)
        assert http.delete("/v1/users/admin", headers=admin).status_code == 204
        assert problem(http.delete("/v1/users/root2", headers=basic("root2", "password1"))) == (
            409,
            "conflict",
        )


@pytest.mark.parametrize("action", ["disable", "enable"])
def test_only_administrators_disable_and_enable(
    service: Service, http: httpx.Client, user: User, action: str
) -> None:
    path = f"/v1/users/{user.username}/{action}"
    assert problem(http.post(path)) == (401, "credential_required")
    assert problem(http.post(path, headers=bearer(user.token()))) == (403, "caveats_unsatisfied")
    assert problem(http.post(path, headers=basic(user.username, user.password))) == (403, "forbidden")
    admin = bearer(admin_token(service))
    assert problem(http.post(path, headers=admin, json={"why": "x"})) == (400, "bad_request")
    assert problem(http.post(f"/v1/users/nobody/{action}", headers=admin)) == (404, "not_found")


def test_an_administrator_who_is_one_no_more_administers_no_more(start: Callable[..., Service]) -> None:
    from tests.support.service import cli

    service = start()
    folder = service.settings.data_dir.parent
    cli(folder, "users", "add", "root2", "--admin", "--password-stdin", stdin="password1\n")
    token = User(service, "root2", "password1").token(scope="* caveats:*")
    with service.client() as http:
        assert http.get("/v1/keys", headers=bearer(token)).status_code == 200
        cli(folder, "users", "admin", "root2", "--revoke")
        assert problem(http.get("/v1/keys", headers=bearer(token))) == (403, "forbidden")
        assert problem(http.get("/v1/keys", headers=basic("root2", "password1"))) == (403, "forbidden")
        body = {"username": "root2", "password": "password1", "scope": "caveats:admin"}
        assert problem(http.post("/v1/tokens", json=body)) == (403, "forbidden")


def test_a_disabled_administrators_token_on_a_warm_cache_is_a_401(start: Callable[..., Service]) -> None:
    from tests.support.service import cli

    service = start()
    folder = service.settings.data_dir.parent
    cli(folder, "users", "add", "root2", "--admin", "--password-stdin", stdin="password1\n")
    token = User(service, "root2", "password1").token(scope="* caveats:*")
    with service.client() as http:
        for _ in range(3):
            assert http.get("/v1/keys", headers=bearer(token)).status_code == 200
        http.post("/v1/users/root2/disable", headers=bearer(admin_token(service)))
        assert problem(http.get("/v1/keys", headers=bearer(token))) == (401, "invalid_token")


def end(service: Service, username: str, how: str) -> Coroutine[Any, Any, object]:
    """What an administrator does to an account."""
    accounts, root = service.runtime.accounts, Actor("admin", administers=True)
    match how:
        case "disable":
            return accounts.disable(username, actor=root)
        case "delete":
            return accounts.delete(username, actor=root)
        case "password":
            return accounts.set_password(username, "another password", actor=root)
        case _:
            return accounts.revoke_all(username, actor=root)


@pytest.mark.parametrize("path", ["/v1/tokens", "/v1/session"])
@pytest.mark.parametrize("how", ["disable", "password", "revoke", "delete"])
def test_a_password_that_was_right_before_the_account_ended_issues_nothing_after(
    timed: Service, how: str, path: str
) -> None:
    """Between the check of the password and the issue, at a clock that stands still."""
    user = new_user(timed)
    check = timed.runtime.passwords.verify

    async def then_ended(*arguments: Any, **named: Any) -> Any:
        done = await check(*arguments, **named)
        timed.runtime.passwords.verify = check  # type: ignore[method-assign]
        await end(timed, user.username, how)
        return done

    timed.runtime.passwords.verify = then_ended  # type: ignore[method-assign]
    with timed.client() as http:
        answer = http.post(path, json={"username": user.username, "password": user.password})
        assert problem(answer) == (401, "invalid_credentials")


def test_nothing_is_issued_or_renewed_for_an_account_that_is_closed_by_now(
    start: Callable[..., Service],
) -> None:
    """Whatever this node has heard: the database is asked."""
    service = start()
    user = new_user(service)
    token = user.token(expires_in=60)
    with service.client() as http:
        session = http.post("/v1/session", json={"username": user.username, "password": user.password})
        cookie = {"Cookie": session.headers["Set-Cookie"].partition(";")[0]}
        for_app = http.post("/v1/tokens", json={"audience": "photos"}, headers=bearer(token)).json()["token"]
        folder = service.settings.data_dir.parent
        execute(folder, "UPDATE users SET disabled_at = 1 WHERE username = ?", user.username)
        for one in (token, for_app):
            for path in ("/v1/tokens", "/v1/tokens/renew"):
                answer = http.post(path, json={}, headers=bearer(one))
                assert answer.status_code in (401, 403), path
                assert "token" not in answer.json()
        assert problem(http.post("/v1/tokens", json={}, headers=bearer(token))) == (401, "invalid_token")
        assert problem(http.post("/v1/tokens/renew", headers=bearer(token))) == (401, "invalid_token")
        assert problem(http.get("/v1/session", headers=cookie)) == (401, "invalid_token")


def test_a_session_is_reported_and_not_extended_while_the_store_is_away(
    start: Callable[..., Service],
) -> None:
    service = start()
    user = new_user(service)
    with service.client() as http:
        made = http.post("/v1/session", json={"username": user.username, "password": user.password})
        cookie = made.headers["Set-Cookie"].partition(";")[0]

        async def away(username: str) -> None:
            raise StoreUnavailable("away")

        service.runtime.store.users.get = away  # type: ignore[assignment,method-assign]
        seen = http.get("/v1/session", headers={"Cookie": cookie})
    assert seen.status_code == 200
    assert seen.json()["expires_at"] == made.json()["expires_at"]


@pytest.mark.parametrize("how", ["disable", "password", "revoke"])
def test_what_is_issued_right_after_the_end_lives_until_the_next_one(
    timed: Service, clock: Clock, how: str
) -> None:
    """At once, and at a clock that stands still: neither is anything waited for."""
    user = new_user(timed)
    with timed.client() as http:
        before = user.token()
        for _ in range(2):
            timed.run(end(timed, user.username, how))
            timed.run(timed.runtime.accounts.enable(user.username, actor=OPERATOR))
            user.password = "another password" if how == "password" else user.password
            assert problem(http.get("/v1/authorize", headers=bearer(before))) == (401, "invalid_token")
            before = user.token()
            child = http.post("/v1/tokens", json={}, headers=bearer(before)).json()["token"]
            for token in (before, child):
                assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200


@pytest.mark.parametrize("how", ["disable", "password", "revoke", "delete"])
def test_a_token_of_a_node_whose_clock_is_ahead_dies_with_the_account(
    start: Callable[..., Service], database: dict[str, Any], how: str
) -> None:
    ahead = TOLERATED_SKEW * 0.9
    one = start(**database)
    other = start(**database, now=lambda: utc_now() + ahead)
    user = new_user(other)
    tokens = [user.token() for _ in range(3)]
    one.run(end(one, user.username, how))
    other.run(other.runtime.feed.load())
    for service in (one, other):
        with service.client() as http:
            for token in tokens:
                assert problem(http.get("/v1/authorize", headers=bearer(token))) == (401, "invalid_token")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["disable", "password", "revoke"])
def test_a_sign_in_under_way_while_the_account_ends_leaves_no_living_token(
    start: Callable[..., Service], how: str
) -> None:
    """The account is read before the slow hash, and ended during it."""
    service = start(password_profile=PasswordProfile(8, 64 * 1024), password_workers=4)
    user = new_user(service)
    admin = bearer(admin_token(service))
    with service.client() as http, ThreadPoolExecutor(4) as pool:
        tries = [pool.submit(sign_in, http, user.username, user.password) for _ in range(3)]
        import time

        time.sleep(0.05)
        if how == "disable":
            answer = http.post(f"/v1/users/{user.username}/disable", headers=admin)
        elif how == "password":
            answer = http.put(
                f"/v1/users/{user.username}/password", json={"new_password": "brand new"}, headers=admin
            )
        else:
            answer = http.post("/v1/revocations", json={"user": user.username}, headers=admin)
        assert answer.status_code < 300
        for attempt in tries:
            done = attempt.result()
            if done.status_code == 201:
                assert problem(http.get("/v1/tokens", headers=bearer(done.json()["token"])))[0] == 401


def test_an_account_ended_behind_slow_writers_still_takes_all_tokens_with_it(
    timed: Service, clock: Clock
) -> None:
    """Its time was read before it had to wait; meanwhile tokens were issued."""
    user = new_user(timed)
    store = timed.runtime.store
    slow = store.users.disable
    issued: list[str] = []

    async def waits(*arguments: Any, **named: Any) -> Any:
        import asyncio

        clock.forward(seconds=3)
        issued.append(await asyncio.to_thread(user.token))
        return await slow(*arguments, **named)

    store.users.disable = waits  # type: ignore[method-assign]
    with timed.client() as http:
        http.post(f"/v1/users/{user.username}/disable", headers=bearer(admin_token(timed)))
        assert problem(http.get("/v1/authorize", headers=bearer(issued[0]))) == (401, "invalid_token")
