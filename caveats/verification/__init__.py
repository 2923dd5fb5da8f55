"""The decision: authenticate a token, then judge its caveats. Knows keys and kinds, does no I/O.

Reading order: `authenticate` (the HMAC tree), `verifier` (the whole decision), `renewal` (the same token, later).
"""
