"""What the wallboard tells of itself on /metrics; names, labels and meanings are those of the catalogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from queuewatch_schemas.metrics import PREFIX, WALLBOARD_METRICS, Kind

__all__ = ["Figures"]

_BY_NAME: Final = {metric.name.removeprefix("wallboard_"): metric for metric in WALLBOARD_METRICS}


class Figures(Collector):
    """Counters, which are kept here, and gauges, which are asked for when somebody looks.

    Names are those of the catalogue without `wallboard_`; what it does not know is a KeyError, and so a fault of ours.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self._gauges: dict[str, Callable[[], float | None]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        """Add to a counter, whose labels are given in the catalogue's order."""
        metric = _BY_NAME[name]
        assert metric.kind is Kind.COUNTER
        assert len(labels) == len(metric.labels)
        self._counts[name, labels] += by

    def value(self, name: str, *labels: str) -> int:
        """What a counter stands at."""
        return self._counts[name, labels]

    def ask(self, gauges: Mapping[str, Callable[[], float | None]]) -> None:
        """Ask these for the gauges' values; None is left out."""
        self._gauges.update({_BY_NAME[name].name: asked for name, asked in gauges.items()})

    def collect(self) -> Iterator[Metric]:
        """All of them, for the library."""
        for short, metric in _BY_NAME.items():
            if metric.kind is Kind.GAUGE:
                value = asked() if (asked := self._gauges.get(metric.name)) is not None else None
                gauge = GaugeMetricFamily(metric.full, metric.help)
                if value is not None:
                    gauge.add_metric([], value)
                yield gauge
            else:
                counter = CounterMetricFamily(metric.full, metric.help, labels=metric.labels)
                for labels in product(*(metric.values[label] for label in metric.labels)):
                    counter.add_metric(labels, self._counts[short, labels])
                yield counter

    def text(self, accept: str) -> tuple[bytes, str]:
        """All of them as Prometheus reads them, and the content type, for this Accept header."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


assert all(metric.full.startswith(PREFIX + "wallboard_") for metric in WALLBOARD_METRICS)
