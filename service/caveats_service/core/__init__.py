"""The service's own rules: who may have which token, keys, revocation, accounts. Knows no HTTP and no SQL.

Each part holds its own state; `caveats_service/runtime.py` joins them. What goes wrong is raised as a `ServiceError`.
Reading order: `errors` (what is refused), `lineage`, `issuing`, `verifying`, `revoking`, `feed`, `accounts`, `labels`, `passwords`,
`turns`, `rate_limit`, `usernames`, `master_keys`, `service_keys`, `plugins`, `clock`.
"""
