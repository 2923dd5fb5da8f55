"""What is exported: named, documented, and imported without touching the world."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import caveats
from caveats import errors

EXPECTED = [
    "DEFAULT_LIMITS",
    "Audience",
    "AudienceKey",
    "AudienceKeyring",
    "Authenticated",
    "Authority",
    "BadSignature",
    "BindingMismatch",
    "BranchRevocation",
    "Bundle",
    "Caveat",
    "CaveatsError",
    "Checkers",
    "ClientIp",
    "Context",
    "DamagedToken",
    "DischargeRefused",
    "Discharged",
    "Discharger",
    "Expires",
    "Failure",
    "Grant",
    "Host",
    "Identifier",
    "Introspection",
    "InvalidKey",
    "KeyState",
    "Keyring",
    "LimitExceeded",
    "Limits",
    "Macaroon",
    "MalformedCaveat",
    "MalformedTicket",
    "MalformedToken",
    "MasterKey",
    "MasterKeyring",
    "Method",
    "MissingDischarge",
    "NotBefore",
    "NotPicklable",
    "Note",
    "Parent",
    "Path",
    "PrivateKey",
    "Refused",
    "RejectedDelivery",
    "Renewed",
    "Repeated",
    "Revocation",
    "RevocationSet",
    "Revoked",
    "Scope",
    "Stale",
    "ThirdParty",
    "ThirdPartyCaveat",
    "Ticket",
    "TokenRevocation",
    "Unbound",
    "UnknownCaveat",
    "UnknownKey",
    "Unmet",
    "UnsatisfiedCaveats",
    "UnusedDischarge",
    "User",
    "UserRevocation",
    "Verifier",
    "WrongAudience",
    "authenticate",
    "collect",
    "discharge",
    "effective",
    "new_token_id",
    "open_ticket",
    "renew",
    "repeated",
    "standard_checkers",
    "unsatisfied",
    "verify",
]
MODULES = ["caveats", *(f"caveats.{module.name}" for module in pkgutil.iter_modules(caveats.__path__))]


def test_the_exported_names_are_these():
    assert sorted(caveats.__all__) == sorted(EXPECTED)
    assert len(set(caveats.__all__)) == len(caveats.__all__)


@pytest.mark.parametrize("name", caveats.__all__)
def test_every_exported_name_has_a_docstring(name):
    thing = getattr(caveats, name)
    assert (inspect.getdoc(thing) or "").strip()
    if inspect.isclass(thing) and thing.__module__.startswith("caveats"):
        assert (thing.__doc__ or "").strip()
        for member, value in vars(thing).items():
            if not member.startswith("_") and (callable(value) or isinstance(value, (property, classmethod))):
                assert inspect.getdoc(getattr(thing, member)), f"{name}.{member}"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_knows(module):
    assert (importlib.import_module(module).__doc__ or "").strip()


def test_the_error_family_is_the_tree_drawn_at_its_top():
    drawn = [
        line.strip("│├└─ ").split(" ")[0] for line in errors.__doc__.splitlines() if line.startswith("    ")
    ]
    family = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)]
    assert sorted(drawn) == sorted(one.__name__ for one in family)
    assert all(issubclass(one, errors.CaveatsError) for one in family)
    assert all(one.__name__ in caveats.__all__ for one in family)


WATCH = """
import sys, cryptography.hazmat.primitives.kdf.hkdf, cryptography.hazmat.primitives.hashes, nacl.bindings, pymacaroons
import pymacaroons.serializers, pybase64, ipaddress, ulid, json, dataclasses, unicodedata, importlib, os, random
from pathlib import Path
home, seen = str(Path(sys.argv[1])), []
def watch(event, arguments):
    if event in ("open", "os.listdir", "os.scandir"):
        if isinstance(arguments[0], int) or not str(arguments[0]).startswith(home):
            seen.append((event, arguments[0]))
    elif event.split(".")[0] in ("socket", "subprocess", "os", "shutil", "tempfile", "urllib", "sqlite3", "fcntl"):
        seen.append((event, arguments))
sys.addaudithook(watch)
for name in sys.argv[2:]:
    importlib.import_module(name)
print(seen)
"""


def test_importing_does_no_input_or_output():
    """The interpreter reads the library's own files, and that is all that happens."""
    home = caveats.__path__[0]
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCH, home, *MODULES], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_importing_the_library_imports_neither_service_nor_client():
    code = "import sys, caveats; print([m for m in sys.modules if m.startswith(('caveats_', 'starlette', 'httpx'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
