"""What a verifier keeps on disk: sealed, whole or not at all, and never a reason to fall over."""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats import BranchRevocation, PrivateKey, RevocationSet, TokenRevocation, UserRevocation, new_token_id
from caveats.revocation import row_of
from caveats_client.verifiers import state_files as module
from caveats_client.verifiers.replica import Memory
from caveats_client.verifiers.state_files import StateFiles
from tests.support.local import DAY, IDENTITY, NOW, Model, new_replica

TOKENS = [new_token_id(NOW) for _ in range(30)]
ENTRIES = [
    *[TokenRevocation(token, NOW + DAY) for token in TOKENS[:10]],
    *[BranchRevocation(token, bytes([n] * 16), NOW + DAY) for n, token in enumerate(TOKENS[10:20])],
    *[UserRevocation(f"user{n}", NOW, NOW + DAY) for n in range(10)],
]
MEMORY = Memory(
    box=b"a box",
    serial=1_000,
    epoch=2,
    dead={"k1": 900},
    kept=20,
    position=30,
    fresh_at=NOW,
    seals=frozenset(("k2", "k3")),
    recent=tuple(row_of(20 + n, entry) for n, entry in enumerate(ENTRIES[20:], 1)),
)


def written(folder: Path) -> StateFiles:
    state = StateFiles(folder, IDENTITY)
    state.save_base(2, 20, RevocationSet(ENTRIES[:20]).rows(size=7))
    state.save(MEMORY)
    return state


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "caveats_client.verifiers.local")
    return caplog


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written(tmp_path)
    found = StateFiles(tmp_path, IDENTITY).load()
    assert found is not None
    memory, kept = found
    assert memory == MEMORY
    assert kept is not None
    assert len(kept) == 20
    assert all(kept.hits_token(token) for token in TOKENS[:10])
    assert all(kept.branches_of(token) for token in TOKENS[10:20])


def test_a_memory_of_keys_alone_needs_no_other_file(tmp_path: Path) -> None:
    bare = Memory(b"a box", 1, 1, {})
    StateFiles(tmp_path, IDENTITY).save(bare)
    assert StateFiles(tmp_path, IDENTITY).load() == (bare, None)


def test_no_file_is_no_memory_and_no_warning(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    assert StateFiles(tmp_path / "nowhere", IDENTITY).load() is None
    assert not warnings.records


def test_the_files_are_for_their_owner_only_and_tell_nothing(tmp_path: Path) -> None:
    model = Model()
    replica = new_replica(model)
    folder = tmp_path / "made" / "here"
    state = StateFiles(folder, IDENTITY)
    state.save_base(1, 20, RevocationSet(ENTRIES).rows())
    state.save(replace(replica.memory(), recent=MEMORY.recent))
    assert replica.keyring is not None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [path for path in folder.iterdir() if path.suffix != ".lock"]
    assert len(files) == 2
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        data = path.read_bytes()
        for private in (b"user", replica.keyring.keys[0].secret, TOKENS[0].encode()):
            assert private not in data


@pytest.mark.parametrize("name", ["recent", "base"])
@given(where=st.floats(0, 1, exclude_max=True), what=st.sampled_from(["flip", "cut", "add"]))
def test_a_damaged_file_is_passed_over_with_a_warning(
    name: str, where: float, what: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("state")
    written(folder).close()
    path = folder / f"{IDENTITY.verifier_id}.{name}"
    data = bytearray(path.read_bytes())
    place = int(where * len(data))
    if what == "flip":
        data[place] ^= 0x40
    elif what == "cut":
        del data[place:]
    else:
        data += b"x"
    path.write_bytes(data)
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("caveats_client.verifiers.local").addHandler(handler)
    try:
        found = StateFiles(folder, IDENTITY).load()
    finally:
        logging.getLogger("caveats_client.verifiers.local").removeHandler(handler)
    assert found == (None if name == "recent" else (MEMORY, None))
    assert len(heard) == 1


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"private_key": PrivateKey.generate()}, id="another key"),
        pytest.param({"audience": "thumbs"}, id="another audience"),
        pytest.param({"service_public_key": PrivateKey.generate().public_key}, id="another service"),
    ],
)
def test_another_verifiers_files_are_of_no_use(
    other: dict[str, object], tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    written(tmp_path)
    assert StateFiles(tmp_path, replace(IDENTITY, **other)).load() is None  # type: ignore[arg-type]
    assert "another verifier's" in warnings.text


def test_a_base_of_another_time_is_not_taken(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    state = written(tmp_path)
    state.save_base(2, 19, iter([]))
    assert StateFiles(tmp_path, IDENTITY).load() == (MEMORY, None)
    assert "does not match the other file" in warnings.text


@pytest.mark.parametrize(
    "member",
    [
        {"box": 7},
        {"serial": None},
        {"recent": [[1, "x", 2, "y"]]},
        {"recent": 7},
        {"dead": ["k1"]},
        {"dead": {"k1": "x"}},
        {"seals": None},
        {"fresh_at": "yesterday"},
        {"fresh_at": 10**20},
        {"kept": "x"},
    ],
    ids=str,
)
def test_what_another_version_wrote_is_passed_over(
    member: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    warnings: pytest.LogCaptureFixture,
) -> None:
    members = {**module._members(MEMORY), **member}
    monkeypatch.setattr(module, "_members", lambda _: members)
    StateFiles(tmp_path, IDENTITY).save(MEMORY)
    assert StateFiles(tmp_path, IDENTITY).load() is None
    assert "another version" in warnings.text


@pytest.mark.parametrize("rows", [[[[1, "x", 2, "y"]]], [7]], ids=["a row that is none", "no rows"])
def test_a_base_that_another_version_wrote_is_passed_over(
    rows: list[object], tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    state = written(tmp_path)
    state.save_base(2, 20, rows)  # type: ignore[arg-type]
    assert StateFiles(tmp_path, IDENTITY).load() == (MEMORY, None)
    assert "another version" in warnings.text


def test_two_values_where_one_belongs_are_none(tmp_path: Path, warnings: pytest.LogCaptureFixture) -> None:
    state = written(tmp_path)
    state._write(state._recent, [module._members(MEMORY)] * 2)
    assert StateFiles(tmp_path, IDENTITY).load() is None


def test_a_pipe_or_a_folder_in_its_place_holds_nobody_up(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"{IDENTITY.verifier_id}.recent").mkdir()
    assert StateFiles(tmp_path, IDENTITY).load() is None
    assert len(warnings.records) == 1
    if hasattr(os, "mkfifo"):
        (tmp_path / f"{IDENTITY.verifier_id}.recent").rmdir()
        os.mkfifo(tmp_path / f"{IDENTITY.verifier_id}.recent")
        assert StateFiles(tmp_path, IDENTITY).load() is None


def test_only_one_process_writes_and_the_next_one_follows_when_it_is_gone(tmp_path: Path) -> None:
    first, second = StateFiles(tmp_path, IDENTITY), StateFiles(tmp_path, IDENTITY)
    first.save(MEMORY)
    second.save(replace(MEMORY, serial=5))
    found = second.load()
    assert found is not None
    assert found[0].serial == 1_000
    first.close()
    second.save(replace(MEMORY, serial=5))
    found = second.load()
    assert found is not None
    assert found[0].serial == 5
    first.close()


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = written(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        state.save(replace(MEMORY, serial=2_000))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_a_killed_process_left_behind_is_cleared_away(tmp_path: Path) -> None:
    leftover = tmp_path / f"{IDENTITY.verifier_id}.recent.0011.tmp"
    leftover.write_bytes(b"half")
    StateFiles(tmp_path, IDENTITY).save(MEMORY)
    assert not leftover.exists()
