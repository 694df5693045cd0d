"""What a running source tells of itself: its figures, as /metrics shows them, and whether it is well."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)

from queuewatch_schemas.metrics import SOURCE_METRICS, Kind

__all__ = ["Figures", "routes"]


class Figures:
    """The figures of one source; what is not known yet is absent, counters with known reasons begin at 0."""

    def __init__(self, source: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._source = source
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        for metric in SOURCE_METRICS:
            if metric.kind is Kind.COUNTER:
                made = Counter(metric.full.removesuffix("_total"), metric.help, metric.labels, registry=self.registry)
                self._counters[metric.name] = made
                for reason in metric.values.get("reason", ("",)):
                    made.labels(*(source, reason)[: len(metric.labels)])
            else:
                self._gauges[metric.name] = Gauge(metric.full, metric.help, metric.labels, registry=self.registry)

    def count(self, name: str, by: int = 1, reason: str = "") -> None:
        """Add to a counter, by its name in the catalogue."""
        counter = self._counters[name]
        (counter.labels(self._source, reason) if reason else counter.labels(self._source)).inc(by)

    def show(self, name: str, value: float | None) -> None:
        """Set a gauge, by its name in the catalogue; None: not known."""
        gauge = self._gauges[name]
        if value is None:
            gauge.clear()
        else:
            gauge.labels(self._source).set(value)


def routes(figures: Figures, ill: Callable[[], str | None]) -> web.Application:
    """/metrics, and /healthz: 503 with the reason where `ill` tells one."""

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(figures.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(request: web.Request) -> web.Response:
        reason = ill()
        if reason is None:
            return web.json_response({"status": "ok"})
        return web.json_response({"status": "ill", "reason": reason}, status=503)

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz)])
    return application
