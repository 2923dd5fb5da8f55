"""What dies takes along what came of it: whatever was issued against a token dies with that token's key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from caveats import Expires, Identifier, Macaroon, MasterKeyring, Parent, Scope, User, new_token_id
from caveats_service.core.clock import utc_now
from tests.support.service import ADMIN_PASSWORD, Service, basic, bearer, problem, rows, serving

ADMIN = basic("admin", ADMIN_PASSWORD)
ENDPOINTS: list[tuple[str, str, Any]] = [
    ("GET", "/v1/authorize?audience={audience}", None),
    ("POST", "/v1/tokens", {"scope": "*"}),
    ("POST", "/v1/tokens/renew", {"expires_in": "1h"}),
    ("GET", "/v1/tokens", None),
    ("POST", "/v1/revocations", {}),
    ("GET", "/v1/revocations", None),
    ("GET", "/v1/users", None),
    ("POST", "/v1/keys/rotate", {}),
]


@pytest.fixture
def own(start: Callable[..., Service]) -> Service:
    return start()


@pytest.fixture
def http(own: Service) -> Any:
    with own.client() as client:
        yield client


def mint(keyring: MasterKeyring, key_id: str, audience: str, *more: Parent) -> str:
    """A token for administration as whoever has the master key of this id makes it."""
    caveats = (User("admin"), Expires.after(timedelta(hours=9), now=utc_now()), Scope("* caveats:*"), *more)
    identifier = Identifier(key_id, audience, new_token_id(utc_now()), len(caveats))
    return Macaroon.mint(keyring.root_key(identifier), identifier, caveats=caveats).encode()


def exchange(http: httpx.Client, token: str, **asked: Any) -> str:
    answer = http.post("/v1/tokens", json=asked, headers=bearer(token))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def admin(http: httpx.Client, path: str, body: Any) -> None:
    answer = http.post(path, json=body, headers=ADMIN)
    assert answer.is_success, answer.text


def is_dead(http: httpx.Client, token: str, audience: str) -> bool:
    """Whether every endpoint gives the uniform 401, whatever it reads the token with."""
    answers = [
        http.request(method, path.format(audience=audience), json=body, headers=bearer(token))
        for method, path, body in ENDPOINTS
    ]
    answers.append(http.get("/v1/session", headers={"Cookie": f"__Host-caveats-session={token}"}))
    answers.append(http.post("/v1/revocations", json={"token": token}))
    verdict = http.post("/v1/verify", json={"token": token, "audience": audience})
    return {problem(answer) for answer in (*answers, verdict)} == {(401, "invalid_token")}


@pytest.mark.parametrize("audience", ["default", "photos"])
def test_what_was_issued_against_a_token_dies_with_the_key_that_is_retired_by_force(
    own: Service, http: httpx.Client, tmp_path: Path, audience: str
) -> None:
    """Every generation, exchanged while the key was active and while it only verified; also after a restart."""
    forged = mint(own.runtime.master_keys.keyring, "k1", audience)
    early = exchange(http, forged, scope="*")
    admin(http, "/v1/keys/rotate", {"now": True})
    child = exchange(http, forged, scope="*")
    grandchild = exchange(http, exchange(http, early, scope="*"), scope="*")
    good = mint(own.runtime.master_keys.keyring, "k2", audience)
    issued = [child, grandchild, Macaroon.decode(child).attenuate(b"note = narrower").encode()]
    for token in issued:
        assert http.get(f"/v1/authorize?audience={audience}", headers=bearer(token)).status_code == 200
    admin(http, "/v1/keys/k1/retire", {"force": True})
    revoked = len(rows(tmp_path, "SELECT 1 FROM revocations"))
    for token in (forged, early, *issued):
        assert is_dead(http, token, audience)
    assert exchange(http, exchange(http, good), scope="*")
    assert len(rows(tmp_path, "SELECT 1 FROM revocations")) == revoked  # what is dead already is not written
    with serving(tmp_path) as again, again.client() as later:
        for token in (forged, early, *issued):
            assert is_dead(later, token, audience)
        assert exchange(later, good)


def test_a_parents_key_that_this_node_has_not_seen_is_looked_for_as_the_tokens_own_is(
    own: Service, http: httpx.Client
) -> None:
    """Another node made the key a moment ago. One that nobody has is looked for once a second."""
    runtime = own.runtime
    looked: list[str] = []
    refresh = runtime.master_keys.refresh

    async def counted() -> None:
        looked.append("")
        await refresh()

    runtime.master_keys.refresh = counted  # type: ignore[method-assign]
    token = mint(runtime.master_keys.keyring, "k1", "default", Parent("k2", new_token_id(utc_now()), ()))
    own.run(
        runtime.store.keys.publish(
            runtime.master_keys._fresh,  # as another node would
            now=utc_now(),
            actor="x",
            replacing=None,
            first=False,
        )
    )
    assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200
    assert looked
    orphan = mint(runtime.master_keys.keyring, "k1", "default", Parent("k9", new_token_id(utc_now()), ()))
    looked.clear()
    for _ in range(20):
        assert problem(http.get("/v1/authorize", headers=bearer(orphan))) == (401, "invalid_token")
    assert len(looked) < 20
