"""Problems: what each error of the library is to a client."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

import caveats
from caveats import Failure
from caveats.http import (
    PROBLEMS,
    TITLES,
    Problem,
    bad_request,
    credential_required,
    find_problem,
    invalid_credentials,
    two_credentials,
    unavailable,
    unavailable_as_told,
)


def unsatisfied(*kinds: str) -> caveats.UnsatisfiedCaveats:
    return caveats.UnsatisfiedCaveats(
        tuple(Failure(n, kind, f'{kind} = ä"\u2028', "holder", "why", "what") for n, kind in enumerate(kinds))
    )


def waiting(error: Exception, seconds: object) -> Exception:
    error.retry_after = seconds  # type: ignore[attr-defined]
    return error


INVALID = 'Bearer realm="caveats", error="invalid_token"'


@pytest.mark.parametrize(
    ("error", "status", "code", "header"),
    [
        (caveats.MalformedToken("x"), 401, "invalid_token", INVALID),
        (caveats.MalformedTicket("x"), 401, "invalid_token", INVALID),
        (caveats.DamagedToken("x"), 401, "damaged_token", INVALID),
        (caveats.LimitExceeded("x"), 401, "invalid_token", INVALID),
        (caveats.UnknownKey("x"), 401, "invalid_token", INVALID),
        (caveats.BadSignature("x"), 401, "invalid_token", INVALID),
        (caveats.BindingMismatch("x"), 401, "invalid_token", INVALID),
        (caveats.UnusedDischarge("x"), 401, "invalid_token", INVALID),
        (caveats.DischargeRefused("x"), 401, "invalid_token", INVALID),
        (caveats.Revoked("x"), 401, "invalid_token", INVALID),
        (caveats.MissingDischarge("https://third.example/ä", b"\0\xff"), 401, "discharge_required", INVALID),
        (unsatisfied("scope", "expires"), 401, "invalid_token", INVALID),
        (unsatisfied("note"), 403, "caveats_unsatisfied", 'Bearer realm="caveats", error="insufficient_scope"'),
        (caveats.WrongAudience("a", "b"), 403, "wrong_audience", None),
        (caveats.Stale("x"), 503, "unavailable", "1"),
        (waiting(caveats.Stale("x"), 12.9), 503, "unavailable", "12"),
        (waiting(caveats.Stale("x"), 0), 503, "unavailable", "1"),
        (waiting(caveats.Stale("x"), "soon"), 503, "unavailable", "1"),
        (caveats.RejectedDelivery("x"), 503, "unavailable", "1"),
        (Problem(418, "teapot", headers={"WWW-Authenticate": "Tea"}), 418, "teapot", "Tea"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)  # fmt: skip
def test_each_error_of_the_library_is_one_problem(
    error: Exception, status: int, code: str, header: str | None
) -> None:
    problem = find_problem(error)
    assert problem is not None
    assert (problem.status, problem.code) == (status, code)
    assert problem.headers.get("Retry-After" if status == 503 else "WWW-Authenticate") == header
    assert problem.headers["Cache-Control"] == "no-store"
    assert type(problem.detail) is str
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert int(problem.headers["Content-Length"]) == len(problem.body)
    document = json.loads(problem.body)
    assert document == problem.document
    assert (document["status"], document["code"], document["title"]) == (status, code, problem.title)
    assert document["type"] == f"urn:caveats:problem:{code}"
    if code in ("invalid_token", "damaged_token", "unavailable"):
        assert set(document) == {"type", "title", "status", "code"}


def test_a_missing_discharge_says_whom_to_ask_and_with_what() -> None:
    problem = find_problem(caveats.MissingDischarge("https://third.example", b"\0\xff"))
    assert problem is not None
    assert (problem.document["location"], problem.document["ticket"]) == ("https://third.example", "AP8")
    assert problem.document["detail"] == str(caveats.MissingDischarge("https://third.example", b"\0\xff"))


@pytest.mark.parametrize(
    ("make", "status", "code", "detail", "headers"),
    [
        (lambda: bad_request("no"), 400, "bad_request", "no", {}),
        (two_credentials, 400, "two_credentials", "send one credential, in one header", {}),
        (lambda: two_credentials("two cookies"), 400, "two_credentials", "two cookies", {}),
        (
            credential_required,
            401,
            "credential_required",
            "",
            {"WWW-Authenticate": 'Bearer realm="caveats"'},
        ),
        (
            invalid_credentials,
            401,
            "invalid_credentials",
            "",
            {"WWW-Authenticate": 'Bearer realm="caveats", Basic realm="caveats", charset="UTF-8"'},
        ),
        (unavailable, 503, "unavailable", "", {"Retry-After": "1"}),
        (lambda: unavailable(detail="full"), 503, "unavailable", "full", {"Retry-After": "1"}),
    ],
)
def test_a_problem_that_is_made_by_name_says_what_it_was_told(
    make: Callable[[], Problem], status: int, code: str, detail: str, headers: dict[str, str]
) -> None:
    problem = make()
    assert (problem.status, problem.code, problem.detail) == (status, code, detail)
    assert problem.extra_headers == headers
    assert problem.document.get("detail", "") == detail
    assert str(problem) == (detail or code)


def test_every_failure_is_told() -> None:
    problem = find_problem(unsatisfied("scope", "method"))
    assert problem is not None
    assert [failure["kind"] for failure in problem.document["failures"]] == ["scope", "method"]  # type: ignore[attr-defined]
    assert set(problem.document["failures"][0]) == {
        "index",
        "kind",
        "predicate",
        "added_by",
        "reason",
        "hint",
    }  # type: ignore[index]


def test_the_nearest_base_class_counts_and_what_has_no_row_is_no_problem() -> None:
    class Gone(caveats.Stale):
        """An error of somebody's own."""

    table = {**PROBLEMS, Gone: (410, "gone")}
    for error, status in ((Gone("for good"), 410), (caveats.Stale("x"), 503)):
        problem = find_problem(error, table)
        assert problem is not None
        assert problem.status == status
    gone = find_problem(Gone("for good"), table)
    assert gone is not None
    assert (gone.title, gone.detail, gone.document["detail"]) == ("gone", "for good", "for good")
    assert find_problem(ZeroDivisionError()) is None
    assert find_problem(caveats.InvalidKey("x")) is None


def test_codes_are_in_order_and_titles_are_sentences() -> None:
    assert list(TITLES) == sorted(TITLES)
    assert all(title[0].isupper() for title in TITLES.values())
    assert unavailable(7.9).headers["Retry-After"] == "7"
    assert unavailable_as_told(ValueError()).headers["Retry-After"] == "1"


def test_of_what_makes_a_verifier_stale_only_the_clock_is_told() -> None:
    problem = find_problem(
        caveats.Stale("cannot reach https://db.internal", retry_after=7, clock="40 s ahead")
    )
    assert problem is not None
    assert (problem.detail, problem.headers["Retry-After"]) == ("40 s ahead", "7")
    assert "detail" not in find_problem(caveats.Stale("cannot reach https://db.internal")).document  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (30, "30"),
        (0, "1"),
        (-3, "1"),
        (10**12, "3600"),
        (float("inf"), "3600"),
        (float("nan"), "1"),
        ("30", "1"),
    ],
)
def test_what_asks_for_a_longer_wait_than_an_hour_does_not_get_it(asked, told):
    assert unavailable_as_told(caveats.Stale("gone", retry_after=asked)).headers["Retry-After"] == told
