"""The endpoints, a file for each subject. Each says who may call it and does one thing.

Knows bodies and callers; knows no SQL, and leaves rules to `core`. A new endpoint is a pair of bodies in `schemas`, a
function here, and a row in the list of `app.py`.
"""
