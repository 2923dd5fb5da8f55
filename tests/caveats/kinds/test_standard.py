"""The standard kinds: when each holds, row by row, and what its refusal says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats import (
    Audience,
    ClientIp,
    Context,
    Expires,
    Host,
    MalformedCaveat,
    Method,
    NotBefore,
    Note,
    Parent,
    Path,
    Renewed,
    Scope,
    UnknownCaveat,
    Unmet,
    User,
    effective,
    standard_checkers,
)
from caveats.kinds import is_plain_path, parse_address, parse_host, write_moment
from caveats.kinds.facts import _parse_address
from tests.support.law import EXAMPLES, HOUR, NOW, OTHER_TOKEN_ID, at_most, outcome

CHECKERS = standard_checkers()
SECOND = timedelta(seconds=1)


def holds(caveat, **facts) -> bool:
    now = facts.pop("now", NOW)
    return CHECKERS.answer(caveat, Context(now=now, **facts)) is None


# a constructor takes what its kind can write, and nothing else


class NoZone(tzinfo):
    """A time zone that does not know its offset: a naive time in disguise."""

    def utcoffset(self, moment):
        return None


NOT_MADE = [
    ("user-empty", lambda: User("")),
    ("user-outer-space", lambda: User(" alice")),
    ("user-control", lambda: User("a\nb")),
    ("user-equals", lambda: User("a = b")),
    ("user-none", lambda: User(None)),
    ("note-empty", lambda: Note("")),
    ("note-equals", lambda: Note("a = b")),
    ("expires-naive", lambda: Expires(datetime(2026, 11, 21))),
    ("expires-no-offset", lambda: Expires(datetime(2026, 11, 21, tzinfo=NoZone()))),
    ("expires-text", lambda: Expires("2026-11-21T00:00:00Z")),
    ("expires-none", lambda: Expires(None)),
    ("expires-before-all-times", lambda: Expires(datetime.min.replace(tzinfo=timezone(HOUR)))),
    ("expires-after-all-times", lambda: Expires.after(timedelta.max, now=NOW)),
    ("not-before-naive", lambda: NotBefore(datetime(2026, 11, 21))),
    ("renewed-naive", lambda: Renewed(datetime(2026, 11, 21))),
    ("scope-none", Scope),
    ("scope-empty", lambda: Scope("")),
    ("scope-twice", lambda: Scope("a:b", "a:b")),
    ("scope-space", lambda: Scope("a:b ")),
    ("audience-none", Audience),
    ("audience-twice", lambda: Audience("a", "a")),
    ("method-none", Method),
    ("method-lower", lambda: Method("get")),
    ("path-none", Path),
    ("path-relative", lambda: Path("a")),
    ("host-none", Host),
    ("host-upper", lambda: Host("Photos.example")),
    ("host-port", lambda: Host("photos.example:80")),
    ("client-ip-none", ClientIp),
    ("client-ip-host-bits", lambda: ClientIp("10.0.0.1/8")),
    ("client-ip-zone", lambda: ClientIp("fe80::1%eth0")),
    ("client-ip-upper", lambda: ClientIp("2001:DB8::1")),
    ("client-ip-mapped", lambda: ClientIp("::ffff:a00:1")),
    ("parent-no-key-id", lambda: Parent("1", OTHER_TOKEN_ID, ())),
    ("parent-no-token-id", lambda: Parent("k1", "x", ())),
    ("parent-branch-short", lambda: Parent("k1", OTHER_TOKEN_ID, (b"x" * 15,))),
    ("parent-branch-twice", lambda: Parent("k1", OTHER_TOKEN_ID, (b"x" * 16,) * 2)),
]


@pytest.mark.parametrize("make", [row[1] for row in NOT_MADE], ids=[row[0] for row in NOT_MADE])
def test_a_caveat_that_could_not_be_read_cannot_be_made(make):
    with pytest.raises(MalformedCaveat):
        make()


MADE = [
    (User("alice"), "alice"),
    (Expires(datetime(2026, 12, 1, tzinfo=UTC)), "2026-12-01T00:00:00Z"),
    (Expires(datetime(2026, 12, 1, 1, tzinfo=timezone(HOUR))), "2026-12-01T00:00:00Z"),
    (Expires(datetime(2026, 12, 1, microsecond=999_999, tzinfo=UTC)), "2026-12-01T00:00:00Z"),
    (Expires(datetime(1, 1, 1, tzinfo=UTC)), "0001-01-01T00:00:00Z"),
    (Expires.after(timedelta(minutes=10), now=NOW), "2026-11-21T12:10:00Z"),
    (NotBefore(NOW), "2026-11-21T12:00:00Z"),
    (Renewed(NOW), "2026-11-21T12:00:00Z"),
    (Scope("photos:read photos/42:*"), "photos:read photos/42:*"),
    (Scope("photos:read", "photos/42:*"), "photos:read photos/42:*"),
    (Scope("*"), "*"),
    (Audience("photos", "thumbs"), "photos thumbs"),
    (Method("GET", "VERSION-CONTROL"), "GET VERSION-CONTROL"),
    (Path("/", "/*", "/a/", "/a/b", "/a/*", "/ä", "/~a.b/..."), "/ /* /a/ /a/b /a/* /ä /~a.b/..."),
    (Host("photos.example", "localhost", "10.0.0.1", "xn--bcher-kva.example"), None),
    (ClientIp("10.0.0.0/8", "10.0.0.1", "10.0.0.1/32", "2001:db8::/32", "::1"), None),
    (ClientIp("0.0.0.0/0", "::/0"), "0.0.0.0/0 ::/0"),
    (Note("for the nightly build"), "for the nightly build"),
    (Parent("k1", OTHER_TOKEN_ID, (b"\xab" * 16,)), f"k1 {OTHER_TOKEN_ID} {'ab' * 16}"),
    (Parent("k1", OTHER_TOKEN_ID, ()), f"k1 {OTHER_TOKEN_ID}"),
]


@pytest.mark.parametrize(("caveat", "value"), MADE, ids=lambda x: None if isinstance(x, str) else str(x))
def test_a_caveat_is_written_in_one_way(caveat, value):
    assert value in (None, caveat.value)
    assert type(caveat).parse(caveat.value) == caveat
    assert CHECKERS.parse(caveat.predicate) == caveat


# user


@pytest.mark.parametrize(
    ("named", "granted"),
    [
        (None, True),
        ("alice", True),
        ("bob", False),
        ("Alice", False),
        ("alice ", False),
        ("", False),
        ("аlice", False),
    ],
)
def test_user_is_the_request_s_user_if_it_names_one(named, granted):
    assert holds(User("alice"), user=named) is granted


# expires, not-before


@pytest.mark.parametrize(
    ("now", "alive", "started"),
    [
        (NOW - SECOND, True, False),
        (NOW - timedelta(microseconds=1), True, False),
        (NOW, False, True),
        (NOW + timedelta(microseconds=1), False, True),
        ((NOW - SECOND).astimezone(timezone(5 * HOUR)), True, False),
        (NOW.astimezone(timezone(-5 * HOUR)), False, True),
        (datetime.min.replace(tzinfo=UTC), True, False),
        (datetime.max.replace(tzinfo=UTC), False, True),
        (datetime.max.replace(tzinfo=timezone(-HOUR)), False, True),
    ],
)
def test_expires_ends_and_not_before_starts_at_its_moment(now, alive, started):
    assert holds(Expires(NOW), now=now) is alive
    assert holds(NotBefore(NOW), now=now) is started


# path

PATH_ROWS = [
    ("/photos/*", "/photos/42", True),
    ("/photos/*", "/photos/42/", True),
    ("/photos/*", "/photos/42/raw", True),
    ("/photos/*", "/photos/ä", True),
    ("/photos/*", "/photos/..x", True),
    ("/photos/*", "/photos/x..", True),
    ("/photos/*", "/photos/...", True),
    ("/photos/*", "/photos/a;v=1", True),
    ("/photos/*", "/photos", False),
    ("/photos/*", "/photos/", False),
    ("/photos/*", "/photosX/42", False),
    ("/photos/*", "/Photos/42", False),
    ("/photos/*", "/PHOTOS/42", False),
    ("/photos/*", "/secret", False),
    ("/photos/*", "/photos/../secret", False),
    ("/photos/*", "/photos/42/../../secret", False),
    ("/photos/*", "/photos/..", False),
    ("/photos/*", "/photos/.", False),
    ("/photos/*", "/photos/./42", False),
    ("/photos/*", "/photos/..;/secret", False),
    ("/photos/*", "/photos/..;x=1/secret", False),
    ("/photos/*", "/photos/.;/secret", False),
    ("/photos/*", "/photos/%2e%2e/secret", False),
    ("/photos/*", "/photos/%2E%2E/secret", False),
    ("/photos/*", "/photos/.%2e/secret", False),
    ("/photos/*", "/photos/%252e%252e/secret", False),
    ("/photos/*", "/photos/%2fsecret", False),
    ("/photos/*", "/photos/a%2fb", False),
    ("/photos/*", "/photos/%5c..%5csecret", False),
    ("/photos/*", "/photos/%c0%ae%c0%ae/secret", False),
    ("/photos/*", "/photos/%u002e%u002e/secret", False),
    ("/photos/*", "/photos/%00", False),
    ("/photos/*", "/photos/%34%32", False),
    ("/photos/*", "/photos//42", False),
    ("/photos/*", "//photos/42", False),
    ("/photos/*", "/photos/42//", False),
    ("/photos/*", "\\photos\\42", False),
    ("/photos/*", "/photos/..\\secret", False),
    ("/photos/*", "/photos\\..\\secret", False),
    ("/photos/*", "/photos/42?x=/secret", False),
    ("/photos/*", "/photos/42#x", False),
    ("/photos/*", "/photos/*", False),
    ("/photos/*", "photos/42", False),
    ("/photos/*", "", False),
    ("/photos/*", "*", False),
    ("/photos/*", "http://x/photos/42", False),
    ("/photos/*", "/photos/\uff0e\uff0e/secret", False),
    ("/photos/*", "/photos/\u2025/secret", False),
    ("/photos/*", "/photos/\u2024\u2024/secret", False),
    ("/photos/*", "/photos/..\uff0fsecret", False),
    ("/photos/*", "/photos/..\uff3csecret", False),
    ("/photos/*", "/photos/\uff05\uff12e", False),
    ("/photos/*", "/photos/..\uff1b/secret", False),
    ("/photos/*", "/photos/\ud800", False),
    ("/photos/*", "/photos/4 2", False),
    ("/photos/*", "/photos/4\u00a02", False),
    ("/photos/*", "/photos/4\t2", False),
    ("/photos/*", "/photos/42\n", False),
    ("/photos/*", "/photos/42\r\nX: y", False),
    ("/photos/*", "/photos/\x00", False),
    ("/photos/*", "/photos/\x7f", False),
    ("/photos/*", '/photos/"', False),
    ("/photos/*", "/photos/<x>", False),
    ("/photos/", "/photos/", True),
    ("/photos/", "/photos", False),
    ("/photos/", "/photos/42", False),
    ("/photos/", "/photos/../secret", False),
    ("/photos", "/photos", True),
    ("/photos", "/photos/", False),
    ("/photos", "/photos/42", False),
    ("/", "/", True),
    ("/", "/a", False),
    ("/*", "/a", True),
    ("/*", "/", False),
    ("/a /b/*", "/b/c", True),
    ("/a /b/*", "/a", True),
    ("/a /b/*", "/a/c", False),
]


@pytest.mark.parametrize(
    ("patterns", "path", "granted"), PATH_ROWS, ids=[f"{p}-{x!r}" for p, x, _ in PATH_ROWS]
)
def test_path_row(patterns, path, granted):
    assert holds(Path(*patterns.split(" ")), path=path) is granted


BROT = "/fotos/Käse brot"
ENCODED = "/fotos/K%C3%A4se%20brot"
NAMES = [
    ("/fotos/*", ENCODED, True),
    (BROT, ENCODED, True),
    (ENCODED, ENCODED, True),
    ("/fotos/K%c3%a4se%20brot", ENCODED, True),
    (ENCODED, "/fotos/K%c3%a4se%20brot", True),
    ("/fotos/K%C3%A4se brot", ENCODED, True),
    (BROT + "/*", ENCODED + "/%E6%97%A5%E6%9C%AC.jpg", True),
    (f"/x {BROT} /y z", ENCODED, True),
    (f"/x {BROT} /y z", "/y%20z", True),
    (f"/x {BROT} /y z", "/y", False),
    ("/fotos/*", "/fotos/%F0%9F%8D%9E%20", False),
    ("/fotos/*", "/fotos/%F0%9F%8D%9E", True),
    ("/fotos/*", "/fotos/%D9%86%E2%80%8C%D9%87", True),
    ("/fotos/ä", "/fotos/a%CC%88", False),
    ("/fotos/ä", "/fotos/%C3%A4", False),
    ("/fotos/ä", "/fotos/%E4", False),
    ("/fotos/*", "/fotos/%E4", False),
    ("/fotos/*", "/fotos/%C3", False),
    ("/fotos/*", "/fotos/%C3x%A4", False),
    ("/fotos/*", "/fotos/%ED%A0%80", False),
    ("/fotos/*", "/fotos/%F4%90%80%80", False),
    ("/fotos/*", "/fotos/%25C3%25A4", False),
    ("/fotos/*", "/fotos/%25", False),
    ("/fotos/*", "/fotos/%2520", False),
    ("/fotos/*", "/fotos/100%", False),
    ("/fotos/*", "/fotos/%2", False),
    ("/fotos/*", "/fotos/%zz", False),
    ("/fotos/*", "/fotos/%E0%80%AFx", False),
    ("/fotos/*", "/fotos/%C0%AF..%C0%AFsecret", False),
    ("/fotos/*", "/fotos/%C0%A0", False),
    ("/fotos/*", "/fotos/%3B", False),
    ("/fotos/*", "/fotos/%3F", False),
    ("/fotos/*", "/fotos/%23", False),
    ("/fotos/*", "/fotos/%2A", False),
    ("/fotos/*", "/fotos/%5C..%5Csecret", False),
    ("/fotos/*", "/fotos/%7E", False),
    ("/fotos/*", "/fotos/%0A", False),
    ("/fotos/*", "/fotos/%7F", False),
    ("/fotos/*", "/fotos/%C2%85", False),
    ("/fotos/*", "/fotos/%C2%9F", False),
    ("/fotos/*", "/fotos/%C2%A0", False),
    ("/fotos/*", "/fotos/%E2%80%A8", False),
    ("/fotos/*", "/fotos/%E3%80%80x", False),
    ("/fotos/*", "/fotos/%EF%BC%8E%EF%BC%8E/secret", False),
    ("/fotos/*", "/fotos/..%EF%BC%8Fsecret", False),
    ("/fotos/*", "/fotos/%EF%BC%852e", False),
    ("/fotos/*", "/fotos/%E2%80%8B../secret", False),
    ("/fotos/*", "/fotos/..%E2%80%8B/secret", False),
    ("/fotos/*", "/fotos/.%EF%BB%BF.", False),
    ("/fotos/*", "/fotos/%E2%80%8B/secret", False),
    ("/fotos/*", "/fotos/.%CD%8F./secret", False),
    ("/fotos/*", "/fotos/..%EF%B8%8F/secret", False),
    ("/fotos/*", "/fotos/..%F3%A0%84%80/secret", False),
    ("/fotos/*", "/fotos/..%E1%85%9F/secret", False),
    ("/fotos/*", "/fotos/..%C2%A8/secret", False),
    ("/fotos/*", "/fotos/..%CC%81;a/secret", False),
    ("/fotos/*", "/fotos/..a%CC%81/secret", True),
    ("/fotos/*", "/fotos/%E2%9D%A4%EF%B8%8F", True),
    ("/fotos/*", "/fotos/%20..%20/secret", False),
    ("/fotos/*", "/fotos/..%20/secret", False),
    ("/fotos/*", "/fotos/%20../secret", False),
    ("/fotos/*", "/fotos/.%20./secret", False),
    ("/fotos/*", "/fotos/..%20;/secret", False),
    ("/fotos/*", "/fotos/a%20/b", False),
    ("/fotos/*", "/fotos/%20a", False),
    ("/fotos/*", "/fotos%20/a", False),
    ("/fotos/*", "/fotos/a%20b.%20c", True),
    ("/fotos/*", "/fotos/Käse", True),
    ("/fotos/*", "/fotos/Käse brot", False),
]


@pytest.mark.parametrize(("patterns", "path", "granted"), NAMES, ids=[f"{p}-{x!r}" for p, x, _ in NAMES])
def test_a_name_with_spaces_and_letters_beyond_ascii_is_decoded_once_and_has_no_disguise(
    patterns, path, granted
):
    caveat = CHECKERS.parse(f"path = {patterns}".encode())
    assert caveat == Path(patterns)
    assert caveat.predicate == f"path = {patterns}".encode()
    assert holds(caveat, path=path) is granted


@pytest.mark.parametrize(
    "value",
    [
        f"{BROT} {ENCODED}",
        "/a%2Fb",
        "/a%2fb",
        "/a/%2e%2e",
        "/a%25b",
        "/a%00",
        "/a%2A",
        "/%C0%AF",
        "/%E4",
        "/a%20/b",
        "/a /b/",
        "/ a",
        "/a  b",
        "/a%",
        "/a b%",
        "/..%20",
    ],
)
def test_a_pattern_in_disguise_is_no_path_caveat(value):
    if value in ("/a /b/", "/a  b"):  # two patterns, and a name with two spaces
        assert isinstance(CHECKERS.parse(f"path = {value}".encode()), Path)
    else:
        assert isinstance(CHECKERS.parse(f"path = {value}".encode()), UnknownCaveat)
        with pytest.raises(MalformedCaveat):
            Path(value)


def test_both_spellings_of_a_path_are_one_in_the_authority():
    assert Path(BROT).names == Path(ENCODED).names == (BROT,)
    assert effective([Path(BROT)]).paths == effective([Path(ENCODED)]).paths == ((ENCODED,),)
    assert Path("/fotos/*").repeats(effective([Path(BROT)])) is not None
    assert Path(BROT).repeats(effective([Path(ENCODED)])) == "the paths before it are no wider"
    assert Path(BROT).repeats(effective([Path("/fotos/*")])) is None
    assert Path.typed_by_hand(BROT) == Path.typed_by_hand(ENCODED) == ENCODED


@pytest.mark.parametrize("words", [(), ("a",), ("/a", "b"), ("/a", "")])
def test_each_path_of_a_caveat_is_absolute(words):
    with pytest.raises(MalformedCaveat):
        Path(*words)


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_path_that_is_granted_decodes_to_the_name_in_the_caveat(name, other):
    """Whatever a request line holds: what its server decodes once is what the caveat names."""
    try:
        caveat = Path(f"/{name}")
    except MalformedCaveat:
        return
    for decoded in (name, other):
        sent = "/" + quote(decoded.encode("utf-8", "surrogatepass"), safe="/;.")
        if len(caveat.names) == 1 and "*" not in name and holds(caveat, path=sent):
            assert unquote(sent) == caveat.names[0]


def test_a_path_of_any_length_is_judged_at_once():
    for path in ("/a" * 4096, "/" + "ä" * 8191):
        assert is_plain_path(path)
        assert not is_plain_path(path + "a")
    for path in ("/" + "%C3%A4" * 1365, "/." + "%20." * 2047 + "x", "/a" + "%20" * 2729 + "b"):
        with at_most(0.05):
            assert is_plain_path(path)
    for path in ("/" + ". " * 4000, "/" + "%E2%80%8B" * 900, "/" + "%" * 8000, "/" + ".%20" * 2000):
        with at_most(0.05):
            assert not is_plain_path(path)
    for path in ("/" + "\ufdfa" * 1_000_000, "/a" * 4000 + "/..", "." * 1_000_000):
        with at_most(0.05):
            assert not is_plain_path(path)


# host

HOST_ROWS = [
    ("photos.example", True),
    ("PHOTOS.Example", True),
    ("photos.example.", True),
    ("photos.example:443", True),
    ("photos.example.:8443", True),
    ("photos.example:", True),
    ("albums.example", True),
    ("other.example", False),
    ("photos.example.evil.example", False),
    ("evil-photos.example", False),
    ("x.photos.example", False),
    ("example", False),
    ("", False),
    (".", False),
    (":443", False),
    ("photos.example..", False),
    (".photos.example", False),
    ("photos..example", False),
    (" photos.example", False),
    ("photos.example ", False),
    ("photos .example", False),
    ("photos.example\t", False),
    ("photos.example\n", False),
    ("photos.example\r\nX: y", False),
    ("photos.example\0", False),
    ("photos.example, photos.example", False),
    ("other.example, photos.example", False),
    ("photos.example albums.example", False),
    ("alice@photos.example", False),
    ("photos.example@evil.example", False),
    ("photos.example:80@evil.example", False),
    ("http://photos.example", False),
    ("//photos.example", False),
    ("photos.example/", False),
    ("photos.example/x", False),
    ("photos.example?x", False),
    ("photos.example#x", False),
    ("photos.example\\x", False),
    ("photos.example:443:80", False),
    ("photos.example:https", False),
    ("photos.example:-1", False),
    ("photos.example:999999", False),
    ("photos.example:٤٤٣", False),
    ("photos%2eexample", False),
    ("photos。example", False),
    ("photos．example", False),
    ("ｐhotos.example", False),
    ("photos.ex\u0430mple", False),
    ("photos.exa\u0307mple", False),
    ("\u017fphotos.example", False),
    ("photos.example\udc80", False),
    ("[photos.example]", False),
    ("[::1]", False),
    ("*.example", False),
    ("*", False),
]


@pytest.mark.parametrize(("host", "granted"), HOST_ROWS, ids=[repr(host) for host, _ in HOST_ROWS])
def test_host_row(host, granted):
    assert holds(Host("photos.example", "albums.example"), host=host) is granted


def test_hosts_of_several_caveats_are_intersected():
    both = [Host("photos.example", "albums.example"), Host("albums.example", "x.example")]
    assert effective(both).words_of("host") == ("albums.example",)
    assert effective([Host("a.example"), Host("b.example")]).words_of("host") == ()


@pytest.mark.parametrize(
    ("kind", "typed", "held"),
    [
        (Host, "Photos.Example.", "photos.example"),
        (Method, "get", "GET"),
        (Path, "/A", "/A"),
        (Scope, "Photos:Read", "Photos:Read"),
    ],
)
def test_a_word_as_a_person_writes_it_is_brought_to_the_form_that_is_compared(kind, typed, held):
    assert kind(kind.typed_by_hand(typed)) == kind(held)


def test_a_kind_of_a_time_tells_it():
    assert [Expires(NOW).moment, NotBefore(NOW).moment, Renewed(NOW).moment] == [NOW] * 3


def test_a_host_of_any_length_is_judged_at_once():
    longest = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert parse_host(longest + ".:65535") == longest
    assert parse_host("a" + longest) is None
    for host in ("a." * 500_000, "a-" * 500_000, ":" * 1_000_000, "a" * 1_000_000):
        with at_most(0.005):
            assert parse_host(host) is None


# client-ip

IP_ROWS = [
    ("10.0.0.0/8", "10.0.0.1", True),
    ("10.0.0.0/8", "10.255.255.255", True),
    ("10.0.0.0/8", "11.0.0.0", False),
    ("10.0.0.0/8", "::ffff:10.0.0.1", True),
    ("10.0.0.0/8", "::FFFF:10.0.0.1", True),
    ("10.0.0.0/8", "::ffff:a00:1", True),
    ("10.0.0.0/8", "0:0:0:0:0:ffff:10.0.0.1", True),
    ("10.0.0.0/8", "::ffff:11.0.0.1", False),
    ("10.0.0.0/8", "::10.0.0.1", False),
    ("10.0.0.0/8", "64:ff9b::10.0.0.1", False),
    ("10.0.0.0/8", "010.0.0.1", False),
    ("10.0.0.0/8", "10.0.0.01", False),
    ("10.0.0.0/8", "0x0a.0.0.1", False),
    ("10.0.0.0/8", "167772161", False),
    ("10.0.0.0/8", "10.1", False),
    ("10.0.0.0/8", "10.0.0.1 ", False),
    ("10.0.0.0/8", " 10.0.0.1", False),
    ("10.0.0.0/8", "10.0.0.1\n", False),
    ("10.0.0.0/8", "10.0.0.1:8080", False),
    ("10.0.0.0/8", "10.0.0.1, 192.0.2.1", False),
    ("10.0.0.0/8", "10.0.0.1/8", False),
    ("10.0.0.0/8", "１０.0.0.1", False),
    ("10.0.0.0/8", "", False),
    ("10.0.0.0/8", "unix:", False),
    ("10.0.0.0/8", "[::ffff:10.0.0.1]", False),
    ("10.0.0.0/8", "::ffff:10.0.0.1%eth0", False),
    ("fe80::/10", "fe80::1", True),
    ("fe80::/10", "fe80::1%eth0", False),
    ("fe80::/10", "fe80::1%", False),
    ("2001:db8::/32", "2001:DB8:0:0::1", True),
    ("2001:db8::/32", "2001:db9::", False),
    ("::/0", "2001:db8::1", True),
    ("::/0", "10.0.0.1", False),
    ("::/0", "::ffff:10.0.0.1", False),
    ("0.0.0.0/0", "10.0.0.1", True),
    ("0.0.0.0/0", "::1", False),
    ("10.0.0.1", "10.0.0.1", True),
    ("10.0.0.1", "10.0.0.2", False),
    ("::1 10.0.0.0/8", "::1", True),
]


@pytest.mark.parametrize(
    ("networks", "address", "granted"), IP_ROWS, ids=[f"{n}-{x!r}" for n, x, _ in IP_ROWS]
)
def test_client_ip_row(networks, address, granted):
    assert holds(ClientIp(*networks.split(" ")), client_ip=address) is granted


def test_a_client_address_of_any_length_is_judged_at_once_and_not_remembered():
    before = _parse_address.cache_info().currsize
    for long in (":" * 1_000_000, "1." * 1_000_000, "1" * 1_000_000):
        with at_most(0.005):
            assert not holds(ClientIp("::1"), client_ip=long)
    assert _parse_address.cache_info().currsize == before
    assert parse_address("0000:0000:0000:0000:0000:ffff:255.255.255.255") is not None


def test_a_mapped_address_is_the_ipv4_address():
    assert str(parse_address("::ffff:10.0.0.1")) == "10.0.0.1"
    assert str(parse_address("2001:db8::1")) == "2001:db8::1"
    assert parse_address("fe80::1%1") is None


# method, audience


@pytest.mark.parametrize(
    ("method", "granted"),
    [
        ("GET", True),
        ("HEAD", True),
        ("POST", False),
        ("get", False),
        ("GET ", False),
        ("", False),
        ("G\nX", False),
    ],
)
def test_method_row(method, granted):
    assert holds(Method("GET", "HEAD"), method=method) is granted


@pytest.mark.parametrize(
    ("caveats", "allowed"),
    [
        pytest.param([Method("GET")], ["GET", "HEAD"], id="GET"),
        pytest.param([Method("HEAD")], ["HEAD"], id="not the reverse"),
        pytest.param([Method("PUT", "GET")], ["PUT", "GET", "HEAD"], id="GET among others"),
        pytest.param([Method("POST", "PUT")], ["POST", "PUT"], id="without GET"),
        pytest.param([Method("GET"), Method("HEAD")], ["HEAD"], id="narrowed to HEAD"),
        pytest.param([Method("HEAD", "PUT"), Method("GET")], ["HEAD"], id="HEAD is what is left"),
        pytest.param([Method("GET"), Method("PUT")], [], id="nothing is left"),
    ],
)
def test_get_stands_for_head_which_tells_less(caveats, allowed):
    """RFC 9110, section 9.3.2. The authority that is shown lists what is granted."""
    for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE"):
        assert all(holds(caveat, method=method) is True for caveat in caveats) is (method in allowed)
    assert list(effective(caveats).methods) == allowed


@pytest.mark.parametrize(
    ("audience", "granted"),
    [("photos", True), ("thumbs", True), ("photo", False), ("Photos", False), ("", False)],
)
def test_audience_row(audience, granted):
    assert holds(Audience("photos", "thumbs"), audience=audience) is granted


# what stands always


@pytest.mark.parametrize("caveat", [*EXAMPLES[Note], *EXAMPLES[Renewed], *EXAMPLES[Parent]], ids=str)
def test_a_label_always_holds(caveat):
    assert holds(caveat)
    assert holds(caveat, user="x", path="/x", method="X", client_ip="x", scopes=("x",))


# refusals explain themselves

EXPLAINED = [
    (User("alice"), {"user": "bob"}, "the request is made as 'bob'", "a request made as 'alice'"),
    (
        Expires(NOW),
        {},
        "it is 2026-11-21T12:00:00Z",
        "a request before 2026-11-21T12:00:00Z; ask for a fresh token",
    ),
    (NotBefore(NOW + HOUR), {}, "it is 2026-11-21T12:00:00Z", "a request at 2026-11-21T13:00:00Z or later"),
    (
        Scope("a:b"),
        {},
        "the request names no scope, which only * covers",
        "a request that needs no more than a:b",
    ),
    (Scope("a:b"), {"scopes": ("a:c",)}, "the request needs a:c", "a request that needs no more than a:b"),
    (Scope("a:b"), {"scopes": ("a",)}, "the request needs 'a', which is not a scope", "resource:action"),
    (Audience("a"), {}, "the request has no audience", "an app that is one of: a"),
    (Audience("a"), {"audience": "b"}, "this app is 'b'", "an app that is one of: a"),
    (Method("GET"), {}, "the request has no method", "one of: GET"),
    (Method("GET"), {"method": "PUT"}, "the request's method is PUT", "one of: GET"),
    (Method("GET"), {"method": "p\nt"}, "'p\\nt' is no HTTP method in upper case", "one of: GET"),
    (Path("/a"), {}, "the request has no path", "one of: /a"),
    (Path("/a"), {"path": "/b"}, "the request's path is /b", "one of: /a"),
    (
        Path("/a"),
        {"path": "/%61"},
        "the request's path is not in plain form",
        "a path without dot segments or escapes",
    ),
    (Host("a.example"), {}, "the request has no host", "one of: a.example"),
    (Host("a.example"), {"host": "B.example:80"}, "the request's host is b.example", "one of: a.example"),
    (Host("a.example"), {"host": "a b"}, "the request's host is not a DNS name", "one of: a.example"),
    (ClientIp("::1"), {}, "the request has no client address", "a client in: ::1"),
    (
        ClientIp("::1"),
        {"client_ip": "x"},
        "the request's client address is not an IP address",
        "a client in: ::1",
    ),
    (
        ClientIp("::1"),
        {"client_ip": "::ffff:10.0.0.1"},
        "the client's address is 10.0.0.1",
        "a client in: ::1",
    ),
]


@pytest.mark.parametrize(
    ("caveat", "facts", "reason", "hint"), EXPLAINED, ids=[f"{r[0]}-{r[2]}" for r in EXPLAINED]
)
def test_a_refusal_says_what_the_request_had_and_what_would_pass(caveat, facts, reason, hint):
    assert CHECKERS.answer(caveat, Context(now=NOW, **facts)) == Unmet(reason, hint)


@pytest.mark.parametrize("odd", ["\ud800", "\0", "x\ny", "\u202e", "", " ", "x" * 10_000])
def test_a_refusal_of_odd_facts_can_be_printed_on_one_line(odd):
    context = Context(
        now=NOW, audience=odd, scopes=(odd,), method=odd, path=odd, host=odd, client_ip=odd, user=odd
    )
    for caveat in (
        User("u"),
        Scope("a:b"),
        Audience("a"),
        Method("GET"),
        Path("/a"),
        Host("h"),
        ClientIp("::1"),
    ):
        unmet = CHECKERS.answer(caveat, context)
        assert unmet.reason.encode("utf-8")
        assert len(unmet.reason.splitlines()) == 1


def test_an_unmet_is_false():
    assert not Unmet("reason", "hint")


def test_facts_of_a_wrong_type_refuse():
    context = Context(
        now=NOW, audience=1, scopes=(1, None), method=1, path=1, host=1, client_ip=object(), user=1
    )
    for caveat in (
        User("u"),
        Scope("a:b"),
        Audience("a"),
        Method("GET"),
        Path("/a"),
        Host("h"),
        ClientIp("::1"),
    ):
        assert CHECKERS.answer(caveat, context) is not None


def test_moments_are_written_in_utc_to_the_second():
    assert write_moment(datetime(2026, 1, 1, 1, 2, 3, 999, tzinfo=timezone(HOUR))) == "2026-01-01T00:02:03Z"
    assert outcome(Expires.parse, "2026-01-01T00:00:00+00:00") is MalformedCaveat
