"""The third party's endpoints, as the bakery speaks them, and its pages. Knows HTTP; decides nothing.

Reading order: `endpoint` (forms in, answers out), `discharge`, `pages`, `waiting`, `forms`, `agents`.
"""
