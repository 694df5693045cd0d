"""How Hypothesis runs here: as in the core's tests."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "sources",
    max_examples=60,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
settings.load_profile("sources")
