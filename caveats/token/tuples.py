"""Named tuples made without a Python function in between. Knows nothing else.

The generated constructor of a `NamedTuple` takes 0.35 us where this takes 0.22. A token that was never seen makes two: 1 %
of its verification, which is why it stands here, once.
"""

from __future__ import annotations

new_tuple = tuple.__new__
"""`new_tuple(Class, (every, field, in, order))`: an instance of the named tuple `Class`."""
