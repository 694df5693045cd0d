"""Decides which chaos tests are collected.

Faults against a real Kafka take minutes: the short form runs with QUEUEWATCH_CHAOS=1, as `make chaos-short` sets it, and
everything else always.
"""

import os

collect_ignore = [] if os.environ.get("QUEUEWATCH_CHAOS") == "1" else ["test_short.py"]
