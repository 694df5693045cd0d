"""What operators are alerted to: sources, partitions, workers, records."""

from __future__ import annotations

from typing import Final

from queuewatch_dashboards.alerts.parts import LABELS, Parts, told
from queuewatch_dashboards.promql import by, duration, none_of
from queuewatch_dashboards.rules import Alert
from queuewatch_schemas.metrics import metric

_HEARTBEAT: Final = "queuewatch.source.heartbeat.v1"
_EVICTED: Final = "queuewatch.call.evicted.v1"


class OfPipeline(Parts):
    """By one configuration."""

    def alerts(self) -> tuple[Alert, ...]:
        """All of them, the Watchdog last."""
        return (
            *self._sources(),
            *self._partitions(),
            *self._workers(),
            *self._records(),
            self._watchdog(),
        )

    def _sources(self) -> tuple[Alert, ...]:
        set_, limits = self.alerting, self.configuration.thresholds
        up = f"({self._max(('queue', 'source'), 'queue_source_up')} * on (queue) group_left (site) {LABELS})"
        site_up = by(("source", "site"), up)
        age = f"time() - {self._max(('source',), 'source_heartbeat_timestamp_seconds')}"
        events = {"type": none_of(_HEARTBEAT, _EVICTED)}
        silence = set_.window * limits.event_silence_seconds / 900
        came = self._rise((), "events_total", silence, events)
        before = self._rise((), "events_total", silence, events, back=silence)
        last_week = self._rise((), "events_total", silence, events, back=set_.week)
        went_on = 'max(ALERTS{alertname="QueuewatchNoEvents", alertstate="firing"})'
        looked_at = self._raw("queue_source_up")
        heard = f"time() - max({self._raw('source_heartbeat_timestamp_seconds')}) <= {limits.heartbeat_age_seconds:g}"
        alive = (
            f"max({looked_at}) == 1 or ({heard} unless on () {looked_at})"  # a quiet log cannot say whether it is up
        )
        opened = f"count({self._raw('queue_open')} == 1) > 0"
        doubled = self._max(("source",), "source_doubled_calls")
        return (
            self._of_pipeline(
                "QueuewatchSourceDown",
                "critical",
                f"({site_up} == bool 0) == 1\nor on (source) ({age} > {limits.heartbeat_age_seconds:g}"
                f" unless on (source) {self._raw('queue_source_up')})",
                labels=("source", "site"),
                shown="source_heartbeat_timestamp_seconds",
                lasts=set_.moment,
                figure=site_up,
                summary="Source {{ $labels.source }} is down{{ with $labels.site }} ({{ . }}){{ end }}",
                description="The heartbeats of source {{ $labels.source }} stay away, or say that it cannot be looked at."
                "  The figures of its queues{{ with $labels.site }} at {{ . }}{{ end }} stand still; alerts of these queues"
                " are muted.",
            ),
            self._of_pipeline(
                "QueuewatchCallsToldTwice",
                "warning",
                f"{doubled} > 0",
                labels=("source",),
                shown="source_doubled_calls",
                lasts=set_.window,
                figure=doubled,
                summary=f"{told('calls')} calls of source {{{{ $labels.source }}}} are told by another source too",
                description=f"Of the last ten minutes {told('calls')} calls of source {{{{ $labels.source }}}} came from"
                " another source as well, such as the log and the manager interface of one system: they are counted twice.",
            ),
            self._of_pipeline(
                "QueuewatchNoEvents",
                "critical",
                f"({came} == 0) and on () ({before} >= {set_.some} or {last_week} >= {set_.some} or {went_on})"
                f" and on () ({alive}) and on () ({opened})",
                shown="events_total",
                lasts=set_.moment,
                figure=came,
                summary="No call events though the sources are alive",
                description=f"For {duration(silence)} no call event came although a source sends heartbeats, a queue is open,"
                " and shortly before, or at this time a week ago, events did come.",
            ),
        )

    def _partitions(self) -> tuple[Alert, ...]:
        set_, limits = self.alerting, self.configuration.thresholds
        partition = ("partition",)
        ready = self._raw("partition_ready")
        known = by(partition, f"last_over_time({ready}[{duration(set_.hour)}])", "count")
        age = f"(time() - {self._max(partition, 'last_event_timestamp_seconds')})"
        fresh = f"time() - max({self._raw('last_event_timestamp_seconds')}) < {limits.heartbeat_age_seconds:g}"
        lag = self._max(partition, "consumer_lag_records")
        read = self._rise(partition, "events_total", set_.short)
        delay = self._rise(("le", "partition"), "event_delay_seconds", set_.short, part="bucket")
        delayed = f"histogram_quantile(0.95, {delay})"
        events = self._rise(partition, "event_delay_seconds", set_.short, part="count")
        lost = self._rise(partition, "lost_records_total", set_.hour)
        return (
            self._of_pipeline(
                "QueuewatchPartitionWithoutOwner",
                "critical",
                f"{known} unless on (partition) {ready}",
                labels=partition,
                shown="partition_ready",
                lasts=set_.move,
                figure=known,
                summary="Partition {{ $labels.partition }} has no owner",
                description="No worker shows partition {{ $labels.partition }} of the event topic any more: its queues are not"
                " watched.",
            ),
            self._of_pipeline(
                "QueuewatchPartitionSilent",
                "critical",
                f"{age} > {3 * limits.heartbeat_age_seconds:g} and on () ({fresh})"
                f" and on () ({self._max(('source',), 'source_heartbeat_timestamp_seconds')} > 0)",
                labels=partition,
                shown="partition_ready",
                lasts=set_.moment,
                figure=age,
                summary="Partition {{ $labels.partition }} has been silent for " + told("seconds"),
                description="Heartbeats go to every partition, and others have fresh ones, but the newest event of partition"
                f" {{{{ $labels.partition }}}} is {told('seconds')} old: its worker reads nothing, or a connector skips it.",
            ),
            self._of_pipeline(
                "QueuewatchConsumerLag",
                "warning",
                f"({lag} > {limits.consumer_lag_records}) > on (partition) {60 / set_.short:g} * {read}",
                labels=partition,
                shown="partition_ready",
                lasts=set_.short,
                figure=lag,
                summary="Partition {{ $labels.partition }} is " + told("calls") + " records behind",
                description=f"The worker of partition {{{{ $labels.partition }}}} is {told('calls')} records behind, more than"
                " it reads in a minute: figures are old by as much.",
            ),
            self._of_pipeline(
                "QueuewatchEventDelay",
                "warning",
                f"{delayed} > {limits.event_delay_seconds:g} and on (partition) ({events} >= {set_.some})",
                labels=partition,
                shown="partition_ready",
                lasts=set_.short,
                figure=delayed,
                summary="Events of partition {{ $labels.partition }} come " + told("seconds") + " late",
                description="From an event's own time to its arrival in Kafka it takes"
                f" {told('seconds')} (95th percentile over {duration(set_.short)}) in partition {{{{ $labels.partition }}}}:"
                " the source, its connector or its clock lags.",
            ),
            self._of_pipeline(
                "QueuewatchRecordsLost",
                "critical",
                f"{lost} > 0",
                labels=partition,
                shown="partition_ready",
                lasts=set_.moment,
                figure=lost,
                summary="Partition {{ $labels.partition }}: " + told("calls") + " records were lost",
                description=f"Retention deleted {told('calls')} records of partition {{{{ $labels.partition }}}} before they"
                " were read: its figures lack them.",
            ),
        )

    def _workers(self) -> tuple[Alert, ...]:
        set_, limits = self.alerting, self.configuration.thresholds
        age = self._max(("instance",), "checkpoint_age_seconds")
        ready = self._max(("instance",), "ready")
        info = self._raw("service_level_definition_info")
        counts = metric("service_level_definition_info").labels
        by_definition = f"count by (definition) ({info})"
        contents = f"count by (definition) (count by ({', '.join(counts)}) ({info}))"
        workers = f"count({self._raw('build_info')})"
        up = self.queries.target("up")
        return (
            self._of_pipeline(
                "QueuewatchDown",
                "critical",
                f"{by(('instance',), up)} == 0 or absent({up})",
                labels=("instance",),
                lasts=set_.moment,
                figure=by(("instance",), up),
                summary="Worker {{ $labels.instance }} does not answer",
                description="Prometheus cannot scrape worker {{ $labels.instance }}{{ if not $labels.instance }}: it knows of"
                " no worker at all{{ end }}.  Its queues go to the others; with none left nothing is watched.",
            ),
            self._of_pipeline(
                "QueuewatchNotReady",
                "critical",
                f"({ready} == bool 0) == 1",
                labels=("instance",),
                lasts=set_.short,
                figure=ready,
                summary="Worker {{ $labels.instance }} is not ready",
                description=f"Worker {{{{ $labels.instance }}}} has not caught up, or lost its group, for"
                f" {duration(set_.short)} and shows nothing of the queues it should own.  `/readyz` says why.",
            ),
            self._of_pipeline(
                "QueuewatchCheckpointsOld",
                "warning",
                f"{age} > {limits.checkpoint_age_seconds:g}",
                labels=("instance",),
                lasts=set_.move,
                figure=age,
                summary="Worker {{ $labels.instance }} has not written for " + told("seconds"),
                description=f"Worker {{{{ $labels.instance }}}} holds a change that no record has for {told('seconds')}; a"
                " restart would replay as much.",
            ),
            self._of_pipeline(
                "QueuewatchReloadFailed",
                "warning",
                f"{contents} > 1 or {by_definition} < on () group_left () {workers}",
                labels=("definition",),
                lasts=set_.window,
                figure=by_definition,
                summary="Workers disagree about definition {{ $labels.definition }}",
                description="Not all workers have the same service level definition {{ $labels.definition }}: a new"
                " configuration was not read by all, and figures depend on which worker shows a queue.",
            ),
        )

    def _records(self) -> tuple[Alert, ...]:
        set_ = self.alerting
        window = set_.window
        rejected = self._rise(("reason",), "rejected_events_total", window)
        rekeyed = self._rise((), "rekeyed_events_total", window)
        events = self._rise((), "events_total", window)
        return (
            self._of_pipeline(
                "QueuewatchEventsRejected",
                "warning",
                f"({rejected} >= {set_.some}) > on () group_left () {set_.rejected_share:g} * {events}",
                labels=("reason",),
                shown="rejected_events_total",
                lasts=set_.moment,
                figure=rejected,
                summary=told("calls") + " events were refused: {{ $labels.reason }}",
                description=f"{told('calls')} records were refused in {duration(window)}, reason {{{{ $labels.reason }}}}: more"
                f" than {set_.rejected_share:.0%} of all.  They lie in the dead-letter topic and count nowhere.",
            ),
            self._of_pipeline(
                "QueuewatchEventsRekeyed",
                "warning",
                f"({rekeyed} >= {set_.some}) > on () {set_.rejected_share:g} * {events}",
                shown="rekeyed_events_total",
                lasts=window,
                figure=rekeyed,
                summary="A producer keys events wrongly",
                description=f"{told('calls')} events in {duration(window)} lay on a partition that their queue does not mean"
                " and were published again, which costs time: a producer's partitioner is set wrongly.",
            ),
        )

    def _watchdog(self) -> Alert:
        """Fires always: where it stops coming, Prometheus or Alertmanager is down."""
        return self._alert(
            "Watchdog",
            "none",
            "pipeline",
            "vector(1)",
            (),
            self.configuration.uids.pipeline,
            keeps=0,
            lasts=0,
            figure="vector(1)",
            summary="Alerting works",
            description="This alert always fires.  Whoever receives it should raise the alarm when it stays away.",
        )
