"""A process may be forked while another of its threads holds a lock: the child is not held up, and knows what was revoked."""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Callable

import pytest

from caveats import RevocationSet, Revoked, TokenRevocation, Verifier, forks
from caveats.forks import in_children, renewed_after_fork
from tests.support.law import HOUR, KEYRING, NOW, REQUEST, issue

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
TOKEN = issue(scope="photos:read")
TEXT = TOKEN.encode()


def in_child(work: Callable[[], object]) -> str:
    """What `work` returns in a child of this process, as text. A child that hangs is killed after 20 seconds."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            os.write(write, repr(work()).encode())
        except BaseException as error:
            os.write(write, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        text = answer.read().decode()
    assert os.waitpid(child, 0)[1] == 0, "the child hung"
    return text


def while_held(*locks: threading.Lock, work: Callable[[], object]) -> str:
    """The same, forked while another thread holds these locks."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        for lock in locks:
            lock.acquire()
        held.set()
        done.wait()
        for lock in locks:
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        return in_child(work)
    finally:
        done.set()
        thread.join()


def test_a_verifier_goes_on_in_a_child_whatever_its_parents_threads_hold():
    revocations = RevocationSet()
    verifier = Verifier(KEYRING, audience="photos", revocations=revocations)
    verifier.verify(TEXT, REQUEST)
    gone = issue(scope="photos:read", token_id="01KAJQ00000000000000000009")

    def work() -> tuple[object, ...]:
        before = verifier.verify(TEXT, REQUEST).user
        revocations.add(TokenRevocation(gone.unverified_identifier.token_id, NOW + HOUR))
        revocations.prune(NOW)
        verifier.keyring = KEYRING
        try:
            verifier.verify(gone, REQUEST)
        except Revoked as refusal:
            return before, str(refusal), len(revocations)
        return before, "granted"

    locks = (verifier._cache._writing, revocations._writing)
    assert while_held(*locks, work=work) == "('alice', 'the token has been revoked', 1)"
    assert verifier.verify(gone, REQUEST).user == "alice"
    assert len(revocations) == 0


def test_an_entry_that_a_thread_was_adding_counts_in_the_child():
    """The entry is in the set, and the thread that would have counted it is not in the child."""
    revocations = RevocationSet()
    verifier = Verifier(KEYRING, audience="photos", revocations=revocations)
    verifier.verify(TEXT, REQUEST)
    revocations._put_token(TOKEN.unverified_identifier.token_id, 10**6)
    assert "has been revoked" in in_child(lambda: verifier.verify(TEXT, REQUEST))


def test_a_child_remembers_nothing_that_its_parent_verified():
    verifier = Verifier(KEYRING, audience="photos")
    verifier.verify(TEXT, REQUEST)
    assert in_child(lambda: verifier._cache.find(TEXT)) == "None"
    assert verifier._cache.find(TEXT) is not None


class Owner:
    def __init__(self) -> None:
        self.renewed = 0


def test_one_that_fails_does_not_keep_the_others_from_being_renewed():
    owners = [Owner() for _ in range(3)]

    def renew(owner: Owner) -> None:
        owner.renewed += 1

    def fail(_: Owner) -> None:
        os.close(2)  # the interpreter writes the traceback there
        raise RuntimeError("cannot")

    renewed_after_fork(owners[0], renew)
    failing = Owner()
    in_children(failing, fail)
    in_children(owners[1], renew)
    renewed_after_fork(owners[2], renew)
    assert in_child(lambda: [owner.renewed for owner in owners]) == "[2, 1, 2]"
    assert [owner.renewed for owner in owners] == [1, 0, 1]


def test_all_are_renewed_even_where_one_raises(monkeypatch: pytest.MonkeyPatch):
    """As a child does it, here, so that it can be seen."""
    monkeypatch.setattr(forks, "_actions", weakref.WeakKeyDictionary())
    owners = [Owner() for _ in range(3)]

    def renew(owner: Owner) -> None:
        owner.renewed += 1
        if owner is owners[1]:
            raise RuntimeError("cannot")

    for owner in owners:
        in_children(owner, renew)
    with pytest.raises(RuntimeError, match="cannot"):
        forks._after_fork()
    assert [owner.renewed for owner in owners] == [1, 1, 1]


def test_what_is_gone_is_not_renewed():
    owner = Owner()
    seen: list[Owner] = []
    in_children(owner, seen.append)
    del owner
    assert in_child(lambda: seen) == "[]"
