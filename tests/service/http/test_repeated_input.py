"""What was sent, in what is answered: a name that was wrong may be named; a token, a key or a password never comes back."""

from __future__ import annotations

import pytest

from tests.support.service import Service, User, admin_token, basic, bearer

SECRET = "correct horse battery staple 4711"


PLACES = [
    ("POST", "/v1/tokens", lambda text: {"scope": text}),
    ("POST", "/v1/tokens", lambda text: {"scope": "a:b", "audience": text}),
    ("POST", "/v1/tokens", lambda text: {"scope": "a:b", "caveats": [text]}),
    ("POST", "/v1/tokens", lambda text: {"scope": "a:b", "caveats": [f"audience = {text}"]}),
    ("POST", "/v1/tokens", lambda text: {"scope": "a:b", "caveats": [f"method = {text}"]}),
    ("POST", "/v1/tokens", lambda text: {"scope": "a:b", "caveats": [f"client-ip = {text}"]}),
    ("POST", "/v1/tokens", lambda text: {"scope": "a:b", "expires_in": text}),
    ("POST", "/v1/tokens", lambda text: {text: "a:b"}),
    ("POST", "/v1/tokens/renew", lambda text: {"expires_in": text}),
    ("POST", "/v1/revocations", lambda text: {"token": text}),
    ("POST", "/v1/revocations", lambda text: {"token_id": text}),
    ("POST", "/v1/revocations", lambda text: {"token_id": "0" * 26, "branch_id": text}),
    ("POST", "/v1/revocations", lambda text: {"user": text}),
    ("POST", "/v1/users", lambda text: {"username": text, "password": "long enough"}),
    ("POST", "/v1/agents", lambda text: {"username": text, "public_key": "A" * 43}),
    ("POST", "/v1/agents", lambda text: {"username": "admin", "public_key": text}),
    ("POST", "/v1/verifiers", lambda text: {"audience": text, "public_key": "A" * 43}),
    ("POST", "/v1/verifiers", lambda text: {"audience": "photos", "public_key": text}),
    ("PUT", "/v1/groups/some", lambda text: {"members": [text]}),
    ("POST", "/v1/verify", lambda text: {"token": text}),
    ("POST", "/v1/verify", lambda text: {"token": "x", "audience": text, "scope": text}),
    ("POST", "/v1/session", lambda text: {"username": text, "password": text}),
]


@pytest.mark.parametrize("place", range(len(PLACES)), ids=lambda n: f"{PLACES[n][1]} {n}")
def test_a_token_sent_in_the_wrong_place_never_comes_back(service: Service, user: User, place: int) -> None:
    method, path, body = PLACES[place]
    sent = user.token()
    for text in (sent, sent[:40], sent.removeprefix("cav1_")):
        with service.client(headers=bearer(admin_token(service))) as http:
            answer = http.request(method, path, json=body(text))
        said = answer.text if answer.status_code >= 400 else ""
        assert text not in said
        assert "cav1_" not in said
        assert len(said) < 1500


def test_a_password_never_comes_back(service: Service) -> None:
    with service.client() as http:
        answers = [
            http.post("/v1/tokens", json={"username": "nobody", "password": SECRET}),
            http.post("/v1/tokens", json={"username": "nobody", "password": [SECRET]}),
            http.post("/v1/tokens", json={"username": "nobody", "passwort": SECRET}),
            http.post("/v1/users", json={"username": "nobody", "password": SECRET + "\0"}),
            http.post("/v1/users", json={"username": "NO BODY", "password": SECRET}),
            http.put("/v1/users/nobody/password", json={"password": SECRET, "new_password": "x"}),
            http.post(
                "/v1/session",
                content=f'{{"password": "{SECRET}',
                headers={"Content-Type": "application/json"},
            ),
            http.get("/v1/tokens", headers=basic("nobody", SECRET)),
            http.get("/v1/tokens", headers={"Authorization": f"Basic {SECRET}"}),
            http.get("/v1/tokens", headers={"Authorization": f"Digest {SECRET}"}),
            http.get("/v1/tokens", headers={"Authorization": f"Bearer {SECRET}, Bearer b"}),
            http.get("/v1/tokens", params={"password": SECRET}),
        ]
    for answer in answers:
        assert answer.status_code >= 400
        assert SECRET not in answer.text + str(dict(answer.headers))


def test_two_credentials_in_one_header_are_a_400(service: Service) -> None:
    with service.client() as http:
        answer = http.get("/v1/authorize", headers={"Authorization": "Bearer a, Bearer b"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "two_credentials"


def test_what_was_wrong_is_named_and_has_no_control_characters(service: Service, user: User) -> None:
    with service.client(headers=bearer(user.token())) as http:
        answer = http.post("/v1/tokens", json={"scope": "no scope"})
        assert "not a scope: 'no'" in answer.json()["detail"]
        for odd in ("\x1b[31m", "\u202e", "\n"):
            detail = http.post("/v1/tokens", json={"scope": f"a:b{odd}"}).json()["detail"]
            assert detail.isprintable()
        detail = http.post("/v1/tokens", json={"scope": "a b" * 300}).json()["detail"]
        assert len(detail) <= 403
