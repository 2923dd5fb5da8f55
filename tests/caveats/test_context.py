"""The facts of a request: frozen, with a time that has a zone."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import datetime

import pytest

from caveats import Context
from caveats.context import facts_of
from tests.support.law import NOW


@pytest.mark.parametrize("now", [datetime(2026, 11, 21), None, "2026-11-21T00:00:00Z", 0, NOW.date()])
def test_now_is_an_aware_datetime(now):
    with pytest.raises(TypeError):
        Context(now=now)


def test_scopes_become_a_tuple():
    assert Context(now=NOW, scopes=["a:b", "c:d"]).scopes == ("a:b", "c:d")
    assert Context(now=NOW).scopes == ()


def test_one_string_of_scopes_is_refused():
    with pytest.raises(TypeError):
        Context(now=NOW, scopes="a:b")


def test_a_context_is_frozen_and_its_default_extra_cannot_be_written():
    context = Context(now=NOW)
    with pytest.raises(FrozenInstanceError):
        context.user = "x"
    with pytest.raises(TypeError):
        context.extra["x"] = 1


def test_the_facts_of_a_request_are_told_by_name_without_those_of_the_app():
    context = Context(NOW, "photos", ("a:b",), method="GET", host="a.example", extra={"x": 1})
    told = facts_of(context)
    assert told == {
        "method": "GET",
        "path": None,
        "host": "a.example",
        "client_ip": None,
        "user": None,
        "extra": {"x": 1},
    }
    assert Context(NOW, "photos", ("a:b",), **told) == context
