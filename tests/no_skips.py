"""With INNERLOOP_NO_SKIPS=1 a skipped test is a failed test, so that CI cannot pass by running nothing."""

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return without_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return without_skip((yield))


def without_skip(report: Report) -> Report:
    """The report, failed if it was skipped; an expected failure (xfail) is not a skip."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("INNERLOOP_NO_SKIPS") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: {reason}. Nothing may be skipped here (INNERLOOP_NO_SKIPS=1): install what is missing."
    return report
