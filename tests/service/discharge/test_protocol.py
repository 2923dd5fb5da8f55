"""The bakery protocol's forms and answers as values: what is read, what is refused, which status a version expects."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from urllib.parse import urlencode

import pytest

from caveats_service.core.errors import InvalidRequest
from caveats_service.discharge import protocol
from caveats_service.discharge.protocol import DischargeForm, UnsupportedForm

FORM = "application/x-www-form-urlencoded"
BYTES = bytes(range(256))


@pytest.mark.parametrize(
    ("header", "version"),
    [("", 0), ("0", 0), ("1", 1), ("3", 3), ("99", 3), ("100000", 0), ("-1", 0), ("x", 0), ("\u0663", 0)],
)
def test_the_version_is_the_headers_at_most_ours_and_else_0(header: str, version: int) -> None:
    assert protocol.protocol_version(header) == version


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({"id": b"ticket"}, DischargeForm(b"ticket", None, None, None)),
        ({"id": BYTES}, DischargeForm(BYTES, None, None, None)),
        ({"id64": b64encode(BYTES)}, DischargeForm(BYTES, None, None, None)),
        ({"id64": urlsafe_b64encode(BYTES).rstrip(b"=")}, DischargeForm(BYTES, None, None, None)),
        ({"id": b"name", "caveat64": b64encode(BYTES)}, DischargeForm(b"name", BYTES, None, None)),
        ({"id": b"name", "caveat64": b""}, DischargeForm(b"name", None, None, None)),
        (
            {"id": b"name", "token64": b64encode(BYTES), "token-kind": b"agent"},
            DischargeForm(b"name", None, "agent", BYTES),
        ),
        ({"id": b"name", "token": b"", "token-kind": b""}, DischargeForm(b"name", None, "", b"")),
    ],
)
def test_a_form_for_a_discharge_is_read(fields: dict[str, bytes], form: DischargeForm) -> None:
    assert protocol.read_discharge_form(urlencode(fields).encode(), f"{FORM}; charset=utf-8") == form


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"id=",
        b"id=a&id64=YQ",
        b"id64=%FF",
        b"id64=Y",
        b"id=a&caveat64=Y",
        b"id=a&token=b",
        b"id=a&token-kind=form",
        b"id=a&id=a",
        b"id",
        b"&".join([b"a%d=b" % number for number in range(33)]),
    ],
)
def test_a_form_without_its_ticket_or_with_two_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        protocol.read_discharge_form(body, FORM)


def test_a_body_that_is_no_form_is_told_apart() -> None:
    with pytest.raises(UnsupportedForm):
        protocol.read_discharge_form(b"{}", "application/json")


@pytest.mark.parametrize(("version", "status"), [(0, 407), (1, 401), (3, 401)])
def test_what_is_required_comes_with_the_status_that_the_version_expects(version: int, status: int) -> None:
    for required in (protocol.interaction_required, protocol.discharge_required):
        answer = required("sign in", {"VisitURL": "here"}, version)
        assert (answer.status, answer.headers) == (status, {"WWW-Authenticate": "Macaroon"})
        assert answer.members["Info"] == {"VisitURL": "here"}


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "bad_request", (400, "bad request")),
        (401, "invalid_token", (401, "permission denied")),
        (403, "forbidden", (401, "permission denied")),
        (404, "not_found", (404, "not found")),
        (413, "too_large", (413, "bad request")),
        (429, "rate_limited", (429, "rate_limited")),
        (503, "unavailable", (503, "unavailable")),
    ],
)
def test_a_problem_has_a_code_of_the_protocol_where_there_is_one(
    status: int, code: str, expected: tuple[int, str]
) -> None:
    given = {"WWW-Authenticate": "Bearer", "Retry-After": "5"}
    answer = protocol.error_answer(status, code, "why", given)
    assert (answer.status, answer.members) == (expected[0], {"Code": expected[1], "Message": "why"})
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers.get("WWW-Authenticate") == ("Macaroon" if answer.status == 401 else None)
