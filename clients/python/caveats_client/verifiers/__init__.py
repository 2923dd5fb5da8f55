"""Verification for apps: `local` with an audience's keys and the revocation feed, `remote` by asking the service.

Reading order: `local`, `remote`, `sync`, `replica`, `freshness`, `feed_client`, `state_files`, `registration`.
"""
