"""A short run of the script beside this file; the long one is `make faults`."""

import importlib.util
from pathlib import Path


def test_nothing_acknowledged_is_lost_when_the_service_is_killed_under_load():
    spec = importlib.util.spec_from_file_location("kill9", Path(__file__).with_name("kill9.py"))
    kill9 = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["kill9"] = kill9
    spec.loader.exec_module(kill9)
    acked = kill9.run(3)
    assert len(acked) > 0
