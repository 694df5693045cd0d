"""Every word that stands on a board, by language and key; boards themselves hold none.

Another language is another mapping with the same keys.  A key is the board, a dot, and what it is of: a panel (title and
description), a column, a line of a legend, a state.  `$name` and `{{label}}` are filled by Grafana; `{name}` by whoever builds
the boards: {rolling} and {interval} by the configuration, others where they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Text(NamedTuple):
    """A title and what stands behind its (i)."""

    title: str
    description: str = ""


_EXACT = "Exact: recomputed from the calls themselves, and corrected backwards when a late event corrects them."
_TOTALS = (
    "From counters: each call once, when its outcome first becomes known. Rates are extrapolated, so not whole numbers."
)
_HISTORY = (
    "Prometheus keeps what was shown then; corrections that came after an interval's grace are only in the topic"
    " `queuewatch.intervals`."
)
_CLOSED = (
    "Closed intervals, each at its own start; one appears an interval after its end, with what came within its grace."
)

ENGLISH: Final[Mapping[str, Text]] = {
    # ------------------------------------------------------------------------------------------------------ on many boards
    "unknown": Text("unknown"),
    "variable.queue": Text("Queue"),
    "variable.channel": Text("Channel"),
    "variable.window": Text("Window"),
    "variable.definition": Text("Definition"),
    "variable.reference": Text("Compared with"),
    "variable.site": Text("Site"),
    "variable.group": Text("Group"),
    "column.queue": Text("Queue"),
    "column.name": Text("Name"),
    "column.site": Text("Site"),
    "column.group": Text("Group"),
    "column.channel": Text("Channel"),
    "column.definition": Text("Definition"),
    "column.preset": Text("Formula"),
    "column.threshold": Text("T, seconds"),
    "column.short": Text("S, seconds"),
    "column.attribution": Text("Counted by"),
    "column.clock": Text("Waits from"),
    "column.diverts": Text("Diverted calls"),
    "column.source": Text("Source"),
    "column.version": Text("Version"),
    "column.workers": Text("Workers"),
    "column.age": Text("Age"),
    "column.data": Text("Data"),
    "column.level": Text("Level"),
    "column.target": Text("Target"),
    "column.gap": Text("Level − target"),
    "column.met": Text("Met"),
    "column.counted": Text("Counted"),
    "column.left_out": Text("Offered − counted"),
    "column.offered": Text("Offered"),
    "column.answered": Text("Answered"),
    "column.handled": Text("Handled"),
    "column.abandoned": Text("Abandoned"),
    "column.waiting": Text("Waiting"),
    "column.waiting_limit": Text("Waiting ÷ limit"),
    "column.longest": Text("Longest wait"),
    "column.longest_limit": Text("Longest ÷ limit"),
    "column.abandon_ratio": Text("Abandon rate"),
    "column.abandon_limit": Text("Abandon ÷ limit"),
    "column.refused": Text("Refused"),
    "column.evicted": Text("Evicted"),
    "column.open": Text("Open"),
    "column.asa": Text("ASA"),
    "column.reads": Text("Reads"),
    "column.delay": Text("Delay"),
    "column.behind": Text("Behind"),
    "column.open_calls": Text("Open calls"),
    "column.doubled": Text("Told twice"),
    "column.saved": Text("Saved ago"),
    "column.aht": Text("AHT"),
    "column.erlangs": Text("Erlangs offered"),
    "column.start": Text("Began"),
    "link.queue": Text("This queue in depth"),
    "link.comparison": Text("Its definitions beside each other"),
    "data.3": Text("live"),
    "data.2": Text("no heartbeat"),
    "data.1": Text("STALE"),
    "data.0": Text("NOT SHOWN"),
    "open.1": Text("open"),
    "open.0": Text("closed"),
    "yes.1": Text("yes"),
    "yes.0": Text("NO"),
    "up.1": Text("up"),
    "up.0": Text("DOWN"),
    # A formula as it is read: T is the threshold, S the short-abandon time, ≤ "within".
    "preset.ignore": Text("ignore: answered≤T / (counted − abandoned≤T)"),
    "preset.negative": Text("negative: answered≤T / counted"),
    "preset.positive": Text("positive: (answered≤T + abandoned≤T) / counted"),
    "preset.answered-only": Text("answered-only: answered≤T / answered"),
    "preset.ignore-short": Text("ignore-short: answered≤T / (counted − abandoned≤S)"),
    "preset.all-offered": Text("all-offered: answered≤T / (answered + abandoned + diverted)"),
    "preset.removed": Text("removed: (answered≤T + abandoned≤T + to callback≤T) / queued"),
    "preset.genesys": Text("genesys: answered≤T / (answered + abandoned)"),
    "preset.asterisk-2": Text(
        "asterisk-2: (answered≤T + abandoned≤T) / (answered + abandoned, time-outs and keys too)"
    ),
    # --------------------------------------------------------------------------------------------------------------- floor
    "floor": Text(
        "Floor: all queues",
        "Every queue at a glance: its service level against its own target and by its own definition, who waits, and whether"
        " its figures can be believed.",
    ),
    "floor.row.now": Text("Now"),
    "floor.row.queues": Text("Queues"),
    "floor.row.sites": Text("Sites and groups, each within one definition"),
    "floor.waiting": Text(
        "Waiting", "Callers who wait now in the chosen queues and channels; callbacks are not among them."
    ),
    "floor.longest": Text("Longest wait", "The longest wait of all who wait now; 0 only when nobody waits."),
    "floor.below": Text(
        "Levels below target",
        "Of how many queues and definitions the level of the chosen window is below its own target. Unknown where no level is"
        " known.",
    ),
    "floor.over": Text("Longest wait over limit", "Queues in which a caller waits longer than the queue's own limit."),
    "floor.stale": Text(
        "Queues not to be believed",
        "Queues whose source is down or silent (STALE), or that no worker shows now (NOT SHOWN).",
    ),
    "floor.talking": Text("Talking", "Calls that agents talk to now, those on hold too."),
    "floor.queues": Text(
        "Queues in the window $window",
        "A row for each queue, channel and definition; click a heading to sort, a queue to see it in depth. Data: live = its"
        " sources send heartbeats; no heartbeat = none does, so silence is not told from quiet; STALE = a source is down or"
        " silent, the figures are old; NOT SHOWN = no worker shows it now. A level counts by its own definition: compare rows"
        " of one definition only. Refused and evicted are of the last {rolling}, from counters. An empty cell is unknown,"
        " never 0.",
    ),
    "floor.levels": Text(
        "Level by site and group, $window",
        "Sum of met over sum of counted within one definition; means of ratios are never taken, definitions never mixed. Queues"
        " without a site or a group stand in a row without one.",
    ),
    # --------------------------------------------------------------------------------------------------------------- queue
    "queue": Text(
        "Queue in depth", "One queue: its level with bounds and target, waits, volume, outcomes, handle time."
    ),
    "queue.row.now": Text("$queue now"),
    "queue.row.level": Text("Service level by $definition"),
    "queue.row.waits": Text("Waits"),
    "queue.row.volume": Text("Volume and outcomes"),
    "queue.row.handling": Text("Handle time"),
    "queue.data": Text(
        "Data",
        "Whether the figures can be believed: live = all sources send heartbeats and are looked at; no heartbeat = none sends"
        " any; STALE = a source is down or silent; NOT SHOWN = no worker shows the queue now.",
    ),
    "queue.open": Text("Hours", "Open or closed as the source says, else as the calendar says."),
    "queue.waiting": Text("Waiting", "Callers who wait now."),
    "queue.longest": Text("Longest wait", "Of those who wait now; 0 only when nobody waits."),
    "queue.talking": Text("Talking", "Answered calls not ended, those on hold too."),
    "queue.wrapping": Text(
        "After-call work", "Ended calls in after-call work; unknown where the source does not tell its end."
    ),
    "queue.callbacks": Text("Callbacks due", "Callbacks that are due and not yet made."),
    "queue.oldest_callback": Text(
        "Oldest callback", "For how long the oldest due callback has waited; 0 only when none waits."
    ),
    "queue.definition": Text(
        "How $definition counts",
        "T is the threshold, S the short-abandon time, both in seconds; S is empty where no short abandons are dropped. Counted"
        " by: the interval of the arrival, the outcome or the service-level event. A change needs a new name, so under this"
        " name it has always counted like this.",
    ),
    "queue.level_now": Text("Level, $window", "Service level by $definition in the chosen window. " + _EXACT),
    "queue.counted_now": Text(
        "Calls it rests on",
        "Visits that $definition counts in the chosen window, and how many a ratio must rest on to raise an alert.",
    ),
    "queue.line.counted": Text("counted"),
    "queue.line.minimum": Text("least for alerts"),
    "queue.level": Text(
        "Level of the running interval and of the day, with bounds",
        "By $definition. Lower bound: all who wait now will miss it; upper bound: all who wait now and can still meet it do;"
        " only definitions counted by arrival have bounds. " + _EXACT,
    ),
    "queue.line.interval": Text("interval"),
    "queue.line.lower": Text("lower bound"),
    "queue.line.upper": Text("upper bound"),
    "queue.line.day": Text("day"),
    "queue.line.target": Text("target"),
    "queue.window_level": Text(
        "Level in the window $window",
        "By $definition, against its target. A gap means that nothing was counted. " + _EXACT,
    ),
    "queue.answer_waits": Text(
        "How long the answered had waited",
        "Each answered visit once, by the seconds it had waited. " + _TOTALS,
    ),
    "queue.abandon_waits": Text(
        "How long the abandoned had waited",
        "Each abandoned visit once, by the seconds after which the caller hung up. " + _TOTALS,
    ),
    "queue.asa": Text(
        "Average speed of answer",
        "ASA: mean wait of the answered visits that entered in the window; abandoned calls never enter it. A gap means that"
        " none was answered. " + _EXACT,
    ),
    "queue.line.asa": Text("ASA, {{window}}"),
    "queue.waits": Text(
        "Longest wait over time",
        "Of those who wait at each moment; the dashed line is the queue's own limit for alerts.",
    ),
    "queue.line.longest": Text("longest wait"),
    "queue.line.longest_limit": Text("limit"),
    "queue.quantiles": Text(
        "Waits of the answered: 50th, 90th and 95th percentile",
        "Estimated within the histogram's buckets. " + _TOTALS,
    ),
    "queue.line.q50": Text("half within"),
    "queue.line.q90": Text("90 % within"),
    "queue.line.q95": Text("95 % within"),
    "queue.arrivals": Text(
        "Arrivals by {rolling}, and what became of them",
        "Each bar is the window that ended there (choose at most 30 days, so that no bar is skipped); visits that still waited"
        " then are 'waiting'. The outcomes sum to what was offered. " + _EXACT,
    ),
    "queue.line.outcome": Text("{{outcome}}"),
    "queue.waiting_line": Text(
        "Callers waiting", "At each moment; the dashed line is the queue's own limit for alerts."
    ),
    "queue.line.waiting": Text("waiting"),
    "queue.line.waiting_limit": Text("limit"),
    "queue.totals": Text(
        "Offered, answered, abandoned by {rolling} of their outcome",
        "Counted when each becomes known, not by arrival; short abandons are among the abandoned. " + _TOTALS,
    ),
    "queue.line.offered": Text("offered"),
    "queue.line.answered": Text("answered"),
    "queue.line.abandoned": Text("abandoned"),
    "queue.line.short": Text("of these short"),
    "queue.diverted": Text(
        "Diverted, by reason",
        "Left unanswered, not by hanging up: time-out, overflow, transfer, voicemail, callback and so on. " + _TOTALS,
    ),
    "queue.refused": Text("Refused, by reason", "Never let in, so not among the offered. " + _TOTALS),
    "queue.evicted": Text(
        "Evicted (ghosts), by reason",
        "Visits that the monitor gave up: their outcome never came. A rise means that the source loses events. "
        + _TOTALS,
    ),
    "queue.declined": Text(
        "Not taken by agents, by reason",
        "A ringing call that an agent did not take; the caller went on waiting. " + _TOTALS,
    ),
    "queue.transferred": Text(
        "Came by another way", "Those offered that did not come directly, by their way. " + _TOTALS
    ),
    "queue.line.reason": Text("{{reason}}"),
    "queue.line.via": Text("{{via}}"),
    "queue.abandon_ratio": Text(
        "Abandon rate",
        "(abandoned − short) / (answered + abandoned − short), of the visits that entered in the window; the dashed line is the"
        " queue's own limit for alerts. " + _EXACT,
    ),
    "queue.line.window": Text("{{window}}"),
    "queue.line.abandon_limit": Text("limit"),
    "queue.aht": Text(
        "Average handle time",
        "AHT: (talk + hold + after-call work) / handled. A gap means that none was handled. " + _EXACT,
    ),
    "queue.line.aht": Text("AHT, {{window}}"),
    "queue.parts": Text(
        "Parts of the AHT",
        "Mean talk, hold and after-call work of the calls that ended; stacked, they are the AHT. " + _TOTALS,
    ),
    "queue.line.talk": Text("talk"),
    "queue.line.hold": Text("hold"),
    "queue.line.wrap": Text("after-call work"),
    # ------------------------------------------------------------------------------------------------------------ capacity
    "capacity": Text(
        "Capacity",
        "What planners read, from closed intervals of the queue's local business day: load, handle time, level, and this"
        " weekday against the last four.",
    ),
    "capacity.note": Text(
        "About these figures",
        "Each value is of one **closed interval** of {interval} minutes of the queue's local time and stands at the"
        " interval's start. **History:** Prometheus keeps what was known when the interval was last shown; later corrections"
        " are in the topic `queuewatch.intervals` (one record per queue and interval, the last one counts), which is what to"
        " plan from. **Staffing:** load is in Erlangs offered; scheduled or present agents join any panel here as a series"
        " with the label `queue`.",
    ),
    "capacity.row.last": Text("The last closed interval"),
    "capacity.row.intervals": Text("$queue by interval"),
    "capacity.row.weekday": Text("This weekday against the last four"),
    "capacity.row.days": Text("Days and weeks"),
    "capacity.last": Text(
        "The last closed interval of every queue",
        "Level by $definition. Erlangs offered = calls offered × AHT / length of the interval; where none was handled in it the"
        " day's AHT stands in. Corrections may come until the interval's grace is over. An empty cell is unknown, never 0.",
    ),
    "capacity.volume": Text("Offered and handled", _CLOSED + " " + _HISTORY),
    "capacity.outcomes": Text("What became of the offered", "By arrival; the outcomes sum to the offered. " + _CLOSED),
    "capacity.aht": Text(
        "Average handle time", "Talk + hold + after-call work of the calls that ended in it. " + _CLOSED
    ),
    "capacity.erlangs": Text(
        "Erlangs offered",
        "Calls offered × AHT / length of the interval: the agents that would be busy on average if nobody hung up. Where none"
        " was handled in the interval the day's AHT stands in. " + _CLOSED,
    ),
    "capacity.level": Text("Level by interval", "By $definition, against its target. " + _CLOSED + " " + _HISTORY),
    "capacity.asa": Text("Average speed of answer", "Mean wait of the answered that entered in it. " + _CLOSED),
    "capacity.abandon": Text("Abandon rate", "Short abandons aside. " + _CLOSED),
    "capacity.week_offered": Text(
        "Offered, against the same weekday of the four weeks before",
        "At the same local time of the queue's own zone, also across a clock change and on its very day: of an hour that comes"
        " twice each has its own, and one that is skipped has none. " + _CLOSED,
    ),
    "capacity.week_aht": Text(
        "AHT, against the same weekday of the four weeks before", "At the same local time, as beside. " + _CLOSED
    ),
    "capacity.week_erlangs": Text(
        "Erlangs offered, against the mean of the same weekday of the four weeks before", _CLOSED
    ),
    "capacity.week_level": Text(
        "Level, against the same weekday of the four weeks before", "By $definition, at the same local time. " + _CLOSED
    ),
    "capacity.day_level": Text(
        "Level by day",
        "By $definition: sum of met over sum of counted of the closed intervals of the 24 hours before each bar. Days begin at"
        " midnight of the board's zone; across a clock change the bars before it begin an hour off. " + _HISTORY,
    ),
    "capacity.week_rolling": Text(
        "Level over 7 and 28 days",
        "By $definition: sum of met over sum of counted of the closed intervals, rolling. " + _HISTORY,
    ),
    "capacity.day_volume": Text(
        "Offered, handled and abandoned by day", "Of the closed intervals of the 24 hours before each bar. " + _HISTORY
    ),
    "capacity.day_times": Text(
        "ASA and AHT by day",
        "Sum of seconds over sum of calls, of the closed intervals of the 24 hours before; means are never averaged. "
        + _HISTORY,
    ),
    "capacity.line.offered": Text("offered"),
    "capacity.line.handled": Text("handled"),
    "capacity.line.abandoned": Text("abandoned"),
    "capacity.line.outcome": Text("{{outcome}}"),
    "capacity.line.aht": Text("AHT"),
    "capacity.line.asa": Text("ASA"),
    "capacity.line.abandon": Text("abandon rate"),
    "capacity.line.erlangs": Text("Erlangs"),
    "capacity.line.level": Text("level"),
    "capacity.line.target": Text("target"),
    "capacity.line.today": Text("this week"),
    "capacity.line.before": Text("week −{week}"),
    "capacity.line.mean": Text("mean of four weeks"),
    "capacity.line.days": Text("{days} days"),
    # ---------------------------------------------------------------------------------------------------------- comparison
    "comparison": Text(
        "Comparison of definitions",
        "The same queue under several definitions, with the arithmetic of why they differ; and queues beside each other within"
        " one definition. Levels of different definitions are different quantities.",
    ),
    "comparison.warning": Text(
        "Before you compare",
        "**A service level is its definition.** 80 % by one and 80 % by another are different quantities, like degrees Celsius"
        " and Fahrenheit. Above: *one* queue, its definitions beside each other, and why they differ. Below: *one* definition"
        " (chosen above, one at a time), queues beside each other. No panel here shows different queues by different"
        " definitions.",
    ),
    "comparison.row.queue": Text("$queue, by each of its definitions"),
    "comparison.row.why": Text("Why $definition and $reference differ"),
    "comparison.row.queues": Text("Queues and sites within $definition only"),
    "comparison.definitions": Text(
        "$queue in the window $window, by each definition",
        "The formula, what it counts, and what comes out. T is the threshold, S the short-abandon time. Offered − counted:"
        " visits of the window that are not in the base; negative where the base holds visits that entered earlier (counted by"
        " outcome or event).",
    ),
    "comparison.parts": Text(
        "What there is to count in $window",
        "What became of the visits that entered in the window: every definition counts out of these.",
    ),
    "comparison.levels": Text(
        "Level of $queue by each definition, $window",
        "The same calls, counted differently. A gap means that a definition counts nothing there. " + _EXACT,
    ),
    "comparison.first": Text("By $definition", "Met over counted in the chosen window."),
    "comparison.second": Text("By $reference", "Met over counted in the chosen window."),
    "comparison.difference": Text(
        "Difference", "Level by $definition less level by $reference. It is the sum of the two beside."
    ),
    "comparison.by_met": Text(
        "of it: other calls count as met",
        "(met by $definition − met by $reference) / counted by $definition: another threshold, or abandoned calls"
        " counted as met.",
    ),
    "comparison.by_counted": Text(
        "of it: another base",
        "met by $reference / counted by $definition − met by $reference / counted by $reference: short abandons, abandons or"
        " diverted calls in the base or not, another attribution.",
    ),
    "comparison.why": Text(
        "The difference over time, and its two parts",
        "Stacked, the parts are the difference: other calls count as met, and another base. Zero where both definitions agree.",
    ),
    "comparison.queues": Text(
        "Queues by $definition, $window",
        "Only queues that have this definition; sorted by how far they are from its target. An empty cell is unknown, never 0.",
    ),
    "comparison.queue_levels": Text(
        "Level of each queue by $definition, $window", "Only within this definition. " + _EXACT
    ),
    "comparison.sites": Text(
        "Sites and groups by $definition, $window",
        "Sum of met over sum of counted; means of ratios are never taken.",
    ),
    "comparison.line.definition": Text("{{definition}}"),
    "comparison.line.outcome": Text("{{outcome}}"),
    "comparison.line.difference": Text("difference"),
    "comparison.line.met": Text("other calls met"),
    "comparison.line.counted": Text("another base"),
    "comparison.line.queue": Text("{{queue}} · {{channel}}"),
    # ------------------------------------------------------------------------------------------------------------ pipeline
    "pipeline": Text(
        "Pipeline",
        "Whether the figures can be believed: events on their way, rejected and late ones, balance, recovery, readiness,"
        " scrapes.",
    ),
    "pipeline.row.now": Text("Now"),
    "pipeline.row.events": Text("Events"),
    "pipeline.row.bad": Text("What was not counted, and what was corrected"),
    "pipeline.row.workers": Text("Workers and partitions"),
    "pipeline.row.scrape": Text("Scrapes"),
    "pipeline.residual": Text(
        "Largest balance residual",
        "Calls by which a queue's books do not balance: counts kept step by step against the visits held. Anything but 0 is a"
        " fault of the monitor.",
    ),
    "pipeline.twice": Text(
        "Queues shown twice", "Queues that more than one worker shows; a moment of it is a move, more is a fault."
    ),
    "pipeline.not_ready": Text(
        "Workers not ready", "Workers that recover or wait for their partitions; they show no queue."
    ),
    "pipeline.down": Text("Targets down", "Workers that Prometheus knows and cannot scrape."),
    "pipeline.lag_now": Text("Largest lag", "Records of a partition that are not folded yet."),
    "pipeline.silence": Text(
        "Newest event", "Seconds since the newest event of any partition; long is quiet, or a silent source."
    ),
    "pipeline.sources": Text(
        "Heartbeats of sources", "Seconds since each source's connector sent one. Red: later than it should be."
    ),
    "pipeline.queue_sources": Text(
        "Queues and their sources",
        "Whether each queue's source is looked at: NO where it is down or its heartbeats stay away.",
    ),
    "pipeline.versions": Text(
        "Versions", "How many workers run which version; two at once only while they are renewed."
    ),
    "pipeline.throughput": Text("Events a second, by type", "Read and accepted, duplicates too. " + _TOTALS),
    "pipeline.delay": Text(
        "Delay of events", "From an event's own time to its record's timestamp in Kafka, by bucket. " + _TOTALS
    ),
    "pipeline.delay_quantiles": Text(
        "Delay of events: 50th, 95th and 99th percentile",
        "From an event's own time to its record's timestamp in Kafka; estimated within the buckets.",
    ),
    "pipeline.event_age": Text(
        "Age of the newest event, by partition", "A line that climbs alone is a partition without events."
    ),
    "pipeline.rejected": Text("Rejected, by reason", "Not counted, and sent to the dead-letter topic. " + _TOTALS),
    "pipeline.late": Text(
        "Late, repeated, re-keyed, lost",
        "Late: after their grace, so rejected. Repeated: known already, harmless. Re-keyed: found on another partition than"
        " their key means. Lost: deleted by retention before they were read. " + _TOTALS,
    ),
    "pipeline.orphans": Text(
        "Visits that do not add up",
        "Orphaned: no `queued` ever came. Negative wait: the outcome lies before the entry. Lost end: the talk's end never"
        " came. By the increase in each step. " + _TOTALS,
    ),
    "pipeline.revisions": Text(
        "Corrected outcomes", "Visits whose counted outcome was corrected later, from what to what. " + _TOTALS
    ),
    "pipeline.time_revisions": Text(
        "Corrected times", "Facts that were counted and whose time was corrected later. " + _TOTALS
    ),
    "pipeline.balance": Text(
        "Balance residual by queue", "Must be 0, always; only queues that are off are drawn, so a blank is good."
    ),
    "pipeline.ready": Text("Workers ready", "Whether each worker is caught up. A gap: it was not scraped."),
    "pipeline.partitions_ready": Text(
        "Partitions shown", "Whether each partition is caught up and shown. A gap: nobody owned it."
    ),
    "pipeline.owned": Text("Partitions owned, by worker", "Together they must be all partitions of the topic."),
    "pipeline.lag": Text("Lag, by partition", "Records not folded yet; high while a worker recovers."),
    "pipeline.checkpoints": Text(
        "Checkpoint age",
        "Seconds since the oldest change that no written record holds yet: so much would have to be replayed after a crash.",
    ),
    "pipeline.reload": Text("Since the last reload", "Seconds since the configuration in force was read, by worker."),
    "pipeline.scrape_seconds": Text(
        "How long a scrape takes", "By worker; the dashed line is half of Prometheus' usual timeout."
    ),
    "pipeline.scrape_samples": Text("Samples a scrape has", "By worker: queues × channels × definitions × windows."),
    "pipeline.up": Text("Scraped", "Whether Prometheus could scrape each worker."),
    "pipeline.row.connectors": Text("Connectors (`queuewatch source`)"),
    "pipeline.connectors": Text(
        "Connectors",
        "By source. Reads: whether the vendor's system is looked at. Delay: from the newest record's own time to its reading."
        " Behind: what is there and not read yet, bytes of a file or rows of a table. Saved ago: when its position was saved"
        " last; a restart reads again from there. An empty cell is unknown, never 0.",
    ),
    "pipeline.translated": Text(
        "Records read, and events made of them, a second", "By source. A record may become several events, or none."
    ),
    "pipeline.untranslated": Text(
        "Records that could not be translated",
        "By source and reason; the connector's log tells each with its position. By the increase in each step.",
    ),
    "pipeline.left_out": Text("Records left out on purpose", "By source and reason, by the increase in each step."),
    "pipeline.source_reconnects": Text(
        "Connections lost and tried again",
        "To the vendor's system or to Kafka, by source, by the increase in each step.",
    ),
    "pipeline.line.records_of": Text("{{source}} records"),
    "pipeline.line.events_of": Text("{{source}} events"),
    "pipeline.line.reason_of": Text("{{source}}: {{reason}}"),
    "pipeline.line.source": Text("{{source}}"),
    "pipeline.row.wallboards": Text("Wallboards (`queuewatch wallboard`)"),
    "pipeline.wallboard_ready": Text(
        "Wallboards ready", "Whether each has read the topic of snapshots up to its end. A gap: it was not scraped."
    ),
    "pipeline.streams": Text(
        "Open streams", "Screens that are connected now, and how many different boards they show."
    ),
    "pipeline.line.streams": Text("{{instance}} streams"),
    "pipeline.line.views": Text("{{instance}} different boards"),
    "pipeline.wallboard_queues": Text(
        "Queues on the wallboard",
        "Queues of which a snapshot is held; those whose figures are greyed, in part or all; and partitions of which nothing"
        " certain is known, whose queues are greyed too.",
    ),
    "pipeline.line.queues": Text("{{instance}} queues"),
    "pipeline.line.stale_queues": Text("{{instance}} greyed"),
    "pipeline.line.silent_partitions": Text("{{instance}} silent partitions"),
    "pipeline.wallboard_age": Text(
        "Age of the newest snapshot or news",
        "Workers tell all their queues anew every ten seconds: more is a silent worker.",
    ),
    "pipeline.boards_sent": Text(
        "Boards made and sent, a second",
        "Made: different boards. Sent: to streams. Skipped: a slow stream did not get one, since a newer one had come.",
    ),
    "pipeline.line.boards": Text("made"),
    "pipeline.line.messages": Text("sent"),
    "pipeline.line.skipped": Text("skipped"),
    "pipeline.bytes_sent": Text(
        "Bytes sent a second", "Boards and heartbeats to streams, as compressed, by wallboard."
    ),
    "pipeline.wallboard_records": Text("Records read by wallboards", "By topic, by the increase in each step."),
    "pipeline.line.records": Text("{{topic}}"),
    "pipeline.wallboard_ignored": Text(
        "Records that wallboards left out, and connections lost", "By topic and reason, by the increase in each step."
    ),
    "pipeline.line.ignored_records": Text("{{topic}}: {{reason}}"),
    "pipeline.line.reconnects": Text("{{topic}}: lost and tried again"),
    "pipeline.wallboard_refused": Text(
        "Requests refused by wallboards",
        "By status: 401 without a link or with a wrong one, 403 from elsewhere or for other queues, 429 too many.",
    ),
    "pipeline.line.refused_requests": Text("{{status}}"),
    "pipeline.line.instance": Text("{{instance}}"),
    "pipeline.line.partition": Text("partition {{partition}}"),
    "pipeline.line.type": Text("{{type}}"),
    "pipeline.line.reason": Text("{{reason}}"),
    "pipeline.line.late": Text("late"),
    "pipeline.line.duplicate": Text("repeated"),
    "pipeline.line.rekeyed": Text("re-keyed"),
    "pipeline.line.lost": Text("lost"),
    "pipeline.line.orphaned": Text("orphaned"),
    "pipeline.line.negative": Text("negative wait"),
    "pipeline.line.lost_end": Text("lost end"),
    "pipeline.line.revision": Text("{{from}} → {{to}}"),
    "pipeline.line.fact": Text("{{fact}}"),
    "pipeline.line.queue": Text("{{queue}} · {{channel}}"),
    "pipeline.line.q50": Text("half within"),
    "pipeline.line.q95": Text("95 % within"),
    "pipeline.line.q99": Text("99 % within"),
    "pipeline.line.threshold": Text("threshold"),
}

LANGUAGES: Final[Mapping[str, Mapping[str, Text]]] = {"en": ENGLISH}
"""By the `language` of the configuration."""


class Texts:
    """The texts of one language; a key that is missing raises KeyError, so that no board is built without a word."""

    def __init__(self, language: str, filled: Mapping[str, str]) -> None:
        """`filled` says what stands for `{name}` everywhere, by name."""
        self._texts = LANGUAGES[language]
        self._filled = filled
        self.used: set[str] = set()
        """The keys that were asked for: what is never asked for is dead."""

    def __getitem__(self, key: str) -> Text:
        """A title and description."""
        self.used.add(key)
        return Text(*(fill(each, self._filled) for each in self._texts[key]))

    def word(self, key: str) -> str:
        """A title alone: a heading, a line of a legend, a state."""
        return self[key].title


def fill(text: str, values: Mapping[str, str]) -> str:
    """A text with `{name}` replaced by its value; `{{label}}` is Grafana's and stays."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text
