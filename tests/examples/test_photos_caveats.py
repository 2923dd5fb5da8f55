"""The kind `photos/album`: it keeps the laws, and a service enables it by name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx2 as httpx
import pytest
from local_service import local_service
from photos_caveats import ALBUM, Album, check_album, register

from caveats import Context, MalformedCaveat, standard_checkers
from caveats.testing import check_kind
from caveats_client import Client

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PASSWORD = "correct horse battery staple"


def about(album: object) -> Context:
    return Context(now=NOW, extra={ALBUM: album})


def test_album_keeps_the_laws_of_caveats() -> None:
    checkers = standard_checkers()
    register(checkers)
    check_kind(
        checkers,
        Album,
        caveats=[Album(42), Album(7)],
        malformed=["0", "042", "+42", "4_2", "42 7", "forty-two", "٤٢", "1" * 19],
        contexts=[about("42"), about("7"), about("8")],
    )


@pytest.mark.parametrize(
    ("fact", "holds"),
    [("42", True), ("43", False), ("042", False), (42, False), (True, False), (None, False)],
)
def test_only_the_album_itself_written_as_the_caveat_writes_it_holds(fact: object, holds: bool) -> None:
    assert (check_album(Album(42), about(fact)) is True) is holds


@pytest.mark.parametrize("number", [0, -1, True, "42", 10**18])
def test_what_is_no_number_of_an_album_makes_no_caveat(number: object) -> None:
    with pytest.raises(MalformedCaveat):
        Album(number)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, examples: Path) -> Path:
    """The distribution, installed as pip installs it, into a folder of its own."""
    source = tmp_path_factory.mktemp("source") / "photos_caveats"
    shutil.copytree(examples / "photos_caveats", source, ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("installed")
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return target


def test_a_service_judges_the_kind_once_it_is_enabled_by_name(tmp_path: Path, installed: Path) -> None:
    settings = {"CAVEATS_CHECKERS": "photos", "PYTHONPATH": str(installed)}
    with local_service(tmp_path, **settings) as service, Client(service.url) as client:
        service.add_user("alice", PASSWORD)
        token = client.login("alice", PASSWORD, scope="photos:*").attenuate(Album(42))
        right = client.verify(token, scope="photos:read", extra={ALBUM: "42"})
        wrong = client.verify(token, scope="photos:read", extra={ALBUM: "43"})
        assert right.granted
        assert [caveat.reason for caveat in wrong.caveats if not caveat.satisfied] == [
            "the request is about album 43"
        ]


def test_a_service_without_it_refuses_and_says_so(service, tmp_path: Path) -> None:
    with Client(service.url) as client:
        token = client.login("alice", PASSWORD, scope="photos:*").attenuate(Album(42))
        verification = client.verify(token, scope="photos:read", extra={ALBUM: "42"})
    assert [caveat.reason for caveat in verification.caveats if not caveat.satisfied] == [
        "no caveat of this kind is known here"
    ]


def test_a_name_that_no_installed_package_offers_stops_the_start(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="CAVEATS_CHECKERS"),
        local_service(tmp_path, CAVEATS_CHECKERS="nobody"),
    ):
        raise AssertionError


def test_the_service_takes_such_a_caveat_into_a_token_that_it_issues(service) -> None:
    body = {
        "username": "alice",
        "password": PASSWORD,
        "audience": "photos",
        "caveats": ["photos/album = 42"],
    }
    answer = httpx.post(f"{service.url}/v1/tokens", json=body)
    assert answer.status_code == 201
