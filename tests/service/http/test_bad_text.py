"""Text that no database keeps (NUL, half of a surrogate pair), in every place that a request has for text, on both databases."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from caveats import PrivateKey
from caveats.token import encode_base64
from tests.support.cluster import shared_database
from tests.support.service import Service, admin_token, basic, bearer, new_user, problem, serving
from tests.support.store import KINDS

KEY = encode_base64(
    PrivateKey(bytes(range(1, 33))).public_key
)  # the same in each process: it stands in test names
BAD = ("a\0b", "a\ud800b", "\0", "\udfff")


@pytest.fixture(scope="module", params=KINDS)
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on each of the two databases."""
    with contextlib.ExitStack() as stack:
        folder, given = tmp_path_factory.mktemp("bad_text"), {}
        if request.param == "postgresql":
            given["database_url"] = stack.enter_context(shared_database())
        yield stack.enter_context(serving(folder, **given))


def _json(service: Service, method: str, path: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
    with service.client() as http:
        raw = json.dumps(body)  # escapes what UTF-8 does not have
        return http.request(
            method, path, content=raw, headers={**headers, "Content-Type": "application/json"}
        )


ADMINS = [
    ("POST", "/v1/users", "username", {"password": "long enough"}),
    ("POST", "/v1/users", "password", {"username": "fresh"}),
    ("PUT", "/v1/users/admin/password", "password", {"new_password": "long enough"}),
    ("PUT", "/v1/groups/some", "members", {}),
    ("POST", "/v1/agents", "username", {"public_key": KEY}),
    ("POST", "/v1/agents", "name", {"public_key": KEY, "username": "admin"}),
    ("POST", "/v1/agents", "public_key", {"username": "admin"}),
    ("POST", "/v1/verifiers", "audience", {"public_key": KEY}),
    ("POST", "/v1/verifiers", "name", {"public_key": KEY, "audience": "photos"}),
    ("POST", "/v1/verifiers", "public_key", {"audience": "photos"}),
    ("POST", "/v1/tokens", "scope", {}),
    ("POST", "/v1/tokens", "audience", {}),
    ("POST", "/v1/tokens", "note", {}),
    ("POST", "/v1/tokens", "caveats", {}),
    ("POST", "/v1/tokens", "expires_in", {}),
    ("POST", "/v1/tokens/renew", "expires_in", {}),
    ("POST", "/v1/revocations", "token_id", {}),
    ("POST", "/v1/revocations", "user", {}),
    ("POST", "/v1/revocations", "token", {}),
]


@pytest.mark.parametrize("bad", BAD, ids=ascii)
@pytest.mark.parametrize(("method", "path", "member", "rest"), ADMINS, ids=lambda value: str(value)[:20])
def test_text_that_cannot_be_stored_is_a_400_and_no_alarm(  # noqa: PLR0917  # the row and the bad text
    either: Service,
    method: str,
    path: str,
    member: str,
    rest: dict[str, Any],
    bad: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    value = [bad] if member in ("members", "caveats") else bad
    answer = _json(either, method, path, {**rest, member: value}, bearer(admin_token(either)))
    status, _ = problem(answer)
    assert status in (400, 401, 404)
    assert "store_unavailable" not in "".join(capfd.readouterr())
    assert "internal_error" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "path", ["/v1/users", "/v1/groups", "/v1/agents", "/v1/tokens"], ids=lambda path: path[4:]
)
def test_a_page_after_a_name_that_cannot_be_is_a_400(
    either: Service, path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with either.client() as http:
        answer = http.get(f"{path}?after=a%00b", headers=bearer(admin_token(either)))
        assert problem(answer) == (400, "bad_request")
        for odd in ("%ed%a0%80", "%ff", "%F0%9F%92%A9", "'"):
            answer = http.get(f"{path}?after={odd}", headers=bearer(admin_token(either)))
            assert answer.status_code == 200, answer.text
    assert "store_unavailable" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("where", ["body", "session", "basic"])
@pytest.mark.parametrize(("name", "password", "answer"), [("a\0b", "pass", 401), ("admin", "pa\0ss", 400)])
def test_a_sign_in_with_a_text_that_cannot_be_is_counted_like_any_other_guess(  # noqa: PLR0917  # the place and the row
    tmp_path: Path, either: Service, where: str, name: str, password: str, answer: int
) -> None:
    def guess(service: Service) -> Any:
        if where == "basic":
            with service.client() as http:
                return http.get("/v1/tokens", headers=basic(name, password))
        body = {"username": name, "password": password}
        return _json(service, "POST", "/v1/tokens" if where == "body" else "/v1/session", body, {})

    assert guess(either).status_code == answer
    with serving(tmp_path, login_limit_account="2/hour") as strict:
        assert [guess(strict).status_code for _ in range(3)] == [answer, answer, 429]


def test_after_all_that_the_service_is_as_before(either: Service) -> None:
    user = new_user(either)
    with either.client() as http:
        assert http.get("/readyz").status_code == 200
        assert (
            http.get("/v1/tokens", headers=bearer(user.token(note="é 💩"))).json()["tokens"][0]["note"]
            == "é 💩"
        )
