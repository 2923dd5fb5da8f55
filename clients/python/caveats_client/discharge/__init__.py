"""Collecting discharges over HTTP: third parties are asked for what a token's third-party caveats need.

Knows third parties as strangers: where requests may go is decided before they are sent, and every answer is hostile
until it is read. Knows no client and no framework.

Reading order: `protocol` (what to ask, in which state; no I/O), `answers` (what third parties say), `required` (what
has to be discharged), `agent` (an agent's key file), `allowlist` (where requests may go), `runner` (sends them).
"""
