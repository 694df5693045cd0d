"""What may be set of boards, rules and alerts: where series are found, windows, thresholds that are no series, links.

The defaults fit queuewatch's own.  What differs from queue to queue (targets, limits, opening hours) is not here: queuewatch
exposes it as series, so that boards and rules are the same for everybody.  All durations are in seconds.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from queuewatch_dashboards.alerting import Alerting
from queuewatch_schemas.config import Window
from queuewatch_schemas.settings import place_of

_UID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_DURATION = re.compile(r"([1-9][0-9]*)([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class SettingsError(Exception):
    """A file of settings that cannot be used; the text says what is wrong, and where."""


def _uid(text: str) -> str:
    if not _UID.fullmatch(text):
        raise ValueError(
            f"{text!r} cannot be a board's uid: 1 to 32 letters, digits, hyphens and underscores are allowed"
        )
    return text


def _label_names(matchers: Mapping[str, str]) -> Mapping[str, str]:
    for name in matchers:
        if not _LABEL.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a label")
    return matchers


def seconds(duration: str) -> int:
    """A duration as Prometheus writes it, of one unit (`90s`, `15m`, `1d`), in seconds.  Raises ValueError otherwise."""
    found = _DURATION.fullmatch(duration)
    if found is None:
        raise ValueError(f"{duration!r} is no duration; write it as in '15m', with one of s, m, h, d and w")
    return int(found[1]) * _SECONDS[found[2]]


def _duration(text: str) -> str:
    seconds(text)
    return text


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://", "/")) or any(each.isspace() for each in text):
        raise ValueError(f"{text!r} is no address; it begins with http://, https:// or /")
    return text.rstrip("/")


Uid = Annotated[str, AfterValidator(_uid)]
Matchers = Annotated[Mapping[str, str], AfterValidator(_label_names)]
Duration = Annotated[str, AfterValidator(_duration)]
Url = Annotated[str, AfterValidator(_url)]
Rolling = Literal["5m", "15m", "30m", "1h"]


class _Settings(BaseModel):
    """Frozen; an unknown name is a problem."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True
    )


class Selectors(_Settings):
    """Where queuewatch's series are found."""

    job: Annotated[str, Field(min_length=1)] = "queuewatch"
    """The scrape job of the workers: Prometheus' own series (`up`, `scrape_duration_seconds`) are told apart by it."""
    matchers: Matchers = Field(default_factory=dict)
    """Label = value that every series of queuewatch must have, as in {"cluster": "rome"}: where one Prometheus scrapes several
    applications, whose queues may have the same names."""


class Windows(_Settings):
    """The windows that boards and rules read; the workers' own `business.windows` must hold them."""

    rolling: Rolling = "15m"
    """The rolling window of supervisors' figures."""
    interval: Window = "interval"
    """The running interval of the business day."""
    closed: Window = "last_interval"
    """The last closed one, which planners read."""
    day: Window = "day"
    """The business day so far."""


class Times(_Settings):
    """How often boards look, and how far back."""

    refresh: Duration = "30s"
    """How often boards look again."""
    vanished: Duration = "1d"
    """So long a queue that no worker shows any more stays on the boards, marked so."""


class Thresholds(_Settings):
    """Where boards turn yellow or red and alerts begin, of what is no series: the pipeline's own health."""

    event_delay_seconds: Annotated[float, Field(gt=0)] = 30
    """Events usually take less than a second to Kafka; the 95th of a hundred taking longer is trouble."""
    consumer_lag_records: Annotated[int, Field(gt=0)] = 10_000
    """A worker that is not this close to the end shows figures that are seconds old."""
    checkpoint_age_seconds: Annotated[float, Field(gt=0)] = 300
    """Records are written every minute (`timing.checkpoint_seconds`); five are a fault."""
    heartbeat_age_seconds: Annotated[float, Field(gt=0)] = 60
    """Connectors send a heartbeat every ten seconds unless they are set otherwise."""
    event_silence_seconds: Annotated[float, Field(gt=0)] = 900
    """So long without any event, though the source is alive and a queue is open, is trouble."""
    scrape_duration_seconds: Annotated[float, Field(gt=0)] = 5
    """Half of Prometheus' usual timeout."""


class Uids(_Settings):
    """The boards' stable names in addresses; a changed one breaks links."""

    floor: Uid = "queuewatch-floor"
    """All queues at a glance."""
    queue: Uid = "queuewatch-queue"
    """One queue in depth."""
    capacity: Uid = "queuewatch-capacity"
    """What planners read."""
    comparison: Uid = "queuewatch-comparison"
    """Definitions beside each other."""
    pipeline: Uid = "queuewatch-pipeline"
    """Whether the figures can be believed."""


class Links(_Settings):
    """Addresses that alerts and boards point to."""

    grafana: Url = "http://localhost:3000"
    """Grafana's own address, for links in alerts."""
    runbook: Url = "http://localhost:3000/public/queuewatch/runbook.md"
    """The runbook as your people reach it; `#heading` is put behind it.  The compose file lets Grafana serve it there."""


class Configuration(_Settings):
    """Everything that may be set."""

    selectors: Selectors = Selectors()
    """Where series are found."""
    windows: Windows = Windows()
    """Which windows are read."""
    times: Times = Times()
    """How often, how far back."""
    thresholds: Thresholds = Thresholds()
    """Where trouble begins."""
    alerting: Alerting = Alerting()
    """How long trouble lasts before people hear of it."""
    uids: Uids = Uids()
    """The boards' names in addresses."""
    links: Links = Links()
    """Where alerts and boards point to."""
    interval_minutes: Literal[15, 30] = 30
    """The workers' `business.interval_minutes`: boards of closed intervals step by it."""
    language: Literal["en"] = "en"
    """Of the boards' texts."""


def read(path: Path | None) -> Configuration:
    """The settings of a TOML file, or the defaults without one.  Raises SettingsError that says what is wrong."""
    if path is None:
        return Configuration()
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is no TOML: {error}") from None
    try:
        return Configuration.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(f"{place_of(each['loc'])}: {each['msg']}" for each in error.errors())
        raise SettingsError(f"{path}: {problems}") from None
