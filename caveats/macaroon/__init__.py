"""The macaroon as a value: mint, narrow, read, bind. Knows the chain and the kinds, judges nothing.

Reading order: `macaroon` (one macaroon), `bundle` (a macaroon with its discharges).
"""
