"""Each condition in words, for whoever signs in and for whoever is to approve."""

from __future__ import annotations

import pytest

from caveats_service.discharge.conditions import load_conditions
from caveats_service.discharge.descriptions import describe

CONDITIONS = load_conditions(())


@pytest.mark.parametrize(
    ("condition", "to_the_asker", "to_others"),
    [
        ("signed-in = *", "You have signed in", "ann has signed in"),
        ("signed-in = bob", "You are bob", "ann is bob"),
        ("member-of = ops", "You belong to ops", "ann belongs to ops"),
        ("member-of = ops dev web", "You belong to ops, dev or web", "ann belongs to ops, dev or web"),
        ("approved-by = ops dev", *["A second person, of ops or dev, approves"] * 2),
        (
            "approved-by = ops: drop the database: all of it",
            *["A second person, of ops, approves: drop the database: all of it"] * 2,
        ),
        ("approved-by = ops: ", "", ""),
        ("approved-by = ops:", "", ""),
        ("approved-by = : drop", "", ""),
        ("approved-by = ops ops: drop", "", ""),
        ("is-authenticated-user", "You have signed in", "ann has signed in"),
        ("is-authenticated-userid", "You have signed in", "ann has signed in"),
        (
            "is-authenticated-user @example.org",
            "You have a name that ends in @example.org",
            "ann has a name that ends in @example.org",
        ),
        ("is-member-of ops dev", "You belong to ops or dev", "ann belongs to ops or dev"),
        ("acme/weather = fine", "", ""),
    ],
)
def test_a_condition_describe(condition: str, to_the_asker: str, to_others: str) -> None:
    parsed = CONDITIONS.parse(condition.encode())
    assert describe(parsed, None) == to_the_asker
    assert describe(parsed, "ann") == to_others
