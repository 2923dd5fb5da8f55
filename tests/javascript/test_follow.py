"""What is asked of Python's local verifier, asked of the JavaScript one: the real service, real sockets, mirrors that lie."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.client.verifiers import test_local as local
from tests.javascript.following import JavaScriptVerifier, Wire
from tests.javascript.peer import needs_node
from tests.support.local import options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.local import World

pytestmark = [pytest.mark.slow, needs_node]

_quiet = local._quiet
clock = local.clock
own = local.own
short_silence = local.short_silence
world = local.world
test_a_bad_key_bundle_is_refused_and_the_last_good_one_is_kept = (
    local.test_a_bad_key_bundle_is_refused_and_the_last_good_one_is_kept
)
test_a_copy_is_revoked_and_the_original_lives = local.test_a_copy_is_revoked_and_the_original_lives
test_a_cut_feed_fails_closed_at_its_bound_and_recovers_unaided = (
    local.test_a_cut_feed_fails_closed_at_its_bound_and_recovers_unaided
)
test_a_key_retired_by_force_is_dead_within_five_seconds = (
    local.test_a_key_retired_by_force_is_dead_within_five_seconds
)
test_a_key_that_nobody_has_is_asked_for_once_a_second = (
    local.test_a_key_that_nobody_has_is_asked_for_once_a_second
)
test_a_key_that_was_made_just_now_verifies_at_once = local.test_a_key_that_was_made_just_now_verifies_at_once
test_a_lying_mirror_makes_it_refuse_and_never_believe = (
    local.test_a_lying_mirror_makes_it_refuse_and_never_believe
)
test_a_page_that_a_mirror_drops_is_missed_for_a_moment_only = (
    local.test_a_page_that_a_mirror_drops_is_missed_for_a_moment_only
)
test_a_parents_key_that_is_not_here_yet_is_fetched_as_the_tokens_own_is = (
    local.test_a_parents_key_that_is_not_here_yet_is_fetched_as_the_tokens_own_is
)
test_a_restarted_service_is_found_again = local.test_a_restarted_service_is_found_again
test_a_revocation_is_seen_within_a_second = local.test_a_revocation_is_seen_within_a_second
test_a_service_that_is_not_the_pinned_one_is_not_believed = (
    local.test_a_service_that_is_not_the_pinned_one_is_not_believed
)
test_a_silent_cut_is_noticed_and_verification_never_waits = (
    local.test_a_silent_cut_is_noticed_and_verification_never_waits
)
test_a_stolen_key_with_the_mirror_does_not_outlive_the_key = (
    local.test_a_stolen_key_with_the_mirror_does_not_outlive_the_key
)
test_a_stream_that_goes_on_about_long_ago_is_given_up = (
    local.test_a_stream_that_goes_on_about_long_ago_is_given_up
)
test_a_verifier_that_nobody_registered_is_told_so = local.test_a_verifier_that_nobody_registered_is_told_so
test_a_verifier_that_was_revoked_gets_no_more_keys_and_says_so = (
    local.test_a_verifier_that_was_revoked_gets_no_more_keys_and_says_so
)
test_after_a_restored_backup_it_knows_what_the_service_knows = (
    local.test_after_a_restored_backup_it_knows_what_the_service_knows
)
test_after_closing_it_refuses = local.test_after_closing_it_refuses
test_an_unknown_key_waits_a_second_at_most_where_nobody_answers = (
    local.test_an_unknown_key_waits_a_second_at_most_where_nobody_answers
)
test_another_audiences_token_is_refused = local.test_another_audiences_token_is_refused
test_fifty_that_meet_an_unknown_key_share_one_fetch = (
    local.test_fifty_that_meet_an_unknown_key_share_one_fetch
)
test_nobody_there_is_said_in_time_and_tried_on = local.test_nobody_there_is_said_in_time_and_tried_on
test_pages_in_another_order_come_to_the_same = local.test_pages_in_another_order_come_to_the_same
test_status_says_how_things_stand = local.test_status_says_how_things_stand
test_what_is_not_authentic_is_refused_as_the_library_does = (
    local.test_what_is_not_authentic_is_refused_as_the_library_does
)
test_what_was_revoked_before_it_started_is_known_when_it_is_ready = (
    local.test_what_was_revoked_before_it_started_is_known_when_it_is_ready
)
test_where_streams_are_held_back_it_polls = local.test_where_streams_are_held_back_it_polls
test_where_streams_are_refused_it_polls = local.test_where_streams_are_refused_it_polls
test_without_a_context_it_is_now_and_nothing_else_is_known = (
    local.test_without_a_context_it_is_now_and_nothing_else_is_known
)


@pytest.fixture
def cable(world: World) -> Iterator[Wire]:
    made = Wire(world.service.port)
    yield made
    made.close()


@pytest.fixture
def making() -> Iterator[Callable[..., JavaScriptVerifier]]:
    """Verifiers whose processes end in the end."""
    with ExitStack() as open_ones:

        def make(world: World, **given: Any) -> JavaScriptVerifier:
            registration = given.pop("registration", None) or world.register()
            verifier = JavaScriptVerifier(**options(registration, **given))
            open_ones.callback(verifier.end)
            return verifier

        yield make
