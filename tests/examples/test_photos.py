"""The photo app: local verification, its own kind, the service's way of refusing, and the feed of revocations."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import following
import httpx2 as httpx
import photos
import pytest
from local_service import ADMIN_PASSWORD, LocalService
from photos_caveats import Album
from starlette.testclient import TestClient

from caveats import (
    AudienceKey,
    AudienceKeyring,
    ClientIp,
    Expires,
    Identifier,
    Macaroon,
    MasterKey,
    MasterKeyring,
    Method,
    RevocationSet,
    Scope,
    User,
    UserRevocation,
    Verifier,
    new_token_id,
)
from caveats import Path as PathCaveat
from caveats_client import AsyncClient, Client, ClientError, calls

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery staple"
MASTERS = MasterKeyring([MasterKey("k1", bytes(range(32)))])


def issued(*caveats, audience: str = "photos", life: timedelta = timedelta(hours=1)) -> Macaroon:
    """A token as the service issues it, narrowed by a holder."""
    now = datetime.now(UTC)
    identifier = Identifier("k1", audience, new_token_id(now), 3)
    own = (User("alice"), Expires(now + life), Scope("photos:*"))
    return Macaroon.mint(MASTERS.root_key(identifier), identifier, caveats=own).attenuate(*caveats)


@pytest.fixture
def app() -> Iterator[TestClient]:
    with TestClient(photos.create_app(MASTERS.export("photos")), client=("10.1.2.3", 4000)) as client:
        yield client


def ask(app: TestClient, token: Macaroon | str, method: str, path: str, **more):
    text = token if isinstance(token, str) else token.encode()
    return app.request(method, path, headers={"Authorization": f"Bearer {text}"}, **more)


@pytest.mark.parametrize(
    ("caveats", "method", "path", "status"),
    [
        ((), "GET", "/albums", 200),
        ((), "GET", "/albums/42", 200),
        ((), "GET", "/albums/42/1", 200),
        ((), "GET", "/albums/42/99", 404),
        ((), "GET", "/albums/99", 404),
        ((Scope("photos/42:read"),), "GET", "/albums/42", 200),
        ((Scope("photos/42:read"),), "GET", "/albums/42/1", 200),
        ((Scope("photos/42:read"),), "GET", "/albums", 403),
        ((Scope("photos/42:read"),), "GET", "/albums/43", 403),
        ((Scope("photos/42/1:read"),), "GET", "/albums/42", 403),
        ((Scope("photos:read"),), "POST", "/albums/42", 403),
        ((Scope("photos:write"),), "POST", "/albums/42", 201),
        ((Album(42),), "GET", "/albums/42", 200),
        ((Album(42),), "GET", "/albums/43", 403),
        ((Album(42),), "GET", "/albums", 403),
        ((Album(42), Album(43)), "GET", "/albums/42", 403),
        ((Method("GET"),), "GET", "/albums/42", 200),
        ((Method("GET"),), "POST", "/albums/42", 403),
        ((PathCaveat("/albums/42/*"),), "GET", "/albums/42/1", 200),
        ((PathCaveat("/albums/42/*"),), "GET", "/albums/42", 403),
        ((PathCaveat("/albums/42"),), "GET", "/albums/4%32", 403),
        ((ClientIp("10.0.0.0/8"),), "GET", "/albums/42", 200),
        ((ClientIp("192.0.2.0/24"),), "GET", "/albums/42", 403),
        ((b"photos/mood = sunny",), "GET", "/albums/42", 403),
    ],
    ids=str,
)
def test_a_copy_does_what_its_caveats_leave(app: TestClient, caveats, method, path, status) -> None:
    body = {"json": {"title": "New"}} if method == "POST" else {}
    assert ask(app, issued(*caveats), method, path, **body).status_code == status


def test_a_refusal_says_which_caveat_whose_it_is_and_what_would_pass(app: TestClient) -> None:
    answer = ask(app, issued(Album(42)), "GET", "/albums/43")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "caveats_unsatisfied"
    assert answer.json()["failures"] == [
        {
            "index": 3,
            "kind": "photos/album",
            "predicate": "photos/album = 42",
            "added_by": "holder",
            "reason": "the request is about album 43",
            "hint": "a request for album 42",
        }
    ]


def forged() -> Macaroon:
    token = issued(Album(42))
    return Macaroon(token.wire._replace(caveats=token.wire.caveats[:-1]))


def under_another_key() -> Macaroon:
    other = MasterKeyring([MasterKey("k1", bytes(range(1, 33)))])
    identifier = Identifier("k1", "photos", new_token_id(datetime.now(UTC)), 1)
    return Macaroon.mint(other.root_key(identifier), identifier, caveats=[User("alice")])


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        forged(),
        under_another_key(),
        issued(life=timedelta(seconds=-1)),
        issued(Expires(datetime(2020, 1, 1, tzinfo=UTC)), Album(42)),
    ],
    ids=["empty", "nonsense", "forged", "another key", "expired", "expired and more"],
)
def test_whatever_is_not_authentic_or_not_alive_gets_one_answer(app: TestClient, token) -> None:
    answer = ask(app, token, "GET", "/albums/43")
    body = {"type": "urn:caveats:problem:invalid_token", "status": 401, "code": "invalid_token"}
    assert (answer.status_code, answer.json()) == (401, body)
    assert "WWW-Authenticate" in answer.headers


def test_a_token_for_another_app_is_refused(app: TestClient) -> None:
    answer = ask(app, issued(audience="notes"), "GET", "/albums")
    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_audience")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "credential_required"),
        ({"Authorization": "Basic YWxpY2U6eA=="}, 401, "credential_required"),
        ({"Authorization": "Bearer a", "X-Auth-Token": "b"}, 400, "two_credentials"),
        ({"X-Auth-Token": "cav1_damaged000000"}, 401, "damaged_token"),
    ],
)
def test_a_request_brings_one_token(app: TestClient, headers, status, code) -> None:
    answer = app.get("/albums", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_x_auth_token_is_as_good_as_bearer(app: TestClient) -> None:
    assert app.get("/albums", headers={"X-Auth-Token": issued().encode()}).is_success


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"title": 1}', b"\xff"])
def test_a_photo_without_a_title_is_a_bad_request(app: TestClient, body: bytes) -> None:
    assert ask(app, issued(), "POST", "/albums/42", content=body).status_code == 400


# with a real service


@dataclass
class Followed:
    """The app with its follower, and the service that it follows."""

    app: TestClient
    client: Client
    follower: following.Follower

    def eventually(self, token: Macaroon, status: int) -> None:
        asyncio.run(self._until(token, status))

    async def _until(self, token: Macaroon, status: int) -> None:
        for _ in range(200):
            if (await asyncio.to_thread(ask, self.app, token, "GET", "/albums")).status_code == status:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"never {status}")


def feed_token(service: LocalService) -> Macaroon:
    """As the docs say: an administrator's token, narrowed to reading the feed."""
    with Client(service.url) as admin:
        token = admin.login("admin", ADMIN_PASSWORD, scope="caveats:admin", expires_in="1h")
    return token.attenuate(Method("GET"), PathCaveat("/v1/revocations"))


@pytest.fixture
def followed(service: LocalService) -> Iterator[Followed]:
    keys = service.export_keys("photos")
    follower = following.Follower(service.url, feed_token(service).encode(), keys, every=0.05)
    app = photos.create_app(following.load_keys(keys), follower)
    with TestClient(app, client=("127.0.0.1", 4000)) as asked, Client(service.url) as client:
        yield Followed(asked, client, follower)


def sign_in(client: Client, user: str = "alice") -> Macaroon:
    return client.login(user, PASSWORD, audience="photos", scope="photos:*")


def test_a_revoked_copy_dies_here_and_the_token_lives_on(followed: Followed) -> None:
    token = sign_in(followed.client)
    copy = token.attenuate(Scope("photos:read"))
    child = copy.attenuate(Method("GET"))
    assert ask(followed.app, child, "GET", "/albums").is_success
    followed.client.revoke(copy)
    followed.eventually(copy, 401)
    assert ask(followed.app, child, "GET", "/albums").status_code == 401
    assert ask(followed.app, token, "GET", "/albums").is_success


def test_whatever_a_copy_was_renewed_into_dies_with_it(followed: Followed) -> None:
    copy = sign_in(followed.client).attenuate(Scope("photos:read"))
    renewed = followed.client.renew(copy, expires_in="20h").token
    followed.client.revoke(copy)
    followed.eventually(renewed, 401)


def test_all_of_a_users_tokens_die_and_no_other_users(followed: Followed) -> None:
    with Client(followed.client.url) as bobs:
        bob = sign_in(bobs, "bob")
        token = sign_in(followed.client)
        bobs.login("bob", PASSWORD)
        bobs.send(calls.revoke_user("bob"))
    followed.eventually(bob, 401)
    assert ask(followed.app, token, "GET", "/albums").is_success


def test_the_token_renews_itself_and_is_kept_for_the_next_start(
    service: LocalService, tmp_path: Path
) -> None:
    keys, kept, first = service.export_keys("photos"), tmp_path / "photos.token", feed_token(service)

    def begin(token: Macaroon) -> following.Follower:
        return following.Follower(service.url, token.encode(), keys, every=0.05, renewed=kept)

    follower = begin(first)
    with TestClient(photos.create_app(following.load_keys(keys), follower)):
        renewed = follower._token
    assert following._token_id(renewed) == following._token_id(first)
    assert renewed != first
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert begin(first)._token == renewed
    other = feed_token(service)
    assert begin(other)._token == other  # a new one was given
    kept.write_text("half a to")
    assert begin(first)._token == first
    headers = {"Authorization": f"Bearer {renewed.encode()}"}
    assert httpx.get(f"{service.url}/v1/revocations", headers=headers).is_success
    assert httpx.get(f"{service.url}/v1/users", headers=headers).status_code == 403


def test_a_token_that_is_not_renewed_is_used_as_it_is(service: LocalService, monkeypatch: Any) -> None:
    keys, token = service.export_keys("photos"), feed_token(service)
    follower = following.Follower(service.url, token.encode(), keys, every=0.05)
    monkeypatch.setattr(AsyncClient, "renew", AsyncMock(side_effect=ClientError("no longer")))
    with TestClient(photos.create_app(following.load_keys(keys), follower)):
        assert follower.is_current
        assert follower._token == token


def test_between_containers_plain_http_is_allowed_and_nowhere_else(tmp_path: Path) -> None:
    keys = tmp_path / "photos.keys"
    with pytest.raises(ClientError, match="plain http"):
        following.Follower("http://node-1:8080", issued().encode(), keys)
    following.Follower("http://node-1:8080", issued().encode(), keys, allow_http=True)


def test_an_app_that_has_not_heard_for_too_long_refuses_everything(service: LocalService) -> None:
    keys = service.export_keys("photos")
    lost = following.Follower("http://127.0.0.1:1", feed_token(service).encode(), keys)
    with TestClient(photos.create_app(following.load_keys(keys), lost)) as app, Client(service.url) as client:
        answer = ask(app, sign_in(client), "GET", "/albums")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "1"


def test_the_token_that_reads_the_feed_does_nothing_else(service: LocalService) -> None:
    headers = {"Authorization": f"Bearer {feed_token(service).encode()}"}
    assert httpx.get(f"{service.url}/v1/revocations", headers=headers).is_success
    for method, path in (("GET", "/v1/keys"), ("GET", "/v1/users"), ("POST", "/v1/keys/rotate")):
        assert httpx.request(method, service.url + path, headers=headers).status_code == 403


def test_keys_exported_again_are_taken_up(service: LocalService, tmp_path: Path) -> None:
    keyring = MASTERS.export("photos")
    path = tmp_path / "photos.keys"
    path.write_text(json.dumps(AudienceKeyring("photos", [AudienceKey("k9", "photos", b"x" * 32)]).to_json()))
    follower = following.Follower(service.url, feed_token(service).encode(), path, every=0.02)
    with TestClient(photos.create_app(following.load_keys(path), follower), client=("10.1.2.3", 1)) as app:
        assert ask(app, issued(), "GET", "/albums").status_code == 401
        path.write_text("half a fi")
        path.write_text(json.dumps(keyring.to_json()))
        Followed(app, None, follower).eventually(issued(), 200)  # type: ignore[arg-type]


class Feed:
    """A feed as the service gives it, in pages of two."""

    def __init__(self) -> None:
        self.epoch, self.floor, self.rows, self.asked = 1, 0, [], []

    def add(self, sequence: int, user: str) -> None:
        moment = "2026-11-21T12:00:00Z"
        row = {"kind": "user", "user": user, "issued_up_to": moment, "expires_at": "2100-01-01T00:00:00Z"}
        self.rows.append({"sequence": sequence, "token_id": None, "branch_id": None, **row})

    def answer(self, request: httpx.Request) -> httpx.Response:
        after = int(request.url.params["after"])
        self.asked.append(after)
        last = max((row["sequence"] for row in self.rows), default=self.floor)
        return httpx.Response(
            200,
            json={
                "epoch": self.epoch,
                "last_sequence": last,
                "resync": after > last or after < self.floor,
                "revocations": [row for row in self.rows if row["sequence"] > after][:2],
            },
        )


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def follower(feed: Feed, tmp_path: Path) -> following.Follower:
    made = following.Follower("http://127.0.0.1:1", issued().encode(), tmp_path / "none")
    made._http = httpx.AsyncClient(base_url="http://feed", transport=httpx.MockTransport(feed.answer))
    return made


@pytest.fixture
def verifier() -> Verifier:
    return Verifier(MASTERS.export("photos"), audience="photos")


async def test_the_feed_is_read_page_by_page_and_then_followed(feed, follower, verifier) -> None:
    for sequence in range(1, 6):
        feed.add(sequence, f"user{sequence}")
    await follower.catch_up(verifier)
    assert len(verifier.revocations) == 5
    assert follower.is_current
    feed.add(6, "user6")
    feed.asked.clear()
    await follower.catch_up(verifier)
    assert len(verifier.revocations) == 6
    assert feed.asked == [5, 6]


async def test_a_feed_whose_early_entries_are_forgotten_is_read_all_the_same(
    feed, follower, verifier
) -> None:
    feed.floor = 7
    feed.add(3, "long-lived")
    feed.add(9, "later")
    await follower.catch_up(verifier)
    assert len(verifier.revocations) == 2
    feed.rows.clear()
    feed.floor = 9
    feed.asked.clear()
    await follower.catch_up(verifier)
    assert feed.asked == [9]


async def test_a_restored_backup_is_read_from_the_beginning(feed, follower, verifier) -> None:
    for sequence in (1, 2):
        feed.add(sequence, f"user{sequence}")
    await follower.catch_up(verifier)
    feed.epoch, feed.rows = 2, feed.rows[:1]
    await follower.catch_up(verifier)
    assert len(verifier.revocations) == 1


def test_a_user_revocation_cut_to_the_second_covers_that_second() -> None:
    row = {
        "kind": "user",
        "user": "alice",
        "issued_up_to": "2026-11-21T12:00:00Z",
        "expires_at": "2100-01-01T00:00:00Z",
    }
    entry = following.revocation(row)
    assert isinstance(entry, UserRevocation)
    late = new_token_id(datetime(2026, 11, 21, 12, 0, 0, 999_000, tzinfo=UTC))
    assert RevocationSet([entry]).hits_user("alice", late)


def test_an_entry_of_a_kind_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ValueError, match="planet"):
        following.revocation({"kind": "planet", "expires_at": "2100-01-01T00:00:00Z"})


def test_the_app_from_its_environment(service: LocalService, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PHOTOS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PHOTOS_KEYS", str(service.export_keys("photos")))
    with TestClient(photos.from_environment()) as app, Client(service.url) as client:
        assert ask(app, sign_in(client), "GET", "/albums").is_success
