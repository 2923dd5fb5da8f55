"""Collects discharges over HTTP: asks third parties for the discharges that a token's third-party caveats need.

Third parties are not trusted: an allowlist says where requests may go, and every answer is read as hostile input.
Knows no client and no framework.

Reading order: `protocol` (what to ask, in which state; no I/O), `answers` (what third parties say), `required` (which
macaroon to discharge), `agent` (an agent's key file), `allowlist` (where requests may go), `runner` (sends them).
"""
