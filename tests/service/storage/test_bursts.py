"""Many at once, through the real server on either database: whoever has to wait is served, however many there are."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from caveats import new_token_id
from caveats.token import encode_base64
from tests.support.service import ADMIN_PASSWORD, CLIENT, bearer, narrow, process
from tests.support.store import KINDS, new_place

pytestmark = pytest.mark.slow

EACH = 200
LIMITS = httpx.Limits(max_connections=None)


@pytest.mark.parametrize("kind", KINDS)
async def test_hundreds_of_writes_at_once_are_all_done(kind: str, tmp_path: Path) -> None:
    """Copies of one token, tokens by their ids, and labelled tokens under keys of which each is used twice."""
    async with new_place(kind, tmp_path) as place:
        given = (
            {"SEAL_KEY": encode_base64(bytes(range(32))), "DATABASE_URL": place.url}
            if kind == "postgresql"
            else {}
        )
        many: dict[str, Any] = {**CLIENT, "timeout": 300, "limits": LIMITS}
        with process(tmp_path, REVOKE_LIMIT_TOKEN=f"{EACH}/hour", **given) as node:
            async with httpx.AsyncClient(base_url=node.url, **many) as http:
                asked = {"username": "admin", "password": ADMIN_PASSWORD, "scope": "* caveats:*"}
                token = (await http.post("/v1/tokens", json=asked)).json()["token"]
                copies = [narrow(token, f"note = {n}") for n in range(EACH)]
                ids = [new_token_id(datetime.now(UTC)) for _ in range(EACH)]
                keys = [secrets.token_hex(8) for _ in range(EACH // 2)]
                answers = await asyncio.gather(
                    *(
                        http.post("/v1/revocations", json={"presented": True}, headers=bearer(copy))
                        for copy in copies
                    ),
                    *(http.post("/v1/revocations", headers=bearer(token), json={"token_id": i}) for i in ids),
                    *(
                        http.post(
                            "/v1/tokens",
                            headers={**bearer(token), "Idempotency-Key": key},
                            json={"note": "ci"},
                        )
                        for key in keys * 2
                    ),
                )

        assert Counter(answer.status_code for answer in answers) == {201: 3 * EACH}
        revoked, labelled = answers[: 2 * EACH], answers[2 * EACH :]
        assert sorted(answer.json()["sequence"] for answer in revoked) == list(range(1, 2 * EACH + 1))
        assert len({answer.json()["token"] for answer in labelled}) == EACH // 2
        assert await place.rows("SELECT count(*), max(sequence) FROM revocations") == [(2 * EACH, 2 * EACH)]
        assert await place.rows("SELECT count(*) FROM labelled_tokens") == [(EACH // 2,)]
