"""The service's HTTP API as values. Does no I/O and knows no HTTP library.

Reading order: `calls` (one function for each endpoint), `messages` (one request and its reply), `responses` (the bodies
of answers), `members` (how a body is read), `errors` (what else a call can end in), `tokens` (what counts as a token).
"""
