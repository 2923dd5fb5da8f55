"""Collecting discharges over HTTP.

Reading order: `protocol` (what to ask and when to stop; no I/O), `runner` (sends it), `allowlist` (where it may go).
"""
