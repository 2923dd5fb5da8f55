"""HTTP: requests in, problems out. Knows Starlette; decides nothing about tokens or accounts.

Reading order: `edge` (what every request has to pass), `router` (from a path to an endpoint), `request` (one request),
`credentials` (who calls), `schemas` (every body), `errors` (every problem), `idempotency`, `routes` (the endpoints).
"""
