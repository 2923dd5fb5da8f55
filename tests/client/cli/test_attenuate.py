from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from caveats import Caveat, MalformedCaveat
from caveats_client.cli.attenuate import caveats_for, read_moment, read_predicate

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


def added(flags: dict[str, Any]) -> tuple[Caveat, ...]:
    others = {name: flags[name] for name in ("expires_in", "predicates") if name in flags}
    return caveats_for({name: flags[name] for name in flags if name not in others}, NOW, **others)


@pytest.mark.parametrize(
    ("flags", "predicates"),
    [
        ({"scope": ("photos/42:read",)}, ["scope = photos/42:read"]),
        ({"scope": ("photos:read", "notes:* x:y")}, ["scope = photos:read notes:* x:y"]),
        ({"expires_in": timedelta(minutes=10)}, ["expires = 2026-11-21T12:10:00Z"]),
        ({"expires": ("2026-12-01T18:00:00Z",)}, ["expires = 2026-12-01T18:00:00Z"]),
        ({"expires": ("2026-12-01T18:00:00+02:00",)}, ["expires = 2026-12-01T16:00:00Z"]),
        ({"not_before": ("2026-12-01 18:00:00Z",)}, ["not-before = 2026-12-01T18:00:00Z"]),
        ({"audience": ("photos", "thumbs")}, ["audience = photos thumbs"]),
        ({"method": ("get", "HEAD")}, ["method = GET HEAD"]),
        ({"path": ("/albums/42", "/public/*")}, ["path = /albums/42 /public/*"]),
        ({"path": ("/fotos/Käse brot", "/a b/* /c")}, ["path = /fotos/K%C3%A4se%20brot /a%20b/* /c"]),
        ({"path": ("/fotos/K%C3%A4se%20brot",)}, ["path = /fotos/K%C3%A4se%20brot"]),
        ({"host": ("Photos.Example.", "albums.example")}, ["host = photos.example albums.example"]),
        ({"client_ip": ("10.0.0.0/8", "2001:db8::/32")}, ["client-ip = 10.0.0.0/8 2001:db8::/32"]),
        ({"note": ("one", "two")}, ["note = one", "note = two"]),
        ({"predicates": ("photos/album = 42", "method = GET")}, ["photos/album = 42", "method = GET"]),
        ({}, []),
    ],
)
def test_each_flag_is_its_caveat(flags: dict[str, Any], predicates: list[str]) -> None:
    assert [str(caveat) for caveat in added(flags)] == predicates


def test_flags_come_out_in_a_fixed_order() -> None:
    flags = {
        "predicates": ("a/b = c",),
        "note": ("n",),
        "method": ("GET",),
        "scope": ("a:b",),
        "expires_in": timedelta(seconds=1),
    }
    kinds = [str(caveat).partition(" ")[0] for caveat in added(flags)]
    assert kinds == ["scope", "expires", "method", "note", "a/b"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"scope": ("photos",)}, "not a scope"),
        ({"scope": ("",)}, "a scope"),
        ({"scope": ("a:b", "a:b")}, "once"),
        ({"expires": ("tomorrow",)}, "not a time"),
        ({"expires": ("2026-12-01T18:00:00",)}, "no time zone"),
        ({"expires": ("2026-02-30T18:00:00Z",)}, "not a time"),
        ({"audience": ("Photos",)}, "not an audience"),
        ({"method": ("G/T",)}, "not an HTTP method"),
        ({"path": ("/a/../b",)}, "not a path"),
        ({"path": ("/a%2Fb",)}, "not a path"),
        ({"path": ("/fotos/Käse brot", "/fotos/K%C3%A4se%20brot")}, "each once"),
        ({"client_ip": ("10.0.0.1/8",)}, "not an address"),
        ({"note": (" ",)}, "outer spaces"),
        ({"note": ("a\nb",)}, "control characters"),
        ({"predicates": ("note",)}, "expected 'kind = value'"),
        ({"predicates": ("note=x",)}, "expected 'kind = value'"),
        ({"predicates": ("expires = tomorrow",)}, "a time reads"),
        ({"predicates": ("expries = 2026-12-01T18:00:00Z",)}, "did you mean expires"),
        ({"predicates": ("zzz = 1",)}, "vendor/"),
        ({"predicates": ("Note = x",)}, "Note"),
        ({"predicates": ("method = get",)}, "upper case"),
        ({"predicates": ("photos/album =  42",)}, "outer spaces"),
        ({"predicates": ("photos/album = a = b",)}, "once"),
        ({"predicates": ("photos/al bum = 4",)}, "photos/al bum"),
    ],
)
def test_what_no_verifier_would_read_is_refused_here(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(MalformedCaveat, match=words):
        added(flags)


def test_a_plug_ins_caveat_need_not_be_known_here() -> None:
    assert read_predicate("photos/album = 42").predicate == b"photos/album = 42"


def test_a_moment_is_kept_in_utc() -> None:
    assert read_moment("2026-12-01T18:00:00+02:00") == datetime(2026, 12, 1, 16, tzinfo=UTC)
