"""For all tests: how much hypothesis asks, and what is said of tests that are left out.

With CI=true nothing may be left out: a test that would skip fails, and says why it would have.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

_LAWS = os.environ.get("CAVEATS_LAWS")
"""How many times 60 examples each law is asked for; unset: 60 in CI, 15 elsewhere."""
_QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("fast", max_examples=15, **_QUIET)
settings.register_profile("full", max_examples=60 * int(_LAWS or "1"), **_QUIET)
settings.load_profile("full" if _LAWS or os.environ.get("CI") == "true" else "fast")


for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    # In the background of a script, or under nohup, the tests would inherit an ignored signal, and so would their commands.
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What talks to a PostgreSQL is slow: each such test has a database of its own."""
    for item in items:
        if "postgresql" in getattr(getattr(item, "callspec", None), "id", "").split("-"):
            item.add_marker(pytest.mark.slow)


def _reason(longrepr: object) -> str:
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)


def _no_skips(report: Any) -> Any:
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"with CI=true nothing is skipped: {_reason(report.longrepr)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _no_skips((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _no_skips((yield))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each reason to skip, however many tests it concerns."""
    reasons = Counter(
        _reason(report.longrepr).removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
    )
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"left out {count}: {reason}")
