"""Decides that nothing may be skipped where QUEUEWATCH_REQUIRE_ALL=1 says that every part is there."""

import os

import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped test is a failure where all parts are required: a green run has run everything."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter is not None else []
    if os.environ.get("QUEUEWATCH_REQUIRE_ALL") == "1" and skipped and session.exitstatus == 0:
        print(f"\nQUEUEWATCH_REQUIRE_ALL=1: {len(skipped)} tests were skipped, which counts as a failure")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
