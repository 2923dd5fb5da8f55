"""A service whose certificate is from a CA of its own: `SSL_CERT_FILE` and `SSL_CERT_DIR`, over real TLS.

The CA and the certificate are made here. A TLS server in front hands each connection on to a real service.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from caveats_client import AsyncClient, Client, Unavailable, UnusableCertificates, calls
from caveats_client.verifiers.local import LocalVerifier
from caveats_client.verifiers.remote import RemoteVerifier
from tests.support.local import World, context, options, world_in

HINT = "for a CA of your own, name the file of its certificate in SSL_CERT_FILE"


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(
    subject: str, issuer: str, key: Any, signed_by: Any, *, ca: bool, alternatives: list[x509.GeneralName]
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.public_key()), critical=False
        )
    )
    if ca:
        usage = {
            "digital_signature": False,
            "content_commitment": False,
            "key_encipherment": False,
            "data_encipherment": False,
            "key_agreement": False,
            "encipher_only": False,
            "decipher_only": False,
        }
        builder = builder.add_extension(
            x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(signed_by, hashes.SHA256())


class Front:
    """A TLS server on this machine that hands every connection on to the port of a service."""

    def __init__(self, folder: Path, port: int) -> None:
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca = certificate("a CA of our own", "a CA of our own", ca_key, ca_key, ca=True, alternatives=[])
        alternatives = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        own = certificate(
            "localhost", "a CA of our own", key, ca_key, ca=False, alternatives=list(alternatives)
        )
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(ca.public_bytes(Encoding.PEM))
        pair = folder / "own.pem"
        pair.write_bytes(
            own.public_bytes(Encoding.PEM)
            + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(pair)
        self._port = port
        self._listening = socket.create_server(("", 0))  # also as 127.0.0.2
        self.url = f"https://localhost:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                raw, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        with suppress(OSError), raw:
            near = self._tls.wrap_socket(raw, server_side=True)
            with near, socket.create_connection(("127.0.0.1", self._port)) as far:
                threading.Thread(target=self._pump, args=(far, near), daemon=True).start()
                self._pump(near, far)

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("service")) as made:
        yield made


@pytest.fixture(scope="module")
def front(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    made = Front(tmp_path_factory.mktemp("tls"), int(world.url.rpartition(":")[2]))
    yield made
    made.close()


@pytest.fixture
def trusted(front: Front, monkeypatch: pytest.MonkeyPatch) -> Front:
    monkeypatch.setenv("SSL_CERT_FILE", str(front.ca))
    return front


def about(url: str) -> str:
    with Client(url) as client:
        return client.send(calls.about()).service


def caveats(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).parent / "caveats", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )


def test_clients_trust_the_ca_that_the_variable_names(trusted: Front) -> None:
    assert about(trusted.url) == "Caveats"

    async def ask() -> str:
        async with AsyncClient(trusted.url) as client:
            return (await client.send(calls.about())).service

    assert asyncio.run(ask()) == "Caveats"


def test_verifiers_trust_it(trusted: Front, world: World) -> None:
    text = world.token()
    with LocalVerifier(**options(world.register(), trusted.url)) as verifier:
        assert verifier.verify(text, context()).user == "admin"
    remote = RemoteVerifier(trusted.url, audience="photos")
    assert remote.verify(text, context()).user == "admin"
    remote.close()


def test_a_third_party_is_asked_over_it(trusted: Front) -> None:
    with Client(trusted.url) as client:
        assert client.third_party().location == trusted.url


@pytest.mark.slow
def test_the_command_trusts_it_and_says_what_to_do_without_it(front: Front, world: World) -> None:
    text = world.token()
    good = caveats("whoami", text, "--url", front.url, SSL_CERT_FILE=str(front.ca))
    assert good.returncode == 0, good.stderr
    bad = caveats("whoami", text, "--url", front.url, SSL_CERT_FILE="")
    assert (bad.returncode, bad.stdout, len(bad.stderr.splitlines())) == (6, "", 1), bad.stderr
    assert HINT in bad.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl names the files of a folder")
def test_a_folder_of_certificates_is_trusted(
    front: Front, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copy(front.ca, tmp_path / "ca.pem")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with pytest.raises(UnusableCertificates, match="openssl rehash"):
        Client(front.url)
    subprocess.run(["openssl", "rehash", tmp_path], check=True, capture_output=True, timeout=30)
    assert about(front.url) == "Caveats"
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path / 'none'}{os.pathsep}{tmp_path}")
    assert about(front.url) == "Caveats"


def test_without_the_variable_the_service_is_not_trusted_and_the_error_says_what_to_set(
    front: Front, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    with pytest.raises(Unavailable, match=HINT):
        about(front.url)
    verifier = LocalVerifier(**options(world.register(), front.url), start_timeout=3)
    with pytest.raises(Exception, match=HINT):
        verifier.start()
    verifier.close()


def test_another_name_than_the_certificate_s_is_not_a_matter_of_the_ca(trusted: Front) -> None:
    url = trusted.url.replace("localhost", "127.0.0.2")
    with pytest.raises(Unavailable, match="match") as caught:
        about(url)
    assert HINT not in str(caught.value)


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "folder", "key"])
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_variable_that_names_no_certificates_is_one_clear_error(  # noqa: PLR0917  # two fixtures
    front: Front, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, kind: str
) -> None:
    named = tmp_path / "named"
    if kind == "empty":
        named.touch()
    elif kind == "text":
        named.write_text("hello")
    elif kind == "folder":
        named.mkdir()
    elif kind == "key":
        named.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv(variable, str(named))
    makers = (
        lambda: Client(front.url),
        lambda: RemoteVerifier(front.url),
        lambda: LocalVerifier(**options(world.register(), front.url)),
    )
    for make in makers:
        with pytest.raises(UnusableCertificates) as caught:
            make()
        assert variable in str(caught.value)
        assert str(named) in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["whoami", "TOKEN"], ["login", "alice"], ["verifier", "list"], ["tokens"]]
)
def test_the_command_says_in_one_line_that_the_file_is_missing(
    world: World, front: Front, tmp_path: Path, command: list[str]
) -> None:
    token = world.token()
    given = [token if word == "TOKEN" else word for word in command]
    missing = str(tmp_path / "missing.pem")
    environment = {"SSL_CERT_FILE": missing, "CAVEATS_TOKEN": token, "CAVEATS_PASSWORD": "correct horse"}
    done = caveats(*given, "--url", front.url, **environment)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert done.stderr.startswith(
        f"caveats: SSL_CERT_FILE names {missing}, which cannot be used: No such file"
    )
