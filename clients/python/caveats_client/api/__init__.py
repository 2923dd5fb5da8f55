"""The service's HTTP API as values: calls, responses and errors. Does no I/O.

Reading order: `calls` (one builder an endpoint), `responses` (every body), `errors`, `tokens`.
"""
