"""Whether the figures can be believed."""

from __future__ import annotations

from queuewatch_dashboards.boards.kit import BAD, GOOD, MUST_BE_ZERO, WARN, Kit
from queuewatch_dashboards.grafana import (
    Board,
    Column,
    Panel,
    Query,
    Section,
    Step,
    heatmap,
    lines,
    stat,
    states,
    table,
)

STEP = "1m"
"""The step of what is drawn from counters: a busy minute is a point."""


def pipeline(kit: Kit) -> Board:
    """All workers and partitions."""
    words = kit.texts.word
    return kit.board(
        "pipeline",
        kit.configuration.uids.pipeline,
        [
            Section(words("pipeline.row.now"), _now(kit)),
            Section(words("pipeline.row.events"), _events(kit)),
            Section(words("pipeline.row.bad"), _bad(kit)),
            Section(words("pipeline.row.workers"), _workers(kit)),
            Section(words("pipeline.row.scrape"), _scrapes(kit)),
            Section(words("pipeline.row.connectors"), _connectors(kit)),
            Section(words("pipeline.row.wallboards"), _wallboards(kit)),
        ],
        [],
        "now-3h",
    )


def _now(kit: Kit) -> list[Panel]:
    queries, text, thresholds = kit.queries, kit.texts, kit.configuration.thresholds
    up, ready, twice = queries.target("up"), queries.ready(), queries.shown_by()
    counts = {
        "residual": f"max({queries.residual()})",
        "twice": queries.how_many(twice, "> 1"),
        "not_ready": queries.how_many(ready, "== 0"),
        "down": queries.how_many(up, "== 0"),
    }
    lag_steps = (Step(None, GOOD), Step(thresholds.consumer_lag_records, BAD))
    silence_steps = (Step(None, GOOD), Step(thresholds.event_silence_seconds, WARN))
    heartbeat_steps = (Step(None, GOOD), Step(thresholds.heartbeat_age_seconds, BAD))
    return [
        *(
            stat(
                text[f"pipeline.{key}"],
                Query(expression),
                unit="short",
                decimals=0,
                steps=MUST_BE_ZERO,
                unknown=kit.unknown,
            )
            for key, expression in counts.items()
        ),
        stat(
            text["pipeline.lag_now"],
            Query(f"max({queries.lag()})"),
            unit="short",
            decimals=0,
            steps=lag_steps,
            unknown=kit.unknown,
        ),
        stat(
            text["pipeline.silence"],
            Query(f"min({queries.event_age()})"),
            unit="s",
            steps=silence_steps,
            unknown=kit.unknown,
        ),
        table(
            text["pipeline.sources"],
            kit.label("source"),
            kit.value("age", queries.heartbeat_age(), unit="s", steps=heartbeat_steps),
            width=8,
            height=7,
            unknown=kit.unknown,
        ),
        table(
            text["pipeline.queue_sources"],
            kit.queue_link(),
            kit.label("source"),
            Column(text.word("column.data"), queries.source_up(), unit="none", words=kit.words("yes")),
            width=10,
            height=7,
            unknown=kit.unknown,
            sort=text.word("column.data"),
        ),
        table(
            text["pipeline.versions"],
            kit.label("version"),
            kit.value("workers", queries.versions()),
            width=6,
            height=7,
            unknown=kit.unknown,
        ),
    ]


def _events(kit: Kit) -> list[Panel]:
    queries, text, line = kit.queries, kit.texts, kit.line
    threshold = line(f"vector({kit.configuration.thresholds.event_delay_seconds})", "pipeline.line.threshold")
    delay = "event_delay_seconds"
    return [
        lines(
            text["pipeline.throughput"],
            line(queries.rate("events_total", ("type",)), "pipeline.line.type"),
            unit="cps",
            stacked=True,
        ),
        heatmap(text["pipeline.delay"], queries.buckets(delay), unit="s", interval=STEP),
        lines(
            text["pipeline.delay_quantiles"],
            line(queries.quantile(0.5, delay), "pipeline.line.q50"),
            line(queries.quantile(0.95, delay), "pipeline.line.q95"),
            line(queries.quantile(0.99, delay), "pipeline.line.q99"),
            threshold,
            unit="s",
            interval=STEP,
            targets=[threshold.legend],
        ),
        lines(text["pipeline.event_age"], line(queries.event_age(), "pipeline.line.partition"), unit="s", lowest=None),
    ]


def _bad(kit: Kit) -> list[Panel]:
    queries, text, line = kit.queries, kit.texts, kit.line

    def panel(key: str, **counters: tuple[str, str]) -> Panel:
        """Increases of counters, each (name, label) summed by its label, or (name, "") as a whole."""
        shown = [
            line(queries.increase(name, (label,) if label else ()), f"pipeline.line.{legend}")
            for legend, (name, label) in counters.items()
        ]
        return lines(text[f"pipeline.{key}"], *shown, unit="short", width=8, interval=STEP)

    revisions = line(queries.increase("revisions_total", ("from", "to")), "pipeline.line.revision")
    off = line(f"{queries.residual()} != 0", "pipeline.line.queue")
    return [
        panel("rejected", reason=("rejected_events_total", "reason")),
        panel(
            "late",
            late=("late_events_total", ""),
            duplicate=("duplicate_events_total", ""),
            rekeyed=("rekeyed_events_total", ""),
            lost=("lost_records_total", ""),
        ),
        panel(
            "orphans",
            orphaned=("orphaned_visits_total", ""),
            negative=("negative_waits_total", ""),
            lost_end=("lost_ends_total", ""),
        ),
        lines(text["pipeline.revisions"], revisions, unit="short", width=8, interval=STEP),
        panel("time_revisions", fact=("time_revisions_total", "fact")),
        lines(text["pipeline.balance"], off, unit="short", width=8, decimals=0),
    ]


def _workers(kit: Kit) -> list[Panel]:
    queries, text, line = kit.queries, kit.texts, kit.line
    thresholds = kit.configuration.thresholds
    age = line(f"vector({thresholds.checkpoint_age_seconds})", "pipeline.line.threshold")
    yes = kit.words("yes")
    return [
        states(text["pipeline.ready"], line(queries.ready(), "pipeline.line.instance"), words=yes),
        states(
            text["pipeline.partitions_ready"], line(queries.partition_ready(), "pipeline.line.partition"), words=yes
        ),
        lines(
            text["pipeline.owned"],
            line(queries.partitions_owned(), "pipeline.line.instance"),
            unit="short",
            width=6,
            decimals=0,
            steps=True,
            stacked=True,
        ),
        lines(text["pipeline.lag"], line(queries.lag(), "pipeline.line.partition"), unit="short", width=6),
        lines(
            text["pipeline.checkpoints"],
            line(queries.checkpoint_age(), "pipeline.line.instance"),
            age,
            unit="s",
            width=6,
            targets=[age.legend],
        ),
        lines(text["pipeline.reload"], line(queries.reload_age(), "pipeline.line.instance"), unit="s", width=6),
    ]


def _scrapes(kit: Kit) -> list[Panel]:
    queries, text, line = kit.queries, kit.texts, kit.line
    most = line(f"vector({kit.configuration.thresholds.scrape_duration_seconds})", "pipeline.line.threshold")
    return [
        states(
            text["pipeline.up"],
            line(queries.target("up"), "pipeline.line.instance"),
            words=kit.words("up"),
            width=8,
            height=8,
        ),
        lines(
            text["pipeline.scrape_seconds"],
            line(queries.target("scrape_duration_seconds"), "pipeline.line.instance"),
            most,
            unit="s",
            width=8,
            targets=[most.legend],
        ),
        lines(
            text["pipeline.scrape_samples"],
            line(queries.target("scrape_samples_scraped"), "pipeline.line.instance"),
            unit="short",
            width=8,
            decimals=0,
        ),
    ]


def _connectors(kit: Kit) -> list[Panel]:
    """What `queuewatch source` tells of itself."""
    queries, text, line = kit.queries, kit.texts, kit.line
    by_source, by_reason = ("source",), ("source", "reason")
    saved = f"time() - {queries.figure('source_saved_timestamp_seconds')}"
    return [
        table(
            text["pipeline.connectors"],
            kit.label("source"),
            Column(text.word("column.reads"), queries.figure("source_up"), unit="none", words=kit.words("yes")),
            kit.value("delay", queries.figure("source_delay_seconds"), unit="s"),
            kit.value("behind", queries.figure("source_position_behind")),
            kit.value("open_calls", queries.figure("source_open_calls")),
            kit.value("doubled", queries.figure("source_doubled_calls")),
            kit.value("saved", saved, unit="s"),
            width=12,
            height=8,
            unknown=kit.unknown,
        ),
        lines(
            text["pipeline.translated"],
            line(queries.rate("source_records_total", by_source), "pipeline.line.records_of"),
            line(queries.rate("source_events_total", by_source), "pipeline.line.events_of"),
            unit="cps",
        ),
        lines(
            text["pipeline.untranslated"],
            line(queries.increase("source_refused_records_total", by_reason), "pipeline.line.reason_of"),
            unit="short",
            width=8,
            interval=STEP,
        ),
        lines(
            text["pipeline.left_out"],
            line(queries.increase("source_ignored_records_total", by_reason), "pipeline.line.reason_of"),
            unit="short",
            width=8,
            interval=STEP,
        ),
        lines(
            text["pipeline.source_reconnects"],
            line(queries.increase("source_reconnects_total", by_source), "pipeline.line.source"),
            unit="short",
            width=8,
            interval=STEP,
        ),
    ]


def _wallboards(kit: Kit) -> list[Panel]:
    """What `queuewatch wallboard` tells of itself."""
    queries, text, line = kit.queries, kit.texts, kit.line

    def gauges(key: str, *names: str) -> Panel:
        shown = [line(queries.figure(f"wallboard_{name}"), f"pipeline.line.{name}") for name in names]
        return lines(text[f"pipeline.{key}"], *shown, unit="short", width=8, decimals=0)

    def rises(key: str, **counters: tuple[str, ...]) -> Panel:
        shown = [
            line(queries.increase(f"wallboard_{name}_total", keep), f"pipeline.line.{name}")
            for name, keep in counters.items()
        ]
        return lines(text[f"pipeline.{key}"], *shown, unit="short", width=8, interval=STEP)

    newest = line(queries.figure("wallboard_newest_record_age_seconds"), "pipeline.line.instance")
    sent = [
        line(queries.rate(f"wallboard_{each}_total", ()), f"pipeline.line.{each}") for each in ("boards", "messages")
    ]
    skipped = line(queries.rate("wallboard_skipped_messages_total", ()), "pipeline.line.skipped")
    weight = line(queries.rate("wallboard_sent_bytes_total", ("instance",)), "pipeline.line.instance")
    return [
        states(
            text["pipeline.wallboard_ready"],
            line(queries.figure("wallboard_ready"), "pipeline.line.instance"),
            words=kit.words("yes"),
            width=8,
            height=8,
        ),
        gauges("streams", "streams", "views"),
        gauges("wallboard_queues", "queues", "stale_queues", "silent_partitions"),
        lines(text["pipeline.wallboard_age"], newest, unit="s", width=8),
        lines(text["pipeline.boards_sent"], *sent, skipped, unit="cps", width=8),
        lines(text["pipeline.bytes_sent"], weight, unit="Bps", width=8),
        rises("wallboard_records", records=("topic",)),
        rises("wallboard_ignored", ignored_records=("topic", "reason"), reconnects=("topic",)),
        rises("wallboard_refused", refused_requests=("status",)),
    ]
