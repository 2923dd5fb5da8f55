"""Third-party caveats, both sides: tickets that only the third party reads, and the discharges that answer them.

Knows no HTTP. Reading order: `ticket`, `discharge` (the third party's side), `collect` (the holder's side).
"""
