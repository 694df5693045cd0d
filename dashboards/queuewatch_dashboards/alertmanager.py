"""Alertmanager's configuration: who hears of what, and what is muted by what explains it.

Receivers stand empty in it: `deploy/alertmanager/configure` fills them in from files and the environment of whoever runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from queuewatch_dashboards.alerts.inhibition import INHIBITIONS, Inhibition, Which
from queuewatch_dashboards.promql import quoted
from queuewatch_dashboards.rules import BANNER

__all__ = ["alertmanager_file"]

_HEAD: Final = """\
# Who hears of what.  Routes and inhibition are the same for everybody; receivers come from `configure`, which fills the three
# below with what you name (receivers/*.yml) from your environment and files.  As it stands, alerts are seen in Alertmanager's
# own page only.
#
#     QUEUEWATCH_SUPERVISORS="slack email" QUEUEWATCH_OPERATORS=webhook ... deploy/alertmanager/configure > mine.yml

global:
  resolve_timeout: 15m   # Prometheus always says itself when an alert ends; this is for other senders

route:
  receiver: operators
  # One message for a site, not one for each queue.
  group_by: [site, audience]
  group_wait: 30s   # two evaluations of the rules: by then an explanation is known, and mutes what it explains
  group_interval: 5m
  repeat_interval: 4h
  routes:
    - matchers: [alertname="Watchdog"]
      receiver: watchdog
      group_wait: 0s
      group_interval: 1m
      repeat_interval: 2m   # whoever listens raises the alarm when it stays away for longer
    - matchers: [audience="floor"]
      receiver: supervisors

inhibit_rules:
"""
_TAIL: Final = """
receivers:
  - name: supervisors
  - name: operators
  - name: watchdog
"""


def alertmanager_file() -> str:
    """The text of alertmanager.yml."""
    return BANNER + _HEAD + "".join(line for each in INHIBITIONS for line in _lines(each)) + _TAIL


def _lines(inhibition: Inhibition) -> Iterator[str]:
    yield f"  # {inhibition.why}\n"
    yield f"  - source_matchers: [{_matchers(inhibition.explains)}]\n"
    yield f"    target_matchers: [{_matchers(inhibition.explained)}]\n"
    if inhibition.equal:
        yield f"    equal: [{', '.join(inhibition.equal)}]\n"


def _matchers(which: Which) -> str:
    """Values are names of alerts, severities and audiences: nothing in them means something in a regular expression."""
    return ", ".join(
        f"{label}{'=' if len(values) == 1 else '=~'}{quoted('|'.join(values))}" for label, values in which.items()
    )
