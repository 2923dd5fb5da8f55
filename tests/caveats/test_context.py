"""The facts of a request: frozen, with a time that has a zone."""

from __future__ import annotations

import json
import pickle
from copy import copy, deepcopy
from dataclasses import FrozenInstanceError, replace
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


def test_the_facts_of_a_context_are_frozen_deep_and_are_a_copy():
    given = {"a": {"b": [1, {"c": 2}]}, "s": {1}, "raw": bytearray(b"x"), "t": ([],), "o": "text"}
    context = Context(now=NOW, extra=given)
    given["a"]["b"].append(3)
    given["new"] = 1
    assert set(context.extra) == {"a", "s", "raw", "t", "o"}
    assert context.extra["a"]["b"] == (1, {"c": 2})
    assert (context.extra["s"], context.extra["raw"], context.extra["t"]) == (frozenset([1]), b"x", ((),))
    for change in (
        lambda: context.extra.__setitem__("x", 1),
        lambda: context.extra["a"].__setitem__("x", 1),
        lambda: context.extra["a"]["b"][1].__setitem__("x", 1),
        lambda: context.extra["a"]["b"].append(1),
        lambda: context.extra["s"].add(2),
    ):
        with pytest.raises((TypeError, AttributeError)):
            change()
    assert replace(context, user="alice").extra == context.extra


def test_facts_that_are_nested_too_deep_make_no_context():
    deep = []
    for _ in range(70):
        deep = [deep]
    with pytest.raises(ValueError, match="at most 64"):
        Context(now=NOW, extra={"deep": deep})


@pytest.mark.parametrize("make", [copy, deepcopy, lambda context: pickle.loads(pickle.dumps(context))])
@pytest.mark.parametrize("extra", [{}, {"a": {"b": [1, 2]}}])
def test_a_copied_or_pickled_context_is_the_same(make, extra):
    context = Context(NOW, "photos", ("a:b",), method="GET", client_ip="10.0.0.1", extra=extra)
    assert make(context) == context
    with pytest.raises(TypeError):
        make(context).extra["x"] = 1


def test_the_facts_that_are_told_can_be_written_as_json():
    told = facts_of(Context(now=NOW, extra={"a": {"b": [1, {"c": 2}]}}))
    assert json.loads(json.dumps(told))["extra"] == {"a": {"b": [1, {"c": 2}]}}
