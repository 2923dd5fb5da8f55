"""The approvals: nothing dangerous happens until a second person has agreed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import approvals
import httpx2 as httpx
import pytest
from local_service import ADMIN_PASSWORD, LocalService
from starlette.testclient import TestClient

from caveats import Bundle, Macaroon
from caveats.bakery import BakeryMacaroon
from caveats_client import Client

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery staple"
ALICE = ("alice", PASSWORD)
BAKERY = {"Bakery-Protocol-Version": "3"}


@pytest.fixture
def app(service: LocalService, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    with Client(service.url) as client:
        admin = client.login("admin", ADMIN_PASSWORD, scope="* caveats:*").encode()
    httpx.put(
        f"{service.url}/v1/groups/ops",
        json={"members": ["bob"]},
        headers={"Authorization": f"Bearer {admin}"},
    ).raise_for_status()
    monkeypatch.setenv("APPROVALS_SERVICE", service.url)
    monkeypatch.setenv("APPROVALS_SECRET", "07" * 32)
    with TestClient(approvals.from_environment()) as client:
        yield client


def test_a_dangerous_request_goes_through_once_somebody_else_has_approved(
    service: LocalService, app: TestClient
) -> None:
    assert app.get("/status").status_code == 200
    problem = app.post("/drop-database").json()
    assert (problem["code"], problem["location"]) == ("discharge_required", service.url)

    with httpx.Client(base_url=service.url) as http:
        asked = {"id64": problem["ticket"]}
        told = http.post("/discharge", data=asked, auth=ALICE, headers=BAKERY).json()["Info"]
        page = http.get(f"/{told['VisitURL']}").text
        (sent,) = re.findall(f"{service.url}(/discharge/approve/[\\w-]+)", page)

        def approve(username: str) -> int:
            form = {"username": username, "password": PASSWORD, "decision": "allow"}
            return http.post(sent, data=form, headers={"Origin": service.url}).status_code

        assert "drop the database" in http.get(sent).text, "whoever approves reads what"
        assert approve("alice") == 403
        assert approve("bob") == 303, "to the page that says so"
        answer = http.get(f"/{told['WaitURL']}").json()

    discharge = BakeryMacaroon.from_members(answer["Macaroon"]).macaroon
    bundle = Bundle.bind(Macaroon.decode(problem["token"]), [discharge]).encode()
    done = app.post("/drop-database", headers={"Authorization": f"Bearer {bundle}"})
    assert done.json() == {"dropped": True, "asked_by": "alice"}

    again = app.post("/drop-database", headers={"Authorization": f"Bearer {bundle}"})
    assert (again.status_code, again.json()["code"]) == (401, "discharge_required"), (
        "an approval is for one call"
    )


def test_it_asks_clients_of_the_bakerys_protocol_in_theirs(app: TestClient) -> None:
    answer = app.post("/drop-database", headers=BAKERY)
    assert answer.headers["www-authenticate"] == "Macaroon"
    info = answer.json()["Info"]
    assert info["CookieNameSuffix"] == "drop-database"
    assert BakeryMacaroon.from_members(info["Macaroon"]).version == 3
