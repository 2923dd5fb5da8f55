"""What a caveat means: the grammar of predicates, the standard kinds, the checkers that judge them. Knows no key.

Reading order: `base` (the shape of a kind), `values` (three shapes of value), `scopes` (scope patterns), `facts` (paths,
hosts, addresses), `standard` (every standard kind with its check, and the table of them), `checkers` (which kinds an app
knows), `authority` (what is left of a token).
"""

from __future__ import annotations

from caveats.kinds.authority import Authority, Repeated, effective, repeated
from caveats.kinds.base import (
    Answer,
    Caveat,
    Check,
    UnknownCaveat,
    Unmet,
    check_caveat,
    check_value,
    is_kind,
    parse_predicate,
)
from caveats.kinds.checkers import (
    DISCHARGER,
    HOLDER,
    ISSUER,
    Checkers,
    Question,
    standard_checkers,
    unsatisfied,
)
from caveats.kinds.facts import Address, Network, is_plain_path, parse_address, parse_host, path_covers
from caveats.kinds.scopes import OWN_NAMESPACE, ScopePattern, is_own_scope, parse_scope
from caveats.kinds.standard import (
    STANDARD,
    STANDARD_KINDS,
    Audience,
    ClientIp,
    Expires,
    Host,
    Method,
    NotBefore,
    Note,
    OneOf,
    Parent,
    Path,
    Renewed,
    Scope,
    StandardKind,
    User,
)
from caveats.kinds.values import MomentCaveat, TextCaveat, WordsCaveat, parse_moment, write_moment

__all__ = [
    "DISCHARGER",
    "HOLDER",
    "ISSUER",
    "OWN_NAMESPACE",
    "STANDARD",
    "STANDARD_KINDS",
    "Address",
    "Answer",
    "Audience",
    "Authority",
    "Caveat",
    "Check",
    "Checkers",
    "ClientIp",
    "Expires",
    "Host",
    "Method",
    "MomentCaveat",
    "Network",
    "NotBefore",
    "Note",
    "OneOf",
    "Parent",
    "Path",
    "Question",
    "Renewed",
    "Repeated",
    "Scope",
    "ScopePattern",
    "StandardKind",
    "TextCaveat",
    "UnknownCaveat",
    "Unmet",
    "User",
    "WordsCaveat",
    "check_caveat",
    "check_value",
    "effective",
    "is_kind",
    "is_own_scope",
    "is_plain_path",
    "parse_address",
    "parse_host",
    "parse_moment",
    "parse_predicate",
    "parse_scope",
    "path_covers",
    "repeated",
    "standard_checkers",
    "unsatisfied",
    "write_moment",
]
