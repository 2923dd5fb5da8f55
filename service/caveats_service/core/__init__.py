"""The service's own rules: issuing, keys, passwords, rates, and the runtime that holds them. Knows no HTTP and no SQL.

Reading order: `runtime`, `issuing`, `master_keys`, `feed`, `passwords`, `rate_limit`, `usernames`, `plugins`.
"""
