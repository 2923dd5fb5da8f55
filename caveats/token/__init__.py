"""The token: its bytes, its text, and the chain of HMACs that signs them. Knows no kind of caveat.

Reading order: `chain` (all cryptography), `wire` (the canonical encoding), `legacy` (the classic encodings),
`identifier` (the identifier of our own tokens), `tuples` (a faster constructor for both).
"""

from __future__ import annotations

from caveats.token.chain import BRANCH_ID_SIZE, branch_id, derive, extend_all, mac, pads, same
from caveats.token.identifier import (
    Identifier,
    is_audience,
    is_key_id,
    is_token_id,
    issue_time,
    new_token_id,
    parse_identifier,
)
from caveats.token.legacy import decode_any_base64
from caveats.token.wire import PREFIX, ThirdPartyCaveat, WireMacaroon, decode_base64, encode_base64

__all__ = [
    "BRANCH_ID_SIZE",
    "PREFIX",
    "Identifier",
    "ThirdPartyCaveat",
    "WireMacaroon",
    "branch_id",
    "decode_any_base64",
    "decode_base64",
    "derive",
    "encode_base64",
    "extend_all",
    "is_audience",
    "is_key_id",
    "is_token_id",
    "issue_time",
    "mac",
    "new_token_id",
    "pads",
    "parse_identifier",
    "same",
]
