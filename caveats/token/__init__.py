"""The token: its bytes, its text, and the chain of HMACs that signs them. Knows no kind of caveat.

Reading order: `chain` (all cryptography), `wire` (the canonical encoding), `legacy` (the classic encodings),
`identifier` (what our own tokens are called).
"""
