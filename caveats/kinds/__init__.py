"""What a caveat means: the predicate grammar, the standard kinds, and the checkers that judge them. Knows no key.

Reading order: `base` (the shape of a kind), `scopes` (scope patterns), `standard` (every standard kind with its
check), `checkers` (which kinds are known), `authority` (what is left of a token), `testing` (the kit for plug-ins).
"""
