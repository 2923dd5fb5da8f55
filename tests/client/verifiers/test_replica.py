"""The state machine of a verifier, without a network: what it takes, what it refuses, what it then claims."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_support import DAY, IDENTITY, NOW, Model, new_following, secret, take

from caveats import MasterKey, MasterKeyring, RejectedDelivery, RevocationSet, UserRevocation
from caveats.revocation import UnknownSeal, check_reader, seal_page
from caveats_client.verifiers.replica import Fresh, Instant, Place, Replica


def hits(following: Replica) -> set[str]:
    assert following.known is not None
    return {key.decode() for key in following.known.revocations._tokens}


def fresh_at(following: Replica) -> object:
    return following.known and following.known.fresh and following.known.fresh.at


# Pages


def test_nothing_is_claimed_before_the_whole_history_has_been_heard() -> None:
    model = Model()
    first, second = model.revoke(), model.revoke()
    following = Replica(IDENTITY)
    assert following.place == Place(0, None)
    taken = take(following, model.page(0, 1), model.instant)
    assert taken.news
    assert following.known is None
    assert following.behind
    assert following.place == Place(1, 1)
    take(following, model.page(1, 2), model.instant)
    assert hits(following) == {first.token_id, second.token_id}  # type: ignore[union-attr]
    assert fresh_at(following) == NOW
    assert not following.behind


def test_a_page_that_overlaps_adds_only_what_is_new() -> None:
    model = Model()
    model.revoke()
    following = new_following(model)
    take(following, model.page(), model.instant)
    assert following.known is not None
    changes = following.known.revocations.changes
    model.revoke()
    model.pass_time(1)
    take(following, model.page(0), model.instant)
    assert following.known.revocations.changes == changes + 1
    assert following.place.after == 2


def test_a_gap_is_never_passed_over() -> None:
    model = Model()
    following = new_following(model)
    take(following, model.page(), model.instant)
    model.pass_time(1)
    model.revoke()
    model.revoke()
    taken = take(following, model.page(after=1), model.instant)
    assert taken.reconnect
    assert not taken.news
    assert following.place.after == 0
    assert fresh_at(following) == NOW
    take(following, model.page(after=0), model.instant)
    assert len(hits(following)) == 2
    assert fresh_at(following) == model.now


def test_a_page_that_does_not_reach_the_newest_entry_is_no_freshness() -> None:
    model = Model()
    following = new_following(model)
    take(following, model.page(), model.instant)
    model.pass_time(1)
    model.revoke()
    model.revoke()
    take(following, model.page(0, 1), model.instant)
    assert fresh_at(following) == NOW


def test_an_old_page_is_no_news() -> None:
    model = Model()
    following = new_following(model)
    old = model.page()
    model.pass_time(5)
    take(following, model.page(), model.instant)
    at = model.now
    model.pass_time(5)
    taken = take(following, old, model.instant)
    assert not taken.news
    assert fresh_at(following) == at


def test_a_repeated_page_does_not_make_younger() -> None:
    model = Model()
    following = new_following(model)
    page = model.page()
    take(following, page, model.instant)
    assert following.known is not None
    heard = following.known.fresh
    model.pass_time(20)
    take(following, page, model.instant)
    assert following.known.fresh == heard


def test_a_page_from_the_future_is_refused() -> None:
    model = Model()
    following = new_following(model)
    ahead = replace(model.page(), at=model.now + timedelta(minutes=5, seconds=1))
    with pytest.raises(RejectedDelivery, match="future"):
        take(following, ahead, model.instant)
    take(following, replace(ahead, at=model.now + timedelta(minutes=5)), model.instant)


def test_another_epoch_starts_from_nothing_and_the_old_one_serves_until_it_is_whole() -> None:
    model = Model()
    kept, lost = model.revoke(), model.revoke()
    following = new_following(model)
    take(following, model.page(), model.instant)
    model.pass_time(1)
    model.restore(keep=1)
    new = model.revoke()
    taken = take(following, model.page(after=1), model.instant)
    assert taken.reconnect
    assert following.place == Place(0, 2)
    assert following.behind
    assert hits(following) == {kept.token_id, lost.token_id}  # type: ignore[union-attr]
    assert fresh_at(following) == NOW
    take(following, model.page(0, 1), model.instant)
    assert fresh_at(following) == NOW
    take(following, model.page(1, 2), model.instant)
    assert hits(following) == {kept.token_id, new.token_id}  # type: ignore[union-attr]
    assert fresh_at(following) == model.now


def test_a_page_of_an_epoch_that_is_over_is_refused() -> None:
    model = Model()
    old = model.page()
    model.pass_time(1)
    model.restore(keep=0)
    following = new_following(model)
    with pytest.raises(RejectedDelivery, match="backup"):
        take(following, old, model.instant)


def test_a_node_that_is_behind_is_no_news_and_no_loss() -> None:
    model = Model()
    model.revoke()
    model.revoke()
    following = new_following(model)
    take(following, model.page(), model.instant)
    model.pass_time(5)
    taken = take(following, model.page(1, 1, last=1), model.instant)
    assert (taken.news, taken.reconnect) == (False, False)
    assert following.place.after == 2
    assert fresh_at(following) == NOW


def test_where_the_service_lost_what_it_had_told_all_is_read_again_and_nothing_is_forgotten() -> None:
    model = Model()
    told = [model.revoke() for _ in range(3)]
    following = new_following(model)
    take(following, model.page(), model.instant)
    del model.entries[1:]
    model.pass_time(1)
    assert not take(following, model.page(1, 1), model.instant).reconnect
    model.pass_time(11)
    assert take(following, model.page(1, 1), model.instant).reconnect
    assert following.place == Place(0, 1)
    new = model.revoke()
    model.pass_time(1)
    take(following, model.page(0), model.instant)
    assert hits(following) == {entry.token_id for entry in (*told, new)}  # type: ignore[union-attr]
    assert fresh_at(following) == model.now


def test_a_page_with_a_row_that_cannot_be_read_moves_nothing() -> None:
    model = Model()
    following = new_following(model)
    take(following, model.page(), model.instant)
    model.revoke()
    with pytest.raises(RejectedDelivery):
        following.take_page(model.page(), [[1, "x", 2, "y"]], model.instant)
    assert following.place.after == 0


def test_a_line_is_opened_with_the_keys_that_are_here() -> None:
    model = Model()
    with pytest.raises(RejectedDelivery, match="no key"):
        Replica(IDENTITY).take_line(model.line(), model.instant)
    following = new_following(model)
    assert following.take_line(model.line(), model.instant).news
    model.rotate()
    with pytest.raises(UnknownSeal):
        following.take_line(model.line(), model.instant)


# Freshness on two clocks


@pytest.mark.parametrize(
    ("wall", "tick", "age"),
    [
        pytest.param(7.0, 7.0, 7.0, id="both clocks ran"),
        pytest.param(-3600.0, 40.0, 40.0, id="the wall clock was set back"),
        pytest.param(3600.0, 5.0, 3600.0, id="the wall clock was set ahead, or the machine slept"),
        pytest.param(-2.0, 0.0, 0.0, id="the service's clock is a little ahead"),
    ],
)
def test_no_clock_can_be_turned_back_to_look_fresh(wall: float, tick: float, age: float) -> None:
    assert Fresh(NOW, 100.0).age(Instant(NOW + timedelta(seconds=wall), 100.0 + tick)) == age


# Keys


def test_a_bundle_gives_keys_and_the_proof_is_made_with_the_newest() -> None:
    model = Model()
    assert Replica(IDENTITY).proof(model.now) is None
    model.rotate()
    following = new_following(model)
    assert following.key_ids == ("k1", "k2")
    proof = following.proof(model.now)
    assert proof is not None
    assert " k2 " in proof
    assert check_reader(proof, model.masters.export("photos"), model.now)


def test_an_older_bundle_is_refused_and_the_newer_one_stays() -> None:
    model = Model()
    old = model.bundle()
    model.pass_time(1)
    model.rotate()
    following = new_following(model)
    with pytest.raises(RejectedDelivery, match="older"):
        following.take_bundle(old, model.instant)
    assert following.key_ids == ("k1", "k2")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"verifier_id": "01KAJ5M3W8E2RZ6V8Q4T0N9XCE"}, "for 01KAJ5M3W8E2RZ6V8Q4T0N9XCE"),
        ({"keyring": MasterKeyring([MasterKey("k1", secret(1))]).export("thumbs")}, "thumbs"),
        ({"not_after": NOW}, "expired"),
        ({"serial": int((NOW + timedelta(minutes=6)).timestamp() * 1000)}, "future"),
    ],
)
def test_a_bundle_for_somebody_else_or_another_time_is_refused(other: dict[str, object], words: str) -> None:
    model = Model()
    following = Replica(IDENTITY)
    with pytest.raises(RejectedDelivery, match=words):
        following.take_bundle(model.bundle(**other), model.instant)  # type: ignore[arg-type]
    assert following.keyring is None
    assert following.serial == 0


def test_a_bundle_from_before_a_restored_backup_is_refused() -> None:
    model = Model()
    model.pass_time(1)
    following = new_following(model)
    model.restore(keep=0)
    take(following, model.page(), model.instant)
    with pytest.raises(RejectedDelivery, match="backup"):
        following.take_bundle(model.bundle(epoch=1), model.instant)


def test_a_key_that_a_page_no_longer_names_verifies_no_more_at_once() -> None:
    model = Model()
    model.rotate()
    following = new_following(model)
    model.pass_time(1)
    model.retire()
    taken = take(following, model.page(), model.instant)
    assert following.key_ids == ("k2",)
    assert not taken.fetch_keys


def test_a_dead_key_does_not_come_back_with_a_bundle_of_a_node_that_is_behind() -> None:
    model = Model()
    model.rotate()
    following = new_following(model)
    behind = model.masters.export("photos")
    model.pass_time(1)
    model.retire()
    take(following, model.page(), model.instant)
    model.pass_time(1)
    following.take_bundle(model.bundle(keyring=behind), model.instant)
    assert following.key_ids == ("k2",)
    model.pass_time(1)
    take(following, replace(model.page(), keys=("k1", "k2")), model.instant)
    assert following.key_ids == ("k2",)


def test_a_page_older_than_the_bundle_drops_no_key() -> None:
    model = Model()
    old = model.page()
    model.pass_time(1)
    model.rotate()
    following = new_following(model)
    assert not take(following, old, model.instant).fetch_keys
    assert following.key_ids == ("k1", "k2")


def test_a_new_key_is_to_be_fetched_and_one_that_is_missed_for_a_moment_needs_no_fetch() -> None:
    model = Model()
    following = new_following(model)
    model.pass_time(1)
    behind = model.page()
    model.rotate()
    model.pass_time(1)
    assert take(following, model.page(), model.instant).fetch_keys
    following.take_bundle(model.bundle(), model.instant)
    model.pass_time(1)
    take(following, replace(behind, at=model.now), model.instant)  # from a node that does not know it yet
    assert following.key_ids == ("k1",)
    model.pass_time(1)
    assert not take(following, model.page(), model.instant).fetch_keys
    assert following.key_ids == ("k1", "k2")


def test_the_same_keys_again_change_nothing() -> None:
    model = Model()
    following = new_following(model)
    keyring = following.keyring
    model.pass_time(1)
    assert not following.take_bundle(model.bundle(), model.instant)
    assert following.keyring is keyring


def test_after_a_restored_backup_a_key_of_the_same_name_may_be_another() -> None:
    model = Model()
    model.rotate()
    following = new_following(model)
    model.pass_time(1)
    model.retire()
    take(following, model.page(), model.instant)
    model.keys = [1]
    model.pass_time(1)
    model.restore(keep=0)
    following.take_bundle(model.bundle(), model.instant)
    assert following.key_ids == ("k1",)
    assert following.place == Place(0, 2)


# Across restarts


def test_what_was_remembered_is_known_again() -> None:
    model = Model()
    first = model.revoke()
    following = new_following(model)
    take(following, model.page(), model.instant)
    assert following.known is not None
    assert following.memory().kept is None
    following.known.kept = 1
    model.pass_time(1)
    second = model.revoke()
    model.entries.append((model.now, UserRevocation("alice", model.now, model.now + DAY)))
    take(following, model.page(1), model.instant)
    memory = following.memory()
    assert (memory.kept, memory.position, len(memory.recent)) == (1, 3, 2)

    model.pass_time(10)
    again = Replica(IDENTITY)
    again.recall(memory, RevocationSet([first]), model.instant)
    assert hits(again) == {first.token_id, second.token_id}  # type: ignore[union-attr]
    assert again.place == Place(3, 1)
    assert again.key_ids == ("k1",)
    assert again.known is not None
    assert again.known.fresh is not None
    assert again.known.fresh.age(model.instant) == 10
    assert again.memory() == memory


def test_without_the_file_of_revocations_only_keys_and_serial_are_known_again() -> None:
    model = Model()
    following = new_following(model)
    take(following, model.page(), model.instant)
    assert following.known is not None
    following.known.kept = 0
    again = Replica(IDENTITY)
    again.recall(following.memory(), None, model.instant)
    assert again.known is None
    assert again.behind
    assert again.place == Place(0, 1)
    assert again.serial == following.serial


def test_keys_that_ran_out_meanwhile_are_refused_and_their_serial_still_counts() -> None:
    model = Model()
    following = new_following(model)
    take(following, model.page(), model.instant)
    assert following.known is not None
    following.known.kept = 0
    memory, older = following.memory(), model.bundle(life=3 * DAY, serial=following.serial - 1)
    model.pass_time(DAY.total_seconds())
    again = Replica(IDENTITY)
    with pytest.raises(RejectedDelivery, match="expired"):
        again.recall(memory, RevocationSet(), model.instant)
    assert again.keyring is None
    assert again.known is not None
    with pytest.raises(RejectedDelivery, match="older"):
        again.take_bundle(older, model.instant)


def test_a_dead_key_stays_dead_across_a_restart() -> None:
    model = Model()
    model.rotate()
    following = new_following(model)
    model.pass_time(1)
    model.retire()
    take(following, model.page(), model.instant)
    again = Replica(IDENTITY)
    again.recall(following.memory(), None, model.instant)
    assert again.key_ids == ("k2",)


def test_freshness_from_the_future_is_not_believed() -> None:
    model = Model()
    following = new_following(model)
    take(following, model.page(), model.instant)
    assert following.known is not None
    following.known.kept = 0
    memory = following.memory()
    again = Replica(IDENTITY)
    with pytest.raises(RejectedDelivery, match="future"):
        again.recall(memory, RevocationSet(), Instant(model.now - timedelta(hours=1), 5.0))
    assert again.known is not None
    assert again.known.fresh is None


def test_revocations_that_are_too_many_to_be_written_often_ask_for_a_new_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("caveats_client.verifiers.replica._MOST_RECENT", 2)
    model = Model()
    following = new_following(model)
    take(following, model.page(), model.instant)
    assert following.known is not None
    following.known.kept = 0
    for _ in range(3):
        model.revoke()
    take(following, model.page(), model.instant)
    assert following.known.kept is None
    assert following.memory().recent == ()


# The laws

steps = st.lists(
    st.one_of(
        st.tuples(st.just("revoke"), st.integers(1, 30)),
        st.tuples(st.just("time"), st.integers(1, 15)),
        st.tuples(st.just("page"), st.integers(0, 99), st.integers(0, 99)),
        st.tuples(st.just("bundle")),
        st.tuples(st.just("rotate")),
        st.tuples(st.just("retire")),
        st.tuples(st.just("restore"), st.integers(0, 99)),
        st.tuples(st.just("serve"), st.integers(0, 999)),
        st.tuples(st.just("serve bundle"), st.integers(0, 999)),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_whatever_a_mirror_serves_freshness_is_never_claimed_while_a_live_entry_is_missing(
    plan: list[tuple[object, ...]],
) -> None:
    """And keys that had been retired by the newest word heard do not verify; and an honest service is believed again."""
    model = Model()
    following = Replica(IDENTITY)
    following.take_bundle(model.bundle(), model.instant)
    histories = {1: model.entries}
    pages, bundles = [model.page()], [(model.epoch, model.bundle())]
    serial = following.serial
    for step in plan:
        match step:
            case ("revoke", int(life)):
                model.revoke(timedelta(seconds=life))
                model.pass_time(0.001)
            case ("time", int(seconds)):
                model.pass_time(seconds)
            case ("page", int(after), int(upto)):
                head = len(model.entries)
                low, high = sorted((after % (head + 1), upto % (head + 1)))
                pages.append(model.page(low, high))
                pages.append(model.page(low))
            case ("bundle",):
                bundles.append((model.epoch, model.bundle()))
            case ("rotate",):
                model.pass_time(0.001)
                model.rotate()
            case ("retire",):
                model.pass_time(0.001)
                model.retire()
            case ("restore", int(keep)):
                model.pass_time(0.001)
                model.restore(keep % (len(model.entries) + 1))
                histories[model.epoch] = model.entries
            case ("serve", int(which)):
                try:
                    take(following, pages[which % len(pages)], model.instant)
                except RejectedDelivery:
                    pass
            case ("serve bundle", int(which)):
                try:
                    following.take_bundle(bundles[which % len(bundles)][1], model.instant)
                except RejectedDelivery:
                    pass
        _check(model, following, histories)
        assert following.serial >= serial
        serial = following.serial

    model.pass_time(20)
    following.take_bundle(model.bundle(), model.instant)
    for _ in range(3):
        place = following.place
        take(following, model.page(place.after if place.epoch == model.epoch else 0), model.instant)
    _check(model, following, histories)
    assert fresh_at(following) == model.now
    assert set(following.key_ids) == {f"k{n}" for n in model.keys}


def _check(model: Model, following: Replica, histories: dict[int, list[object]]) -> None:
    known = following.known
    if known is not None and known.fresh is not None:
        there = Model(entries=histories[known.epoch])  # type: ignore[arg-type]
        assert there.live_at(known.fresh.at) <= hits(following)
    stated = following._stated
    heard = max(
        stated[0] if stated else NOW, NOW + timedelta(milliseconds=following.serial - NOW.timestamp() * 1000)
    )
    assert set(following.key_ids) <= model.keys_at(heard)


def test_the_service_seals_with_a_key_that_the_page_names() -> None:
    model = Model()
    model.rotate()
    assert seal_page(model.page(), model.masters.active.audience_key("photos")).startswith("k2 ")
