"""The service's HTTP API as values. Does no I/O and knows no HTTP library.

Reading order: `calls` (one function for each endpoint), `responses` (the bodies of answers), `errors` (what else a call
can end in), `tokens` (what counts as a token).
"""
