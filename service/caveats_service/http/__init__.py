"""HTTP: requests in, problems out. Knows Starlette; decides nothing about tokens or accounts.

Reading order: `request` (one request with its caller), `schemas` (every body), `errors` (every problem),
`idempotency`, `routes` (the endpoints).
"""
