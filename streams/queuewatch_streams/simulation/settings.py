"""What can be set about a simulated call centre, its dirt and its incidents, with defaults that make an ordinary one.

Every share is a probability between 0 and 1; durations are in seconds.  Bad values raise ValueError in plain words.
"""

import math
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Final, Literal

DEFAULT_NAMES: Final = ("sales", "support", "billing", "claims", "service")
SOURCE: Final = "urn:queuewatch:simulator"
"""The CloudEvents source of everything the centre reports."""
MONITOR: Final = "urn:queuewatch:queuewatch"
"""The monitor's own source: only its evictions are believed."""


def _refuse_bad_shares(settings: "Settings | Dirt", others: set[str]) -> None:
    for share in fields(settings):
        value = getattr(settings, share.name)
        if share.type is float and share.name not in others and not 0 <= value <= 1:
            raise ValueError(f"{share.name} is a share between 0 and 1, not {value}")


@dataclass(frozen=True)
class Duration:
    """A random duration: its mean in seconds and its shape (`sigma` is that of the log-normal's logarithm)."""

    mean_s: float
    shape: Literal["exponential", "log-normal", "fixed"] = "log-normal"
    sigma: float = 0.7

    def __post_init__(self) -> None:
        """Refuse a mean that is not a positive number, and a negative sigma."""
        if not (self.mean_s > 0 and math.isfinite(self.mean_s)):
            raise ValueError(f"a duration's mean is a positive number of seconds, not {self.mean_s}")
        if self.sigma < 0:
            raise ValueError(f"a duration's sigma is 0 or more, not {self.sigma}")


@dataclass(frozen=True)
class Incident:
    """From `minute` after the start, for `minutes`, nobody serves `queue`: its agents are gone, shared ones skip it."""

    queue: str
    minute: float
    minutes: float

    def __post_init__(self) -> None:
        """Refuse an incident that ends before it begins."""
        if self.minute < 0 or self.minutes <= 0:
            raise ValueError(f"an incident at {self.queue} begins at minute 0 or later and lasts more than 0 minutes")


@dataclass(frozen=True, kw_only=True)
class Dirt:
    """How dirty the feed is; every share is 0 unless asked for, and the same seed makes the same dirt.

    Of one visit at most one of `ghosts`, `orphans`, `lost_ends` and `negative_waits` is true.
    """

    duplicates: float = 0.0
    """Share of events delivered again, byte for byte, up to `delay_s` later."""
    disorder: float = 0.0
    """Share of events delivered late, by up to `delay_s`: the order of lines is then not the order of time."""
    delay_s: float = 60.0
    ghosts: float = 0.0
    """Share of visits of which nothing is reported after `queued`."""
    evictions: float = 0.0
    """Share of ghosts that the monitor gives up `evict_after_s` after they were queued; for files that are replayed."""
    evict_after_s: float = 1800.0
    lost_ends: float = 0.0
    """Share of visits whose `ended` and `wrapped` are not reported."""
    orphans: float = 0.0
    """Share of visits whose `queued` is not reported."""
    negative_waits: float = 0.0
    """Share of visits whose outcome is stamped up to 2 s before their `queued`."""
    time_conflicts: float = 0.0
    """Share of call events reported again with another time (up to 5 s earlier or 1 s later) and another id."""
    data_conflicts: float = 0.0
    """Share of queued, answered and diverted reported again at the same time with other data and another id."""
    outcome_conflicts: float = 0.0
    """Share of outcomes beside which another outcome of the visit is reported, up to 3 s away."""
    malformed: float = 0.0
    """Bad lines per good line, put between them: no event is lost, and every one of them must be rejected."""

    def __post_init__(self) -> None:
        """Refuse shares outside 0…1 and negative delays."""
        _refuse_bad_shares(self, {"delay_s", "evict_after_s"})
        if self.delay_s < 0 or self.evict_after_s <= 0:
            raise ValueError("delay_s is 0 or more, and evict_after_s more than 0")
        if self.ghosts + self.orphans + self.lost_ends + self.negative_waits > 1:
            raise ValueError(
                "ghosts, orphans, lost_ends and negative_waits together are at most 1: a visit has one of them"
            )

    @property
    def clean(self) -> bool:
        """Whether every event is delivered once, true and in order of time (bad lines aside)."""
        return not any((
            self.duplicates, self.disorder, self.ghosts, self.lost_ends, self.orphans, self.negative_waits,
            self.time_conflicts, self.data_conflicts, self.outcome_conflicts,
        ))  # fmt: skip


ORDINARY_DIRT: Final = Dirt(
    duplicates=0.02, disorder=0.05, ghosts=0.005, evictions=0.6, lost_ends=0.005, orphans=0.003, negative_waits=0.003,
    time_conflicts=0.003, data_conflicts=0.002, outcome_conflicts=0.003,
)  # fmt: skip
"""The dirt of real feeds in about the amounts that they have (half a percent of ghosts is one vendor's figure)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A call centre to simulate.  All event times lie on the grid of 1/8 second (see `grid`): sums of them are exact.

    The time zone of `start` is the centre's: the day's curve, opening hours and offsets in the events follow it, also
    over a change of the clocks when it is a ZoneInfo.
    """

    start: datetime
    """Aware; the first moment simulated, rounded down to the grid."""
    hours: float | None = 24.0
    """How long, half-open: nothing happens at start + hours.  None: for ever."""
    seed: int = 1
    queues: int | tuple[str, ...] = 5
    """How many queues, or their names."""

    calls_per_hour: float = 120.0
    """Calls per hour and queue at the day's peak, on the mean over queues; queues differ in size unless `flat`."""
    flat: bool = False
    """The same rate at every hour, all queues alike and always open: for tests, and for demos at any time of day."""
    load: float = 0.82
    """Offered Erlangs per agent at work; staff follows the day's curve."""
    agents: int | None = None
    """A fixed number of agents per queue in place of `load`."""
    shared: float = 0.4
    """Share of agents who have skills for other queues of their team too."""
    team: int = 5
    """Neighbouring queues that form a team: shared agents, transfers and overflow stay inside it."""
    breaks: float = 0.01
    """Chance of a break (5 to 15 minutes) after a contact."""

    talk: Duration = Duration(200.0, "log-normal", 0.8)
    wrap: Duration | None = Duration(25.0, "exponential")
    """After-call work; None: none, and no `wrapped`."""
    ring: Duration | None = Duration(4.0, "log-normal", 0.5)
    """None: agents answer at once, and no `ringing`."""
    patience: Duration | None = Duration(150.0, "exponential")
    """How long callers wait before they hang up; None: for ever."""

    chat: float = 0.08
    """Share of contacts on the channel `chat`."""
    priority: float = 0.05
    """Share of contacts with priority 1, which are served first."""
    everywhere: float = 0.01
    """Share of calls that wait in two queues at once; answered in one, they leave the other as `elsewhere`."""
    capacity: int | None = 60
    """Callers waiting in a queue beyond which further ones are refused as `full`."""
    refused_unstaffed: float = 0.1
    """Share of calls refused as `no_agents` while nobody at work serves the queue."""

    max_wait_s: float | None = 480.0
    """Then a caller is diverted: timeout, overflow to the next queue of the team, or no_agents."""
    overflow: float = 0.4
    """Share of those that overflow."""
    callbacks: float = 0.06
    """Share of callers who ask to be called back if they wait; the promise is a visit of the channel `callback`."""
    voicemail: float = 0.02
    keys: float = 0.02
    moved: float = 0.01
    """Share of callers whom someone moves to another queue if they wait (diverted by transfer)."""
    withdrawn: float = 0.005

    declines: float = 0.04
    """Share of rings that the agent does not take."""
    holds: float = 0.15
    """Share of talks with a hold; some have two, and some end on hold."""
    transfers: float = 0.06
    """Share of talks that end by a blind transfer: a new visit in another queue, or a second one in the same."""
    requeues: float = 0.004
    """Share of talks that break off and go back into the queue as a new visit."""
    handovers: float = 0.01
    """Share of talks that another agent takes over: a further leg of the same visit."""

    snapshots: bool = False
    """A `queue.snapshot` of every queue once a minute."""
    heartbeats: bool = False
    """A `source.heartbeat` every ten seconds."""
    agent_states: bool = False
    """`agent.state` events; they belong on their own topic."""
    surveys: float = 0.0
    """Share of talks after which the caller answers a survey."""

    incidents: tuple[Incident, ...] = ()
    dirt: Dirt = field(default_factory=Dirt)

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        if self.start.tzinfo is None:
            raise ValueError(f"start {self.start.isoformat()} has no UTC offset; write for instance +08:00 behind it")
        if self.hours is not None and not self.hours > 0:
            raise ValueError(f"hours is more than 0, not {self.hours}")
        names = self.queue_names
        if not names:
            raise ValueError("at least one queue is needed")
        if len(set(names)) < len(names):
            raise ValueError("queue names must differ from each other")
        if not (self.calls_per_hour > 0 and self.load > 0):
            raise ValueError("calls_per_hour and load are more than 0")
        if (self.agents is not None and self.agents < 0) or self.team < 1:
            raise ValueError("agents is 0 or more, and team 1 or more")
        for incident in self.incidents:
            if incident.queue not in names:
                raise ValueError(f"an incident names the queue {incident.queue!r}, which is not simulated")
        _refuse_bad_shares(self, {"calls_per_hour", "load"})
        if self.callbacks + self.voicemail + self.keys + self.moved + self.withdrawn > 1:
            raise ValueError("callbacks, voicemail, keys, moved and withdrawn together are at most 1")
        if self.transfers + self.requeues + self.handovers > 1:
            raise ValueError("transfers, requeues and handovers together are at most 1")

    @property
    def queue_names(self) -> tuple[str, ...]:
        """The queues' names, in order."""
        if not isinstance(self.queues, int):
            return self.queues
        if self.queues <= len(DEFAULT_NAMES):
            return DEFAULT_NAMES[: max(0, self.queues)]
        digits = len(str(self.queues))
        return DEFAULT_NAMES + tuple(f"queue-{n:0{digits}d}" for n in range(len(DEFAULT_NAMES) + 1, self.queues + 1))
