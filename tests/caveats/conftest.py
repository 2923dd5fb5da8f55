"""Hypothesis at CI size; CAVEATS_LAWS=20 asks twenty times as much of every law."""

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent / "support"))

settings.register_profile(
    "laws",
    deadline=None,
    max_examples=60 * int(os.environ.get("CAVEATS_LAWS", "1")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("laws")
