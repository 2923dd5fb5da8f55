"""The state machine of a verifier, without a network: what it takes, what it refuses, what it then claims."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caveats import MasterKey, MasterKeyring, RejectedDelivery, RevocationSet, UserRevocation
from caveats.revocation import UnknownSeal, check_reader
from caveats_client.verifiers.replica import Fresh, Instant, Place, Replica, Unconfirmed
from tests.support.local import DAY, IDENTITY, NOW, Model, new_replica, secret, take


def hits(replica: Replica) -> set[str]:
    assert replica.known is not None
    return {key.decode() for key in replica.known.revocations._tokens}


def fresh_at(replica: Replica) -> object:
    return replica.known and replica.known.fresh and replica.known.fresh.at


# Pages


def test_nothing_is_claimed_before_the_whole_history_has_been_heard() -> None:
    model = Model()
    first, second = model.revoke(), model.revoke()
    assert Replica(IDENTITY).place == Place(0, None)
    replica = new_replica(model)
    assert replica.place == Place(0, 1)
    taken = take(replica, model.page(0, 1), model.instant)
    assert taken.news
    assert replica.known is None
    assert replica.behind
    assert replica.place == Place(1, 1)
    take(replica, model.page(1, 2), model.instant)
    assert hits(replica) == {first.token_id, second.token_id}  # type: ignore[union-attr]
    assert fresh_at(replica) == NOW
    assert not replica.behind


def test_a_page_that_overlaps_adds_only_what_is_new() -> None:
    model = Model()
    model.revoke()
    replica = new_replica(model)
    take(replica, model.page(), model.instant)
    assert replica.known is not None
    changes = replica.known.revocations.changes
    model.revoke()
    model.pass_time(1)
    take(replica, model.page(0), model.instant)
    assert replica.known.revocations.changes == changes + 1
    assert replica.place.after == 2


def test_a_gap_is_never_passed_over() -> None:
    model = Model()
    replica = new_replica(model)
    take(replica, model.page(), model.instant)
    model.pass_time(1)
    model.revoke()
    model.revoke()
    taken = take(replica, model.page(after=1), model.instant)
    assert taken.reconnect
    assert not taken.news
    assert replica.place.after == 0
    assert fresh_at(replica) == NOW
    take(replica, model.page(after=0), model.instant)
    assert len(hits(replica)) == 2
    assert fresh_at(replica) == model.now


def test_a_page_that_does_not_reach_the_newest_entry_is_no_freshness() -> None:
    model = Model()
    replica = new_replica(model)
    take(replica, model.page(), model.instant)
    model.pass_time(1)
    model.revoke()
    model.revoke()
    take(replica, model.page(0, 1), model.instant)
    assert fresh_at(replica) == NOW


def test_an_old_page_is_no_news() -> None:
    model = Model()
    replica = new_replica(model)
    old = model.page()
    model.pass_time(5)
    take(replica, model.page(), model.instant)
    at = model.now
    model.pass_time(5)
    taken = take(replica, old, model.instant)
    assert not taken.news
    assert fresh_at(replica) == at


def test_a_repeated_page_does_not_make_younger() -> None:
    model = Model()
    replica = new_replica(model)
    page = model.page()
    take(replica, page, model.instant)
    assert replica.known is not None
    heard = replica.known.fresh
    model.pass_time(20)
    take(replica, page, model.instant)
    assert replica.known.fresh == heard


def test_a_page_from_the_future_is_refused() -> None:
    model = Model()
    replica = new_replica(model)
    ahead = replace(model.page(), at=model.now + timedelta(minutes=5, seconds=1))
    with pytest.raises(RejectedDelivery, match="future"):
        take(replica, ahead, model.instant)
    with pytest.raises(Unconfirmed, match="still to come at the service"):
        take(replica, replace(ahead, at=model.now + timedelta(seconds=10, milliseconds=1)), model.instant)
    take(replica, replace(ahead, at=model.now + timedelta(seconds=10)), model.instant)


def test_a_page_after_the_machine_slept_is_taken_when_the_service_has_said_what_time_it_is() -> None:
    model = Model()
    replica = new_replica(model)
    model.now += timedelta(hours=1)  # the monotonic clock stood still
    with pytest.raises(Unconfirmed):
        take(replica, model.page(), model.instant)
    replica.take_bundle(model.bundle(), model.instant)
    assert take(replica, model.page(), model.instant).news


def test_another_epoch_starts_from_nothing_and_the_old_one_serves_until_it_is_whole() -> None:
    model = Model()
    kept, lost = model.revoke(), model.revoke()
    replica = new_replica(model)
    take(replica, model.page(), model.instant)
    model.pass_time(1)
    model.restore(keep=1)
    new = model.revoke()
    with pytest.raises(Unconfirmed, match="epoch"):
        take(replica, model.page(after=1), model.instant)
    assert replica.place == Place(2, 1)
    replica.take_bundle(model.bundle(), model.instant)
    taken = take(replica, model.page(after=1), model.instant)
    assert taken.reconnect
    assert replica.place == Place(0, 2)
    assert replica.behind
    assert hits(replica) == {kept.token_id, lost.token_id}  # type: ignore[union-attr]
    assert fresh_at(replica) == NOW
    take(replica, model.page(0, 1), model.instant)
    assert fresh_at(replica) == NOW
    take(replica, model.page(1, 2), model.instant)
    assert hits(replica) == {kept.token_id, new.token_id}  # type: ignore[union-attr]
    assert fresh_at(replica) == model.now


def test_a_page_of_an_epoch_that_is_over_is_refused() -> None:
    model = Model()
    old = model.page()
    model.pass_time(1)
    model.restore(keep=0)
    replica = new_replica(model)
    with pytest.raises(RejectedDelivery, match="backup"):
        take(replica, old, model.instant)


def test_a_node_that_is_behind_is_no_news_and_no_loss() -> None:
    model = Model()
    model.revoke()
    model.revoke()
    replica = new_replica(model)
    take(replica, model.page(), model.instant)
    model.pass_time(5)
    taken = take(replica, model.page(1, 1, last=1), model.instant)
    assert (taken.news, taken.reconnect) == (False, False)
    assert replica.place.after == 2
    assert fresh_at(replica) == NOW


def test_where_the_service_lost_what_it_had_told_all_is_read_again_and_nothing_is_forgotten() -> None:
    model = Model()
    told = [model.revoke() for _ in range(3)]
    replica = new_replica(model)
    take(replica, model.page(), model.instant)
    del model.entries[1:]
    model.pass_time(1)
    assert not take(replica, model.page(1, 1), model.instant).reconnect
    model.pass_time(11)
    assert take(replica, model.page(1, 1), model.instant).reconnect
    assert replica.place == Place(0, 1)
    new = model.revoke()
    model.pass_time(1)
    take(replica, model.page(0), model.instant)
    assert hits(replica) == {entry.token_id for entry in (*told, new)}  # type: ignore[union-attr]
    assert fresh_at(replica) == model.now


def test_a_page_with_a_row_that_cannot_be_read_moves_nothing() -> None:
    model = Model()
    replica = new_replica(model)
    take(replica, model.page(), model.instant)
    model.revoke()
    with pytest.raises(RejectedDelivery):
        replica.take_page(model.page(), [[1, "x", 2, "y"]], model.instant, "k1")
    assert replica.place.after == 0


def test_a_line_is_opened_with_the_keys_that_are_here() -> None:
    model = Model()
    with pytest.raises(RejectedDelivery, match="a key that is not here"):
        Replica(IDENTITY).take_line(model.line(), model.instant)
    replica = new_replica(model)
    assert replica.take_line(model.line(), model.instant).news
    model.rotate()
    with pytest.raises(UnknownSeal):
        replica.take_line(model.line(), model.instant)


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
    replica = new_replica(model)
    assert replica.key_ids == ("k1", "k2")
    proof = replica.proof(model.now)
    assert proof is not None
    assert " k2 " in proof
    assert check_reader(proof, model.masters.export("photos"), model.now)


def test_an_older_bundle_is_refused_and_the_newer_one_stays() -> None:
    model = Model()
    old = model.bundle()
    model.pass_time(1)
    model.rotate()
    replica = new_replica(model)
    with pytest.raises(RejectedDelivery, match="older"):
        replica.take_bundle(old, model.instant)
    assert replica.key_ids == ("k1", "k2")


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
    replica = Replica(IDENTITY)
    with pytest.raises(RejectedDelivery, match=words):
        replica.take_bundle(model.bundle(**other), model.instant)  # type: ignore[arg-type]
    assert replica.keyring is None
    assert replica.serial == 0


def test_a_bundle_from_before_a_restored_backup_is_refused() -> None:
    model = Model()
    model.pass_time(1)
    replica = new_replica(model)
    model.restore(keep=0)
    replica.take_bundle(model.bundle(), model.instant)
    with pytest.raises(RejectedDelivery, match="backup"):
        replica.take_bundle(model.bundle(epoch=1), model.instant)


def test_a_page_without_a_key_has_keys_fetched_and_the_bundle_decides() -> None:
    model = Model()
    model.rotate()
    replica = new_replica(model)
    model.pass_time(1)
    model.retire()
    assert take(replica, model.page(), model.instant, "k2").fetch_keys
    assert replica.key_ids == ("k1", "k2")
    replica.take_bundle(model.bundle(), model.instant)
    assert replica.key_ids == ("k2",)
    model.pass_time(1)
    assert not take(replica, model.page(), model.instant, "k2").fetch_keys


def test_a_dead_key_does_not_come_back_with_a_bundle_of_a_node_that_is_behind() -> None:
    model = Model()
    model.rotate()
    replica = new_replica(model)
    behind = model.masters.export("photos")
    model.pass_time(1)
    model.retire()
    replica.take_bundle(model.bundle(), model.instant)
    assert replica.key_ids == ("k2",)
    model.pass_time(1)
    replica.take_bundle(model.bundle(keyring=behind), model.instant)
    assert replica.key_ids == ("k2",)
    model.pass_time(1)
    assert not take(replica, replace(model.page(), keys=("k1", "k2")), model.instant).fetch_keys
    assert replica.key_ids == ("k2",)


def test_a_key_that_a_damaged_service_left_out_is_back_once_it_has_been_mended() -> None:
    model = Model()
    model.rotate()
    replica = new_replica(model)
    whole, model.keys = model.keys, [2]
    model.pass_time(1)
    replica.take_bundle(model.bundle(), model.instant)
    model.keys = whole
    for seconds, ids in ((599, ("k2",)), (1, ("k1", "k2"))):
        model.pass_time(seconds)
        replica.take_bundle(model.bundle(), model.instant)
        assert replica.key_ids == ids


def test_a_page_older_than_the_bundle_drops_no_key() -> None:
    model = Model()
    old = model.page()
    model.pass_time(1)
    model.rotate()
    replica = new_replica(model)
    assert not take(replica, old, model.instant).fetch_keys
    assert replica.key_ids == ("k1", "k2")


def test_a_new_key_is_to_be_fetched_and_no_page_takes_it_away() -> None:
    model = Model()
    replica = new_replica(model)
    model.pass_time(1)
    behind = model.page()
    model.rotate()
    model.pass_time(1)
    assert take(replica, model.page(), model.instant).fetch_keys
    replica.take_bundle(model.bundle(), model.instant)
    model.pass_time(1)
    take(replica, replace(behind, at=model.now), model.instant)  # from a node that does not know it yet
    assert replica.key_ids == ("k1", "k2")
    model.pass_time(1)
    assert not take(replica, model.page(), model.instant).fetch_keys


def test_the_same_keys_again_change_nothing() -> None:
    model = Model()
    replica = new_replica(model)
    keyring = replica.keyring
    model.pass_time(1)
    assert not replica.take_bundle(model.bundle(), model.instant)
    assert replica.keyring is keyring


def test_after_a_restored_backup_a_key_of_the_same_name_may_be_another() -> None:
    model = Model()
    model.rotate()
    replica = new_replica(model)
    model.pass_time(1)
    model.retire()
    replica.take_bundle(model.bundle(), model.instant)
    model.keys = [1]
    model.pass_time(1)
    model.restore(keep=0)
    replica.take_bundle(model.bundle(), model.instant)
    assert replica.key_ids == ("k1",)
    assert replica.place == Place(0, 2)


# Across restarts


def test_what_was_remembered_is_known_again() -> None:
    model = Model()
    first = model.revoke()
    replica = new_replica(model)
    take(replica, model.page(), model.instant)
    assert replica.known is not None
    assert replica.memory().kept is None
    replica.known.kept = 1
    model.pass_time(1)
    second = model.revoke()
    model.entries.append((model.now, UserRevocation("alice", model.now, model.now + DAY)))
    take(replica, model.page(1), model.instant)
    memory = replica.memory()
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
    replica = new_replica(model)
    take(replica, model.page(), model.instant)
    assert replica.known is not None
    replica.known.kept = 0
    again = Replica(IDENTITY)
    again.recall(replica.memory(), None, model.instant)
    assert again.known is None
    assert again.behind
    assert again.place == Place(0, 1)
    assert again.serial == replica.serial


def test_keys_that_ran_out_meanwhile_are_refused_and_their_serial_still_counts() -> None:
    model = Model()
    replica = new_replica(model)
    take(replica, model.page(), model.instant)
    assert replica.known is not None
    replica.known.kept = 0
    memory, older = replica.memory(), model.bundle(life=3 * DAY, serial=replica.serial - 1)
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
    replica = new_replica(model)
    model.pass_time(1)
    behind = model.masters.export("photos")
    model.retire()
    replica.take_bundle(model.bundle(), model.instant)
    again = Replica(IDENTITY)
    again.recall(replica.memory(), None, model.instant)
    model.pass_time(1)
    again.take_bundle(model.bundle(keyring=behind), model.instant)
    assert again.key_ids == ("k2",)


def test_freshness_from_the_future_is_not_believed() -> None:
    model = Model()
    replica = new_replica(model)
    take(replica, model.page(), model.instant)
    assert replica.known is not None
    replica.known.kept = 0
    memory = replica.memory()
    again = Replica(IDENTITY)
    with pytest.raises(RejectedDelivery, match="future"):
        again.recall(memory, RevocationSet(), Instant(model.now - timedelta(hours=1), 5.0))
    assert again.known is None
    assert again.place.after == 0


def test_revocations_that_are_too_many_to_be_written_often_ask_for_a_new_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("caveats_client.verifiers.replica._MOST_RECENT", 2)
    model = Model()
    replica = new_replica(model)
    take(replica, model.page(), model.instant)
    assert replica.known is not None
    replica.known.kept = 0
    for _ in range(3):
        model.revoke()
    take(replica, model.page(), model.instant)
    assert replica.known.kept is None
    assert replica.memory().recent == ()


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


@pytest.mark.slow
@settings(max_examples=settings().max_examples * 5)
@given(steps)
def test_whatever_a_mirror_serves_freshness_is_never_claimed_while_a_live_entry_is_missing(
    plan: list[tuple[object, ...]],
) -> None:
    """And keys that were retired before the newest bundle do not verify; and an honest service is believed again."""
    model = Model()
    replica = Replica(IDENTITY)
    replica.take_bundle(model.bundle(), model.instant)
    histories = {1: model.entries}
    pages, bundles = [model.page()], [(model.epoch, model.bundle())]
    serial = replica.serial
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
                page = pages[which % len(pages)]
                try:
                    if page.keys[-1] in replica.key_ids:  # else it cannot be opened
                        take(replica, page, model.instant, page.keys[-1])
                except RejectedDelivery:
                    pass
            case ("serve bundle", int(which)):
                try:
                    replica.take_bundle(bundles[which % len(bundles)][1], model.instant)
                except RejectedDelivery:
                    pass
        _check(model, replica, histories)
        assert replica.serial >= serial
        serial = replica.serial

    model.pass_time(20)
    replica.take_bundle(model.bundle(), model.instant)
    for _ in range(3):
        place = replica.place
        page = model.page(place.after if place.epoch == model.epoch else 0)
        take(replica, page, model.instant, page.keys[-1])
    _check(model, replica, histories)
    assert fresh_at(replica) == model.now
    assert set(replica.key_ids) == {f"k{n}" for n in model.keys}


def _check(model: Model, replica: Replica, histories: dict[int, list[object]]) -> None:
    known = replica.known
    if known is not None and known.fresh is not None:
        there = Model(entries=histories[known.epoch])  # type: ignore[arg-type]
        assert there.live_at(known.fresh.at) <= hits(replica)
    heard = NOW + timedelta(milliseconds=replica.serial - NOW.timestamp() * 1000)
    assert set(replica.key_ids) <= model.keys_at(heard)


def test_the_service_seals_with_a_key_that_the_page_names() -> None:
    model = Model()
    model.rotate()
    assert model.line().startswith("k2 ")
