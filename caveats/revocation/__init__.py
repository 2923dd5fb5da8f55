"""Revocation: entries, the set that answers in constant time, and the feed that carries them. Knows no storage.

Reading order: `revocation_set`, `feed`.
"""
