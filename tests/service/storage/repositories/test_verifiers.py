"""Apps that verify locally: registered under an id of their own, listed, revoked once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from caveats.token import is_token_id
from caveats_service.storage import (
    Store,
    StoreError,
    UnknownVerifier,
    VerifierApp,
)
from tests.support.store import DAY, NOW, add_verifier


async def test_a_verifier_is_found_as_registered_under_an_id_of_its_own(store: Store) -> None:
    made = await add_verifier(store)
    assert await store.verifiers.get(made.verifier_id) == made
    assert (made.audience, made.public_key, made.name, made.created_at, made.created_by, made.revoked_at) == (
        *("photos", bytes(32), "app", NOW, "root"),
        None,
    )
    assert is_token_id(made.verifier_id)
    assert (await add_verifier(store)).verifier_id != made.verifier_id
    assert await store.verifiers.get("01M7YN95YR7R4FP3PNER2VPYH8") is None


async def test_verifiers_are_listed_by_id_page_by_page_and_by_audience(store: Store) -> None:
    made = [await add_verifier(store, f"app {n}", "photos" if n % 2 else "thumbs") for n in range(5)]
    made.sort(key=lambda app: app.verifier_id)
    found: list[VerifierApp] = []
    while page := await store.verifiers.list(after=found[-1].verifier_id if found else "", limit=2):
        found += page
    assert found == made
    photos = await store.verifiers.list(audience="photos")
    assert list(photos) == [app for app in made if app.audience == "photos"]


async def test_a_verifier_is_revoked_once_and_the_first_time_stands(store: Store) -> None:
    made = await add_verifier(store)
    for later in (timedelta(0), DAY):
        revoked = await store.verifiers.revoke(made.verifier_id, now=NOW + later, actor="root")
        assert revoked.revoked_at == NOW
    assert await store.verifiers.get(made.verifier_id) == revoked
    with pytest.raises(UnknownVerifier):
        await store.verifiers.revoke("01M7YN95YR7R4FP3PNER2VPYH8", now=NOW, actor="root")


@pytest.mark.parametrize("length", [0, 31, 33])
async def test_a_verifiers_key_has_thirty_two_bytes(store: Store, length: int) -> None:
    with pytest.raises(StoreError):
        await store.verifiers.add(
            audience="photos", public_key=bytes(length), name="app", now=NOW, actor="root"
        )
    assert await store.audit.list() == ()
