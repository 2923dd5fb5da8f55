"""Nothing secret is written anywhere but where it belongs: not to a log, not to the database, not to an error."""

from __future__ import annotations

import base64
import contextlib
import logging
import sqlite3
import sys
from pathlib import Path

import pytest

from caveats import Bundle, Macaroon
from caveats_service.core.clock import utc_now
from caveats_service.core.master_keys import MasterKeys
from caveats_service.http import schemas
from caveats_service.runtime import ServiceRuntime
from caveats_service.server.logging import configure
from caveats_service.settings import Settings
from caveats_service.storage.open import open_store
from tests.support.service import (
    ADMIN_PASSWORD,
    Process,
    basic,
    bearer,
    command,
    environment,
    log_of_its_own,
    narrow,
    process,
)

SECRET_PASSWORDS = [
    "correct horse battery",
    "wrong horse battery",
    "new horse battery",
    "p\u00e4ssw\u00f6rd-\U0001f600",
]


def workload(running: Process) -> list[str]:
    """Everything that handles a secret, well and badly; answers with every token that there was."""
    tokens: list[str] = []
    with running.client() as http:
        alice, wrong, new, odd = SECRET_PASSWORDS

        def keep(answer) -> str:  # type: ignore[no-untyped-def]
            token = answer.json().get("token", "")
            if token:
                tokens.append(token)
            return str(token)

        http.post("/v1/users", json={"username": "alice", "password": alice})
        http.post("/v1/users", json={"username": "zoe", "password": odd})
        http.post("/v1/users", json={"username": "zoe", "password": [odd]})
        whole = keep(http.post("/v1/tokens", json={"username": "alice", "password": alice, "note": "ci"}))
        for body in ({"username": "alice", "password": wrong}, {"username": "nobody", "password": wrong}):
            http.post("/v1/tokens", json=body)
            http.post("/v1/session", json=body)
        http.get("/v1/tokens", headers=basic("alice", wrong))
        http.get("/v1/tokens", headers=basic("alice", alice))
        copy = narrow(whole, "scope = photos:read")
        tokens.append(copy)
        child = keep(http.post("/v1/tokens", json={"audience": "photos"}, headers=bearer(whole)))
        renewed = keep(http.post("/v1/tokens/renew", headers=bearer(copy)))
        session = http.post("/v1/session", json={"username": "alice", "password": alice})
        cookie = session.headers["set-cookie"].partition(";")[0]
        tokens.append(cookie.partition("=")[2])
        slid = http.get("/v1/session", headers={"Cookie": cookie})
        tokens.append(slid.headers["set-cookie"].partition(";")[0].partition("=")[2])
        http.delete("/v1/session", headers={"Cookie": cookie, "Origin": running.url})
        for token in tokens:
            http.get("/v1/authorize?scope=photos:read", headers=bearer(token))
            http.get("/v1/authorize?audience=x", headers={"X-Auth-Token": token[:-1] + "A"})
            http.post("/v1/verify", json={"token": token, "user": "somebody"})
            http.post("/v1/verify", json={"token": token[5:-6]})
            http.get(f"/v1/authorize?token={token}")
            http.get(f"/v1/tokens/{token}")
            http.get(f"/healthz?t={token}", headers={"Referer": f"https://x.example/?t={token}"})
            http.post("/v1/verify", data={"token": token})
            http.post("/v1/verify", json={"token": token, "unknown": token})
            http.post(
                "/v1/verify",
                content=f'{{"token": "{token}'.encode(),
                headers={"Content-Type": "application/json"},
            )
            http.get("/v1/keys", headers=bearer(token))
            http.post(f"/{token}")
        http.post("/v1/revocations", json={"token": renewed})
        http.post("/v1/revocations", json={"presented": True}, headers=bearer(child))
        http.put("/v1/users/alice/password", json={"password": alice, "new_password": new})
        admin = keep(
            http.post(
                "/v1/tokens", json={"username": "admin", "password": ADMIN_PASSWORD, "scope": "* caveats:*"}
            )
        )
        for method, path in (
            ("GET", "/v1/users"),
            ("GET", "/v1/keys"),
            ("POST", "/v1/keys/rotate"),
            ("POST", "/v1/users/alice/disable"),
            ("GET", "/v1/revocations"),
        ):
            http.request(method, path, headers=bearer(admin))
        http.post("/v1/keys/rotate", json={"now": True}, headers=bearer(admin))
        http.post("/v1/keys/k1/retire", json={"force": True}, headers=bearer(admin))
    return tokens


def needles(tokens: list[str], masters: list[bytes]) -> dict[str, bytes]:
    """Each secret in every form in which it might have been written."""
    found: dict[str, bytes] = {}

    def add(name: str, secret: bytes) -> None:
        found[f"{name}, raw"] = secret
        found[f"{name}, hex"] = secret.hex().encode()
        found[f"{name}, base64"] = base64.b64encode(secret).rstrip(b"=")
        found[f"{name}, base64url"] = base64.urlsafe_b64encode(secret).rstrip(b"=")
        found[f"{name}, repr"] = repr(secret)[2:-1].encode()

    for n, text in enumerate(tokens):
        found[f"token {n}"] = text.encode()
        found[f"token {n} without its prefix"] = text.removeprefix("cav1_")[:-6].encode()
        for fields in [Bundle.decode(text).macaroon.wire]:
            add(f"signature of token {n}", fields.signature)
    for n, secret in enumerate(masters):
        add(f"master key {n}", secret)
    for password in [*SECRET_PASSWORDS, ADMIN_PASSWORD]:
        found[f"password {password!r}"] = password.encode()
        found[f"password {password!r} escaped"] = password.encode("unicode_escape")
    return found


async def master_secrets(folder: Path) -> list[bytes]:
    store, seal_key = await open_store(Settings.load(data_dir=folder / "data"), create=False)
    masters = MasterKeys(
        store,
        seal_key,
        Settings.load(data_dir=folder / "data"),
        now=utc_now,
        tend_time=utc_now,
        changed=lambda _: None,
    )
    await masters.start()
    await store.close()
    return [master.secret for master in masters.keyring._masters.values()]


@pytest.mark.slow
async def test_no_secret_is_in_any_log_nor_in_the_database(tmp_path: Path) -> None:
    given = {"LOG_LEVEL": "debug", "OPEN_REGISTRATION": "true", "PASSWORD_WORKERS": "4"}
    command(tmp_path, "migrate")
    command(tmp_path, "users", "add", "admin", "--admin", "--password-stdin", stdin=ADMIN_PASSWORD + "\n")
    masters = await master_secrets(tmp_path)
    with process(tmp_path, **given) as running:
        tokens = workload(running)
    masters += await master_secrets(tmp_path)
    assert len(tokens) >= 6
    assert len(set(masters)) >= 2
    places = {"output": "\n".join(running.output).encode()}
    assert len(places["output"]) > 500
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "caveats.db")) as connection:
        places["dump"] = "\n".join(connection.iterdump()).encode()
    for file in (tmp_path / "data").rglob("*"):
        if file.is_file() and file.name != "seal.key":
            places[file.name] = file.read_bytes()
    seal = (tmp_path / "data" / "seal.key").read_bytes().strip()
    hits = [
        (place, name)
        for place, data in places.items()
        for name, needle in {**needles(tokens, masters), "seal key": seal}.items()
        if needle in data
    ]
    assert hits == []
    hashes = [
        row[0]
        for row in sqlite3.connect(tmp_path / "data" / "caveats.db").execute(
            "SELECT password_hash FROM users"
        )
    ]
    assert [h for h in hashes if h.encode() in places["output"]] == []


def test_no_repr_shows_a_secret(service, user) -> None:  # type: ignore[no-untyped-def]
    text = user.token()
    macaroon = Macaroon.decode(text)
    node: ServiceRuntime = service.runtime
    authenticated = node.tokens.verifier.authenticate(text)
    shown = " ".join(
        map(
            repr,
            [
                macaroon,
                authenticated,
                node.master_keys.keyring,
                node.master_keys.rows,
                service.settings,
                node.tokens.verifier,
                node.service_keys,
                node.service_keys.box,
            ],
        )
    )
    for name, needle in needles(
        [text], [m.secret for m in node.master_keys.keyring._masters.values()]
    ).items():
        assert needle not in shown.encode(), name


BODIES = sorted(
    (each for each in vars(schemas).values() if isinstance(each, type) and issubclass(each, schemas.Schema)),
    key=lambda each: each.__name__,
)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_no_repr_of_a_requests_body_shows_what_is_in_it(body: type[schemas.Schema]) -> None:
    filled = body.model_construct(**dict.fromkeys(body.model_fields, "S3CRET"))
    assert "S3CRET" not in f"{filled!r} {filled!s} {list(filled.__rich_repr__())}"


@pytest.mark.slow
def test_the_environments_secrets_are_not_in_an_error(tmp_path: Path) -> None:
    done = command(tmp_path, "serve", SEAL_KEY="this-is-not-a-key", PORT="x", expect=2)
    assert "this-is-not-a-key" not in done.stderr + done.stdout
    assert ADMIN_PASSWORD in environment(tmp_path).values()
    assert ADMIN_PASSWORD not in done.stderr + done.stdout


# the log itself


@pytest.fixture
def logged():  # type: ignore[no-untyped-def]
    """Log as the service does, and put everything back."""
    with log_of_its_own():
        yield


@pytest.mark.parametrize("log_json", [False, True])
def test_what_looks_like_a_token_is_blanked_and_a_traceback_shows_no_values(
    logged: None, capsys: pytest.CaptureFixture[str], tmp_path: Path, *, log_json: bool
) -> None:
    import structlog

    configure(Settings.load(log_level="debug", log_json=log_json, data_dir=tmp_path))
    token, hidden = "cav1_" + "Ab9_-" * 20, "2retnuh"[::-1]

    def fails(password: str) -> None:
        raise RuntimeError(f"about {token}") from ValueError(token)

    try:
        fails(hidden)
    except RuntimeError:
        logging.getLogger("other").exception("it failed with %s", token)
        structlog.get_logger("x").error("it failed", what=token, exc_info=sys.exc_info())
    structlog.get_logger("x").error(f"about {token}", nested={"token": token}, listed=[token])
    out = "".join(capsys.readouterr())
    assert "RuntimeError" in out
    assert "cav1_[redacted]" in out
    assert token not in out
    assert hidden not in out


def test_events_below_the_level_are_not_logged(
    logged: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import structlog

    configure(Settings.load(log_level="warning", data_dir=tmp_path))
    structlog.get_logger("x").info("quiet")
    structlog.get_logger("x").warning("loud")
    logging.getLogger("y").info("quiet as well")
    out = "".join(capsys.readouterr())
    assert "loud" in out
    assert "quiet" not in out
