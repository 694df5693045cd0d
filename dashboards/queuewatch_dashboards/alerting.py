"""How long things must last before people are alerted, and shares, of what is no series of a queue."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from queuewatch_dashboards.promql import HOUR, WEEK

Seconds = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class Alerting(BaseModel):
    """How long things must last, and shares of what is no series.  Durations in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    moment: Seconds = 60
    """What is wrong at once must hold so long: longer than two scrapes and a slow one."""
    move: Seconds = 120
    """A worker's move takes no longer: the session timeout and the time in which the next one catches up."""
    short: Seconds = 300
    """The short window, in which a trouble must still go on; also how long ratios must be bad."""
    window: Seconds = 900
    """Over which increases of counters are looked at; also how long a level must be very bad to be critical."""
    keep: Seconds = 300
    """`keep_firing_for`: longer than `move`."""
    hour: Seconds = HOUR
    """Over which rare things are counted, and how far back something that is missing is remembered."""
    week: Seconds = WEEK
    """How far back the same weekday lies."""

    warning_share: Share = 0.8
    """Service level below so much of its target is a warning."""
    critical_share: Share = 0.6
    """Below so much of it, critical."""
    budget_share: Share = 0.5
    """So much of the misses that a whole day may have, spent ..."""
    budget_burn: Annotated[float, Field(ge=1)] = 2
    """... at so many times the allowed pace puts the day's target at risk."""
    critical_factor: Annotated[float, Field(gt=1)] = 2
    """So many times a queue's own limit is critical."""
    refused_share: Share = 0.05
    """Calls refused, of all that came."""
    declined_share: Share = 0.3
    """Ringing calls that agents did not take, of all that rang to an end."""
    evicted_share: Share = 0.02
    """Visits given up as ghosts, of those offered; and more than `evicted_factor` times the week's mean."""
    evicted_factor: Annotated[float, Field(gt=1)] = 3
    orphaned_share: Share = 0.02
    """Visits without a queued event, of those offered."""
    rejected_share: Share = 0.01
    """Records refused, or sent to another partition, of all."""
    few: Annotated[int, Field(ge=1)] = 5
    """Fewer refused, evicted or orphaned calls raise no alert."""
    some: Annotated[int, Field(ge=1)] = 10
    """Fewer records or events raise no alert."""

    def scaled(self, factor: float) -> Self:
        """The same with all durations multiplied: 1/30 makes two minutes of an hour, for a rehearsal."""
        lengths = ("moment", "move", "short", "window", "keep", "hour", "week")
        return self.model_copy(update={name: getattr(self, name) * factor for name in lengths})
