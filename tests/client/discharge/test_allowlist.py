"""Whom anything may be sent to: exact origins, public addresses, and the very address that was looked at."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from caveats.bakery import BakeryParty
from caveats_client import Unavailable, UnusableAddress, transport
from caveats_client.discharge import runner
from caveats_client.discharge.allowlist import Allowlist, is_public
from caveats_client.discharge.protocol import Steps, finding
from tests.support.bakery import KEY, ThirdParty, said, site

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

IDM = httpx.URL("https://idm.example")


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "8.8.8.8"])
def test_public_addresses_may_be_connected_to(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
    assert Allowlist.to(["https://idm.example"]).checked(IDM, [address]) == (address,)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "192.0.0.1",
        "198.18.0.1",
        "203.0.113.1",
        "240.0.0.1",
        "255.255.255.255",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "fec0::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "2002:7f00:1::1",
        "2001:0:7f00:1::1",
    ],
)
def test_loopback_link_local_private_and_wrapped_addresses_are_refused_unless_allowed(address: str) -> None:
    with pytest.raises(UnusableAddress, match="private network"):
        Allowlist.to(["https://idm.example"]).checked(IDM, [address])
    allowing = Allowlist.to(["https://idm.example"], allow_private=True)
    assert allowing.checked(IDM, [address]) == (address,)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "nonsense"])
def test_what_is_no_host_s_address_is_refused_always(address: str) -> None:
    with pytest.raises(UnusableAddress):
        Allowlist.to(["https://idm.example"], allow_private=True).checked(IDM, [address])


def test_one_bad_address_among_good_ones_refuses() -> None:
    with pytest.raises(UnusableAddress):
        Allowlist.to(["https://idm.example"]).checked(IDM, ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(UnusableAddress):
        Allowlist.to(["https://idm.example"]).checked(IDM, [])


@pytest.mark.parametrize(
    "location",
    [
        "https://idm.example:444",
        "https://idm.example.",
        "https://evil.example",
        "https://idm.example.evil.example",
        "https://idm.example@evil.example",
        "https://sub.idm.example",
        "http://idm.example",
    ],
)
def test_an_origin_is_compared_exactly(location: str) -> None:
    allowlist = Allowlist.to(["https://idm.example/discharger"])
    assert allowlist.place("https://IDM.example:443/deep/").path == "/deep/"
    with pytest.raises(UnusableAddress):
        allowlist.place(location)


@pytest.mark.parametrize("port", [0, 65536, 99999, 10**12])
def test_a_port_that_there_is_not_is_no_address(port: int) -> None:
    with pytest.raises(UnusableAddress):
        Allowlist.to([f"https://idm.example:{port}"])
    with pytest.raises(UnusableAddress):
        Allowlist.to(["https://idm.example"]).place(f"https://idm.example:{port}")


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("", b"/"),
        ("/a//", b"/a/"),
        ("/a?", b"/a/"),
        ("/%0d%0aHost:evil", b"/%0d%0aHost:evil/"),
        ("/a%2fb", b"/a%2fb/"),
        ("/%zz", b"/%zz/"),
    ],
)
def test_a_path_goes_out_as_it_was_written(path: str, written: bytes) -> None:
    assert Allowlist.to(["https://idm.example"]).place(f"https://idm.example{path}").url.raw_path == written


# Names


class Names:
    """A name server that says something else each time it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if not str(name).endswith(".example"):
            return self._real(host, port, *rest, **more)
        self.asked.append(name)
        if not self.answers:
            raise socket.gaierror("no such host")
        found = self.answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]


def drive(steps: Steps[BakeryParty], allowlist: Allowlist, *, awaiting: bool) -> BakeryParty:
    return asyncio.run(runner.run_async(steps, allowlist)) if awaiting else runner.run(steps, allowlist)


def find(location: str, allowlist: Allowlist, *, awaiting: bool) -> BakeryParty:
    return drive(finding(location, allowlist, clock=runner.clock), allowlist, awaiting=awaiting)


both = pytest.mark.parametrize("awaiting", [False, True], ids=["sync", "async"])


@both
def test_a_name_is_resolved_once_and_the_connection_goes_where_it_was_looked_at(
    monkeypatch: pytest.MonkeyPatch, awaiting: bool
) -> None:
    """DNS rebinding: what the name stands for a moment later is never asked."""
    with site() as there:
        ThirdParty(there)
        names = Names(monkeypatch, ["127.0.0.1"], ["10.255.255.1"])
        location = f"http://idm.example:{there.port}"
        allowlist = Allowlist.to([location], allow_http=True, allow_private=True)
        assert find(location, allowlist, awaiting=awaiting).public_key == KEY.public_key
        assert names.asked == ["idm.example"]
        assert there.asked[0].headers["host"] == f"idm.example:{there.port}"


@both
def test_a_name_that_leads_inside_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch, awaiting: bool
) -> None:
    with site() as there:
        Names(monkeypatch, ["127.0.0.1"])
        location = f"http://idm.example:{there.port}"
        with pytest.raises(UnusableAddress, match="private network"):
            find(location, Allowlist.to([location], allow_http=True), awaiting=awaiting)
        assert not there.asked


@both
def test_the_next_address_is_tried_where_nobody_listens(
    monkeypatch: pytest.MonkeyPatch, awaiting: bool
) -> None:
    with site() as there:
        ThirdParty(there)
        Names(monkeypatch, ["127.0.0.2", "127.0.0.1"])
        location = f"http://idm.example:{there.port}"
        allowlist = Allowlist.to([location], allow_http=True, allow_private=True)
        assert find(location, allowlist, awaiting=awaiting).public_key == KEY.public_key


@both
def test_a_name_that_does_not_exist_is_a_typed_error(monkeypatch: pytest.MonkeyPatch, awaiting: bool) -> None:
    Names(monkeypatch)
    with pytest.raises(Unavailable, match="no such host"):
        find("https://idm.example", Allowlist.to(["https://idm.example"]), awaiting=awaiting)


@both
def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch, awaiting: bool) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with site() as there:
        ThirdParty(there)
        allowlist = Allowlist.to([], own=[there.url])
        assert find(there.url, allowlist, awaiting=awaiting).version == 3


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for idm.example, that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idm.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("idm.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "idm.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


@both
def test_tls_is_spoken_with_the_name_and_not_with_the_address(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, awaiting: bool
) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    shaken: list[Any] = []
    server.sni_callback = lambda _, name, __: shaken.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(transport, "tls", lambda: trusting)
    with site(tls=server) as there:
        ThirdParty(there)
        Names(monkeypatch, ["127.0.0.1"], ["127.0.0.1"])
        location = f"https://idm.example:{there.port}"
        allowlist = Allowlist.to([location], allow_private=True)
        assert find(location, allowlist, awaiting=awaiting).public_key == KEY.public_key
        assert shaken == ["idm.example"]
        other = f"https://other.example:{there.port}"
        with pytest.raises(Unavailable, match=r"(?i)certificate"):
            find(other, Allowlist.to([other], allow_private=True), awaiting=awaiting)
        assert len(there.asked) == 1


# The key of a third party


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"PublicKey": 7},
        {"PublicKey": "AAAA", "Version": 3},
        {"PublicKey": "A" * 43, "Version": 3},
        {"PublicKey": "B" * 42 + "E", "Version": 0},
        {"PublicKey": "B" * 42 + "E", "Version": "3"},
    ],
)
def test_a_third_party_that_tells_no_key_is_a_typed_error(info: dict[str, Any]) -> None:
    from caveats_client import BadDischarge

    with site({"/discharge/info": lambda _: said(info)}) as there, pytest.raises(BadDischarge):
        find(there.url, Allowlist.to([], own=[there.url]), awaiting=False)
