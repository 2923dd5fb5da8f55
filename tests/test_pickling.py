"""What is raised or answered is copied and pickled whole, and what holds a key never is: every class of the three packages.

A process pool sends errors as pickles: one that cannot be read again ends the pool's result thread, and everybody waits.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import caveats
import caveats_client
import caveats_service
from caveats import Context, Discharger, Failure, authenticate, effective
from caveats.bakery import BakeryMacaroon
from caveats.errors import NotPicklable
from caveats.http import Problem
from caveats.keys import KeyBundle
from caveats.pickling import refuse_pickle
from caveats_client import AsyncClient, Client, TokenAuth
from caveats_client.cli.exit_codes import ExitCode
from caveats_client.verifiers.local import AsyncLocalVerifier, LocalVerifier
from caveats_client.verifiers.registration import Registration
from caveats_client.verifiers.remote import AsyncRemoteVerifier, RemoteVerifier
from caveats_service.core.importing import LineError
from caveats_service.core.service_keys import ServiceKeys
from caveats_service.settings import Settings
from caveats_service.storage.encryption import SealKey
from tests.caveats.test_secrets import (
    ANSWER,
    AUTHENTIC,
    BUNDLE,
    GRANT,
    KEYS,
    PARTY_KEY,
    ROOT_KEY,
    TICKET,
    TOKEN,
    VERIFIER,
    shows_a_secret,
)
from tests.support.law import ALL_EXAMPLES, MASTER, NOW, PARTY, REQUEST

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
FAILURE = Failure(1, "scope", "scope = a:b", "holder", "the request needs a:c", "a:b")
SAMPLES: dict[str, Any] = {
    "str": "words, é and \n",
    "int": 7,
    "float": 7.5,
    "bool": True,
    "bytes": b"\0\xff",
    "datetime": NOW,
    "timedelta": timedelta(seconds=3),
    "Path": Path("/x"),
    "Failure": FAILURE,
    "Problem": Problem(403, "forbidden", "why", headers={"A": "b"}, members={"c": [1]}),
    "ExitCode": ExitCode.USAGE,
    "LineError": LineError(3, "words"),
}


def classes() -> list[type]:
    found: dict[type, None] = {}
    for package in (caveats, caveats_client, caveats_service):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "migrations" in info.name or info.name.endswith("__main__"):
                continue
            module = importlib.import_module(info.name)
            found |= {
                one: None
                for one in vars(module).values()
                if issubclass(type(one), type)
                and one.__module__ == info.name  # `isclass` would ask Django for its settings
            }
    return list(found)


CLASSES = classes()
ERRORS = [one for one in CLASSES if issubclass(one, BaseException)]


def is_value(one: type) -> bool:
    parameters = getattr(one, "__dataclass_params__", None)
    is_frozen = parameters is not None and parameters.frozen and not one.__name__.startswith("_")
    is_tuple = issubclass(one, tuple) and hasattr(one, "_fields")
    return one not in ERRORS and (is_frozen or is_tuple or issubclass(one, enum.Enum))


VALUES = [one for one in CLASSES if is_value(one)]


def sample(annotation: object) -> Any:
    """A value of this annotation, near enough for a class that checks nothing."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    text = text.partition(" | ")[0]
    name, _, inner = text.removesuffix("]").partition("[")
    if name in ("tuple", "Sequence", "Iterable", "Collection"):
        return (sample(inner.partition(",")[0]),)
    if name == "list":
        return [sample(inner)]
    if name in ("Mapping", "dict"):
        return MappingProxyType({"key": ("value",)})
    return SAMPLES.get(name, f"stands for {text}")


def example(one: type) -> Any:
    """An instance of a value's class, made without asking it what it takes."""
    if issubclass(one, enum.Enum):
        return next(iter(one))
    if issubclass(one, tuple):
        return tuple.__new__(one, [sample(one.__annotations__[name]) for name in one._fields])
    made = object.__new__(one)
    for field in dataclasses.fields(one):
        object.__setattr__(made, field.name, sample(field.type))
    return made


def error_of(one: type[BaseException]) -> BaseException:
    """An error as it is raised: made by its constructor, with what may be set on it set."""
    parameters = list(inspect.signature(one.__init__).parameters.values())[1:]
    if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters):
        error = one("words, é and \n")
    else:
        given = {each.name: sample(each.annotation) for each in parameters}
        unknown = [name for name, value in given.items() if str(value).startswith("stands for")]
        assert not unknown, f"give SAMPLES an example for {unknown} of {one}"
        named = {
            name
            for name, each in inspect.signature(one.__init__).parameters.items()
            if each.kind is each.KEYWORD_ONLY
        }
        error = one(
            *(value for name, value in given.items() if name not in named),
            **{name: value for name, value in given.items() if name in named},
        )
    for name in ("failures", "retry_after"):
        if hasattr(one, name) or hasattr(error, name):
            setattr(error, name, (FAILURE,) if name == "failures" else 12)
    error.add_note("a note")
    error.__cause__ = OSError("not part of it")
    return error


def as_seen(error: BaseException) -> tuple[Any, ...]:
    members = {name: value for name, value in vars(error).items() if not isinstance(value, BaseException)}
    inner = [as_seen(value) for value in vars(error).values() if isinstance(value, BaseException)]
    arguments = [as_seen(one) if isinstance(one, BaseException) else one for one in error.args]
    return type(error), str(error), repr(error), arguments, members, inner


def again(thing: Any) -> list[Any]:
    pickled = [pickle.loads(pickle.dumps(thing, protocol)) for protocol in PROTOCOLS]
    twice = pickle.loads(pickle.dumps(pickled[-1]))
    return [copy.copy(thing), copy.deepcopy(thing), *pickled, twice]


@pytest.mark.parametrize("one", ERRORS, ids=lambda one: f"{one.__module__}.{one.__qualname__}")
def test_every_error_is_copied_and_pickled_whole(one):
    error = error_of(one)
    for other in again(error):
        assert as_seen(other) == as_seen(error)


def test_the_walk_finds_the_classes():
    assert len(ERRORS) > 80
    assert len(VALUES) > 100
    assert {caveats.UnsatisfiedCaveats, caveats_client.Forbidden, Problem} <= set(ERRORS)
    assert {caveats.Grant, caveats.Context, caveats_client.Verification} <= set(VALUES)


def test_an_error_of_an_app_that_derives_from_ours_is_pickled_whole():
    for other in again(OfAnApp("photos", 3)):
        assert (type(other), str(other), other.where, other.count) == (OfAnApp, "3 in photos", "photos", 3)


class OfAnApp(caveats.MissingDischarge):
    def __init__(self, where: str, count: int) -> None:
        caveats.Refused.__init__(self, f"{count} in {where}")
        self.where = where
        self.count = count


def fail(index: int) -> None:
    """Raise an error in a worker process."""
    raise error_of(ERRORS[index])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_every_error_comes_out_of_a_process_pool_whole(method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        answers = [pool.apply_async(fail, (index,)) for index in range(len(ERRORS))]
        for one, answer in zip(ERRORS, answers, strict=True):
            with pytest.raises(one) as caught:
                answer.get(timeout=120)
            expected = as_seen(error_of(one))
            assert as_seen(caught.value) == expected


SECRETS = [
    PARTY_KEY,
    MASTER,
    MASTER.audience_key("photos"),
    KEYS,
    KEYS.export("photos"),
    KEYS.root_pads("k1", "photos"),
    TICKET,
    AUTHENTIC,
    AUTHENTIC.discharges[0],
    KeyBundle("id", KEYS.export("photos"), 1, 1, NOW),
    Discharger("https://party.example", (PARTY_KEY,), caveats.standard_checkers()),
    SealKey(b"s" * 32),
    Registration.generate(),
    ServiceKeys(PARTY_KEY, b"f" * 32, PARTY_KEY),
]
MACHINES = [
    VERIFIER,
    caveats.RevocationSet(),
    Client("https://auth.example", token=TOKEN),
    AsyncClient("https://auth.example", token=TOKEN),
    TokenAuth(TOKEN, "https://auth.example"),
    RemoteVerifier("https://auth.example"),
    AsyncRemoteVerifier("https://auth.example"),
]


@pytest.mark.parametrize("thing", [*SECRETS, *MACHINES], ids=lambda thing: type(thing).__name__)
def test_what_holds_a_key_is_never_pickled(thing):
    for protocol in PROTOCOLS:
        for whole in (thing, [thing], {"k": (thing,)}):
            with pytest.raises(NotPicklable, match="is not pickled") as caught:
                pickle.dumps(whole, protocol)
            assert not shows_a_secret(str(caught.value))


@pytest.mark.parametrize("verifier", [LocalVerifier, AsyncLocalVerifier])
def test_a_local_verifier_is_never_pickled(verifier):
    made = verifier(
        "https://auth.example",
        audience="photos",
        verifier_id="01KAJQ00000000000000000001",
        private_key=PARTY_KEY,
        service_public_key=PARTY_KEY.public_key,
    )
    with pytest.raises(NotPicklable, match="LocalVerifier is not pickled"):
        pickle.dumps(made)


@pytest.mark.parametrize("thing", SECRETS, ids=lambda thing: type(thing).__name__)
def test_what_holds_a_key_can_be_copied(thing):
    for other in (copy.copy(thing), copy.deepcopy(thing), copy.deepcopy([thing])[0]):
        assert type(other) is type(thing)
        assert repr(other)[:10] == repr(thing)[:10]


@pytest.mark.parametrize("thing", MACHINES, ids=lambda thing: type(thing).__name__)
def test_what_changes_and_holds_locks_is_not_copied(thing):
    for way in (copy.copy, copy.deepcopy):
        with pytest.raises(NotPicklable):
            way(thing)


@pytest.mark.parametrize("one", VALUES, ids=lambda one: f"{one.__module__}.{one.__qualname__}")
def test_every_value_is_copied_and_pickled_whole(one):
    made = example(one)
    if one.__reduce_ex__ is refuse_pickle:
        with pytest.raises(NotPicklable):
            pickle.dumps(made)
        return
    for other in again(made):
        assert type(other) is one
        if dataclasses.is_dataclass(one):
            assert [getattr(other, field.name) for field in dataclasses.fields(one)] == [
                getattr(made, field.name) for field in dataclasses.fields(one)
            ]
        else:
            assert tuple(other) == tuple(made) if issubclass(one, tuple) else other is made


INTROSPECTION = VERIFIER.introspect(BUNDLE)
REAL = [
    TOKEN,
    BUNDLE,
    ANSWER,
    caveats.Unbound(TOKEN, (ANSWER,)),
    BakeryMacaroon(TOKEN, 2),
    GRANT,
    GRANT.authority,
    INTROSPECTION,
    REQUEST,
    Context(NOW, "photos", ("a:b",), extra={"a": (1, 2)}),
    Context(NOW),
    PARTY,
    caveats.Limits(),
    effective(()),
    *ALL_EXAMPLES,
    Settings(database_url="postgresql://u:pw@h/d", seal_key="s" * 43, trusted_proxies=("10.0.0.0/8",)),
    Settings(),
]


@pytest.mark.parametrize("thing", REAL, ids=lambda thing: type(thing).__name__)
def test_what_is_handed_out_is_copied_and_pickled_whole(thing):
    before = repr(thing)
    for other in again(thing):
        assert type(other) is type(thing)
        assert other == thing
        assert repr(other) == str(other) == before or str(other) == str(thing)
        assert not shows_a_secret(repr(other) + str(other))


def test_a_token_from_a_pickle_is_still_judged():
    for bundle in again(BUNDLE):
        assert VERIFIER.verify(bundle, REQUEST).user == GRANT.user
        assert authenticate(bundle, ROOT_KEY).caveats == AUTHENTIC.caveats
    for grant in again(GRANT):
        assert (grant.scopes, grant.expires_at, grant.issued_at) == (
            GRANT.scopes,
            GRANT.expires_at,
            GRANT.issued_at,
        )


def test_a_context_from_a_pickle_is_judged_alike_and_cannot_be_changed():
    for context in again(Context(NOW, "photos", ("photos:read",), extra={"photos/album": "42"})):
        assert context.extra["photos/album"] == "42"
        assert context.now == NOW


def test_a_secret_of_the_settings_is_not_shown_after_a_round_trip():
    for settings in again(Settings(database_url="postgresql://u:hush@h/d", seal_key="s" * 43)):
        assert "hush" not in repr(settings) + str(settings)
        assert "ssss" not in repr(settings) + str(settings)
