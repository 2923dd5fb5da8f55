"""POST /v1/tokens/renew: the same token for longer, up to a ceiling; and revocation sees through it, both ways."""

from __future__ import annotations

from datetime import timedelta

import pytest

from caveats import Bundle, Macaroon, PrivateKey, ThirdParty, ThirdPartyCaveat
from tests.support.service import Clock, Service, bearer, narrow, new_user, problem


def renew(http, token: str, **asked):  # type: ignore[no-untyped-def]
    return http.post("/v1/tokens/renew", json=asked, headers=bearer(token))


def test_a_renewal_lives_as_long_again_under_the_same_id(timed: Service, clock: Clock) -> None:
    first = new_user(timed).issue(expires_in="1h", scope="photos:read", caveats=["method = GET"])
    clock.forward(minutes=40)
    with timed.client() as http:
        again = renew(http, first["token"]).json()
    assert again["expires_at"] == "2026-11-21T13:40:00Z"
    for name in ("token_id", "user", "audience", "scope", "issued_at"):
        assert again[name] == first[name]
    assert Macaroon.decode(again["token"]).wire.caveats == (
        b"user = " + first["user"].encode(),
        b"expires = 2026-11-21T13:40:00Z",
        b"scope = photos:read",
        b"method = GET",
        b"renewed = 2026-11-21T13:00:00Z",
    )


def test_what_holders_added_is_replayed_byte_for_byte(timed: Service, clock: Clock) -> None:
    added = ["path = /a/*", "acme/x = 1", "note = é", "expires = 2026-11-21T18:00:00Z", "mystery = 1"]
    copy = narrow(new_user(timed).token(expires_in="1h"), *added)
    clock.forward(minutes=40)
    with timed.client() as http:
        answer = renew(http, copy).json()
        second = renew(http, answer["token"]).json()
    for text in (answer["token"], second["token"]):
        caveats = Macaroon.decode(text).wire.caveats
        assert [c.decode() for c in caveats[-len(added) :]] == added
        assert sum(c.startswith(b"renewed") for c in caveats) == 1


def test_a_holders_expiry_stays_the_end(timed: Service, clock: Clock) -> None:
    copy = narrow(new_user(timed).token(expires_in="1h"), "expires = 2026-11-21T12:50:00Z")
    clock.forward(minutes=40)
    with timed.client() as http:
        renewed = renew(http, copy).json()
        assert renewed["expires_at"] == "2026-11-21T12:50:00Z"
        clock.forward(minutes=11)
        assert problem(renew(http, renewed["token"])) == (401, "invalid_token")


def test_a_third_party_caveat_is_replayed_and_discharged_anew(timed: Service, clock: Clock) -> None:
    private = PrivateKey.generate()
    third = ThirdParty("https://third.example", private.public_key)
    token = new_user(timed).token(expires_in="1h")
    copy, ticket = _with_third_party(token, third)
    clock.forward(minutes=10)
    with timed.client() as http:
        assert problem(renew(http, copy.encode())) == (401, "discharge_required")
        bundle = _discharged(copy, private)
        again = renew(http, bundle)
        assert again.status_code == 200, again.text
        assert again.json()["expires_at"] == "2026-11-21T13:10:00Z"
        renewed = Macaroon.decode(again.json()["token"])
        before, after = (
            [c for c in m.wire.caveats if isinstance(c, ThirdPartyCaveat)] for m in (copy, renewed)
        )
        assert [(c.location, c.ticket) for c in before] == [(c.location, c.ticket) for c in after]
        assert problem(http.get("/v1/authorize", headers=bearer(renewed.encode()))) == (
            401,
            "discharge_required",
        )
        assert http.get("/v1/authorize", headers=bearer(_discharged(renewed, private))).status_code == 200
    del ticket


def _with_third_party(token: str, third: ThirdParty) -> tuple[Macaroon, object]:
    made = Macaroon.decode(token).require_discharge(third, "is-member = yes")
    return (made, None) if isinstance(made, Macaroon) else made


def _discharged(macaroon: Macaroon, private: PrivateKey) -> str:
    from caveats import discharge, open_ticket
    from caveats_service.core.clock import utc_now

    asked = next(c for c in macaroon.wire.caveats if isinstance(c, ThirdPartyCaveat))
    ticket = open_ticket(asked.ticket, private)
    return Bundle.bind(macaroon, [discharge(ticket, now=utc_now())]).encode()


def test_a_renewal_may_ask_for_its_life_within_the_bounds_of_any(timed: Service) -> None:
    token = new_user(timed).token(expires_in="1h")
    with timed.client() as http:
        assert renew(http, token, expires_in="2h").json()["expires_at"] == "2026-11-21T14:00:00Z"
        for bad in ("31d", 0, -1, "soon"):
            assert problem(renew(http, token, expires_in=bad)) == (400, "bad_request")


def test_a_renewal_never_shortens(timed: Service, clock: Clock) -> None:
    token = new_user(timed).token(expires_in="8h")
    clock.forward(minutes=1)
    with timed.client() as http:
        assert renew(http, token, expires_in="1h").json()["expires_at"] == "2026-11-21T20:00:00Z"


def test_no_token_lives_beyond_the_ceiling(timed: Service, clock: Clock) -> None:
    first = new_user(timed).issue(expires_in="30d")
    end = clock.at + timedelta(days=90)
    token, expiry = first["token"], first["expires_at"]
    with timed.client() as http:
        for _ in range(10):
            clock.forward(days=20)
            answer = renew(http, token)
            if answer.status_code != 200:
                break
            token, expiry = answer.json()["token"], answer.json()["expires_at"]
        assert expiry == f"{end:%Y-%m-%dT%H:%M:%SZ}"
        assert problem(answer) in ((403, "ceiling_reached"), (401, "invalid_token"))


def test_at_its_ceiling_a_renewal_says_so(timed: Service, clock: Clock) -> None:
    token = new_user(timed).token(expires_in="30d")
    with timed.client() as http:
        for _ in range(4):
            clock.forward(days=20)
            answer = renew(http, token)
            token = answer.json().get("token", token)
        assert problem(renew(http, token)) == (403, "ceiling_reached")


def test_an_expired_token_is_not_renewed(timed: Service, clock: Clock) -> None:
    token = new_user(timed).token(expires_in="1h")
    clock.forward(hours=1)
    with timed.client() as http:
        assert problem(renew(http, token)) == (401, "invalid_token")


def test_a_token_issued_against_another_is_not_renewed(timed: Service) -> None:
    user = new_user(timed)
    with timed.client() as http:
        child = http.post("/v1/tokens", json={}, headers=bearer(user.token())).json()["token"]
        assert problem(renew(http, child)) == (403, "forbidden")


# revocation sees through renewals


@pytest.mark.parametrize("revoked", ["first", "second", "third"])
@pytest.mark.parametrize("narrowed", [False, True], ids=["whole", "narrowed"])
def test_revoking_a_copy_kills_what_it_was_renewed_from_and_into(
    timed: Service, clock: Clock, revoked: str, *, narrowed: bool
) -> None:
    original = new_user(timed).token(expires_in="8h")
    copies = {"first": narrow(original, "note = a copy") if narrowed else original}
    with timed.client() as http:
        for before, after in (("first", "second"), ("second", "third")):
            clock.forward(minutes=30)
            copies[after] = renew(http, copies[before]).json()["token"]
        further = narrow(copies["third"], "note = further")
        assert http.get("/v1/authorize", headers=bearer(further)).status_code == 200
        assert (
            http.post(
                "/v1/revocations", json={"presented": True}, headers=bearer(copies[revoked])
            ).status_code
            == 201
        )
        for copy in (*copies.values(), further):
            assert http.get("/v1/authorize", headers=bearer(copy)).status_code == 401
            assert problem(renew(http, copy)) == (401, "invalid_token")
        assert (http.get("/v1/authorize", headers=bearer(original)).status_code == 200) is narrowed


def test_a_copy_made_after_the_renewal_dies_alone(timed: Service, clock: Clock) -> None:
    original = new_user(timed).token(expires_in="8h")
    with timed.client() as http:
        renewed = renew(http, original).json()["token"]
        copy = narrow(renewed, "note = a copy")
        http.post("/v1/revocations", json={"presented": True}, headers=bearer(copy))
        assert http.get("/v1/authorize", headers=bearer(copy)).status_code == 401
        for token in (original, renewed):
            assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200
        same = narrow(original, "note = a copy")
        assert http.get("/v1/authorize", headers=bearer(same)).status_code == 401


def test_a_revocation_stays_for_as_long_as_the_last_renewal_could_live(timed: Service, clock: Clock) -> None:
    token = new_user(timed).token(expires_in="30d")
    with timed.client() as http:
        clock.forward(days=20)
        renewed = renew(http, token).json()["token"]
        entry = http.post("/v1/revocations", json={"presented": True}, headers=bearer(token)).json()
        assert entry["expires_at"] == "2027-02-19T12:00:00Z"
        clock.forward(days=29)
        timed.run(timed.runtime.store.revocations.prune(now=clock.at, actor="test"))
        timed.call(lambda: timed.runtime.feed.revocation_set.prune(clock.at))
        assert http.get("/v1/authorize", headers=bearer(renewed)).status_code == 401
