"""What users of the library must not get past the type checker. Every marked line is an error."""

# ruff: noqa: ARG005, B018, I001, INP001  # errors are the point here, and this is no package

from __future__ import annotations

from datetime import UTC, datetime

from caveats import Album  # type: ignore[attr-defined]
from caveats import (
    Bundle,
    Context,
    Expires,
    Grant,
    Identifier,
    Macaroon,
    Note,
    Scope,
    UnknownCaveat,
    User,
    Verifier,
    authenticate,
    standard_checkers,
    unsatisfied,
)

NOW = datetime.now(UTC)
TOKEN = Macaroon.mint(b"key", b"id")

Macaroon.mint("key", b"id")  # type: ignore[arg-type]
Macaroon.mint(b"key", "id")  # type: ignore[arg-type]
TOKEN.attenuate("user = alice")  # type: ignore[arg-type]
TOKEN.wire = TOKEN.wire  # type: ignore[misc]
TOKEN.caveats  # type: ignore[attr-defined]
Macaroon.decode(b"cav1_")  # type: ignore[arg-type]

unsatisfied(TOKEN.unverified_caveats, standard_checkers(), Context(now=NOW))  # type: ignore[arg-type]
unsatisfied(TOKEN, standard_checkers(), Context(now=NOW))  # type: ignore[arg-type]
authenticate("cav1_", b"key")  # type: ignore[arg-type]
authenticate(Bundle(TOKEN), None)  # type: ignore[arg-type]

Context()  # type: ignore[call-arg]
Context(now="2026-11-21")  # type: ignore[arg-type]
Context(now=NOW, scopes="a:b")  # type: ignore[arg-type]
Context(now=NOW).user = "alice"  # type: ignore[misc]

User(7)  # type: ignore[arg-type]
Expires("2026-12-01T00:00:00Z")  # type: ignore[arg-type]
Expires.after(3600, now=NOW)  # type: ignore[arg-type]
Scope(["a:b"])  # type: ignore[arg-type]
Note("x").text = "y"  # type: ignore[misc]
Identifier("k1", "photos", "0" * 26, "3")  # type: ignore[arg-type]

standard_checkers().register(Note, lambda caveat: True)  # type: ignore[arg-type, misc]
standard_checkers().register("note", lambda caveat, context: True)  # type: ignore[arg-type]


def check_user(caveat: User, context: Context) -> bool:
    """A check of another kind."""
    return True


standard_checkers().register(Note, check_user)  # type: ignore[arg-type]


def serve(verifier: Verifier) -> Grant:
    """A keyring is no verifier, and a grant is frozen."""
    grant = verifier.verify(7, Context(now=NOW))  # type: ignore[arg-type]
    grant.user = "bob"  # type: ignore[misc]
    Verifier(b"key")  # type: ignore[arg-type]
    return UnknownCaveat(b"x")  # type: ignore[return-value]


__all__ = ["Album", "serve"]
