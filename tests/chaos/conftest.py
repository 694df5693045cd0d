"""Decides which chaos tests are collected.

Faults against a real Kafka take minutes: the short form runs with QUEUEWATCH_CHAOS=1, as `make chaos-short` sets it, planted
bugs with QUEUEWATCH_CHAOS_LONG=1, and everything else always.
"""

import os

collect_ignore = []
if os.environ.get("QUEUEWATCH_CHAOS_LONG") != "1":
    collect_ignore.append("test_planted.py")
    if os.environ.get("QUEUEWATCH_CHAOS") != "1":
        collect_ignore.append("test_short.py")
