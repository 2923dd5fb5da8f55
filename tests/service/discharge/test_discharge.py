"""The service as a third party: tickets in, discharges out; conditions, refusals, and what a discharge is not good for."""

from __future__ import annotations

import random
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from caveats import BadSignature, Bundle, Context, Macaroon, PrivateKey, ThirdParty, authenticate, unsatisfied
from caveats.bakery import BakeryMacaroon, BakeryParty, declared_by, first_party_checkers, seal_ticket
from caveats.token import encode_base64
from tests.support.discharge import (
    BAKERY_3,
    KEY,
    ask,
    denied,
    info,
    macaroon,
    ours,
    party,
    predicates,
    public_key,
    ticket,
)
from tests.support.service import (
    PASSWORD,
    Clock,
    Service,
    User,
    admin_token,
    basic,
    bearer,
    narrow,
    new_user,
    problem,
)

VERSIONS = (1, 2, 3)
BAD = (400, "bad request")
NO = (401, "permission denied")


def group(service: Service, name: str, *users: User) -> None:
    with service.client() as http:
        answer = http.put(
            f"/v1/groups/{name}",
            json={"members": [user.username for user in users]},
            headers=bearer(admin_token(service)),
        )
    assert answer.status_code == 200, answer.text


# what comes in


@pytest.mark.parametrize("version", VERSIONS)
def test_a_bakerys_ticket_of_each_version_is_discharged(service: Service, user: User, version: int) -> None:
    answer = ask(service, ticket(service, "is-authenticated-user", version), bearer(user.token()))
    name, until = predicates(answer)
    assert name == f"declared username {user.username}"
    assert until.startswith("time-before ")
    assert answer.headers["cache-control"] == "no-store"


def test_our_own_ticket_is_discharged_for_the_user_that_it_asserts(service: Service, user: User) -> None:
    root, here = bytes(range(32)), ThirdParty(service.url, public_key(service))
    asked = Macaroon.mint(root, b"mine").require_discharge(here, "signed-in = *", root_key=root)
    (caveat,) = asked.wire.caveats
    answer = macaroon(ask(service, caveat.ticket, bearer(user.token())))  # type: ignore[union-attr]
    found = authenticate(Bundle.bind(asked, [answer]), root)
    assert found.user_asserted_by(here, root) == user.username


def test_what_was_to_be_declared_is_declared_and_believed(service: Service, user: User) -> None:
    root = bytes(range(32))
    here = party(service)
    asked = BakeryMacaroon(Macaroon.mint(root, b"mine")).require_discharge(
        here, "is-authenticated-user", declared=["username", "email"], root_key=root
    )
    ((name, payload),) = asked.payloads.items()
    with service.client() as http:
        form = {"id": name.decode(), "caveat64": urlsafe_b64encode(payload).rstrip(b"=").decode()}
        answer = http.post("/discharge", data=form, headers={**BAKERY_3, **bearer(user.token())})
    assert set(answer.json()["Macaroon"]) == {"m", "v", "ns"}
    checkers = first_party_checkers()
    found = authenticate(Bundle.bind(asked.macaroon, [macaroon(answer)]), root, kinds=checkers.kinds)
    assert declared_by(found, here, root, ["username", "email"]) == {"username": user.username}
    assert unsatisfied(found.caveats, checkers, Context(now=service.runtime.now())) == ()
    late = service.runtime.now() + timedelta(minutes=6)
    assert unsatisfied(found.caveats, checkers, Context(now=late)) != ()


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode], ids=["standard", "url"])
@pytest.mark.parametrize("padded", [True, False])
def test_every_flavour_of_base64_is_read(
    service: Service, user: User, encode: Callable[[bytes], bytes], *, padded: bool
) -> None:
    token = user.token()
    for _ in range(3):
        text = encode(ticket(service, "is-authenticated-user")).decode()
        with service.client() as http:
            form = {"id64": text if padded else text.rstrip("=")}
            answer = http.post("/discharge", data=form, headers={**BAKERY_3, **bearer(token)})
        assert answer.status_code == 200


def made_for_another(service: Service, version: int) -> bytes:
    other = BakeryParty(service.url, PrivateKey.generate().public_key, version)
    return seal_ticket(other, "is-authenticated-user", KEY)


@pytest.mark.parametrize(
    "make",
    [
        lambda service: b"garbage",
        lambda service: b"\x03\x00",
        lambda service: b"\x02" + bytes(200),
        lambda service: b"e" + bytes(200),
        lambda service: ticket(service, "is-authenticated-user")[:-1],
        lambda service: ticket(service, "is-authenticated-user", 1)[:-4],
        lambda service: ours(service, "signed-in = *")[:-1],
        *(lambda service, v=v: made_for_another(service, v) for v in VERSIONS),
        lambda service: ThirdParty(service.url, PrivateKey.generate().public_key).seal_ticket(
            ("signed-in = *",)
        )[0],
        lambda service: ticket(service, "nobody-knows-this"),
        lambda service: ticket(service, "need-declared username"),
        lambda service: ticket(service, f"need-declared {'a' * 1100} is-authenticated-user"),
        lambda service: ticket(
            service, f"need-declared {','.join(map(str, range(64)))} is-authenticated-user"
        ),
        lambda service: ticket(service, ""),
        ours,
        lambda service: ours(service, "signed-in = *", "nobody-knows-this = x"),
        lambda service: ticket(service, "signed-in = Al Ice"),
        lambda service: ticket(service, "member-of = ops  dev"),
        lambda service: b"\x02" + bytes(5000),
    ],
)
def test_33_a_garbage_truncated_or_foreign_ticket_is_a_400(
    service: Service, make: Callable[[Service], bytes]
) -> None:
    assert denied(ask(service, make(service))) == BAD


def test_a_name_that_its_version_cannot_write_is_a_400(service: Service, user: User) -> None:
    payload = encode_base64(ticket(service, "is-authenticated-user", 1))
    assert denied(ask(service, b"\xff\xfe", bearer(user.token()), caveat64=payload)) == BAD


@pytest.mark.slow
def test_33_a_ticket_with_any_bit_flipped_is_a_400_and_never_a_500(service: Service, user: User) -> None:
    source, token = random.Random(4), bearer(user.token())
    whole = [ours(service, "signed-in = *"), *(ticket(service, "is-authenticated-user", v) for v in (2, 3))]
    with service.client(headers={**BAKERY_3, **token}) as http:
        for n in range(300):
            data = bytearray(whole[n % 3])
            data[source.randrange(len(data))] ^= 1 << source.randrange(8)
            answer = http.post("/discharge", data={"id64": b64encode(data).decode()})
            assert denied(answer) == BAD, bytes(data)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"id": ""},
        {"id64": ""},
        {"id": "x", "id64": "eA=="},
        {"id": "", "id64": "eA=="},
        {"id": "x", "id64": ""},
        {"caveat64": "eA=="},
        {"id64": "!"},
        {"id64": "\u00e9"},
        {"id": "x", "caveat64": "!"},
        {"id": "x", "token": "y"},
        {"id": "x", "token-kind": "agent"},
        {"id": "x", "token": "y", "token64": "eA==", "token-kind": "agent"},
        {"id": ["x", "x"]},
        {f"f{n}": "x" for n in range(40)},
    ],
    ids=str,
)
def test_33_a_form_without_a_ticket_or_with_two_is_a_400(service: Service, form: dict[str, Any]) -> None:
    with service.client() as http:
        answer = http.post("/discharge", data=form, headers=BAKERY_3)
        assert denied(answer) == BAD
        assert answer.headers["content-type"] == "application/json"
        assert http.post("/discharge", json={"id": "x"}).status_code == 415
        assert http.post("/discharge", data={"id": "x" * 70_000}).status_code == 413


@pytest.mark.parametrize(
    ("version", "status"), [(None, 407), ("0", 407), ("x", 407), ("1", 401), ("99", 401)]
)
def test_a_client_of_version_0_wants_another_status(
    service: Service, version: str | None, status: int
) -> None:
    headers = {} if version is None else {"Bakery-Protocol-Version": version}
    with service.client() as http:
        form = {"id64": b64encode(ticket(service, "is-authenticated-user", 1)).decode()}
        answer = http.post("/discharge", data=form, headers=headers)
    assert denied(answer) == (status, "interaction required")


def test_our_ticket_for_another_location_or_too_late_is_refused(service: Service, user: User) -> None:
    token = bearer(user.token())
    elsewhere = ours(service, "signed-in = *", location="https://elsewhere.example")
    late = ours(service, "signed-in = *", expires_at=service.runtime.now() - timedelta(seconds=1))
    assert denied(ask(service, elsewhere, token)) == NO
    assert denied(ask(service, late, token)) == NO


# conditions


def test_signed_in_is_whom_it_names(service: Service, user: User) -> None:
    other = new_user(service)
    for make in (ours, ticket):
        named = make(service, f"signed-in = {user.username}")
        assert ask(service, named, bearer(user.token())).status_code == 200
        refused = ask(service, named, bearer(other.token()))
        assert denied(refused) == NO
        assert user.username in refused.json()["Message"]
        info(ask(service, named))


@pytest.mark.parametrize("condition", ["member-of = {}", "is-member-of {}", "is-member-of nobody {}"])
def test_membership_is_as_of_now(service: Service, condition: str) -> None:
    ann, bob = new_user(service), new_user(service)
    name = f"g{ann.username}"
    asked = ticket(service, condition.format(name))
    group(service, name, ann)
    assert ask(service, asked, bearer(ann.token())).status_code == 200
    assert denied(ask(service, asked, bearer(bob.token()))) == NO
    group(service, name, bob)
    assert denied(ask(service, asked, bearer(ann.token()))) == NO
    assert ask(service, asked, bearer(bob.token())).status_code == 200
    with service.client() as http:
        http.delete(f"/v1/groups/{name}", headers=bearer(admin_token(service)))
    assert denied(ask(service, asked, bearer(bob.token()))) == NO


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("is-authenticated-userid", ["userid {}"]),
        ("need-declared userid is-authenticated-userid", ["userid {}"]),
        ("need-declared userid,username is-authenticated-userid", ["userid {}", "username {}"]),
        ("need-declared userid is-authenticated-user", ["userid {}", "username {}"]),
        ("need-declared userid,email is-authenticated-userid", ["userid {}", "email "]),
        ("is-member-of {}", []),
        ("need-declared userid is-member-of {}", ["userid {}"]),
    ],
)
def test_the_user_id_is_the_name_and_declared_where_it_is_asked_for(
    service: Service, user: User, condition: str, told: list[str]
) -> None:
    name = user.username
    *said, until = predicates(ask(service, ticket(service, condition.format(name)), bearer(user.token())))
    assert said == [f"declared {one.format(name)}" for one in told]
    assert until.startswith("time-before ")


def test_a_user_id_of_a_domain_is_that_of_a_user_of_the_domain(service: Service) -> None:
    here, elsewhere = User(service, "ann@example.com", PASSWORD), new_user(service)
    with service.client() as http:
        http.post("/v1/users", json={"username": here.username, "password": PASSWORD}).raise_for_status()
    asked = ticket(service, "is-authenticated-userid @example.com")
    assert predicates(ask(service, asked, bearer(here.token())))[0] == "declared userid ann@example.com"
    assert denied(ask(service, asked, bearer(elsewhere.token()))) == NO
    assert denied(ask(service, ticket(service, "is-authenticated-userid alice"))) == BAD


def test_all_conditions_of_a_ticket_of_ours_must_hold(service: Service, user: User) -> None:
    asked = ours(service, "signed-in = *", "member-of = nowhere")
    assert denied(ask(service, asked, bearer(user.token()))) == NO


def test_a_condition_that_others_add_is_registered_as_a_kind_of_caveat_is(
    start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    from caveats_service.core import plugins
    from caveats_service.discharge.conditions import SignedIn

    class Weekday(SignedIn):
        kind = "acme/weekday"

    class Point:
        name = "weekday"

        def load(self) -> Any:
            return lambda checkers: checkers.register(
                Weekday, lambda caveat, context: context.now.weekday() < 5
            )

    found = plugins.entry_points
    monkeypatch.setattr(
        plugins,
        "entry_points",
        lambda group: [Point()] if group == "caveats.conditions" else found(group=group),
    )
    friday = Clock()
    friday.forward(days=-1)
    service = start(conditions=("weekday",), now=friday)
    asked = ticket(service, "acme/weekday = *")
    assert ask(service, asked).status_code == 200
    friday.forward(days=1)
    user = new_user(service)
    assert denied(ask(service, asked, bearer(user.token()))) == NO


def test_a_condition_whose_check_hangs_refuses_in_time(
    start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    from caveats_service.core import plugins
    from caveats_service.discharge.conditions import SignedIn

    class Slow(SignedIn):
        kind = "acme/slow"

    class Point:
        name = "slow"

        def load(self) -> Any:
            return lambda checkers: checkers.register(Slow, lambda caveat, context: time.sleep(1) is None)

    monkeypatch.setattr(plugins, "entry_points", lambda group: [Point()])
    service = start(conditions=("slow",), checker_deadline=0.1)
    answer = ask(service, ticket(service, "acme/slow = *"))
    assert denied(answer) == NO
    assert "too long" in answer.json()["Message"]


# who asks


def test_only_what_stands_for_the_account_says_who_asks(service: Service, user: User) -> None:
    """A copy was given away for less than that its holder be taken for its user elsewhere."""
    asked, token = ticket(service, "is-authenticated-user"), user.token()
    for good in (bearer(token), {"X-Auth-Token": token}, basic(user.username, PASSWORD)):
        assert ask(service, asked, good).status_code == 200
    for bad in (
        bearer(narrow(token, "scope = photos:read")),
        bearer(narrow(token, "path = /photos")),
        bearer(user.token(audience="photos")),
        bearer(token[:-8] + "AAAAAAAA"),
        basic(user.username, "wrong password"),
    ):
        assert denied(ask(service, asked, bad)) == NO


def test_a_session_says_who_asks_but_never_to_another_site(service: Service, user: User) -> None:
    asked = ticket(service, "is-authenticated-user")
    with service.client() as http:
        body = {"username": user.username, "password": user.password}
        cookie = http.post("/v1/session", json=body).headers["set-cookie"].partition(";")[0]
    assert ask(service, asked, {"Cookie": cookie, "Origin": service.url}).status_code == 200
    assert denied(ask(service, asked, {"Cookie": cookie, "Origin": "https://evil.example"})) == NO
    assert denied(ask(service, asked, {"Cookie": cookie})) == NO


def test_whoever_is_disabled_is_not_discharged(service: Service, user: User) -> None:
    asked, token = ticket(service, "is-authenticated-user"), bearer(user.token())
    with service.client() as http:
        http.post(f"/v1/users/{user.username}/disable", headers=bearer(admin_token(service)))
    assert denied(ask(service, asked, token)) == NO


# what a discharge is


def test_a_discharge_lives_as_long_as_the_setting_says(start: Callable[..., Service], clock: Clock) -> None:
    service = start(now=clock, discharge_lifetime="90s")
    user = new_user(service)
    until = f"{clock.at + timedelta(seconds=90):%Y-%m-%dT%H:%M:%SZ}"
    answer = ask(service, ticket(service, "is-authenticated-user"), bearer(user.token()))
    assert predicates(answer)[-1] == f"time-before {until}"
    answer = ask(service, ours(service, "signed-in = *"), bearer(user.token()))
    assert predicates(answer) == [f"user = {user.username}", f"expires = {until}"]


@pytest.mark.parametrize("make", [ours, ticket], ids=["ours", "bakery"])
def test_a_discharge_is_no_bearer_token(
    service: Service, user: User, make: Callable[..., bytes], admin: str
) -> None:
    """Not even one for whose ticket somebody chose an identifier and a key like those of tokens."""
    condition = "signed-in = *"
    discharge = macaroon(ask(service, make(service, condition), bearer(user.token()))).encode()
    identifier = Macaroon.decode(user.token()).identifier
    forged = Macaroon.mint(KEY, identifier, caveats=[f"user = {user.username}".encode()]).encode()
    with service.client() as http:
        for text in (discharge, forged):
            assert problem(http.post("/v1/verify", json={"token": text})) == (401, "invalid_token")
            for method, path in (
                ("GET", "/v1/authorize"),
                ("GET", "/v1/tokens"),
                ("POST", "/v1/tokens"),
                ("POST", "/v1/tokens/renew"),
                ("GET", "/v1/users"),
                ("GET", "/v1/groups"),
                ("POST", "/v1/revocations"),
            ):
                assert problem(http.request(method, path, headers=bearer(text))) == (401, "invalid_token")
        assert denied(ask(service, make(service, condition), bearer(discharge))) == NO


def test_a_discharge_that_its_holder_stripped_or_that_expired_is_refused(
    service: Service, user: User
) -> None:
    root = bytes(range(32))
    asked = BakeryMacaroon(Macaroon.mint(root, b"mine"), 2).require_discharge(
        party(service), "is-authenticated-user"
    )
    (caveat,) = asked.macaroon.wire.caveats
    answer = macaroon(ask(service, caveat.ticket, bearer(user.token())))  # type: ignore[union-attr]
    stripped = Macaroon(answer.wire._replace(caveats=answer.wire.caveats[:-1]))
    with pytest.raises(BadSignature):
        authenticate(Bundle.bind(asked.macaroon, [stripped]), root)
    checkers = first_party_checkers()
    whole = authenticate(Bundle.bind(asked.macaroon, [answer]), root, kinds=checkers.kinds)
    late = service.runtime.now() + timedelta(minutes=5)
    (failure,) = unsatisfied(whole.caveats, checkers, Context(now=late))
    assert failure.kind == "time-before"
