"""Django's own development server, which does not give the path as it was sent: what is public, and what is said."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx2 as httpx
import pytest

from caveats import Expires, Identifier, Macaroon, MasterKey, MasterKeyring, Scope, User, new_token_id
from caveats import Path as PathCaveat
from tests.support.guard import AUDIENCE, NOW
from tests.support.raw_http import ask
from tests.support.service import CLIENT, free_port, until

pytestmark = pytest.mark.slow

KEYRING = MasterKeyring([MasterKey("k1", bytes(range(1, 33)))])
IDENTIFIER = Identifier("k1", AUDIENCE, new_token_id(NOW), 3)
TOKEN = Macaroon.mint(
    KEYRING.root_key(IDENTIFIER),
    IDENTIFIER,
    caveats=(User("alice"), Expires.after(timedelta(hours=8), now=NOW), Scope("*")),
)
FOR_PHOTOS = {"Authorization": f"Bearer {TOKEN.attenuate(PathCaveat('/photos/*')).encode()}"}


@contextlib.contextmanager
def runserver(*how: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    port = free_port()
    site = Path(__file__).with_name("apps") / "django_site.py"
    with subprocess.Popen(
        [sys.executable, str(site), str(port), *how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[3],
        env={"PYTHONPATH": ".", "PATH": "/usr/bin:/bin"},
    ) as popen:
        assert popen.stdin
        told = {"keyring": KEYRING.export(AUDIENCE).to_json(), "revoked": new_token_id(NOW)}
        popen.stdin.write(json.dumps(told) + "\n")
        popen.stdin.flush()

        def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"http://127.0.0.1:{port}/healthz", **CLIENT).status_code > 0
            return False

        try:
            until(answers, 30)
            yield port, popen
        finally:
            popen.terminate()


def test_public_paths_are_public_and_the_rest_says_what_to_set() -> None:
    with runserver() as (port, popen), httpx.Client(base_url=f"http://127.0.0.1:{port}", **CLIENT) as http:
        assert http.get("/healthz").text == "/healthz"
        assert http.get("/static/a/b.css").status_code == 200
        assert http.get("/f%C3%BCr%20alle").status_code == 200
        for path in ("/photos/42", "/healthz/x", "/static", "/"):
            assert http.get(path).status_code == 401, path
        for target in (
            "/static/../photos/42",
            "/static/%2e%2e/photos/42",
            "/static/..%2fphotos",
            "/static//x",
        ):
            assert ask(port, target.encode()).status == 401, target
        for _ in range(2):
            refused = http.get("/photos/42", headers=FOR_PHOTOS)
            assert refused.status_code == 403
            (failure,) = refused.json()["failures"]
            assert failure["reason"] == "the request has no path"
            assert "decoded_paths=True" in failure["hint"]
        popen.terminate()
        log = popen.communicate(timeout=20)[0]
    assert log.count("decoded_paths=True") == 1


def test_with_decoded_paths_a_path_caveat_is_judged() -> None:
    with (
        runserver("decoded") as (port, _),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", **CLIENT) as http,
    ):
        assert http.get("/healthz").status_code == 200
        assert http.get("/photos/42", headers=FOR_PHOTOS).status_code == 200
        refused = http.get("/albums/1", headers=FOR_PHOTOS)
        assert refused.status_code == 403
        assert "decoded_paths" not in refused.text
